//! Networks that cannot be differentiated: told by operator, node and domain, before anything long
//! runs and before anything is written.

use assert_cmd::Command;
use landscape::checkpoint::onnx::proto::{
    AttributeProto, DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto,
};
use landscape::graph::build::node;

use crate::common::small::{Folder, Small};

/// The message of each command that needs slopes.
fn refusals(folder: &Folder) -> Vec<String> {
    let commands = [
        folder.soup("--methods uniform,learned"),
        folder.soup("--methods learned-by-layer"),
        folder.plane("--steps 3 --arrows 2"),
        folder.spectrum("--at ft1"),
    ];
    commands.into_iter().map(|c| refused(folder, c)).collect()
}

fn refused(folder: &Folder, mut command: Command) -> String {
    let output = command.assert().code(2).get_output().clone();
    assert!(output.stdout.is_empty());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    for written in ["out/.landscape", "out/notebooks-data", "out/plots"] {
        let inside = std::fs::read_dir(folder.path(written));
        assert_eq!(inside.map_or(0, Iterator::count), 0, "{written}: {message}");
    }
    message
}

fn all_say(small: &Small, words: &[&str]) {
    let folder = small.write();
    for message in refusals(&folder) {
        for word in words {
            assert!(message.contains(word), "{message}");
        }
    }
}

/// A graph of one node within another.
fn branch(op_type: &str, output: &str) -> GraphProto {
    GraphProto {
        name: Some(output.to_string()),
        node: vec![node(op_type, &["h"], output, &[])],
        output: vec![ValueInfoProto {
            name: Some(output.to_string()),
            ..ValueInfoProto::default()
        }],
        ..GraphProto::default()
    }
}

/// An If that takes the branch with ReLU.
fn choice() -> Small {
    let graph = |name: &str, graph: GraphProto| AttributeProto {
        name: Some(name.to_string()),
        g: Some(graph),
        r#type: Some(5),
        ..AttributeProto::default()
    };
    let mut choice = node("If", &["is"], "a", &[]);
    choice.attribute = vec![
        graph("then_branch", branch("Relu", "then")),
        graph("else_branch", branch("Tanh", "else")),
    ];
    Small {
        constants: vec![constant("is", DataType::Bool, &[1])],
        ..Small::between(vec![choice])
    }
}

/// A scalar.
fn constant(name: &str, dtype: DataType, bytes: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        data_type: Some(dtype as i32),
        raw_data: Some(bytes.to_vec().into()),
        ..TensorProto::default()
    }
}

#[test]
fn operators_without_a_derivative_are_named() {
    let contributed = NodeProto {
        domain: Some("com.microsoft".to_string()),
        ..node("FastGelu", &["h"], "a", &[])
    };
    all_say(
        &Small::between(vec![contributed]),
        &["FastGelu node `a/FastGelu` (domain com.microsoft)"],
    );
    all_say(&choice(), &["If node `a/If` (domain ai.onnx)"]);
}

#[test]
fn uses_of_an_operator_without_a_derivative_are_named() {
    let training = Small {
        constants: vec![
            constant("part", DataType::Float, &0.5_f32.to_le_bytes()),
            constant("training", DataType::Bool, &[1]),
        ],
        ..Small::between(vec![node("Dropout", &["h", "part", "training"], "a", &[])])
    };
    // Refused where nothing is to be differentiated, too.
    all_say(&training, &["node `a/Dropout`", "in training mode"]);
}

#[test]
fn shapes_that_depend_on_the_data_are_named() {
    // What is above 0, taken out and put back: ReLU by another way.
    let zero = constant("zero", DataType::Float, &0.0_f32.to_le_bytes());
    let between = vec![
        node("Greater", &["h", "zero"], "is_above", &[]),
        node("NonZero", &["is_above"], "turned", &[]),
        node("Transpose", &["turned"], "places", &[]),
        node("GatherND", &["h", "places"], "values", &[]),
        node("Shape", &["h"], "shape", &[]),
        node("ConstantOfShape", &["shape"], "zeros", &[]),
        node("ScatterND", &["zeros", "places", "values"], "a", &[]),
    ];
    let small = Small {
        constants: vec![zero],
        ..Small::between(between)
    };
    all_say(
        &small,
        &[
            "GatherND node `values/GatherND`",
            "`places` depends on the data",
        ],
    );
}

#[test]
fn operators_of_an_old_version_are_refused() {
    let old = Small {
        opset: 12,
        ..Small::new()
    };
    all_say(&old, &["version 12 of the operators", "13 is the oldest"]);
}

#[test]
fn what_no_fine_tune_moves_need_not_have_a_derivative() {
    let folder = Small {
        head_alone: true,
        ..choice()
    }
    .write();
    folder.soup("--methods learned").assert().success();
    folder.plane("--steps 3 --arrows 2").assert().success();
    // A spectrum is of all parameters.
    let output = folder
        .spectrum("--at ft1")
        .assert()
        .code(2)
        .get_output()
        .clone();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("If node `a/If`"), "{message}");
}
