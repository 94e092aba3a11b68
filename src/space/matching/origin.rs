//! θ0's side of every match: its network, what its exporter recorded, and its own named weights.

use std::collections::BTreeMap;
use std::path::Path;

use super::values::{Agreement, Comparisons};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::error::{Error, Result};
use crate::graph::network::Network;
use crate::graph::record::Record;

/// What is known of θ0; read once, however many checkpoints are matched with it.
pub struct Origin<'a> {
    /// The network.
    pub network: &'a Network<'a>,
    /// What its exporter recorded.
    pub record: Record<'a>,
    /// Its own weights under their names in the checkpoints, where they are given.
    pub weights: Option<&'a BTreeMap<String, Tensor>>,
    /// The file that they are from.
    pub weights_path: Option<&'a Path>,
    comparisons: Comparisons<'a>,
}

impl<'a> Origin<'a> {
    /// Reads what the exporter recorded; `weights` are θ0's own under the checkpoints' names.
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

    /// Whether a tensor of the state dict holds the values of a tensor of the graph, but for the
    /// rounding of the narrower type; transposed, where that is asked.
    pub fn holds(&self, tensor: &'a Tensor, weight: &'a Tensor, transposed: bool) -> bool {
        self.comparisons
            .same_values(tensor, weight, transposed, Agreement::Rounded)
    }

    /// [`Origin::holds`], either way round.
    pub fn holds_either_way(&self, tensor: &'a Tensor, weight: &'a Tensor) -> bool {
        let orientation = self
            .comparisons
            .orientation(tensor, weight, Agreement::Rounded);
        orientation.is_some()
    }

    /// Whether two tensors of θ0 are equal, and if so, whether the second is the transpose of the
    /// first.
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
