//! Weights in `Constant` nodes.

use std::fs;

use landscape::checkpoint::Checkpoint;
use landscape::checkpoint::onnx::Model;
use landscape::checkpoint::onnx::proto::{AttributeProto, GraphProto, ModelProto};
use landscape::graph::build::node;
use landscape::space::matching::Options;
use prost::Message;

use crate::common::number;
use crate::common::small::{Folder, Small};
use crate::has;
use crate::network::{Export, Files, Net, constant, holds, some, unused};

/// Moves the initializers of a graph into `Constant` nodes.
fn to_nodes(graph: &mut GraphProto) {
    for tensor in std::mem::take(&mut graph.initializer) {
        let mut made = node("Constant", &[], tensor.name(), &[]);
        made.attribute.push(AttributeProto {
            name: Some("value".to_string()),
            t: Some(tensor),
            r#type: Some(4),
            ..AttributeProto::default()
        });
        graph.node.insert(0, made);
    }
}

#[test]
fn weights_in_constant_nodes_are_matched_like_initializers() {
    let net = Net::new(Export::TorchScript, &["body", "head"]);
    // A constant of one element, one that a checkpoint's tensor would fit, and one as an output.
    let files = Files::edited(&net, |graph| {
        to_nodes(graph);
        for (name, shape) in [("eps", &[][..]), ("mean", &[4][..])] {
            graph.node.insert(0, constant(&some(name, shape), name));
        }
        let last = graph.node.len() - 1;
        graph.node[last].input[0] = "shifted".to_string();
        let scaled = node("Mul", &["h1", "eps"], "scaled", &[]);
        graph
            .node
            .insert(last, node("Add", &["scaled", "mean"], "shifted", &[]));
        graph.node.insert(last, scaled);
    });
    let aligned = files.fit(
        &[net.state("", "module.", 1), net.state("", "", 2)],
        &Options::default(),
    );
    holds(&aligned, &net, 0, 1);
    holds(&aligned, &net, 1, 2);
    assert!(aligned.constants.is_empty());
}

#[test]
fn weights_under_names_of_their_own_are_not_taken_for_unused() {
    let net = Net::new(Export::TorchScript, &["body", "head"]);
    let files = Files::edited(&net, |graph| {
        for node in &mut graph.node {
            node.name = None;
            for input in &mut node.input {
                *input = input.replace("body.weight", "const_5");
            }
        }
        for tensor in &mut graph.initializer {
            tensor.name = tensor
                .name
                .as_deref()
                .map(|it| it.replace("body.weight", "const_5"));
        }
        to_nodes(graph);
    });
    // Only the names tell that `body` is in the graph; without its bias nothing would.
    let mut state = net.state("", "", 1);
    for (name, ..) in &mut state {
        *name = name.replace("body.weight", "other.weight");
    }
    for options in [Options::default(), unused()] {
        let message = files.refused(&[state.clone()], &options);
        has(&message, &["only in the checkpoint (1)", "other.weight"]);
        assert!(!message.contains("--ignore"), "{message}");
    }
}

#[test]
fn two_graphs_may_differ_in_such_weights() {
    let net = Net::new(Export::TorchScript, &["body", "head"]);
    let files = Files::edited(&net, |graph| {
        to_nodes(graph);
        graph.node.insert(0, constant(&some("mean", &[4]), "mean"));
        let last = graph.node.len() - 1;
        graph.node[last].input[0] = "shifted".to_string();
        graph
            .node
            .insert(last, node("Add", &["h1", "mean"], "shifted", &[]));
    });
    // The fine-tune has the body's weight changed, and initializers instead of nodes.
    let mut proto = files.model.proto.clone();
    for tensor in &mut proto.graph.as_mut().unwrap().initializer {
        if tensor.name() == "body.weight" {
            let half = vec![0.5_f32; 16].into_iter().flat_map(f32::to_le_bytes);
            tensor.raw_data = Some(half.collect::<Vec<u8>>().into());
        }
    }
    let path = files.folder.path().join("ft.onnx");
    fs::write(&path, proto.encode_to_vec()).unwrap();
    let tuned = Checkpoint::open(&path).unwrap();
    let aligned = files.pool(&[tuned], None, &Options::default()).unwrap();
    let moving = aligned.pool.parameters.iter().filter(|it| !it.frozen);
    let moving: Vec<&str> = moving.map(|it| it.name.as_str()).collect();
    assert_eq!(moving, ["body.weight"]);
    // What is equal in both is no parameter.
    assert!(aligned.pool.parameters.iter().all(|it| it.name != "mean"));
}

#[test]
fn a_network_gives_the_same_losses_with_its_weights_in_nodes() {
    let losses = |folder: &Folder| -> Vec<f64> {
        folder.plane("--steps 3").assert().success();
        let rows = folder.rows("plane.csv");
        rows.iter().map(|row| number(row, "loss")).collect()
    };
    let folder = Small::new().write();
    let plain = losses(&folder);
    let path = folder.path("zs.onnx");
    let mut proto = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap();
    to_nodes(proto.graph.as_mut().unwrap());
    let folder = Small::new().write();
    fs::write(folder.path("zs.onnx"), proto.encode_to_vec()).unwrap();
    assert_eq!(plain, losses(&folder));
    assert!(plain.iter().all(|it| it.is_finite()) && plain.len() >= 9);
}

#[test]
fn a_graph_without_such_nodes_stays_as_it_is() {
    let folder = Small::new().write();
    let path = folder.path("zs.onnx");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(Model::read(&path).unwrap().proto.encode_to_vec(), bytes);
    // Values that a body reads, outputs, integers and old formats stay, too.
    let mut proto = ModelProto::decode(&bytes[..]).unwrap();
    to_nodes(proto.graph.as_mut().unwrap());
    proto.ir_version = Some(3);
    let bytes = proto.encode_to_vec();
    fs::write(&path, &bytes).unwrap();
    let model = Model::read(&path).unwrap();
    assert_eq!(model.proto.encode_to_vec(), bytes);
    assert!(model.lifted.is_empty() && model.tensors.is_empty());
    proto.ir_version = Some(8);
    let graph = proto.graph.as_mut().unwrap();
    let mut branch = node("If", &["c"], "y", &[]);
    branch.attribute.push(AttributeProto {
        name: Some("then_branch".to_string()),
        g: Some(GraphProto {
            node: vec![node("Identity", &["b1"], "inner", &[])],
            ..GraphProto::default()
        }),
        r#type: Some(5),
        ..AttributeProto::default()
    });
    graph.node.push(branch);
    let output = graph.output[0].clone();
    graph
        .output
        .push(landscape::checkpoint::onnx::proto::ValueInfoProto {
            name: Some("b2".to_string()),
            ..output
        });
    fs::write(&path, proto.encode_to_vec()).unwrap();
    let lifted = Model::read(&path).unwrap().lifted;
    assert_eq!(lifted.iter().collect::<Vec<_>>(), ["w1", "w2"]);
}
