//! The loss to be differentiated: Σ wₛ·ℓ(β·fₛ, yₛ) over the samples of a batch.

use std::collections::HashSet;

use super::values::{Value, Values};
use crate::checkpoint::onnx::proto::{
    DataType, Dimension, DimensionValue, GraphProto, ModelProto, TensorProto, TypeValue,
    ValueInfoProto,
};
use crate::graph::build::{described, node};
use crate::graph::editor::GraphEditor;
use crate::graph::loss_outputs::loss_nodes;
pub use crate::graph::loss_outputs::{CORRECT, LABELS, LOSS};
use crate::graph::names::{node_reads, outputs};

/// Input: β, f64.
pub const BETA: &str = "landscape.beta";
/// Input: the samples' weights, f64 [batch, 1]; 1/n each for a mean over n samples.
pub const WEIGHTS: &str = "landscape.weights";
/// Output: Σ wₛ·ℓₛ in nats, f64.
pub const TOTAL: &str = "landscape.total";

/// Adds the loss after the output `logits`, [batch, classes]. Logits are widened to f64 first.
pub fn append(model: ModelProto, logits: &str, batch: usize) -> ModelProto {
    let weighted = "landscape.weighted";
    let mut editor = GraphEditor::open(model);
    editor.append_nodes(loss_nodes(logits, Some(BETA)));
    editor.append_nodes([
        node("Mul", &[LOSS, WEIGHTS], weighted, &[]),
        node("ReduceSum", &[weighted], TOTAL, &[("keepdims", 0)]),
    ]);
    editor.add_inputs([
        described(LABELS, DataType::Int64, &[batch, 1]),
        described(BETA, DataType::Double, &[]),
        described(WEIGHTS, DataType::Double, &[batch, 1]),
    ]);
    editor.finish()
}

/// Collects what is known of all values: inputs and initializers from the graph, outputs of nodes
/// as they were `seen` in a run. Elements that depend on an input are dropped: they were those of
/// one batch.
pub fn values(model: &ModelProto, seen: impl IntoIterator<Item = (String, Value)>) -> Values {
    let mut values = Values::default();
    let Some(graph) = &model.graph else {
        return values;
    };
    for input in &graph.input {
        if let Some(value) = declared(input) {
            values.insert(input.name(), value);
        }
    }
    graph
        .initializer
        .iter()
        .for_each(|tensor: &TensorProto| values.insert_tensor(tensor));
    let varying = varying(graph);
    for (name, value) in seen {
        let value = if varying.contains(&*name) {
            value.forgotten()
        } else {
            value
        };
        values.insert(name, value);
    }
    values
}

/// Values whose elements depend on those of an input, and not only on its shape.
fn varying(graph: &GraphProto) -> HashSet<&str> {
    let mut varying: HashSet<&str> = graph.input.iter().map(ValueInfoProto::name).collect();
    for node in &graph.node {
        let of_shapes = ["Shape", "Size"].contains(&node.op_type());
        let mut sources = node_reads(node).into_iter();
        if !of_shapes && sources.any(|source| varying.contains(source)) {
            varying.extend(outputs(node));
        }
    }
    varying
}

/// Type and shape of an input, if both are fully declared.
fn declared(info: &ValueInfoProto) -> Option<Value> {
    let TypeValue::Tensor(tensor) = info.r#type.as_ref()?.value.as_ref()? else {
        return None;
    };
    let size = |dim: &Dimension| match dim.value {
        Some(DimensionValue::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    };
    let dims = tensor.shape.as_ref()?.dim.iter().map(size);
    Some(Value::new(
        DataType::try_from(tensor.elem_type()).ok()?,
        dims.collect::<Option<Vec<usize>>>()?,
    ))
}
