//! Names of values: those that a node or a graph reads, and those that a graph defines.
//!
//! The graphs inside a node (the branches of an `If`, the body of a `Loop`) may read values of the
//! enclosing graph without listing them among the node's inputs.

use std::collections::HashSet;

pub use crate::checkpoint::onnx::bodies::{bodies, captures, subgraphs};
use crate::checkpoint::onnx::proto::{GraphProto, NodeProto};

/// The names that the graphs inside a node read, in order. This includes their own values, and
/// names may repeat.
pub fn captured(node: &NodeProto) -> Vec<&str> {
    let mut names = Vec::new();
    for body in bodies(node) {
        names.extend(body.output.iter().map(|output| output.name()));
        names.extend(body.node.iter().flat_map(node_reads));
    }
    names
}

/// The values that a node reads, by their slot ([`Place`](super::network::Place)): its inputs, then
/// its captures.
pub fn slots(node: &NodeProto) -> Vec<&str> {
    let inputs = node.input.iter().map(String::as_str);
    inputs.chain(captures(node)).collect()
}

/// The names that a node or the graphs inside it read, in order. This includes the empty name of an
/// omitted input.
pub fn node_reads(node: &NodeProto) -> Vec<&str> {
    let inputs = node.input.iter().map(String::as_str);
    inputs.chain(captured(node)).collect()
}

/// Every name that a graph's nodes, the graphs inside them or its outputs read.
pub fn reads(graph: &GraphProto) -> HashSet<&str> {
    let outputs = graph.output.iter().map(|output| output.name());
    outputs
        .chain(graph.node.iter().flat_map(node_reads))
        .collect()
}

/// Every name that a graph and the graphs inside its nodes define: initializers, inputs and outputs
/// of nodes.
pub fn defined(graph: &GraphProto) -> HashSet<&str> {
    let initializers = graph.initializer.iter().map(|tensor| tensor.name());
    let inputs = graph.input.iter().map(|input| input.name());
    let made = graph.node.iter().flat_map(outputs);
    let inner = graph.node.iter().flat_map(bodies).flat_map(defined);
    initializers
        .chain(inputs)
        .chain(made)
        .chain(inner)
        .collect()
}

/// The outputs of a node, without omitted ones.
pub fn outputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    let names = node.output.iter().map(String::as_str);
    names.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{AttributeProto, DataType, TensorProto};
    use crate::graph::build::{described, node};

    /// `y = If(c) { z = x + w }`, where w belongs to the body.
    fn branch() -> NodeProto {
        let mut body = GraphProto {
            node: vec![node("Add", &["x", "w"], "z", &[])],
            output: vec![described("z", DataType::Float, &[])],
            ..GraphProto::default()
        };
        body.initializer.push(TensorProto {
            name: Some("w".to_string()),
            ..TensorProto::default()
        });
        let mut branch = node("If", &["c"], "y", &[]);
        branch.attribute.push(AttributeProto {
            name: Some("then_branch".to_string()),
            g: Some(body),
            ..AttributeProto::default()
        });
        branch
    }

    #[test]
    fn a_node_reads_what_the_graphs_inside_it_read() {
        let branch = branch();
        assert_eq!(captured(&branch), ["z", "x", "w"]);
        assert_eq!(node_reads(&branch), ["c", "z", "x", "w"]);
        let graph = GraphProto {
            node: vec![branch],
            ..GraphProto::default()
        };
        assert_eq!(reads(&graph), HashSet::from(["c", "x", "w", "z"]));
        assert_eq!(defined(&graph), HashSet::from(["y", "z", "w"]));
    }
}
