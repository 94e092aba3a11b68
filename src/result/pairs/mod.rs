//! Pairs of checkpoints: angle, midpoint soup and ensemble.

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
    /// Hyperparameters that pairs are compared by: columns of the list of models.
    pub hyperparameters: Vec<String>,
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Rank correlation (Spearman) between the angle and the advantage on `all`.
    pub angle_advantage: Correlation,
    /// Correlation (Pearson) between the accuracies of soup and ensemble on the test set.
    pub soup_ensemble_test: Correlation,
    /// Correlation (Pearson) between the accuracies of soup and ensemble, as means over the shifts.
    pub soup_ensemble_shifts: Correlation,
    /// The comparison of section 4; empty unless asked for.
    pub theory: Vec<TheoryPoint>,
    /// Angles within each tensor; empty unless asked for.
    pub layers: Vec<LayerAngle>,
    /// Angles within each group of tensors; empty unless asked for.
    #[serde(default)]
    pub groups: Vec<GroupAngle>,
    /// The tensors that norms and angles are of; `None` if all.
    #[serde(default)]
    pub angles_of: Option<String>,
    /// Warnings about the result.
    pub warnings: Vec<String>,
    /// Provenance of the numbers.
    pub provenance: Provenance,
}

/// A pair of checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Name of the first.
    pub a: String,
    /// Name of the second.
    pub b: String,
    /// Angle between δa and δb in degrees, with θ0 as the origin; NaN if one of them is 0.
    #[serde(with = "crate::base::number")]
    pub angle_deg: f64,
    /// ‖δa‖.
    #[serde(with = "crate::base::number")]
    pub norm_a: f64,
    /// ‖δb‖.
    #[serde(with = "crate::base::number")]
    pub norm_b: f64,
    /// What rounding does to these; `None` if all models are stored in 32 bits or more.
    #[serde(default)]
    pub rounding: Option<PairRounding>,
    /// Hyperparameters in which the two differ.
    pub differ: Vec<String>,
    /// One row per data set, then `shifts` and `all`: the means over the shift sets, and over the
    /// test and shift sets.
    pub rows: Vec<PairRow>,
}

/// Norms and angle of a pair with the checkpoints' own rounding to 16 bits taken out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairRounding {
    /// Angle in degrees; NaN if no element is resolved.
    #[serde(with = "crate::base::number")]
    pub angle_deg: f64,
    /// The fraction of elements whose rounding steps the models resolve: those of the angle.
    #[serde(with = "crate::base::number")]
    pub share: f64,
    /// ‖δa‖.
    #[serde(with = "crate::base::number")]
    pub norm_a: f64,
    /// ‖δb‖.
    #[serde(with = "crate::base::number")]
    pub norm_b: f64,
    /// ‖δa‖/ε as stored: how many rounding errors the first moved.
    #[serde(with = "crate::base::number")]
    pub floors_a: f64,
    /// ‖δb‖/ε.
    #[serde(with = "crate::base::number")]
    pub floors_b: f64,
}

/// Results of a pair on a data set, or the mean over several. Accuracies are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The data set's name, or `shifts` or `all`.
    pub dataset: String,
    /// Role of the data set, or `mean`.
    pub role: String,
    /// Number of samples evaluated.
    pub samples: usize,
    /// Accuracy of the first checkpoint.
    #[serde(with = "crate::base::number")]
    pub accuracy_a: f64,
    /// Accuracy of the second checkpoint.
    #[serde(with = "crate::base::number")]
    pub accuracy_b: f64,
    /// Accuracy of the soup ½θa + ½θb.
    #[serde(with = "crate::base::number")]
    pub accuracy_soup: f64,
    /// Accuracy of the ensemble, the mean of their logits.
    #[serde(with = "crate::base::number")]
    pub accuracy_ensemble: f64,
    /// Interpolation advantage: `accuracy_soup` − ½(`accuracy_a` + `accuracy_b`).
    #[serde(with = "crate::base::number")]
    pub advantage: f64,
    /// Standard error of `advantage`, unpaired: as if the three models had been evaluated on
    /// different samples. They share them, so the paired one may be much smaller, and also larger.
    #[serde(with = "crate::base::number")]
    pub advantage_se: f64,
}

impl Pair {
    /// The row of a data set, or of `shifts` or `all`.
    pub fn row(&self, dataset: &str) -> Option<&PairRow> {
        self.rows.iter().find(|row| row.dataset == dataset)
    }
}

/// A correlation with its 95 % interval, from a bootstrap over models (since pairs share models).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// The correlation, −1 to 1; NaN if there are too few pairs or one side is constant.
    #[serde(with = "crate::base::number")]
    pub value: f64,
    /// Lower end of the interval.
    #[serde(with = "crate::base::number")]
    pub low: f64,
    /// Upper end of the interval.
    #[serde(with = "crate::base::number")]
    pub high: f64,
    /// Number of pairs.
    pub pairs: usize,
}

/// The angle of a pair within one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerAngle {
    /// Name of the first checkpoint.
    pub a: String,
    /// Name of the second checkpoint.
    pub b: String,
    /// Name of the tensor.
    pub tensor: String,
    /// Angle in degrees; NaN if one of the two did not move the tensor.
    #[serde(with = "crate::base::number")]
    pub angle_deg: f64,
    /// ‖δa‖ within this tensor.
    #[serde(with = "crate::base::number")]
    pub norm_a: f64,
    /// ‖δb‖ within this tensor.
    #[serde(with = "crate::base::number")]
    pub norm_b: f64,
}

/// The angle of a pair within a group of tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupAngle {
    /// Name of the first checkpoint.
    pub a: String,
    /// Name of the second checkpoint.
    pub b: String,
    /// `head`, `embedding`, `norm` or `body`.
    pub group: String,
    /// Number of its tensors.
    pub tensors: usize,
    /// Angle in degrees; NaN if one of the two did not move the group.
    #[serde(with = "crate::base::number")]
    pub angle_deg: f64,
    /// ‖δa‖ within this group.
    #[serde(with = "crate::base::number")]
    pub norm_a: f64,
    /// ‖δb‖ within this group.
    #[serde(with = "crate::base::number")]
    pub norm_b: f64,
}

/// Soup and ensemble of a pair at one α on one data set: the difference of their losses, and the
/// prediction of section 4 of "Model soups".
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
}
