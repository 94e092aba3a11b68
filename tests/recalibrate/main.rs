//! `--bn`: batch norm's statistics averaged, θ0's, or re-estimated for every mix. Values are PyTorch's
//! in float64 (`tests/oracle/recalibrate.py`), or in closed form.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod closed;
#[path = "../common/mod.rs"]
mod common;
mod refused;
mod values;

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
