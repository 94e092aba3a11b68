//! A path between checkpoints, with soups and ensembles at every point.

pub mod file;

use serde::{Deserialize, Serialize};

use crate::result::check::Check;
use crate::result::loss::{Beta, CalibratedOn, LossKind};
use crate::result::provenance::Provenance;
use crate::result::score::{DatasetInfo, NamedScore, Role, Score};

/// A finished path.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Positions on the path, ascending.
    pub alphas: Vec<f64>,
    /// The data sets, in the order of `soup` and `ensemble`.
    pub datasets: Vec<DatasetInfo>,
    /// `soup[data set][α]`: scores of the model with mixed weights.
    pub soup: Vec<Vec<Score>>,
    /// `ensemble[data set][α]`: scores of the same mix of the checkpoints' logits.
    pub ensemble: Vec<Vec<Score>>,
    /// `soup_beta[α]`: the β of each soup, if losses are calibrated; otherwise empty.
    pub soup_beta: Vec<Beta>,
    /// `ensemble_beta[α]`: the same of each ensemble.
    pub ensemble_beta: Vec<Beta>,
    /// `rise_loss[data set][α]`: how far the soups' loss lies above the straight line.
    pub rise_loss: Vec<Vec<Rise>>,
    /// `rise_error[data set][α]`: the same for the error.
    pub rise_error: Vec<Vec<Rise>>,
    /// The contents of `NAME.json`.
    pub summary: LineSummary,
}

/// The contents of `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineSummary {
    /// How the losses are calibrated; absent if they are those of the logits as they are. The names of
    /// all keys and columns that hold calibrated losses say so: `loss_calibrated` instead of `loss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibratedOn>,
    /// The checkpoints along the path.
    pub checkpoints: Vec<Node>,
    /// One entry per data set.
    pub barriers: Vec<Barriers>,
    /// Comparison of the checkpoints' mixes with their original files.
    pub checks: Vec<Check>,
    /// Warnings for the reader of the figure.
    pub warnings: Vec<String>,
    /// Provenance of the numbers.
    pub provenance: Provenance,
}

impl LineSummary {
    /// What the losses are computed from.
    pub fn loss(&self) -> LossKind {
        LossKind::of(self.calibration.as_ref())
    }
}

/// A checkpoint on the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name: the file's stem.
    pub name: String,
    /// Whether the checkpoint is θ0.
    pub origin: bool,
    /// Position on the path: 0 for the first, 1 for the second, …
    #[serde(with = "crate::base::number")]
    pub alpha: f64,
    /// Its β, if losses are calibrated.
    #[serde(flatten)]
    pub beta: Option<Beta>,
    /// One score per data set.
    pub scores: Vec<NamedScore>,
}

/// How far a soup lies above the straight line between its checkpoints, on one data set, with the
/// simultaneous 95 % band of all soups of the path; NaN where it is not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rise {
    /// The rise, in nats or as a fraction of the samples.
    pub value: f64,
    /// Lower end of the band.
    pub low: f64,
    /// Upper end of the band.
    pub high: f64,
}

impl Rise {
    /// No measurement.
    pub const NONE: Self = Self {
        value: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
    };
}

/// What the interval of a barrier says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The interval lies above 0: there is a barrier.
    Barrier,
    /// No barrier was found, and one larger than the upper end of the interval is excluded; that
    /// end is at most a tenth of the ends' mean loss or error.
    NoneLarger,
    /// Neither: a barrier that matters is possible, and so is none.
    Undecided,
}

/// How far the soups of a path rise above the values expected from its ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Barrier {
    /// The largest rise; negative if all are. NaN if no point between the checkpoints was
    /// evaluated, or if a value is not finite. The largest of several noisy rises is too high on
    /// average; the interval accounts for that.
    pub height: f64,
    /// Paired standard error of the rise at that point by itself.
    pub se: f64,
    /// Lower end of the 95 % interval, from the simultaneous band of all points.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Position of the rise; NaN if no point between the checkpoints was evaluated.
    pub alpha: f64,
    /// Whether a checkpoint is the highest point, so that no soup rises above the higher end. This
    /// occurs only for rises over the mean of the ends: the higher end lies half their difference
    /// above it, whatever lies between.
    pub at_end: bool,
    /// What the interval says.
    pub verdict: Verdict,
}

impl Barrier {
    /// The barrier of a path without points between its checkpoints.
    pub const UNMEASURED: Self = Self {
        height: f64::NAN,
        se: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
        alpha: f64::NAN,
        at_end: false,
        verdict: Verdict::Undecided,
    };
}

/// The barriers on one data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields follow a pattern: height, its error and interval, position, verdict
pub struct Barriers {
    /// `train`, `val`, `test`, or the name given to a shift or source set.
    pub dataset: String,
    /// Role of the data set.
    pub role: Role,
    /// Number of samples evaluated.
    pub samples: usize,
    /// Loss above the straight line between the ends (Entezari et al. 2022), in nats: the largest
    /// rise of the soups strictly between checkpoints. Negative if all lie below; `"NaN"` if no
    /// such soup was evaluated.
    #[serde(with = "crate::base::number")]
    pub barrier_loss: f64,
    /// Paired standard error: see [`Barrier::se`].
    #[serde(with = "crate::base::number")]
    pub barrier_loss_se: f64,
    /// 95 % interval, simultaneous over α.
    #[serde(with = "crate::base::number")]
    pub barrier_loss_low: f64,
    #[serde(with = "crate::base::number")]
    pub barrier_loss_high: f64,
    pub barrier_loss_verdict: Verdict,
    /// Position of the largest rise of the loss.
    #[serde(with = "crate::base::number")]
    pub argmax_alpha: f64,
    /// Error above the straight line between the ends, a fraction; defined like `barrier_loss`.
    #[serde(with = "crate::base::number")]
    pub barrier_error: f64,
    #[serde(with = "crate::base::number")]
    pub barrier_error_se: f64,
    #[serde(with = "crate::base::number")]
    pub barrier_error_low: f64,
    #[serde(with = "crate::base::number")]
    pub barrier_error_high: f64,
    pub barrier_error_verdict: Verdict,
    #[serde(with = "crate::base::number")]
    pub argmax_alpha_error: f64,
    /// Error above the mean of the ends (Frankle et al. 2020), a fraction. As published, the ends
    /// count as points of the path.
    #[serde(with = "crate::base::number")]
    pub frankle_barrier_error: f64,
    #[serde(with = "crate::base::number")]
    pub frankle_barrier_error_se: f64,
    #[serde(with = "crate::base::number")]
    pub frankle_barrier_error_low: f64,
    #[serde(with = "crate::base::number")]
    pub frankle_barrier_error_high: f64,
    #[serde(with = "crate::base::number")]
    pub argmax_alpha_frankle: f64,
    /// Whether that highest point is a checkpoint: then no soup rises above the higher end, and the
    /// value is half the difference of the ends, even on a path without a barrier.
    #[serde(default)]
    pub frankle_at_end: bool,
}

impl Barriers {
    /// The barrier of the loss, in nats.
    pub fn loss(&self) -> Barrier {
        Barrier {
            height: self.barrier_loss,
            se: self.barrier_loss_se,
            low: self.barrier_loss_low,
            high: self.barrier_loss_high,
            alpha: self.argmax_alpha,
            at_end: false,
            verdict: self.barrier_loss_verdict,
        }
    }

    /// The barrier of the error, a fraction.
    pub fn error(&self) -> Barrier {
        Barrier {
            height: self.barrier_error,
            se: self.barrier_error_se,
            low: self.barrier_error_low,
            high: self.barrier_error_high,
            alpha: self.argmax_alpha_error,
            at_end: false,
            verdict: self.barrier_error_verdict,
        }
    }

    /// Combines the three barriers of a data set.
    pub fn new(dataset: &DatasetInfo, [loss, error, frankle]: [Barrier; 3]) -> Self {
        Self {
            dataset: dataset.name.clone(),
            role: dataset.role,
            samples: dataset.samples,
            barrier_loss: loss.height,
            barrier_loss_se: loss.se,
            barrier_loss_low: loss.low,
            barrier_loss_high: loss.high,
            barrier_loss_verdict: loss.verdict,
            argmax_alpha: loss.alpha,
            barrier_error: error.height,
            barrier_error_se: error.se,
            barrier_error_low: error.low,
            barrier_error_high: error.high,
            barrier_error_verdict: error.verdict,
            argmax_alpha_error: error.alpha,
            frankle_barrier_error: frankle.height,
            frankle_barrier_error_se: frankle.se,
            frankle_barrier_error_low: frankle.low,
            frankle_barrier_error_high: frankle.high,
            argmax_alpha_frankle: frankle.alpha,
            frankle_at_end: frankle.at_end,
        }
    }
}
