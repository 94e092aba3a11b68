//! Sorts parameters by what they do in the network: head, embedding, normalization or body.

use std::collections::HashSet;

use super::names::slots;
use super::network::{Network, Place};
use crate::checkpoint::onnx::proto::NodeProto;

/// What a parameter does in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Weight or bias of the last linear layer before the logits, or of several side by side.
    Head,
    /// A table that the network looks rows up in.
    Embedding,
    /// Scale or bias of a normalization.
    Norm,
    /// All others.
    Body,
}

impl Group {
    /// All groups, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Head, Self::Embedding, Self::Norm, Self::Body];

    /// The group's name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Embedding => "embedding",
            Self::Norm => "norm",
            Self::Body => "body",
        }
    }
}

/// The group of each parameter, from the places where the graph reads it: `places[parameter]`. A
/// table that is also the head (tied weights) is an embedding.
///
/// `output` names the logits.
pub fn groups(network: &Network<'_>, places: &[Vec<Place>], output: &str) -> Vec<Group> {
    let head = head(network, output);
    let of = |places: &Vec<Place>| {
        let mut groups = places.iter().map(|&place| {
            let node = &network.nodes()[place.node];
            if node.op_type() == "Gather" && place.slot == 0 {
                Group::Embedding
            } else if head.contains(&place) {
                Group::Head
            } else if is_norm(network, node, place.slot) {
                Group::Norm
            } else {
                Group::Body
            }
        });
        let order = |group: &Group| match group {
            Group::Embedding => 0,
            Group::Head => 1,
            Group::Norm => 2,
            Group::Body => 3,
        };
        groups.by_ref().min_by_key(order).unwrap_or(Group::Body)
    };
    places.iter().map(of).collect()
}

/// Operators between the last linear layer and the logits: they keep classes apart.
const AFTER_HEAD: [&str; 17] = [
    "Identity",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Cast",
    "Concat",
    "ReduceMean",
    "Gather",
    "GlobalAveragePool",
    "GatherND",
    "Slice",
];

/// The places of weights and biases between the logits and the outputs of the layers before the
/// last: the walk goes back from the logits, and ends at linear layers and at any operator that
/// mixes or bends.
fn head(network: &Network<'_>, output: &str) -> HashSet<Place> {
    let mut found = HashSet::new();
    let mut seen = HashSet::new();
    let mut next = vec![output.to_string()];
    while let Some(value) = next.pop() {
        let Some(index) = network.producer(&value).filter(|index| seen.insert(*index)) else {
            continue;
        };
        let node = &network.nodes()[index];
        let is_linear = matches!(node.op_type(), "Gemm" | "MatMul" | "Conv");
        let weights = weights(network, index, is_linear);
        if is_linear && !weights.is_empty() {
            found.extend(weights);
        } else if AFTER_HEAD.contains(&node.op_type()) {
            // A bias, a scale of the logits.
            found.extend(weights);
            next.extend(node.input.iter().cloned());
        }
    }
    found
}

/// The places where a node reads an initializer; through transpositions and casts of it, too, if
/// `through`.
fn weights(network: &Network<'_>, index: usize, through: bool) -> Vec<Place> {
    let inputs = slots(&network.nodes()[index]);
    let mut places = Vec::new();
    for (slot, value) in inputs.into_iter().enumerate() {
        if network.initializer_behind(value).is_some() {
            places.push(Place { node: index, slot });
        } else if through && let Some(place) = turned(network, value) {
            places.push(place);
        }
    }
    places
}

/// The place where an initializer is read that reaches a value through transpositions and casts.
fn turned(network: &Network<'_>, value: &str) -> Option<Place> {
    let mut node = network.producer(value)?;
    loop {
        let of = &network.nodes()[node];
        if !matches!(of.op_type(), "Transpose" | "Cast" | "Reshape") {
            return None;
        }
        let input = of.input.first()?;
        if network.initializer_behind(input).is_some() {
            return Some(Place { node, slot: 0 });
        }
        node = network.producer(input)?;
    }
}

/// Whether an input is scale or bias of a normalization: an operator of its own, or one that the
/// exporter wrote out as x / √(variance + ε), then Mul and Add.
fn is_norm(network: &Network<'_>, node: &NodeProto, slot: usize) -> bool {
    match node.op_type() {
        "BatchNormalization" => (1..=4).contains(&slot),
        "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "RMSNormalization"
        | "SimplifiedLayerNormalization" => (1..=2).contains(&slot),
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => (2..=4).contains(&slot),
        "Mul" => other(node, slot).is_some_and(|value| is_normalized(network, value)),
        "Add" => other(node, slot).is_some_and(|value| {
            is_normalized(network, value)
                || producer(network, value).is_some_and(|scale| {
                    scale.op_type() == "Mul"
                        && scale
                            .input
                            .iter()
                            .any(|value| is_normalized(network, value))
                })
        }),
        _ => false,
    }
}

/// The other input of a node with two.
fn other(node: &NodeProto, slot: usize) -> Option<&str> {
    node.input.get(1 - slot.min(1)).map(String::as_str)
}

/// The node that computes a value, before casts.
fn producer<'n>(network: &Network<'n>, value: &str) -> Option<&'n NodeProto> {
    let mut node = &network.nodes()[network.producer(value)?];
    while node.op_type() == "Cast" {
        node = &network.nodes()[network.producer(node.input.first()?)?];
    }
    Some(node)
}

/// Whether a value is x / √…, or x · (1 / √…).
fn is_normalized(network: &Network<'_>, value: &str) -> bool {
    let is = |value: &str, operators: &[&str]| {
        producer(network, value).is_some_and(|node| operators.contains(&node.op_type()))
    };
    let Some(node) = producer(network, value) else {
        return false;
    };
    let mut inputs = node.input.iter();
    match node.op_type() {
        "Div" => node.input.get(1).is_some_and(|root| is(root, &["Sqrt"])),
        "Mul" => inputs.any(|input| {
            let inverse = producer(network, input);
            inverse.is_some_and(|inverse| {
                let root = match inverse.op_type() {
                    "Reciprocal" => inverse.input.first(),
                    "Div" => inverse.input.get(1),
                    _ => None,
                };
                root.is_some_and(|root| is(root, &["Sqrt"]))
            })
        }),
        "LpNormalization" | "MeanVarianceNormalization" => true,
        _ => false,
    }
}
