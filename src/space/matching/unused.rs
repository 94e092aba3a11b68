//! Tells the modules that a network does not use from those that its exporter may have folded.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::matches::Matches;
use super::names::Names;
use super::origin::Origin;
use super::proof::Telling;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::by_initializer;

/// Last names of batch norm's statistics, which exporters fold into the layer before it.
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// Segments of modules that compute a weight from parameters, or a part of one.
const COMPUTING: [&str; 4] = ["parametrizations", "lora", "hada", "vera"];

/// Everything of the modules that is in the graph.
pub(super) struct Presence {
    /// Names of tensors, and paths of the modules that nodes were exported from, with a dot at the
    /// end.
    names: BTreeSet<String>,
    /// Whether the graph was exported with every tensor as it is.
    keeps_all: bool,
    /// Whether the nodes tell which module they were exported from.
    has_paths: bool,
    /// Whether the exporter's record marks the tensors that it left as they are.
    is_marked: bool,
    /// Whether the graph has tensors of several elements that nothing was matched to, such as values
    /// of `Constant` nodes.
    has_open: bool,
    /// Names of the module's tensors that the network does not read, by the exporter's record.
    unread: BTreeSet<String>,
    /// Names of the checkpoint's tensors that the exported module does not have, by the record.
    foreign: BTreeSet<String>,
    /// Whether θ0's state dict is at hand.
    has_weights: bool,
}

impl Presence {
    /// Collects the names of tensors, and the paths of nodes.
    pub fn of(all: &Names<'_>, matches: &Matches) -> Self {
        let origin = all.origin;
        let network = origin.network;
        let mut names = BTreeSet::new();
        for r#use in &network.uses {
            names.extend([r#use.alias.clone(), r#use.initializer.clone()]);
            names.extend(network.folded_from(&r#use.initializer).unwrap_or_default());
        }
        let nodes = 0..network.nodes().len();
        let paths: BTreeSet<String> = nodes.filter_map(|node| network.module_path(node)).collect();
        let has_paths = paths.iter().any(|path| !path.is_empty());
        names.extend(paths.into_iter().map(|path| format!("{path}.")));
        let mut uses = network.uses.iter();
        Self {
            names,
            keeps_all: origin.record.is_unoptimized(),
            has_paths,
            is_marked: origin.record.is_marked(),
            has_open: uses.any(|it| {
                let wide = network
                    .tensor(&it.initializer)
                    .is_some_and(|it| it.len() > 1);
                wide && !matches.contains_key(&it.place)
            }),
            unread: unread(origin),
            foreign: foreign(all),
            has_weights: origin.weights.is_some(),
        }
    }

    /// Whether anything of a module is in the graph; `prefix` ends with a dot.
    fn has(&self, prefix: &str) -> bool {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let mut after = self.names.range::<str, _>(from);
        after.next().is_some_and(|name| name.starts_with(prefix))
    }

    /// The largest module of a tensor that has nothing in the graph, with a dot at the end.
    fn absent<'n>(&self, name: &'n str) -> Option<&'n str> {
        let mut modules = name.match_indices('.').map(|(at, _)| &name[..=at]);
        modules.find(|module| !self.has(module))
    }

    /// Whether the exporter's record shows that the network does not use a tensor. Of a single number,
    /// or of one that equals another tensor, it shows nothing: factors of 1 are dropped, and what is
    /// computed from equal tensors is merged.
    pub fn is_unused_by_record(
        &self,
        name: &str,
        tensor: &Tensor,
        traceless: &BTreeSet<&str>,
    ) -> bool {
        let is_single = tensor.len() == 1;
        let is_known = !is_single || self.has_weights;
        let is_lost = traceless.contains(name) && (is_single || is_wide(tensor));
        self.foreign.contains(name) || (self.unread.contains(name) && is_known && !is_lost)
    }

    /// Whether an exporter may have folded a module whose tensors are nowhere in the graph into the
    /// tensors of others: batch norm, gains, scales, parametrizations of a weight.
    fn may_be_folded(&self, tensors: &[(&str, &Tensor)]) -> bool {
        let computes = |name: &str| {
            let mut segments = name.split('.');
            segments.any(|it| COMPUTING.iter().any(|begin| it.starts_with(begin)))
        };
        if tensors.iter().any(|(name, _)| computes(name)) {
            return true;
        }
        // Without paths, any tensor of an unknown origin may be made from these.
        if self.has_open && !self.has_paths {
            return true;
        }
        // A matrix or a filter of its own makes a layer, whose node would be in the graph.
        if tensors.iter().any(|(_, tensor)| is_wide(tensor)) {
            return false;
        }
        // Layer norm is never folded, and its node tells its module. Only where the exporter's record
        // marks what it kept is a gain that was multiplied into a weight told from it.
        let norm = |(name, tensor): &(&str, &Tensor)| {
            let leaf = name.rsplit('.').next().unwrap_or(name);
            ["weight", "bias"].contains(&leaf) && tensor.len() > 1
        };
        let statistic = |name: &str| STATISTICS.iter().any(|it| name.ends_with(it));
        !self.has_paths
            || !self.is_marked
            || !tensors.iter().all(norm)
            || tensors.iter().any(|(name, _)| statistic(name))
    }
}

/// Tells of which modules nothing is in the graph; each is judged once.
pub(super) struct UnusedModules<'p> {
    presence: &'p Presence,
    /// All tensors without a place, by the graph's names, sorted.
    open: &'p [(&'p str, &'p Tensor)],
    /// Those of them that may have been used without a trace.
    traceless: &'p BTreeSet<&'p str>,
    /// The number of tensors of a module, if the network does not use it.
    known: HashMap<&'p str, Option<usize>>,
}

impl<'p> UnusedModules<'p> {
    pub fn new(
        presence: &'p Presence,
        open: &'p [(&'p str, &'p Tensor)],
        traceless: &'p BTreeSet<&'p str>,
    ) -> Self {
        Self {
            presence,
            open,
            traceless,
            known: HashMap::new(),
        }
    }

    /// The pattern that leaves out the module of a tensor, if the network does not use it: it has
    /// nothing in the graph, and no exporter folds such a module. `name` is the graph's name and
    /// `stored` that of the file.
    ///
    /// If the graph was exported with every tensor as it is, all open tensors are unused, but for
    /// what is among the traceless ones. A tensor of another module is unused if the exporter's record
    /// shows it.
    pub fn pattern(&mut self, name: &'p str, stored: &str, tensor: &Tensor) -> Option<String> {
        self.of_module(name, stored).or_else(|| {
            let presence = self.presence;
            let is_unused = presence.is_unused_by_record(name, tensor, self.traceless);
            is_unused.then(|| stored.to_string())
        })
    }

    /// The pattern of a tensor's module, if nothing of it is in the graph.
    fn of_module(&mut self, name: &'p str, stored: &str) -> Option<String> {
        let presence = self.presence;
        let Some(module) = presence.absent(name) else {
            let is_unused = presence.keeps_all && !self.traceless.contains(name);
            return is_unused.then(|| stored.to_string());
        };
        let known = self.known.get(module).copied();
        let count = known.unwrap_or_else(|| {
            let count = self.unused(module);
            self.known.insert(module, count);
            count
        });
        // The file may have another prefix than the graph.
        let rest = &name[module.len()..];
        let module = stored.strip_suffix(rest).unwrap_or(stored);
        Some(match count? {
            1 => stored.to_string(),
            _ => format!("{module}*"),
        })
    }

    /// The number of open tensors of a module, if the network does not use it.
    fn unused(&self, module: &str) -> Option<usize> {
        let start = self.open.partition_point(|(name, _)| *name < module);
        let own = &self.open[start..];
        let own = &own[..own.partition_point(|(name, _)| name.starts_with(module))];
        if !self.presence.keeps_all && self.presence.may_be_folded(own) {
            return None;
        }
        // Zeros and ones are also in layers that the network does not use.
        let has_layer = own.iter().any(|(_, tensor)| is_wide(tensor));
        let counts = |(name, tensor): &(&str, &Tensor)| {
            self.traceless.contains(name) && (is_wide(tensor) || !has_layer)
        };
        (!own.iter().any(counts)).then_some(own.len())
    }
}

/// Names of the module's tensors that the network does not read, by the exporter's record. Equal
/// tensors are merged: where all elements are alike, each place must tell which parameter it reads.
fn unread(origin: &Origin<'_>) -> BTreeSet<String> {
    let (network, record) = (origin.network, &origin.record);
    let Some(unread) = record.unread().filter(|it| !it.is_empty()) else {
        return BTreeSet::new();
    };
    let readers = by_initializer(&network.uses);
    let merged = readers.iter().filter(|(name, uses)| {
        let tensor = network.tensor(name).filter(|it| it.len() > 1);
        uses.len() > 1 && tensor.is_some_and(Telling::is_uniform)
    });
    let places = merged.flat_map(|(_, uses)| uses);
    let mut nodes = places.map(|&index| network.uses[index].place.node);
    match nodes.all(|node| record.names_all(node)) {
        true => unread.into_iter().map(String::from).collect(),
        false => BTreeSet::new(),
    }
}

/// Names of the checkpoint's tensors that the exported module does not have: the record lists all that
/// it has, and the checkpoint has all of these and more.
fn foreign(names: &Names<'_>) -> BTreeSet<String> {
    let record = &names.origin.record;
    let own: BTreeSet<&str> = record.signature().collect();
    let is_whole = own.iter().all(|name| names.tensors.contains_key(*name));
    if own.is_empty() || !is_whole {
        return BTreeSet::new();
    }
    let stored = names.tensors.keys().map(String::as_str);
    let outside = names.outside.iter().map(|(stored, _)| *stored);
    let foreign = stored.chain(outside);
    let foreign = foreign.filter(|it| !own.contains(it) && !record.is_transient(it));
    foreign.map(String::from).collect()
}

/// Whether a tensor is a matrix or a filter.
pub(super) fn is_wide(tensor: &Tensor) -> bool {
    tensor.shape.iter().filter(|it| **it > 1).count() > 1
}
