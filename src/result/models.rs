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
    /// Accuracy on each shift set, by name.
    pub shifts: BTreeMap<String, f64>,
}

impl Accuracies {
    /// Computes the columns from `scores[data set]`.
    pub fn of(datasets: &[DatasetInfo], scores: &[Score]) -> Self {
        let pairs = || datasets.iter().zip(scores);
        let one = |role: Role| pairs().find(|(set, _)| set.role == role);
        let accuracy = |role| one(role).map_or(f64::NAN, |(set, score)| set.accuracy(score.error));
        let shifts = pairs().filter(|(set, _)| set.role == Role::Shift);
        let shifts: BTreeMap<String, f64> = shifts
            .map(|(set, score)| (set.name.clone(), set.accuracy(score.error)))
            .collect();
        Self {
            val: accuracy(Role::Val),
            val_loss: one(Role::Val).map_or(f64::NAN, |(_, score)| score.loss),
            test: accuracy(Role::Test),
            // Without shifts, 0/0 is NaN.
            shift: shifts.values().sum::<f64>() / shifts.len() as f64,
            shifts,
        }
    }

    /// The values, in the order of [`Accuracies::header`].
    pub fn record(&self, datasets: &[DatasetInfo]) -> Vec<String> {
        let fixed = [self.val, self.val_loss, self.test, self.shift];
        let shifts = shift_names(datasets).map(|name| self.shifts[name]);
        fixed
            .into_iter()
            .chain(shifts)
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
        let shifts = shift_names(datasets).map(|name| format!("accuracy_{name}"));
        fixed.map(String::from).into_iter().chain(shifts).collect()
    }
}

fn shift_names(datasets: &[DatasetInfo]) -> impl Iterator<Item = &String> {
    let shifts = datasets.iter().filter(|set| set.role == Role::Shift);
    shifts.map(|set| &set.name)
}
