//! Tensors for which nothing speaks but equal values at θ0.
//!
//! TorchScript keeps no record of what it folded, and calls what it made after the operator that reads
//! it (`onnx::Add_12`). A sum with a parameter that is 0 at θ0, or a product with one that is 1, leaves
//! no trace there.

use std::collections::{BTreeMap, BTreeSet};

use super::aligned::Aligned;
use super::findings::some;
use super::matches::Verified;
use super::names::module;
use super::origin::Origin;
use super::proof::{self, Telling};
use crate::graph::network::Place;
use crate::graph::record::History;

/// Whether nothing but equal values at θ0 shows that the exporter stored a tensor as it is. A name with
/// `MatMul` or `Gemm` is that of a transposed weight, which may hide a mask or a rounding only if its
/// values are special; any other may be a sum or a product.
pub(super) fn is_unproven(origin: &Origin<'_>, initializer: &str, place: Place) -> bool {
    if origin.record.is_marked() || !initializer.starts_with("onnx::") {
        return false;
    }
    let history = origin.record.history(initializer, place);
    let tensor = origin.network.tensor(initializer);
    matches!(history, History::Computed(_)) || !tensor.is_some_and(proof::is_telling)
}

/// The names of such tensors that were matched as they are, and that move.
pub(super) fn matched(origin: &Origin<'_>, aligned: &Aligned) -> Vec<String> {
    if !aligned.verified.contains(&Verified::Value) {
        return Vec::new();
    }
    let parameters = aligned.pool.parameters.iter().zip(&aligned.places);
    let graph = &aligned.pool.members[0].sources;
    let unproven = parameters.zip(graph).filter(|((parameter, places), own)| {
        !parameter.frozen && is_unproven(origin, &own.name, places[0])
    });
    let names = unproven.map(|((parameter, _), own)| match parameter.name == own.name {
        true => format!("`{}`", own.name),
        false => format!("`{}` (`{}`)", own.name, parameter.name),
    });
    names.collect()
}

/// The names of tensors that move and are read at several places of a graph without a record, where
/// the exporter may have merged a parameter with a buffer that equals it at θ0. A tensor that the state
/// dict has twice is tied.
pub(super) fn merged(origin: &Origin<'_>, aligned: &Aligned) -> Vec<String> {
    if origin.record.is_marked() || !aligned.verified.contains(&Verified::Value) {
        return Vec::new();
    }
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for r#use in &origin.network.uses {
        *readers.entry(&r#use.initializer).or_default() += 1;
    }
    let often = |name: &str| readers.get(name).copied().unwrap_or(0);
    let nodes = origin.network.nodes();
    // A module that is called several times reads all its tensors as often, a single one alike.
    let is_called_often = |name: &str| {
        let own = module(name);
        let mut others = readers
            .iter()
            .filter(|(it, _)| **it != name && module(it) == own)
            .peekable();
        if others.peek().is_some() {
            return others.all(|it| *it.1 == often(name));
        }
        let uses = origin.network.uses.iter();
        let places = uses.filter(|it| it.initializer == name);
        let mut kinds = places.map(|it| (nodes[it.place.node].op_type(), it.place.slot));
        let first = kinds.next();
        kinds.all(|it| Some(it) == first)
    };
    let is_tied = |name: &str| {
        let mut copies = aligned.copies.iter().flat_map(BTreeMap::values);
        copies.any(|of| of == name)
    };
    let lifted = &origin.network.model.lifted;
    let parameters = &aligned.pool.parameters;
    let graph = &aligned.pool.members[0].sources;
    let is_constant = |index: usize| {
        let mut uses = origin.network.uses.iter();
        let own = uses.find(|it| aligned.places[index].contains(&it.place));
        own.is_some_and(|it| lifted.contains(&it.initializer))
    };
    let found = (0..parameters.len()).filter(|&index| {
        let (parameter, name) = (&parameters[index], graph[index].name.as_str());
        // A buffer becomes a `Constant` node, which may equal a parameter.
        let tied = parameter.tied_to;
        let is_mixed = tied.is_some_and(|other| is_constant(index) != is_constant(other));
        let is_shared = often(name) > 1 && !is_called_often(name);
        let may_be = !parameter.frozen && !graph[index].tensor.is_uniform();
        may_be && (is_mixed || (is_shared && !is_tied(&parameter.name) && !is_tied(name)))
    });
    found
        .map(|index| format!("`{}`", parameters[index].name))
        .collect()
}

/// The warning about merged tensors.
pub(super) fn warning_of_merged(names: Vec<String>) -> Option<String> {
    (!names.is_empty()).then(|| {
        format!(
            "{}: at several places of the graph, which has no record; had one of them been a buffer that \
             equals the parameter only at θ0, values would be wrong; \
             torch.onnx.export(..., dynamo=True, optimize=False) keeps both",
            some(names)
        )
    })
}

/// A note for graphs without a record: what values at θ0 cannot show of any tensor.
pub(super) fn note(origin: &Origin<'_>) -> Option<String> {
    if origin.record.is_marked() || origin.weights.is_none() {
        return None;
    }
    let uses = origin.network.uses.iter();
    let made = uses.filter(|it| it.initializer.starts_with("onnx::"));
    let names: BTreeSet<String> = made.map(|it| format!("`{}`", it.initializer)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "TorchScript keeps no record of what it folded; by their values at θ0, {} hold parameters of \
             its state dict, and a computation that changes nothing there would not show",
            some(names.into_iter().collect())
        )
    })
}

/// The warning about tensors that are not proven.
pub fn warning(names: Vec<String>) -> Option<String> {
    (!names.is_empty()).then(|| {
        format!(
            "{}: only equal values at θ0 show that TorchScript stored parameters there as they are; had \
             it folded a sum with 0 or a product with 1 into them, values would be wrong; \
             torch.onnx.export(..., dynamo=True, optimize=False) keeps such computations, and so does \
             do_constant_folding=False",
            some(names)
        )
    })
}
