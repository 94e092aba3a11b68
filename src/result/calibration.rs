//! How far a model's probabilities can be believed, before and after calibration.

use serde::{Deserialize, Serialize};

use super::score::{DatasetInfo, Role, Score};

/// Loss and calibration of softmax(β·z) on one data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Mean cross-entropy of β·z, in nats.
    #[serde(with = "crate::base::number")]
    pub loss: f64,
    /// Expected calibration error over 15 bins of equal width, in [0, 1].
    #[serde(with = "crate::base::number")]
    pub ece: f64,
    /// Brier score: the mean over samples of Σ (p − one-hot)² over the classes, in [0, 2].
    #[serde(with = "crate::base::number")]
    pub brier: f64,
}

/// A model's loss and calibration on every data set, at β = 1 and at the β that is best on the
/// validation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The β of least loss on the validation set, within 0.001 to 1000; NaN without one.
    #[serde(with = "crate::base::number")]
    pub beta: f64,
    /// At β = 1, `plain[data set]`.
    pub plain: Vec<Reliability>,
    /// At `beta`, `calibrated[data set]`.
    pub calibrated: Vec<Reliability>,
}

/// The groups of data sets that have columns.
const GROUPS: [Role; 3] = [Role::Val, Role::Test, Role::Shift];

/// The names of the columns of [`record`]. `val_loss` is not among them: it stands beside the
/// accuracies.
pub fn header() -> Vec<String> {
    let columns = GROUPS.into_iter().flat_map(|role| {
        let own = (role != Role::Val).then_some("loss");
        let all = own.into_iter().chain([
            "loss_calibrated",
            "ece",
            "ece_calibrated",
            "brier",
            "brier_calibrated",
        ]);
        all.map(move |what| format!("{}_{what}", role.name()))
    });
    std::iter::once("beta".to_string()).chain(columns).collect()
}

/// The values of a model in the order of [`header`]; of shifts, unweighted means over the sets. What
/// is not known is NaN.
pub fn record(
    datasets: &[DatasetInfo],
    scores: &[Score],
    calibration: Option<&Calibration>,
) -> Vec<String> {
    let beta = calibration.map_or(f64::NAN, |of| of.beta);
    let mut values = vec![beta];
    for role in GROUPS {
        let sets: Vec<usize> = (0..datasets.len())
            .filter(|&set| datasets[set].role == role)
            .collect();
        // Without such sets, 0/0 is NaN.
        let mean = |of: &dyn Fn(usize) -> Option<f64>| {
            let values = sets.iter().map(|&set| of(set).unwrap_or(f64::NAN));
            values.sum::<f64>() / sets.len() as f64
        };
        if role != Role::Val {
            values.push(mean(&|set| Some(scores.get(set)?.loss)));
        }
        let plain = |set: usize| calibration.and_then(|of| of.plain.get(set));
        let calibrated = |set: usize| calibration.and_then(|of| of.calibrated.get(set));
        values.extend([
            mean(&|set| Some(calibrated(set)?.loss)),
            mean(&|set| Some(plain(set)?.ece)),
            mean(&|set| Some(calibrated(set)?.ece)),
            mean(&|set| Some(plain(set)?.brier)),
            mean(&|set| Some(calibrated(set)?.brier)),
        ]);
    }
    values.iter().map(f64::to_string).collect()
}
