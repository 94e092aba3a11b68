//! Facts about the surrounding graph that a rule may use.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::onnx::proto::GraphProto;
use crate::graph::names::{bodies, defined, node_reads, outputs};
use crate::graph::random::may_draw;

/// Facts about values of the graph that is differentiated.
#[derive(Debug, Default)]
pub struct Facts {
    constant: HashSet<String>,
    pooled: HashSet<String>,
}

impl Facts {
    /// Analyzes a graph; the nodes `on_path` lie between the loss and the `wanted` values.
    pub fn of(graph: &GraphProto, on_path: &[bool], wanted: &[String]) -> Self {
        Self {
            constant: constant(graph),
            pooled: pooled(graph, on_path, wanted),
        }
    }

    /// Whether a value is the same in every run: an initializer, or computed only from such. ONNX
    /// Runtime computes these when a session is created.
    pub fn is_constant(&self, value: &str) -> bool {
        self.constant.contains(value)
    }

    /// Whether a value comes from a ReLU and gets its gradient only from max pooling. Its gradient
    /// is then nonzero only at elements equal to a pool's output, so the mask of the ReLU can be
    /// taken from that smaller output.
    pub fn is_pooled(&self, value: &str) -> bool {
        self.pooled.contains(value)
    }
}

/// Values that are the same in every run.
fn constant(graph: &GraphProto) -> HashSet<String> {
    // An initializer that is also an input is only the default of that input.
    let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    let tensors = graph.initializer.iter().map(|tensor| tensor.name());
    let mut constant: HashSet<&str> = tensors.filter(|name| !inputs.contains(name)).collect();
    for node in &graph.node {
        let inner: HashSet<&str> = bodies(node).flat_map(defined).collect();
        let mut read = node_reads(node).into_iter();
        let is_constant =
            |name: &str| name.is_empty() || inner.contains(name) || constant.contains(name);
        if !may_draw(node) && read.all(is_constant) {
            constant.extend(outputs(node));
        }
    }
    constant.into_iter().map(String::from).collect()
}

/// Outputs of ReLU that only max pooling reads, considering nodes on the path.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{AttributeProto, TensorProto};
    use crate::graph::build::node;

    #[test]
    fn what_is_drawn_at_random_or_read_from_inside_a_branch_is_no_constant() {
        let weight = TensorProto {
            name: Some("w".to_string()),
            ..TensorProto::default()
        };
        let branch = |output: &str, read: &str| {
            let mut branch = node("If", &["w"], output, &[]);
            branch.attribute.push(AttributeProto {
                g: Some(GraphProto {
                    node: vec![node("Neg", &[read], "inner", &[])],
                    ..GraphProto::default()
                }),
                ..AttributeProto::default()
            });
            branch
        };
        let graph = GraphProto {
            initializer: vec![weight],
            node: vec![
                node("Exp", &["w"], "exp", &[]),
                node("Clip", &["exp", "", "w"], "clip", &[]),
                node("RandomNormalLike", &["w"], "like", &[]),
                node("Bernoulli", &["w"], "coin", &[]),
                node("Add", &["exp", "coin"], "sum", &[]),
                branch("fixed", "w"),
                branch("moving", "x"),
            ],
            ..GraphProto::default()
        };
        let constant = constant(&graph);
        let expected = ["w", "exp", "clip", "fixed"].map(String::from);
        assert_eq!(constant, HashSet::from(expected));
    }
}
