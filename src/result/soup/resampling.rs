//! How the greedy soup depends on the images of the validation set.

use serde::{Deserialize, Serialize};

/// The greedy recipe, run again on resamples of the validation set (a bootstrap over images, given
/// these models and the order of ties).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resampling {
    /// Number of resamples.
    pub resamples: usize,
    /// Their seed.
    pub seed: u64,
    /// Number of different soups that they end with.
    pub soups: usize,
    /// Fraction of the resamples that end with the soup in the table.
    #[serde(with = "crate::base::number")]
    pub published: f64,
    /// Number of soups that were evaluated for this and for nothing else.
    pub evaluated: usize,
    /// How often each model is in the soup, in the order of the list: `NAME.resample.csv`.
    pub models: Vec<Inclusion>,
    /// Test accuracy of the soups; none without a test set.
    pub test: Option<Spread>,
    /// Mean accuracy of the soups over the shift sets; none without any.
    pub shifts: Option<Spread>,
}

/// How often a model is in the greedy soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inclusion {
    /// Name of the model.
    pub model: String,
    /// Fraction of the resamples.
    #[serde(with = "crate::base::number")]
    pub frequency: f64,
}

/// The accuracy of the soups, a fraction, over resamples of the validation set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Standard deviation.
    #[serde(with = "crate::base::number")]
    pub sd: f64,
    /// The value below which 2.5 % of the resamples lie.
    #[serde(with = "crate::base::number")]
    pub low: f64,
    /// The value below which 97.5 % of the resamples lie.
    #[serde(with = "crate::base::number")]
    pub high: f64,
}
