//! Comparisons of two models on the same samples: `NAME.comparisons.csv`.

use serde::{Deserialize, Serialize};

/// A model compared with a reference on a data set, or in the mean over several. Differences are
/// the model's value minus the reference's; their standard errors are paired: over samples, given
/// these models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The model: a method as the table of results names it.
    pub method: String,
    /// Seed of the method's random order, if it has one.
    pub seed: Option<u64>,
    /// The model or the method that it is compared with.
    pub reference: String,
    /// Name of the data set, or of the mean over several.
    pub dataset: String,
    /// Role of the data set, or `mean`.
    pub role: String,
    /// Number of samples.
    pub samples: usize,
    /// Difference of the accuracies, a fraction.
    #[serde(with = "crate::base::number")]
    pub delta_accuracy: f64,
    /// Its standard error.
    #[serde(with = "crate::base::number")]
    pub delta_accuracy_se: f64,
    /// Number of samples that only the model has right; none for a mean.
    pub only_method: Option<usize>,
    /// Number of samples that only the reference has right; none for a mean.
    pub only_reference: Option<usize>,
    /// Exact two-sided p value of McNemar's test; none for a mean.
    #[serde(with = "crate::base::number")]
    pub mcnemar_p: Option<f64>,
    /// Difference of the losses in nats, both of the logits themselves (β = 1).
    #[serde(with = "crate::base::number")]
    pub delta_loss: f64,
    /// Its standard error.
    #[serde(with = "crate::base::number")]
    pub delta_loss_se: f64,
    /// The smallest mean difference of the accuracies when one data set is left out; none but for
    /// a mean over two or more.
    #[serde(with = "crate::base::number")]
    pub without_one_low: Option<f64>,
    /// The largest such mean.
    #[serde(with = "crate::base::number")]
    pub without_one_high: Option<f64>,
}
