//! Against PyTorch in float64: every network and exporter of `tests/oracle/make_oracle.py`.
//!
//! Tolerances: losses to 1e-5 relative (float32 forward passes; 1e-7 was seen), errors to the
//! sample, norms to 1e-12 relative, angles to 1e-9 degrees.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;

use assert_cmd::Command;
use serde_json::Value;

use crate::common::{json, oracle, program, result, table};

fn range(grid: &Value, axis: &str) -> String {
    let part = |k: usize| grid[axis][k].to_string();
    format!("--{axis}={}:{}:{}", part(0), part(1), part(2))
}

/// Runs `landscape plane` on the oracle's grid; returns the output folder.
fn plane(network: &str, files: [&str; 3], more: &[&str]) -> (Command, tempfile::TempDir) {
    let out = tempfile::tempdir().unwrap();
    let expected = json(oracle(network).join("expected.json"));
    let mut command = program();
    command
        .current_dir(oracle(network))
        .args([
            "plane", "--origin", files[0], "--a", files[1], "--b", files[2],
        ])
        .args([
            "--test",
            "data.npz",
            &range(&expected["grid"], "x"),
            &range(&expected["grid"], "y"),
        ])
        .args(more)
        .arg("--out")
        .arg(out.path());
    (command, out)
}

/// Holds a finished run against the oracle.
fn agrees(network: &str, files: [&str; 3], more: &[&str]) -> String {
    let (mut command, out) = plane(network, files, more);
    command.assert().success();
    let expected = json(oracle(network).join("expected.json"));
    let csv = fs::read_to_string(result(out.path(), "plane.csv")).unwrap();
    let rows = table(&csv);
    let points = expected["points"].as_array().unwrap();
    assert_eq!(rows.len(), points.len());
    for point in points {
        let (i, j) = (point["i"].to_string(), point["j"].to_string());
        let row = rows
            .iter()
            .find(|row| row["i"] == i && row["j"] == j)
            .unwrap();
        let number = |key: &str| common::number(row, key);
        let loss = point["loss"].as_f64().unwrap();
        let off = (number("loss") / loss - 1.0).abs();
        assert!(
            off < 1e-5,
            "{files:?} ({i}, {j}): loss {} for {loss}",
            number("loss")
        );
        let errors = (number("error") * number("samples")).round();
        assert_eq!(
            errors,
            point["errors"].as_f64().unwrap(),
            "{files:?} ({i}, {j})"
        );
    }
    let summary = json(result(out.path(), "plane.json"));
    let value = |of: &Value, key: &str| of["geometry"][key].as_f64().unwrap();
    for key in ["norm_a", "norm_b"] {
        let off = value(&summary, key) / value(&expected, key) - 1.0;
        assert!(off.abs() < 1e-12, "{files:?}: {key}");
    }
    let angle = value(&summary, "angle_deg") - value(&expected, "angle_deg");
    assert!(angle.abs() < 1e-9, "{files:?}: angle off by {angle}");
    for check in summary["checks"].as_array().unwrap() {
        assert_eq!(check["agrees"], true, "{check}");
    }
    csv
}

/// Both kinds of checkpoint beside one origin agree with the oracle and give the same bytes.
fn both_kinds_agree(network: &str, export: &str) {
    let (zs, a, b) = (
        format!("zs_{export}.onnx"),
        format!("ft1_{export}.onnx"),
        format!("ft2_{export}.onnx"),
    );
    let named = agrees(network, [&zs, "ft1.safetensors", "ft2.safetensors"], &[]);
    let graphs = agrees(network, [&zs, &a, &b], &[]);
    assert_eq!(named, graphs, "{network} {export}");
    let mixed = agrees(network, [&zs, "ft1.safetensors", &b], &[]);
    assert_eq!(named, mixed, "{network} {export}");
}

fn refused(network: &str, files: [&str; 3], words: &[&str]) {
    let (mut command, out) = plane(network, files, &[]);
    let output = command.assert().code(2).get_output().stderr.clone();
    let message = String::from_utf8(output).unwrap();
    for word in words {
        assert!(
            message.contains(word),
            "{files:?}: no `{word}` in\n{message}"
        );
    }
    assert!(!out.path().join("notebooks-data").exists());
}

#[test]
fn a_transformer_whose_export_keeps_every_tensor() {
    both_kinds_agree("vit", "noopt");
}

#[test]
fn a_transformer_with_merged_and_transposed_tensors() {
    both_kinds_agree("vit", "ts");
}

#[test]
fn multi_head_attention_with_layer_scale_and_embeddings() {
    both_kinds_agree("mha", "noopt");
    both_kinds_agree("mha", "ts");
}

#[test]
fn tied_embeddings_count_once() {
    both_kinds_agree("tied", "noopt");
    both_kinds_agree("tied", "ts");
}

#[test]
fn batch_norm_statistics_move_with_the_mix_and_stay_out_of_the_geometry() {
    both_kinds_agree("bn", "noopt");
    both_kinds_agree("bn", "ts_nofold");
}

#[test]
fn folded_batch_norm_is_refused_for_unfolded_checkpoints() {
    for export in ["zs_opt.onnx", "zs_ts.onnx"] {
        let words = [
            "bn1.running_mean",
            "batch norm was folded",
            "optimize=False",
        ];
        refused("bn", [export, "ft1.safetensors", "ft2.safetensors"], &words);
    }
}

#[test]
fn folded_batch_norm_in_all_graphs_is_warned_of() {
    let (mut command, _out) = plane("bn", ["zs_opt.onnx", "ft1_opt.onnx", "ft2_opt.onnx"], &[]);
    let output = command.assert().success().get_output().stderr.clone();
    let message = String::from_utf8(output).unwrap();
    assert!(
        message.contains("averaging folded weights is not folding averaged weights"),
        "{message}"
    );
}

#[test]
fn biases_that_the_exporter_dropped_are_refused() {
    let words = [
        "only in the checkpoint",
        "head.1.bias [4]",
        "patch.bias [32]",
        "optimize=False",
    ];
    refused(
        "vit",
        ["zs_opt.onnx", "ft1.safetensors", "ft2.safetensors"],
        &words,
    );
    let words = [
        "is not the same network as zs_opt.onnx",
        "Gemm",
        "2 inputs, the other's has 3",
    ];
    refused(
        "vit",
        ["zs_opt.onnx", "ft1_opt.onnx", "ft2_opt.onnx"],
        &words,
    );
}

#[test]
fn another_network_is_refused_with_what_does_not_fit() {
    let words = [
        "only in the graph",
        "only in the checkpoint",
        "looks like a checkpoint of another network",
    ];
    refused(
        "vit",
        ["zs_noopt.onnx", "../mha/ft1.safetensors", "ft2.safetensors"],
        &words,
    );
    let words = ["ft1_noopt.onnx: is not the same network as"];
    refused(
        "vit",
        ["zs_noopt.onnx", "../mha/ft1_noopt.onnx", "ft2.safetensors"],
        &words,
    );
}

#[test]
fn the_origins_own_weights_verify_every_match() {
    let files = ["zs_ts.onnx", "ft1.safetensors", "ft2.safetensors"];
    agrees("vit", files, &["--origin-weights", "zs.safetensors"]);
    let (mut command, _out) = plane("vit", files, &["--origin-weights", "ft1.safetensors"]);
    let output = command.assert().code(2).get_output().stderr.clone();
    let message = String::from_utf8(output).unwrap();
    assert!(
        message.contains("matched, but not the same tensor"),
        "{message}"
    );
}

#[test]
fn workers_and_batches_do_not_change_the_rows() {
    let files = ["zs_noopt.onnx", "ft1.safetensors", "ft2.safetensors"];
    let one = agrees("vit", files, &["--workers", "1"]);
    let three = agrees("vit", files, &["--workers", "3"]);
    assert_eq!(one, three);
    agrees("vit", files, &["--batch", "7"]);
}

#[test]
fn the_bundled_digits_network() {
    let example = "../../../examples/digits";
    let file = |name: &str| format!("{example}/{name}");
    let config = file("landscape.toml");
    let more = ["--config", config.as_str(), "--limit", "0"];
    let (zs, a, b) = (
        file("zs.onnx"),
        file("ft1.safetensors"),
        file("ft2.safetensors"),
    );
    let named = agrees("digits", [&zs, &a, &b], &more);
    let (a, b) = (file("ft1.onnx"), file("ft2.onnx"));
    let graphs = agrees("digits", [&zs, &a, &b], &more);
    assert_eq!(named, graphs);
}
