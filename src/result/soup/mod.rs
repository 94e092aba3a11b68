//! The soups table: single models, averages of weights, ensembles of logits.

pub mod file;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::result::learned::Learning;
use crate::result::method::{Method, MethodName};
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
    /// Every decision of the greedy methods, in order.
    pub decisions: Vec<Decision>,
    /// The course of each learned soup.
    #[serde(default)]
    pub learned: Vec<Learning>,
    /// The saved models, as they were read back.
    #[serde(default)]
    pub saved: Vec<SavedModel>,
    /// Number of evaluations.
    pub evaluations: Evaluations,
    /// Warnings about the result.
    pub warnings: Vec<String>,
    /// Provenance of the numbers.
    pub provenance: Provenance,
}

/// The result of a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// The method.
    pub method: Method,
    /// For WiSE-FT, the method whose model is joined with θ0; `None` for the best model.
    #[serde(default)]
    pub base: Option<Method>,
    /// α, s or t, if the method has one.
    #[serde(with = "crate::base::number", default)]
    pub setting: Option<f64>,
    /// Seed, if the method has one.
    pub seed: Option<u64>,
    /// Names of its members, in the order in which they were added.
    pub members: Vec<String>,
    /// Weights of the members, including θ0 if it has one.
    pub coefficients: Vec<Coefficient>,
    /// Factor of the logits of a learned soup.
    #[serde(with = "crate::base::number", default)]
    pub beta: Option<f64>,
    /// `scores[data set]`. With a β, the loss on the validation set is that of β·logits; all other
    /// losses are those of the logits themselves.
    pub scores: Vec<Score>,
}

impl fmt::Display for MethodResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MethodName(self.method, self.base, self.setting).fmt(f)
    }
}

impl MethodResult {
    /// The method's name in the paper's table, without its number.
    pub fn label(&self) -> String {
        match self.base {
            Some(base) => format!("WiSE-FT of {}", base.label()),
            None => self.method.label().to_string(),
        }
    }
}

/// A model that was written to a file, read back and evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedModel {
    /// The method, with its base and number.
    pub method: String,
    /// Path of the file.
    pub path: String,
    /// Element types of its mixed tensors: `graph`, `like`, `f32`, `bf16` or `f16`.
    pub dtype: String,
    /// The data set that the file was evaluated on: validation, or else the first.
    pub dataset: String,
    /// The score of the model in the file, at β = 1; `None` if it was not evaluated.
    pub score: Option<Score>,
    /// The score of the evaluated model, which the table shows.
    pub table: Score,
    /// Why the file was not evaluated.
    pub unchecked: Option<String>,
}

/// A model's weight in a soup or an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// Name of the model.
    pub model: String,
    /// Name of the tensor, if each tensor has its own weight.
    pub tensor: Option<String>,
    /// The weight.
    #[serde(with = "crate::base::number")]
    pub coefficient: f64,
}

/// A decision of a greedy method about one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The method.
    pub method: Method,
    /// Seed, if the method has one.
    pub seed: Option<u64>,
    /// Number of the trial, from 1.
    pub step: usize,
    /// Name of the model that was tried.
    pub model: String,
    /// Validation accuracy with the model, a fraction.
    #[serde(with = "crate::base::number")]
    pub val_accuracy: f64,
    /// Whether the model was added.
    pub added: bool,
    /// Number of members after the decision.
    pub members: usize,
}

/// Counts of evaluations in the last run; a resumed run has fewer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluations {
    /// Number of models whose logits were computed on all data sets.
    pub logits: usize,
    /// Number of soups evaluated, many of them only on the validation set.
    pub soups: usize,
    /// Number of requested soups that had been evaluated already.
    pub remembered: usize,
    /// Number of samples that went through the network, over all models.
    pub samples: usize,
    /// Number of samples that went through the network, with or without its gradient, while soups
    /// were learned.
    #[serde(default)]
    pub learning: usize,
}
