//! What lies between the loss and what the gradient is taken in: operators without a rule there are
//! named, and every operator with one is held against differences.

use landscape::checkpoint::onnx::proto::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto,
};
use landscape::graph::build::described;
use landscape::graph::build::node;
use landscape::graph::gradient::loss::values;
use landscape::graph::gradient::values::Value;
use landscape::graph::gradient::{check, operators};

/// A graph of nodes from `x` [3].
fn model(nodes: Vec<NodeProto>) -> ModelProto {
    ModelProto {
        graph: Some(GraphProto {
            node: nodes,
            input: vec![described("x", DataType::Float, &[3])],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn named(op_type: &str, domain: &str, inputs: &[&str]) -> NodeProto {
    NodeProto {
        name: Some("block/middle".to_string()),
        domain: Some(domain.to_string()),
        ..node(op_type, inputs, "y", &[])
    }
}

/// A node with a graph within that reads `inner`.
fn with_graph(op_type: &str, inputs: &[&str], inner: &str) -> NodeProto {
    let mut outer = named(op_type, "", inputs);
    outer.attribute.push(AttributeProto {
        name: Some("then_branch".to_string()),
        g: Some(GraphProto {
            node: vec![node("Neg", &[inner], "within", &[])],
            output: vec![described("within", DataType::Float, &[3])],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    });
    outer
}

fn refusal(middle: NodeProto) -> String {
    let nodes = vec![
        node("Exp", &["x"], "e", &[]),
        middle,
        node("ReduceSum", &["y"], "total", &[("keepdims", 0)]),
    ];
    let error = check(&model(nodes), "total", &["x".to_string()]).unwrap_err();
    error.to_string()
}

fn names_all(message: &str, op_type: &str, domain: &str) {
    for part in [op_type, "`block/middle`", domain] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn an_operator_without_a_rule_is_named_with_its_domain() {
    names_all(
        &refusal(named("Det", "", &["e"])),
        "Det node",
        "domain ai.onnx",
    );
    // A function of the model's own, and an operator of the runtime's.
    let own = refusal(named("Block", "my.package", &["e"]));
    names_all(&own, "Block node", "domain my.package");
    let contributed = refusal(named("FusedMatMul", "com.microsoft", &["e", "e"]));
    names_all(&contributed, "FusedMatMul node", "domain com.microsoft");
}

#[test]
fn graphs_within_nodes_are_refused_for_what_they_read_around_them() {
    let condition = refusal(with_graph("If", &["condition"], "e"));
    names_all(&condition, "If node", "domain ai.onnx");
    let repeated = refusal(with_graph("Loop", &["count", "", "e"], "other"));
    names_all(&repeated, "Loop node", "domain ai.onnx");
    let nested = with_graph("If", &["condition"], "other");
    let mut outer = with_graph("If", &["condition"], "other");
    let mut deeper = nested.clone();
    deeper.attribute = with_graph("If", &["condition"], "e").attribute;
    if let Some(graph) = &mut outer.attribute[0].g {
        graph.node.push(deeper);
    }
    names_all(&refusal(outer), "If node", "domain ai.onnx");
}

#[test]
fn what_does_not_depend_on_the_parameters_may_be_anything() {
    let nodes = vec![
        with_graph("If", &["condition"], "other"),
        node("Mul", &["x", "y"], "z", &[]),
        node("ReduceSum", &["z"], "total", &[("keepdims", 0)]),
    ];
    check(&model(nodes), "total", &["x".to_string()]).unwrap();
}

#[test]
fn elements_computed_from_an_input_are_those_of_one_batch() {
    let nodes = vec![
        node("ArgMax", &["x"], "best", &[("axis", 0)]),
        node("Shape", &["x"], "shape", &[]),
        node("Neg", &["shape"], "less", &[]),
    ];
    let of_one = |name: &str| {
        let value = Value {
            ints: Some(vec![3]),
            ..Value::new(DataType::Int64, vec![1])
        };
        (name.to_string(), value)
    };
    let known = values(&model(nodes), ["best", "shape", "less"].map(of_one));
    assert_eq!(known.get("best").unwrap().ints, None);
    assert_eq!(known.get("best").unwrap().shape, [1]);
    assert_eq!(known.get("shape").unwrap().ints, Some(vec![3]));
    assert_eq!(known.get("less").unwrap().ints, Some(vec![3]));
}

#[test]
fn every_operator_with_a_rule_has_a_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gradient");
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|file| file.unwrap().path());
    // These name operators that they do not hold against anything.
    let cases = files.filter(|path| !path.ends_with("path.rs") && !path.ends_with("case.rs"));
    let sources: String = cases
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let without: Vec<&str> = operators()
        .filter(|name| !sources.contains(&format!("\"{name}\"")))
        .collect();
    assert!(without.is_empty(), "no case for {without:?}");
}
