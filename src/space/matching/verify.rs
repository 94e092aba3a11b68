//! Verifies matches, and collects evidence against those that cannot be verified.
//!
//! A name alone proves nothing: exporters fold computations into a weight and keep its name and
//! shape. A match is proved by θ0's own state dict, whose tensors must hold the graph's values; it
//! can be refuted by the exporter's record ([`crate::graph::record`]).

use std::collections::BTreeSet;

use super::aligned::Aligned;
use super::evidence;
use super::findings::some;
use super::matches::Verified;
use super::origin::Origin;
use super::proof::Telling;
use super::unproven;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::file_name;
use crate::graph::network::Place;
use crate::graph::record::{Computed, History};

/// What speaks against values that stand on these matches.
#[derive(Default)]
pub(super) struct Doubts {
    /// Warnings for the reader of the results.
    pub warnings: Vec<String>,
    /// Short sentences to stand beside the values and below the figures.
    pub caveats: Vec<String>,
    /// What averages between the checkpoints are, if not averages of the users' parameters.
    pub averages: Option<String>,
}

/// Collects the doubts about how the checkpoints were matched.
pub(super) fn doubts(origin: &Origin<'_>, aligned: &Aligned, checkpoints: &[Checkpoint]) -> Doubts {
    let mut doubts = Doubts::default();
    by_name(origin, aligned, checkpoints, &mut doubts);
    doubts
        .warnings
        .extend(by_value(origin, aligned, checkpoints));
    doubts.warnings.extend(may_be_two(origin, aligned));
    let unproven = unproven::matched(origin, aligned);
    doubts.warnings.extend(unproven::warning(unproven));
    let merged = unproven::merged(origin, aligned);
    doubts.warnings.extend(unproven::warning_of_merged(merged));
    let folded = folded(origin, aligned, checkpoints);
    if folded.is_certain() {
        let averages = "an average of folded tensors, not of the models' parameters";
        let caveat =
            "Between the models: averages of folded tensors, not of the models' parameters.";
        doubts.caveats.push(caveat.to_string());
        doubts.averages = Some(format!("{averages}: see the warning"));
    }
    doubts.warnings.extend(folded.warning());
    doubts
}

/// Doubts checkpoints that were matched by names alone.
fn by_name(
    origin: &Origin<'_>,
    aligned: &Aligned,
    checkpoints: &[Checkpoint],
    doubts: &mut Doubts,
) {
    let named = |k: &usize| aligned.verified[*k] == Verified::Name;
    let found: Vec<usize> = (0..checkpoints.len()).filter(named).collect();
    let Some(&first) = found.first() else {
        return;
    };
    let names = found.iter().map(|&k| checkpoints[k].name.clone());
    let names = some(names.collect());
    let cure = match origin.weights_path {
        None => {
            "to settle this, give θ0's own state dict with --origin-weights FILE (FILE.safetensors \
                 beside FILE.onnx is found automatically)"
                .to_string()
        }
        Some(weights) => format!(
            "{} lacks some of these tensors; a whole state dict of θ0 settles it",
            file_name(weights)
        ),
    };
    // If the record shows that nothing was folded, a distant tensor was trained that way.
    let keeps_all = origin.record.is_unoptimized();
    let evidence = || evidence::of_folding(origin.network, aligned, first);
    let evidence = if keeps_all { None } else { evidence() };
    let caveat = match evidence {
        Some(_) => "tensors matched by name only, and some look folded: do not trust the values",
        None => "tensors matched by name only, values not verified",
    };
    doubts.caveats.push(format!("{names}: {caveat}."));
    doubts.warnings.push(match evidence {
        Some(evidence) => format!(
            "{names}: do NOT trust these values before this is settled: tensors are matched by name \
             only, and it looks as if the exporter had folded a computation into some (a head \
             trained from scratch looks the same), in {}: {evidence}; {cure}",
            checkpoints[first].name
        ),
        None if keeps_all => format!(
            "{names}: tensors are matched by name only; the exporter's record shows no \
             folding, but their values are not verified; {cure}"
        ),
        None => format!(
            "{names}: tensors are matched by name only; if the exporter \
             folded a computation into one of them and kept its name, the values are wrong; {cure}"
        ),
    });
}

/// Doubts matches that were verified by value: equality at θ0 may be chance.
fn by_value(origin: &Origin<'_>, aligned: &Aligned, checkpoints: &[Checkpoint]) -> Option<String> {
    let mut verified = aligned.verified.iter();
    let first = verified.position(|by| *by == Verified::Value)?;
    if origin.record.is_unoptimized() {
        return None;
    }
    let evidence = evidence::of_signs(origin, aligned, first)?;
    Some(format!(
        "θ0's state dict holds the graph's values, but in {}: {evidence}; had the exporter folded a \
         computation that changes nothing at θ0 (|a|, a clamp), the values would be wrong; \
         torch.onnx.export(..., dynamo=True, optimize=False) keeps it in the graph",
        checkpoints[first].name
    ))
}

/// Doubts tensors that are read at several places and equal their transposes at θ0, or are the same
/// in all elements: an exporter that merges what is equal may have merged a matrix with its
/// transpose, or g with 1 − g.
fn may_be_two(origin: &Origin<'_>, aligned: &Aligned) -> Option<String> {
    if origin.record.is_unoptimized() {
        return None;
    }
    let network = origin.network;
    let is_product = |place: &&Place| {
        let op_type = network.nodes()[place.node].op_type();
        ["MatMul", "Gemm"].contains(&op_type)
    };
    let doubtful = aligned.places.iter().enumerate().filter(|(index, places)| {
        let tensor = &aligned.pool.members[0].sources[*index].tensor;
        let products = places.iter().filter(is_product).count() > 1;
        let moves = !aligned.pool.parameters[*index].frozen;
        moves && places.len() > 1 && (tensor.is_uniform() || (products && tensor.is_symmetric()))
    });
    let names = doubtful.map(|(index, _)| format!("`{}`", aligned.pool.parameters[index].name));
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: read at several places, and all elements are alike at θ0, or the matrix equals its \
             transpose; had the exporter merged it with something that was equal only there (1 − g, \
             the transpose), values would be wrong; \
             torch.onnx.export(..., dynamo=True, optimize=False) keeps both",
            some(names)
        )
    })
}

/// Tensors that differ between ONNX checkpoints and may have been computed from parameters.
#[derive(Default)]
struct Folded {
    /// Tensors known to be computed, with the operators.
    computed: Vec<String>,
    /// Tensors of unknown origin.
    unknown: Vec<String>,
    /// Tensors of θ0's state dict that are nowhere in the graph.
    lost: Vec<String>,
    /// Whether θ0's state dict is available.
    has_weights: bool,
}

/// Finds tensors of ONNX checkpoints that replace the parameters: their average is not that of the
/// parameters.
fn folded(origin: &Origin<'_>, aligned: &Aligned, checkpoints: &[Checkpoint]) -> Folded {
    let is_onnx = |checkpoint: &Checkpoint| matches!(checkpoint.content, Content::Network(_));
    let mut folded = Folded::default();
    if !checkpoints.iter().any(is_onnx) {
        return folded;
    }
    let moving = aligned.pool.parameters.iter().enumerate();
    for (index, _) in moving.filter(|(_, parameter)| !parameter.frozen) {
        let name = &aligned.pool.members[0].sources[index].name;
        // Of several places, take the one with the strongest evidence of a computation.
        let places = aligned.places[index].iter();
        let found = places.filter_map(|&place| computation_of(origin, name, place));
        match found.max_by_key(|it| (!it.linear, !it.by.is_empty())) {
            Some(Computed { linear: true, .. }) | None => {}
            Some(Computed { by, .. }) if by.is_empty() => folded.unknown.push(format!("`{name}`")),
            Some(Computed { by, .. }) => {
                let by = by.join(", ");
                folded.computed.push(format!("`{name}` (by {by})"));
            }
        }
    }
    folded.lost = lost(origin);
    folded.has_weights = origin.weights.is_some();
    folded
}

impl Folded {
    /// Whether averages are known to be wrong.
    fn is_certain(&self) -> bool {
        !self.computed.is_empty()
    }

    /// The warning for the reader of the results.
    fn warning(self) -> Option<String> {
        let export = "export with torch.onnx.export(..., dynamo=True, optimize=False), or give state \
                  dicts (.safetensors) of the checkpoints beside such an origin";
        let warning = match (self.computed.len(), self.unknown.len()) {
            (0, 0) if self.lost.is_empty() => return None,
            (0, _) if !self.lost.is_empty() => format!(
                "tensors of θ0's state dict are nowhere in the graph ({}: {}): where the exporter folded \
             them into others, values between the ONNX checkpoints are averages of folded tensors, \
             not of the models' parameters; {export}",
                self.lost.len(),
                some(self.lost)
            ),
            (0, count) if self.has_weights => format!(
                "tensors of the ONNX checkpoints hold values of θ0's state dict under names that the \
             exporter gives to what it computed ({count}: {}): had it folded a factor of 1 into \
             them, values between the checkpoints would be averages of folded tensors",
                some(self.unknown)
            ),
            (0, count) => format!(
                "tensors of the ONNX checkpoints carry no record of how the exporter made them ({count}: \
             {}): had it folded a computation into them (batch norm, weight norm), values between \
             the checkpoints would be averages of folded tensors, not of the models' parameters; \
             --origin-weights FILE with θ0's own state dict tells",
                some(self.unknown)
            ),
            _ => format!(
                "values between the checkpoints are NOT those of averaged parameters: the exporter \
             folded computations into {}, and averaging folded weights is not \
             folding averaged weights; only values at the checkpoints themselves are right; {export}",
                some(self.computed)
            ),
        };
        Some(warning)
    }
}

/// Tensors of θ0's state dict that the graph has neither by name nor, under a name made up by the
/// exporter, by value.
fn lost(origin: &Origin<'_>) -> Vec<String> {
    let (network, record) = (origin.network, &origin.record);
    let Some(weights) = origin.weights.filter(|_| !record.is_unoptimized()) else {
        return Vec::new();
    };
    let uses = network.uses.iter();
    let names: BTreeSet<&str> = uses
        .flat_map(|it| [it.initializer.as_str(), it.alias.as_str()])
        .collect();
    // TorchScript leaves the names of merged tensors in the graph; the current exporter does not.
    let renamed = |name: &&&str| record.is_marked() || name.starts_with("onnx::");
    let candidates: Vec<&Tensor> = names
        .iter()
        .filter(renamed)
        .filter_map(|name| network.tensor(name))
        .collect();
    // Either side may have a prefix (`module.`).
    let known = |name: &str| {
        let mut suffixes = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        names.contains(name) || suffixes.any(|it| names.contains(it))
    };
    let lost = weights.iter().filter(|(name, tensor)| {
        let counts = tensor.dtype.is_float() && !tensor.is_empty();
        let mut candidates = candidates.iter();
        counts && !known(name) && !candidates.any(|it| origin.holds_either_way(it, tensor))
    });
    lost.map(|(name, _)| format!("`{name}`")).collect()
}

/// How an initializer that differs between ONNX checkpoints was computed: `None` if it is a
/// parameter, an empty list of operators if that is unknown.
fn computation_of(origin: &Origin<'_>, initializer: &str, place: Place) -> Option<Computed> {
    let recorded = origin.record.history(initializer, place);
    if matches!(recorded, History::Untouched | History::Layout) {
        return None;
    }
    let tensor = origin.network.tensor(initializer)?;
    let is_held = origin.weights.map(|weights| {
        let mut weights = weights.values();
        weights.any(|weight| origin.holds_either_way(tensor, weight))
    });
    match (recorded, is_held) {
        // Equality at θ0 may be chance: a factor of 1 leaves no trace.
        (History::Computed(Computed { by_name: true, .. }), Some(true)) => Some(Computed {
            by: Vec::new(),
            linear: false,
            by_name: true,
        }),
        (History::Computed(computed), _) => Some(computed),
        (_, Some(true)) => None,
        (_, Some(false)) => Some(Computed {
            by: vec!["a computation: θ0's state dict has no such values".to_string()],
            linear: false,
            by_name: false,
        }),
        (_, None) => Some(Computed {
            by: Vec::new(),
            linear: false,
            by_name: false,
        }),
    }
}
