//! What `--ignore` takes out of a checkpoint: tensors in whose place θ0's stay, and tensors that
//! the network has no place for. A model without them is another one than the file's.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::some;
use super::matches::{Matches, is_left};
use super::names::module;
use super::options::Options;
use super::origin::Origin;
use super::values::{Agreement, same_values};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// What was taken out of one checkpoint.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// Tensors of the file in whose place the network keeps θ0's, which differ, with θ0's beside
    /// them as the file would hold it.
    pub replaced: BTreeMap<String, StoredTensor>,
    /// Tensors of the file that the network has no place for, with θ0's where a state dict of θ0
    /// is at hand.
    pub homeless: BTreeMap<String, Option<Tensor>>,
    /// Those of them that the network may well have used: their module is in the graph, and the
    /// exporter may have dropped or folded them.
    pub missed: Vec<String>,
}

impl LeftOut {
    /// The names of what makes the model another than the file's.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let replaced = self.replaced.keys().map(String::as_str);
        replaced.chain(self.missed.iter().map(String::as_str))
    }

    /// Whether the model is the file's.
    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.missed.is_empty()
    }
}

/// What each checkpoint goes without.
pub(super) fn find(
    origin: &Origin<'_>,
    checkpoints: &[Checkpoint],
    matched: &[Matches],
    passed_over: &[Vec<String>],
    options: &Options,
) -> Vec<LeftOut> {
    if options.ignore.is_empty() {
        return checkpoints.iter().map(|_| LeftOut::default()).collect();
    }
    let modules = modules(origin.network, matched);
    let one = |(k, checkpoint): (usize, &Checkpoint)| {
        let mut left = LeftOut {
            replaced: replaced(origin.network, matched, k, options),
            ..LeftOut::default()
        };
        let Some(tensors) = checkpoint.state_dict() else {
            return left;
        };
        let ignored = passed_over[k].iter().filter_map(|name| {
            let tensor = tensors.get(name)?;
            let counts = tensor.dtype.is_float() && !tensor.is_empty();
            (counts && options.ignores(name)).then_some((name, tensor))
        });
        for (name, tensor) in ignored {
            // A head of another size: the graph has a place of its name, where θ0's stays.
            if let Some(stand_in) = namesake(origin.network, &matched[k], name) {
                left.replaced.insert(name.clone(), stand_in);
                continue;
            }
            let own = origin.weights.and_then(|weights| weights.get(name));
            let same = own.is_some_and(|own| same_values(own, tensor, false, Agreement::Rounded));
            let keeps_all = origin.record.is_unoptimized();
            if !keeps_all && !same && modules.contains(module(name)) {
                left.missed.push(name.clone());
            }
            left.homeless.insert(name.clone(), own.cloned());
        }
        left
    };
    checkpoints.iter().enumerate().map(one).collect()
}

/// The tensors of a checkpoint in whose place θ0's stay.
fn replaced(
    network: &Network<'_>,
    matched: &[Matches],
    checkpoint: usize,
    options: &Options,
) -> BTreeMap<String, StoredTensor> {
    let left = network
        .uses
        .iter()
        .filter(|it| is_left(it, matched, options));
    let found = left.filter_map(|it| {
        let source = &matched[checkpoint].get(&it.place)?.source;
        let origin = network.tensor(&it.initializer)?;
        let stand_in = StoredTensor {
            name: it.initializer.clone(),
            tensor: origin.clone(),
            transposed: source.transposed,
        };
        (!decode::equal(origin, source)).then(|| (source.name.clone(), stand_in))
    });
    found.collect()
}

/// The graph's tensor of a checkpoint's name, which may carry a prefix (`module.`).
///
/// The place must be open: `aux.fc.weight` is no other shape of an `fc.weight` that was matched.
fn namesake(network: &Network<'_>, matches: &Matches, name: &str) -> Option<StoredTensor> {
    let fits = |graph: &str| {
        let rest = name.strip_suffix(graph);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let mut uses = network.uses.iter();
    let found = uses.find(|it| {
        let open = !matches.contains_key(&it.place);
        open && (fits(&it.initializer) || fits(&it.alias))
    })?;
    Some(StoredTensor {
        name: found.initializer.clone(),
        tensor: network.tensor(&found.initializer)?.clone(),
        transposed: false,
    })
}

/// Modules that have a tensor in the graph, by the checkpoints' names.
fn modules<'a>(network: &'a Network<'_>, matched: &'a [Matches]) -> BTreeSet<&'a str> {
    let uses = network.uses.iter();
    let graph = uses.flat_map(|it| [it.initializer.as_str(), it.alias.as_str()]);
    let found = matched.iter().flat_map(BTreeMap::values);
    let stored = found.map(|found| found.source.name.as_str());
    graph.chain(stored).map(module).collect()
}

/// Says what was left out, and whose tensors stand in.
pub(super) fn warnings(
    left_out: &[LeftOut],
    checkpoints: &[Checkpoint],
    origin: &str,
) -> Vec<String> {
    let of = |names: fn(&LeftOut) -> Vec<String>| {
        let every: BTreeSet<String> = left_out.iter().flat_map(names).collect();
        let models = left_out.iter().zip(checkpoints);
        let models = models.filter(|(left, _)| !names(left).is_empty());
        let models: Vec<String> = models.map(|(_, it)| it.name.clone()).collect();
        (every.into_iter().collect::<Vec<_>>(), models)
    };
    let mut warnings = Vec::new();
    let (names, models) = of(|left| left.replaced.keys().cloned().collect());
    if !names.is_empty() {
        warnings.push(format!(
            "--ignore leaves out {}; {origin}'s tensors replace those of {}, so the values of \
             these models are not those of their files",
            some(names),
            some(models)
        ));
    }
    let (names, models) = of(|left| left.missed.clone());
    if !names.is_empty() {
        warnings.push(format!(
            "--ignore leaves out {}, which the network of {origin} has no place for though their \
             modules are in it: the exporter dropped or folded them, and values of {} are those \
             of models without them; export the origin again with \
             torch.onnx.export(..., dynamo=True, optimize=False), which keeps every tensor",
            some(names),
            some(models)
        ));
    }
    warnings
}
