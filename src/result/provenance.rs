//! The provenance of a result: enough to identify it and to reproduce it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The command, inputs, settings and versions behind a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The command line, argument by argument.
    pub command: Vec<String>,
    /// Version of this program.
    pub version: String,
    /// SHA-256 of each input file, by its path as given.
    pub files: BTreeMap<String, String>,
    /// Number of samples in the file of each data set that was drawn from it in part, by the data
    /// set's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drawn_from: BTreeMap<String, usize>,
    /// The settings that the values depend on.
    pub settings: BTreeMap<String, String>,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Execution provider of ONNX Runtime.
    pub provider: String,
    /// How each checkpoint's tensors were verified, by its name: `value` (θ0's state dict holds the
    /// graph's values under their names), `file` (the original file is run as well), `graph` (its
    /// graph is the origin's node by node, but the file is not run) or `name` (by names alone). θ0 is listed if it has tensors of
    /// another model, as `fixed`: its file is not run.
    #[serde(default)]
    pub verified: BTreeMap<String, String>,
    /// The dictionary that was taken from the file of a checkpoint or of θ0's state dict, such as
    /// `state_dict`, by the model's name. Only files that hold their tensors under a key are listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dictionaries: BTreeMap<String, String>,
    /// Short sentences about all values: tensors matched by name only, averages of folded tensors.
    /// Figures show them as captions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
    /// Wall time of the run in seconds.
    #[serde(with = "crate::base::number")]
    pub wall_seconds: f64,
}
