//! Graphs of every kind: large constants beside the graph, parameters in branches and loops, and
//! what is told early about those that cannot be run or averaged.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use landscape::checkpoint::onnx::proto::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use landscape::evaluate::Evaluator;
use landscape::evaluate::differentiable_loss::DifferentiableLoss;
use landscape::evaluate::onnx::gradient::Precision;
use landscape::evaluate::onnx::{BindingChoice, EvaluationOptions};
use landscape::graph::build::node;
use landscape::space::mix::Mix;
use predicates::prelude::*;
use prost::Message;

use crate::common::engine::with_options;
use crate::common::small::{Folder, Small};
use crate::common::{head_alone, number, oracle};

/// Bits of losses, errors and a gradient at two mixes.
fn values(folder: &Path, tuned: &[PathBuf], binding: BindingChoice, inside: usize) -> Vec<u64> {
    let origin = folder.join("zs_noopt.onnx");
    let tuned = tuned.iter().map(PathBuf::as_path);
    let files: Vec<&Path> = std::iter::once(origin.as_path()).chain(tuned).collect();
    let options = EvaluationOptions {
        binding,
        inside,
        workers: Some(1),
        threads: Some(1),
        batch: Some(16),
        ..EvaluationOptions::default()
    };
    let data = folder.join("data.npz");
    let mut bits = Vec::new();
    with_options(&files, &data, None, 32, options, |engine, _, places| {
        let mixes = [
            Mix::new(vec![1.0, 0.0, 0.0]),
            Mix::new(vec![0.25, 0.5, 0.25]),
        ];
        let answers = engine.evaluate(&mixes, &()).unwrap();
        let scores = answers.scores.iter().flatten();
        bits.extend(scores.flat_map(|score| [score.loss.to_bits(), score.error.to_bits()]));
        let gradients = engine.gradients(0, 16, Precision::Own).unwrap();
        for mix in &mixes {
            let found = gradients
                .coefficient_gradient(mix, 1.0, &places[..16])
                .unwrap();
            bits.push(found.fit.loss.to_bits());
            bits.extend(found.rows.iter().flatten().map(|x| x.to_bits()));
        }
    });
    bits
}

#[test]
fn constants_beside_the_graph_give_the_same_bits_as_inside() {
    use BindingChoice::{Baked, InGraph, Inputs};
    let scratch = tempfile::tempdir().unwrap();
    // What does not move is a constant of the graph.
    for (network, head) in [("vit", "head"), ("resnet", "fc"), ("convnext", "head")] {
        let folder = oracle(network);
        let origin = folder.join("zs.safetensors");
        let whole = ["ft1", "ft2"].map(|name| folder.join(name).with_extension("safetensors"));
        let heads = ["ft1", "ft2"].map(|name| {
            let to = scratch.path().join(format!("{network}-{name}.safetensors"));
            let from = folder.join(name).with_extension("safetensors");
            head_alone(&origin, &from, head, &to);
            to
        });
        for tuned in [whole, heads] {
            for binding in [Baked, InGraph, Inputs] {
                let inside = values(&folder, &tuned, binding, usize::MAX);
                assert!(!inside.is_empty());
                // A scalar of 64 bits stays inside.
                let beside = values(&folder, &tuned, binding, 8);
                assert_eq!(inside, beside, "{network} {binding:?} {tuned:?}");
            }
        }
    }
}

/// Changes a network in a folder.
fn edit(folder: &Folder, name: &str, change: impl FnOnce(&mut ModelProto)) {
    let path = folder.path(name);
    let mut model = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap();
    change(&mut model);
    fs::write(path, model.encode_to_vec()).unwrap();
}

fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_string()),
        // A graph.
        r#type: Some(5),
        g: Some(GraphProto {
            name: Some(name.to_string()),
            ..graph
        }),
        ..AttributeProto::default()
    }
}

fn valued(name: &str, dtype: DataType) -> ValueInfoProto {
    let mut info = landscape::graph::build::described(name, dtype, &[]);
    if let Some(landscape::checkpoint::onnx::proto::TypeValue::Tensor(tensor)) =
        info.r#type.as_mut().and_then(|it| it.value.as_mut())
    {
        tensor.shape = None;
    }
    info
}

fn truth(name: &str, dtype: DataType, bytes: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        data_type: Some(dtype as i32),
        raw_data: Some(bytes.to_vec().into()),
        ..TensorProto::default()
    }
}

/// Moves the product x·w1 into a branch that holds w1 itself, and the sum with b1 into a loop that
/// reads it. Names inside begin with `prefix`.
fn with_bodies(model: &mut ModelProto, prefix: &str) {
    let graph = model.graph.as_mut().unwrap();
    let at = graph.initializer.iter().position(|it| it.name() == "w1");
    let w1 = graph.initializer.remove(at.unwrap());
    let inner = |name: &str| format!("{prefix}{name}");
    let then = GraphProto {
        node: vec![node("MatMul", &["x", "w1"], &inner("product"), &[])],
        initializer: vec![w1],
        output: vec![valued(&inner("product"), DataType::Float)],
        ..GraphProto::default()
    };
    let otherwise = GraphProto {
        node: vec![node("Identity", &["x"], &inner("same"), &[])],
        output: vec![valued(&inner("same"), DataType::Float)],
        ..GraphProto::default()
    };
    let mut choice = node("If", &["true"], "xw", &[]);
    choice.attribute = vec![body("then_branch", then), body("else_branch", otherwise)];
    let step = GraphProto {
        node: vec![
            node("Identity", &[&inner("go")], &inner("on"), &[]),
            node("Add", &[&inner("before"), "b1"], &inner("after"), &[]),
        ],
        input: vec![
            valued(&inner("count"), DataType::Int64),
            valued(&inner("go"), DataType::Bool),
            valued(&inner("before"), DataType::Float),
        ],
        output: vec![
            valued(&inner("on"), DataType::Bool),
            valued(&inner("after"), DataType::Float),
        ],
        ..GraphProto::default()
    };
    let mut repeated = node("Loop", &["once", "true", "xw"], "h", &[]);
    repeated.attribute = vec![body("body", step)];
    graph.node[0] = choice;
    graph.node[1] = repeated;
    graph.initializer.extend([
        truth("true", DataType::Bool, &[1]),
        truth("once", DataType::Int64, &1_i64.to_le_bytes()),
    ]);
}

fn losses(folder: &Folder, a: &str) -> Vec<f64> {
    let words =
        format!("plane --origin zs.onnx --a {a} --b ft2 --test data.safetensors --steps 3 --fresh");
    folder.run(&words).assert().success();
    let rows = folder.rows("plane.csv");
    rows.iter().map(|row| number(row, "loss")).collect()
}

#[test]
fn parameters_in_branches_and_loops_are_averaged_like_others() {
    let folder = Small::new().write();
    let expected = losses(&folder, "ft1");
    edit(&folder, "zs.onnx", |model| with_bodies(model, "a."));
    let found = losses(&folder, "ft1");
    assert_eq!(expected.len(), found.len());
    for (a, b) in expected.iter().zip(&found) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    // Gradients do not go through a loop, and that is told.
    folder
        .plane("--steps 3 --arrows --fresh")
        .assert()
        .code(predicate::ne(0))
        .stderr(predicate::str::contains("Loop"));
}

#[test]
fn two_graphs_with_bodies_are_aligned_whatever_the_names_inside() {
    let folder = Small::new().write();
    folder.scaled("big", 1.5);
    let expected = losses(&folder, "big");
    fs::copy(folder.path("zs.onnx"), folder.path("large.onnx")).unwrap();
    for (file, prefix) in [("zs.onnx", "a."), ("large.onnx", "b.")] {
        edit(&folder, file, |model| with_bodies(model, prefix));
    }
    edit(&folder, "large.onnx", |model| {
        let graph = model.graph.as_mut().unwrap();
        let inner = graph.node[0].attribute[0].g.as_mut().unwrap();
        let floats = graph.initializer.iter_mut().chain(&mut inner.initializer);
        for tensor in floats.filter(|it| it.data_type() == DataType::Float as i32) {
            let raw = tensor.raw_data.take().unwrap();
            let (elements, _) = raw.as_chunks::<4>();
            let scaled = elements.iter().map(|&x| 1.5 * f32::from_le_bytes(x));
            let scaled: Vec<u8> = scaled.flat_map(f32::to_le_bytes).collect();
            tensor.raw_data = Some(scaled.into());
        }
    });
    let found = losses(&folder, "large.onnx");
    for (a, b) in expected.iter().zip(&found) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    // Another computation inside is another network.
    edit(&folder, "large.onnx", |model| {
        let graph = model.graph.as_mut().unwrap();
        let step = graph.node[1].attribute[0].g.as_mut().unwrap();
        step.node[1].op_type = Some("Sub".to_string());
    });
    folder
        .run("plane --origin zs.onnx --a large.onnx --b ft2 --test data.safetensors --steps 3 --fresh")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("(Loop) differs in `body`"));
}

#[test]
fn versions_beyond_the_runtime_are_one_line_with_both_numbers() {
    let folder = Small::new().write();
    edit(&folder, "zs.onnx", |model| model.ir_version = Some(99));
    let told = predicate::str::contains("is written in version 99 of the format (IR version), and")
        .and(predicate::str::contains("reads versions up to"))
        .and(predicate::str::contains("onnxruntime::").not());
    folder.plane("--steps 3").assert().code(2).stderr(told);
    edit(&folder, "zs.onnx", |model| {
        model.ir_version = Some(8);
        model.opset_import[0].version = Some(99);
    });
    let told = predicate::str::contains("uses version 99 of the operators (opset), and")
        .and(predicate::str::contains("knows versions up to"))
        .and(predicate::str::contains("onnxruntime::").not());
    folder.plane("--steps 3").assert().code(2).stderr(told);
}

#[test]
fn operators_of_version_11_run() {
    let folder = Small {
        opset: 11,
        ..Small::new()
    };
    let old = losses(&folder.write(), "ft1");
    assert_eq!(old, losses(&Small::new().write(), "ft1"));
}

#[test]
fn quantized_weights_are_refused_and_quantized_activations_are_not() {
    let scale = TensorProto {
        name: Some("scale".to_string()),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(0.01_f32.to_le_bytes().to_vec().into()),
        ..TensorProto::default()
    };
    let grid = TensorProto {
        dims: vec![5],
        ..truth("grid", DataType::Int8, &[1, 2, 3, 4, 5])
    };
    let mut small = Small::between(vec![
        node("DequantizeLinear", &["grid", "scale"], "offset", &[]),
        node("Add", &["h", "offset"], "a", &[]),
    ]);
    small.constants = vec![scale.clone(), grid];
    let told = || {
        predicate::str::contains("its weights are quantized").and(predicate::str::contains(
            "average the float models, then quantize",
        ))
    };
    let refused = small.write();
    refused.plane("--steps 3").assert().code(2).stderr(told());
    let mut small = Small::between(vec![
        node("QuantizeLinear", &["h", "scale", "zero"], "q", &[]),
        node("DequantizeLinear", &["q", "scale", "zero"], "a", &[]),
    ]);
    small.constants = vec![scale, truth("zero", DataType::Int8, &[0])];
    small.write().plane("--steps 3").assert().success();
    let small = Small::between(vec![
        node("DynamicQuantizeLinear", &["h"], "q", &[]),
        node("Tanh", &["h"], "a", &[]),
    ]);
    small
        .write()
        .plane("--steps 3")
        .assert()
        .code(2)
        .stderr(told());
}

/// h·scale over its root mean square, which is computed in float16.
fn normalized(scale: f32) -> Small {
    let cast = |input: &str, output: &str, to: DataType| {
        node("Cast", &[input], output, &[("to", to as i64)])
    };
    let mean = |input: &str, output: &str| -> NodeProto {
        let mut mean = node("ReduceMean", &[input], output, &[("keepdims", 1)]);
        mean.attribute.push(AttributeProto {
            name: Some("axes".to_string()),
            r#type: Some(7),
            ints: vec![1],
            ..AttributeProto::default()
        });
        mean
    };
    let mut small = Small::between(vec![
        node("Mul", &["h", "times"], "large", &[]),
        node("Mul", &["large", "large"], "square", &[]),
        cast("square", "half", DataType::Float16),
        cast("half", "back", DataType::Float),
        mean("back", "mean"),
        node("Sqrt", &["mean"], "root", &[]),
        node("Div", &["large", "root"], "a", &[]),
    ]);
    small.constants = vec![truth("times", DataType::Float, &scale.to_le_bytes())];
    small
}

#[test]
fn an_overflow_behind_finite_values_is_told() {
    let told = "in 16 bits its logits differ from those of the same network in doubles";
    let run = |scale: f32| {
        normalized(scale)
            .write()
            .plane("--steps 3")
            .assert()
            .success()
    };
    run(1.0).stderr(predicate::str::contains(told).not());
    run(10_000.0).stderr(predicate::str::contains(told));
}

#[test]
fn a_batch_that_the_export_fixed_is_told() {
    let mut small = Small::between(vec![
        node("Reshape", &["h", "shape"], "one", &[]),
        node("Tanh", &["one"], "a", &[]),
    ]);
    let shape = [1_i64, 5].iter().flat_map(|dim| dim.to_le_bytes());
    small.constants = vec![TensorProto {
        dims: vec![2],
        ..truth("shape", DataType::Int64, &shape.collect::<Vec<u8>>())
    }];
    small
        .write()
        .plane("--steps 3")
        .assert()
        .failure()
        .stderr(predicate::str::contains("with an example of 2 samples"));
}

#[test]
fn a_network_that_does_not_fit_is_refused_before_anything_is_read() {
    let folder = Small::new().write();
    folder
        .plane("--steps 3 --memory 500")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("a session about"));
}
