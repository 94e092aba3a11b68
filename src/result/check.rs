//! Self-checks: mixes held against the files of the checkpoints they should equal.

use serde::{Deserialize, Serialize};

/// One self-check: a checkpoint's file run as it is, against its mix on the plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Checkpoint.
    pub name: String,
    /// Data set.
    pub dataset: String,
    /// Loss of the untouched file.
    #[serde(with = "crate::base::number")]
    pub loss_file: f64,
    /// Loss of the mix at the checkpoint's plane coordinates.
    #[serde(with = "crate::base::number")]
    pub loss_plane: f64,
    /// Samples on which the two disagree about being right.
    pub error_difference: i64,
    /// Whether they agree within float32 rounding.
    pub agrees: bool,
}
