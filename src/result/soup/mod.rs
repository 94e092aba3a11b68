//! The soups table: single models, averages of weights, ensembles of logits.

pub mod file;
mod ray;
mod resampling;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::ray::{MinusBest, Ray, RayPoint};
pub use self::resampling::{Inclusion, Resampling, Spread};
use crate::result::calibration::Calibration;
use crate::result::combine::Combine;
use crate::result::comparison::Comparison;
use crate::result::learned::Learning;
use crate::result::method::{Method, MethodName};
use crate::result::models::{Accuracies, Individual};
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
    /// The ways from θ0 to the best individual model and to each soup that is one row of the table.
    #[serde(default)]
    pub rays: Vec<Ray>,
    /// How the greedy soup depends on the images of the validation set, if that was asked for.
    #[serde(default)]
    pub resampling: Option<Resampling>,
    /// Comparisons of the methods on the same samples: with the best individual model, and with
    /// every method that is one row of the table.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// The same of θ0, which is no method; `method` is its name.
    #[serde(default)]
    pub origin_comparisons: Vec<Comparison>,
    /// For each data set and mean, the names of the rows of the table (θ0 by its own) that may be the
    /// highest: with probability 95 % all that truly are. Rows of several orders are not compared.
    #[serde(default)]
    pub may_be_highest: BTreeMap<String, Vec<String>>,
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

/// A row of the table: the results of a method, by their index among all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow(pub Vec<usize>);

impl TableRow {
    /// The result, unless the row is a mean over several orders.
    pub fn single(&self) -> Option<usize> {
        match self.0.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}

impl Soups {
    /// The rows of the table, in the order of the methods. Random orders share a row. A sweep is
    /// represented by its best point on the validation set, or shown in full if there is none.
    pub fn rows(&self) -> Vec<TableRow> {
        let val = |index: &usize| Accuracies::of(&self.datasets, &self.methods[*index].scores).val;
        let rows = |kind: (Method, Option<Method>, bool)| -> Vec<TableRow> {
            let made = self.methods.iter().enumerate();
            let made = made.filter(|(_, made)| made.kind() == kind);
            let (mut all, settings): (Vec<usize>, Vec<bool>) = made
                .map(|(index, made)| (index, made.setting.is_some()))
                .unzip();
            if !settings.contains(&true) {
                return vec![TableRow(all)];
            }
            if val(&all[0]).is_finite() {
                // The sort is stable: among equals the first wins.
                all.sort_by(|a, b| val(b).total_cmp(&val(a)));
                all.truncate(1);
            }
            all.into_iter().map(|one| TableRow(vec![one])).collect()
        };
        let kinds: BTreeSet<_> = self.methods.iter().map(MethodResult::kind).collect();
        kinds.into_iter().flat_map(rows).collect()
    }

    /// Whether a model is in the table because it has the best or the second best validation accuracy.
    pub fn is_chosen(&self, model: &Individual) -> bool {
        self.methods.iter().any(|made| {
            let of_one = matches!(made.method, Method::Best | Method::Second);
            of_one && made.val_in_sample && made.members.first() == Some(&model.name)
        })
    }

    /// The comparison of a model, by its name and its seed, with a reference on a data set or a mean,
    /// if there is one.
    pub fn comparison(
        &self,
        (name, seed): (&str, Option<u64>),
        reference: &str,
        dataset: &str,
    ) -> Option<&Comparison> {
        let mut all = self.comparisons.iter().chain(&self.origin_comparisons);
        all.find(|it| {
            it.method == name
                && it.seed == seed
                && it.reference == reference
                && it.dataset == dataset
        })
    }
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
    /// What it averages, if it is an ensemble.
    #[serde(default, skip_serializing_if = "Combine::is_logits")]
    pub combine: Combine,
    /// The factor β that a soup was learned with. Scores are those of the logits without it.
    #[serde(with = "crate::base::number", default)]
    pub beta: Option<f64>,
    /// Whether the validation set chose the model, its coefficients or its number: its accuracy there
    /// is then in-sample, too high on average.
    #[serde(default)]
    pub val_in_sample: bool,
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
    /// What the results of one row of the table, or of one sweep, have in common.
    fn kind(&self) -> (Method, Option<Method>, bool) {
        (self.method, self.base, !self.combine.is_logits())
    }

    /// The method's name in tables and figures, without its number.
    pub fn label(&self) -> String {
        match (self.base, self.combine) {
            (Some(base), _) => format!("{}, shortened", base.label()),
            (None, Combine::Logits) => self.method.label().to_string(),
            (None, Combine::Probabilities) => format!("{} of probabilities", self.method.label()),
        }
    }
}

impl fmt::Display for MethodResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.combine {
            Combine::Logits => MethodName(self.method, self.base, self.setting).fmt(f),
            Combine::Probabilities => f.write_str(&row_name(self.method, self.combine)),
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
    /// Number of validation samples that only the average with the model has right, compared with
    /// the average before; none for the first model.
    #[serde(default)]
    pub gained: Option<usize>,
    /// Number of validation samples that only the average before has right.
    #[serde(default)]
    pub lost: Option<usize>,
    /// Exact two-sided p value of McNemar's test that the two are right equally often.
    #[serde(with = "crate::base::number", default)]
    pub mcnemar_p: Option<f64>,
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
