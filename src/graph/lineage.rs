//! The values on the way from the module's parameters to a folded tensor, by the current exporter's
//! record.
//!
//! Folding lists every value that went into its result, directly or through others. Values of the
//! exported program are called after their operators; a parameter has its own name, which the
//! signature lists; and each node has its call in the exported program, with its arguments.

use std::collections::{BTreeSet, HashSet};

use super::names::bodies;
use super::network::Place;
use super::record::{CALL, CONSTANT, LAYOUT, LOOKUP, Record, UNFOLDED, is_unfolded, operator};
use crate::checkpoint::onnx::proto::NodeProto;

impl<'n> Record<'n> {
    /// Whether the recorded call of the node at `place` has `parameter` among its arguments; `None`
    /// if there is no such record.
    pub fn calls(&self, place: Place, parameter: &str) -> Option<bool> {
        let call = call(&self.network().nodes()[place.node])?;
        let flat = parameter.replace('.', "_");
        let is_it = |name: &str| {
            let placeholder = name.strip_prefix("p_").or(name.strip_prefix("b_"));
            placeholder.is_some_and(|it| it == flat)
        };
        Some(arguments(call).any(is_it))
    }

    /// Whether the recorded call of the node at `place` has a tensor among its arguments that no state
    /// dict has.
    pub fn calls_transient(&self, place: Place) -> bool {
        let call = call(&self.network().nodes()[place.node]);
        call.is_some_and(|call| arguments(call).any(|it| self.is_transient_placeholder(it)))
    }

    /// The operators through which an initializer was folded, its own last, each as often as it was
    /// applied; without those that change only layout or make constants.
    pub fn operators(&self, initializer: &str) -> Vec<String> {
        let sources = self.network().folded_from(initializer).unwrap_or_default();
        let values = sources.iter().map(String::as_str);
        let values = values
            .filter(|it| !self.is_of_module(it))
            .chain([initializer]);
        let operators = values.map(operator);
        let counts = |it: &&str| {
            let is_lookup = *it == "embedding";
            let is_filled = ["ones_like", "zeros_like"].contains(it);
            *it != "val"
                && !is_filled
                && (is_lookup || !LAYOUT.contains(it))
                && !CONSTANT.contains(it)
        };
        operators.filter(counts).map(String::from).collect()
    }

    /// How often an initializer was folded through some operators.
    pub fn times(&self, initializer: &str, operators: &[&str]) -> usize {
        let sources = self.network().folded_from(initializer).unwrap_or_default();
        let values = sources.iter().map(String::as_str);
        let values = values.filter(|it| !self.is_of_module(it));
        let all = values.chain([initializer]);
        all.filter(|it| operators.contains(&operator(it))).count()
    }

    /// Whether an initializer was folded from a tensor that no state dict has, among others.
    pub fn has_transient(&self, initializer: &str) -> bool {
        let sources = self.network().folded_from(initializer).unwrap_or_default();
        sources.iter().any(|it| self.is_transient(it))
    }

    /// Whether the last operator of a folded initializer only looks up or lays out, by its name.
    pub fn ends_laid_out(&self, initializer: &str) -> bool {
        let last = operator(initializer);
        LAYOUT.contains(&last) || LOOKUP.contains(&last)
    }

    /// The parameters and buffers from which an initializer was folded, without buffers that no state
    /// dict has.
    pub fn parameters(&self, initializer: &str) -> Vec<String> {
        let sources = self.network().folded_from(initializer).unwrap_or_default();
        let counts = |it: &String| self.is_of_module(it) && !self.is_transient(it);
        sources.into_iter().filter(counts).collect()
    }

    /// Whether an initializer was folded from no parameter: from constants, and from buffers that no
    /// state dict has. What another tool folded again lists no constant.
    pub fn is_of_no_parameter(&self, initializer: &str) -> bool {
        let sources = self.network().folded_from(initializer).unwrap_or_default();
        let is_root = |it: &String| self.is_transient(it) || CONSTANT.contains(&operator(it));
        self.signature().next().is_some()
            && self.is_marked()
            && sources.iter().any(is_root)
            && self.parameters(initializer).is_empty()
    }

    /// The parameters and persistent buffers that the network does not read: no call has them, nothing
    /// was folded from them, and the graph has none of them. `None` if the record does not tell: other
    /// tensors may have been merged into one by a rule.
    pub fn unread(&self) -> Option<BTreeSet<&'n str>> {
        let network = self.network();
        let nodes = network.nodes();
        let merges = |node: usize| {
            let rules = self.rules(node);
            let has_call = call(&nodes[node]).is_some();
            rules.is_some_and(|it| it.contains("Fuse") || it.contains("Clip") || !has_call)
        };
        // What unfolding wrote reads tensors by their own names.
        let is_written = |node: &NodeProto| {
            let outputs = node.output.iter();
            node.name().starts_with('/') || outputs.clone().any(|it| it.starts_with("unfolded_"))
        };
        let unfolded = is_unfolded(network);
        let mut readers = network.uses.iter().map(|it| &nodes[it.place.node]);
        let is_told = readers.all(|it| call(it).is_some() || (unfolded && is_written(it)));
        let is_whole = is_told && !self.has_dropped() && !(0..nodes.len()).any(merges);
        if !is_whole || !self.is_marked() || nodes.iter().any(|node| bodies(node).next().is_some())
        {
            return None;
        }
        let called: HashSet<&str> = nodes.iter().filter_map(call).flat_map(arguments).collect();
        let tensors = network.model.tensors.keys();
        let folded = tensors.flat_map(|it| network.folded_from(it).unwrap_or_default());
        let metadata = network.model.proto.metadata_props.iter();
        let unfolded = metadata.filter(|entry| entry.key() == UNFOLDED);
        let unfolded = unfolded.flat_map(|entry| entry.value().lines().map(String::from));
        let folded: HashSet<String> = folded.chain(unfolded).collect();
        let is_open = |(name, placeholder): &(&str, &str)| {
            let is_used = called.contains(placeholder) || folded.contains(*name);
            !is_used && network.initializer_behind(name).is_none()
        };
        let unread = self.placeholders().filter(is_open).map(|(name, _)| name);
        Some(unread.collect())
    }

    /// Whether a sum or product that a call or the result refers to is gone: the exporter drops those
    /// with a number that is 0 or 1, be it a parameter's at θ0.
    pub fn has_dropped(&self) -> bool {
        let network = self.network();
        let calls = || network.nodes().iter().filter_map(call);
        let made: HashSet<&str> = calls().filter_map(|it| arguments(it).next()).collect();
        // Sums and products of sizes go into shapes.
        let shapes = |it: &&str| {
            let name = arguments(it).next().unwrap_or_default();
            LAYOUT.contains(&operator(name)) || CONSTANT.contains(&operator(name))
        };
        let inner = calls().filter(|it| !shapes(it));
        let inner = inner.flat_map(|it| arguments(it).skip(1));
        let ends = self.results().filter(|_| !made.is_empty());
        let mut values = inner.chain(ends);
        values.any(|it| {
            let is_arithmetic = ["add", "div", "mul", "sub"].contains(&operator(it));
            let is_tensor = network.initializer_behind(it).is_some();
            is_arithmetic && !made.contains(it) && !is_tensor
        })
    }

    /// Whether the call of a node names as many parameters and buffers as the node reads tensors: a tensor
    /// that stands for several equal ones is one of these there, and nothing that was computed.
    pub fn names_all(&self, node: usize) -> bool {
        let network = self.network();
        let read = network.uses.iter().filter(|it| it.place.node == node);
        let named = |it: &&str| it.starts_with("p_") || it.starts_with("b_");
        call(&network.nodes()[node])
            .is_some_and(|call| arguments(call).filter(named).count() >= read.count())
    }

    /// Whether a value is the module's: a parameter or a buffer, or something else that the exporter
    /// did not name.
    fn is_of_module(&self, value: &str) -> bool {
        let kind = self.network().input_kind(value);
        let is_listed = self.is_listed(value) || self.is_transient(value);
        value.contains('.') || kind.is_some() || is_listed
    }
}

/// A node's call in the exported program.
fn call(node: &NodeProto) -> Option<&str> {
    let mut metadata = node.metadata_props.iter();
    let call = metadata.find(|entry| entry.key() == CALL)?;
    Some(call.value())
}

/// The values that a call has as arguments.
fn arguments(call: &str) -> impl Iterator<Item = &str> {
    let names = call.split('%').map(|rest| {
        let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    // Before the first name is nothing.
    names.skip(1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::onnx::Model;
    use crate::checkpoint::onnx::proto::StringStringEntryProto;
    use crate::graph::network::Network;

    #[test]
    fn a_node_s_call_names_the_parameters_that_it_reads() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
        let mut model = Model::read(&root.join("vit/zs_opt.onnx")).unwrap();
        let graph = model.proto.graph.as_mut().unwrap();
        let call = StringStringEntryProto {
            key: Some(CALL.to_string()),
            value: Some(
                "%n : [num_users=1] = f(args = (%x, [32], %p_b_0_ln1_weight), kwargs = {})".into(),
            ),
        };
        graph.node[0].metadata_props.push(call);
        let network = Network::of(&model);
        let record = Record::of(&network);
        let place = |node: usize| Place { node, slot: 0 };
        assert_eq!(record.calls(place(0), "b.0.ln1.weight"), Some(true));
        assert_eq!(record.calls(place(0), "b.0.ln1.weigh"), Some(false));
        assert_eq!(record.calls(place(0), "ln1.weight"), Some(false));
        assert_eq!(record.calls(place(1), "b.0.ln1.weight"), None);
    }

    #[test]
    fn the_record_tells_tables_from_rows_of_a_parameter() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/unfolded");
        let model = Model::read(&root.join("lookups/zs_opt.onnx")).unwrap();
        let network = Network::of(&model);
        let record = Record::of(&network);
        assert!(record.is_of_no_parameter("cos"));
        assert!(!record.is_of_no_parameter("embedding_1"));
        assert!(!record.is_of_no_parameter("words.weight"));
        assert_eq!(record.parameters("embedding_2"), ["later.weight"]);
        assert_eq!(record.operators("embedding_2"), ["add", "add", "embedding"]);
    }

    #[test]
    fn what_no_call_has_is_not_read_unless_a_product_is_gone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/unfolded");
        let of = |name: &str| Model::read(&root.join(name).join("zs_opt.onnx")).unwrap();
        let (aside, dropped) = (of("aside"), of("dropped"));
        let network = Network::of(&aside);
        let unread = Record::of(&network).unread().unwrap();
        let unread: Vec<&str> = unread.into_iter().collect();
        assert_eq!(unread, ["final.bias", "final.weight", "projection"]);
        let network = Network::of(&dropped);
        let record = Record::of(&network);
        assert!(record.has_dropped() && record.unread().is_none());
        assert!(!record.is_unoptimized());
    }
}
