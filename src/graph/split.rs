//! The network cut in two where its moving part begins.
//!
//! What depends on no moving tensor gives the same for every mix. The *prefix* computes it once
//! for each chunk of data; the *suffix* takes its results as inputs and is all that is run for
//! each mix.

use std::collections::{HashMap, HashSet};

use super::network::subgraphs;
use super::skeleton::reads;
use crate::checkpoint::onnx::proto::{
    GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto,
};

/// A network in two parts.
pub struct Split {
    /// From the inputs to the frontier.
    pub prefix: ModelProto,
    /// From the frontier to the outputs.
    pub suffix: ModelProto,
    /// The values handed over, outputs of the one and inputs of the other, in one order.
    pub frontier: Vec<String>,
}

/// Which nodes depend on what.
pub struct Dependence {
    /// The nodes that depend on a moving tensor, or were put with them.
    moving: HashSet<usize>,
    /// The nodes that depend on an input of the network.
    live: HashSet<usize>,
    producer: HashMap<String, usize>,
}

impl Dependence {
    /// Follows the values named `moving` (initializers) and the graph's inputs through the nodes,
    /// which stand in topological order.
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
                if values.iter().any(|value| sources.contains(value)) {
                    nodes.insert(index);
                    sources.extend(outputs(node).cloned());
                }
            }
            producer.extend(outputs(node).map(|output| (output.clone(), index)));
        }
        dependence.producer = producer;
        dependence
    }

    /// How many nodes between the inputs and the outputs depend on no moving tensor, and how many
    /// there are.
    pub fn frozen_nodes(&self) -> (usize, usize) {
        let frozen = self.live.difference(&self.moving).count();
        (frozen, self.live.len())
    }

    /// Values that frozen nodes compute from the inputs and that moving nodes, or the outputs,
    /// read. Empty when there is nothing to save.
    pub fn frontier(&self, graph: &GraphProto) -> Vec<String> {
        let mut frontier = Vec::new();
        let mut seen = HashSet::new();
        let mut add = |value: &String| {
            let frozen = |node: &usize| !self.moving.contains(node) && self.live.contains(node);
            if self.producer.get(value).is_some_and(frozen) && seen.insert(value.clone()) {
                frontier.push(value.clone());
            }
        };
        for (index, node) in graph.node.iter().enumerate() {
            if self.moving.contains(&index) {
                node_reads(node).iter().for_each(&mut add);
            }
        }
        for output in &graph.output {
            add(&output.name().to_string());
        }
        frontier
    }

    /// Puts the node that makes a value with the moving ones: what it makes cannot be handed over
    /// sample by sample.
    pub fn recompute(&mut self, value: &str) {
        if let Some(&node) = self.producer.get(value) {
            self.moving.insert(node);
        }
    }

    /// Cuts a model. `types` gives the type of each value of the frontier.
    pub fn cut(&self, model: &ModelProto, types: &[(String, TypeProto)]) -> Split {
        let graph = model.graph.clone().unwrap_or_default();
        let frontier: Vec<String> = types.iter().map(|(name, _)| name.clone()).collect();
        let handed: Vec<ValueInfoProto> = types
            .iter()
            .map(|(name, r#type)| ValueInfoProto {
                name: Some(name.clone()),
                r#type: Some(r#type.clone()),
                ..ValueInfoProto::default()
            })
            .collect();
        let prefix = GraphProto {
            output: handed.clone(),
            ..graph.clone()
        };
        let stop: HashSet<&String> = frontier.iter().collect();
        let mut suffix = graph;
        suffix.input.extend(handed);
        let with = |graph: GraphProto| ModelProto {
            graph: Some(graph),
            ..model.clone()
        };
        Split {
            prefix: with(pruned(prefix, &HashSet::new())),
            suffix: with(pruned(suffix, &stop)),
            frontier,
        }
    }
}

/// The model with `values` as its outputs, for looking at them.
pub fn exposing(model: &ModelProto, values: &[String]) -> ModelProto {
    let mut graph = model.graph.clone().unwrap_or_default();
    let named = |name: &String| ValueInfoProto {
        name: Some(name.clone()),
        ..ValueInfoProto::default()
    };
    graph.output = values.iter().map(named).collect();
    ModelProto {
        graph: Some(pruned(graph, &HashSet::new())),
        ..model.clone()
    }
}

/// Without the nodes, initializers and inputs that no output needs; values of `given` are inputs.
pub fn pruned(mut graph: GraphProto, given: &HashSet<&String>) -> GraphProto {
    let mut needed: HashSet<String> = graph
        .output
        .iter()
        .map(|output| output.name().to_string())
        .collect();
    let mut keep = vec![false; graph.node.len()];
    for (index, node) in graph.node.iter().enumerate().rev() {
        let mut made = outputs(node).filter(|output| !given.contains(output));
        if made.any(|output| needed.contains(output)) {
            keep[index] = true;
            needed.extend(node_reads(node));
        }
    }
    let mut kept = keep.into_iter();
    graph.node.retain(|_| kept.next().unwrap_or(false));
    // A node that is kept for one output may make another that is given: it goes by another name.
    for node in &mut graph.node {
        for output in &mut node.output {
            if given.contains(output) {
                output.push_str(".recomputed");
            }
        }
    }
    let needed = reads(&graph);
    let is_needed = |name: &str| needed.contains(name);
    graph.initializer.retain(|tensor| is_needed(tensor.name()));
    graph.input.retain(|input| is_needed(input.name()));
    let made: HashSet<String> = graph.node.iter().flat_map(outputs).cloned().collect();
    graph.value_info.retain(|info| made.contains(info.name()));
    graph
}

fn outputs(node: &NodeProto) -> impl Iterator<Item = &String> {
    node.output.iter().filter(|output| !output.is_empty())
}

/// Every value that a node or its subgraphs read.
fn node_reads(node: &NodeProto) -> HashSet<String> {
    let mut values: HashSet<String> = node.input.iter().cloned().collect();
    for graph in node.attribute.iter().flat_map(subgraphs) {
        values.extend(reads(graph));
    }
    values
}
