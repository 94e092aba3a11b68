//! Indexes a network by its parameters: which initializer is used where.
//!
//! A parameter is identified by its use in the graph (node and input slot), not by the name of its
//! initializer: exporters merge equal initializers and rename those they fold.

use std::collections::{BTreeMap, HashMap};

use super::names::slots;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::onnx::proto::{GraphProto, NodeProto, entries};
use crate::checkpoint::tensor::Tensor;

/// Metadata key of an initializer's kind in the module.
pub const KIND: &str = "pkg.torch.export.graph_signature.InputSpec.kind";

/// A place where the graph reads an initializer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Index of the node.
    pub node: usize,
    /// Input slot. After the inputs come the values that the graphs inside the node (the branches of
    /// an `If`, the body of a `Loop`) read from the enclosing graph, in the order of first use.
    pub slot: usize,
}

/// A use of a floating-point initializer.
#[derive(Debug, Clone)]
pub struct Use {
    /// Place where it is read.
    pub place: Place,
    /// Name of the initializer.
    pub initializer: String,
    /// The name by which the node reads it: the initializer's, or that of an Identity after it.
    pub alias: String,
}

/// A model with the indices that matching needs.
pub struct Network<'m> {
    /// The model.
    pub model: &'m Model,
    /// The node that computes each value.
    producer: HashMap<&'m str, usize>,
    /// The initializer behind each value, following Identity nodes.
    origin: HashMap<&'m str, &'m str>,
    /// Metadata of initializers, from their `value_info` entries.
    metadata: HashMap<&'m str, HashMap<&'m str, &'m str>>,
    /// Every use of a floating-point initializer, in node order.
    pub uses: Vec<Use>,
}

impl<'m> Network<'m> {
    /// Indexes a model.
    pub fn of(model: &'m Model) -> Self {
        let graph = model.graph();
        let origin = resolve_identities(model);
        let metadata = graph
            .value_info
            .iter()
            .filter(|info| !info.metadata_props.is_empty())
            .map(|info| (info.name(), entries(&info.metadata_props)))
            .collect();
        let mut network = Self {
            model,
            producer: producers(graph),
            origin,
            metadata,
            uses: Vec::new(),
        };
        network.uses = network.find_uses();
        network
    }

    /// The nodes.
    pub fn nodes(&self) -> &'m [NodeProto] {
        &self.model.graph().node
    }

    /// The initializer behind a value, following Identity nodes.
    pub fn initializer_behind(&self, value: &str) -> Option<&'m str> {
        self.origin.get(value).copied()
    }

    /// The node that computes a value.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producer.get(value).copied()
    }

    /// An initializer's tensor.
    pub fn tensor(&self, initializer: &str) -> Option<&'m Tensor> {
        self.model.tensors.get(initializer)
    }

    /// Names of the graph's inputs that are not initializers, in order.
    pub fn inputs(&self) -> Vec<&'m str> {
        let graph = self.model.graph();
        graph
            .input
            .iter()
            .map(|input| input.name())
            .filter(|name| !self.model.tensors.contains_key(*name))
            .collect()
    }

    /// The values from which constant folding made an initializer, if the exporter recorded them.
    pub fn folded_from(&self, initializer: &str) -> Option<Vec<String>> {
        let metadata = self.metadata.get(initializer)?;
        let text = metadata.get("pkg.onnxscript.optimizer.folded_from")?;
        Some(quoted(text))
    }

    /// The kind of an initializer in the module (`PARAMETER`, `BUFFER`), recorded by the exporter
    /// if it did not change the values.
    pub fn input_kind(&self, initializer: &str) -> Option<&str> {
        let metadata = self.metadata.get(initializer)?;
        let kind = metadata.get(KIND);
        kind.copied()
    }

    /// Whether the exporter marked an initializer as a buffer.
    pub fn is_marked_buffer(&self, initializer: &str) -> bool {
        self.input_kind(initializer) == Some("BUFFER")
    }

    /// Path of the module that a node was exported from (`b.0.qkv`): from the metadata of the
    /// current exporter, or from the node name of the TorchScript exporter.
    pub fn module_path(&self, node: usize) -> Option<String> {
        let node = &self.nodes()[node];
        let metadata = entries(&node.metadata_props);
        if let Some(scopes) = metadata.get("pkg.torch.onnx.name_scopes") {
            let scopes = quoted(scopes);
            // The last entry is the operation inside the module.
            return scopes.len().checked_sub(2).map(|last| scopes[last].clone());
        }
        path_of_node_name(node.name())
    }

    /// The bias of an exported Linear: the other operand of the Add after a node, if it is an
    /// initializer.
    pub fn bias_added_to(&self, node: usize) -> Option<&str> {
        let output = self.nodes()[node].output.first()?;
        let mut users = self
            .nodes()
            .iter()
            .filter(|user| user.input.contains(output));
        let user = users.next()?;
        if users.next().is_some() || user.op_type() != "Add" {
            return None;
        }
        let other = user.input.iter().find(|input| *input != output)?;
        self.initializer_behind(other).map(|_| other.as_str())
    }

    fn find_uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (index, node) in self.nodes().iter().enumerate() {
            if self.is_alias(node) {
                continue;
            }
            for (slot, value) in slots(node).into_iter().enumerate() {
                if !is_constant_slot(node.op_type(), slot) {
                    self.push_use(&mut uses, index, slot, value);
                }
            }
        }
        uses
    }

    fn push_use(&self, uses: &mut Vec<Use>, node: usize, slot: usize, value: &str) {
        let Some(initializer) = self.initializer_behind(value) else {
            return;
        };
        let float = |tensor: &Tensor| tensor.dtype.is_float() && !tensor.is_empty();
        if self.tensor(initializer).is_some_and(float) {
            uses.push(Use {
                place: Place { node, slot },
                initializer: initializer.to_string(),
                alias: value.to_string(),
            });
        }
    }

    /// Whether a node only renames an initializer.
    pub fn is_alias(&self, node: &NodeProto) -> bool {
        node.op_type() == "Identity"
            && node
                .input
                .first()
                .is_some_and(|input| self.origin.contains_key(input.as_str()))
    }
}

fn producers(graph: &GraphProto) -> HashMap<&str, usize> {
    let mut producer = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            producer.insert(output.as_str(), index);
        }
    }
    producer
}

/// Maps every value that is an initializer, directly or through Identity nodes, to it.
fn resolve_identities(model: &Model) -> HashMap<&str, &str> {
    let mut origin: HashMap<&str, &str> = model
        .tensors
        .keys()
        .map(|name| (name.as_str(), name.as_str()))
        .collect();
    // Nodes are in topological order, so one pass follows whole chains.
    for node in &model.graph().node {
        if node.op_type() != "Identity" {
            continue;
        }
        if let (Some(input), Some(output)) = (node.input.first(), node.output.first())
            && let Some(initializer) = origin.get(input.as_str()).copied()
        {
            origin.insert(output, initializer);
        }
    }
    origin
}

/// Whether a slot never holds a trained tensor, by the operator's definition.
fn is_constant_slot(op_type: &str, slot: usize) -> bool {
    match op_type {
        "Resize" | "Upsample" | "Clip" | "Dropout" | "Shape" | "ConstantOfShape" => {
            slot > 0 || op_type == "Shape"
        }
        "Pad" | "OneHot" => slot == 2,
        "Pow" => slot == 1,
        "Range" => true,
        _ => false,
    }
}

/// Parses a Python list of strings, as exporters write it into metadata.
pub(super) fn quoted(list: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut rest = list;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = &rest[start..=start];
        let Some(end) = rest[start + 1..].find(quote) else {
            break;
        };
        strings.push(rest[start + 1..start + 1 + end].to_string());
        rest = &rest[start + end + 2..];
    }
    strings
}

/// `/b.0/qkv/MatMul` → `b.0.qkv`; `/head/head.1/Gemm` → `head.1` (a child of a Sequential
/// repeats its parent's name).
fn path_of_node_name(name: &str) -> Option<String> {
    let mut segments: Vec<&str> = name.strip_prefix('/')?.split('/').collect();
    segments.pop();
    let mut path: Vec<&str> = Vec::new();
    for segment in segments {
        let repeats = |parent: &&str| {
            segment
                .strip_prefix(*parent)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        if path.last().is_some_and(repeats) {
            path.pop();
        }
        path.push(segment);
    }
    Some(path.join("."))
}

/// Indices into `uses` by initializer.
pub fn by_initializer(uses: &[Use]) -> BTreeMap<&str, Vec<usize>> {
    let mut map: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, r#use) in uses.iter().enumerate() {
        map.entry(&r#use.initializer).or_default().push(index);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_paths_of_torchscript_node_names() {
        let path = |name| path_of_node_name(name);
        assert_eq!(path("/b.0/qkv/MatMul").as_deref(), Some("b.0.qkv"));
        assert_eq!(path("/head/head.1/Gemm_1").as_deref(), Some("head.1"));
        assert_eq!(
            path("/encoder/layers/layers.3/fc/MatMul").as_deref(),
            Some("encoder.layers.3.fc")
        );
        assert_eq!(path("/MatMul").as_deref(), Some(""));
        assert_eq!(path("node_MatMul_12"), None);
    }

    #[test]
    fn python_lists_in_metadata() {
        assert_eq!(quoted("['', 'b.0', 'linear']"), ["", "b.0", "linear"]);
        assert_eq!(quoted("[\"it's\", 'x']"), ["it's", "x"]);
        assert!(quoted("[]").is_empty());
        assert_eq!(quoted("['broken"), Vec::<String>::new());
    }
}
