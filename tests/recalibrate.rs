//! `--bn`: batch norm's statistics averaged, θ0's, or re-estimated for every mix. Values are PyTorch's
//! in float64 (`tests/oracle/recalibrate.py`), or in closed form.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use landscape::checkpoint::onnx::Model;
use landscape::checkpoint::onnx::proto::{
    DataType, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TypeValue, ValueInfoProto,
};
use landscape::graph::build::described;
use prost::Message;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    head_alone, json, list, number, numbers, oracle, process, result, rows, warnings,
};

/// Relative difference of losses. The network computes in float32, PyTorch's values are in float64;
/// 7e-7 was seen.
const LOSS: f64 = 5e-6;

/// Difference of statistics, relative to the largest of a tensor; 3e-7 was seen.
const STATISTICS: f64 = 2e-6;

const PATH: &str = "--alpha=-0.5:1.5:9";

/// The program on a network of the oracle.
fn run(network: &str, command: &str, more: &[&str], out: &Path) -> Output {
    process()
        .current_dir(oracle("recalibrate").join(network))
        .arg(command)
        .args(["--train", "train.npz", "--test", "test.npz"])
        .args(more)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn path_of(network: &str, origin: &str, more: &[&str]) -> TempDir {
    let out = tempfile::tempdir().unwrap();
    let models = ["--origin", origin, "--a", "ft1", "--b", "ft2"];
    let output = run(network, "line", &[&models, more].concat(), out.path());
    assert!(output.status.success(), "{}", message(&output));
    out
}

/// What PyTorch finds on the test data for a policy: α, loss and number of wrong predictions.
fn expected(network: &str, policy: &str) -> Vec<(f64, f64, u64)> {
    let all = json(oracle("recalibrate").join(network).join("expected.json"));
    let mixes = all["mixes"].as_array().unwrap().iter();
    let one = |mix: &Value| {
        let score = match policy.split_once('=') {
            Some((_, plan)) => &mix["recalibrate"][plan],
            None => &mix[policy],
        };
        (
            mix["alpha"].as_f64().unwrap(),
            score["loss"].as_f64().unwrap(),
            score["wrong"].as_u64().unwrap(),
        )
    };
    mixes.map(one).collect()
}

/// Compares a path with PyTorch's values.
fn agrees(network: &str, policy: &str, out: &TempDir) {
    let found = rows(result(out.path(), "line.csv"));
    for (alpha, loss, wrong) in expected(network, policy) {
        let mut test = found.iter().filter(|row| row["dataset"] == "test");
        let row = test.find(|row| number(row, "alpha") == alpha).unwrap();
        let (own, error) = (number(row, "soup_loss"), number(row, "soup_error"));
        let close = (own - loss).abs() <= LOSS * loss;
        assert!(close, "{network}, {policy}, α = {alpha}: {own} for {loss}");
        let samples = number(row, "samples");
        assert_eq!(
            (error * samples).round() as u64,
            wrong,
            "{network}, {policy}"
        );
    }
}

const POLICIES: [&str; 4] = [
    "interpolate",
    "origin",
    "recalibrate=256:256",
    "recalibrate=200:64",
];

#[test]
fn every_policy_has_the_values_of_pytorch() {
    for network in ["plain", "resnet"] {
        for policy in POLICIES {
            let out = path_of(network, "zs.onnx", &[PATH, "--bn", policy]);
            agrees(network, policy, &out);
            let found = json(result(out.path(), "line.json"));
            assert_eq!(found["provenance"]["settings"]["bn"], *policy);
        }
    }
}

#[test]
fn the_average_fails_without_re_estimation_and_not_with_it() {
    // The interpolated midpoint of the residual network is wrong on a quarter of the images, and its
    // ends are on a few: the statistics alone make that.
    let at = |policy: &str, alpha: f64| {
        let found = expected("resnet", policy).into_iter();
        found
            .filter(|mix| mix.0 == alpha)
            .map(|mix| mix.2)
            .sum::<u64>()
    };
    assert!(at("interpolate", 0.5) >= 30 && at("recalibrate=256:256", 0.5) <= 2);
}

#[test]
fn graphs_of_every_opset_are_rewritten() {
    for opset in [11, 13, 17, 18] {
        let origin = format!("zs_opset{opset}.onnx");
        let policy = "recalibrate=200:64";
        let out = path_of("plain", &origin, &[PATH, "--bn", policy]);
        agrees("plain", policy, &out);
    }
}

#[test]
fn bindings_workers_and_chunks_have_the_same_statistics() {
    for policy in ["interpolate", "recalibrate=200:64"] {
        for more in [
            ["--binding", "in-graph"],
            ["--binding", "inputs"],
            ["--workers", "3"],
            ["--losses", "graph"],
        ] {
            let all = [&[PATH, "--bn", policy], more.as_slice()].concat();
            agrees("resnet", policy, &path_of("resnet", "zs.onnx", &all));
        }
    }
    // Many chunks: the statistics of a mix are those of all of them.
    let [one, many] = [vec![], vec!["--memory", "420K"]].map(|memory| {
        let all = [vec![PATH, "--bn", "recalibrate=100"], memory].concat();
        let out = path_of("resnet", "zs.onnx", &all);
        fs::read_to_string(result(out.path(), "line.csv")).unwrap()
    });
    assert_eq!(one, many);
}

/// A soup saved under this name, and the table that judges it.
fn saved(policy: &str, name: &str) -> (TempDir, PathBuf, f64) {
    let out = tempfile::tempdir().unwrap();
    let folder = oracle("recalibrate/resnet");
    let models = ["ft1", "ft2"].map(|name| (name, folder.join(format!("{name}.safetensors"))));
    let models = list(out.path().join("models.csv"), &models);
    let file = out.path().join(name);
    let save = format!("uniform={}", file.display());
    let more = [
        "--origin",
        "zs.onnx",
        "--models",
        &models,
        "--methods",
        "uniform",
    ];
    let bn = ["--bn", policy, "--save", &save];
    let output = run("resnet", "soup", &[&more[..], &bn].concat(), out.path());
    assert!(output.status.success(), "{}", message(&output));
    let found = json(result(out.path(), "soup.json"));
    let files = &found["provenance"]["files"];
    let hashed = files
        .as_object()
        .unwrap()
        .keys()
        .any(|path| path.ends_with("train.npz"));
    assert_eq!(hashed, policy != "origin");
    let loss = found["methods"][0]["scores"][0]["loss"].as_f64().unwrap();
    (out, file, loss)
}

/// The tensors of a saved file, as f32.
fn tensors(file: &Path) -> BTreeMap<String, Vec<f64>> {
    let floats = |bytes: &[u8]| -> Vec<f64> {
        let (floats, _) = bytes.as_chunks::<4>();
        floats
            .iter()
            .map(|x| f64::from(f32::from_le_bytes(*x)))
            .collect()
    };
    if file.extension().unwrap() == "onnx" {
        let model = Model::read(file).unwrap();
        let all = model.tensors.iter();
        return all
            .map(|(name, it)| (name.clone(), floats(&it.bytes)))
            .collect();
    }
    let bytes = fs::read(file).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    all.iter()
        .map(|(name, it)| (name.to_string(), floats(it.data())))
        .collect()
}

#[test]
fn a_saved_soup_holds_the_statistics_that_it_was_judged_with() {
    let policy = "recalibrate=200:64";
    let loss = expected("resnet", policy)
        .into_iter()
        .find(|mix| mix.0 == 0.5)
        .unwrap()
        .1;
    let all = json(oracle("recalibrate/resnet/expected.json"));
    for name in ["soup.safetensors", "soup.onnx"] {
        let (_out, file, judged) = saved(policy, name);
        assert!((judged - loss).abs() <= LOSS * loss, "{judged} for {loss}");
        let found = tensors(&file);
        for (name, values) in all["statistics"].as_object().unwrap() {
            let values = numbers(values);
            let largest = values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            for (own, value) in found[name].iter().zip(&values) {
                let close = (own - value).abs() <= STATISTICS * largest;
                assert!(close, "{name}: {own} for {value}");
            }
        }
        let text = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("landscape.bn") && text.contains(policy));
    }
    // Of θ0 they are θ0's, bit by bit.
    let (_out, file, _) = saved("origin", "soup.safetensors");
    let [found, origin] =
        [file, oracle("recalibrate/resnet/zs.safetensors")].map(|it| tensors(&it));
    for (name, values) in origin.iter().filter(|(name, _)| name.contains("running")) {
        assert_eq!(&found[name], values);
    }
}

#[test]
fn layers_that_no_checkpoint_moves_are_re_estimated_as_the_others_are() {
    // The first convolution and its batch norm are θ0's in both: the convolution runs once.
    let folder = tempfile::tempdir().unwrap();
    let from = oracle("recalibrate/resnet");
    for name in ["zs.onnx", "train.npz", "test.npz"] {
        fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    for name in ["ft1", "ft2"] {
        let file = format!("{name}.safetensors");
        let (tuned, to) = (from.join(&file), folder.path().join(&file));
        head_alone(&from.join("zs.safetensors"), &tuned, "layer", &to);
    }
    let line = |more: &[&str], b: &str| {
        let output = process()
            .current_dir(folder.path())
            .args([
                "line", "--origin", "zs.onnx", "--a", "ft1", "--b", b, "--steps", "3",
            ])
            .args(["--train", "train.npz", "--test", "test.npz"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", message(&output));
        rows(result(folder.path(), "line.csv"))
    };
    let recalibrated = line(&["--bn", "recalibrate=200:64"], "ft2");
    fs::write(
        folder.path().join("models.csv"),
        "name,path\nft1,ft1\nft2,ft2\n",
    )
    .unwrap();
    let output = process()
        .current_dir(folder.path())
        .args([
            "soup",
            "--origin",
            "zs.onnx",
            "--models",
            "models.csv",
            "--methods",
            "uniform",
        ])
        .args([
            "--train",
            "train.npz",
            "--test",
            "test.npz",
            "--bn",
            "recalibrate=200:64",
        ])
        .args(["--save", "uniform=soup.safetensors"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", message(&output));
    // The file, as it is, has the values of the midpoint.
    let as_it_is = line(&[], "soup");
    let loss = |rows: &[common::Row], alpha: f64| -> f64 {
        let mut test = rows.iter().filter(|row| row["dataset"] == "test");
        number(
            test.find(|row| number(row, "alpha") == alpha).unwrap(),
            "soup_loss",
        )
    };
    let (own, saved) = (loss(&recalibrated, 0.5), loss(&as_it_is, 1.0));
    assert!((own - saved).abs() <= 1e-6 * own, "{own} and {saved}");
    let interpolated = line(&[], "ft2");
    assert!((loss(&interpolated, 0.5) - own).abs() > 0.01 * own);
}

#[test]
fn a_killed_run_ends_with_the_bytes_of_an_undisturbed_one() {
    let models = [
        "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2", "--steps", "8",
    ];
    let plane = |out: &Path, policy: &str| {
        let mut command = process();
        command
            .current_dir(oracle("recalibrate/resnet"))
            .arg("plane")
            .args(models)
            .args([
                "--train",
                "train.npz",
                "--test",
                "test.npz",
                "--bn",
                policy,
                "--out",
            ])
            .arg(out)
            .stderr(std::process::Stdio::piped());
        command
    };
    let csv = |out: &TempDir| fs::read_to_string(result(out.path(), "plane.csv")).unwrap();
    let lines = |out: &TempDir| {
        let found = fs::read_dir(out.path().join(".landscape")).ok();
        let mut paths = found
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        let journal = paths.find(|path| path.extension().is_some_and(|end| end == "journal"));
        let text = journal.and_then(|path| fs::read_to_string(path).ok());
        text.map_or(0, |text| text.lines().count())
    };
    let policy = "recalibrate=200:64";
    let [whole, killed, other] = [0; 3].map(|_| tempfile::tempdir().unwrap());
    assert!(plane(whole.path(), policy).status().unwrap().success());
    let kill = |out: &TempDir| {
        let mut run = plane(out.path(), policy).spawn().unwrap();
        while lines(out) < 12 && run.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        run.kill().unwrap();
        assert!(!run.wait().unwrap().success(), "killed too late");
    };
    kill(&killed);
    let output = plane(killed.path(), policy).output().unwrap();
    assert!(
        message(&output).contains("were done before"),
        "{}",
        message(&output)
    );
    assert_eq!(csv(&killed), csv(&whole));
    // Another policy takes nothing of it over.
    kill(&other);
    let output = plane(other.path(), "recalibrate=200:100").output().unwrap();
    assert!(output.status.success());
    assert!(
        !message(&output).contains("were done before"),
        "{}",
        message(&output)
    );
    assert_ne!(csv(&other), csv(&whole));
}

#[test]
fn what_cannot_be_is_refused_with_the_cure() {
    let folder = oracle("recalibrate/plain");
    let out = tempfile::tempdir().unwrap();
    let models = ["ft1", "ft2"].map(|name| (name, folder.join(format!("{name}.safetensors"))));
    let models = list(out.path().join("models.csv"), &models);
    let refused = |command: &str, args: &str, words: &[&str]| {
        let output = process()
            .current_dir(&folder)
            .arg(command)
            .args(["--origin", "zs.onnx", "--out"])
            .arg(out.path())
            .args(
                args.split_whitespace()
                    .map(|it| it.replace("MODELS", &models)),
            )
            .output()
            .unwrap();
        let message = message(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        for word in words {
            assert!(message.contains(word), "{message}");
        }
    };
    let line = "--a ft1 --b ft2 --test test.npz --bn";
    let train = "--train train.npz";
    let cases = [
        (
            "line",
            format!("{line} recalibrate=10"),
            vec!["--train FILE"],
        ),
        (
            "line",
            format!("{line} recalibrate {train}"),
            vec!["expected interpolate, recalibrate=N"],
        ),
        (
            "line",
            format!("{line} recalibrate=300 {train}"),
            vec!["has 256", "recalibrate=256 takes"],
        ),
        (
            "line",
            format!("{line} recalibrate=65:64 {train}"),
            vec!["`", "multiple of the batch size"],
        ),
        (
            "plane",
            format!("{line} recalibrate=64 {train} --arrows"),
            vec!["--arrows needs the gradient"],
        ),
        (
            "spectrum",
            format!("{train} --bn recalibrate=64"),
            vec!["a Hessian needs the gradient"],
        ),
        (
            "soup",
            format!("--models MODELS {train} --val test.npz --methods learned --bn recalibrate=64"),
            vec!["a learned soup needs the gradient", "--bn interpolate"],
        ),
    ];
    for (command, args, words) in cases {
        refused(command, &args, &words);
    }
}

#[test]
fn learned_soups_are_left_out_of_the_table_if_nobody_asked_for_them() {
    let out = tempfile::tempdir().unwrap();
    let folder = oracle("recalibrate/plain");
    let models = ["ft1", "ft2"].map(|name| (name, folder.join(format!("{name}.safetensors"))));
    let models = list(out.path().join("models.csv"), &models);
    let more = [
        "--origin", "zs.onnx", "--models", &models, "--val", "test.npz",
    ];
    let output = run(
        "plain",
        "soup",
        &[&more[..], &["--bn", "recalibrate=128"]].concat(),
        out.path(),
    );
    assert!(output.status.success(), "{}", message(&output));
    let found = json(result(out.path(), "soup.json"));
    let told = warnings(&found);
    let is_told = |words: &str| told.iter().any(|warning| warning.contains(words));
    assert!(
        is_told("learned soups are left out: --bn: recalibrate"),
        "{told:?}"
    );
    assert!(!is_told("stale statistics"), "{told:?}");
    let note = "batch norm: statistics are re-estimated for every model, the single ones, too, from \
                128 samples of train.npz, in batches of 128";
    assert!(message(&output).contains(note), "{}", message(&output));
}

/// x [batch, 2] → batch norm → logits, in a folder with two checkpoints and data.
struct Closed {
    opset: i64,
    fixed: Option<i64>,
    /// Whether the running statistics are one tensor.
    merged: bool,
}

impl Closed {
    fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let names = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
        let values = [[1.0, 2.0], [0.5, 0.0], [0.25, -0.5], [1.5, 2.0]];
        let mut inputs: Vec<String> = std::iter::once("x")
            .chain(names)
            .map(String::from)
            .collect();
        if self.merged {
            inputs[4] = inputs[3].clone();
        }
        let tensor = |(name, values): (&str, [f32; 2])| TensorProto {
            name: Some(name.to_string()),
            dims: vec![2],
            data_type: Some(DataType::Float as i32),
            raw_data: Some(bytes(&values).into()),
            ..TensorProto::default()
        };
        let used = names
            .into_iter()
            .zip(values)
            .filter(|(name, _)| inputs.iter().any(|it| it == name));
        let model = ModelProto {
            ir_version: Some(6),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(self.opset),
            }],
            graph: Some(GraphProto {
                name: Some("closed".to_string()),
                node: vec![NodeProto {
                    name: Some("norm".to_string()),
                    op_type: Some("BatchNormalization".to_string()),
                    input: inputs.clone(),
                    output: vec!["logits".to_string()],
                    ..NodeProto::default()
                }],
                initializer: used.clone().map(tensor).collect(),
                input: vec![self.batched("x")],
                output: vec![self.batched("logits")],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        fs::write(path("zs.onnx"), model.encode_to_vec()).unwrap();
        for (file, shift) in [("ft1", 0.25), ("ft2", 0.75)] {
            let tuned = used
                .clone()
                .map(|(name, values)| (name, bytes(&values.map(|x| x + shift))));
            let tuned: Vec<(&str, Vec<u8>)> = tuned.collect();
            let views = tuned
                .iter()
                .map(|(name, bytes)| (*name, TensorView::new(Dtype::F32, vec![2], bytes).unwrap()));
            let to = path(&format!("{file}.safetensors"));
            safetensors::serialize_to_file(views, None, &to).unwrap();
        }
        // The first channel: 1 to 6, mean 3.5, Σ(x − m)² = 17.5. The second: mean 2, Σ = 120.
        let x: Vec<f32> = (0..6)
            .flat_map(|k| [k as f32 + 1.0, if k == 3 { 12.0 } else { 0.0 }])
            .collect();
        let (x, labels) = (
            bytes(&x),
            [0_i64, 1, 0, 1, 0, 1].map(i64::to_le_bytes).concat(),
        );
        let data = [
            ("x", TensorView::new(Dtype::F32, vec![6, 2], &x).unwrap()),
            (
                "labels",
                TensorView::new(Dtype::I64, vec![6], &labels).unwrap(),
            ),
        ];
        safetensors::serialize_to_file(data, None, &path("data.safetensors")).unwrap();
        fs::write(path("models.csv"), "name,path\nft1,ft1\nft2,ft2\n").unwrap();
        folder
    }

    /// An input or output of [batch, 2].
    fn batched(&self, name: &str) -> ValueInfoProto {
        let mut info = described(name, DataType::Float, &[1, 2]);
        let Some(TypeValue::Tensor(tensor)) = &mut info.r#type.as_mut().unwrap().value else {
            panic!("a tensor");
        };
        let value = match self.fixed {
            Some(batch) => DimensionValue::DimValue(batch),
            None => DimensionValue::DimParam("batch".to_string()),
        };
        tensor.shape.as_mut().unwrap().dim[0] = Dimension {
            value: Some(value),
            ..Dimension::default()
        };
        info
    }

    /// The uniform soup with its statistics re-estimated, saved as `soup.safetensors`.
    fn soup(&self, policy: &str) -> (TempDir, Output) {
        let folder = self.write();
        let output = process()
            .current_dir(folder.path())
            .args([
                "soup",
                "--origin",
                "zs.onnx",
                "--models",
                "models.csv",
                "--methods",
                "uniform",
            ])
            .args([
                "--train",
                "data.safetensors",
                "--test",
                "data.safetensors",
                "--bn",
                policy,
            ])
            .args(["--save", "uniform=soup.safetensors"])
            .output()
            .unwrap();
        (folder, output)
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn one_layer_has_the_mean_and_the_unbiased_variance_of_the_data() {
    for opset in [9, 11, 13, 14, 15, 17, 18, 21] {
        let (fixed, merged) = (None, false);
        let (folder, output) = Closed {
            opset,
            fixed,
            merged,
        }
        .soup("recalibrate=6");
        assert!(output.status.success(), "{}", message(&output));
        let found = tensors(&folder.path().join("soup.safetensors"));
        assert_eq!(found["bn.running_mean"], [3.5, 2.0], "opset {opset}");
        assert_eq!(found["bn.running_var"], [3.5, 24.0], "opset {opset}");
        assert_eq!(found["bn.weight"], [1.5, 2.5]);
    }
}

#[test]
fn a_fixed_batch_is_the_batch_and_must_divide_the_samples() {
    let closed = |fixed| Closed {
        opset: 17,
        fixed: Some(fixed),
        merged: false,
    };
    // Three batches of two: the mean is that of all, the variance the mean of three.
    let (folder, output) = closed(2).soup("recalibrate=6");
    assert!(output.status.success(), "{}", message(&output));
    let found = tensors(&folder.path().join("soup.safetensors"));
    assert_eq!(found["bn.running_mean"], [3.5, 2.0]);
    // In the pair with the 12, ½·12²; the other pairs have none.
    assert_eq!(found["bn.running_var"][1], 24.0);
    for (fixed, policy, words) in [
        (1, "recalibrate=6", "normalized by itself"),
        (4, "recalibrate=6", "recalibrate=4 fits"),
    ] {
        let (_folder, output) = closed(fixed).soup(policy);
        assert_eq!(output.status.code(), Some(2));
        assert!(message(&output).contains(words), "{}", message(&output));
    }
}

#[test]
fn statistics_that_an_exporter_merged_are_refused_and_so_is_a_network_without_any() {
    let closed = Closed {
        opset: 17,
        fixed: None,
        merged: true,
    };
    let (_folder, output) = closed.soup("recalibrate=6");
    assert_eq!(output.status.code(), Some(2));
    let told = message(&output);
    assert!(
        told.contains("both a mean and a variance") && told.contains("optimize=False"),
        "{told}"
    );
    let out = tempfile::tempdir().unwrap();
    for policy in ["origin", "recalibrate=10"] {
        let output = process()
            .current_dir(common::example())
            .args([
                "line", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2", "--bn", policy, "--out",
            ])
            .arg(out.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            message(&output).contains("has no batch norm"),
            "{}",
            message(&output)
        );
    }
}

#[test]
fn the_files_of_networks_are_taken_with_other_statistics() {
    // ONNX checkpoints are not run as they are: their own statistics are others.
    let folder = oracle("bn");
    let out = tempfile::tempdir().unwrap();
    for policy in ["origin", "recalibrate=64"] {
        let output = process()
            .current_dir(&folder)
            .args([
                "line",
                "--origin",
                "zs_noopt.onnx",
                "--a",
                "ft1_noopt.onnx",
                "--b",
                "ft2_noopt.onnx",
            ])
            .args([
                "--train", "data.npz", "--steps", "3", "--bn", policy, "--out",
            ])
            .arg(out.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", message(&output));
        let found = json(result(out.path(), "line.json"));
        assert!(
            found["checks"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| it["agrees"] == true)
        );
        assert_eq!(found["provenance"]["verified"]["ft1_noopt"], "graph");
        let own = warnings(&found)
            .iter()
            .any(|it| it.contains("θ0's running statistics"));
        assert_eq!(own, policy == "origin");
    }
}
