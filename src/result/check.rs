//! Self-checks: mixes compared with the files of the checkpoints that they should equal.

use serde::{Deserialize, Serialize};

/// One self-check: compares a checkpoint's file, run as it is, with its mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the checkpoint.
    pub name: String,
    /// Name of the data set.
    pub dataset: String,
    /// Loss of the original file, in nats.
    #[serde(with = "crate::base::number")]
    pub loss_file: f64,
    /// Loss of the mix that should equal the checkpoint, in nats.
    #[serde(with = "crate::base::number")]
    pub loss_plane: f64,
    /// Number of samples that one of the two has right and the other wrong.
    pub error_difference: usize,
    /// Whether the two agree within float32 rounding.
    pub agrees: bool,
}
