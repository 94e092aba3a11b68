//! Pairs of checkpoints: their angle, their midpoint soup, their ensemble.

pub mod file;

use serde::{Deserialize, Serialize};

use crate::result::models::Individual;
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;

/// The contents of `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    /// The data sets.
    pub datasets: Vec<DatasetInfo>,
    /// The checkpoints, in the order of the list.
    pub models: Vec<Individual>,
    /// Hyperparameters that may differ within a pair: columns of the list of models.
    pub hyperparameters: Vec<String>,
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Rank correlation (Spearman) of the angle with the advantage on `all`.
    pub angle_advantage: Correlation,
    /// Correlation (Pearson) of the soup's accuracy with the ensemble's, on the test set.
    pub soup_ensemble_test: Correlation,
    /// The same, means over the shifts.
    pub soup_ensemble_shifts: Correlation,
    /// The comparison of section 4, when it was asked for.
    pub theory: Vec<TheoryPoint>,
    /// Angles tensor by tensor, when they were asked for.
    pub layers: Vec<LayerAngle>,
    /// Things the reader should know.
    pub warnings: Vec<String>,
    /// Where the numbers come from.
    pub provenance: Provenance,
}

/// Two checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The first.
    pub a: String,
    /// The second.
    pub b: String,
    /// Angle between δa and δb in degrees, θ0 being the origin; NaN where one of them is 0.
    #[serde(with = "crate::base::number")]
    pub angle_deg: f64,
    /// ‖δa‖.
    #[serde(with = "crate::base::number")]
    pub norm_a: f64,
    /// ‖δb‖.
    #[serde(with = "crate::base::number")]
    pub norm_b: f64,
    /// Hyperparameters in which the two differ.
    pub differ: Vec<String>,
    /// One entry a data set, then `shifts` and `all`, means over the shift sets and over the test
    /// and the shift sets.
    pub rows: Vec<PairRow>,
}

/// A pair on a data set, or the mean over several. Accuracies are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The data set's name, or `shifts` or `all`.
    pub dataset: String,
    /// What the data set is used for, or `mean`.
    pub role: String,
    /// Samples evaluated.
    pub samples: usize,
    /// Of the first.
    #[serde(with = "crate::base::number")]
    pub accuracy_a: f64,
    /// Of the second.
    #[serde(with = "crate::base::number")]
    pub accuracy_b: f64,
    /// Of ½θa + ½θb.
    #[serde(with = "crate::base::number")]
    pub accuracy_soup: f64,
    /// Of the mean of their logits.
    #[serde(with = "crate::base::number")]
    pub accuracy_ensemble: f64,
    /// Interpolation advantage: `accuracy_soup` − ½(`accuracy_a` + `accuracy_b`).
    #[serde(with = "crate::base::number")]
    pub advantage: f64,
    /// Its standard error, unpaired: as if the three models had been evaluated on different
    /// samples. They share them, so the paired one may be much smaller, and also larger.
    #[serde(with = "crate::base::number")]
    pub advantage_se: f64,
}

impl Pair {
    /// The row of a data set, or of `shifts` or `all`.
    pub fn row(&self, dataset: &str) -> Option<&PairRow> {
        self.rows.iter().find(|row| row.dataset == dataset)
    }
}

/// A correlation, with the middle 95 % of what it is when models are drawn anew (bootstrap over
/// models, since pairs share them).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// −1 to 1; NaN where there are too few pairs or one side is constant.
    #[serde(with = "crate::base::number")]
    pub value: f64,
    /// Lower end.
    #[serde(with = "crate::base::number")]
    pub low: f64,
    /// Upper end.
    #[serde(with = "crate::base::number")]
    pub high: f64,
    /// Pairs that it is of.
    pub pairs: usize,
}

/// The angle of a pair in one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerAngle {
    /// The first checkpoint.
    pub a: String,
    /// The second.
    pub b: String,
    /// The tensor.
    pub tensor: String,
    /// NaN where one of the two did not move it.
    #[serde(with = "crate::base::number")]
    pub angle_deg: f64,
    /// ‖δa‖ in this tensor.
    #[serde(with = "crate::base::number")]
    pub norm_a: f64,
    /// ‖δb‖ in this tensor.
    #[serde(with = "crate::base::number")]
    pub norm_b: f64,
}

/// Soup and ensemble of a pair at one α on one data set: the difference of their losses, and what
/// section 4 of "Model soups" says that it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TheoryPoint {
    /// The first checkpoint: α = 0.
    pub a: String,
    /// The second: α = 1.
    pub b: String,
    /// Data set.
    pub dataset: String,
    /// Where on the path.
    #[serde(with = "crate::base::number")]
    pub alpha: f64,
    /// Factor of all logits.
    #[serde(with = "crate::base::number")]
    pub beta: f64,
    /// Whether β calibrates the soup on the validation set; else it is 1.
    pub calibrated: bool,
    /// Error of the soup, a fraction.
    #[serde(with = "crate::base::number")]
    pub error_soup: f64,
    /// Error of the ensemble.
    #[serde(with = "crate::base::number")]
    pub error_ensemble: f64,
    /// Loss of the soup, in nats, at β.
    #[serde(with = "crate::base::number")]
    pub loss_soup: f64,
    /// Loss of the ensemble.
    #[serde(with = "crate::base::number")]
    pub loss_ensemble: f64,
    /// α(1−α)/2·(−d²L/dα² + β²·`E Var[Δf]`).
    #[serde(with = "crate::base::number")]
    pub approximation: f64,
    /// The same with ∂f/∂α in the place of Δf.
    #[serde(with = "crate::base::number")]
    pub approximation_path: f64,
}
