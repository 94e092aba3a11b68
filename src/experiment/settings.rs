//! The settings of an experiment: the network, the models, the data, and how to evaluate.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::candidates::Candidates;
use super::output::Output;
use crate::data::{Preprocess, Source};
use crate::error::{Error, Result};
use crate::evaluate::onnx::{EvaluationOptions, Losses};
use crate::result::loss::LossKind;
use crate::result::score::Role;
use crate::space::matching::Options;
use crate::space::statistics::BatchNorm;

/// The network, the models, the data, and how models are evaluated.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// The network with θ0, an `.onnx` file.
    pub origin: PathBuf,
    /// Separate state dict of θ0; by default the one beside the network, if there is one.
    pub origin_weights: Option<PathBuf>,
    /// The dictionary to take from files of PyTorch that hold several, such as `state_dict_ema` or
    /// `model_ema.module`.
    pub weights: Option<String>,
    /// The models.
    pub candidates: Candidates,
    /// How tensors are matched.
    pub matching: Options,
    /// Whether every trainable tensor counts as moving, even if it is equal in all checkpoints. A
    /// Hessian needs this.
    pub every_tensor_moves: bool,
    /// The ONNX Runtime library or its folder; searched for by default.
    pub onnxruntime: Option<PathBuf>,
    /// The output that holds the logits; needed if the network has several.
    pub logits_output: Option<String>,
    /// The data sets, with their roles.
    pub data: Vec<Source>,
    /// What becomes of batch norm's running statistics in a mix.
    pub batch_norm: BatchNorm,
    /// The training data that statistics are re-estimated from; by default the first data set with
    /// that role.
    pub statistics_data: Option<Source>,
    /// Scaling of u8 data.
    pub preprocess: Option<Preprocess>,
    /// Number of samples taken from each data set; `None` and 0 take all.
    pub limit: Option<usize>,
    /// Seed of the sampling and of all other random draws.
    pub seed: u64,
    /// Device, batch size, workers, limits.
    pub options: EvaluationOptions,
    /// Where results and the work of an interrupted run are saved; `None` saves no unfinished work.
    pub output: Option<Output>,
    /// The configuration file, recorded with the results.
    pub config_file: Option<PathBuf>,
    /// The command line, recorded with the results.
    pub command: Vec<String>,
    /// Stops the experiment when it becomes true.
    pub stop: &'static AtomicBool,
}

impl SessionSettings {
    /// Makes settings with defaults for everything but the network, the models and the data.
    pub fn new(origin: impl Into<PathBuf>, candidates: Candidates, data: Vec<Source>) -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self {
            origin: origin.into(),
            origin_weights: None,
            weights: None,
            candidates,
            matching: Options::default(),
            every_tensor_moves: false,
            onnxruntime: None,
            logits_output: None,
            data,
            batch_norm: BatchNorm::default(),
            statistics_data: None,
            preprocess: None,
            limit: None,
            seed: 0,
            options: EvaluationOptions::default(),
            output: None,
            config_file: None,
            command: Vec::new(),
            stop: &NEVER,
        }
    }

    /// Whether there is a data set with this role.
    pub fn has(&self, role: Role) -> bool {
        self.data.iter().any(|set| set.role == role)
    }

    /// The training data that statistics are re-estimated from.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn training_data(&self) -> Result<&Source> {
        let mut sets = self.data.iter();
        let named = self.statistics_data.as_ref();
        named
            .or_else(|| sets.find(|set| set.role == Role::Train))
            .ok_or_else(|| {
                Error::flag("--bn", "`recalibrate` needs training data").help(
                    "--train FILE names it: batch norm's statistics are those of training samples",
                )
            })
    }

    /// Refuses re-estimated statistics where a gradient is needed.
    ///
    /// # Errors
    /// When the settings ask for them.
    pub(super) fn refuse_recalibration(&self, what: &str) -> Result<()> {
        if !self.batch_norm.is_recalibrated() {
            return Ok(());
        }
        let problem = format!(
            "is `{}`, but {what} the gradient of the loss, and that of statistics that are \
             re-estimated from the samples is not computed",
            self.batch_norm
        );
        Err(Error::flag("--bn", problem)
            .help("use --bn interpolate or --bn origin where a gradient is needed"))
    }

    /// Checks that losses of this kind can be computed. Calibrated ones need a validation set, and
    /// logits.
    ///
    /// # Errors
    /// When one of the two is missing.
    pub fn check_loss(&self, loss: LossKind) -> Result<()> {
        if loss == LossKind::Plain {
            return Ok(());
        }
        if !self.has(Role::Val) {
            let problem = "is `calibrated`, and there is no validation set to calibrate on";
            return Err(Error::flag("--loss", problem)
                .help("--val FILE names it: each model has the β that is best there"));
        }
        if self.options.losses == Losses::Graph {
            let problem = "is `graph`, but calibrated losses are computed from logits";
            return Err(Error::flag("--losses", problem).help("use --losses host"));
        }
        Ok(())
    }

    /// Refuses limits that would leave the models of an experiment with different samples.
    ///
    /// # Errors
    /// When the settings limit the time or the standard error.
    pub(super) fn refuse_limits(&self) -> Result<()> {
        if self.options.max_time.is_some() || self.options.tolerance.is_some() {
            return Err(Error::flag(
                "max-time, tolerance",
                "this experiment needs all samples",
            ));
        }
        Ok(())
    }

    /// The input files other than models.
    pub(super) fn other_files(&self) -> impl Iterator<Item = PathBuf> {
        let data = self.data.iter().chain(&self.statistics_data);
        let data = data.map(|set| set.path.clone());
        data.chain(self.config_file.clone())
    }

    /// The settings that the values depend on.
    pub(super) fn recorded(&self) -> BTreeMap<String, String> {
        let limit = self.limit.unwrap_or(0);
        let Options {
            ignore,
            fixed,
            // They change no value: they decide what is refused.
            ignore_unused: _,
            may_be_idle: _,
        } = &self.matching;
        let fixed = fixed
            .iter()
            .map(|it| format!("{}={}", it.pattern, it.model));
        let left_out = [("ignore", ignore.clone()), ("fixed", fixed.collect())];
        let left_out = left_out.into_iter().filter(|(_, list)| !list.is_empty());
        let left_out = left_out.map(|(key, list)| (key, list.join(", ")));
        [
            ("limit", limit.to_string()),
            ("seed", self.seed.to_string()),
            ("bn", self.batch_norm.to_string()),
        ]
        .into_iter()
        .chain(left_out)
        .map(|(key, value)| (key.to_string(), value))
        .collect()
    }
}
