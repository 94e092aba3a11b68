//! Pairs of checkpoints: angle, midpoint soup and ensemble.

pub mod file;
mod theory;

use serde::{Deserialize, Serialize};

pub use theory::{TheoryAgreement, TheoryPoint};

use crate::base::human::nice_at_most;
use crate::result::models::Individual;
use crate::result::provenance::Provenance;
use crate::result::score::{ALL, DatasetInfo};

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
    /// The same for the pairs of the zoomed panel: those that lose little.
    #[serde(default)]
    pub angle_advantage_zoom: Option<Correlation>,
    /// Correlation (Pearson) between the accuracies of soup and ensemble on the test set.
    pub soup_ensemble_test: Correlation,
    /// Correlation (Pearson) between the accuracies of soup and ensemble, as means over the shifts.
    pub soup_ensemble_shifts: Correlation,
    /// What all pairs together say, for each row of the pairs: a data set, `shifts` or `all`.
    #[serde(default)]
    pub summaries: Vec<PairSummary>,
    /// The comparison of section 4; empty unless asked for.
    pub theory: Vec<TheoryPoint>,
    /// How well the comparison's prediction holds, by step, kind of β, and barrier.
    #[serde(default)]
    pub theory_agreement: Vec<TheoryAgreement>,
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
    /// Standard error of `advantage`, paired: of the difference on each sample, given these models.
    #[serde(with = "crate::base::number")]
    pub advantage_se: f64,
    /// `advantage` / `advantage_se`.
    #[serde(with = "crate::base::number")]
    pub advantage_z: f64,
    /// `accuracy_soup` minus the accuracy of the end that is better here. That end is chosen by the
    /// same samples, which makes the difference too small where the ends are alike.
    #[serde(with = "crate::base::number")]
    pub advantage_best: f64,
    /// Paired standard error of `advantage_best`, of these two models.
    #[serde(with = "crate::base::number")]
    pub advantage_best_se: f64,
    /// `advantage_best` / `advantage_best_se`.
    #[serde(with = "crate::base::number")]
    pub advantage_best_z: f64,
    /// Fraction of the samples for which the two checkpoints predict different classes.
    #[serde(with = "crate::base::number", default = "unknown")]
    pub disagreement: f64,
    /// Correlation of the two checkpoints' errors (0 and 1 per sample); NaN if one errs nowhere.
    #[serde(with = "crate::base::number", default = "unknown")]
    pub error_correlation: f64,
}

/// What older files do not say.
fn unknown() -> f64 {
    f64::NAN
}

impl Pair {
    /// The row `all`, or that of the first data set.
    pub fn main(&self) -> Option<&PairRow> {
        self.row(ALL).or_else(|| self.rows.first())
    }

    /// The row of a data set, or of `shifts` or `all`.
    pub fn row(&self, dataset: &str) -> Option<&PairRow> {
        self.rows.iter().find(|row| row.dataset == dataset)
    }
}

/// The smallest gain that a zoom is scaled to, in percentage points.
pub const SMALLEST_GAIN: f64 = 0.25;
/// A zoom is worth it if it magnifies at least by this factor.
pub const WORTH_MAGNIFYING: f64 = 2.5;
/// A zoom shows changes down to −`ZOOM_BELOW` × the best gain.
const ZOOM_BELOW: f64 = 4.0;

impl Pairs {
    /// The smallest advantage of the pairs that lose little, in points, where there are others that
    /// lose so much that a figure of all shows nothing of these: pairs with a barrier may lose fifty
    /// points while others gain a tenth of a point.
    pub fn zoom(&self) -> Option<f64> {
        let shown = self.pairs.iter().filter(|pair| pair.angle_deg.is_finite());
        let advantages = shown.filter_map(|pair| Some(100.0 * pair.main()?.advantage));
        let advantages: Vec<f64> = advantages.filter(|value| value.is_finite()).collect();
        let best = advantages.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let worst = advantages.iter().copied().fold(f64::INFINITY, f64::min);
        let floor = -nice_at_most(ZOOM_BELOW * best.max(SMALLEST_GAIN));
        let near = advantages.iter().filter(|value| **value >= floor).count();
        let is_worth = near > 0 && near < advantages.len() && worst < WORTH_MAGNIFYING * floor;
        is_worth.then_some(floor)
    }
}

/// What all pairs together say on one data set, or in the mean over several. Pairs share models, so
/// intervals and p values count models, not pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairSummary {
    /// The data set's name, or `shifts` or `all`.
    pub dataset: String,
    /// Number of pairs.
    pub pairs: usize,
    /// The advantage over the mean of the ends.
    pub advantage: MeanAdvantage,
    /// The advantage over the better end.
    pub advantage_best: MeanAdvantage,
    /// Number of pairs whose soup is more accurate than their ensemble.
    pub soup_above: usize,
    /// Number of pairs whose ensemble is more accurate.
    pub ensemble_above: usize,
    /// Two-sided p value that soups are above as often as ensembles; over models.
    #[serde(with = "crate::base::number")]
    pub sides_p: f64,
}

/// The mean of an advantage over pairs, and how many pairs have one that is not noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanAdvantage {
    /// The mean over pairs, a fraction.
    #[serde(with = "crate::base::number")]
    pub mean: f64,
    /// Lower end of its 95 % interval, over models.
    #[serde(with = "crate::base::number")]
    pub low: f64,
    /// Upper end.
    #[serde(with = "crate::base::number")]
    pub high: f64,
    /// Number of pairs that gain, at a false discovery rate of 5 % (Benjamini and Hochberg).
    pub gain: usize,
    /// Number of pairs that lose.
    pub lose: usize,
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
    /// Two-sided p value of Mantel's test, which permutes models; NaN unless at least three models
    /// have all their pairs.
    #[serde(with = "crate::base::number")]
    pub p: f64,
    /// The correlation of what is special about each pair: m + aᵢ + aⱼ, fitted to both quantities
    /// by least squares, is subtracted first. NaN for fewer than four models with all their pairs.
    #[serde(with = "crate::base::number")]
    pub residual: f64,
    /// Lower end of its 95 % interval, by leaving out models.
    #[serde(with = "crate::base::number")]
    pub residual_low: f64,
    /// Upper end.
    #[serde(with = "crate::base::number")]
    pub residual_high: f64,
    /// Its p value by Mantel's test.
    #[serde(with = "crate::base::number")]
    pub residual_p: f64,
}

impl Correlation {
    /// No correlation of a number of pairs.
    pub fn undefined(pairs: usize) -> Self {
        let nan = f64::NAN;
        Self {
            value: nan,
            low: nan,
            high: nan,
            pairs,
            p: nan,
            residual: nan,
            residual_low: nan,
            residual_high: nan,
            residual_p: nan,
        }
    }
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
