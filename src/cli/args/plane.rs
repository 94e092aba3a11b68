//! The flags of `landscape plane` and `landscape bench`.

use std::path::PathBuf;

use clap::Args;

use super::config::Config;
use super::grid;
use super::options::PlaneOptions;
use super::run::RunArgs;
use crate::error::{Error, Result};
use crate::experiment::candidates::{Candidate, Candidates};
use crate::experiment::plane::{PlaneSettings, refuse_calibrated_arrows};
use crate::experiment::settings::SessionSettings;
use crate::result::panels::Panels;

pub(super) const EXAMPLES: &str = "Examples:
  landscape plane --origin zs.onnx --a ft1 --b ft2 --test test.npz
  landscape plane --origin zs.onnx --a ft1 --b ft2 --steps 41 --limit 1000
  landscape plane --origin zs.onnx --a ft1 --b ft2 --mark soup=soup.safetensors --arrows";

/// Arguments of `landscape plane`.
#[derive(Debug, Args)]
pub struct PlaneArgs {
    /// First checkpoint θ1: .onnx, .safetensors, .pt, .pth, .bin, .ckpt, .tar or a folder (the
    /// extension may be left out)
    #[arg(long, value_name = "[NAME=]CKPT", help_heading = "Models")]
    a: PathBuf,
    /// Second checkpoint θ2
    #[arg(long, value_name = "[NAME=]CKPT", help_heading = "Models")]
    b: PathBuf,
    /// Project another model onto the plane; repeatable
    #[arg(long, value_name = "[NAME=]CKPT", help_heading = "Models")]
    mark: Vec<PathBuf>,
    #[command(flatten)]
    options: PlaneOptions,
    /// The flags that all commands share.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Settings of `landscape plane`.
pub struct PlanePlan {
    /// Settings of the session.
    pub session: SessionSettings,
    /// Settings of the measurement.
    pub plane: PlaneSettings,
    /// Panels of the figure.
    pub panels: Panels,
}

impl PlaneArgs {
    /// Checks the flags and the configuration, and makes settings of them; `name` is the default
    /// stem of the output files.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn plan(&self, name: &str) -> Result<PlanePlan> {
        let config = Config::load(self.run.output.config.as_deref())?;
        let options = self.options.or(&config.plane);
        let mut models = vec![
            Candidate::parse("--a", &self.a)?,
            Candidate::parse("--b", &self.b)?,
        ];
        for text in &self.mark {
            models.push(Candidate::parse("--mark", text)?);
        }
        let loss = options.loss.unwrap_or_default();
        let models = Candidates::Files(models);
        let session = self.run.with_loss(config, models, (name, loss))?;
        let panels = options.panels.unwrap_or_default();
        let limits = &session.options;
        if options.adaptive && (limits.max_time.is_some() || limits.tolerance.is_some()) {
            return Err(Error::flag(
                "--adaptive",
                "cannot be combined with --max-time or --tolerance: points that are refined later \
                 would be evaluated on other samples",
            ));
        }
        if options.arrows.is_some() {
            refuse_calibrated_arrows(loss)?;
        }
        Ok(PlanePlan {
            plane: PlaneSettings {
                grid: grid::spec(&options)?,
                adaptive: options.adaptive.then_some(panels),
                arrows: options.arrows.map(arrows).transpose()?,
                loss,
            },
            session,
            panels,
        })
    }
}

/// Checks the size of the arrows' grid: clap does not check values from a configuration.
fn arrows(steps: u64) -> Result<usize> {
    if (1..=100).contains(&steps) {
        return Ok(steps as usize);
    }
    let problem = format!("is {steps}; expected 1 to 100");
    Err(Error::flag("--arrows", problem))
}
