//! Edits graphs: every change to nodes, initializers, inputs and outputs goes through a
//! [`GraphEditor`].
//!
//! A rewrite opens an editor on a model, calls its methods and takes the model back with
//! [`GraphEditor::finish`]; outside an editor, graphs are only read. So a single module knows which
//! names are taken, which operators are standard, and what has to be removed together with a node.

use std::collections::HashSet;

use super::names::{captures, defined, node_reads, outputs, reads};
use super::network::Place;
use crate::checkpoint::onnx::bodies::redirect_capture;
use crate::checkpoint::onnx::proto::{
    DimensionValue, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
    TensorType, TypeValue, ValueInfoProto,
};

/// Whether a node or an import of this domain belongs to the standard operators.
pub fn is_standard(domain: &str) -> bool {
    ["", "ai.onnx"].contains(&domain)
}

/// The version of the standard operators that a model imports, if any.
pub fn opset(model: &ModelProto) -> Option<i64> {
    let mut imports = model.opset_import.iter();
    let standard = imports.find(|import| is_standard(import.domain()));
    standard.map(|import| import.version())
}

/// A model whose graph is being edited.
pub struct GraphEditor {
    /// The model without its graph.
    model: ModelProto,
    graph: GraphProto,
}

impl GraphEditor {
    /// Opens a model. A model without a graph gets an empty one.
    pub fn open(mut model: ModelProto) -> Self {
        let graph = model.graph.take().unwrap_or_default();
        Self { model, graph }
    }

    /// Returns the model with the edited graph.
    pub fn finish(self) -> ModelProto {
        ModelProto {
            graph: Some(self.graph),
            ..self.model
        }
    }

    /// The graph in its current state.
    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    /// The version of the standard operators, if the model imports them.
    pub fn opset(&self) -> Option<i64> {
        opset(&self.model)
    }

    /// Imports this version of the standard operators, unless the model imports a newer one.
    pub fn raise_opset(&mut self, version: i64) {
        for import in &mut self.model.opset_import {
            if is_standard(import.domain()) {
                import.version = Some(import.version().max(version));
            }
        }
    }

    /// A supply of names `prefix1`, `prefix2`, … that are unused in the graph.
    pub fn fresh_names(&self, prefix: &str) -> FreshNames {
        let names = reads(&self.graph).into_iter().chain(defined(&self.graph));
        let taken = names.filter(|name| name.starts_with(prefix));
        FreshNames {
            taken: taken.map(str::to_string).collect(),
            prefix: prefix.to_string(),
            count: 0,
        }
    }

    /// Adds nodes after all others.
    pub fn append_nodes(&mut self, nodes: impl IntoIterator<Item = NodeProto>) {
        self.graph.node.extend(nodes);
    }

    /// Adds nodes before all others; they may read only inputs and initializers.
    pub fn prepend_nodes(&mut self, nodes: impl IntoIterator<Item = NodeProto>) {
        self.graph.node.splice(0..0, nodes);
    }

    /// Replaces a node.
    pub fn replace_node(&mut self, index: usize, node: NodeProto) {
        self.graph.node[index] = node;
    }

    /// Removes and returns all nodes, so that they can be rewritten.
    pub fn take_nodes(&mut self) -> Vec<NodeProto> {
        std::mem::take(&mut self.graph.node)
    }

    /// Keeps the nodes for which `keep(index, node)` is true.
    pub fn retain_nodes(&mut self, mut keep: impl FnMut(usize, &NodeProto) -> bool) {
        let mut indices = 0..;
        self.graph
            .node
            .retain(|node| indices.next().is_some_and(|index| keep(index, node)));
    }

    /// Makes a slot of a node read another value. If the graphs inside a node read that value
    /// already, the slots after this one may move: several slots are redirected last one first.
    pub fn redirect(&mut self, place: Place, value: &str) {
        let node = &mut self.graph.node[place.node];
        let inputs = node.input.len();
        if let Some(input) = node.input.get_mut(place.slot) {
            *input = value.to_string();
            return;
        }
        let captured = captures(node).get_index(place.slot - inputs).copied();
        if let Some(captured) = captured.map(str::to_string) {
            redirect_capture(node, &captured, value);
        }
    }

    /// Adds initializers.
    pub fn add_initializers(&mut self, tensors: impl IntoIterator<Item = TensorProto>) {
        self.graph.initializer.extend(tensors);
    }

    /// Removes and returns an initializer.
    pub fn take_initializer(&mut self, name: &str) -> Option<TensorProto> {
        let mut names = self.graph.initializer.iter().map(|tensor| tensor.name());
        let index = names.position(|other| other == name)?;
        Some(self.graph.initializer.remove(index))
    }

    /// Removes and returns all initializers.
    pub fn take_initializers(&mut self) -> Vec<TensorProto> {
        std::mem::take(&mut self.graph.initializer)
    }

    /// Adds inputs after the existing ones.
    pub fn add_inputs(&mut self, inputs: impl IntoIterator<Item = ValueInfoProto>) {
        self.graph.input.extend(inputs);
    }

    /// Removes and returns all inputs.
    pub fn take_inputs(&mut self) -> Vec<ValueInfoProto> {
        std::mem::take(&mut self.graph.input)
    }

    /// Keeps the inputs for which `keep(name)` is true.
    pub fn retain_inputs(&mut self, keep: impl Fn(&str) -> bool) {
        self.graph.input.retain(|input| keep(input.name()));
    }

    /// Adds outputs after the existing ones.
    pub fn add_outputs(&mut self, outputs: impl IntoIterator<Item = ValueInfoProto>) {
        self.graph.output.extend(outputs);
    }

    /// Replaces the outputs by these values.
    pub fn set_outputs(&mut self, outputs: impl IntoIterator<Item = ValueInfoProto>) {
        self.graph.output = outputs.into_iter().collect();
    }

    /// Keeps the recorded types and shapes (`value_info`) of values for which `keep(name)` is true.
    pub fn retain_notes(&mut self, keep: impl Fn(&str) -> bool) {
        self.graph.value_info.retain(|info| keep(info.name()));
    }

    /// Forgets recorded sizes, which no longer hold if an initializer has another shape: those of
    /// values, and fixed sizes of outputs. The number of axes and names of sizes are kept in outputs.
    pub fn forget_shapes(&mut self) {
        let tensor = |info: &mut ValueInfoProto, forget: fn(&mut TensorType)| {
            let value = info.r#type.as_mut().and_then(|it| it.value.as_mut());
            if let Some(TypeValue::Tensor(tensor)) = value {
                forget(tensor);
            }
        };
        for info in &mut self.graph.value_info {
            tensor(info, |it| it.shape = None);
        }
        for output in &mut self.graph.output {
            tensor(output, |it| {
                for dim in it.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
                    if matches!(dim.value, Some(DimensionValue::DimValue(_))) {
                        dim.value = None;
                    }
                }
            });
        }
    }

    /// Adds recorded types and shapes (`value_info`).
    pub fn add_notes(&mut self, notes: impl IntoIterator<Item = ValueInfoProto>) {
        self.graph.value_info.extend(notes);
    }

    /// Adds entries to the model's metadata and removes the old ones for which `is_stale(key)` is
    /// true.
    pub fn replace_metadata(
        &mut self,
        is_stale: impl Fn(&str) -> bool,
        entries: impl IntoIterator<Item = StringStringEntryProto>,
    ) {
        let metadata = &mut self.model.metadata_props;
        metadata.retain(|entry| !is_stale(entry.key()));
        metadata.extend(entries);
    }

    /// Removes everything that no output needs: nodes, initializers, inputs, and recorded types of
    /// nodes' outputs. Values in `given` count as inputs, even if a node computes them.
    pub fn prune(&mut self, given: &HashSet<&str>) {
        let graph = &self.graph;
        let outputs_of_graph = graph.output.iter().map(|output| output.name());
        let mut needed: HashSet<&str> = outputs_of_graph.collect();
        let mut keep = vec![false; graph.node.len()];
        for (index, node) in graph.node.iter().enumerate().rev() {
            let mut made = outputs(node).filter(|output| !given.contains(output));
            if made.any(|output| needed.contains(output)) {
                keep[index] = true;
                needed.extend(node_reads(node));
            }
        }
        self.retain_nodes(|index, _| keep[index]);
        // A node that is kept for one output may also compute a given value; that output is
        // renamed.
        for node in &mut self.graph.node {
            for output in &mut node.output {
                if given.contains(output.as_str()) {
                    output.push_str(".recomputed");
                }
            }
        }
        self.drop_unread();
    }

    /// Removes initializers and inputs that nothing reads, and recorded types of missing values.
    fn drop_unread(&mut self) {
        let needed: HashSet<String> = reads(&self.graph).into_iter().map(String::from).collect();
        let graph = &mut self.graph;
        graph
            .initializer
            .retain(|tensor| needed.contains(tensor.name()));
        graph.input.retain(|input| needed.contains(input.name()));
        let made: HashSet<&str> = graph.node.iter().flat_map(outputs).collect();
        graph.value_info.retain(|info| made.contains(info.name()));
    }
}

/// Makes an output or input with a name and nothing else.
pub fn named(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_string()),
        ..ValueInfoProto::default()
    }
}

/// A supply of unused names with a common prefix.
#[derive(Debug, Default)]
pub struct FreshNames {
    taken: HashSet<String>,
    prefix: String,
    count: usize,
}

impl FreshNames {
    /// Returns the next name.
    pub fn next_name(&mut self) -> String {
        loop {
            self.count += 1;
            let name = format!("{}{}", self.prefix, self.count);
            if !self.taken.contains(&name) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::OperatorSetIdProto;
    use crate::graph::build::node;

    fn tensor(name: &str) -> TensorProto {
        TensorProto {
            name: Some(name.to_string()),
            ..TensorProto::default()
        }
    }

    /// y = (x + w)·v, and z = v², which nothing reads.
    fn editor() -> GraphEditor {
        let mut editor = GraphEditor::open(ModelProto::default());
        editor.append_nodes([
            node("Add", &["x", "w"], "sum", &[]),
            node("Mul", &["sum", "v"], "y", &[]),
            node("Mul", &["v", "v"], "z", &[]),
        ]);
        editor.add_initializers(["w", "v", "idle"].map(tensor));
        editor.add_inputs(["x", "unused"].map(named));
        editor.set_outputs([named("y")]);
        editor
    }

    fn names(nodes: &[NodeProto]) -> Vec<&str> {
        nodes.iter().flat_map(outputs).collect()
    }

    #[test]
    fn what_no_output_needs_is_pruned() {
        let mut editor = editor();
        editor.prune(&HashSet::new());
        let graph = editor.finish().graph.unwrap();
        assert_eq!(names(&graph.node), ["sum", "y"]);
        let initializers: Vec<&str> = graph.initializer.iter().map(|it| it.name()).collect();
        assert_eq!(initializers, ["w", "v"]);
        assert_eq!(graph.input.len(), 1);
    }

    #[test]
    fn what_makes_a_given_value_is_pruned() {
        let mut editor = editor();
        editor.prune(&HashSet::from(["sum"]));
        let graph = editor.finish().graph.unwrap();
        assert_eq!(names(&graph.node), ["y"]);
        assert!(graph.input.is_empty());
    }

    #[test]
    fn fresh_names_pass_over_those_that_the_graph_has() {
        let mut editor = editor();
        editor.append_nodes([node("Neg", &["g2"], "g1", &[])]);
        let mut fresh = editor.fresh_names("g");
        assert_eq!(fresh.next_name(), "g3");
        assert_eq!(fresh.next_name(), "g4");
    }

    #[test]
    fn an_initializer_is_taken_out_once() {
        let mut editor = editor();
        assert_eq!(editor.take_initializer("w"), Some(tensor("w")));
        assert_eq!(editor.take_initializer("w"), None);
    }

    #[test]
    fn only_the_standard_operators_are_raised_and_never_lowered() {
        let import = |domain: &str, version| OperatorSetIdProto {
            domain: Some(domain.to_string()),
            version: Some(version),
        };
        let mut editor = GraphEditor::open(ModelProto {
            opset_import: vec![import("com.example", 1), import("ai.onnx", 13)],
            ..ModelProto::default()
        });
        editor.raise_opset(16);
        editor.raise_opset(14);
        assert_eq!(editor.opset(), Some(16));
        assert_eq!(editor.finish().opset_import[0].version, Some(1));
    }
}
