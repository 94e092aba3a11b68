//! The skeleton: the network written once, its moving weights left out.
//!
//! Each moving tensor becomes an initializer marked as external, to be handed over from memory
//! when a session is built (`AddExternalInitializers`). That happens before ONNX Runtime folds
//! constants and chooses layouts, so the runtime optimizes every mix as it would a file.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::editor::GraphEditor;
use super::names::reads;
use super::network::{Network, Place};
use crate::checkpoint::onnx::data_type;
use crate::checkpoint::onnx::proto::{
    DataLocation, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
};
use crate::checkpoint::tensor::{Dtype, Tensor};

/// A tensor of the mix as the graph takes it, and the places where it goes.
#[derive(Debug)]
pub struct WeightSlot {
    /// The initializer's name in the written graph: a new one, or one under which nothing but
    /// `places` read.
    pub name: String,
    /// Element type in the graph.
    pub dtype: Dtype,
    /// Shape in the graph.
    pub shape: Vec<usize>,
    /// Where the graph reads it; input slots only, no subgraphs.
    pub places: Vec<Place>,
    /// Its little-endian elements, or `None` to leave them out.
    pub elements: Option<Bytes>,
}

/// The network with `slots` in place of what stood at their places; all other initializers are
/// embedded as they are.
pub fn model(network: &Network<'_>, slots: &[WeightSlot]) -> ModelProto {
    let mut editor = GraphEditor::open(without_weights(network));
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
    for slot in slots {
        for &place in &slot.places {
            let input = &editor.graph().node[place.node].input[place.slot];
            if let Some(initializer) = network.initializer_behind(input) {
                stands_for.entry(initializer).or_insert(&slot.name);
            }
            editor.redirect(place, &slot.name);
        }
    }
    // A node that asks for a tensor's shape alone would keep θ0's elements in the graph.
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

fn without_weights(network: &Network<'_>) -> ModelProto {
    let proto = &network.model.proto;
    ModelProto {
        graph: proto.graph.as_ref().map(|graph| GraphProto {
            initializer: Vec::new(),
            ..graph.clone()
        }),
        ..proto.clone()
    }
}

/// What is read besides `slots`: what must still be there.
fn reads_besides(graph: &GraphProto, slots: &[WeightSlot]) -> HashSet<String> {
    let mut names = reads(graph);
    for slot in slots {
        names.remove(slot.name.as_str());
    }
    names.into_iter().map(String::from).collect()
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
    let length = slot.shape.iter().product::<usize>() * slot.dtype.size().unwrap_or(0);
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_string()),
        value: Some(value),
    };
    TensorProto {
        // The file is never opened: the tensor is handed over from memory.
        external_data: vec![
            entry("location", "from-memory".to_string()),
            entry("offset", "0".to_string()),
            entry("length", length.to_string()),
        ],
        data_location: Some(DataLocation::External as i32),
        ..header
    }
}
