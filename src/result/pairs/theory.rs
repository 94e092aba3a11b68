//! Soup and ensemble of pairs, and the prediction of section 4 of "Model soups".

use serde::{Deserialize, Serialize};

use super::Correlation;

/// Soup and ensemble of a pair at one α on one data set: the difference of their losses, and the
/// prediction of section 4 of "Model soups".
///
/// Every standard error is paired: that of a mean of differences on the same samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TheoryPoint {
    /// Name of the first checkpoint, at α = 0.
    pub a: String,
    /// Name of the second checkpoint, at α = 1.
    pub b: String,
    /// Name of the data set.
    pub dataset: String,
    /// Position on the path.
    #[serde(with = "crate::base::number")]
    pub alpha: f64,
    /// Factor β of all logits.
    #[serde(with = "crate::base::number")]
    pub beta: f64,
    /// Whether β was calibrated for the soup on the validation set; otherwise it is 1.
    pub calibrated: bool,
    /// Error of the soup, a fraction.
    #[serde(with = "crate::base::number")]
    pub error_soup: f64,
    /// Error of the ensemble, a fraction.
    #[serde(with = "crate::base::number")]
    pub error_ensemble: f64,
    /// Loss of the soup, in nats, at β.
    #[serde(with = "crate::base::number")]
    pub loss_soup: f64,
    /// Loss of the ensemble, in nats, at β.
    #[serde(with = "crate::base::number")]
    pub loss_ensemble: f64,
    /// Predicted loss difference, α(1−α)/2·(−d²L/dα² + β²·`E Var[Δf]`).
    #[serde(with = "crate::base::number")]
    pub approximation: f64,
    /// The same prediction with ∂f/∂α in place of Δf.
    #[serde(with = "crate::base::number")]
    pub approximation_path: f64,
    /// h of the derivatives in α; on each side no further than the end of the path.
    #[serde(with = "crate::base::number")]
    pub step: f64,
    /// Standard error of `loss_soup` − `loss_ensemble`.
    #[serde(with = "crate::base::number")]
    pub loss_difference_se: f64,
    /// Standard error of `error_soup` − `error_ensemble`.
    #[serde(with = "crate::base::number")]
    pub error_difference_se: f64,
    /// Standard error of `approximation`.
    #[serde(with = "crate::base::number")]
    pub approximation_se: f64,
    /// Standard error of `approximation_path`.
    #[serde(with = "crate::base::number")]
    pub approximation_path_se: f64,
    /// Standard error of the loss difference minus `approximation`.
    #[serde(with = "crate::base::number")]
    pub residual_se: f64,
    /// Standard error of the loss difference minus `approximation_path`.
    #[serde(with = "crate::base::number")]
    pub residual_path_se: f64,
    /// Loss of the midpoint soup minus the mean loss of the two ends, in nats, on this data set; at
    /// the β that calibrates the midpoint soup if `calibrated`.
    #[serde(with = "crate::base::number")]
    pub rise: f64,
    /// Standard error of `rise`.
    #[serde(with = "crate::base::number")]
    pub rise_se: f64,
    /// Whether the pair is behind a barrier: `rise` is more than two of its standard errors.
    pub barrier: bool,
}

impl TheoryPoint {
    /// Loss of the soup minus that of the ensemble, in nats.
    pub fn loss_difference(&self) -> f64 {
        self.loss_soup - self.loss_ensemble
    }
}

/// How well the prediction agrees with the difference of the losses, over points alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TheoryAgreement {
    /// h of the derivatives.
    #[serde(with = "crate::base::number")]
    pub step: f64,
    /// Whether β was calibrated.
    pub calibrated: bool,
    /// Whether the pairs are behind a barrier.
    pub barrier: bool,
    /// Number of points.
    pub points: usize,
    /// Rank correlation (Spearman) of the loss difference with `approximation`.
    pub rank: Correlation,
    /// Rank correlation (Spearman) of the loss difference with `approximation_path`.
    pub rank_path: Correlation,
    /// Number of points whose loss difference is more than two standard errors from 0.
    pub signs: usize,
    /// How many of these have an `approximation` of the same sign.
    pub same_sign: usize,
    /// How many of these have an `approximation_path` of the same sign.
    pub same_sign_path: usize,
}
