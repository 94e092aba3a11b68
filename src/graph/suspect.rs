//! Detects parts of a graph that make its values doubtful: outputs that are not logits, nodes in
//! training mode, nodes that draw random numbers, quantized weights.

use std::collections::HashSet;

use bytes::Bytes;

use super::editor::{self, GraphEditor, named};
use super::names::bodies;
use super::network::Network;
use super::random::always_draws;
use crate::checkpoint::onnx::elements;
use crate::checkpoint::onnx::proto::{DataType, GraphProto, ModelProto, NodeProto, TensorProto};

/// A node that turns logits into probabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The operator: `Softmax`, `Sigmoid`, …
    pub operator: String,
    /// Name of the node; without one, the name of its output.
    pub node: String,
    /// Name of its input: the logits.
    pub logits: String,
}

/// A node in training mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Training {
    /// The operator: `BatchNormalization` or `Dropout`.
    pub operator: String,
    /// Name of the node; without one, the name of its output.
    pub node: String,
}

/// A node that computes with quantized weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantized {
    /// The operator: `DequantizeLinear`, `MatMulInteger`, …
    pub operator: String,
    /// Name of the node; without one, the name of its output.
    pub node: String,
}

/// Operators on quantized numbers, besides those whose names begin with one of [`QUANTIZED_KINDS`].
const QUANTIZED: [&str; 16] = [
    "ConvInteger",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "GatherBlockQuantized",
    "MatMulBnb4",
    "MatMulFpQ4",
    "MatMulInteger",
    "MatMulInteger16",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QAttention",
    "QEmbedLayerNormalization",
    "QGemm",
    "QMoE",
    "NhwcQLinearConv",
];

const QUANTIZED_KINDS: [&str; 2] = ["QLinear", "QOrdered"];

/// The first node with quantized weights. Pairs that quantize floats and turn them back, as
/// training with quantization in mind exports them, do not count: their weights are floats.
pub fn quantized(network: &Network<'_>) -> Option<Quantized> {
    let is_stored = |value: &String| {
        let tensor = network.initializer_behind(value);
        let tensor = tensor.and_then(|name| network.tensor(name));
        tensor.is_some_and(|tensor| tensor.len() > 1)
    };
    let is_quantized = |node: &&NodeProto| match node.op_type() {
        "DequantizeLinear" => node.input.first().is_some_and(is_stored),
        operator => {
            let mut kinds = QUANTIZED_KINDS.iter();
            QUANTIZED.contains(&operator) || kinds.any(|kind| operator.starts_with(kind))
        }
    };
    let mut all = all_nodes(network.model.graph()).into_iter();
    all.find(is_quantized).map(|node| Quantized {
        operator: node.op_type().to_string(),
        node: name(node),
    })
}

/// Operators that change the type or shape of a value but not its elements.
const PLAIN: [&str; 7] = [
    "Identity",
    "Cast",
    "CastLike",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
];

/// The node that turns the output into probabilities. A `LogSoftmax` does not count: the softmax of
/// its output equals that of its input.
pub fn activation(network: &Network<'_>, output: &str) -> Option<Activation> {
    let mut value = output;
    // No more steps than nodes: a broken graph may contain a cycle.
    for _ in network.nodes() {
        let node = &network.nodes()[network.producer(value)?];
        let input = node.input.first()?;
        match node.op_type() {
            operator @ ("Softmax" | "Sigmoid" | "HardSigmoid") => {
                return Some(Activation {
                    operator: operator.to_string(),
                    node: name(node),
                    logits: input.clone(),
                });
            }
            operator if PLAIN.contains(&operator) => value = input,
            _ => return None,
        }
    }
    None
}

/// The first node on the way to the output that is in training mode: batch normalization by the
/// batch's own statistics, or a dropout that drops.
pub fn training(network: &Network<'_>, output: &str) -> Option<Training> {
    let graph = reached(network, output);
    let fixed = fixed(network);
    // Batch norm may also standardize weights (timm's BiT), with no samples in the batch.
    let of_data = |node: &NodeProto| {
        let mut input = node.input.first().into_iter();
        !input.any(|value| fixed.contains(value.as_str()))
    };
    let trains = |node: &&NodeProto| match node.op_type() {
        "BatchNormalization" => normalizes_the_batch(node, opset(network)) && of_data(node),
        "Dropout" => drops(network, node, opset(network)),
        _ => false,
    };
    let found = all_nodes(&graph).into_iter().find(trains);
    found.map(|node| Training {
        operator: node.op_type().to_string(),
        node: name(node),
    })
}

/// Values that are the same for all data: initializers, constants, and values computed from them.
fn fixed<'n>(network: &'n Network<'_>) -> HashSet<&'n str> {
    let mut fixed: HashSet<&str> = network.model.tensors.keys().map(String::as_str).collect();
    // Nodes are in topological order.
    for node in network.nodes() {
        let mut inputs = node.input.iter().filter(|input| !input.is_empty());
        if inputs.all(|input| fixed.contains(input.as_str())) {
            fixed.extend(node.output.iter().map(String::as_str));
        }
    }
    fixed
}

/// Names of the nodes on the way to the output that draw random numbers.
pub fn random(network: &Network<'_>, output: &str) -> Vec<String> {
    let graph = reached(network, output);
    let all = all_nodes(&graph).into_iter();
    all.filter(|node| always_draws(node)).map(name).collect()
}

fn normalizes_the_batch(node: &NodeProto, opset: i64) -> bool {
    match opset {
        14.. => integer(node, "training_mode") == Some(1),
        // A node that outputs statistics of the batch computes them.
        7..14 => node.output.iter().skip(1).any(|output| !output.is_empty()),
        _ => integer(node, "is_test") != Some(1),
    }
}

fn drops(network: &Network<'_>, node: &NodeProto, opset: i64) -> bool {
    let constant = |slot: usize| {
        let value = node.input.get(slot).filter(|value| !value.is_empty())?;
        constant(network, value)
    };
    let is_zero = |elements: &Bytes| elements.iter().all(|byte| *byte == 0);
    match opset {
        12.. => {
            let trains = constant(2).is_some_and(|flag| !is_zero(&flag));
            trains && !constant(1).is_some_and(|ratio| is_zero(&ratio))
        }
        7..12 => false,
        _ => integer(node, "is_test") != Some(1),
    }
}

/// Elements of a value, if it is a constant.
fn constant(network: &Network<'_>, value: &str) -> Option<Bytes> {
    if let Some(initializer) = network.initializer_behind(value) {
        return network
            .tensor(initializer)
            .map(|tensor| tensor.bytes.clone());
    }
    let node = &network.nodes()[network.producer(value)?];
    let attribute = node.attribute.iter().find(|it| it.name() == "value")?;
    let tensor = attribute
        .t
        .as_ref()
        .filter(|_| node.op_type() == "Constant")?;
    Some(match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Bool) if tensor.raw_data.is_none() => flags(tensor),
        _ => elements(tensor),
    })
}

fn flags(tensor: &TensorProto) -> Bytes {
    tensor.int32_data.iter().map(|&flag| flag as u8).collect()
}

fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    let mut attributes = node.attribute.iter();
    attributes.find(|it| it.name() == name)?.i
}

/// The version of the standard operators.
fn opset(network: &Network<'_>) -> i64 {
    editor::opset(&network.model.proto).unwrap_or(1)
}

/// The nodes that the output depends on, without weights.
fn reached(network: &Network<'_>, output: &str) -> GraphProto {
    let graph = GraphProto {
        node: network.nodes().to_vec(),
        ..GraphProto::default()
    };
    let mut editor = GraphEditor::open(ModelProto {
        graph: Some(graph),
        ..ModelProto::default()
    });
    editor.set_outputs([named(output)]);
    editor.prune(&HashSet::new());
    editor.finish().graph.unwrap_or_default()
}

/// The nodes of a graph and of the graphs inside them.
fn all_nodes(graph: &GraphProto) -> Vec<&NodeProto> {
    let mut all = Vec::new();
    for node in &graph.node {
        all.push(node);
        all.extend(bodies(node).flat_map(all_nodes));
    }
    all
}

fn name(node: &NodeProto) -> String {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => output.clone(),
        (name, _) => name.to_string(),
    }
}
