//! The plane through θ0, θ1, θ2, with everything that a figure or a notebook needs.

pub mod file;

use serde::{Deserialize, Serialize};

use crate::result::check::Check;
use crate::result::comparison::Comparison;
use crate::result::grid::Grid;
use crate::result::loss::{Beta, CalibratedOn, LossKind};
use crate::result::provenance::Provenance;
use crate::result::score::{DatasetInfo, NamedScore, Role, Score};

/// A finished plane: the grid with its values, and the summary beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// The points of the plane.
    pub grid: Grid,
    /// `coefficients[grid index]` = (c_origin, c_a, c_b).
    pub coefficients: Vec<[f64; 3]>,
    /// The data sets, in the order of `scores`.
    pub datasets: Vec<DatasetInfo>,
    /// `scores[dataset][grid index]`.
    pub scores: Vec<Vec<Score>>,
    /// `measured[grid index]`: whether the point was evaluated; loss and error of others are
    /// interpolated.
    pub measured: Vec<bool>,
    /// `betas[grid index]`: the β of each point, if losses are calibrated; otherwise empty.
    pub betas: Vec<Beta>,
    /// The contents of `NAME.json`.
    pub summary: PlaneSummary,
}

/// The contents of `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaneSummary {
    /// How the losses are calibrated; absent if they are those of the logits as they are. The names of
    /// all keys and columns that hold calibrated losses say so: `loss_calibrated` instead of `loss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibratedOn>,
    /// Geometry of the three checkpoints.
    pub geometry: Geometry,
    /// θ0, θ1, θ2 and the midpoint soup, in that order, each evaluated directly.
    pub checkpoints: Vec<PlacedModel>,
    /// Other models, projected onto the plane.
    #[serde(default)]
    pub marks: Vec<Projected>,
    /// Gradients of the loss along the plane on a coarse grid; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrows: Vec<Arrow>,
    /// Smallest finite loss and error on the grid, one entry per data set.
    pub minimum: Vec<Minimum>,
    /// θ0, θ1, θ2 and the midpoint soup, compared with θ1 and with θ2 on the same samples; empty where
    /// the outcomes of the samples were too many to keep.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// Comparison of θ0, θ1, θ2 on the plane with their original files.
    pub checks: Vec<Check>,
    /// Warnings for the reader of the figure.
    pub warnings: Vec<String>,
    /// Provenance of the numbers.
    pub provenance: Provenance,
}

impl PlaneSummary {
    /// What the losses are computed from.
    pub fn loss(&self) -> LossKind {
        LossKind::of(self.calibration.as_ref())
    }
}

/// Lengths and angle of δ1 = θ1−θ0 and δ2 = θ2−θ0 over trainable tensors (without batch-norm
/// running statistics), Euclidean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// ‖δ1‖.
    #[serde(with = "crate::base::number")]
    pub norm_a: f64,
    /// ‖δ2‖.
    #[serde(with = "crate::base::number")]
    pub norm_b: f64,
    /// Angle between δ1 and δ2 in degrees.
    #[serde(with = "crate::base::number")]
    pub angle_deg: f64,
    /// Cosine of that angle.
    #[serde(with = "crate::base::number")]
    pub cosine: f64,
    /// Coordinates of θ1: (‖δ1‖, 0).
    #[serde(with = "crate::base::number")]
    pub a: [f64; 2],
    /// Coordinates of θ2: (⟨δ2,u1⟩, ‖δ2⊥‖).
    #[serde(with = "crate::base::number")]
    pub b: [f64; 2],
}

/// A named point of the plane, evaluated directly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacedModel {
    /// Name: the file's stem, or `soup`.
    pub name: String,
    /// Coordinate along u1.
    #[serde(with = "crate::base::number")]
    pub x: f64,
    /// Coordinate along u2.
    #[serde(with = "crate::base::number")]
    pub y: f64,
    /// Its β, if losses are calibrated.
    #[serde(flatten)]
    pub beta: Option<Beta>,
    /// One score per data set.
    pub scores: Vec<NamedScore>,
}

/// A model that need not lie on the plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Projected {
    /// Name of the model.
    pub name: String,
    /// Coordinate along u1 of the nearest point of the plane.
    #[serde(with = "crate::base::number")]
    pub x: f64,
    /// Coordinate along u2 of that point.
    #[serde(with = "crate::base::number")]
    pub y: f64,
    /// Euclidean distance from that point. It is a difference of squares: below about 1e-7 of the
    /// model's distance from θ0 it is rounding error.
    #[serde(with = "crate::base::number")]
    pub distance: f64,
    /// Its β, if losses are calibrated.
    #[serde(flatten)]
    pub beta: Option<Beta>,
    /// Scores of the model itself, one per data set.
    pub scores: Vec<NamedScore>,
}

/// Gradient of the mean loss at a point of the plane, in nats per unit of distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrow {
    /// Coordinate along u1.
    #[serde(with = "crate::base::number")]
    pub x: f64,
    /// Coordinate along u2.
    #[serde(with = "crate::base::number")]
    pub y: f64,
    /// Name of the data set.
    pub dataset: String,
    /// Role of the data set.
    pub role: Role,
    /// Number of samples evaluated.
    pub samples: usize,
    /// Mean loss at the point, in nats.
    #[serde(with = "crate::base::number")]
    pub loss: f64,
    /// ∂L/∂x = ⟨∇L, u1⟩, including running statistics, which move with the point.
    #[serde(with = "crate::base::number")]
    pub dloss_dx: f64,
    /// ∂L/∂y = ⟨∇L, u2⟩.
    #[serde(with = "crate::base::number")]
    pub dloss_dy: f64,
}

/// The minima of loss and error on the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Minimum {
    /// Data set, or `shifts` for the unweighted mean over the shift sets.
    pub dataset: String,
    /// Smallest finite loss; absent if no point is finite.
    pub loss: Option<GridValue>,
    /// Smallest error.
    pub error: Option<GridValue>,
    /// What the samples say of the smallest loss; absent for a mean over data sets, where the
    /// outcomes of the points were too many to keep, and where too many points are as low.
    #[serde(default)]
    pub lowest_loss: Option<Lowest>,
    /// What they say of the smallest error.
    #[serde(default)]
    pub lowest_error: Option<Lowest>,
    /// Paired standard error of the difference between the smallest loss and its neighbours on the
    /// grid, in nats (root mean square over them): the noise of the surface's shape there, smaller
    /// than that of its height. Absent where [`lowest_loss`](Self::lowest_loss) is, and without a
    /// neighbour that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbor_loss_se: Option<f64>,
    /// The same of the smallest error, as a fraction; never 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbor_error_se: Option<f64>,
}

/// What the samples of a data set say of the lowest of the measured points. Losses in nats, errors as
/// fractions; standard errors are over samples, given these models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lowest {
    /// Standard error of the smallest value, as if its place had not been chosen by it; never 0 for
    /// errors.
    #[serde(with = "crate::base::number")]
    pub value_se: f64,
    /// The value without the luck of the choice: one half of the samples chooses the place, the
    /// other says its value, over ten random splits.
    #[serde(with = "crate::base::number")]
    pub cross_fitted: f64,
    /// Its standard error.
    #[serde(with = "crate::base::number")]
    pub cross_fitted_se: f64,
    /// Grid indices (i + j × the number of columns) of the points with exactly the smallest value.
    pub tied: Vec<usize>,
    /// Grid indices of the points that are not separated from the lowest one, at 95 % for all points
    /// together.
    pub not_separated: Vec<usize>,
    /// The cross-fitted value minus that of θ1, of θ2 and of the midpoint soup, on the same samples.
    pub below: Vec<Below>,
}

/// A difference from a model on the same samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Below {
    /// Name of the model.
    pub model: String,
    /// The difference; negative where the lowest point is better.
    #[serde(with = "crate::base::number")]
    pub delta: f64,
    /// Its paired standard error.
    #[serde(with = "crate::base::number")]
    pub delta_se: f64,
}

/// A value at a grid point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GridValue {
    /// Index along u1.
    pub i: usize,
    /// Index along u2.
    pub j: usize,
    /// Coordinate along u1.
    #[serde(with = "crate::base::number")]
    pub x: f64,
    /// Coordinate along u2.
    #[serde(with = "crate::base::number")]
    pub y: f64,
    /// The value at the point.
    #[serde(with = "crate::base::number")]
    pub value: f64,
}
