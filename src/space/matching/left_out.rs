//! Tensors that `--ignore` and `--fixed` remove from a checkpoint: those replaced by θ0's or another
//! model's, and those that the network has no place for. Without them, the model differs from the file's.

use std::collections::{BTreeMap, BTreeSet};

use super::extra::{PassedOver, Reason};
use super::findings::some;
use super::matches::{Matches, is_left};
use super::names::module;
use super::options::{Fixed, Options};
use super::origin::Origin;
use super::values::{Agreement, same_values};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// The tensors removed from one checkpoint.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// Names of tensors that are replaced by different ones of the network, with the network's
    /// tensors in the form of the file.
    pub replaced: BTreeMap<String, StoredTensor>,
    /// Names of those that are not θ0's but another model's, and that model (`--fixed`).
    pub fixed: BTreeMap<String, String>,
    /// Names of tensors that the network has no place for, with θ0's tensors if a state dict of θ0
    /// is available.
    pub homeless: BTreeMap<String, Option<Tensor>>,
    /// Names of those that the network may well have used: their module is in the graph, and the
    /// exporter may have dropped or folded them.
    pub missed: Vec<String>,
}

impl LeftOut {
    /// Names of the tensors that make the model differ from the file's.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let replaced = self.replaced.keys().map(String::as_str);
        replaced.chain(self.missed.iter().map(String::as_str))
    }

    /// What the model's name says: ` without PATTERN` for ignored tensors, ` with PATTERN of MODEL`
    /// for fixed ones.
    pub fn suffix(&self, options: &Options) -> String {
        let is_fixed = |name: &str| self.fixed.contains_key(name);
        let mut suffix = String::new();
        if self.names().any(|name| !is_fixed(name)) {
            suffix.push_str(&format!(" without {}", options.ignore.join(",")));
        }
        let applied = options.fixed.iter().filter(|fixed| {
            let mut replaced = self.replaced.iter();
            replaced.any(|(name, it)| options.fixing(&[name, &it.name]) == Some(*fixed))
        });
        for Fixed { pattern, model } in applied {
            suffix.push_str(&format!(" with {pattern} of {model}"));
        }
        suffix
    }

    /// Whether the model is that of the file.
    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.missed.is_empty()
    }
}

/// Finds the tensors that each checkpoint goes without.
pub(super) fn find(
    origin: &Origin<'_>,
    checkpoints: &[Checkpoint],
    matched: &[Matches],
    passed_over: &[Vec<PassedOver>],
    options: &Options,
) -> Vec<LeftOut> {
    if options.keep_all() {
        return checkpoints.iter().map(|_| LeftOut::default()).collect();
    }
    let modules = modules(origin.network, matched);
    let keeps_all = origin.record.is_unoptimized();
    let one = |(k, checkpoint): (usize, &Checkpoint)| {
        let mut left = LeftOut {
            replaced: replaced(origin.network, matched, k, options),
            ..LeftOut::default()
        };
        let Some(tensors) = checkpoint.state_dict() else {
            return left;
        };
        let ignored = passed_over[k].iter().filter_map(|it| {
            let tensor = tensors.get(&it.name)?;
            let counts = tensor.dtype.is_float() && !tensor.is_empty();
            (counts && it.reason == Reason::Ignored).then_some((it, tensor))
        });
        for (passed_over, tensor) in ignored {
            let PassedOver {
                name,
                graph_name,
                own,
                ..
            } = passed_over;
            // A head of another size: the graph has a place of its name, where θ0's tensor stays.
            if let Some(stand_in) = namesake(origin.network, &matched[k], graph_name) {
                left.replaced.insert(name.clone(), stand_in);
                continue;
            }
            let same = own
                .as_ref()
                .is_some_and(|own| same_values(own, tensor, false, Agreement::Rounded));
            let present = [name, graph_name].map(|name| modules.contains(module(name)));
            if !(keeps_all || passed_over.is_unread || same) && present.contains(&true) {
                left.missed.push(name.clone());
            }
            left.homeless.insert(name.clone(), own.clone());
        }
        left
    };
    let one = |numbered| {
        let mut left = one(numbered);
        let replaced = left.replaced.iter();
        let fixed = replaced.filter_map(|(name, stand_in)| {
            let fixed = options.fixing(&[name, &stand_in.name])?;
            Some((name.clone(), fixed.model.clone()))
        });
        left.fixed = fixed.collect();
        left
    };
    checkpoints.iter().enumerate().map(one).collect()
}

/// The tensors of a checkpoint that are replaced by θ0's.
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

/// Finds the graph's tensor of a name.
///
/// The place must be open: `aux.fc.weight` is not another shape of an `fc.weight` that was matched.
fn namesake(network: &Network<'_>, matches: &Matches, name: &str) -> Option<StoredTensor> {
    let mut uses = network.uses.iter();
    let found = uses.find(|it| {
        let open = !matches.contains_key(&it.place);
        open && (it.initializer == name || it.alias == name)
    })?;
    Some(StoredTensor {
        name: found.initializer.clone(),
        tensor: network.tensor(&found.initializer)?.clone(),
        transposed: false,
    })
}

/// Modules with a tensor in the graph, by the checkpoints' names.
fn modules<'a>(network: &'a Network<'_>, matched: &'a [Matches]) -> BTreeSet<&'a str> {
    let uses = network.uses.iter();
    let graph = uses.flat_map(|it| [it.initializer.as_str(), it.alias.as_str()]);
    let found = matched.iter().flat_map(BTreeMap::values);
    let stored = found.map(|found| found.source.name.as_str());
    graph.chain(stored).map(module).collect()
}

/// Warns about tensors that were left out and what replaces them.
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
    let (names, models) = of(|left| left.fixed.keys().cloned().collect());
    if !names.is_empty() {
        let donors: BTreeSet<&str> = left_out
            .iter()
            .flat_map(|left| left.fixed.values().map(String::as_str))
            .collect();
        warnings.push(format!(
            "--fixed takes {} of all models from {}, so the values of {} are not those of their \
             files",
            some(names),
            donors.into_iter().collect::<Vec<_>>().join(", "),
            some(models)
        ));
    }
    let (names, models) = of(|left| {
        let names = left.replaced.keys();
        let ignored = names.filter(|name| !left.fixed.contains_key(*name));
        ignored.cloned().collect()
    });
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
