//! What matching tells without being asked: copies, tables of the network, modules left out.

use std::collections::{BTreeMap, BTreeSet};

use super::extra::{PassedOver, Reason};
use super::findings::some;
use super::found::Found;
use super::tables::Evidence;
use crate::checkpoint::Checkpoint;

/// The tied copies in a file: the name of each, and of the matched tensor that it equals.
pub(super) fn copies(passed_over: &[PassedOver]) -> BTreeMap<String, String> {
    let copies = passed_over.iter().filter_map(|it| match &it.reason {
        Reason::Copy(of) => Some((it.name.clone(), of.clone())),
        _ => None,
    });
    copies.collect()
}

/// The patterns of the modules that `--ignore-unused` leaves out of some checkpoint.
pub(super) fn unused(passed_over: &[Vec<PassedOver>]) -> BTreeSet<String> {
    let all = passed_over.iter().flatten();
    let unused = all.filter_map(|it| match &it.reason {
        Reason::Unused(pattern) => Some(pattern.clone()),
        _ => None,
    });
    unused.collect()
}

/// Notes about the checkpoints' matches.
pub(super) fn of(found: &[Found], checkpoints: &[Checkpoint]) -> Vec<String> {
    let mut notes = on_tables(found);
    notes.extend(on_copies(found, checkpoints));
    notes.extend(on_unused(found));
    notes
}

fn on_tables(found: &[Found]) -> Vec<String> {
    let kinds = [
        (
            Evidence::Transient,
            "no state dict has them (persistent=False)",
        ),
        (
            Evidence::Recorded,
            "by the exporter's record, it computed them from no parameter",
        ),
        (Evidence::Frequencies, "they are rotary frequencies"),
    ];
    let note = |(evidence, told)| {
        let tables = found.iter().flat_map(|it| &it.tables);
        let own = tables.filter(|(_, why)| **why == evidence);
        let names: BTreeSet<String> = own.map(|(name, _)| format!("`{name}`")).collect();
        let names = some(names.into_iter().collect());
        (!names.is_empty())
            .then(|| format!("constants of the network are taken from the graph: {names}; {told}"))
    };
    kinds.into_iter().filter_map(note).collect()
}

/// Warns of tensors that count as constants because nothing else speaks for parameters.
pub(super) fn warning(found: &[Found]) -> Option<String> {
    let tables = found.iter().flat_map(|it| &it.tables);
    let own = tables.filter(|(_, why)| **why == Evidence::Remainder);
    let names: BTreeSet<String> = own.map(|(name, _)| format!("`{name}`")).collect();
    let names = some(names.into_iter().collect());
    (!names.is_empty()).then(|| {
        format!(
            "{names}: taken from the graph as constants of the network: θ0's state dict does not have \
             them, and all that it has is in the graph elsewhere; had the exporter computed them from a \
             parameter, values would be wrong; \
             torch.onnx.export(..., dynamo=True, optimize=False) keeps the computation"
        )
    })
}

fn on_copies(found: &[Found], checkpoints: &[Checkpoint]) -> Vec<String> {
    let mut by_copies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (found, checkpoint) in found.iter().zip(checkpoints) {
        let own = copies(&found.passed_over).into_iter();
        let own: Vec<String> = own
            .map(|(name, of)| format!("`{name}` is `{of}`"))
            .collect();
        if !own.is_empty() {
            let models = by_copies.entry(some(own)).or_default();
            models.push(checkpoint.name.clone());
        }
    }
    let note = |(own, models)| {
        format!(
            "tied tensors count once: {own}, by value, in {}",
            some(models)
        )
    };
    by_copies.into_iter().map(note).collect()
}

fn on_unused(found: &[Found]) -> Option<String> {
    // The largest number of tensors of a module that a checkpoint has.
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for found in found {
        let mut own: BTreeMap<&String, usize> = BTreeMap::new();
        for passed_over in &found.passed_over {
            if let Reason::Unused(pattern) = &passed_over.reason {
                *own.entry(pattern).or_default() += 1;
            }
        }
        for (pattern, count) in own {
            let known = most.entry(pattern.clone()).or_default();
            *known = count.max(*known);
        }
    }
    let told = most.iter().map(|(pattern, count)| match count {
        1 => format!("`{pattern}`"),
        count => format!("`{pattern}` ({count} tensors)"),
    });
    let told = told.collect::<Vec<_>>().join(", ");
    (!most.is_empty())
        .then(|| format!("--ignore-unused leaves out what the network does not use: {told}"))
}
