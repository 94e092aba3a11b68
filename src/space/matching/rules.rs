//! The rules that find named tensors for places of the graph; see [`super::named`].

use std::collections::BTreeSet;

use super::known::leaf;
use super::matches::{Match, MatchRule, Matches};
use super::names::{Names, Orientation};
use super::proof::Telling;
use super::tables;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::Use;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// Finds the tensors of a checkpoint, by place.
pub fn find(names: &Names<'_>) -> Matches {
    let mut matches = Matches::new();
    for r#use in &names.origin.network.uses {
        let found = match names.origin.is_lifted(r#use) {
            true => by_name(names, r#use),
            false => find_one(names, r#use),
        };
        matches.extend(found.map(|found| (r#use.place, found)));
    }
    for_lifted(names, &mut matches);
    by_record(names, &mut matches);
    by_tie(names, &mut matches);
    by_value(names, &mut matches);
    matches
}

fn by_name(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    let fit = |name: &str| names.fit(r#use, name, MatchRule::Name, Orientation::Kept);
    fit(&r#use.alias).or_else(|| fit(&r#use.initializer))
}

fn find_one(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    // A table of the network may equal a parameter of its module at θ0.
    if tables::by_itself(names.origin, r#use).is_some() {
        return by_name(names, r#use);
    }
    let merged = names.is_shared(&r#use.initializer) && r#use.alias == r#use.initializer;
    if merged {
        // Its name is that of one of several merged tensors; the place tells which one it reads.
        return by_path(names, r#use)
            .or_else(|| by_name(names, r#use))
            .or_else(|| by_fold(names, r#use));
    }
    by_name(names, r#use)
        .or_else(|| by_fold(names, r#use))
        .or_else(|| by_path(names, r#use))
        .or_else(|| by_bias(names, r#use))
}

/// Names of the checkpoint's tensors that are matched.
fn taken(matches: &Matches) -> BTreeSet<String> {
    let sources = matches.values().map(|found| found.source.name.clone());
    sources.collect()
}

/// Matches values of `Constant` nodes by the module of the reading node. Most of them are constants
/// of the network, so they get only what nothing else has.
fn for_lifted(names: &Names<'_>, matches: &mut Matches) {
    let taken = taken(matches);
    let uses = names.origin.network.uses.iter();
    let wide = |r#use: &&Use| names.shape(r#use).iter().product::<usize>() > 1;
    let open = |r#use: &&Use| !matches.contains_key(&r#use.place);
    let lifted = uses.filter(|r#use| names.origin.is_lifted(r#use));
    let found = lifted.filter(wide).filter(open).filter_map(|r#use| {
        let found = by_path(names, r#use).or_else(|| by_bias(names, r#use));
        let found = found.filter(|found| !taken.contains(&found.source.name))?;
        Some((r#use.place, found))
    });
    let found: Vec<_> = found.collect();
    matches.extend(found);
}

/// Cosine with θ0's tensor from which a tensor counts as fine-tuned from it; random ones are near 0.
const RELATED: f64 = 0.5;

/// Tied tensors have several names in the module, and the exporter keeps one. If its record lists
/// another, which the graph lacks and the checkpoint has, near θ0's values, it is the same tensor.
fn by_record(names: &Names<'_>, matches: &mut Matches) {
    let network = names.origin.network;
    let in_graph: BTreeSet<&str> = network
        .uses
        .iter()
        .flat_map(|it| [it.initializer.as_str(), it.alias.as_str()])
        .collect();
    let taken = taken(matches);
    let listed = names.origin.record.signature();
    let lost = listed.filter(|name| !in_graph.contains(name));
    let lost: Vec<_> = lost
        .filter_map(|name| names.tensors.get(name))
        .filter(|(stored, _)| !taken.contains(*stored))
        .collect();
    let mut found = Vec::new();
    for r#use in &network.uses {
        let marked = network.input_kind(&r#use.initializer) == Some("PARAMETER");
        let Some(tensor) = network.tensor(&r#use.initializer).filter(|_| marked) else {
            continue;
        };
        if matches.contains_key(&r#use.place) || tensor.shape.len() < 2 {
            continue;
        }
        let related = lost.iter().filter(|(_, other)| {
            let source = StoredTensor::nameless(other, false);
            other.shape == tensor.shape && other.dtype.is_float() && {
                let [squared, product, own] = decode::products(tensor, &source);
                product > RELATED * (squared * own).sqrt()
            }
        });
        let related: Vec<_> = related.collect();
        let Some((stored, other)) = related.first() else {
            continue;
        };
        if related.iter().all(|(_, it)| it.bytes == other.bytes) {
            let source = StoredTensor {
                name: (*stored).to_string(),
                tensor: (*other).clone(),
                transposed: false,
            };
            let method = MatchRule::Tied;
            found.push((r#use.place, Match { source, method }));
        }
    }
    matches.extend(found);
}

/// The folded tensor, if the initializer was folded from a single tensor of the checkpoint.
fn by_fold(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    match names
        .origin
        .network
        .folded_from(&r#use.initializer)?
        .as_slice()
    {
        [name] => names.fit(r#use, name, MatchRule::FoldedFrom, Orientation::Linear),
        _ => None,
    }
}

fn by_path(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    let path = names.origin.network.module_path(r#use.place.node)?;
    in_module(names, r#use, &path, MatchRule::ModulePath)
}

fn by_bias(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    let bias = names.origin.network.bias_added_to(r#use.place.node)?;
    let module = bias.strip_suffix(".bias")?;
    names.fit(
        r#use,
        &format!("{module}.weight"),
        MatchRule::Bias,
        Orientation::Linear,
    )
}

/// The module's tensor for a place: the one with the leaf name for the operator's slot, else the
/// only tensor of the module that fits.
fn in_module(names: &Names<'_>, r#use: &Use, module: &str, method: MatchRule) -> Option<Match> {
    let prefix = match module {
        "" => String::new(),
        module => format!("{module}."),
    };
    let op_type = names.origin.network.nodes()[r#use.place.node].op_type();
    let wanted = leaf(op_type, r#use.place);
    let fit = |leaf: &str| {
        names.fit(
            r#use,
            &format!("{prefix}{leaf}"),
            method,
            Orientation::Linear,
        )
    };
    if let Some(found) = wanted.and_then(fit) {
        return Some(found);
    }
    // A number that the graph has by its own name is no other number of its module.
    let is_number = names.shape(r#use).iter().product::<usize>() == 1;
    let leaves = names.tensors.keys().filter_map(|name| {
        if is_number && names.is_shown(name) {
            return None;
        }
        let leaf = name.strip_prefix(prefix.as_str())?;
        let fits = wanted.is_none_or(|wanted| leaf.ends_with(wanted));
        (!leaf.contains('.') && fits).then_some(leaf)
    });
    let mut found = leaves.filter_map(fit);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Exporters write a tied matrix twice, once transposed. A matrix of the origin that equals a
/// matched one, value by value, is the same tensor.
fn by_tie(names: &Names<'_>, matches: &mut Matches) {
    let network = names.origin.network;
    let open = |r#use: &&Use| {
        !matches.contains_key(&r#use.place) && tables::by_itself(names.origin, r#use).is_none()
    };
    let mut found = Vec::new();
    for r#use in network.uses.iter().filter(open) {
        let matrix = |tensor: &&Tensor| tensor.shape.len() == 2 && tensor.len() > 1;
        let Some(tensor) = network.tensor(&r#use.initializer).filter(matrix) else {
            continue;
        };
        // One that equals its transpose does not tell which of the two it is.
        if tensor.is_symmetric() {
            continue;
        }
        let tied_to = network.uses.iter().find_map(|other| {
            let mut tied = matches.get(&other.place)?.clone();
            let other = network.tensor(&other.initializer)?;
            tied.source.transposed ^= names.origin.orientation(tensor, other)?;
            tied.method = MatchRule::Values;
            Some(tied)
        });
        found.extend(tied_to.map(|tied| (r#use.place, tied)));
    }
    matches.extend(found);
}

/// Rule 4: matches open places by equality with the origin's own weights, if exactly one unclaimed
/// tensor has the same values.
fn by_value(names: &Names<'_>, matches: &mut Matches) {
    let Some(weights) = &names.weights else {
        return;
    };
    let origin = names.origin;
    let taken = taken(matches);
    for r#use in &origin.network.uses {
        if matches.contains_key(&r#use.place) || tables::by_itself(origin, r#use).is_some() {
            continue;
        }
        let Some(tensor) = origin.network.tensor(&r#use.initializer) else {
            continue;
        };
        // Many a constant is all ones or zeros, as parameters are before training.
        if tensor.is_uniform() && origin.network.model.lifted.contains(&r#use.initializer) {
            continue;
        }
        // A matrix that equals its transpose does not tell its orientation.
        let square =
            tensor.len() > 1 && matches!(tensor.shape[..], [rows, columns] if rows == columns);
        let mut candidates = weights.iter().filter_map(|(name, weight)| {
            let (stored, checkpoint) = names.tensors.get(name)?;
            let free = !taken.contains(*stored)
                && checkpoint.dtype.is_float()
                && checkpoint.shape == weight.shape;
            let transposed = origin.orientation(tensor, weight).filter(|_| free)?;
            let is_clear = !(square && origin.is_transpose(tensor, weight));
            is_clear.then(|| Match {
                source: StoredTensor {
                    name: (*stored).to_string(),
                    tensor: (*checkpoint).clone(),
                    transposed,
                },
                method: MatchRule::Values,
            })
        });
        if let Some(found) = candidates.next()
            && candidates.next().is_none()
        {
            matches.insert(r#use.place, found);
        }
    }
}
