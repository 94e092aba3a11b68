//! The soups table: single models, averages of weights, ensembles of logits.

pub mod file;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::result::learned::Learning;
use crate::result::method::Method;
use crate::result::models::Individual;
use crate::result::provenance::Provenance;
use crate::result::score::{DatasetInfo, Score};

/// The contents of `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Soups {
    /// The data sets, in the order of all scores.
    pub datasets: Vec<DatasetInfo>,
    /// θ0.
    pub origin: Individual,
    /// The checkpoints, in the order of the list.
    pub models: Vec<Individual>,
    /// The methods, in the order of the table.
    pub methods: Vec<MethodResult>,
    /// Every decision of the greedy methods, in the order in which they were made.
    pub decisions: Vec<Decision>,
    /// How the learned soups came about.
    #[serde(default)]
    pub learned: Vec<Learning>,
    /// What it took.
    pub evaluations: Evaluations,
    /// Things the reader should know.
    pub warnings: Vec<String>,
    /// Where the numbers come from.
    pub provenance: Provenance,
}

/// What a method made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// Which.
    pub method: Method,
    /// α, λ or t of a method that has one.
    #[serde(with = "crate::base::number", default)]
    pub setting: Option<f64>,
    /// Seed of a method that has one.
    pub seed: Option<u64>,
    /// Names of the models that it is made of, in the order in which they came in.
    pub members: Vec<String>,
    /// Their weights, θ0's too where it has one.
    pub coefficients: Vec<Coefficient>,
    /// What the logits of a learned soup are multiplied by.
    #[serde(with = "crate::base::number", default)]
    pub beta: Option<f64>,
    /// One entry a data set. The loss on the validation set is that of β·logits where there is a
    /// β; others are of the logits themselves.
    pub scores: Vec<Score>,
}

impl fmt::Display for MethodResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.name())?;
        match self.setting {
            Some(setting) => write!(f, ":{setting}"),
            None => Ok(()),
        }
    }
}

/// A model's weight in a soup or an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// The model.
    pub model: String,
    /// The tensor, where each has a weight of its own.
    pub tensor: Option<String>,
    /// The weight.
    #[serde(with = "crate::base::number")]
    pub coefficient: f64,
}

/// A greedy method tried a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Which method.
    pub method: Method,
    /// Its seed, where it has one.
    pub seed: Option<u64>,
    /// Number of the trial, from 1.
    pub step: usize,
    /// The model that was tried.
    pub model: String,
    /// Validation accuracy with it, a fraction.
    #[serde(with = "crate::base::number")]
    pub val_accuracy: f64,
    /// Whether it was taken.
    pub added: bool,
    /// Members after the decision.
    pub members: usize,
}

/// What the last run took: one that goes on where another was stopped takes less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluations {
    /// Models whose logits were computed on all data sets.
    pub logits: usize,
    /// Soups that were evaluated, many of them on the validation set alone.
    pub soups: usize,
    /// Soups that were asked for and known already.
    pub remembered: usize,
    /// Samples that went through the network, over all models.
    pub samples: usize,
    /// Samples that went through the network, or through it and its gradient, while soups were
    /// learned.
    #[serde(default)]
    pub learning: usize,
}
