//! The models of a pool: their hyperparameters and scores.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::score::{DatasetInfo, Role, Score};

/// A single model: θ0 or a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Individual {
    /// Name in the list of models.
    pub name: String,
    /// Path of the file as it was given.
    pub path: String,
    /// The other columns of the list, in their order: hyperparameters and anything else.
    pub hyperparameters: IndexMap<String, String>,
    /// `scores[data set]`.
    pub scores: Vec<Score>,
    /// Its calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// The columns of every table of models. Accuracies are fractions.
#[derive(Debug, Clone, PartialEq)]
pub struct Accuracies {
    /// Accuracy on the validation set; NaN without one.
    pub val: f64,
    /// Loss on the validation set in nats, at β = 1; NaN without one.
    pub val_loss: f64,
    /// Accuracy on the test set; NaN without one.
    pub test: f64,
    /// Unweighted mean accuracy over the shift sets; NaN without any.
    pub shift: f64,
    /// Accuracy on each shift and source set, by name. Sources, θ0's own domain, are in no mean.
    pub named: BTreeMap<String, f64>,
}

impl Accuracies {
    /// Computes the columns from `scores[data set]`.
    pub fn of(datasets: &[DatasetInfo], scores: &[Score]) -> Self {
        let pairs = || datasets.iter().zip(scores);
        let one = |role: Role| pairs().find(|(set, _)| set.role == role);
        let accuracy = |role| one(role).map_or(f64::NAN, |(set, score)| set.accuracy(score.error));
        let each = |of: fn(&DatasetInfo) -> bool| {
            let sets = pairs().filter(move |(set, _)| of(set));
            sets.map(|(set, score)| (set.name.clone(), set.accuracy(score.error)))
        };
        let shifts: Vec<f64> = each(|set| set.role == Role::Shift).map(|it| it.1).collect();
        Self {
            val: accuracy(Role::Val),
            val_loss: one(Role::Val).map_or(f64::NAN, |(_, score)| score.loss),
            test: accuracy(Role::Test),
            // Without shifts, 0/0 is NaN.
            shift: shifts.iter().sum::<f64>() / shifts.len() as f64,
            named: each(is_named).collect(),
        }
    }

    /// The values, in the order of [`Accuracies::header`].
    pub fn record(&self, datasets: &[DatasetInfo]) -> Vec<String> {
        let fixed = [self.val, self.val_loss, self.test, self.shift];
        let named = own_columns(datasets).map(|name| self.named[name]);
        fixed
            .into_iter()
            .chain(named)
            .map(|value| value.to_string())
            .collect()
    }

    /// The names of the columns.
    pub fn header(datasets: &[DatasetInfo]) -> Vec<String> {
        let fixed = [
            "val_accuracy",
            "val_loss",
            "test_accuracy",
            "shift_accuracy",
        ];
        let named = own_columns(datasets).map(|name| format!("accuracy_{name}"));
        fixed.map(String::from).into_iter().chain(named).collect()
    }
}

/// Whether a data set has a name of its own, and a column under it.
fn is_named(set: &DatasetInfo) -> bool {
    matches!(set.role, Role::Shift | Role::Source)
}

fn own_columns(datasets: &[DatasetInfo]) -> impl Iterator<Item = &String> {
    let named = datasets.iter().filter(|set| is_named(set));
    named.map(|set| &set.name)
}
