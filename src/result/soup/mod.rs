//! The soups table: single models, averages of weights, ensembles of logits.

pub mod file;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::result::calibration::Calibration;
use crate::result::combine::Combine;
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
    /// Every decision of the greedy methods, in order.
    pub decisions: Vec<Decision>,
    /// The course of each learned soup.
    #[serde(default)]
    pub learned: Vec<Learning>,
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
    /// α, λ or t, if the method has one.
    #[serde(with = "crate::base::number", default)]
    pub setting: Option<f64>,
    /// Seed, if the method has one.
    pub seed: Option<u64>,
    /// Names of its members, in the order in which they were added.
    pub members: Vec<String>,
    /// Weights of the members, including θ0 if it has one.
    pub coefficients: Vec<Coefficient>,
    /// What it averages, if it is an ensemble.
    #[serde(default, skip_serializing_if = "Combine::is_logits")]
    pub combine: Combine,
    /// The factor β that a soup was learned with. Scores are those of the logits without it.
    #[serde(with = "crate::base::number", default)]
    pub beta: Option<f64>,
    /// `scores[data set]`, at β = 1.
    pub scores: Vec<Score>,
    /// Its calibration, as that of every model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// The name of a method in files; an ensemble of probabilities is told from one of logits.
pub fn row_name(method: Method, combine: Combine) -> String {
    match combine {
        Combine::Logits => method.name().to_string(),
        Combine::Probabilities => format!("{}:probabilities", method.name()),
    }
}

impl MethodResult {
    /// The method's name in tables and figures.
    pub fn label(&self) -> String {
        match self.combine {
            Combine::Logits => self.method.label().to_string(),
            Combine::Probabilities => format!("{} of probabilities", self.method.label()),
        }
    }
}

impl fmt::Display for MethodResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&row_name(self.method, self.combine))?;
        match self.setting {
            Some(setting) => write!(f, ":{setting}"),
            None => Ok(()),
        }
    }
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
    /// What it averages, if it is an ensemble.
    #[serde(default, skip_serializing_if = "Combine::is_logits")]
    pub combine: Combine,
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
