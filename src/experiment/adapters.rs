//! Opens models that may be adapters, and applies these to their base: θ0.

use std::collections::BTreeMap;
use std::env;

use super::candidates::Candidate;
use crate::base::scratch::Scratch;
use crate::checkpoint::adapter::Adapter;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Opened};
use crate::error::Result;
use crate::graph::network::Network;
use crate::graph::record::Record;
use crate::space::adapter::{Base, Plan};

/// Opened models.
pub struct Models {
    /// The models, in the order they were named.
    pub checkpoints: Vec<Checkpoint>,
    /// What the user should know about the adapters among them.
    pub warnings: Vec<String>,
}

/// Opens models. Adapters are applied to θ0: to its own state dict, or else to the tensors of the
/// network. `key` names the dictionary to take from files that hold several, where a candidate does
/// not name one.
///
/// # Errors
/// When a file cannot be used, or an adapter does not fit θ0.
pub fn open(
    candidates: &[Candidate],
    key: Option<&str>,
    model: &Model,
    weights: Option<&Checkpoint>,
) -> Result<Models> {
    let open = |it: &Candidate| Opened::open(&it.path, it.weights.as_deref().or(key));
    let opened: Vec<Opened> = candidates.iter().map(open).collect::<Result<_>>()?;
    let adapters = opened.iter().filter_map(|it| match it {
        Opened::Adapter(adapter) => Some(adapter),
        Opened::Whole(_) => None,
    });
    let adapters: Vec<&Adapter> = adapters.collect();
    let (applied, warnings) = apply(&adapters, model, weights)?;
    let mut applied = applied.into_iter();
    let checkpoints = opened.into_iter().filter_map(|it| match it {
        Opened::Whole(checkpoint) => Some(checkpoint),
        Opened::Adapter(_) => applied.next(),
    });
    Ok(Models {
        checkpoints: checkpoints.collect(),
        warnings,
    })
}

/// Applies adapters to θ0. Whatever does not fit, or has no room, is refused before anything is
/// computed.
fn apply(
    adapters: &[&Adapter],
    model: &Model,
    weights: Option<&Checkpoint>,
) -> Result<(Vec<Checkpoint>, Vec<String>)> {
    if adapters.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let network = Network::of(model);
    let network = Some(&network);
    let own;
    let base = match weights.and_then(|weights| Some((weights, weights.state_dict()?))) {
        Some((weights, tensors)) => Base {
            tensors,
            path: &weights.path,
            is_network: false,
            network,
        },
        None => {
            own = named(model);
            Base {
                tensors: &own,
                path: &model.path,
                is_network: true,
                network,
            }
        }
    };
    let plans = adapters.iter().map(|adapter| Plan::new(adapter, &base));
    let plans: Vec<Plan<'_>> = plans.collect::<Result<_>>()?;
    let bytes = plans.iter().map(Plan::bytes).sum();
    let mut scratch = Scratch::new(bytes, &env::temp_dir())?;
    plans
        .iter()
        .try_for_each(|plan| plan.compute(&mut scratch))?;
    let mut made = scratch.finish()?.into_iter();
    let checkpoints = plans.iter().map(|plan| plan.apply(&base, &mut made));
    let checkpoints = checkpoints.collect();
    let warnings = plans.into_iter().flat_map(|plan| plan.warnings);
    Ok((checkpoints, warnings.collect()))
}

/// The parameters of a network by the names that its exporter kept.
fn named(model: &Model) -> BTreeMap<String, Tensor> {
    let network = Network::of(model);
    let record = Record::of(&network);
    let uses = network.uses.iter();
    let parameters = uses.filter(|it| !record.is_constant(&it.initializer));
    let tensor = |initializer: &str| network.tensor(initializer).cloned();
    parameters
        .filter_map(|it| Some((it.alias.clone(), tensor(&it.initializer)?)))
        .collect()
}
