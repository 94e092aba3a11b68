//! A node of the forward graph, as rules see it.

use std::fmt;

use crate::checkpoint::onnx::proto::{AttributeProto, NodeProto};
use crate::error::Error;

/// A node, and the inputs whose gradient is wanted.
pub struct Node<'g> {
    /// The node.
    pub proto: &'g NodeProto,
    /// Version of the standard operators.
    pub opset: i64,
    /// `wanted[slot]`: whether the gradient of the input is wanted.
    pub wanted: Vec<bool>,
}

impl<'g> Node<'g> {
    /// Wraps a node whose attributes alone are read.
    pub fn alone(proto: &'g NodeProto) -> Self {
        Self {
            proto,
            opset: 0,
            wanted: Vec::new(),
        }
    }

    /// Name of an input; empty if it is omitted.
    pub fn input(&self, slot: usize) -> &'g str {
        self.proto.input.get(slot).map_or("", String::as_str)
    }

    /// Name of an optional input.
    pub fn optional(&self, slot: usize) -> Option<&'g str> {
        Some(self.input(slot)).filter(|name| !name.is_empty())
    }

    /// Name of an output; empty if it is omitted.
    pub fn output(&self, slot: usize) -> &'g str {
        self.proto.output.get(slot).map_or("", String::as_str)
    }

    /// Whether the gradient of an input is wanted.
    pub fn wants(&self, slot: usize) -> bool {
        self.wanted.get(slot).copied().unwrap_or(false)
    }

    fn attribute(&self, name: &str) -> Option<&'g AttributeProto> {
        let mut attributes = self.proto.attribute.iter();
        attributes.find(|attribute| attribute.name() == name)
    }

    /// Whether an attribute is given.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name)
            .and_then(|attribute| attribute.i)
            .unwrap_or(default)
    }

    /// An attribute with a list of integers; `None` if it is not given.
    pub fn ints(&self, name: &str) -> Option<&'g [i64]> {
        self.attribute(name).map(|attribute| &attribute.ints[..])
    }

    /// A float attribute.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name)
            .and_then(|attribute| attribute.f)
            .unwrap_or(default)
    }

    /// A string attribute.
    pub fn word(&self, name: &str, default: &str) -> String {
        self.attribute(name)
            .and_then(|attribute| attribute.s.as_ref())
            .map_or_else(
                || default.to_string(),
                |word| String::from_utf8_lossy(word).into_owned(),
            )
    }

    /// An axis attribute counted from the front.
    pub fn axis(&self, default: i64, rank: usize) -> usize {
        from_front(self.int("axis", default), rank)
    }

    /// Makes the error for a use of the operator that has no rule.
    pub fn unsupported(&self, why: &str) -> Error {
        let problem = format!("the gradient of this operator is not known {why}");
        no_derivative(self.proto, problem)
    }
}

/// Converts an axis that may be counted from the back to one counted from the front.
pub fn from_front(axis: i64, rank: usize) -> usize {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    axis.clamp(0, rank.saturating_sub(1) as i64) as usize
}

/// Advice for a network that cannot be differentiated.
const WITHOUT: &str =
    "planes without --arrows and soups that are not learned need no gradient and still work";

/// Makes the error for a node that cannot be differentiated.
pub fn no_derivative(node: &NodeProto, problem: impl fmt::Display) -> Error {
    Error::no_derivative(describe(node), problem).help(WITHOUT)
}

/// Describes a node by operator, name and domain.
fn describe(node: &NodeProto) -> String {
    let domain = match node.domain() {
        "" => "ai.onnx",
        domain => domain,
    };
    let name = match node.name() {
        "" => format!(
            "making `{}`",
            node.output.first().map_or("", String::as_str)
        ),
        name => format!("`{name}`"),
    };
    format!("{} node {name} (domain {domain})", node.op_type())
}
