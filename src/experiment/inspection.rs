//! Inspects a file, or how checkpoints match a network; nothing is evaluated.

use std::path::PathBuf;

use super::inputs::open_origin;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content, names, state_dict_beside};
use crate::error::{Error, Result};
use crate::evaluate::onnx::frozen_nodes;
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::gram::Gram;
use crate::space::matching::{self, Aligned, Options};
use crate::space::stored_tensor::StoredTensor;

/// The result of an inspection.
pub enum Inspection {
    /// A state dict.
    Tensors(InspectedTensors),
    /// A network, and checkpoints aligned with it.
    Network(Box<InspectedNetwork>),
}

/// A state dict.
pub struct InspectedTensors {
    /// Its tensors, each with its name, and its norm if it holds floats.
    pub tensors: Vec<(String, Tensor, Option<f64>)>,
    /// The dictionary that holds them, if the file keeps them under a key.
    pub dictionary: Option<String>,
    /// What the user should know about the choice of file and dictionary.
    pub notes: Vec<String>,
}

/// A network and its checkpoints.
pub struct InspectedNetwork {
    /// θ0 and the checkpoints, over the same parameters.
    pub aligned: Aligned,
    /// Inner products of the checkpoints' differences from θ0.
    pub gram: Gram,
    /// Number of nodes that depend on no moving tensor, and number of all nodes.
    pub frozen_nodes: (usize, usize),
    /// What the user should know about the choice of files and dictionaries.
    pub notes: Vec<String>,
}

/// Inspects a network and checkpoints, or a single state dict. `key` names the dictionary to take
/// from files that hold several.
///
/// # Errors
/// When a file cannot be used, or a checkpoint does not fit the network.
pub fn run(
    files: &[PathBuf],
    origin_weights: Option<PathBuf>,
    key: Option<&str>,
    options: &Options,
) -> Result<Inspection> {
    let Some((first, others)) = files.split_first() else {
        return Err(Error::flag("files", "none was named"));
    };
    if others.is_empty() {
        let checkpoint = Checkpoint::open_weights(first, key)?;
        if let Content::StateDict(tensors) = checkpoint.content {
            let stored = tensors.into_iter().map(|(name, tensor)| {
                let norm = norm(&tensor);
                (name, tensor, norm)
            });
            return Ok(Inspection::Tensors(InspectedTensors {
                tensors: stored.collect(),
                dictionary: checkpoint.dictionary,
                notes: checkpoint.notes,
            }));
        }
    }
    let (name, model) = open_origin(first)?;
    let network = Network::of(&model);
    let open = |path: &PathBuf| Checkpoint::open_weights(path, key);
    let mut checkpoints = others.iter().map(open).collect::<Result<Vec<_>>>()?;
    let sources: Vec<PathBuf> = checkpoints.iter().map(|it| it.source.clone()).collect();
    let distinct = names::distinct(&sources, std::slice::from_ref(&name));
    for (checkpoint, name) in checkpoints.iter_mut().zip(distinct) {
        checkpoint.name = name;
    }
    let weights = origin_weights.or_else(|| state_dict_beside(&model.path));
    let weights = weights.as_ref().map(open).transpose()?;
    let aligned = matching::pool(&network, &name, &checkpoints, weights.as_ref(), options)?;
    let opened = weights.iter().chain(&checkpoints);
    Ok(Inspection::Network(Box::new(InspectedNetwork {
        gram: Gram::of(&aligned.pool),
        frozen_nodes: frozen_nodes(&network, &aligned),
        aligned,
        notes: opened.flat_map(|it| it.notes.clone()).collect(),
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
