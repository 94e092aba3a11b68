//! How far a model's probabilities can be believed, before and after calibration.

use serde::{Deserialize, Serialize};

/// Loss and calibration of softmax(β·z) on one data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Factor β of the logits z (inverse temperature).
    #[serde(with = "crate::base::number")]
    pub beta: f64,
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
