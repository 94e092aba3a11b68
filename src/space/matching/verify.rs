//! How a checkpoint's tensors were verified, and what speaks against a match that was not.
//!
//! A name alone proves nothing: exporters fold computations into a weight and keep its name and
//! shape. What proves a match is θ0's own state dict, whose tensors must hold the graph's values;
//! what can refute it is the exporter's record ([`crate::graph::record`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Aligned;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::file_name;
use crate::graph::network::{Network, Place};
use crate::graph::record::{Computed, History, Record};
use crate::space::decode;
use crate::space::pool::Role;
use crate::space::source::Source;

/// What shows that a checkpoint's tensors stand where they belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// θ0's tensors under the same names hold the values of the graph.
    Value,
    /// Nothing but names: of tensors, of modules, or in the exporter's record.
    Name,
    /// Its graph is the origin's, node by node; the file itself can be run, too.
    Graph,
}

/// How many tensors a sentence names.
const NAMED: usize = 3;

/// Warnings about how the checkpoints were matched, and a short word to stand beside values
/// between them where these are no averages of the users' parameters.
pub(super) fn doubts(
    network: &Network<'_>,
    aligned: &Aligned,
    checkpoints: &[Checkpoint],
    weights: Option<&Checkpoint>,
) -> (Vec<String>, Option<String>) {
    let record = Record::of(network);
    let mut warnings = Vec::new();
    warnings.extend(by_name(&record, aligned, checkpoints, weights));
    let folded = folded(network, &record, aligned, checkpoints, weights);
    let caveat = folded.as_ref().filter(|it| it.certain).map(|_| {
        "an average of folded tensors, not of the models' parameters: see the warning".to_string()
    });
    warnings.extend(folded.map(|it| it.warning));
    (warnings, caveat)
}

/// The warning about checkpoints that nothing but names speaks for.
fn by_name(
    record: &Record<'_>,
    aligned: &Aligned,
    checkpoints: &[Checkpoint],
    weights: Option<&Checkpoint>,
) -> Option<String> {
    let named = |k: &usize| aligned.verified[*k] == Verified::Name;
    let found: Vec<usize> = (0..checkpoints.len()).filter(named).collect();
    let first = *found.first()?;
    let names = found.iter().map(|&k| checkpoints[k].name.clone());
    let names = some(names.collect());
    let cure = match weights {
        None => "--origin-weights FILE with θ0's own state dict settles it (FILE.safetensors \
                 beside FILE.onnx is found by itself)"
            .to_string(),
        Some(weights) => format!(
            "{} lacks some of these tensors; a whole state dict of θ0 settles it",
            file_name(&weights.path)
        ),
    };
    // Where the record shows that nothing was folded, a tensor that lies far off was trained so.
    let keeps_all = record.is_unoptimized();
    let evidence = (!keeps_all).then(|| evidence(aligned, first)).flatten();
    Some(match evidence {
        Some(evidence) => format!(
            "{names}: do NOT trust these values before this is settled: tensors are matched by name \
             alone, and some lie as far from θ0's as if the exporter had folded a computation into \
             them (a head trained from scratch looks the same), in {}: {evidence}; {cure}",
            checkpoints[first].name
        ),
        None if keeps_all => format!(
            "{names}: tensors are matched by name alone; the exporter's record shows no folding, \
             but their values are not verified; {cure}"
        ),
        None => format!(
            "{names}: tensors are matched by name alone; had the exporter folded a computation \
             into one under its own name, values would be wrong; {cure}"
        ),
    })
}

/// A tensor's distance from θ0's, in units of θ0's length, from which it is conspicuous: this, and
/// [`OUTLYING`] times the median of all.
const FAR: f64 = 0.5;
const OUTLYING: f64 = 4.0;

/// Cosine of a tensor to θ0's below which it is conspicuous where most are above [`ALIKE`].
const UNLIKE: f64 = 0.5;
const ALIKE: f64 = 0.9;

/// What speaks for folding: tensors of a checkpoint that lie much farther from the graph's than
/// their fellows, or point elsewhere. Fine-tuning moves all tensors by like parts; a computation
/// that was folded into the graph stands between one side and the other.
fn evidence(aligned: &Aligned, checkpoint: usize) -> Option<String> {
    let members = &aligned.pool.members;
    let tensors = aligned.pool.parameters.iter().enumerate();
    // Biases and gains move far by ordinary training; matrices, filters and single scales do not.
    let trained = tensors.filter(|(_, parameter)| {
        let counts = parameter.shape.len() > 1 || parameter.len() == 1;
        parameter.role == Role::Trainable && counts
    });
    let measured = trained.filter_map(|(index, parameter)| {
        let (origin, own) = (
            &members[0].sources[index].tensor,
            &members[checkpoint + 1].sources[index],
        );
        let [squared, product, own_squared] = decode::products(origin, own);
        let moved = (squared - 2.0 * product + own_squared).max(0.0).sqrt() / squared.sqrt();
        let cosine = product / (squared * own_squared).sqrt();
        (squared > 0.0 && own_squared > 0.0).then_some((
            parameter.name.as_str(),
            parameter.len(),
            moved,
            cosine,
        ))
    });
    let measured: Vec<_> = measured.collect();
    let typical = median(measured.iter().map(|it| it.2).collect())?;
    let alike = median(measured.iter().map(|it| it.3).collect())?;
    let conspicuous = measured.iter().filter(|(_, len, moved, cosine)| {
        let far = *moved > FAR && *moved > OUTLYING * typical;
        far || (*len > 3 && *cosine < UNLIKE && alike > ALIKE)
    });
    let told = conspicuous.map(|(name, _, moved, cosine)| {
        format!("`{name}` lies {moved:.2} of θ0's length from it (cosine {cosine:.2})")
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| {
        format!(
            "{}, where the median tensor lies {typical:.2} from it",
            some(told)
        )
    })
}

/// The middle value, of two the lower; `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Tensors that ONNX checkpoints hold in place of the parameters.
struct Folded {
    warning: String,
    /// Whether it is known that averages are wrong.
    certain: bool,
}

/// Whether tensors that differ between ONNX checkpoints are no parameters but computed from them:
/// then their average is not that of the parameters.
fn folded(
    network: &Network<'_>,
    record: &Record<'_>,
    aligned: &Aligned,
    checkpoints: &[Checkpoint],
    weights: Option<&Checkpoint>,
) -> Option<Folded> {
    let is_onnx = |checkpoint: &Checkpoint| matches!(checkpoint.content, Content::Onnx(_));
    if !checkpoints.iter().any(is_onnx) {
        return None;
    }
    let weights = weights.and_then(state_dict);
    let (mut computed, mut unknown) = (Vec::new(), Vec::new());
    let moving = aligned.pool.parameters.iter().enumerate();
    for (index, _) in moving.filter(|(_, parameter)| !parameter.frozen) {
        let source = &aligned.pool.members[0].sources[index];
        // Of several places the one that speaks most for a computation.
        let places = aligned.places[index].iter();
        let found = places.filter_map(|&place| of(network, record, &source.name, place, weights));
        match found.max_by_key(|it| (!it.linear, !it.by.is_empty())) {
            Some(Computed { linear: true, .. }) => {}
            Some(Computed { by, .. }) if by.is_empty() => {
                unknown.push(format!("`{}`", source.name))
            }
            Some(Computed { by, .. }) => {
                computed.push(format!("`{}` (by {})", source.name, by.join(", ")));
            }
            None => {}
        }
    }
    let lost = weights.map_or_else(Vec::new, |weights| lost(network, record, weights));
    let export = "export with torch.onnx.export(..., dynamo=True, optimize=False), or give state \
                  dicts (.safetensors) of the checkpoints beside such an origin";
    let certain = !computed.is_empty();
    let warning = match (computed.len(), unknown.len()) {
        (0, 0) if lost.is_empty() => return None,
        (0, _) if !lost.is_empty() => format!(
            "tensors of θ0's state dict are nowhere in the graph ({}: {}): where the exporter folded \
             them into others, values between the ONNX checkpoints are averages of folded tensors, \
             not of the models' parameters; {export}",
            lost.len(),
            some(lost)
        ),
        (0, count) if weights.is_some() => format!(
            "tensors of the ONNX checkpoints hold values of θ0's state dict under names that the \
             exporter gives to what it computed ({count}: {}): had it folded a factor of 1 into \
             them, values between the checkpoints would be averages of folded tensors",
            some(unknown)
        ),
        (0, count) => format!(
            "tensors of the ONNX checkpoints carry no record of how the exporter made them ({count}: \
             {}): had it folded a computation into them (batch norm, weight norm), values between \
             the checkpoints would be averages of folded tensors, not of the models' parameters; \
             --origin-weights FILE with θ0's own state dict tells",
            some(unknown)
        ),
        _ => format!(
            "values between the checkpoints are NOT those of averaged parameters: the exporter \
             folded computations into {}, and averaging folded weights is not \
             folding averaged weights; only values at the checkpoints themselves are right; {export}",
            some(computed)
        ),
    };
    Some(Folded { warning, certain })
}

/// Tensors of θ0's state dict that the graph has neither by name nor, under a name of the exporter's
/// making, by value.
fn lost(
    network: &Network<'_>,
    record: &Record<'_>,
    weights: &BTreeMap<String, Tensor>,
) -> Vec<String> {
    if record.is_unoptimized() {
        return Vec::new();
    }
    let uses = network.uses.iter();
    let names: BTreeSet<&str> = uses
        .flat_map(|it| [it.initializer.as_str(), it.alias.as_str()])
        .collect();
    // TorchScript leaves the names of what it merges in the graph; the current exporter does not.
    let renamed = |name: &&&str| record.is_marked() || name.starts_with("onnx::");
    let candidates: Vec<&Tensor> = names
        .iter()
        .filter(renamed)
        .filter_map(|name| network.tensor(name))
        .collect();
    let held = |weight: &Tensor| {
        let mut candidates = candidates.iter();
        candidates.any(|it| same_values(it, weight, false) || same_values(it, weight, true))
    };
    // Either side may have a prefix (`module.`).
    let known = |name: &str| {
        let mut suffixes = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        names.contains(name) || suffixes.any(|it| names.contains(it))
    };
    let lost = weights.iter().filter(|(name, tensor)| {
        let counts = tensor.dtype.is_float() && !tensor.is_empty();
        counts && !known(name) && !held(tensor)
    });
    lost.map(|(name, _)| format!("`{name}`")).collect()
}

/// How an initializer that differs between ONNX checkpoints was computed; `None` where it is a
/// parameter, and by nothing where that is not known.
fn of(
    network: &Network<'_>,
    record: &Record<'_>,
    initializer: &str,
    place: Place,
    weights: Option<&BTreeMap<String, Tensor>>,
) -> Option<Computed> {
    let recorded = record.history(initializer, place);
    if matches!(recorded, History::Untouched | History::Layout) {
        return None;
    }
    let tensor = network.tensor(initializer)?;
    let held = |weights: &BTreeMap<String, Tensor>| {
        weights
            .values()
            .any(|it| same_values(tensor, it, false) || same_values(tensor, it, true))
    };
    match (recorded, weights) {
        // Equal at θ0, which may be by chance: a factor of 1 leaves no trace.
        (History::Computed(Computed { by_name: true, .. }), Some(weights)) if held(weights) => {
            Some(Computed {
                by: Vec::new(),
                linear: false,
                by_name: true,
            })
        }
        (History::Computed(computed), _) => Some(computed),
        (_, Some(weights)) if held(weights) => None,
        (_, Some(_)) => Some(Computed {
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

/// Whether a tensor of the graph holds a state dict's values, but for the rounding of the narrower
/// type.
pub(super) fn same_values(tensor: &Tensor, weight: &Tensor, transposed: bool) -> bool {
    let fits = match (transposed, tensor.shape.as_slice(), weight.shape.as_slice()) {
        (true, [a, b], [c, d]) => a == d && b == c,
        (true, ..) => false,
        (false, ours, theirs) => ours == theirs,
    };
    if !fits || !weight.dtype.is_float() {
        return false;
    }
    let source = Source {
        name: String::new(),
        tensor: weight.clone(),
        transposed,
    };
    decode::equal_to_rounding(tensor, &source)
}

/// The tensors of a checkpoint that has names.
pub(super) fn state_dict(checkpoint: &Checkpoint) -> Option<&BTreeMap<String, Tensor>> {
    match &checkpoint.content {
        Content::Safetensors(tensors) => Some(tensors),
        Content::Onnx(_) => None,
    }
}

/// The first few of a list, and how many more there are.
pub(super) fn some(mut items: Vec<String>) -> String {
    let more = items.len().saturating_sub(NAMED);
    items.truncate(NAMED);
    match more {
        0 => items.join(", "),
        more => format!("{} and {more} more", items.join(", ")),
    }
}

/// A computation that stands between a checkpoint's tensor and the graph, where the exporter's
/// record shows one.
///
/// `equal` says that θ0's own tensor holds the graph's values. That settles what only looks computed
/// by its name, and linear computations (a product with 1); another, such as |w| or a clamp, may be
/// equal at θ0 by chance.
pub(super) fn computed(
    record: &Record<'_>,
    initializer: &str,
    place: Place,
    equal: impl FnOnce() -> bool,
) -> Option<Computed> {
    match record.history(initializer, place) {
        History::Computed(computed) if (computed.linear || computed.by_name) && equal() => None,
        History::Computed(computed) => Some(computed),
        _ => None,
    }
}

/// What a state dict beside the origin is called: the origin's name with the other ending.
pub fn state_dict_beside(origin: &Path) -> Option<std::path::PathBuf> {
    let path = origin.with_extension("safetensors");
    path.is_file().then_some(path)
}
