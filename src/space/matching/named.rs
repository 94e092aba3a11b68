//! Matching tensors that have names (`.safetensors`) to places in the graph.
//!
//! For each place, the first rule that gives a tensor of the right shape counts:
//! 1. the name of the initializer, or of the Identity through which it is read;
//! 2. the exporter's note of what it folded (`folded_from`);
//! 3. the module path of the using node, then the module of the bias added to its result;
//! 4. equality of values with the origin's own weights, where these are given.
//!
//! An initializer that is read at several places may be several tensors that were equal at θ0
//! and were merged, so there the module path of each place goes first.

use std::collections::{BTreeMap, BTreeSet};

use super::left_out::module as module_of;
use super::verify::{self, Verified};
use super::{Match, Matches, Method, Options, Source, is_ignored, report};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::error::Result;
use crate::graph::network::{Network, Place, Use, by_initializer};
use crate::graph::record::{History, Record};
use crate::space::decode;

/// The two sides of a match.
pub struct Names<'a> {
    network: &'a Network<'a>,
    /// The checkpoint's tensors by the names the graph would use.
    tensors: BTreeMap<&'a str, (&'a str, &'a Tensor)>,
    /// The origin's weights by those names.
    weights: Option<BTreeMap<&'a str, &'a Tensor>>,
    /// How many places read each initializer.
    readers: BTreeMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// Prepares a checkpoint's names: a prefix that all of them share and the graph's lack
    /// (`module.`, `_orig_mod.`, `model.`) is taken off, or the reverse.
    pub fn new(
        network: &'a Network<'a>,
        tensors: &'a BTreeMap<String, Tensor>,
        weights: Option<&'a BTreeMap<String, Tensor>>,
    ) -> Self {
        let readers = by_initializer(&network.uses)
            .into_iter()
            .map(|(name, uses)| (name, uses.len()))
            .collect();
        // Each file may have a prefix of its own.
        fn strip<'a>(name: &'a str, prefix: &str) -> &'a str {
            name.strip_prefix(prefix).unwrap_or(name)
        }
        let prefix = prefix_to_strip(network, tensors);
        Self {
            network,
            tensors: tensors
                .iter()
                .map(|(name, tensor)| (strip(name, prefix), (name.as_str(), tensor)))
                .collect(),
            weights: weights.map(|weights| {
                let prefix = prefix_to_strip(network, weights);
                let entries = weights.iter();
                entries
                    .map(|(name, tensor)| (strip(name, prefix), tensor))
                    .collect()
            }),
            readers,
        }
    }

    fn shape(&self, r#use: &Use) -> &[usize] {
        self.network
            .tensor(&r#use.initializer)
            .map_or(&[], |tensor| &tensor.shape)
    }

    /// The tensor called `name` as a match for a use, when its shape fits.
    fn fit(&self, r#use: &Use, name: &str, method: Method, transposed: Turned) -> Option<Match> {
        let (stored_name, tensor) = self.tensors.get(name)?;
        if !tensor.dtype.is_float() {
            return None;
        }
        let shape = self.shape(r#use);
        let same = tensor.shape == shape;
        let turned = shape.len() == 2 && tensor.shape == [shape[1], shape[0]];
        let transposed = match transposed {
            Turned::No if same => false,
            Turned::Linear if turned && self.reads_columns(r#use) => true,
            Turned::Linear if same => false,
            _ => return None,
        };
        Some(Match {
            source: Source {
                name: (*stored_name).to_string(),
                tensor: (*tensor).clone(),
                transposed,
            },
            method,
        })
    }

    /// Whether the using node takes its matrix as [in, out]: a MatMul's right operand or a Gemm
    /// without transB. PyTorch's Linear holds [out, in].
    fn reads_columns(&self, r#use: &Use) -> bool {
        let node = &self.network.nodes()[r#use.place.node];
        match node.op_type() {
            "MatMul" => r#use.place.slot == 1,
            "Gemm" => {
                let transposed = |name: &str| {
                    let mut attributes = node.attribute.iter();
                    attributes.any(|attribute| attribute.name() == name && attribute.i() != 0)
                };
                r#use.place.slot == 1 && !transposed("transB")
            }
            _ => false,
        }
    }
}

/// Whether a stored matrix may be the transpose of the graph's.
#[derive(Clone, Copy)]
enum Turned {
    /// The tensor keeps its name, so it keeps its orientation.
    No,
    /// It was renamed on the way: a Linear's weight that feeds a MatMul was transposed.
    Linear,
}

/// The tensor for each place, the names of tensors passed over (integers, bookkeeping), and what
/// the matches were verified by.
///
/// `origin_weights` is the file that the names' weights are from.
///
/// # Errors
/// When anything stays unmatched on either side, or is matched and not the same tensor.
pub fn matches(
    names: &Names<'_>,
    checkpoint: &Checkpoint,
    origin_weights: Option<&Checkpoint>,
    options: &Options,
) -> Result<(Matches, Vec<String>, Verified)> {
    let network = names.network;
    let mut matches = Matches::new();
    for r#use in &network.uses {
        if let Some(found) = find(names, r#use) {
            matches.insert(r#use.place, found);
        }
    }
    by_twin(names, &mut matches);
    by_value(names, &mut matches);
    let mut findings = report::Findings::default();
    missing(names, &matches, options, &mut findings);
    let passed_over = extra(names, &matches, options, &mut findings);
    let weights = names.weights_by_stored_name();
    let by = report::verify_values(network, weights.as_ref(), &matches, options, &mut findings);
    refuse_computed(names, weights.as_ref(), &matches, options, &mut findings);
    report::orientation(network, &matches, &mut findings);
    let weights = origin_weights.map(|weights| weights.path.as_path());
    findings.into_result(&checkpoint.path, network, weights)?;
    Ok((matches, passed_over, by))
}

/// A tensor cannot stand in the place of what the exporter computed from it.
fn refuse_computed(
    names: &Names<'_>,
    weights: Option<&BTreeMap<&str, &Tensor>>,
    matches: &Matches,
    options: &Options,
    findings: &mut report::Findings,
) {
    let record = Record::of(names.network);
    for r#use in &names.network.uses {
        let Some(found) = matches.get(&r#use.place) else {
            continue;
        };
        let left = super::is_left(r#use, std::slice::from_ref(matches), options);
        let source = &found.source;
        if !left && may_be_constant(names, &record, r#use, found) {
            let also = ["a merge with a constant that was equal".to_string()];
            findings.computed(&source.name, &r#use.initializer, &also);
        }
        let weight = weights.and_then(|weights| weights.get(source.name.as_str()));
        let equal = || {
            let tensor = names.network.tensor(&r#use.initializer);
            let pair = weight.zip(tensor);
            pair.is_some_and(|(weight, it)| verify::same_values(it, weight, source.transposed))
        };
        let computed = verify::computed(&record, &r#use.initializer, r#use.place, equal);
        if let Some(computed) = computed.filter(|_| !left) {
            findings.computed(&found.source.name, &r#use.initializer, &computed.by);
        }
    }
}

/// Whether a place may read a constant that the exporter merged with a parameter, both being all
/// ones or all zeros at θ0: another module than the parameter's reads it, and the fine-tune moved it.
fn may_be_constant(names: &Names<'_>, record: &Record<'_>, r#use: &Use, found: &Match) -> bool {
    let network = names.network;
    let readers = names.readers.get(r#use.initializer.as_str());
    let merged = readers.is_some_and(|&readers| readers > 1) && record.is_marked();
    let by_name = found.method == Method::Name && r#use.alias == r#use.initializer;
    if !(merged && by_name) {
        return false;
    }
    let named = record.calls(r#use.place, &r#use.initializer);
    let own = named.unwrap_or_else(|| {
        let module = network.module_path(r#use.place.node);
        module.is_none_or(|it| it == module_of(&r#use.initializer))
    });
    let Some(tensor) = network.tensor(&r#use.initializer).filter(|_| !own) else {
        return false;
    };
    let size = tensor.dtype.size().unwrap_or(1);
    let mut elements = tensor.bytes.chunks(size);
    let first = elements.next();
    elements.all(|it| Some(it) == first) && !decode::equal(tensor, &found.source)
}

fn find(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    let by_name = || {
        let alias = names.fit(r#use, &r#use.alias, Method::Name, Turned::No);
        alias.or_else(|| names.fit(r#use, &r#use.initializer, Method::Name, Turned::No))
    };
    let readers = names.readers.get(r#use.initializer.as_str());
    let merged = readers.is_some_and(|&readers| readers > 1) && r#use.alias == r#use.initializer;
    if merged {
        // Its name is that of one of the tensors merged into it; the place says which it is.
        return by_path(names, r#use)
            .or_else(by_name)
            .or_else(|| by_fold(names, r#use));
    }
    by_name()
        .or_else(|| by_fold(names, r#use))
        .or_else(|| by_path(names, r#use))
        .or_else(|| by_bias(names, r#use))
}

/// What was folded, when it was one tensor of the checkpoint and nothing else.
fn by_fold(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    match names.network.folded_from(&r#use.initializer)?.as_slice() {
        [name] => names.fit(r#use, name, Method::FoldedFrom, Turned::Linear),
        _ => None,
    }
}

fn by_path(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    let path = names.network.module_path(r#use.place.node)?;
    in_module(names, r#use, &path, Method::ModulePath)
}

fn by_bias(names: &Names<'_>, r#use: &Use) -> Option<Match> {
    let bias = names.network.bias_added_to(r#use.place.node)?;
    let module = bias.strip_suffix(".bias")?;
    names.fit(
        r#use,
        &format!("{module}.weight"),
        Method::Bias,
        Turned::Linear,
    )
}

/// The module's tensor for the place: by the leaf name that the operator's slot calls for, else
/// the only tensor of the module that fits.
fn in_module(names: &Names<'_>, r#use: &Use, module: &str, method: Method) -> Option<Match> {
    let prefix = match module {
        "" => String::new(),
        module => format!("{module}."),
    };
    let op_type = names.network.nodes()[r#use.place.node].op_type();
    let wanted = leaf(op_type, r#use.place);
    let fit = |leaf: &str| names.fit(r#use, &format!("{prefix}{leaf}"), method, Turned::Linear);
    if let Some(found) = wanted.and_then(fit) {
        return Some(found);
    }
    let leaves = names.tensors.keys().filter_map(|name| {
        let leaf = name.strip_prefix(prefix.as_str())?;
        let fits = wanted.is_none_or(|wanted| leaf.ends_with(wanted));
        (!leaf.contains('.') && fits).then_some(leaf)
    });
    let mut found = leaves.filter_map(fit);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// What modules call the tensor in an operator's slot.
fn leaf(op_type: &str, place: Place) -> Option<&'static str> {
    match (op_type, place.slot) {
        ("BatchNormalization", 3) => Some("running_mean"),
        ("BatchNormalization", 4) => Some("running_var"),
        ("Add", _) => Some("bias"),
        ("MatMul", _) | ("Gather", 0) => Some("weight"),
        ("Mul", _) => None,
        (_, 1) => Some("weight"),
        (_, 2) => Some("bias"),
        _ => None,
    }
}

/// Exporters write a tied matrix twice, once transposed: what equals a matched matrix of the
/// origin, value by value, is the same tensor.
fn by_twin(names: &Names<'_>, matches: &mut Matches) {
    let network = names.network;
    let open = |r#use: &&Use| !matches.contains_key(&r#use.place);
    let mut found = Vec::new();
    for r#use in network.uses.iter().filter(open) {
        let matrix = |tensor: &&Tensor| tensor.shape.len() == 2 && tensor.len() > 1;
        let Some(tensor) = network.tensor(&r#use.initializer).filter(matrix) else {
            continue;
        };
        let twin = network.uses.iter().find_map(|other| {
            let known = matches.get(&other.place)?;
            let turned = report::equal_values(tensor, network.tensor(&other.initializer)?)?;
            let mut twin = known.clone();
            twin.source.transposed ^= turned;
            twin.method = Method::Values;
            Some(twin)
        });
        found.extend(twin.map(|twin| (r#use.place, twin)));
    }
    matches.extend(found);
}

/// Rule 4: what is still open is matched by equality with the origin's own weights, when just
/// one tensor that nothing else claims has the same values.
fn by_value(names: &Names<'_>, matches: &mut Matches) {
    let Some(weights) = &names.weights else {
        return;
    };
    let taken: BTreeSet<String> = matches
        .values()
        .map(|found| found.source.name.clone())
        .collect();
    for r#use in &names.network.uses {
        if matches.contains_key(&r#use.place) {
            continue;
        }
        let Some(tensor) = names.network.tensor(&r#use.initializer) else {
            continue;
        };
        let mut candidates = weights.iter().filter_map(|(name, weight)| {
            let (stored, checkpoint) = names.tensors.get(name)?;
            let transposed = report::equal_values(tensor, weight)?;
            let turned = Source {
                name: String::new(),
                tensor: (*weight).clone(),
                transposed: true,
            };
            // A matrix that equals its transpose does not say which of the two it is.
            let square = tensor.shape.len() == 2 && tensor.shape[0] == tensor.shape[1];
            if square && tensor.len() > 1 && decode::equal(tensor, &turned) {
                return None;
            }
            let free = !taken.contains(*stored) && checkpoint.shape == weight.shape;
            free.then(|| Match {
                source: Source {
                    name: (*stored).to_string(),
                    tensor: (*checkpoint).clone(),
                    transposed,
                },
                method: Method::Values,
            })
        });
        if let Some(found) = candidates.next()
            && candidates.next().is_none()
        {
            matches.insert(r#use.place, found);
        }
    }
}

impl Names<'_> {
    fn weights_by_stored_name(&self) -> Option<BTreeMap<&str, &Tensor>> {
        let weights = self.weights.as_ref()?;
        let stored = weights.iter().filter_map(|(name, tensor)| {
            let (stored, _) = self.tensors.get(name)?;
            Some((*stored, *tensor))
        });
        Some(stored.collect())
    }
}

/// Initializers without a match that are no constants.
fn missing(
    names: &Names<'_>,
    matches: &Matches,
    options: &Options,
    findings: &mut report::Findings,
) {
    let record = Record::of(names.network);
    for r#use in &names.network.uses {
        if matches.contains_key(&r#use.place)
            || is_constant(names.network, &r#use.initializer)
            || is_ignored(&r#use.initializer, &options.ignore)
            || is_ignored(&r#use.alias, &options.ignore)
        {
            continue;
        }
        let named = names.tensors.get(r#use.alias.as_str());
        match named.filter(|(_, tensor)| tensor.shape != names.shape(r#use)) {
            Some((stored, tensor)) => {
                findings.misshapen(stored, &tensor.shape, names.shape(r#use));
            }
            None => {
                let made = match record.history(&r#use.initializer, r#use.place) {
                    History::Computed(made) => Some(made),
                    _ => None,
                };
                findings.missing(&r#use.alias, names.shape(r#use), made);
            }
        }
    }
}

/// Whether an initializer is a constant of the network by itself: one element (a scale, an
/// epsilon), or folded from nothing but other constants.
pub(super) fn is_constant(network: &Network<'_>, initializer: &str) -> bool {
    let single = network
        .tensor(initializer)
        .is_some_and(|tensor| tensor.len() == 1);
    let of_constants = |sources: Vec<String>| {
        // Names of the exporter's own making; a parameter keeps its dotted or plain name.
        !sources.is_empty()
            && sources.iter().all(|name| {
                name.strip_prefix("val_")
                    .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
            })
    };
    single || network.folded_from(initializer).is_some_and(of_constants)
}

/// Lists what the checkpoint has beyond the graph; returns what may be passed over.
fn extra(
    names: &Names<'_>,
    matches: &Matches,
    options: &Options,
    findings: &mut report::Findings,
) -> Vec<String> {
    let used: BTreeSet<&str> = matches
        .values()
        .map(|found| found.source.name.as_str())
        .collect();
    let mut passed_over = Vec::new();
    for (stored, tensor) in names.tensors.values() {
        if used.contains(stored) {
            continue;
        }
        if !tensor.dtype.is_float() || tensor.is_empty() || is_ignored(stored, &options.ignore) {
            passed_over.push((*stored).to_string());
        } else if !findings.is_misshapen(stored) {
            findings.extra(stored, &tensor.shape);
        }
    }
    passed_over
}

/// A prefix of all the checkpoint's names without which more of them are the graph's.
fn prefix_to_strip<'a>(network: &Network<'_>, tensors: &'a BTreeMap<String, Tensor>) -> &'a str {
    let known: BTreeSet<&str> = network
        .uses
        .iter()
        .flat_map(|r#use| [r#use.alias.as_str(), r#use.initializer.as_str()])
        .collect();
    let hits = |prefix: &str| {
        let names = tensors.keys();
        names
            .filter_map(|name| name.strip_prefix(prefix))
            .filter(|name| known.contains(name))
            .count()
    };
    let Some(first) = tensors.keys().next() else {
        return "";
    };
    let prefixes = first
        .match_indices('.')
        .map(|(at, _)| &first[..=at])
        .take_while(|prefix| tensors.keys().all(|name| name.starts_with(prefix)));
    let mut best = ("", hits(""));
    for prefix in prefixes {
        let count = hits(prefix);
        if count > best.1 {
            best = (prefix, count);
        }
    }
    best.0
}
