//! From places to parameters: what was merged is split, what is tied is counted once.

use std::collections::BTreeSet;

use super::report::equal_values;
use super::{Grouped, Matches, Options, is_left, named};
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::graph::network::{Network, Place, Use};
use crate::space::decode;
use crate::space::pool::{Parameter, Role};
use crate::space::source::Source;

/// The parameters of the network, given each checkpoint's tensor at each place.
///
/// Places of one initializer are one parameter where every checkpoint has one tensor for them,
/// by name or by value; else they are split. Equal matrices under two initializers are tied.
///
/// # Errors
/// When a place is matched in one checkpoint and not in another.
pub(super) fn parameters(
    network: &Network<'_>,
    checkpoints: &[Checkpoint],
    matched: &[Matches],
    options: &Options,
) -> Result<Grouped> {
    let mut constants = BTreeSet::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for r#use in &network.uses {
        if is_constant(network, matched, r#use) || is_left(r#use, matched, options) {
            constants.insert(r#use.initializer.clone());
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
    /// One source a checkpoint.
    sources: Vec<&'a Source>,
    places: Vec<Place>,
}

/// Whether a use reads a constant of the network: no checkpoint has a tensor of its own for it,
/// and those that are ONNX hold the origin's single value.
fn is_constant(network: &Network<'_>, matched: &[Matches], r#use: &Use) -> bool {
    let Some(tensor) = network.tensor(&r#use.initializer) else {
        return true;
    };
    let unchanged = |matches: &Matches| match matches.get(&r#use.place) {
        None => true,
        Some(found) => found.method == super::Method::Graph && decode::equal(tensor, &found.source),
    };
    let unmatched = matched
        .iter()
        .any(|matches| !matches.contains_key(&r#use.place));
    let single = tensor.len() == 1;
    (unmatched || single || named::is_constant(network, &r#use.initializer))
        && !matched.is_empty()
        && matched.iter().all(unchanged)
}

fn sources_at<'a>(
    checkpoints: &[Checkpoint],
    matched: &'a [Matches],
    r#use: &Use,
) -> Result<Vec<&'a Source>> {
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

fn same_tensors(first: &[&Source], second: &[&Source]) -> bool {
    first
        .iter()
        .zip(second)
        .all(|(a, b)| (a.name == b.name && a.transposed == b.transposed) || equal_sources(a, b))
}

fn equal_sources(a: &Source, b: &Source) -> bool {
    a.transposed == b.transposed
        && a.tensor.shape == b.tensor.shape
        && equal_values(&a.tensor, &b.tensor) == Some(false)
}

/// Whether two initializers are one matrix (tied embeddings): equal in the origin and in every
/// checkpoint, as they are or transposed.
fn is_tied(network: &Network<'_>, group: &Group<'_>, other: &Group<'_>) -> bool {
    let tensor = |group: &Group<'_>| network.tensor(&group.first.initializer).cloned();
    let (Some(ours), Some(theirs)) = (tensor(group), tensor(other)) else {
        return false;
    };
    let fits = ours.shape.len() == 2 && ours.len() == theirs.len() && ours.len() > 1;
    let Some(turned) = fits.then(|| equal_values(&ours, &theirs)).flatten() else {
        return false;
    };
    let equal = |(a, b): (&&Source, &&Source)| {
        a.name == b.name || oriented_equal(&a.tensor, a.transposed, &b.tensor, b.transposed, turned)
    };
    group.sources.iter().zip(&other.sources).all(equal)
}

fn oriented_equal(a: &Tensor, a_turned: bool, b: &Tensor, b_turned: bool, turned: bool) -> bool {
    let source = Source {
        name: String::new(),
        tensor: b.clone(),
        transposed: a_turned ^ b_turned ^ turned,
    };
    let shape = if source.transposed {
        b.shape.iter().rev().copied().collect()
    } else {
        b.shape.clone()
    };
    a.shape == shape && decode::equal(a, &source)
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
        .position(|checkpoint| matches!(checkpoint.content, Content::Safetensors(_)));
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
        dtype: tensor.map_or(crate::checkpoint::tensor::Dtype::F32, |tensor| tensor.dtype),
        tied_to,
        frozen: false,
    }
}

fn role(network: &Network<'_>, group: &Group<'_>, name: &str) -> Role {
    let statistic = group.places.iter().all(|place| {
        let op_type = network.nodes()[place.node].op_type();
        op_type == "BatchNormalization" && place.slot >= 3
    });
    let named = name.ends_with("running_mean") || name.ends_with("running_var");
    if statistic || named || network.is_marked_buffer(&group.first.initializer) {
        Role::Buffer
    } else {
        Role::Trainable
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
