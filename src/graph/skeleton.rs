//! The skeleton: the network written once, its moving weights left out.
//!
//! Each moving tensor becomes an initializer marked as external, to be handed over from memory
//! when a session is built (`AddExternalInitializers`). That happens before ONNX Runtime folds
//! constants and chooses layouts, so the runtime optimizes every mix as it would a file.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::network::{Network, Place};
use crate::checkpoint::onnx::data_type;
use crate::checkpoint::onnx::proto::{
    DataLocation, GraphProto, ModelProto, StringStringEntryProto, TensorProto,
};
use crate::checkpoint::tensor::{Dtype, Tensor};

/// A tensor that is put into the graph at some places.
#[derive(Debug)]
pub struct Fed {
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

/// The network with `fed` in place of what stood at their places; all other initializers are
/// embedded as they are.
pub fn model(network: &Network<'_>, fed: &[Fed]) -> ModelProto {
    let mut model = without_weights(network);
    let Some(graph) = model.graph.as_mut() else {
        return model;
    };
    let mut stands_for: HashMap<&str, &str> = HashMap::new();
    for tensor in fed {
        for &place in &tensor.places {
            let input = &mut graph.node[place.node].input[place.slot];
            if let Some(initializer) = network.initializer_behind(input) {
                stands_for.entry(initializer).or_insert(&tensor.name);
            }
            input.clone_from(&tensor.name);
        }
    }
    // A node that asks for a tensor's shape alone would keep θ0's elements in the graph.
    let shapes = graph.node.iter_mut();
    for node in shapes.filter(|node| ["Shape", "Size"].contains(&node.op_type())) {
        let Some(input) = node.input.first_mut() else {
            continue;
        };
        let initializer = network.initializer_behind(input);
        if let Some(name) = initializer.and_then(|name| stands_for.get(name)) {
            *input = (*name).to_string();
        }
    }
    let needed = reads_besides(graph, fed);
    let aliases: HashSet<usize> = alias_nodes(network)
        .filter(|&node| {
            !graph.node[node]
                .output
                .iter()
                .any(|out| needed.contains(out))
        })
        .collect();
    let mut index = 0;
    graph.node.retain(|_| {
        index += 1;
        !aliases.contains(&(index - 1))
    });
    let needed = reads_besides(graph, fed);
    let kept = network
        .model
        .graph()
        .initializer
        .iter()
        .filter(|initializer| needed.contains(initializer.name()));
    graph.initializer = kept
        .filter_map(|proto| {
            let tensor = network.tensor(proto.name())?;
            Some(embedded(proto, tensor))
        })
        .chain(fed.iter().map(fed_initializer))
        .collect();
    let names: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let is_gone = |name: &str| network.tensor(name).is_some() && !names.contains(name);
    graph
        .input
        .retain(|input| network.tensor(input.name()).is_none());
    graph.value_info.retain(|info| !is_gone(info.name()));
    model
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

fn alias_nodes<'a>(network: &'a Network<'_>) -> impl Iterator<Item = usize> + 'a {
    let nodes = network.nodes().iter().enumerate();
    nodes
        .filter(|(_, node)| network.is_alias(node))
        .map(|(index, _)| index)
}

/// What is read and not fed: what must still be there.
fn reads_besides(graph: &GraphProto, fed: &[Fed]) -> HashSet<String> {
    let mut names = reads(graph);
    for tensor in fed {
        names.remove(&tensor.name);
    }
    names
}

/// Every name that a node, a subgraph or the graph's outputs read.
pub fn reads(graph: &GraphProto) -> HashSet<String> {
    fn collect(graph: &GraphProto, names: &mut HashSet<String>) {
        names.extend(graph.output.iter().map(|output| output.name().to_string()));
        for node in &graph.node {
            names.extend(node.input.iter().cloned());
            for attribute in &node.attribute {
                super::network::subgraphs(attribute).for_each(|graph| collect(graph, names));
            }
        }
    }
    let mut names = HashSet::new();
    collect(graph, &mut names);
    names
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

fn fed_initializer(fed: &Fed) -> TensorProto {
    let header = TensorProto {
        name: Some(fed.name.clone()),
        dims: fed.shape.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(data_type(fed.dtype)),
        ..TensorProto::default()
    };
    if let Some(elements) = &fed.elements {
        return TensorProto {
            raw_data: Some(elements.clone()),
            ..header
        };
    }
    let length = fed.shape.iter().product::<usize>() * fed.dtype.size().unwrap_or(0);
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
