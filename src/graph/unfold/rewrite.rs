//! Puts a plan of unfolding into a model.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::emit::{Emitter, Precision};
use super::expression::Expression;
use crate::checkpoint::onnx::proto::{
    DataType, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use crate::checkpoint::onnx::{Model, data_type};
use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::graph::build::{described, float, node};
use crate::graph::editor::{self, GraphEditor};
use crate::graph::names::{captured, reads};
use crate::graph::network::{KIND, Network, Place};
use crate::graph::record;

/// The oldest opset in which all written operators take the written inputs.
pub const LEAST_OPSET: i64 = 11;

/// An explained tensor of the graph.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The places that read it.
    pub places: Vec<Place>,
    /// How it is computed.
    pub expression: Expression,
}

/// A batch norm that was folded into a node.
#[derive(Debug, Clone)]
pub struct UnfoldedNorm {
    /// The convolution or Gemm.
    pub node: usize,
    /// Its weight.
    pub weight: Expression,
    /// Its bias, if it had one.
    pub bias: Option<String>,
    /// Module path of the batch norm.
    pub module: String,
    /// Number of channels.
    pub channels: usize,
    /// γ and β, if it is affine.
    pub affine: Option<[String; 2]>,
    /// Running mean and variance.
    pub statistics: [String; 2],
    /// ε.
    pub epsilon: f64,
}

impl UnfoldedNorm {
    /// Names of all tensors of the state dict that it uses.
    pub fn names(&self) -> BTreeSet<&str> {
        let own = self.bias.iter().chain(self.affine.iter().flatten());
        let own = own.chain(&self.statistics).map(String::as_str);
        own.chain(self.weight.names()).collect()
    }
}

/// What is to be changed in a graph.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Tensors to be computed.
    pub replacements: Vec<Replacement>,
    /// Batch norms to be put back behind their nodes.
    pub norms: Vec<UnfoldedNorm>,
    /// Biases that were left out because they were zero: node, input slot, name.
    pub biases: Vec<(usize, usize, String)>,
}

impl Plan {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.replacements.is_empty() && self.norms.is_empty() && self.biases.is_empty()
    }
}

/// A tensor of the state dict that becomes an initializer.
pub struct RawTensor<'a> {
    /// Its name in the graph.
    pub name: &'a str,
    /// Its elements, in the graph's type.
    pub tensor: Tensor,
    /// Whether it is a buffer of its module.
    pub is_buffer: bool,
}

/// Rewrites a model. `raws` are the state dict's tensors that the plan uses. `None` if the graph's
/// operators are too old, or a name is taken.
pub fn apply(model: &Model, plan: &Plan, raws: &[RawTensor<'_>]) -> Option<Model> {
    let network = Network::of(model);
    let opset = editor::opset(&model.proto)?;
    if opset < LEAST_OPSET {
        return None;
    }
    let mut editor = GraphEditor::open(model.proto.clone());
    make_room(&network, raws, &mut editor)?;
    let mut emitter = Emitter::new(editor.fresh_names("unfolded_"), opset);
    let mut values: Vec<(Place, String)> = Vec::new();
    for replacement in &plan.replacements {
        let precision = precision(raws, &replacement.expression);
        let value = emitter.emit(&replacement.expression, precision);
        let places = replacement.places.iter();
        values.extend(places.map(|place| (*place, value.clone())));
    }
    // Slots of captured values may move: the last one first.
    values.sort_by_key(|(place, _)| Reverse(*place));
    for (place, value) in values {
        editor.redirect(place, &value);
    }
    let mut inserted = BTreeMap::new();
    for norm in &plan.norms {
        let after = put_back(norm, raws, &mut editor, &mut emitter);
        inserted.insert(norm.node, after);
    }
    for (index, slot, name) in &plan.biases {
        let mut changed = editor.graph().node[*index].clone();
        changed.input.resize(slot + 1, String::new());
        changed.input[*slot] = name.clone();
        record::forget_rules(&mut changed);
        editor.replace_node(*index, changed);
    }
    insert(&mut editor, inserted);
    let Emitter {
        nodes, constants, ..
    } = emitter;
    editor.prepend_nodes(nodes);
    finish(model, editor, raws, constants)
}

fn precision(raws: &[RawTensor<'_>], expression: &Expression) -> Precision {
    let names = expression.names();
    let mut own = raws.iter().filter(|raw| names.contains(&raw.name));
    match own.any(|raw| raw.tensor.dtype == Dtype::F64) {
        true => Precision::Double,
        false => Precision::Single,
    }
}

/// Frees the names of the state dict's tensors: what has such a name and other values is renamed,
/// and an Identity of that name goes, since its tensor gets a place of its own.
fn make_room(
    network: &Network<'_>,
    raws: &[RawTensor<'_>],
    editor: &mut GraphEditor,
) -> Option<()> {
    let bodies = network.nodes().iter().flat_map(captured);
    let in_bodies: HashSet<&str> = bodies.collect();
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    // Identity nodes whose readers may as well read the tensor of the same name.
    let mut doubled: BTreeMap<String, String> = BTreeMap::new();
    for raw in raws {
        let is_kept = |it: &Tensor| it.dtype == raw.tensor.dtype && it.bytes == raw.tensor.bytes;
        let own = network.tensor(raw.name);
        let graph = editor.graph();
        let mut ends = graph.input.iter().chain(&graph.output);
        // The data and the results keep their names.
        if own.is_none() && ends.any(|it| it.name() == raw.name) {
            return None;
        }
        let made = network.producer(raw.name);
        let shares = own.is_some_and(|it| it.shape == raw.tensor.shape && is_kept(it));
        let is_used = own.is_some() || made.is_some();
        if !is_used || shares {
            continue;
        }
        if in_bodies.contains(raw.name) {
            return None;
        }
        let alias = network
            .initializer_behind(raw.name)
            .filter(|_| made.is_some());
        let behind = alias.and_then(|alias| network.tensor(alias));
        let new = format!("{}.folded", raw.name);
        match behind.is_some_and(|it| it.shape == raw.tensor.shape && is_kept(it)) {
            true => doubled.insert(raw.name.to_string(), new),
            false => renamed.insert(raw.name.to_string(), new),
        };
    }
    for index in 0..network.nodes().len() {
        let mut changed = editor.graph().node[index].clone();
        for name in &mut changed.output {
            if let Some(new) = renamed.get(name).or_else(|| doubled.get(name)) {
                name.clone_from(new);
            }
        }
        for name in &mut changed.input {
            if let Some(new) = renamed.get(name) {
                name.clone_from(new);
            }
        }
        editor.replace_node(index, changed);
    }
    for (old, new) in &renamed {
        if let Some(mut tensor) = editor.take_initializer(old) {
            tensor.name = Some(new.clone());
            editor.add_initializers([tensor]);
        }
    }
    Some(())
}

/// Gives a node its own weight and bias, and returns the batch norm behind it.
fn put_back(
    norm: &UnfoldedNorm,
    raws: &[RawTensor<'_>],
    editor: &mut GraphEditor,
    emitter: &mut Emitter,
) -> NodeProto {
    let precision = precision(raws, &norm.weight);
    let mut before = editor.graph().node[norm.node].clone();
    let output = before.output[0].clone();
    let between = format!("{output}.before_{}", norm.module);
    let weight = emitter.emit(&norm.weight, precision);
    before.input.truncate(1);
    before.input.push(weight);
    before.input.extend(norm.bias.clone());
    before.output[0].clone_from(&between);
    record::forget_rules(&mut before);
    // The exporter names a node that it fused after the batch norm.
    let name = norm.weight.names().first().map(|name| (*name).to_string());
    let module = name.and_then(|name| name.rsplit_once('.').map(|(module, _)| module.to_string()));
    record::set_module(&mut before, module.as_deref().unwrap_or_default());
    editor.replace_node(norm.node, before);
    let [scale, shift] = match &norm.affine {
        Some(names) => names.clone(),
        None => [1.0, 0.0]
            .map(|value| emitter.emit(&Expression::Filled(vec![norm.channels], value), precision)),
    };
    let [mean, variance] = &norm.statistics;
    let inputs = [between.as_str(), &scale, &shift, mean, variance];
    let mut after = node("BatchNormalization", &inputs, &output, &[]);
    after.attribute.push(float("epsilon", norm.epsilon as f32));
    record::set_module(&mut after, &norm.module);
    after
}

/// Inserts nodes behind others.
fn insert(editor: &mut GraphEditor, mut after: BTreeMap<usize, NodeProto>) {
    let nodes = editor.take_nodes().into_iter().enumerate();
    let nodes = nodes.flat_map(|(index, node)| std::iter::once(node).chain(after.remove(&index)));
    let nodes: Vec<NodeProto> = nodes.collect();
    editor.append_nodes(nodes);
}

/// Puts the initializers in and what nothing reads out.
fn finish(
    model: &Model,
    mut editor: GraphEditor,
    raws: &[RawTensor<'_>],
    constants: Vec<TensorProto>,
) -> Option<Model> {
    let new: HashSet<&str> = raws.iter().map(|raw| raw.name).collect();
    let (mut tensors, mut kept) = (BTreeMap::new(), Vec::new());
    let read: HashSet<String> = reads(editor.graph())
        .into_iter()
        .map(String::from)
        .collect();
    for proto in editor.take_initializers() {
        let name = proto.name().to_string();
        let old = name.strip_suffix(".folded").unwrap_or(&name);
        let tensor = model.tensors.get(&name).or_else(|| model.tensors.get(old));
        if new.contains(name.as_str()) || !read.contains(&name) {
            continue;
        }
        tensors.insert(name, tensor?.clone());
        kept.push(proto);
    }
    for proto in &constants {
        let dims = proto.dims.iter().map(|&dim| dim as usize);
        let tensor = Tensor {
            dtype: crate::checkpoint::onnx::dtype(proto.data_type()),
            shape: dims.collect(),
            bytes: proto.raw_data.clone().unwrap_or_default(),
        };
        tensors.insert(proto.name().to_string(), tensor);
    }
    editor.add_initializers(kept.into_iter().chain(constants));
    for raw in raws {
        tensors.insert(raw.name.to_string(), raw.tensor.clone());
    }
    editor.add_initializers(raws.iter().map(initializer));
    let gone = |name: &str| model.tensors.contains_key(name) && !tensors.contains_key(name);
    editor.retain_notes(|name| !gone(name) && !new.contains(name));
    editor.retain_inputs(|name| !gone(name));
    editor.add_notes(raws.iter().map(note));
    let network = Network::of(model);
    let folded = model.tensors.keys().filter(|name| gone(name));
    let folded = folded.flat_map(|name| network.folded_from(name).unwrap_or_default());
    let metadata = model.proto.metadata_props.iter();
    let before = metadata.filter(|entry| entry.key() == record::UNFOLDED);
    let before = before.flat_map(|entry| entry.value().lines().map(String::from));
    let folded: BTreeSet<String> = folded.chain(before).collect();
    let mark = StringStringEntryProto {
        key: Some(record::UNFOLDED.to_string()),
        value: Some(folded.into_iter().collect::<Vec<_>>().join("\n")),
    };
    editor.replace_metadata(|key| key == record::UNFOLDED, [mark]);
    let mut unfolded = model.clone();
    unfolded.proto = editor.finish();
    unfolded.tensors = tensors;
    Some(unfolded)
}

fn initializer(raw: &RawTensor<'_>) -> TensorProto {
    TensorProto {
        name: Some(raw.name.to_string()),
        dims: raw.tensor.shape.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(data_type(raw.tensor.dtype)),
        raw_data: Some(raw.tensor.bytes.clone()),
        ..TensorProto::default()
    }
}

/// Marks an initializer as an unchanged parameter or buffer, as the current exporter does.
fn note(raw: &RawTensor<'_>) -> ValueInfoProto {
    let kind = if raw.is_buffer { "BUFFER" } else { "PARAMETER" };
    let dtype = DataType::try_from(data_type(raw.tensor.dtype)).unwrap_or_default();
    let mut note = described(raw.name, dtype, &raw.tensor.shape);
    note.metadata_props.push(StringStringEntryProto {
        key: Some(KIND.to_string()),
        value: Some(kind.to_string()),
    });
    note
}
