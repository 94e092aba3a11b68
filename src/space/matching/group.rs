//! Groups places into parameters: merged tensors are split, tied ones are counted once.

use std::collections::{BTreeSet, HashMap};

use super::matches::{Match, MatchRule, Matches, is_left};
use super::options::Options;
use super::origin::Origin;
use super::tables;
use super::values::{Agreement, orientation, same_values};
use crate::checkpoint::tensor::{Dtype, Tensor};
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
    let mut by_initializer: HashMap<&str, Vec<usize>> = HashMap::new();
    for r#use in &network.uses {
        if is_constant(origin, matched, r#use) || is_left(r#use, matched, options) {
            // Most values of `Constant` nodes are constants; only those of initializers are told.
            if !origin.is_lifted(r#use) {
                constants.insert(r#use.initializer.clone());
            }
            continue;
        }
        let sources = sources_at(checkpoints, matched, r#use)?;
        let own = by_initializer.entry(&r#use.initializer).or_default();
        let same = |index: &&usize| same_tensors(&groups[**index].sources, &sources);
        match own.iter().find(same) {
            Some(&index) => groups[index].places.push(r#use.place),
            None => {
                own.push(groups.len());
                groups.push(Group {
                    first: r#use,
                    sources,
                    places: vec![r#use.place],
                });
            }
        }
    }
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut known: HashMap<Corners, Vec<usize>> = HashMap::new();
    for (index, group) in groups.iter().enumerate() {
        let alike = Corners::of(network, group).map(|it| known.entry(it).or_default());
        let tied_to = alike.and_then(|alike| {
            let mut others = alike.iter().copied();
            let tied_to = others.find(|&other| is_tied(network, group, &groups[other]));
            alike.push(index);
            tied_to
        });
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

/// What a matrix has in common with its transpose and is found without comparing: its sides, its
/// first element and its last. Of many thousand matrices, only those alike in it are compared.
#[derive(PartialEq, Eq, Hash)]
struct Corners {
    sides: [usize; 2],
    elements: [u64; 2],
}

impl Corners {
    /// Those of θ0's tensor; `None` for one that is no matrix.
    fn of(network: &Network<'_>, group: &Group<'_>) -> Option<Self> {
        let tensor = network.tensor(&group.first.initializer)?;
        let &[rows, columns] = tensor.shape.as_slice() else {
            return None;
        };
        let size = tensor.dtype.size()?;
        let last = tensor.bytes.len().checked_sub(size)?;
        let element = |start: usize| {
            let one = Tensor {
                dtype: tensor.dtype,
                shape: vec![1],
                bytes: tensor.bytes.slice(start..start + size),
            };
            let values = decode::values(&StoredTensor::nameless(&one, false));
            // 0 and −0 are equal.
            values.first().map(|value| (value + 0.0).to_bits())
        };
        Some(Self {
            sides: [rows.min(columns), rows.max(columns)],
            elements: [element(0)?, element(last)?],
        })
    }
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
