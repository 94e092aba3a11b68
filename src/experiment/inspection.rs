//! Inspects a file, or how checkpoints match a network; nothing is evaluated.

use std::path::PathBuf;

use super::angle_tensors::{AngleTensors, Chosen, parameter_groups};
use super::candidates::Candidate;
use super::inputs::Inputs;
use super::unfolding::Unfolding;
use crate::analysis::{common_start, origin};
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::evaluate::onnx::frozen_nodes;
use crate::graph::groups::Group;
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::gram::Gram;
use crate::space::matching::{Aligned, Options};
use crate::space::rounding::Rounding;
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
    /// Inner products of the checkpoints' differences from θ0, over all tensors.
    pub gram: Gram,
    /// The same over the chosen tensors.
    pub angles: Gram,
    /// The tensors that norms and angles are of.
    pub chosen: Chosen,
    /// The group of each parameter.
    pub groups: Vec<Group>,
    /// The rounding of the checkpoints over the chosen tensors, if some are stored in 16 bits.
    pub rounding: Option<Rounding>,
    /// What the exporter computed from the parameters, and how.
    pub unfolding: Unfolding,
    /// Number of nodes that depend on no moving tensor, and number of all nodes.
    pub frozen_nodes: (usize, usize),
    /// What the user should know about the choice of files and dictionaries.
    pub notes: Vec<String>,
}

/// Inspects a network and checkpoints, or a single state dict. `key` names the dictionary to take
/// from files that hold several, `tensors` those that norms and angles are of.
///
/// # Errors
/// When a file cannot be used, a pattern matches nothing, or a checkpoint does not fit the network.
pub fn run(
    files: &[PathBuf],
    origin_weights: Option<PathBuf>,
    key: Option<&str>,
    options: &Options,
    tensors: &AngleTensors,
) -> Result<Inspection> {
    let Some((first, others)) = files.split_first() else {
        return Err(Error::flag("files", "none was named"));
    };
    if others.is_empty() {
        let checkpoint = Checkpoint::open_weights(first, key)?;
        if let Content::StateDict(tensors) = checkpoint.content {
            if !options.keep_all() {
                return Err(Error::flag(
                    "--ignore, --fixed",
                    "leave tensors out of a network; only a state dict was named",
                ));
            }
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
    let candidates = others.iter().map(|it| Candidate::parse("FILE", it));
    let candidates = candidates.collect::<Result<Vec<Candidate>>>()?;
    let weights = origin_weights.as_deref();
    let inputs = Inputs::read(first, weights, key, &candidates, options)?;
    let mut aligned = inputs.align(options)?;
    let network = Network::of(&inputs.model);
    let chosen = tensors.chosen(&aligned.pool)?;
    let gram = Gram::of(&aligned.pool);
    let of_start = common_start::warnings(&aligned.pool, &gram);
    let of_origin = origin::warnings(&aligned.pool, &gram, (&[], &[]), &[]);
    aligned
        .warnings
        .extend(of_start.into_iter().chain(of_origin));
    Ok(Inspection::Network(Box::new(InspectedNetwork {
        angles: gram.over(&chosen.parameters),
        gram,
        rounding: Rounding::over(&aligned.pool, |index| chosen.parameters[index]),
        groups: parameter_groups(&network, &aligned, None),
        frozen_nodes: frozen_nodes(&network, &aligned),
        chosen,
        aligned,
        notes: inputs.notes(),
        unfolding: inputs.unfolding,
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
