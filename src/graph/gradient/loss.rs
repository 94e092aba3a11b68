//! The loss that is differentiated: Σ wₛ·ℓ(β·fₛ, yₛ) over the samples of a batch.

use std::collections::HashSet;

use super::node::captured;
use super::values::{Value, Values};
use crate::checkpoint::onnx::proto::{
    DataType, Dimension, DimensionValue, GraphProto, ModelProto, TensorProto, TypeValue,
    ValueInfoProto,
};
use crate::graph::build::{described, node};
pub use crate::graph::epilogue::{CORRECT, LABELS, LOSS};

/// Input: β, f64.
pub const BETA: &str = "landscape.beta";
/// Input: the samples' weights, f64 [batch, 1]; of a mean over n of them 1/n.
pub const WEIGHTS: &str = "landscape.weights";
/// Output: Σ wₛ·ℓₛ in nats, f64.
pub const TOTAL: &str = "landscape.total";
/// The logits in f64.
const WIDE: &str = "landscape.wide";

/// Adds the loss behind the output `logits`, [batch, classes]. Logits are widened to f64 first.
pub fn append(mut model: ModelProto, logits: &str, batch: usize) -> ModelProto {
    let Some(graph) = model.graph.as_mut() else {
        return model;
    };
    let (scaled, scores, at_label, best, weighted) = (
        "landscape.scaled",
        "landscape.scores",
        "landscape.at_label",
        "landscape.best",
        "landscape.weighted",
    );
    let double = DataType::Double as i64;
    graph.node.extend([
        node("Cast", &[logits], WIDE, &[("to", double)]),
        node("Mul", &[WIDE, BETA], scaled, &[]),
        node("LogSoftmax", &[scaled], scores, &[("axis", 1)]),
        node(
            "GatherElements",
            &[scores, LABELS],
            at_label,
            &[("axis", 1)],
        ),
        node("Neg", &[at_label], LOSS, &[]),
        node("Mul", &[LOSS, WEIGHTS], weighted, &[]),
        node("ReduceSum", &[weighted], TOTAL, &[("keepdims", 0)]),
        node("ArgMax", &[WIDE], best, &[("axis", 1), ("keepdims", 1)]),
        node("Equal", &[best, LABELS], CORRECT, &[]),
    ]);
    graph.input.extend([
        described(LABELS, DataType::Int64, &[batch, 1]),
        described(BETA, DataType::Double, &[]),
        described(WEIGHTS, DataType::Double, &[batch, 1]),
    ]);
    model
}

/// What is known of all values: of inputs and initializers as the graph says, of those that nodes
/// make as they were `seen`. The elements of what is computed from an input are not kept: they were
/// those of one batch.
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
        let value = match varying.contains(&*name) {
            true => value.forgotten(),
            false => value,
        };
        values.insert(name, value);
    }
    values
}

/// Values whose elements depend on those of an input, and not on its shape alone.
fn varying(graph: &GraphProto) -> HashSet<&str> {
    let mut varying: HashSet<&str> = graph.input.iter().map(ValueInfoProto::name).collect();
    for node in &graph.node {
        let of_shapes = ["Shape", "Size"].contains(&node.op_type());
        let mut sources = node.input.iter().map(String::as_str).chain(captured(node));
        if !of_shapes && sources.any(|source| varying.contains(source)) {
            varying.extend(node.output.iter().map(String::as_str));
        }
    }
    varying
}

/// Type and shape of an input that has both in full.
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
