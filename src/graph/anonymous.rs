//! Nodes without the names that exporters choose, so that nodes of two graphs can be compared.

use std::collections::HashMap;

use super::names::captures;
use crate::checkpoint::onnx::bodies::bodies_mut;
use crate::checkpoint::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The node without documentation and names of tensors in its attributes. Values inside its graphs
/// are numbered, first those that they read from the enclosing graph, in the order of first use.
pub(super) fn node(node: &NodeProto) -> NodeProto {
    let mut names = Names::default();
    for name in captures(node) {
        names.define(name);
    }
    let mut node = node.clone();
    node.attribute.iter_mut().for_each(plain);
    for body in bodies_mut(&mut node) {
        number(body, &mut names.clone());
    }
    node
}

/// The numbers of values, by name.
#[derive(Debug, Clone, Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn define(&mut self, name: &str) -> String {
        let number = format!("{}", self.0.len());
        if !name.is_empty() {
            self.0.insert(name.to_string(), number.clone());
        }
        self.number(name)
    }

    fn number(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

fn number(graph: &mut GraphProto, names: &mut Names) {
    graph.name = None;
    graph.doc_string = None;
    graph.value_info.clear();
    graph.metadata_props.clear();
    for tensor in &mut graph.initializer {
        let name = names.define(tensor.name());
        forget(tensor);
        tensor.name = Some(name);
    }
    for input in &mut graph.input {
        input.name = Some(names.define(input.name()));
        input.r#type = None;
        input.doc_string = None;
        input.metadata_props.clear();
    }
    for node in &mut graph.node {
        for input in &mut node.input {
            *input = names.number(input);
        }
        node.attribute.iter_mut().for_each(plain);
        for body in bodies_mut(node) {
            number(body, &mut names.clone());
        }
        for output in &mut node.output {
            *output = names.define(output);
        }
        node.name = None;
        node.doc_string = None;
        node.metadata_props.clear();
    }
    for output in &mut graph.output {
        output.name = Some(names.number(output.name()));
        output.r#type = None;
        output.doc_string = None;
        output.metadata_props.clear();
    }
}

/// Removes what does not change the value of an attribute: constants are compared by value alone.
fn plain(attribute: &mut AttributeProto) {
    attribute.doc_string = None;
    attribute.t.iter_mut().for_each(forget);
    attribute.tensors.iter_mut().for_each(forget);
}

fn forget(tensor: &mut TensorProto) {
    tensor.name = None;
    tensor.doc_string = None;
    tensor.metadata_props.clear();
}
