//! The flags of `landscape line`.

use std::path::PathBuf;

use clap::Args;

use super::config::Config;
use super::grid::{check_steps, range};
use super::options::LineOptions;
use super::run::RunArgs;
use crate::error::Result;
use crate::experiment::candidates::{Candidate, Candidates};
use crate::experiment::line::{Alphas, LineSettings};
use crate::experiment::settings::SessionSettings;
use crate::result::panels::Panels;

pub(super) const EXAMPLES: &str = "A barrier is the largest rise of a soup strictly between two \
checkpoints above the straight line between them; it is negative if all soups lie below that line. \
Its 95 % interval is of the difference on the same samples, and holds for all points together. \
`barrier`: the interval is above 0. `none larger than X`: it ends at X, at most a tenth of the mean of \
the ends. `undecided`: neither; more samples narrow it.

Examples:
  landscape line --origin zs.onnx --b ft1 --test test.npz
  landscape line --origin zs.onnx --a ft1 --b ft2 --steps 41
  landscape line --origin zs.onnx --a ft1 --b ft2 --val val.npz --test test.npz --loss calibrated
  landscape line --origin zs.onnx --a ft1 --through soup --b ft2 --alpha=-0.5:2.5:61";

/// Arguments of `landscape line`.
#[derive(Debug, Args)]
pub struct LineArgs {
    /// Start of the path [default: the origin]
    #[arg(long, value_name = "[NAME=]CKPT", help_heading = "Models")]
    a: Option<PathBuf>,
    /// End of the path
    #[arg(long, value_name = "[NAME=]CKPT", help_heading = "Models")]
    b: PathBuf,
    /// Checkpoint to pass through, between start and end; repeatable
    #[arg(long, value_name = "[NAME=]CKPT", help_heading = "Models")]
    through: Vec<PathBuf>,
    #[command(flatten)]
    options: LineOptions,
    /// The flags that all commands share.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Settings of `landscape line`.
pub struct LinePlan {
    /// Settings of the session.
    pub session: SessionSettings,
    /// Settings of the measurement.
    pub line: LineSettings,
    /// Panels of the figure.
    pub panels: Panels,
}

impl LineArgs {
    /// Checks the flags and the configuration, and makes settings of them.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn plan(&self) -> Result<LinePlan> {
        let config = Config::load(self.run.output.config.as_deref())?;
        let (typed, configured) = (&self.options, &config.line);
        let steps = typed.steps.or(configured.steps).unwrap_or(21);
        check_steps(steps)?;
        let configured_alpha = || configured.alpha.clone().filter(|_| typed.steps.is_none());
        let alphas = match typed.alpha.clone().or_else(configured_alpha) {
            Some(alpha) => Alphas::Values(range("--alpha", &alpha)?),
            None => Alphas::Steps(steps),
        };
        let loss = typed.loss.or(configured.loss).unwrap_or_default();
        let panels = typed.panels.or(configured.panels).unwrap_or_default();
        let through = self.through.iter().map(|text| ("--through", text));
        let start = self.a.iter().map(|text| ("--a", text));
        let path = start.chain(through).chain([("--b", &self.b)]);
        let models = path.map(|(flag, text)| Candidate::parse(flag, text));
        let models = Candidates::Files(models.collect::<Result<_>>()?);
        Ok(LinePlan {
            session: self.run.with_loss(config, models, ("line", loss))?,
            line: LineSettings {
                from_origin: self.a.is_none(),
                alphas,
                loss,
            },
            panels,
        })
    }
}
