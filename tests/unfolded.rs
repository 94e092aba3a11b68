//! Graphs whose tensors the exporter computed, with state dicts as checkpoints: θ0's own state dict
//! explains them, and the graph is unfolded.
//!
//! The networks are those of `tests/oracle/unfolded.py`; values are PyTorch's in float64. Losses
//! agree to 1e-5 (float32 forward passes; 1e-6 was seen).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use crate::common::{json, list, oracle, program, result};

const EXPORTS: [(&str, &str); 11] = [
    ("norms", "opt"),
    ("recurrent", "opt"),
    ("recurrent", "ts"),
    ("standardized", "opt"),
    ("standardized", "ts"),
    ("text", "opt"),
    ("text", "ts"),
    ("folded", "opt"),
    ("folded", "ts"),
    ("lookups", "opt"),
    ("lookups", "ts"),
];

/// A folder with the origin `zs.onnx`, state dicts and data; with θ0's state dict if asked for.
fn folder(network: &str, export: &str, beside: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = oracle("unfolded").join(network);
    let copy = |name: &str, to: &str| {
        fs::copy(from.join(name), folder.path().join(to)).unwrap();
    };
    copy(&format!("zs_{export}.onnx"), "zs.onnx");
    for file in ["ft1.safetensors", "ft2.safetensors", "test.npz"] {
        copy(file, file);
    }
    if beside {
        copy("zs.safetensors", "zs.safetensors");
    }
    folder
}

fn run(folder: &Path, arguments: &str) -> Output {
    let mut command = program();
    command
        .current_dir(folder)
        .args(arguments.split_whitespace());
    command.output().unwrap()
}

const PLANE: &str =
    "plane --origin zs.onnx --a ft1.safetensors --b ft2.safetensors --test test.npz --steps 3";

fn told(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn losses(folder: &Path) -> Vec<f64> {
    let summary = json(result(folder, "plane.json"));
    let models = summary["checkpoints"].as_array().unwrap().clone();
    let loss = |it: &serde_json::Value| it["scores"][0]["loss"].as_f64().unwrap();
    models.iter().map(loss).collect()
}

fn expected(network: &str) -> [f64; 4] {
    let expected = json(oracle("unfolded").join(network).join("expected.json"));
    ["zs", "ft1", "ft2", "soup"].map(|it| expected[it].as_f64().unwrap())
}

fn agrees(network: &str, found: &[f64]) {
    assert_eq!(found.len(), 4);
    for (found, expected) in found.iter().zip(expected(network)) {
        assert!(
            (found - expected).abs() < 1e-5 * (1.0 + expected),
            "{network}: {found} for {expected}"
        );
    }
}

#[test]
fn values_are_those_of_averaged_state_dicts() {
    for (network, export) in EXPORTS {
        let folder = folder(network, export, true);
        let output = run(folder.path(), PLANE);
        assert!(
            output.status.success(),
            "{network} {export}: {}",
            told(&output)
        );
        agrees(network, &losses(folder.path()));
        let summary = json(result(folder.path(), "plane.json"));
        assert_eq!(summary["provenance"]["verified"]["ft1"], "value");
        let warnings = summary["warnings"].to_string();
        // A batch norm that was folded is seen again.
        let statistics = warnings.contains("running statistics were averaged");
        assert_eq!(statistics, network == "folded", "{warnings}");
    }
}

#[test]
fn without_the_state_dict_of_the_origin_they_are_refused() {
    for (network, export) in EXPORTS {
        let folder = folder(network, export, false);
        let output = run(folder.path(), PLANE);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{network} {export}: {}",
            told(&output)
        );
    }
}

#[test]
fn inspect_shows_how_each_tensor_is_computed() {
    let of = |network: &str, export: &str| {
        let folder = folder(network, export, true);
        told(&run(folder.path(), "inspect zs.onnx ft1.safetensors"))
    };
    for (network, export, shown) in [
        (
            "folded",
            "opt",
            "`stem.weight` = stem.weight × norm0 (batch norm unfolded)",
        ),
        ("folded", "ts", "conv2.weight × norm2 (batch norm unfolded)"),
        ("norms", "opt", "conv.weight_v, conv.weight_g (weight norm)"),
        ("norms", "opt", "(spectral norm)"),
        ("text", "opt", "= exp(logit_scale)"),
        ("text", "opt", "= −exp(A_log as [1, 8])"),
        ("recurrent", "ts", "gru.weight_ih_l0 (gates reordered)"),
        ("standardized", "ts", "· b.gain"),
        (
            "lookups",
            "opt",
            "= places.weight[0..7 of axis 0] as [1, 7, 8]",
        ),
        (
            "lookups",
            "opt",
            "= later.weight[2..9 of axis 0] as [1, 7, 8]",
        ),
        ("lookups", "opt", "= attention.relative.weight[49 rows]"),
        ("lookups", "ts", "= attention.table[49 rows]"),
    ] {
        let told = of(network, export);
        assert!(told.contains(shown), "{network} {export}: {shown}\n{told}");
    }
    // Statistics and the vectors of spectral norm are no part of the geometry.
    let told = of("norms", "opt");
    let buffer = |name: &str| {
        let line = told.lines().find(|line| line.starts_with(name)).unwrap();
        line.contains("not part of norms")
    };
    assert!(buffer("two.weight_u ") && buffer("one.parametrizations.weight.0._v "));
    assert!(!buffer("conv.weight_v "));
}

#[test]
fn tables_that_come_from_no_parameter_are_constants() {
    let folder = folder("lookups", "opt", true);
    let told = told(&run(folder.path(), PLANE));
    let note = "constants of the network are taken from the graph: `cos`, `sin`";
    assert!(told.contains(note), "{told}");
}

#[test]
fn rows_that_a_bound_or_a_magnitude_may_change_are_refused() {
    // At θ0, all rows are within the bound, and all sizes are positive.
    let folder = folder("changed", "opt", true);
    let output = run(folder.path(), PLANE);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for part in ["`clamp` [1, 7, 8]", "`abs_1` [1, 7, 8]", "optimize=False"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn what_the_network_does_not_read_is_told_from_a_factor_that_was_dropped() {
    let unread = ["final.bias", "final.weight", "projection"];
    let aside = folder("aside", "opt", true);
    let refused = told(&run(aside.path(), PLANE));
    for name in unread {
        assert!(
            refused.contains(&format!("--ignore '{name}'")),
            "{name}: {refused}"
        );
    }
    let ignoring = format!("{PLANE} --ignore-unused");
    let output = run(aside.path(), &ignoring);
    assert!(output.status.success(), "{}", told(&output));
    agrees("aside", &losses(aside.path()));
    // The factor is 1 at θ0, so the graph has none; with and without θ0's state dict.
    for beside in [true, false] {
        let dropped = folder("dropped", "opt", beside);
        let output = run(dropped.path(), &ignoring);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("left `factor`"), "{told}");
        assert!(!told.contains("--ignore 'factor'"), "{told}");
    }
}

#[test]
fn a_learned_soup_goes_through_what_was_unfolded() {
    for network in ["folded", "norms", "standardized", "lookups"] {
        let folder = folder(network, "opt", true);
        let models = [("ft1", "ft1.safetensors"), ("ft2", "ft2.safetensors")];
        list(folder.path().join("models.csv"), &models);
        let output = run(
            folder.path(),
            "soup --origin zs.onnx --models models.csv --val test.npz --test test.npz \
             --methods uniform,learned --save uniform=u.onnx --save uniform=u.safetensors",
        );
        assert!(output.status.success(), "{}", told(&output));
        let soup = json(result(folder.path(), "soup.json"));
        let methods = soup["methods"].as_array().unwrap();
        let loss = |name: &str| {
            let found = methods.iter().find(|it| it["method"] == name);
            found.unwrap()["scores"][0]["loss"].as_f64().unwrap()
        };
        let uniform = loss("uniform");
        assert!((uniform - expected(network)[3]).abs() < 1e-5, "{network}");
        assert!(loss("learned") <= uniform + 1e-6, "{network}");
        // What is saved is what was judged: as a checkpoint, and as an origin.
        let again = |flags: &str, field: &str| {
            let common = "soup --models one.csv --val test.npz --test test.npz --methods uniform";
            let output = run(folder.path(), &format!("{common} {flags} --fresh"));
            assert!(output.status.success(), "{flags}: {}", told(&output));
            let soup = json(result(folder.path(), "soup.json"));
            let model = match field {
                "origin" => &soup["origin"],
                _ => &soup["models"][0],
            };
            let saved = model["scores"][0]["loss"].as_f64().unwrap();
            assert!(
                (saved - uniform).abs() < 1e-6,
                "{flags}: {saved} for {uniform}"
            );
        };
        list(folder.path().join("one.csv"), &[("u", "u.safetensors")]);
        again("--origin zs.onnx", "models");
        list(folder.path().join("one.csv"), &[("ft1", "ft1.safetensors")]);
        again("--origin u.onnx --origin-weights u.safetensors", "origin");
    }
}

/// Writes θ0's state dict with one tensor times a factor.
fn scale(from: &Path, to: &Path, name: &str, factor: f32) {
    let bytes = fs::read(from).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    let (values, _) = tensor.data().as_chunks::<4>();
    let values = values
        .iter()
        .flat_map(|it| (f32::from_le_bytes(*it) * factor).to_le_bytes());
    let values: Vec<u8> = values.collect();
    let tensors = file.tensors().into_iter().map(|(own, view)| {
        let data = if own == name {
            values.as_slice()
        } else {
            view.data()
        };
        let view = TensorView::new(view.dtype(), view.shape().to_vec(), data).unwrap();
        (own, view)
    });
    fs::write(to, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

#[test]
fn what_is_not_the_value_is_refused_with_the_nearest_tensor_and_its_distance() {
    for (network, name) in [
        ("folded", "norm1.running_var"),
        ("text", "k.weight"),
        ("norms", "conv.weight_g"),
        ("lookups", "attention.table"),
    ] {
        let folder = folder(network, "opt", false);
        let from = oracle("unfolded").join(network).join("zs.safetensors");
        // A hundred thousandth is more than rounding.
        scale(&from, &folder.path().join("zs.safetensors"), name, 1.000_1);
        let output = run(folder.path(), PLANE);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{network}: {}",
            told(&output)
        );
        let told = told(&output);
        assert!(
            told.contains("no expression of θ0's state dict gives"),
            "{told}"
        );
        assert!(
            told.contains("is nearest to") || told.contains("is like it"),
            "{told}"
        );
    }
}
