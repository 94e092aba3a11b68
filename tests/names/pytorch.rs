//! A wrapped network with tied layers, a buffer that no state dict has, and parameters that it does
//! not use, against PyTorch in float64 (`oracle/names.py`).

use crate::common::{json, oracle, program, result};
use crate::has;

#[test]
fn losses_are_those_of_pytorch_under_any_names() {
    let folder = oracle("names");
    let expected = json(folder.join("expected.json"));
    let out = tempfile::tempdir().unwrap();
    for export in ["noopt", "ts"] {
        for weights in [&[][..], &["--origin-weights", "zs.safetensors"]] {
            // TorchScript keeps no record of what it drops, so `mask_token` and the weights of the
            // loss, which could be a gain, are left out by name.
            let ignored = match export {
                "ts" => &[
                    "--ignore",
                    "*.mask_token",
                    "--ignore",
                    "*criterion.weight",
                    "--ignore-unused",
                ][..],
                _ => &["--ignore-unused"],
            };
            let run = |ignored: &[&str]| {
                let origin = format!("zs_{export}.onnx");
                let mut command = program();
                command
                    .current_dir(&folder)
                    .args(["plane", "--steps", "3", "--fresh"]);
                command.args(["--origin", &origin, "--a", "ft1", "--b", "ft2"]);
                command
                    .args(["--test", "test.npz", "--out"])
                    .arg(out.path());
                command.args(weights).args(ignored).output().unwrap()
            };
            assert_eq!(run(&[]).status.code(), Some(2));
            let output = run(ignored);
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{told}");
            has(
                &told,
                &[
                    "--ignore-unused leaves out",
                    "`net._orig_mod.aux.*` (2 tensors)",
                ],
            );
            let plane = json(result(out.path(), "plane.json"));
            let settings = plane["provenance"]["settings"]["ignored-unused"].to_string();
            has(&settings, &["net._orig_mod.aux.*", "module.aux.*"]);
            let models = plane["checkpoints"].as_array().unwrap();
            assert_eq!(models.len(), 4);
            for model in models {
                let name = model["name"].as_str().unwrap();
                let expected = &expected[name.split('_').next().unwrap()];
                agree(&model["scores"][0]["loss"], expected);
            }
        }
    }
    let inspected = program()
        .current_dir(&folder)
        .args([
            "inspect",
            "zs_noopt.onnx",
            "ft1.safetensors",
            "--ignore-unused",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8(inspected.stdout).unwrap();
    has(
        &told,
        &["ft1: `net.` in the checkpoint's names stands for `model.` in the graph's"],
    );
}

/// Losses of float32 forward passes agree to 1e-5.
fn agree(found: &serde_json::Value, expected: &serde_json::Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!(
        (found / expected - 1.0).abs() < 1e-5,
        "{found} for {expected}"
    );
}
