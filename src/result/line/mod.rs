//! A path between checkpoints: soups and ensembles at every point.

pub mod file;

use serde::{Deserialize, Serialize};

use crate::result::check::Check;
use crate::result::provenance::Provenance;
use crate::result::score::{DatasetInfo, NamedScore, Role, Score};

/// A finished path.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Where on the path, ascending.
    pub alphas: Vec<f64>,
    /// The data sets.
    pub datasets: Vec<DatasetInfo>,
    /// `soup[data set][α]`: the model whose weights are mixed.
    pub soup: Vec<Vec<Score>>,
    /// `ensemble[data set][α]`: the same mix of the checkpoints' logits.
    pub ensemble: Vec<Vec<Score>>,
    /// What `NAME.json` holds.
    pub summary: Summary,
}

/// The contents of `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The checkpoints that the path runs through.
    pub checkpoints: Vec<Node>,
    /// One entry a data set.
    pub barriers: Vec<Barriers>,
    /// The checkpoints' own evaluation held against the untouched files.
    pub checks: Vec<Check>,
    /// Things the reader of the figure should know.
    pub warnings: Vec<String>,
    /// Where the numbers come from.
    pub provenance: Provenance,
}

/// A checkpoint on the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The file's stem.
    pub name: String,
    /// Whether it is θ0.
    pub origin: bool,
    /// Where it stands: 0 for the first, 1 for the second, …
    #[serde(with = "crate::base::number")]
    pub alpha: f64,
    /// One entry a data set.
    pub scores: Vec<NamedScore>,
}

/// How far the soups of a path rise above what their ends let expect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Barrier {
    /// The largest rise, negative where all are; NaN where no point between the checkpoints was
    /// evaluated, or where a value is NaN. The largest of several noisy rises is too high on
    /// average.
    pub height: f64,
    /// Standard error of the rise at that point, unpaired: as if the soup and the ends had been
    /// evaluated on different samples. They share them, so the paired one may be much smaller, and
    /// also larger. It is of that point alone, and knows nothing of the choice among several.
    pub se: f64,
    /// Where; NaN where no point between the checkpoints was evaluated.
    pub alpha: f64,
    /// Whether a checkpoint is the highest point, so that no soup rises above the higher end. Only
    /// over the mean of the ends: there that end stands half their difference above it, whatever
    /// lies between.
    pub at_end: bool,
}

/// Standard errors that a rise has to be to count as more than noise.
pub const ESTABLISHED: f64 = 2.0;

impl Barrier {
    /// Of a path without any point between its checkpoints.
    pub const UNMEASURED: Self = Self {
        height: f64::NAN,
        se: f64::NAN,
        alpha: f64::NAN,
        at_end: false,
    };
}

/// The barriers on one data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of the three barriers
pub struct Barriers {
    /// `train`, `val`, `test`, or the name given to a shift set.
    pub dataset: String,
    /// What it is used for.
    pub role: Role,
    /// Samples evaluated.
    pub samples: usize,
    /// Loss above the straight line between the ends (Entezari et al. 2022), in nats: the largest
    /// rise of the soups strictly between checkpoints, negative where all lie below; `"NaN"` where
    /// no such soup was evaluated.
    #[serde(with = "crate::base::number")]
    pub barrier_loss: f64,
    /// Unpaired: see [`Barrier::se`].
    #[serde(with = "crate::base::number")]
    pub barrier_loss_se: f64,
    /// Where the loss is that far above.
    #[serde(with = "crate::base::number")]
    pub argmax_alpha: f64,
    /// The same of the error, a fraction.
    #[serde(with = "crate::base::number")]
    pub barrier_error: f64,
    #[serde(with = "crate::base::number")]
    pub barrier_error_se: f64,
    #[serde(with = "crate::base::number")]
    pub argmax_alpha_error: f64,
    /// Error above the mean of the ends (Frankle et al. 2020), a fraction. The ends count, as
    /// published.
    #[serde(with = "crate::base::number")]
    pub frankle_barrier_error: f64,
    #[serde(with = "crate::base::number")]
    pub frankle_barrier_error_se: f64,
    #[serde(with = "crate::base::number")]
    pub argmax_alpha_frankle: f64,
    /// Whether that is at a checkpoint: then no soup rises above the higher end, and the number is
    /// half the difference of the ends, on a path without any barrier too.
    #[serde(default)]
    pub frankle_at_end: bool,
}

impl Barriers {
    /// The three barriers of a data set.
    pub fn new(dataset: &DatasetInfo, [loss, error, frankle]: [Barrier; 3]) -> Self {
        Self {
            dataset: dataset.name.clone(),
            role: dataset.role,
            samples: dataset.samples,
            barrier_loss: loss.height,
            barrier_loss_se: loss.se,
            argmax_alpha: loss.alpha,
            barrier_error: error.height,
            barrier_error_se: error.se,
            argmax_alpha_error: error.alpha,
            frankle_barrier_error: frankle.height,
            frankle_barrier_error_se: frankle.se,
            argmax_alpha_frankle: frankle.alpha,
            frankle_at_end: frankle.at_end,
        }
    }
}
