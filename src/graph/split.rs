//! Splits the network where its moving part begins.
//!
//! Values that depend on no moving tensor are the same for every mix. The *prefix* computes them
//! once for each chunk of data; the *suffix* takes them as inputs and is all that runs for each
//! mix.

use std::collections::{HashMap, HashSet};

use super::editor::{GraphEditor, named};
use super::names::{node_reads, outputs};
use crate::checkpoint::onnx::proto::{GraphProto, ModelProto, TypeProto, ValueInfoProto};

/// A network in two parts. The frontier's values have the same names and order in both: they are
/// outputs of the prefix and further inputs of the suffix.
pub struct Split {
    /// The graph from the inputs to the frontier.
    pub prefix: ModelProto,
    /// The graph from the frontier to the outputs.
    pub suffix: ModelProto,
}

/// Which nodes depend on a moving tensor, and which on the network's inputs.
pub struct Dependence {
    /// Indices of the nodes that depend on a moving tensor, or were added to these.
    moving: HashSet<usize>,
    /// Indices of the nodes that depend on an input of the network.
    live: HashSet<usize>,
    /// The node that computes each value.
    producer: HashMap<String, usize>,
}

impl Dependence {
    /// Follows the initializers named `moving` and the graph's inputs through the nodes, which are
    /// in topological order.
    pub fn of(graph: &GraphProto, moving: &HashSet<String>, inputs: &[String]) -> Self {
        let mut producer = HashMap::new();
        let (mut from_moving, mut from_input) = (moving.clone(), HashSet::new());
        from_input.extend(inputs.iter().cloned());
        let mut dependence = Self {
            moving: HashSet::new(),
            live: HashSet::new(),
            producer: HashMap::new(),
        };
        for (index, node) in graph.node.iter().enumerate() {
            let values = node_reads(node);
            for (sources, nodes) in [
                (&mut from_moving, &mut dependence.moving),
                (&mut from_input, &mut dependence.live),
            ] {
                if values.iter().any(|value| sources.contains(*value)) {
                    nodes.insert(index);
                    sources.extend(outputs(node).map(String::from));
                }
            }
            producer.extend(outputs(node).map(|output| (output.to_string(), index)));
        }
        dependence.producer = producer;
        dependence
    }

    /// Number of nodes between inputs and outputs that depend on no moving tensor, and number of
    /// all nodes between them.
    pub fn frozen_nodes(&self) -> (usize, usize) {
        let frozen = self.live.difference(&self.moving).count();
        (frozen, self.live.len())
    }

    /// Values that frozen nodes compute from the inputs and that moving nodes, or the outputs,
    /// read. Empty if nothing can be saved.
    pub fn frontier(&self, graph: &GraphProto) -> Vec<String> {
        let mut frontier = Vec::new();
        let mut seen = HashSet::new();
        let mut add = |value: &str| {
            let frozen = |node: &usize| !self.moving.contains(node) && self.live.contains(node);
            if self.producer.get(value).is_some_and(frozen) && seen.insert(value.to_string()) {
                frontier.push(value.to_string());
            }
        };
        for (index, node) in graph.node.iter().enumerate() {
            if self.moving.contains(&index) {
                node_reads(node).into_iter().for_each(&mut add);
            }
        }
        for output in &graph.output {
            add(output.name());
        }
        frontier
    }

    /// Adds the node that computes a value to the moving nodes: its outputs cannot be passed on
    /// sample by sample.
    pub fn recompute(&mut self, value: &str) {
        if let Some(&node) = self.producer.get(value) {
            self.moving.insert(node);
        }
    }

    /// Cuts a model. `types` gives the name and type of each value of the frontier.
    pub fn cut(&self, model: &ModelProto, types: &[(String, TypeProto)]) -> Split {
        let handed: Vec<ValueInfoProto> = types
            .iter()
            .map(|(name, r#type)| ValueInfoProto {
                name: Some(name.clone()),
                r#type: Some(r#type.clone()),
                ..ValueInfoProto::default()
            })
            .collect();
        let mut prefix = GraphEditor::open(model.clone());
        prefix.set_outputs(handed.clone());
        prefix.prune(&HashSet::new());
        let mut suffix = GraphEditor::open(model.clone());
        suffix.add_inputs(handed);
        suffix.prune(&types.iter().map(|(name, _)| name.as_str()).collect());
        Split {
            prefix: prefix.finish(),
            suffix: suffix.finish(),
        }
    }
}

/// The model with `values` as its outputs, for inspection.
pub fn exposing(model: &ModelProto, values: &[String]) -> ModelProto {
    let mut editor = GraphEditor::open(model.clone());
    editor.set_outputs(values.iter().map(|name| named(name)));
    editor.prune(&HashSet::new());
    editor.finish()
}
