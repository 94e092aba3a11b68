//! Rays: a model shortened step by step on its straight way back to θ0.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::result::method::{Method, MethodName};
use crate::result::score::Score;

/// The mixes (1−α)·θ0 + α·θ between θ0 and the model θ that a method made. An average lies nearer to
/// θ0 than its members: the ray to the best model tells what the shorter way alone does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ray {
    /// The method that made the model.
    pub method: Method,
    /// t, if the method has one.
    #[serde(with = "crate::base::number", default)]
    pub setting: Option<f64>,
    /// Seed, if the method has one.
    pub seed: Option<u64>,
    /// The mixes, from θ0 on.
    pub points: Vec<RayPoint>,
}

/// A mix on a ray.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RayPoint {
    /// Its place: 0 is θ0 and 1 the model.
    #[serde(with = "crate::base::number")]
    pub alpha: f64,
    /// `scores[data set]`. All losses are those of the logits themselves (β = 1).
    pub scores: Vec<Score>,
    /// The mix minus the best individual model on the same samples: one entry per data set, then the
    /// means over several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minus_best: Vec<MinusBest>,
}

/// A difference of accuracies from the best individual model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MinusBest {
    /// Name of the data set, or of the mean over several.
    pub dataset: String,
    /// The difference, a fraction.
    #[serde(with = "crate::base::number")]
    pub delta_accuracy: f64,
    /// Its paired standard error.
    #[serde(with = "crate::base::number")]
    pub delta_accuracy_se: f64,
}

impl fmt::Display for Ray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MethodName(self.method, None, self.setting).fmt(f)
    }
}
