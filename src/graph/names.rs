//! Names of values: which of them a node or a graph reads, and which a graph defines.
//!
//! The graphs inside a node (the branches of an `If`, the body of a `Loop`) may read values of the
//! graph around them without listing them among the node's inputs.

use std::collections::HashSet;

use crate::checkpoint::onnx::proto::{AttributeProto, GraphProto, NodeProto};

/// The graphs that an attribute holds.
pub fn subgraphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.iter().chain(&attribute.graphs)
}

/// The graphs inside a node.
pub fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(subgraphs)
}

/// The names that the graphs inside a node read, in order; their own values are among them, and a
/// name may come more than once.
pub fn captured(node: &NodeProto) -> Vec<&str> {
    let mut names = Vec::new();
    for body in bodies(node) {
        names.extend(body.output.iter().map(|output| output.name()));
        names.extend(body.node.iter().flat_map(node_reads));
    }
    names
}

/// The names that a node or the graphs inside it read, in order. The empty name of an input that
/// is left out is among them.
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

/// Every name that a graph and the graphs inside its nodes give to a value: initializers, inputs
/// and what nodes make.
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

/// The values that a node makes; outputs that are left out are none.
pub fn outputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    let names = node.output.iter().map(String::as_str);
    names.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{DataType, TensorProto};
    use crate::graph::build::{described, node};

    /// `y = If(c) { z = x + w }`, where w is the body's own.
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
