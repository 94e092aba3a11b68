//! Computations that change nothing at θ0, and do in the fine-tunes: an exporter that folds them stores
//! the parameter's own values. No run may print other values than PyTorch's without a word.
//!
//! The networks are those of `tests/oracle/coincidences.py`. Losses agree to 1e-5 (float32 forward
//! passes); the wrong ones were off by 3e-4 to 1e-1.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;

use crate::common::{json, oracle, program};

/// What a run may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It prints PyTorch's values.
    Right,
    /// It prints others, and warns.
    Said,
    /// It names a cure and no value.
    Refused,
}

use Outcome::{Refused, Right, Said};

/// Each network and exporter, and what comes out with θ0's state dict beside the network.
const CASES: [(&str, &str, Outcome); 28] = [
    ("shared_shift", "opt", Right),
    ("shared_shift", "ts", Said),
    ("squared_gain", "opt", Refused),
    ("squared_gain", "ts", Said),
    ("masked", "opt", Refused),
    ("masked", "ts", Said),
    ("joined", "opt", Refused),
    ("joined_twice", "opt", Refused),
    ("joined_mask", "opt", Refused),
    ("reference", "opt", Refused),
    ("step", "opt", Refused),
    ("step", "noopt", Refused),
    ("identity", "opt", Right),
    ("padded", "opt", Right),
    ("orthogonal", "opt", Right),
    ("twice", "opt", Right),
    ("turned", "opt", Refused),
    ("turned", "ts", Said),
    ("minus_row", "opt", Refused),
    ("rounded", "opt", Refused),
    ("rounded", "ts", Said),
    ("equal_buffer", "opt", Refused),
    ("equal_buffer", "noopt", Right),
    ("equal_buffer", "ts", Said),
    ("attribute", "noopt", Right),
    ("switched", "opt", Refused),
    ("switched", "noopt", Refused),
    ("switched", "ts", Refused),
];

#[test]
fn what_equals_a_parameter_only_at_the_origin_is_never_taken_for_it_silently() {
    let mut wrong = Vec::new();
    for (network, exporter, expected) in CASES {
        let found = outcome(network, exporter);
        if found != Ok(expected) {
            wrong.push(format!("{network} {exporter}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a line between the two fine-tunes gives; an error if its values are wrong without a warning, or
/// its refusal has no cure.
fn outcome(network: &str, exporter: &str) -> Result<Outcome, String> {
    let folder = tempfile::tempdir().unwrap();
    let from = oracle("coincidences").join(network);
    let exported = format!("zs_{exporter}.onnx");
    for (name, to) in [
        (exported.as_str(), "zs.onnx"),
        ("zs.safetensors", "zs.safetensors"),
        ("ft1.safetensors", "ft1.safetensors"),
        ("ft2.safetensors", "ft2.safetensors"),
        ("test.npz", "test.npz"),
    ] {
        fs::copy(from.join(name), folder.path().join(to)).unwrap();
    }
    let line =
        "line --origin zs.onnx --a ft1.safetensors --b ft2.safetensors --steps 3 --test test.npz";
    let mut command = program();
    let command = command.current_dir(folder.path());
    let output = command.args(line.split_whitespace()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        let has_cure = told.contains("optimize=False") || told.contains("--ignore");
        return if has_cure { Ok(Refused) } else { Err(told) };
    }
    let expected: Vec<f64> =
        serde_json::from_str(&fs::read_to_string(from.join("expected.json")).unwrap()).unwrap();
    let results = folder.path().join("notebooks-data");
    let mut rows = csv::Reader::from_path(results.join("line.csv")).unwrap();
    let column = rows
        .headers()
        .unwrap()
        .iter()
        .position(|it| it == "soup_loss")
        .unwrap();
    let losses = rows
        .records()
        .map(|row| row.unwrap()[column].parse::<f64>().unwrap());
    let is_right = losses
        .zip(&expected)
        .all(|(found, wanted)| (found - wanted).abs() < 1e-5);
    let summary = json(results.join("line.json"));
    let warnings = summary["warnings"].as_array().unwrap();
    match (is_right, warnings.is_empty()) {
        (true, _) => Ok(Right),
        (false, false) => Ok(Said),
        (false, true) => Err("wrong without a word".to_string()),
    }
}
