//! Real model families at tiny widths against PyTorch (`tests/real/small.py`): the path from θ0 over
//! θ1 to θ2, both midpoints included. `make test-real` does the same for many more.
//!
//! Losses agree to 1e-4 and errors to the sample, or the run is refused with a cure.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::{json, oracle, program};

/// The points of the path, two a leg.
const POINTS: [(&str, &str); 5] = [
    ("0.0", "zs"),
    ("0.5", "zs-ft1"),
    ("1.0", "ft1"),
    ("1.5", "ft1-ft2"),
    ("2.0", "ft2"),
];

/// Runs `line` in a folder with the network's files; θ0's state dict lies beside it if asked for.
fn line(network: &str, weights_of_origin: bool) -> (tempfile::TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(oracle("exports").join(network)).unwrap() {
        let file = file.unwrap();
        if weights_of_origin || file.file_name() != "zs.safetensors" {
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    let flags = "line --origin zs.onnx --through ft1.safetensors --b ft2.safetensors --steps 3 \
        --test data.npz --fresh";
    let output = program()
        .current_dir(folder.path())
        .args(flags.split_whitespace())
        .output()
        .unwrap();
    (folder, output)
}

/// The largest difference of a loss from PyTorch's.
fn off(network: &str, folder: &Path) -> f64 {
    let expected = json(oracle("exports").join(network).join("expected.json"));
    let rows = common::rows(folder.join("notebooks-data/line.csv"));
    assert_eq!(rows.len(), POINTS.len());
    let mut most: f64 = 0.0;
    for (alpha, point) in POINTS {
        let row = rows.iter().find(|row| row["alpha"] == alpha).unwrap();
        let wanted = &expected["points"][point];
        let loss: f64 = row["soup_loss"].parse().unwrap();
        let error: f64 = row["soup_error"].parse().unwrap();
        assert_eq!(
            wanted["near"], 0,
            "a tie: PyTorch's own errors are not certain"
        );
        let difference = (loss - wanted["loss"].as_f64().unwrap()).abs();
        let wrong = (16.0 * error - wanted["wrong"].as_f64().unwrap()).abs();
        most = most
            .max(difference)
            .max(if wrong > 0.5 { 1.0 } else { 0.0 });
    }
    most
}

fn summary(folder: &Path) -> Value {
    json(folder.join("notebooks-data/line.json"))
}

/// The network's values are PyTorch's, and its tensors are verified by value.
fn is_right(network: &str) {
    let (folder, output) = line(network, true);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{network}: {told}");
    let off = off(network, folder.path());
    assert!(off < 1e-4, "{network}: {off}");
    let verified = &summary(folder.path())["provenance"]["verified"];
    for model in ["ft1", "ft2"] {
        assert_eq!(verified[model], "value", "{network}: {verified}");
    }
}

#[test]
fn bert_from_torchscript_with_folded_transposes() {
    is_right("bert");
}

#[test]
fn llama_whose_rotary_frequencies_are_in_no_checkpoint() {
    is_right("llama");
}

#[test]
fn resnet_whose_batch_norms_the_exporter_folded() {
    is_right("resnet");
}

#[test]
fn bit_whose_standardized_weights_the_exporter_folded() {
    is_right("bit");
}

#[test]
fn a_weight_times_a_constant_folded_under_another_name() {
    is_right("scaled");
}

#[test]
fn without_the_state_dict_of_the_origin_no_value_is_wrong_without_a_warning() {
    for network in ["bert", "llama", "resnet", "bit", "scaled"] {
        let (folder, output) = line(network, false);
        let told = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(2), "{network}: {told}");
            assert!(
                told.contains("--origin-weights") || told.contains("optimize=False"),
                "{network}: no cure: {told}"
            );
            continue;
        }
        let warnings = summary(folder.path())["warnings"].to_string();
        assert!(warnings.contains("by name only"), "{network}: {warnings}");
    }
}
