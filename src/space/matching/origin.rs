//! θ0's side of every match: its network, its exporter's record, and its own named weights.

use std::collections::BTreeMap;
use std::path::Path;

use super::values::{Agreement, Comparisons};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::error::{Error, Result};
use crate::graph::network::{Network, Use};
use crate::graph::record::Record;

/// Information about θ0, read once for all checkpoints.
pub struct Origin<'a> {
    /// The network.
    pub network: &'a Network<'a>,
    /// The exporter's record.
    pub record: Record<'a>,
    /// Its own weights, by the checkpoints' names, if they are given.
    pub weights: Option<&'a BTreeMap<String, Tensor>>,
    /// Path of their file.
    pub weights_path: Option<&'a Path>,
    comparisons: Comparisons<'a>,
}

impl<'a> Origin<'a> {
    /// Reads the exporter's record; `weights` are θ0's own under the checkpoints' names.
    ///
    /// # Errors
    /// When the weights have no names of their own (ONNX).
    pub fn new(network: &'a Network<'a>, weights: Option<&'a Checkpoint>) -> Result<Self> {
        Ok(Self {
            network,
            record: Record::of(network),
            weights: weights.map(named_tensors).transpose()?,
            weights_path: weights.map(|weights| weights.path.as_path()),
            comparisons: Comparisons::default(),
        })
    }

    /// Whether a use reads the value of a `Constant` node.
    pub fn is_lifted(&self, r#use: &Use) -> bool {
        self.network.model.lifted.contains(&r#use.initializer)
    }

    /// Whether a tensor of the state dict holds the values of a tensor of the graph, up to rounding
    /// to the narrower type; if `transposed`, as its transpose.
    pub fn holds(&self, tensor: &'a Tensor, weight: &'a Tensor, transposed: bool) -> bool {
        self.comparisons
            .same_values(tensor, weight, transposed, Agreement::Rounded)
    }

    /// Like [`Origin::holds`], in either orientation.
    pub fn holds_either_way(&self, tensor: &'a Tensor, weight: &'a Tensor) -> bool {
        let orientation = self
            .comparisons
            .orientation(tensor, weight, Agreement::Rounded);
        orientation.is_some()
    }

    /// Whether two tensors of θ0 are equal: `Some(false)` directly, `Some(true)` if the second is
    /// the transpose of the first, `None` if they differ.
    pub fn orientation(&self, first: &'a Tensor, second: &'a Tensor) -> Option<bool> {
        self.comparisons
            .orientation(first, second, Agreement::Exact)
    }

    /// Whether the second of two tensors of θ0 is the transpose of the first.
    pub fn is_transpose(&self, first: &'a Tensor, second: &'a Tensor) -> bool {
        self.comparisons
            .same_values(first, second, true, Agreement::Exact)
    }
}

fn named_tensors(checkpoint: &Checkpoint) -> Result<&BTreeMap<String, Tensor>> {
    checkpoint.state_dict().ok_or_else(|| {
        Error::flag(
            "--origin-weights",
            format!(
                "needs the origin's weights under their own names (.safetensors), not {}",
                checkpoint.path.display()
            ),
        )
    })
}
