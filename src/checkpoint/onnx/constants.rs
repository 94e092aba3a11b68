//! Makes initializers of the `Constant` nodes that hold floating-point tensors: some exporters keep
//! weights there.

use std::collections::BTreeSet;

use super::dtype;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto};

/// First version of the format in which an initializer need not be an input of the graph.
const FREE_INITIALIZERS: i64 = 4;

/// Turns the `Constant` nodes of a model's graph into initializers called after their outputs;
/// returns their names. Those that a branch or loop body reads, and outputs of the graph, stay.
pub fn lift(model: &mut ModelProto) -> BTreeSet<String> {
    let mut lifted = BTreeSet::new();
    if model.ir_version.unwrap_or(0) < FREE_INITIALIZERS {
        return lifted;
    }
    let Some(graph) = &mut model.graph else {
        return lifted;
    };
    let held = held(graph);
    let mut initializers = Vec::new();
    graph.node.retain_mut(|node| {
        let found = value(node).filter(|(name, _)| !held.contains(*name));
        let Some((name, tensor)) = found else {
            return true;
        };
        let mut tensor = tensor.clone();
        tensor.name = Some(name.to_string());
        lifted.insert(name.to_string());
        initializers.push(tensor);
        false
    });
    graph.initializer.extend(initializers);
    lifted
}

/// The output and the tensor of a `Constant` node that holds floats.
fn value(node: &NodeProto) -> Option<(&str, &TensorProto)> {
    let standard = ["", "ai.onnx"].contains(&node.domain());
    let [name] = node.output.as_slice() else {
        return None;
    };
    let mut attributes = node.attribute.iter();
    let tensor = attributes.find(|it| it.name() == "value")?.t.as_ref()?;
    let is_float = dtype(tensor.data_type()).is_float() && tensor.dims.iter().all(|dim| *dim > 0);
    (standard && node.op_type() == "Constant" && is_float && !name.is_empty())
        .then_some((name.as_str(), tensor))
}

/// Names of values that must stay: outputs of the graph, initializers of the same name, and
/// everything that is read in the body of a branch or a loop.
fn held(graph: &GraphProto) -> BTreeSet<String> {
    let mut held: BTreeSet<String> = graph
        .output
        .iter()
        .map(|output| output.name().to_string())
        .chain(graph.initializer.iter().map(|it| it.name().to_string()))
        .collect();
    let mut bodies: Vec<&GraphProto> = graph.node.iter().flat_map(bodies_of).collect();
    while let Some(body) = bodies.pop() {
        for node in &body.node {
            held.extend(node.input.iter().cloned());
            bodies.extend(bodies_of(node));
        }
        held.extend(body.output.iter().map(|output| output.name().to_string()));
    }
    held
}

/// The graphs in the attributes of a node.
fn bodies_of(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    let attributes = node.attribute.iter();
    attributes.flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}
