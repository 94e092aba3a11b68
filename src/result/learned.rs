//! The learning of a soup, step by step: part of `NAME.json`, and `NAME.learned.csv`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::method::Method;

/// The course of learning a soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// The method: `learned` or `learned-by-layer`.
    pub method: Method,
    /// The settings of learning.
    pub settings: LearningSettings,
    /// Where learning started.
    #[serde(default)]
    pub start: Start,
    /// Numbers of samples: `[learned from, held out to judge]`.
    pub samples: [usize; 2],
    /// What each row of α applies to, in the network's order: `rows[row]`.
    pub rows: Vec<Row>,
    /// Every step of the optimizer.
    pub steps: Vec<Step>,
    /// The start, then the end of each epoch.
    pub epochs: Vec<Epoch>,
    /// Index into `epochs` of the one whose coefficients were kept.
    pub best: usize,
    /// Why learning ended.
    pub ended: Ended,
}

impl Learning {
    /// The epoch whose coefficients were kept; `None` only if a file was edited by hand.
    pub fn kept(&self) -> Option<&Epoch> {
        self.epochs.get(self.best)
    }
}

/// The soup at which learning starts: of those whose logits are known, the one with the least loss
/// at its best β.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The uniform soup.
    #[default]
    Uniform,
    /// The greedy soup.
    Greedy,
    /// A single model: a vertex of the models' hull.
    Model,
}

impl Start {
    /// What it is, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform soup",
            Self::Greedy => "greedy soup",
            Self::Model => "best single model",
        }
    }
}

/// How α and β are changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// AdamW on mini-batches, as in the paper's released code
    #[default]
    #[value(name = "adamw")]
    #[serde(rename = "adamw")]
    AdamW,
    /// L-BFGS on all samples, until no step lowers the loss
    #[value(name = "lbfgs")]
    #[serde(rename = "lbfgs")]
    Lbfgs,
}

/// How long soups are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// Passes over the samples; of L-BFGS, its largest number of iterations.
    Epochs(usize),
    /// Steps of the optimizer, rounded up to whole epochs.
    Steps(usize),
}

impl Length {
    /// The number of epochs if each has this many steps.
    pub fn epochs(self, steps_each: usize) -> usize {
        match self {
            Self::Epochs(epochs) => epochs,
            Self::Steps(steps) => steps.div_ceil(steps_each.max(1)),
        }
    }
}

/// Settings of a learned soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearningSettings {
    /// What gets a row of α of its own.
    pub layers: Layers,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// How long it goes on at most: a key `epochs` or `steps`.
    #[serde(flatten)]
    pub length: Length,
    /// Constant learning rate of AdamW.
    #[serde(with = "crate::base::number")]
    pub learning_rate: f64,
    /// Weight decay of AdamW. It applies to β and to the parameters of α, so it pulls α to the
    /// uniform soup.
    #[serde(with = "crate::base::number")]
    pub weight_decay: f64,
    /// Samples per step of AdamW; the last step of an epoch takes the remainder.
    pub batch: usize,
    /// Whether a row of α is a softmax, which keeps it within the models' convex hull. Otherwise
    /// its coefficients are constrained only by their sum, which is 1.
    pub softmax: bool,
    /// Whether β is learned; otherwise it is 1.
    pub learns_beta: bool,
    /// Fraction of the validation set that is held out, in (0, 1).
    #[serde(with = "crate::base::number", default)]
    pub holdout: Option<f64>,
    /// Number of epochs without gain on the held-out samples after which learning ends.
    pub patience: usize,
    /// Seed of the held-out samples and of the order of the others.
    pub seed: u64,
}

/// What gets a row of α of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layers {
    /// Nothing: one row serves the network
    #[value(skip)]
    All,
    /// Each tensor that differs between models, as in the paper's released code
    Tensor,
    /// Each block of layers, by the first number in the tensors' names
    Block,
}

/// What a row of α applies to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the tensor or block; empty if the row applies to the whole network.
    pub name: String,
    /// Names of the tensors it applies to.
    pub tensors: Vec<String>,
}

/// A step of the optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the step, from 1.
    pub step: usize,
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Loss of the mini-batch before the step, in nats.
    #[serde(with = "crate::base::number")]
    pub batch_loss: f64,
    /// Error on the mini-batch before the step, a fraction.
    #[serde(with = "crate::base::number")]
    pub batch_error: f64,
    /// β after the step.
    #[serde(with = "crate::base::number")]
    pub beta: f64,
}

/// The state at the end of an epoch, or at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number of the epoch; 0 is the start.
    pub epoch: usize,
    /// Number of steps so far.
    pub step: usize,
    /// Loss in nats on the samples that epochs are judged by: those held out, else the whole
    /// validation set.
    #[serde(with = "crate::base::number")]
    pub selection_loss: f64,
    /// Error on the same samples, a fraction.
    #[serde(with = "crate::base::number")]
    pub selection_error: f64,
    /// How much lower this loss is than that of the epoch before, and the paired standard error of
    /// this gain over the samples; `None` at the start and where single losses are not known.
    #[serde(
        with = "crate::base::number",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub gain: Option<f64>,
    /// The standard error of `gain`.
    #[serde(
        with = "crate::base::number",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub gain_se: Option<f64>,
    /// The factor β of the logits.
    #[serde(with = "crate::base::number")]
    pub beta: f64,
    /// `alpha[row][model]`, with the models in the order of the list.
    #[serde(with = "crate::base::number")]
    pub alpha: Vec<Vec<f64>>,
}

/// Why learning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All epochs were completed.
    Done,
    /// L-BFGS gained nothing more, and a new beginning toward what the slopes favour did not, either.
    Converged,
    /// The held-out samples showed no more gain.
    NoGain,
    /// A loss or a gradient was NaN or infinite.
    NotFinite,
}
