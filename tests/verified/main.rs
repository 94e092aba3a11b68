//! How tensors were verified, what exporters folded, and what `--ignore` leaves out.
//!
//! The networks are those of `tests/oracle/folded.py`, whose weights are computed from parameters;
//! values are PyTorch's in float64. Losses agree to 1e-5 (float32 forward passes; 1e-7 was seen).

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod fixed;
mod folded;
mod ignored;
mod matched;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{json, program, result};

const NETWORKS: [&str; 5] = ["gain", "standardized", "scaled", "absolute", "norm"];

fn oracle(network: &str) -> PathBuf {
    common::oracle("folded").join(network)
}

/// A folder with the origin `zs.onnx` of an export, the checkpoints and the data; with θ0's state
/// dict beside the origin where that is asked for.
fn folder(network: &str, export: &str, beside: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(oracle(network).join(from), folder.path().join(to)).unwrap();
    };
    copy(&format!("zs_{export}.onnx"), "zs.onnx");
    for file in ["ft1.safetensors", "ft2.safetensors", "test.npz"] {
        copy(file, file);
    }
    for model in ["ft1", "ft2"] {
        copy(&format!("{model}_opt.onnx"), &format!("{model}_opt.onnx"));
    }
    if beside {
        copy("zs.safetensors", "zs.safetensors");
    }
    folder
}

fn plane(folder: &TempDir, [a, b]: [&str; 2], more: &[&str]) -> Output {
    let mut command = program();
    command
        .current_dir(folder.path())
        .args(["plane", "--origin", "zs.onnx", "--steps", "3"]);
    command
        .args(["--a", a, "--b", b, "--test", "test.npz"])
        .args(more);
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The finished plane's JSON.
fn summary(folder: &TempDir) -> Value {
    json(result(folder.path(), "plane.json"))
}

fn losses(summary: &Value) -> Vec<f64> {
    let checkpoints = summary["checkpoints"].as_array().unwrap();
    checkpoints
        .iter()
        .map(|it| it["scores"][0]["loss"].as_f64().unwrap())
        .collect()
}

fn expected(network: &str) -> Vec<f64> {
    let expected = json(oracle(network).join("expected.json"));
    ["zs", "ft1", "ft2", "soup"]
        .map(|it| expected[it]["loss"].as_f64().unwrap())
        .to_vec()
}

fn agrees(network: &str, found: &[f64]) {
    for (found, expected) in found.iter().zip(expected(network)) {
        assert!(
            (found - expected).abs() < 1e-5,
            "{network}: {found} for {expected}"
        );
    }
}

const DICTS: [&str; 2] = ["ft1", "ft2"];
const DICTS_ALONE: [&str; 2] = ["ft1.safetensors", "ft2.safetensors"];
const GRAPHS: [&str; 2] = ["ft1_opt.onnx", "ft2_opt.onnx"];
