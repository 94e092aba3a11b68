//! Groups places into parameters: merged tensors are split, tied ones are counted once.

use std::collections::BTreeSet;

use super::matches::{Match, MatchRule, Matches, is_left};
use super::options::Options;
use super::origin::Origin;
use super::tables;
use super::values::{Agreement, orientation, same_values};
use crate::checkpoint::tensor::Dtype;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::graph::network::{Network, Place, Use};
use crate::space::decode;
use crate::space::pool::{Parameter, ParameterRole};
use crate::space::stored_tensor::StoredTensor;

/// Parameters and their places, before the members' sources are collected.
pub(super) struct Grouped {
    pub parameters: Vec<Parameter>,
    /// `places[parameter]`: where the graph reads it.
    pub places: Vec<Vec<Place>>,
    /// Initializers that are constants of the network.
    pub constants: Vec<String>,
}

/// Determines the parameters of the network, given each checkpoint's tensor at each place.
///
/// The places of one initializer form one parameter if every checkpoint has one tensor for them, by
/// name or by value; otherwise they are split. Equal matrices in two initializers are tied.
///
/// # Errors
/// When a place is matched in one checkpoint and not in another.
pub(super) fn parameters(
    origin: &Origin<'_>,
    checkpoints: &[Checkpoint],
    matched: &[Matches],
    options: &Options,
) -> Result<Grouped> {
    let network = origin.network;
    let mut constants = BTreeSet::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for r#use in &network.uses {
        if is_constant(origin, matched, r#use) || is_left(r#use, matched, options) {
            // Most values of `Constant` nodes are constants; only those of initializers are told.
            if !origin.is_lifted(r#use) {
                constants.insert(r#use.initializer.clone());
            }
            continue;
        }
        let sources = sources_at(checkpoints, matched, r#use)?;
        let same = |group: &&mut Group<'_>| {
            group.first.initializer == r#use.initializer && same_tensors(&group.sources, &sources)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.places.push(r#use.place),
            None => groups.push(Group {
                first: r#use,
                sources,
                places: vec![r#use.place],
            }),
        }
    }
    let mut parameters: Vec<Parameter> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let tied_to = (0..index).find(|&other| is_tied(network, group, &groups[other]));
        parameters.push(parameter(network, checkpoints, group, tied_to));
    }
    set_frozen(network, &groups, &mut parameters);
    Ok(Grouped {
        parameters,
        places: groups.into_iter().map(|group| group.places).collect(),
        constants: constants.into_iter().collect(),
    })
}

struct Group<'a> {
    first: &'a Use,
    /// `sources[checkpoint]`.
    sources: Vec<&'a StoredTensor>,
    places: Vec<Place>,
}

/// Whether a use reads a constant of the network: no checkpoint has a tensor of its own for it, and
/// ONNX checkpoints hold the origin's single value.
fn is_constant(origin: &Origin<'_>, matched: &[Matches], r#use: &Use) -> bool {
    let Some(tensor) = origin.network.tensor(&r#use.initializer) else {
        return true;
    };
    let is_table = || tables::by_itself(origin, r#use).is_some();
    let unchanged = |matches: &Matches| match matches.get(&r#use.place) {
        None => true,
        Some(Match {
            source,
            method: MatchRule::Graph,
        }) => decode::equal(tensor, source),
        // Older state dicts have tables that newer ones lack, in the type of the weights.
        Some(found) => is_table() && decode::equal_to_rounding(tensor, &found.source),
    };
    let unmatched = matched
        .iter()
        .any(|matches| !matches.contains_key(&r#use.place));
    let lifted = origin.is_lifted(r#use);
    let fixed = tensor.len() == 1 || lifted || origin.record.is_constant(&r#use.initializer);
    if matched.is_empty() {
        return lifted;
    }
    (unmatched || fixed || is_table()) && matched.iter().all(unchanged)
}

fn sources_at<'a>(
    checkpoints: &[Checkpoint],
    matched: &'a [Matches],
    r#use: &Use,
) -> Result<Vec<&'a StoredTensor>> {
    let source = |(matches, checkpoint): (&'a Matches, &Checkpoint)| match matches.get(&r#use.place)
    {
        Some(found) => Ok(&found.source),
        None => Err(Error::input(
            &checkpoint.path,
            format!(
                "has no tensor for `{}`, which another checkpoint has",
                r#use.alias
            ),
        )),
    };
    matched.iter().zip(checkpoints).map(source).collect()
}

fn same_tensors(first: &[&StoredTensor], second: &[&StoredTensor]) -> bool {
    first
        .iter()
        .zip(second)
        .all(|(a, b)| (a.name == b.name && a.transposed == b.transposed) || equal_sources(a, b))
}

fn equal_sources(a: &StoredTensor, b: &StoredTensor) -> bool {
    let (first, second) = (&a.tensor, &b.tensor);
    a.transposed == b.transposed && same_values(first, second, false, Agreement::Exact)
}

/// Whether two initializers are one matrix (tied embeddings): equal in the origin and in every
/// checkpoint, directly or transposed.
fn is_tied(network: &Network<'_>, group: &Group<'_>, other: &Group<'_>) -> bool {
    let tensor = |group: &Group<'_>| network.tensor(&group.first.initializer);
    let (Some(ours), Some(theirs)) = (tensor(group), tensor(other)) else {
        return false;
    };
    let fits = ours.shape.len() == 2 && ours.len() == theirs.len() && ours.len() > 1;
    let transposed = fits.then(|| orientation(ours, theirs, Agreement::Exact));
    let Some(transposed) = transposed.flatten() else {
        return false;
    };
    let equal = |(a, b): (&&StoredTensor, &&StoredTensor)| {
        let transposed = a.transposed ^ b.transposed ^ transposed;
        a.name == b.name || same_values(&a.tensor, &b.tensor, transposed, Agreement::Exact)
    };
    group.sources.iter().zip(&other.sources).all(equal)
}

fn parameter(
    network: &Network<'_>,
    checkpoints: &[Checkpoint],
    group: &Group<'_>,
    tied_to: Option<usize>,
) -> Parameter {
    let r#use = group.first;
    let named = checkpoints
        .iter()
        .position(|checkpoint| matches!(checkpoint.content, Content::StateDict(_)));
    let name = match named {
        Some(checkpoint) => group.sources[checkpoint].name.clone(),
        None => match network.folded_from(&r#use.initializer).as_deref() {
            Some([name]) => name.clone(),
            _ => r#use.alias.clone(),
        },
    };
    let tensor = network.tensor(&r#use.initializer);
    Parameter {
        role: role(network, group, &name),
        name,
        shape: tensor.map_or_else(Vec::new, |tensor| tensor.shape.clone()),
        dtype: tensor.map_or(Dtype::F32, |tensor| tensor.dtype),
        tied_to,
        frozen: false,
    }
}

fn role(network: &Network<'_>, group: &Group<'_>, name: &str) -> ParameterRole {
    let in_slots = |slots: &[usize]| {
        group.places.iter().all(|place| {
            let op_type = network.nodes()[place.node].op_type();
            op_type == "BatchNormalization" && slots.contains(&place.slot)
        })
    };
    let named = name.ends_with("running_mean");
    if in_slots(&[4]) || name.ends_with("running_var") {
        ParameterRole::Variance
    } else if in_slots(&[3, 4]) || named || network.is_marked_buffer(&group.first.initializer) {
        ParameterRole::Buffer
    } else {
        ParameterRole::Trainable
    }
}

fn set_frozen(network: &Network<'_>, groups: &[Group<'_>], parameters: &mut [Parameter]) {
    for (group, parameter) in groups.iter().zip(parameters) {
        parameter.frozen = network
            .tensor(&group.first.initializer)
            .is_some_and(|tensor| {
                let mut sources = group.sources.iter();
                sources.all(|source| decode::equal(tensor, source))
            });
    }
}
