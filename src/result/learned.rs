//! How a learned soup came about: a part of `NAME.json`, and `NAME.learned.csv`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::method::Method;

/// A learned soup's course, from the uniform soup on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// Which of the two.
    pub method: Method,
    /// How it was learned.
    pub settings: LearningSettings,
    /// Samples that it was learned from, and those that were held out to judge it by.
    pub samples: [usize; 2],
    /// What each row of α serves, in the network's order.
    pub rows: Vec<Row>,
    /// Every step of the optimizer.
    pub steps: Vec<Step>,
    /// The start, then the end of every epoch.
    pub epochs: Vec<Epoch>,
    /// The place among the epochs of the one whose coefficients were kept.
    pub best: usize,
    /// Why it came to its end.
    pub ended: Ended,
}

impl Learning {
    /// The epoch whose coefficients were kept; `None` only where a file was changed by hand.
    pub fn kept(&self) -> Option<&Epoch> {
        self.epochs.get(self.best)
    }
}

/// How a soup is learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearningSettings {
    /// What has a row of α of its own.
    pub layers: Layers,
    /// Passes over the samples.
    pub epochs: usize,
    /// AdamW's, the same in all steps.
    #[serde(with = "crate::base::number")]
    pub learning_rate: f64,
    /// AdamW's: of β and of what α is computed from, so that it draws α to the uniform soup.
    #[serde(with = "crate::base::number")]
    pub weight_decay: f64,
    /// Samples a step; the last step of an epoch takes what is left.
    pub batch: usize,
    /// Whether a row of α is a softmax, and so within the models' convex hull. Otherwise its
    /// coefficients are free but for their sum, which is 1.
    pub softmax: bool,
    /// Whether β is learned; otherwise it is 1.
    pub learns_beta: bool,
    /// The part of the validation set that is held out, in (0, 1).
    #[serde(with = "crate::base::number", default)]
    pub holdout: Option<f64>,
    /// With a part held out, the epochs without gain on it after which learning ends.
    pub patience: usize,
    /// Seed of what is held out and of the order of the samples.
    pub seed: u64,
}

/// What has a row of α of its own.
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

/// A row of α.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The tensor or the block; empty where one row serves the network.
    pub name: String,
    /// The tensors that it serves.
    pub tensors: Vec<String>,
}

/// A step of the optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number, from 1.
    pub step: usize,
    /// Number of its epoch, from 1.
    pub epoch: usize,
    /// Loss of the mini-batch before the step, in nats.
    #[serde(with = "crate::base::number")]
    pub batch_loss: f64,
    /// Error of the mini-batch before the step, a fraction.
    #[serde(with = "crate::base::number")]
    pub batch_error: f64,
    /// β after the step.
    #[serde(with = "crate::base::number")]
    pub beta: f64,
}

/// The end of an epoch, or the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number; 0 is the start: the uniform soup with β = 1.
    pub epoch: usize,
    /// Steps taken by then.
    pub step: usize,
    /// Loss on the samples that it is judged by (those held out, else the whole validation set),
    /// in nats.
    #[serde(with = "crate::base::number")]
    pub selection_loss: f64,
    /// Error on the same samples, a fraction.
    #[serde(with = "crate::base::number")]
    pub selection_error: f64,
    /// β.
    #[serde(with = "crate::base::number")]
    pub beta: f64,
    /// α, `[row][model]`, the models in the order of the list.
    #[serde(with = "crate::base::number")]
    pub alpha: Vec<Vec<f64>>,
}

/// Why learning came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All epochs were done.
    Done,
    /// The held-out samples had no more gain.
    NoGain,
    /// A loss or a slope was NaN or infinite.
    NotFinite,
}
