//! Where a result comes from, so that it can be told apart from another and made again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was run, on what, with what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The command line, argument by argument.
    pub command: Vec<String>,
    /// Version of this program.
    pub version: String,
    /// SHA-256 of each input file's content, by the path as it was given.
    pub files: BTreeMap<String, String>,
    /// Settings that the values depend on.
    pub settings: BTreeMap<String, String>,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Execution provider.
    pub provider: String,
    /// Wall time of the run in seconds.
    pub wall_seconds: f64,
}
