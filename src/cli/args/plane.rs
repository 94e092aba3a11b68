//! The flags of `landscape plane` and `landscape bench`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::config::Config;
use super::grid;
use super::run::RunArgs;
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::experiment::candidates::{Candidate, Candidates};
use crate::experiment::plane::PlaneSettings;
use crate::experiment::settings::SessionSettings;
use crate::result::panels::Panels;

pub(super) const EXAMPLES: &str = "Examples:
  landscape plane --origin zs.onnx --a ft1 --b ft2 --test test.npz
  landscape plane --origin zs.onnx --a ft1 --b ft2 --steps 41 --limit 1000
  landscape plane --origin zs.onnx --a ft1 --b ft2 --mark soup=soup.safetensors --arrows";

/// `landscape plane`.
#[derive(Debug, Args)]
pub struct PlaneArgs {
    /// First checkpoint θ1 (.onnx or .safetensors; the extension may be left out)
    #[arg(long, value_name = "CKPT", help_heading = "Models")]
    a: PathBuf,
    /// Second checkpoint θ2
    #[arg(long, value_name = "CKPT", help_heading = "Models")]
    b: PathBuf,
    /// Project another model onto the plane; repeatable
    #[arg(long, value_name = "[NAME=]CKPT", help_heading = "Models")]
    mark: Vec<String>,
    #[command(flatten)]
    options: PlaneOptions,
    /// What all commands share.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The part that `[plane]` in `landscape.toml` may hold, too.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Plane")]
pub struct PlaneOptions {
    /// Number of grid points along the longer side [default: 21]
    #[arg(long, value_name = "N", conflicts_with_all = ["x", "y"])]
    pub(super) steps: Option<usize>,
    /// Margin around the three models, as a fraction of the longer side of their box [default: 0.25]
    #[arg(long, value_name = "FRACTION", conflicts_with_all = ["x", "y"])]
    pub(super) margin: Option<f64>,
    /// Grid along u1, both ends included; needs --y
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        requires = "y",
        allow_hyphen_values = true
    )]
    pub(super) x: Option<String>,
    /// Grid along u2, both ends included; needs --x
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        requires = "x",
        allow_hyphen_values = true
    )]
    pub(super) y: Option<String>,
    /// Evaluate a coarse grid, refine it where contours pass, and interpolate the rest
    #[arg(long, conflicts_with_all = ["max_time", "tolerance"])]
    adaptive: bool,
    /// Draw descent arrows on a grid with N points along the longer side [N defaults to 7]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "7", value_parser = clap::value_parser!(u64).range(1..=100))]
    arrows: Option<u64>,
    /// Which panels the figure shows [default: paper]
    #[arg(long, value_enum)]
    panels: Option<Panels>,
}

impl PlaneOptions {
    /// Flags, and what the configuration says where they are silent.
    fn or(&self, config: &Self) -> Self {
        // A box that was typed replaces coordinates that were configured.
        let boxed = self.steps.is_some() || self.margin.is_some();
        let configured = |value: &Option<String>| value.clone().filter(|_| !boxed);
        Self {
            steps: self.steps.or(config.steps),
            margin: self.margin.or(config.margin),
            x: self.x.clone().or_else(|| configured(&config.x)),
            y: self.y.clone().or_else(|| configured(&config.y)),
            adaptive: self.adaptive || config.adaptive,
            arrows: self.arrows.or(config.arrows),
            panels: self.panels.or(config.panels),
        }
    }
}

/// What `landscape plane` is to do.
pub struct PlanePlan {
    /// What is opened.
    pub session: SessionSettings,
    /// What is measured.
    pub plane: PlaneSettings,
    /// What is drawn.
    pub panels: Panels,
}

impl PlaneArgs {
    /// Checks what was typed and configured; `name` is the default stem of the output.
    ///
    /// # Errors
    /// When a value is missing or impossible.
    pub fn plan(&self, name: &str) -> Result<PlanePlan> {
        let config = Config::load(self.run.output.config.as_deref())?;
        let options = self.options.or(&config.plane);
        let mut models = vec![Candidate::file(&self.a), Candidate::file(&self.b)];
        for text in &self.mark {
            models.push(mark(text)?);
        }
        let session = self.run.session(config, Candidates::Files(models), name)?;
        let panels = options.panels.unwrap_or_default();
        let limits = &session.options;
        if options.adaptive && (limits.max_time.is_some() || limits.tolerance.is_some()) {
            return Err(Error::flag(
                "--adaptive",
                "cannot go with --max-time or --tolerance: points refined later would have other \
                 samples",
            ));
        }
        Ok(PlanePlan {
            plane: PlaneSettings {
                grid: grid::spec(&options)?,
                adaptive: options.adaptive.then_some(panels),
                arrows: options.arrows.map(|steps| steps as usize),
            },
            session,
            panels,
        })
    }
}

/// `NAME=FILE` or `FILE`.
fn mark(text: &str) -> Result<Candidate> {
    let is_file = checkpoint::find(Path::new(text)).is_ok_and(|path| path.is_file());
    match text.split_once('=') {
        _ if is_file => Ok(Candidate::file(text)),
        Some(("", _) | (_, "")) => Err(Error::flag(
            "--mark",
            format!("is `{text}`; NAME=FILE or FILE is needed"),
        )),
        Some((name, path)) => Ok(Candidate::named(name, path)),
        None => Ok(Candidate::file(text)),
    }
}
