//! Inspects a file, or how checkpoints match a network; nothing is evaluated.

use std::path::PathBuf;

use super::inputs::open_origin;
use super::unfolding::{self, Unfolding};
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content, state_dict_beside};
use crate::error::{Error, Result};
use crate::evaluate::onnx::frozen_nodes;
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::gram::Gram;
use crate::space::matching::{self, Aligned, Options};
use crate::space::stored_tensor::StoredTensor;

/// The result of an inspection.
pub enum Inspection {
    /// The tensors of a state dict, each with its name, and its norm if it holds floats.
    Tensors(Vec<(String, Tensor, Option<f64>)>),
    /// A network, and checkpoints aligned with it.
    Network(Box<InspectedNetwork>),
}

/// A network and its checkpoints.
pub struct InspectedNetwork {
    /// θ0 and the checkpoints, over the same parameters.
    pub aligned: Aligned,
    /// Inner products of the checkpoints' differences from θ0.
    pub gram: Gram,
    /// What the exporter computed from the parameters, and how.
    pub unfolding: Unfolding,
    /// Number of nodes that depend on no moving tensor, and number of all nodes.
    pub frozen_nodes: (usize, usize),
}

/// Inspects a network and checkpoints, or a single state dict.
///
/// # Errors
/// When a file cannot be used, or a checkpoint does not fit the network.
pub fn run(
    files: &[PathBuf],
    origin_weights: Option<PathBuf>,
    options: &Options,
) -> Result<Inspection> {
    let Some((first, others)) = files.split_first() else {
        return Err(Error::flag("files", "none was named"));
    };
    if others.is_empty()
        && let Content::StateDict(tensors) = Checkpoint::open(first)?.content
    {
        let stored = tensors.into_iter().map(|(name, tensor)| {
            let norm = norm(&tensor);
            (name, tensor, norm)
        });
        return Ok(Inspection::Tensors(stored.collect()));
    }
    let (name, mut model) = open_origin(first)?;
    let checkpoints = others.iter().map(|path| Checkpoint::open(path));
    let checkpoints = checkpoints.collect::<Result<Vec<_>>>()?;
    let weights = origin_weights.or_else(|| state_dict_beside(&model.path));
    let weights = weights.as_deref().map(Checkpoint::open).transpose()?;
    let weights = weights.as_ref();
    let unfolding = unfolding::of(&mut model, weights, &checkpoints, options)?;
    let network = Network::of(&model);
    let aligned = matching::pool(&network, &name, &checkpoints, weights, options);
    let aligned = aligned.map_err(|error| unfolding.explain(error))?;
    Ok(Inspection::Network(Box::new(InspectedNetwork {
        gram: Gram::of(&aligned.pool),
        frozen_nodes: frozen_nodes(&network, &aligned),
        unfolding,
        aligned,
    })))
}

/// The norm of a tensor, if it holds floats.
fn norm(tensor: &Tensor) -> Option<f64> {
    tensor.dtype.is_float().then(|| {
        let stored = StoredTensor::nameless(tensor, false);
        let squares = decode::values(&stored).into_iter().map(|x| x * x);
        squares.sum::<f64>().sqrt()
    })
}
