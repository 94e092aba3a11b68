//! Inputs whose numbers would be wrong: refused by name where they cannot be right, told in the
//! results where they may be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use landscape::checkpoint::onnx::proto::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use landscape::graph::build::{ints, node};
use prost::Message;

use crate::common::small::{Folder, Small};
use crate::common::{json, list, number, program, result};

const PLANE: &str = "--steps 3";

/// A constant as a node, which is no weight.
fn constant(name: &str, dims: &[i64], data_type: DataType, bytes: Vec<u8>) -> NodeProto {
    let tensor = TensorProto {
        dims: dims.to_vec(),
        data_type: Some(data_type as i32),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    };
    let mut made = node("Constant", &[], name, &[]);
    made.attribute.push(AttributeProto {
        name: Some("value".to_string()),
        t: Some(tensor),
        r#type: Some(4),
        ..AttributeProto::default()
    });
    made
}

fn float(name: &str, values: &[f32]) -> NodeProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    let dims = match values {
        [_] => Vec::new(),
        _ => vec![values.len() as i64],
    };
    constant(name, &dims, DataType::Float, bytes.collect())
}

#[test]
fn two_models_of_one_name_are_refused() {
    let folder = Small::new().write();
    let models = "--origin zs.onnx --test data.safetensors";
    for (words, told) in [
        ("plane --a x=ft1 --b x=ft2", "two models have the name `x`"),
        (
            "plane --a ft1 --b ft2 --mark zs=ft3",
            "a model has the name of the origin, `zs`",
        ),
        (
            "line --a x=ft1 --through ft2 --b x=ft3",
            "two models have the name `x`",
        ),
    ] {
        let assert = folder.run(&format!("{words} {models}")).assert().failure();
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(stderr.contains(told), "{words}: {stderr}");
        assert!(stderr.contains("NAME=CKPT"), "{words}: {stderr}");
    }
    // A path may pass through the origin itself.
    let words = "line --a ft1 --through zs.onnx --b ft2 --steps 3";
    folder.run(&format!("{words} {models}")).assert().success();
}

/// The small network with these nodes behind its logits, which they read as `z`.
fn behind(nodes: Vec<NodeProto>) -> Folder {
    let folder = Small::new().write();
    edit(&folder, |graph| {
        graph.node.last_mut().unwrap().output = vec!["z".to_string()];
        graph.node.extend(nodes);
    });
    folder
}

fn edit(folder: &Folder, change: impl FnOnce(&mut GraphProto)) {
    let path = folder.path("zs.onnx");
    let mut model = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap();
    change(model.graph.as_mut().unwrap());
    fs::write(path, model.encode_to_vec()).unwrap();
}

/// The message of a run that ends with exit status 2, once.
fn refused(mut command: Command) -> String {
    let output = command.assert().code(2).get_output().clone();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    message
}

/// What a run that ends well warns of: on the terminal, once each, and in the results alike.
fn warned(mut command: Command, path: &Path) -> Vec<String> {
    let output = command.assert().success().get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let listed = common::warnings(&json(path));
    for warning in &listed {
        let said = stderr.matches(&format!("warning: {warning}")).count();
        assert_eq!(said, 1, "{warning} in {stderr}");
    }
    assert_eq!(
        stderr.matches("warning: ").count(),
        listed.len(),
        "{stderr}"
    );
    listed
}

fn planes_warnings(folder: &Folder) -> Vec<String> {
    let path = result(&folder.path("out"), "plane.json");
    warned(folder.plane(PLANE), &path)
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn outputs_that_are_probabilities_by_the_graph() {
    for operator in ["Softmax", "Sigmoid"] {
        let nodes = vec![
            node(operator, &["z"], "p", &[]),
            node("Identity", &["p"], "logits", &[]),
        ];
        let folder = behind(nodes);
        let message = refused(folder.plane(PLANE));
        has(
            &message,
            &[
                "zs.onnx: output `logits`",
                operator,
                "node `p/",
                "`z` in this graph",
            ],
        );
        // Where the logits are an output, too, it is named, and the run goes on with it.
        edit(&folder, |graph| {
            graph.output.push(ValueInfoProto {
                name: Some("z".to_string()),
                r#type: graph.output[0].r#type.clone(),
                ..ValueInfoProto::default()
            });
        });
        let message = refused(folder.plane("--steps 3 --output logits"));
        has(&message, &["--output z"]);
        folder.plane("--steps 3 --output z").assert().success();
    }
}

#[test]
fn log_probabilities_give_the_loss_of_logits() {
    let losses = |folder: &Folder| -> Vec<f64> {
        folder.plane(PLANE).assert().success();
        let rows = folder.rows("plane.csv");
        rows.iter().map(|row| number(row, "loss")).collect()
    };
    let plain = losses(&Small::new().write());
    let logged = losses(&behind(vec![node("LogSoftmax", &["z"], "logits", &[])]));
    assert!(plain.len() >= 9 && plain.len() == logged.len());
    for (plain, logged) in plain.iter().zip(logged) {
        // Rounding of 32-bit floats.
        assert!((plain - logged).abs() < 1e-5, "{plain} {logged}");
    }
}

#[test]
fn outputs_that_are_probabilities_by_their_values() {
    let axes = constant("axes", &[1], DataType::Int64, 1_i64.to_le_bytes().to_vec());
    let softmax = vec![
        axes,
        node("Exp", &["z"], "e", &[]),
        node("ReduceSum", &["e", "axes"], "s", &[]),
        node("Div", &["e", "s"], "logits", &[]),
    ];
    let message = refused(behind(softmax).plane(PLANE));
    has(
        &message,
        &["holds probabilities: on 8 samples", "--output NAME"],
    );
    let sigmoid = vec![
        float("one", &[1.0]),
        node("Neg", &["z"], "n", &[]),
        node("Exp", &["n"], "e", &[]),
        node("Add", &["e", "one"], "d", &[]),
        node("Reciprocal", &["d"], "logits", &[]),
    ];
    let warnings = planes_warnings(&behind(sigmoid)).join("\n");
    has(&warnings, &["between 0 and 1 on 8 samples, as a sigmoid's"]);
}

#[test]
fn one_column_is_no_classifier() {
    let axes = constant("axes", &[1], DataType::Int64, 1_i64.to_le_bytes().to_vec());
    let folder = behind(vec![axes, node("ReduceSum", &["z", "axes"], "logits", &[])]);
    let message = refused(folder.plane(PLANE));
    has(
        &message,
        &["has one column", "torch.zeros_like(z)", "expm1"],
    );
}

/// The small network with a dropout that drops this part.
fn dropout(ratio: f32) -> Small {
    Small::between(vec![
        float("ratio", &[ratio]),
        constant("train", &[], DataType::Bool, vec![1]),
        node("Dropout", &["h", "ratio", "train"], "a", &[]),
    ])
}

#[test]
fn networks_in_training_mode_are_refused_by_node() {
    let message = refused(dropout(0.5).write().plane(PLANE));
    has(
        &message,
        &["is in training mode: node `a/Dropout`", "model.eval()"],
    );
    dropout(0.0).write().plane(PLANE).assert().success();
    let batch_norm = |mode: i64| {
        let inputs = ["h", "scale", "bias", "mean", "var"];
        let mut norm = node(
            "BatchNormalization",
            &inputs,
            "a",
            &[("training_mode", mode)],
        );
        if mode == 1 {
            norm.output.extend(["rm".to_string(), "rv".to_string()]);
        }
        let values = [("scale", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 1.0)];
        let constants = values.map(|(name, value)| float(name, &[value; 5]));
        Small::between(constants.into_iter().chain([norm]).collect()).write()
    };
    let message = refused(batch_norm(1).plane(PLANE));
    has(
        &message,
        &["node `a/BatchNormalization`", "statistics of the batch"],
    );
    batch_norm(0).plane(PLANE).assert().success();
}

#[test]
fn logits_that_depend_on_the_batch_are_refused() {
    let mut mean = node("ReduceMean", &["h"], "m", &[]);
    mean.attribute.push(ints("axes", &[0]));
    let centred = Small::between(vec![mean, node("Sub", &["h", "m"], "a", &[])]);
    // Also where the part that does it is the same in all models and computed once.
    for head_alone in [false, true] {
        let small = Small {
            between: centred.between.clone(),
            head_alone,
            ..Small::new()
        };
        let message = refused(small.write().plane(PLANE));
        has(
            &message,
            &[
                "depends on the other samples of its batch",
                "--batch",
                "model.eval()",
            ],
        );
    }
    // A batch size of the network's own: the last batch is filled up.
    let small = Small {
        batch: Some(8),
        ..centred
    };
    has(
        &refused(small.write().plane(PLANE)),
        &["depends on the other samples"],
    );
}

#[test]
fn nodes_that_draw_numbers_are_told() {
    let drawn = |factor: f32| {
        Small::between(vec![
            float("factor", &[factor]),
            node("RandomNormalLike", &["h"], "r", &[]),
            node("Mul", &["r", "factor"], "s", &[]),
            node("Add", &["h", "s"], "a", &[]),
        ])
    };
    let warnings = planes_warnings(&drawn(0.0).write()).join("\n");
    has(
        &warnings,
        &["1 of the nodes draw numbers at random, such as `r/RandomNormalLike`"],
    );
    refused(drawn(1.0).write().plane(PLANE));
}

#[test]
fn float_data_beside_preprocessing_is_told_once_and_stands_in_the_results() {
    let folder = Small::new().write();
    let configuration = |mean: f64| {
        let text = format!("[preprocess]\nscale = \"1/255\"\nmean = [{mean}]\nstd = [0.1]\n");
        fs::write(folder.path("landscape.toml"), text).unwrap();
    };
    // 8.1 to 9.9 cannot be what [−2, 2] was made to.
    configuration(-0.9);
    let told = [
        "data.safetensors: array `x` is floating-point",
        "would make 9 to 19",
    ];
    has(&planes_warnings(&folder).join("\n"), &told);
    let path = |name: &str| result(&folder.path("out"), name);
    let soup = folder.soup("--methods uniform");
    has(&warned(soup, &path("soup.json")).join("\n"), &told);
    let spectrum = folder.spectrum("--top 1 --bottom 0 --trace 0 --probes 0");
    has(&warned(spectrum, &path("spectrum.json")).join("\n"), &told);
    // −5 to 5 may be: a word at the terminal, none in the results.
    configuration(0.5);
    let mut plane = folder.plane("--steps 3 --fresh");
    let output = plane.assert().success().get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr.matches("[preprocess] is for u8 alone").count(),
        1,
        "{stderr}"
    );
    let listed = folder.json("plane.json")["warnings"].to_string();
    assert!(!listed.contains("[preprocess]"), "{listed}");
}

fn digits(name: &str) -> PathBuf {
    common::example().join(name)
}

/// The example's network in a folder, its weights changed.
fn changed_origin(folder: &Path, change: impl Fn(usize, f32) -> f32) -> PathBuf {
    let mut model = ModelProto::decode(&fs::read(digits("zs.onnx")).unwrap()[..]).unwrap();
    let mut index = 0;
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let bytes = tensor.raw_data.clone().unwrap();
        let (values, _) = bytes.as_chunks::<4>();
        let values = values.iter().flat_map(|&value| {
            index += 1;
            change(index, f32::from_le_bytes(value)).to_le_bytes()
        });
        tensor.raw_data = Some(values.collect::<Vec<u8>>().into());
    }
    let path = folder.join("zs.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

/// A command on the example's test images.
fn on_digits(out: &Path, origin: &Path, words: &str) -> Command {
    let mut command = program();
    command
        .current_dir(digits(""))
        .args(words.split_whitespace())
        .args(["--test", "test.npz", "--limit", "300", "--origin"])
        .arg(origin)
        .arg("--out")
        .arg(out);
    command
}

/// The warnings of each command that knows several checkpoints.
fn of_each_command(origin: &Path) -> Vec<Vec<String>> {
    let out = tempfile::tempdir().unwrap();
    let models = ["ft1", "ft2"].map(|name| (name, digits(name)));
    let models = format!("--models {}", list(out.path().join("list.csv"), &models));
    let commands = [
        ("plane", "plane --a ft1 --b ft2 --steps 3".to_string()),
        ("line", "line --a ft1 --b ft2 --steps 3".to_string()),
        ("pairs", format!("pairs {models}")),
        ("soup", format!("soup --methods uniform {models}")),
    ];
    let warnings = commands.map(|(name, words)| {
        let path = result(out.path(), &format!("{name}.json"));
        warned(on_digits(out.path(), origin, &words), &path)
    });
    warnings.into()
}

#[test]
fn an_origin_that_is_another_is_told_and_the_right_one_is_not() {
    for warnings in of_each_command(&digits("zs.onnx")) {
        assert_eq!(warnings, Vec::<String>::new());
    }
    // ‖δ1‖ is 5.00: a random vector of that length, uniform in each of 60,874 places.
    let width = 5.0 * (3.0 / 60_874.0_f32).sqrt();
    let mut state = 1_u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        2.0 * ((state >> 33) as f32 / (1_u64 << 31) as f32) - 1.0
    };
    let offsets: Vec<f32> = (0..=60_874).map(|_| width * draw()).collect();
    let folder = tempfile::tempdir().unwrap();
    let origin = changed_origin(folder.path(), |index, value| value + offsets[index]);
    for warnings in of_each_command(&origin) {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        // True angle 52°; the offset is 5.00.
        let told = [
            "fine-tuned from zs?",
            "(angle 34°)",
            "a random offset of length 5.",
        ];
        has(&warnings[0], &told);
    }
}

#[test]
fn an_origin_at_chance_beside_good_checkpoints_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let origin = changed_origin(folder.path(), |_, value| 0.01 * value);
    let out = tempfile::tempdir().unwrap();
    let path = result(out.path(), "plane.json");
    let command = on_digits(out.path(), &origin, "plane --a ft1 --b ft2 --steps 3");
    let warnings = warned(command, &path).join("\n");
    has(
        &warnings,
        &[
            "fine-tuned from zs?",
            "On test it is at chance",
            "they are not (at most",
        ],
    );
    assert!(!warnings.contains("better than chance"), "{warnings}");
}

#[test]
fn models_at_chance_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dark.toml");
    fs::write(&config, "[preprocess]\nscale = 1e-9\n").unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = result(out.path(), "plane.json");
    let mut command = on_digits(
        out.path(),
        Path::new("zs.onnx"),
        "plane --a ft1 --b ft2 --steps 3",
    );
    command.arg("--config").arg(config);
    let warnings = warned(command, &path).join("\n");
    has(&warnings, &["better than chance on test", "chance 90.0 %"]);
}
