//! Matches named tensors (`.safetensors`) to places in the graph.
//!
//! For each place, the first rule that gives a tensor of the right shape applies (the rules are in
//! [`super::rules`]):
//! 1. the name of the initializer, or of the Identity through which it is read;
//! 2. the exporter's record of what it folded (`folded_from`);
//! 3. the module path of the reading node, then the module of the bias added to its result;
//! 4. equality of values with the origin's own weights, if these are given.
//!
//! An initializer that is read at several places may stand for several tensors that were equal at
//! θ0 and were merged. There, the module path of each place is tried first.

use std::collections::{BTreeMap, BTreeSet};

use super::extra::{self, PassedOver};
use super::findings::Findings;
use super::found::Found;
use super::known::COUNTERS;
use super::matches::{Match, MatchRule, Matches, Verified, is_left};
use super::names::{Names, module};
use super::options::Options;
use super::origin::Origin;
use super::proof::{self, Telling};
use super::refusal::refuse;
use super::rules;
use super::tables::{self, Evidence};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::error::{Error, Result};
use crate::graph::network::{Place, Use};
use crate::graph::record::{CASTING, Computed, History, LAYOUT, TURNING};
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// Finds the tensor of a checkpoint for each place.
///
/// # Errors
/// When anything stays unmatched on either side, or a match is not the same tensor.
pub fn match_named(
    origin: &Origin<'_>,
    checkpoint: &Checkpoint,
    tensors: &BTreeMap<String, Tensor>,
    options: &Options,
) -> Result<Found> {
    let names = Names::new(origin, checkpoint, tensors, options)?;
    refuse_other_integers(&names, checkpoint, options)?;
    let matches = rules::find(&names);
    let mut findings = Findings::default();
    let weights = names.weights_by_stored_name();
    let (passed_over, extras) = extra::sort(&names, weights.as_ref(), &matches, options);
    let verified = verify_values(origin, weights.as_ref(), &matches, options, &mut findings);
    let is_whole = verified == Verified::Value && extras.is_empty();
    let is_whole = is_whole && is_accounted(&names, &matches, &passed_over);
    let tables = note_missing(&names, &matches, options, is_whole, &mut findings);
    for extra in &extras {
        if !findings.is_misshapen(extra.name) {
            findings.extra(extra);
        }
    }
    note_computed(&names, weights.as_ref(), &matches, options, &mut findings);
    note_orientation(origin, &matches, &mut findings);
    refuse(&findings, checkpoint, &names, matches.len())?;
    Ok(Found {
        matches,
        passed_over,
        verified,
        renaming: names.renaming,
        tables,
    })
}

/// Refuses integers that differ from θ0's, in whatever type, and integers in the place of weights: they
/// are not averaged, and every model would have θ0's.
fn refuse_other_integers(
    names: &Names<'_>,
    checkpoint: &Checkpoint,
    options: &Options,
) -> Result<()> {
    let network = names.origin.network;
    let counts = |key: &str| COUNTERS.contains(&key.rsplit('.').next().unwrap_or(key));
    let found = names.tensors.iter().find_map(|(key, (stored, tensor))| {
        let weights = names.weights.as_ref();
        let own = network.tensor(key).or_else(|| weights?.get(key).copied())?;
        let problem = of_integers(own, tensor).filter(|_| !counts(key))?;
        (!options.ignores(stored)).then_some((*stored, tensor.dtype.name(), problem))
    });
    let Some((stored, dtype, problem)) = found else {
        return Ok(());
    };
    let problem = format!("`{stored}` ({dtype}) {problem}: every model would have θ0's");
    Err(Error::input(&checkpoint.path, problem)
        .help(format!("if that is right: --ignore '{stored}'")))
}

/// What is wrong with a checkpoint's integers in the place of θ0's own tensor, if anything is.
fn of_integers(own: &Tensor, tensor: &Tensor) -> Option<&'static str> {
    let is_whole = tensor.dtype.is_integer() || tensor.dtype == Dtype::Bool;
    if !is_whole {
        return None;
    }
    if own.dtype.is_float() {
        return Some(
            "is of integers, where the network has floating-point numbers, and is not averaged",
        );
    }
    let differs = own.whole_numbers() != tensor.whole_numbers();
    differs.then_some("differs from θ0's, and is not averaged")
}

/// Whether every tensor of θ0's state dict is in the graph or holds no weights.
fn is_accounted(names: &Names<'_>, matches: &Matches, passed_over: &[PassedOver]) -> bool {
    let matched = matches.values().map(|found| found.source.name.as_str());
    let none = passed_over.iter().filter(|it| it.reason.is_no_parameter());
    let known: BTreeSet<&str> = matched.chain(none.map(|it| it.name.as_str())).collect();
    let mut weights = names.weights.iter().flatten();
    weights.all(|(name, weight)| {
        let stored = names.tensors.get(name).map(|(stored, _)| *stored);
        let counts = weight.dtype.is_float() && !weight.is_empty();
        !counts || stored.is_some_and(|stored| known.contains(stored))
    })
}

/// Notes places where the exporter computed the graph's tensor: the checkpoint's cannot replace it.
fn note_computed<'a>(
    names: &Names<'a>,
    weights: Option<&BTreeMap<&str, &'a Tensor>>,
    matches: &Matches,
    options: &Options,
    findings: &mut Findings,
) {
    let origin = names.origin;
    for r#use in &origin.network.uses {
        let Some(found) = matches.get(&r#use.place) else {
            continue;
        };
        let left = is_left(r#use, std::slice::from_ref(matches), options);
        let source = &found.source;
        if !left && may_be_constant(names, r#use, found) {
            let also = ["a merge with a constant that was equal".to_string()];
            findings.computed(&source.name, &r#use.initializer, &also);
        }
        let weight = weights.and_then(|weights| weights.get(source.name.as_str()));
        let equal = || {
            let tensor = origin.network.tensor(&r#use.initializer);
            let pair = weight.zip(tensor);
            pair.is_some_and(|(weight, it)| origin.holds(it, weight, source.transposed))
        };
        let computed = computation_between(
            origin,
            &r#use.initializer,
            r#use.place,
            source.transposed,
            equal,
        );
        if let Some(computed) = computed.filter(|_| !left) {
            findings.computed(&found.source.name, &r#use.initializer, &computed.by);
        }
    }
}

/// Whether a place may read a constant that the exporter merged with a parameter because both were
/// all ones or all zeros at θ0: a different module reads it, and fine-tuning changed the parameter.
fn may_be_constant(names: &Names<'_>, r#use: &Use, found: &Match) -> bool {
    let tensor = names.origin.network.tensor(&r#use.initializer);
    let moved = tensor.is_some_and(|tensor| !decode::equal(tensor, &found.source));
    moved && reads_foreign_constant(names, r#use, found)
}

/// Whether a place of another module reads a parameter of equal elements that carries the
/// parameter's own name: the exporter may have merged a constant with it.
pub(super) fn reads_foreign_constant(names: &Names<'_>, r#use: &Use, found: &Match) -> bool {
    let (network, record) = (names.origin.network, &names.origin.record);
    let merged = names.is_shared(&r#use.initializer) && record.is_marked();
    let by_name = found.method == MatchRule::Name && r#use.alias == r#use.initializer;
    if !(merged && by_name) {
        return false;
    }
    let called = record.calls(r#use.place, &r#use.initializer);
    // Instead of γ and β, a batch norm without them has ones and zeros, as are fresh statistics.
    let is_norm = network.nodes()[r#use.place.node].op_type() == "BatchNormalization";
    let is_statistic = ["running_mean", "running_var"].map(|it| r#use.initializer.ends_with(it));
    let misplaced = is_norm && [1, 2].contains(&r#use.place.slot) && is_statistic.contains(&true);
    let own = !misplaced
        && called.unwrap_or_else(|| {
            let path = network.module_path(r#use.place.node);
            path.is_none_or(|it| it == module(&r#use.initializer))
        });
    let tensor = network.tensor(&r#use.initializer).filter(|_| !own);
    tensor.is_some_and(|it| it.is_uniform() || record.calls_transient(r#use.place))
}

/// A computation between a checkpoint's tensor and the graph's, if the exporter's record shows one.
///
/// `equal` says that θ0's own tensor holds the graph's values. That rules out computations that are
/// suspected only by name (see [`super::unproven`] for the doubt that stays). Recorded ones may be equal
/// at θ0 by chance: a sum with a parameter that is 0 there, a product with one that is 1. So may those
/// that are suspected by name, where the elements are alike: 0 times anything is 0. A name that the exporter made up has its reason
/// if the tensor is the transpose. A transposition does not show in a symmetric tensor, nor a rounding in
/// whole numbers.
pub(super) fn computation_between(
    origin: &Origin<'_>,
    initializer: &str,
    place: Place,
    transposed: bool,
    equal: impl FnOnce() -> bool,
) -> Option<Computed> {
    let tensor = origin.network.tensor(initializer);
    let tells = tensor.is_none_or(|it| match it.len() {
        1 => !it.is_trivial(),
        _ => !it.is_uniform(),
    });
    match origin.record.history(initializer, place) {
        History::Computed(computed) if computed.by_name && (tells || transposed) && equal() => None,
        History::Computed(computed) => Some(computed),
        // A matrix that was turned once, and nothing else, is the transpose.
        History::Layout if transposed && origin.record.times(initializer, &LAYOUT) == 1 => None,
        History::Layout => hidden(origin, initializer, tensor?).map(|by| Computed {
            by: vec![by.to_string()],
            linear: true,
            by_name: false,
        }),
        _ => None,
    }
}

/// What the record says was done to an initializer or a tensor that it was made of, if the values of
/// that tensor at θ0 do not show it.
pub(super) fn hidden(
    origin: &Origin<'_>,
    initializer: &str,
    tensor: &Tensor,
) -> Option<&'static str> {
    let record = &origin.record;
    if record.times(initializer, &TURNING) > 0 && tensor.is_symmetric() {
        return Some("a transposition, which its values do not show");
    }
    // To a type of whole numbers and back: two at least.
    let is_cast = record.times(initializer, &CASTING) > 1 && proof::is_whole(tensor);
    is_cast.then_some("a change of type, which its values do not show")
}

/// Whether the exporter's record says that a tensor was folded from one of the state dict.
pub(super) fn is_of_state(names: &Names<'_>, r#use: &Use) -> bool {
    let folded = names.origin.network.folded_from(&r#use.initializer);
    let mut sources = folded.iter().flatten();
    sources.any(|it| names.tensors.contains_key(it.as_str()))
}

/// Whether θ0's own state dict has a tensor of a use's name, its exporter's record calls it a parameter,
/// or it was folded from a tensor of the state dict: a checkpoint that lacks it is not whole.
fn is_of_origin(names: &Names<'_>, r#use: &Use) -> bool {
    let is_parameter = names.origin.network.input_kind(&r#use.initializer) == Some("PARAMETER");
    let weights = names.weights.as_ref();
    let has = |name: &String| weights.is_some_and(|weights| weights.contains_key(name.as_str()));
    is_parameter || has(&r#use.alias) || has(&r#use.initializer) || is_of_state(names, r#use)
}

/// Notes initializers that have no match and are not constants; returns those that are tables of the
/// network, with what shows it.
///
/// `is_whole` says that all of θ0's state dict was found elsewhere in the graph.
fn note_missing(
    names: &Names<'_>,
    matches: &Matches,
    options: &Options,
    is_whole: bool,
    findings: &mut Findings,
) -> BTreeMap<String, Evidence> {
    let record = &names.origin.record;
    let mut found = BTreeMap::new();
    for r#use in &names.origin.network.uses {
        if matches.contains_key(&r#use.place)
            || (record.is_constant(&r#use.initializer) && !is_of_origin(names, r#use))
            || names.origin.is_lifted(r#use)
            || options.ignores(&r#use.initializer)
            || options.ignores(&r#use.alias)
            || found.contains_key(&r#use.alias)
        {
            continue;
        }
        let named = names.tensors.get(r#use.alias.as_str());
        if let Some((stored, tensor)) =
            named.filter(|(_, tensor)| tensor.shape != names.shape(r#use))
        {
            findings.misshapen(stored, &tensor.shape, names.shape(r#use));
            continue;
        }
        let remainder = || tables::by_remainder(names, r#use).filter(|_| is_whole);
        let evidence = tables::by_itself(names.origin, r#use).or_else(remainder);
        if let Some(evidence) = evidence {
            found.insert(r#use.alias.clone(), evidence);
            continue;
        }
        // A name alone is no evidence before θ0's state dict was asked.
        let is_asked = names.weights.is_some();
        let made = match record.history(&r#use.initializer, r#use.place) {
            History::Computed(made) if is_asked || !made.by_name => Some(made),
            _ => None,
        };
        findings.missing(&r#use.alias, names.shape(r#use), made);
    }
    found
}

/// Checks that every match holds the values of the origin's weights, if these are given. Returns
/// how the matches were verified: by names alone if weights or some of their tensors are missing.
fn verify_values<'a>(
    origin: &Origin<'a>,
    weights: Option<&BTreeMap<&str, &'a Tensor>>,
    matches: &Matches,
    options: &Options,
    findings: &mut Findings,
) -> Verified {
    let Some(weights) = weights else {
        return Verified::Name;
    };
    let mut by = Verified::Value;
    for r#use in &origin.network.uses {
        let Some(found) = matches.get(&r#use.place) else {
            continue;
        };
        if is_left(r#use, std::slice::from_ref(matches), options) {
            continue;
        }
        let source = &found.source;
        let Some(tensor) = origin.network.tensor(&r#use.initializer) else {
            continue;
        };
        match weights.get(source.name.as_str()) {
            None => by = Verified::Name,
            Some(weight) if origin.holds(tensor, weight, source.transposed) => {}
            Some(_) => findings.unlike(format!(
                "{} is not what the graph holds as `{}`",
                source.name, r#use.initializer
            )),
        }
    }
    by
}

/// Notes square matrices that may be transposed because they were renamed. A fine-tune stays nearer
/// to θ0 than to its transpose; otherwise the match is refused.
fn note_orientation(origin: &Origin<'_>, matches: &Matches, findings: &mut Findings) {
    for r#use in &origin.network.uses {
        let Some(found) = matches.get(&r#use.place) else {
            continue;
        };
        let Some(tensor) = origin.network.tensor(&r#use.initializer) else {
            continue;
        };
        let square = tensor.shape.len() == 2 && tensor.shape[0] == tensor.shape[1];
        if !square
            || matches!(
                found.method,
                MatchRule::Name | MatchRule::Values | MatchRule::Graph
            )
        {
            continue;
        }
        let other = StoredTensor {
            transposed: !found.source.transposed,
            ..found.source.clone()
        };
        let (as_matched, turned) = (
            decode::squared_distance(tensor, &found.source),
            decode::squared_distance(tensor, &other),
        );
        if turned < 0.5 * as_matched {
            findings.unlike(format!(
                "{} fits `{}` better the other way round; --origin-weights settles it",
                found.source.name, r#use.initializer
            ));
        }
    }
}
