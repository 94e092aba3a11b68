//! What a rule may know of the graph around its node.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::onnx::proto::{GraphProto, NodeProto};

/// Facts about values of the graph that is differentiated.
#[derive(Debug, Default)]
pub struct Facts {
    constant: HashSet<String>,
    pooled: HashSet<String>,
}

impl Facts {
    /// Reads a graph of which the nodes `on_path` lie between the loss and what is `wanted`.
    pub fn of(graph: &GraphProto, on_path: &[bool], wanted: &[String]) -> Self {
        Self {
            constant: constant(graph),
            pooled: pooled(graph, on_path, wanted),
        }
    }

    /// Whether a value is the same in every run: an initializer, or computed from such alone. ONNX
    /// Runtime computes what depends on these only when a session is made.
    pub fn is_constant(&self, value: &str) -> bool {
        self.constant.contains(value)
    }

    /// Whether a value comes from a ReLU and its gradient from max pooling alone. A gradient that
    /// reaches it comes from where it is as large as a pool's output, so that the mask of ReLU can
    /// be taken of that output, which is smaller.
    pub fn is_pooled(&self, value: &str) -> bool {
        self.pooled.contains(value)
    }
}

fn constant(graph: &GraphProto) -> HashSet<String> {
    // An initializer that is an input, too, is no more than that input's default.
    let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    let tensors = graph.initializer.iter().map(|tensor| tensor.name());
    let mut constant: HashSet<String> = tensors
        .filter(|name| !inputs.contains(name))
        .map(str::to_string)
        .collect();
    for node in &graph.node {
        let mut read = node.input.iter().filter(|input| !input.is_empty());
        if !is_random(node) && read.all(|input| constant.contains(input)) {
            constant.extend(node.output.iter().cloned());
        }
    }
    constant
}

fn is_random(node: &NodeProto) -> bool {
    ["RandomNormal", "RandomUniform"].contains(&node.op_type())
}

fn pooled(graph: &GraphProto, on_path: &[bool], wanted: &[String]) -> HashSet<String> {
    let nodes = graph.node.iter().zip(on_path).filter(|(_, on)| **on);
    let mut pools_only: HashMap<&str, bool> = HashMap::new();
    for (node, _) in nodes.clone() {
        for input in &node.input {
            *pools_only.entry(input).or_insert(true) &= node.op_type() == "MaxPool";
        }
    }
    let outputs = nodes.filter(|(node, _)| node.op_type() == "Relu");
    let outputs = outputs.flat_map(|(node, _)| &node.output);
    outputs
        .filter(|output| pools_only.get(output.as_str()) == Some(&true))
        .filter(|output| !wanted.contains(output))
        .cloned()
        .collect()
}
