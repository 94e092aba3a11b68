//! Tensors that only the checkpoint has: those that hold no weights, copies of others, and those
//! that the network does not use.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::known::COUNTERS;
use super::matches::Matches;
use super::names::Names;
use super::options::Options;
use super::proof::Telling;
use super::tables::is_frequencies;
use super::unused::{Presence, UnusedModules, is_wide};
use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// Why a tensor of a checkpoint is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// The user leaves it out.
    Ignored,
    /// It holds integers, a counter, positions or a mask.
    NoWeight,
    /// It equals a matched tensor, whose name this is: they are tied.
    Copy(String),
    /// The network does not use it; the pattern that leaves out its module.
    Unused(String),
}

impl Reason {
    /// Whether the tensor adds nothing to those that were matched.
    pub fn is_no_parameter(&self) -> bool {
        matches!(self, Self::NoWeight | Self::Copy(_))
    }
}

/// A tensor of a checkpoint that is passed over.
#[derive(Debug, Clone)]
pub(super) struct PassedOver {
    /// Its name in the file.
    pub name: String,
    /// The name that the graph would use.
    pub graph_name: String,
    /// Why it is passed over.
    pub reason: Reason,
    /// θ0's own tensor of the name.
    pub own: Option<Tensor>,
    /// Whether the exporter's record shows that the network does not use it.
    pub is_unread: bool,
}

/// A tensor of a checkpoint that has no place in the graph.
pub(super) struct Extra<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// The tensor.
    pub tensor: &'a Tensor,
    /// If the network does not use its module: the pattern that leaves the module out.
    pub unused: Option<String>,
}

/// Sorts the tensors that were not matched: those to pass over, and those that have no place.
///
/// `weights` are θ0's own, by the checkpoint's names.
pub(super) fn sort<'a>(
    names: &Names<'a>,
    weights: Option<&BTreeMap<&str, &Tensor>>,
    matches: &Matches,
    options: &Options,
) -> (Vec<PassedOver>, Vec<Extra<'a>>) {
    let matched: BTreeMap<&str, &Tensor> = matches
        .values()
        .map(|found| (found.source.name.as_str(), &found.source.tensor))
        .collect();
    let inside = names.tensors.iter();
    let inside = inside.map(|(key, (stored, tensor))| (key.as_str(), *stored, *tensor));
    let outside = names.outside.iter();
    let outside = outside.map(|(stored, tensor)| (*stored, *stored, *tensor));
    let open: Vec<_> = inside
        .chain(outside)
        .filter(|(_, stored, _)| !matched.contains_key(stored))
        .collect();
    let presence = Presence::of(names, matches);
    let kept = matched.iter().map(|(name, tensor)| (*name, *tensor));
    let originals = Twins::of(kept.filter(|(name, _)| !options.ignores(name)));
    let (mut passed_over, mut extras) = (Vec::new(), Vec::new());
    let (mut ignored, mut unknown) = (Vec::new(), Vec::new());
    for (key, stored, tensor) in open {
        match reason(names, &originals, stored, tensor, options) {
            Some(Reason::Ignored) => ignored.push((key, stored, tensor)),
            Some(reason) => passed_over.push(named(names, key, stored, reason)),
            None => unknown.push((key, stored, tensor)),
        }
    }
    let unplaced = [ignored.as_slice(), &unknown].concat();
    let traceless = traceless(weights, &matched, &unplaced);
    passed_over.extend(ignored.iter().map(|(key, stored, tensor)| PassedOver {
        is_unread: presence.is_unused_by_record(key, tensor, &traceless),
        ..named(names, key, stored, Reason::Ignored)
    }));
    let mut open: Vec<_> = unknown.iter().map(|it| (it.0, it.2)).collect();
    open.sort_by_key(|(key, _)| *key);
    let mut unused_modules = UnusedModules::new(&presence, &open, &traceless);
    for &(key, stored, tensor) in &unknown {
        let unused = unused_modules.pattern(key, stored, tensor);
        match unused.clone().filter(|_| options.ignore_unused) {
            Some(pattern) => {
                passed_over.push(named(names, key, stored, Reason::Unused(pattern)));
            }
            None => extras.push(Extra {
                name: stored,
                tensor,
                unused,
            }),
        }
    }
    (passed_over, extras)
}

/// Why a tensor that was not matched is passed over, if it is.
fn reason(
    names: &Names<'_>,
    originals: &Twins<'_>,
    stored: &str,
    tensor: &Tensor,
    options: &Options,
) -> Option<Reason> {
    if options.ignores(stored) {
        return Some(Reason::Ignored);
    }
    if !tensor.dtype.is_float() || tensor.is_empty() || holds_none(names, stored, tensor) {
        return Some(Reason::NoWeight);
    }
    copied(originals, tensor).map(Reason::Copy)
}

/// Those of the unknown tensors, by the graph's names, that an exporter may have used without a
/// trace: at θ0 they equal another tensor, with which they were merged, or are all ones or zeros,
/// which change nothing.
fn traceless<'a>(
    weights: Option<&BTreeMap<&str, &Tensor>>,
    matched: &BTreeMap<&str, &Tensor>,
    unknown: &[(&'a str, &'a str, &'a Tensor)],
) -> BTreeSet<&'a str> {
    let Some(weights) = weights else {
        return BTreeSet::new();
    };
    let known = matched
        .keys()
        .filter_map(|name| weights.get_key_value(*name));
    let known = Twins::of(known.map(|(name, tensor)| (*name, *tensor)));
    let is_idle = |own: &Tensor| {
        let first = || {
            decode::values(&StoredTensor::nameless(own, false))
                .first()
                .copied()
        };
        own.is_uniform() && first().is_some_and(|it| [0.0, 1.0].contains(&it))
    };
    let found = unknown.iter().filter(|(_, stored, _)| {
        let own = weights.get(*stored).filter(|own| own.dtype.is_float());
        own.is_some_and(|own| match is_wide(own) {
            true => known.of_tensor(own).is_some() || is_idle(own),
            false => is_idle(own),
        })
    });
    found.map(|(key, _, _)| *key).collect()
}

fn named(names: &Names<'_>, key: &str, stored: &str, reason: Reason) -> PassedOver {
    let weights = names.weights.as_ref();
    PassedOver {
        name: stored.to_string(),
        graph_name: key.to_string(),
        reason,
        own: weights.and_then(|it| it.get(key)).map(|it| (*it).clone()),
        is_unread: false,
    }
}

/// The matched tensor that a tensor equals, element by element. Constants prove nothing: all biases
/// are zero in the beginning.
fn copied(originals: &Twins<'_>, tensor: &Tensor) -> Option<String> {
    if tensor.is_uniform() {
        return None;
    }
    originals.of_tensor(tensor).map(String::from)
}

/// Bytes at the beginning of a tensor that tell most tensors apart.
const HEAD: usize = 64;

/// Tensors by type, shape and first bytes, so that an equal one is found without comparing all.
struct Twins<'a> {
    known: HashMap<Sketch<'a>, Vec<(&'a str, &'a Tensor)>>,
}

/// A tensor's type, shape and first bytes.
type Sketch<'a> = (Dtype, &'a [usize], &'a [u8]);

impl<'a> Twins<'a> {
    fn of(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Self {
        let mut known: HashMap<_, Vec<_>> = HashMap::new();
        for (name, tensor) in tensors {
            known
                .entry(Self::key(tensor))
                .or_default()
                .push((name, tensor));
        }
        Self { known }
    }

    fn key(tensor: &Tensor) -> Sketch<'_> {
        let head = &tensor.bytes[..tensor.bytes.len().min(HEAD)];
        (tensor.dtype, &tensor.shape, head)
    }

    /// The name of the first tensor that equals this one.
    fn of_tensor(&self, tensor: &Tensor) -> Option<&'a str> {
        let mut alike = self.known.get(&Twins::key(tensor))?.iter();
        alike.find(|(_, it)| *it == tensor).map(|(name, _)| *name)
    }
}

/// Whether a tensor of floats holds no weights, by its name, shape and values: counters, positions
/// and masks, which averaging tools write as floats.
fn holds_none(names: &Names<'_>, name: &str, tensor: &Tensor) -> bool {
    let values = || decode::values(&StoredTensor::nameless(tensor, false));
    // Rounding of the positions and frequencies.
    let precision = match tensor.dtype {
        Dtype::Bf16 => 1.0 / 128.0,
        Dtype::F16 => 1.0 / 1024.0,
        _ => 1e-5,
    };
    let leaf = name.rsplit('.').next().unwrap_or(name);
    match leaf {
        leaf if COUNTERS.contains(&leaf) => tensor.len() == 1,
        "position_ids" => values()
            .iter()
            .enumerate()
            .all(|(index, value)| (value - index as f64).abs() <= precision * index as f64),
        "token_type_ids" => values().iter().all(|value| *value == 0.0),
        // What attention adds where it must not look; −10,000 is −9,984 as bf16.
        "masked_bias" => tensor.len() == 1 && values()[0] <= -9984.0,
        "bias" => match tensor.shape[..] {
            [1, 1, rows, columns] if rows == columns && rows > 1 => is_causal(&values(), rows),
            _ => false,
        },
        "inv_freq" | "original_inv_freq" => {
            is_frequencies(tensor) && !differs_from_graph(names, leaf, tensor)
        }
        _ => false,
    }
}

/// Whether a square matrix is 1 on and below the diagonal, and 0 above.
fn is_causal(values: &[f64], size: usize) -> bool {
    let mut places = values.iter().enumerate();
    places.all(|(at, value)| *value == f64::from(u8::from(at % size <= at / size)))
}

/// Whether the graph has a tensor of this last name and shape, with other values.
fn differs_from_graph(names: &Names<'_>, leaf: &str, tensor: &Tensor) -> bool {
    let network = names.origin.network;
    let stored = StoredTensor::nameless(tensor, false);
    network.uses.iter().any(|it| {
        let own = it.initializer.rsplit('.').next() == Some(leaf);
        let held = network.tensor(&it.initializer).filter(|_| own);
        held.is_some_and(|held| {
            held.shape == tensor.shape && !decode::equal_to_rounding(held, &stored)
        })
    })
}
