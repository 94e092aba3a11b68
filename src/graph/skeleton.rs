//! The skeleton: the network without its moving weights.
//!
//! Each moving tensor becomes an initializer marked as external, which is supplied from memory when
//! a session is built (`AddExternalInitializers`). That happens before ONNX Runtime folds constants
//! and chooses layouts, so the runtime optimizes every mix as if it were read from a file.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::apart;
use super::editor::GraphEditor;
use super::names::{reads, slots as values_of};
use super::network::{Network, Place};
use crate::checkpoint::onnx::proto::{
    DataLocation, GraphProto, ModelProto, NodeProto, TensorProto,
};
use crate::checkpoint::onnx::{Model, data_type};
use crate::checkpoint::tensor::{Dtype, Tensor};

/// A tensor of the mix in the form that the graph takes, and the places where it is read.
#[derive(Debug)]
pub struct WeightSlot {
    /// Name of the initializer in the written graph. It is new, or nothing but `places` reads it.
    pub name: String,
    /// Element type in the graph.
    pub dtype: Dtype,
    /// Shape in the graph.
    pub shape: Vec<usize>,
    /// Where the graph reads it.
    pub places: Vec<Place>,
    /// Elements, little-endian; `None` leaves them out.
    pub elements: Option<Bytes>,
}

/// Writes the network with `slots` as initializers of their places; all other initializers are
/// embedded unchanged.
pub fn model(network: &Network<'_>, slots: &[WeightSlot]) -> ModelProto {
    let mut editor = GraphEditor::open(without_weights(network.model));
    redirect_inputs(network, slots, &mut editor);
    let needed = reads_besides(editor.graph(), slots);
    let is_idle = |node: &NodeProto| !node.output.iter().any(|output| needed.contains(output));
    editor
        .retain_nodes(|index, node| !(network.is_alias(&network.nodes()[index]) && is_idle(node)));
    let needed = reads_besides(editor.graph(), slots);
    let initializers = network.model.graph().initializer.iter();
    let kept = initializers.filter(|initializer| needed.contains(initializer.name()));
    let kept = kept.filter_map(|proto| Some(embedded(proto, network.tensor(proto.name())?)));
    editor.add_initializers(kept.chain(slots.iter().map(initializer)));
    let initializers = editor.graph().initializer.iter();
    let names: HashSet<String> = initializers.map(|it| it.name().to_string()).collect();
    let is_gone = |name: &str| network.tensor(name).is_some() && !names.contains(name);
    editor.retain_inputs(|name| network.tensor(name).is_none());
    editor.retain_notes(|name| !is_gone(name));
    editor.finish()
}

/// Makes the places of each slot read it.
fn redirect_inputs(network: &Network<'_>, slots: &[WeightSlot], editor: &mut GraphEditor) {
    let mut stands_for: HashMap<&str, &str> = HashMap::new();
    let places = slots.iter().flat_map(|slot| {
        let places = slot.places.iter();
        places.map(|place| (*place, slot.name.as_str()))
    });
    let mut places: Vec<(Place, &str)> = places.collect();
    for (place, name) in &places {
        let input = value_at(&network.nodes()[place.node], place.slot);
        if let Some(initializer) = input.and_then(|input| network.initializer_behind(input)) {
            stands_for.entry(initializer).or_insert(name);
        }
    }
    places.sort_by_key(|(place, _)| Reverse(*place));
    for (place, name) in places {
        editor.redirect(place, name);
    }
    // A node that reads only a tensor's shape would keep θ0's elements in the graph.
    for node in 0..network.nodes().len() {
        let reader = &editor.graph().node[node];
        let asks = ["Shape", "Size"].contains(&reader.op_type());
        let input = reader.input.first().filter(|_| asks);
        let initializer = input.and_then(|input| network.initializer_behind(input));
        if let Some(name) = initializer.and_then(|name| stands_for.get(name)) {
            editor.redirect(Place { node, slot: 0 }, name);
        }
    }
}

/// The value that a node reads at a slot.
fn value_at(node: &NodeProto, slot: usize) -> Option<&str> {
    match node.input.get(slot) {
        Some(input) => Some(input),
        None => values_of(node).get(slot).copied(),
    }
}

fn without_weights(model: &Model) -> ModelProto {
    let proto = &model.proto;
    ModelProto {
        graph: proto.graph.as_ref().map(|graph| GraphProto {
            initializer: Vec::new(),
            ..graph.clone()
        }),
        ..proto.clone()
    }
}

/// The names read by anything except `slots`, which must stay defined.
fn reads_besides(graph: &GraphProto, slots: &[WeightSlot]) -> HashSet<String> {
    let mut names = reads(graph);
    for slot in slots {
        names.remove(slot.name.as_str());
    }
    names.into_iter().map(String::from).collect()
}

/// The network as it is, with all its tensors inside.
pub fn whole(model: &Model) -> ModelProto {
    let inside = |proto: &TensorProto| match model.tensors.get(proto.name()) {
        Some(tensor) => embedded(proto, tensor),
        None => proto.clone(),
    };
    let mut editor = GraphEditor::open(without_weights(model));
    editor.add_initializers(model.graph().initializer.iter().map(inside));
    editor.finish()
}

fn embedded(proto: &TensorProto, tensor: &Tensor) -> TensorProto {
    if proto.data_location() != DataLocation::External {
        return proto.clone();
    }
    TensorProto {
        raw_data: Some(tensor.bytes.clone()),
        external_data: Vec::new(),
        data_location: None,
        ..proto.clone()
    }
}

fn initializer(slot: &WeightSlot) -> TensorProto {
    let header = TensorProto {
        name: Some(slot.name.clone()),
        dims: slot.shape.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(data_type(slot.dtype)),
        ..TensorProto::default()
    };
    if let Some(elements) = &slot.elements {
        return TensorProto {
            raw_data: Some(elements.clone()),
            ..header
        };
    }
    let bytes = slot.shape.iter().product::<usize>() * slot.dtype.size().unwrap_or(0);
    apart::header(&header, bytes)
}
