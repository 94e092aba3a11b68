//! How tensors were verified, what exporters folded, and what `--ignore` leaves out.
//!
//! The networks are those of `tests/oracle/folded.py`, whose weights are computed from parameters;
//! values are PyTorch's in float64. Losses agree to 1e-5 (float32 forward passes; 1e-7 was seen).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use landscape::checkpoint::onnx::proto::ModelProto;
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{json, list, program, result};

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

fn plane(folder: &TempDir, [a, b]: [&str; 2], more: &[&str]) -> std::process::Output {
    let mut command = program();
    command
        .current_dir(folder.path())
        .args(["plane", "--origin", "zs.onnx", "--steps", "3"]);
    command
        .args(["--a", a, "--b", b, "--test", "test.npz"])
        .args(more);
    command.output().unwrap()
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &std::process::Output) -> String {
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
const GRAPHS: [&str; 2] = ["ft1_opt.onnx", "ft2_opt.onnx"];

#[test]
fn by_name_alone_is_said_in_the_terminal_the_json_and_the_figure() {
    for network in NETWORKS {
        let folder = folder(network, "noopt", false);
        let output = plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = summary(&folder);
        agrees(network, &losses(&summary));
        for model in ["ft1", "ft2"] {
            assert_eq!(summary["provenance"]["verified"][model], "name");
        }
        let warning = summary["warnings"][0].as_str().unwrap();
        assert!(warning.contains("by name only") && warning.contains("--origin-weights FILE"));
        assert!(stderr(&output).contains(warning));
        let svg = fs::read_to_string(folder.path().join("plots/plane.svg")).unwrap();
        assert!(svg.contains("<desc>Warning: ft1, ft2: tensors are matched by name only"));
        assert!(
            stdout(&output).contains("not the matching"),
            "{}",
            stdout(&output)
        );
    }
}

#[test]
fn a_state_dict_beside_the_origin_is_found_and_verifies_by_value() {
    for network in NETWORKS {
        let folder = folder(network, "noopt", true);
        let output = plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]);
        let summary = summary(&folder);
        agrees(network, &losses(&summary));
        assert_eq!(summary["provenance"]["verified"]["ft1"], "value");
        let told = summary["warnings"].to_string() + &stderr(&output);
        assert!(!told.contains("by name only"), "{told}");
        // It is one of the inputs that the result depends on.
        let files = summary["provenance"]["files"].as_object().unwrap();
        assert!(files.contains_key("zs.safetensors"));
    }
}

#[test]
fn what_the_exporter_computed_is_refused_for_state_dicts() {
    for network in NETWORKS {
        for beside in [false, true] {
            let folder = folder(network, "opt", beside);
            let output = plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]);
            assert_eq!(
                output.status.code(),
                Some(2),
                "{network} {}",
                stdout(&output)
            );
            let told = stderr(&output);
            assert!(told.contains("optimize=False"), "{network}: {told}");
            assert!(!told.contains("--ignore"), "{network}: {told}");
        }
    }
    let folder = folder("gain", "opt", false);
    let told = stderr(&plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]));
    assert!(
        told.contains("logit_scale went into `exp` by exp"),
        "{told}"
    );
    assert!(told.contains("g went into `add` by add"), "{told}");
}

#[test]
fn a_value_that_is_equal_at_the_origin_by_chance_does_not_pass() {
    let folder = folder("absolute", "opt", true);
    let told = stderr(&plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]));
    assert!(
        told.contains("a went into `abs") && told.contains("by abs"),
        "{told}"
    );
}

#[test]
fn a_constant_that_was_merged_with_a_parameter_is_refused_and_right_without_merging() {
    let merged = folder("merged", "opt", true);
    let output = plane(&merged, DICTS, &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("norm.weight went into"), "{told}");
    assert!(told.contains("a merge with a constant"), "{told}");
    let kept = folder("merged", "noopt", true);
    assert!(
        plane(&kept, ["ft1.safetensors", "ft2.safetensors"], &[])
            .status
            .success()
    );
    agrees("merged", &losses(&summary(&kept)));
}

#[test]
fn a_tensor_of_the_state_dict_that_is_nowhere_in_the_graph_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let vit = common::oracle("vit");
    for file in [
        "zs_ts.onnx",
        "ft1_ts.onnx",
        "ft2_ts.onnx",
        "data.npz",
        "zs.safetensors",
    ] {
        fs::copy(vit.join(file), folder.path().join(file)).unwrap();
    }
    let weights = folder.path().join("zs.safetensors");
    let run = |fresh: &str| {
        let flags = "plane --origin zs_ts.onnx --a ft1_ts.onnx --b ft2_ts.onnx --test data.npz \
            --steps 2 --origin-weights zs.safetensors";
        let mut command = program();
        command
            .current_dir(folder.path())
            .args(flags.split_whitespace())
            .arg(fresh);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        summary(&folder)["warnings"].to_string()
    };
    // Every tensor has its place, those that the exporter transposed and renamed as well.
    assert_eq!(run("--fresh"), "[]");
    let bytes = fs::read(&weights).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let gain: Vec<u8> = [0.5_f32, 2.0]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &gain);
    let mut tensors = file.tensors();
    tensors.push(("b.0.gain".to_string(), view.unwrap()));
    fs::write(&weights, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let told = run("--fresh");
    assert!(
        told.contains("nowhere in the graph (1: `b.0.gain`)"),
        "{told}"
    );
}

#[test]
fn averages_of_folded_tensors_are_told_where_the_values_stand() {
    for network in NETWORKS {
        let folder = folder(network, "opt", false);
        let output = plane(&folder, GRAPHS, &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = summary(&folder);
        let losses = losses(&summary);
        // At the files themselves values are right.
        agrees(network, &losses[..3]);
        assert_eq!(summary["provenance"]["verified"]["ft1_opt"], "file");
        let told = "an average of folded tensors";
        let soup = stdout(&output);
        let soup = soup.lines().find(|line| line.starts_with("soup")).unwrap();
        if network == "scaled" {
            // A product with a constant commutes with averaging: nothing to tell.
            agrees(network, &losses);
            assert_eq!(summary["warnings"].as_array().unwrap().len(), 0);
            assert!(!soup.contains(told), "{soup}");
            continue;
        }
        let wrong = (losses[3] - expected(network)[3]).abs();
        assert!(wrong > 1e-4, "{network}: {wrong}");
        assert!(soup.contains(told), "{soup}");
        let warning = summary["warnings"][0].as_str().unwrap();
        assert!(
            warning.contains("NOT those of averaged parameters"),
            "{warning}"
        );
        assert!(warning.contains("optimize=False"), "{warning}");
    }
    let folder = folder("norm", "opt", false);
    let told = stderr(&plane(&folder, GRAPHS, &[]));
    assert!(told.contains("FuseBatchNormInto"), "{told}");
}

#[test]
fn a_line_and_a_soup_of_folded_tensors_say_so_too() {
    let folder = folder("norm", "opt", false);
    let models = [("a", "ft1_opt.onnx"), ("b", "ft2_opt.onnx")];
    list(folder.path().join("m.csv"), &models);
    for arguments in [
        "line --origin zs.onnx --a ft1_opt.onnx --b ft2_opt.onnx --test test.npz --steps 3",
        "soup --origin zs.onnx --models m.csv --val test.npz --test test.npz --methods uniform",
        "pairs --origin zs.onnx --models m.csv --test test.npz",
    ] {
        let mut command = program();
        command
            .current_dir(folder.path())
            .args(arguments.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            stdout(&output).contains("an average of folded tensors"),
            "{arguments}"
        );
    }
}

#[test]
fn tensors_far_from_the_origins_make_the_warning_louder() {
    let folder = folder("scaled", "noopt", false);
    let moved = scale(
        &oracle("scaled").join("ft1.safetensors"),
        "body.weight",
        12.0,
    );
    fs::write(folder.path().join("far.safetensors"), moved).unwrap();
    let files = ["far.safetensors", "ft2.safetensors"];
    plane(&folder, files, &[]);
    // The exporter's record shows that nothing was folded: a head trained from scratch is like it.
    let told = summary(&folder)["warnings"].to_string();
    assert!(!told.contains("do NOT trust"), "{told}");
    // Other tools drop the record; then nothing but the values speaks.
    let origin = folder.path().join("zs.onnx");
    let mut model = ModelProto::decode(fs::read(&origin).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.metadata_props.clear();
    graph.value_info.clear();
    fs::write(&origin, model.encode_to_vec()).unwrap();
    let output = plane(&folder, files, &["--fresh"]);
    let told = summary(&folder)["warnings"].to_string();
    assert!(told.contains("do NOT trust these values"), "{told}");
    assert!(told.contains("`body.weight` lies"), "{told}");
    assert!(stderr(&output).contains("do NOT trust these values"));
}

/// A `.safetensors` file with one f32 tensor multiplied.
fn scale(file: &Path, name: &str, factor: f32) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    let (start, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let (from, to) = header.info(name).unwrap().data_offsets;
    for value in bytes[8 + start..][from..to].chunks_exact_mut(4) {
        let scaled = factor * f32::from_le_bytes(value.try_into().unwrap());
        value.copy_from_slice(&scaled.to_le_bytes());
    }
    bytes
}

#[test]
fn a_state_dict_of_another_model_beside_the_origin_is_refused_with_the_cure() {
    let folder = folder("scaled", "noopt", false);
    let other = oracle("scaled").join("ft1.safetensors");
    fs::copy(other, folder.path().join("zs.safetensors")).unwrap();
    let told = stderr(&plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]));
    assert!(
        told.contains("either zs.safetensors is not the state dict"),
        "{told}"
    );
    assert!(told.contains("--origin-weights"), "{told}");
}

#[test]
fn ignored_tensors_are_named_and_the_saved_model_is_the_one_that_was_judged() {
    let folder = folder("scaled", "noopt", true);
    let models = [("ft1", "ft1.safetensors"), ("ft2", "ft2.safetensors")];
    list(folder.path().join("models.csv"), &models);
    let run = |extra: &str| {
        let common = "soup --origin zs.onnx --val test.npz --test test.npz --methods uniform";
        let mut command = program();
        command
            .current_dir(folder.path())
            .args(common.split(' '))
            .args(extra.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (output, json(result(folder.path(), "soup.json")))
    };
    let (output, judged) = run("--models models.csv --ignore head.* \
        --save uniform=u.safetensors --save uniform=u.onnx");
    assert_eq!(judged["models"][0]["name"], "ft1 without head.*");
    let told = stderr(&output);
    assert!(told.contains("zs's tensors replace those of"), "{told}");
    assert_eq!(told.matches("--ignore leaves out").count(), 1, "{told}");
    let loss = judged["methods"][0]["scores"][0]["loss"].as_f64().unwrap();
    // The saved files, judged by themselves.
    for file in ["u.safetensors", "u.onnx"] {
        list(folder.path().join("one.csv"), &[("u", file)]);
        let (_, again) = run("--models one.csv");
        let saved = again["methods"][0]["scores"][0]["loss"].as_f64().unwrap();
        assert!((saved - loss).abs() < 1e-6, "{file}: {saved} for {loss}");
    }
    let bytes = fs::read(folder.path().join("u.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(
        metadata["landscape.left_out"],
        r#"["head.bias","head.weight"]"#
    );
    assert_eq!(metadata["landscape.left_out_from"], "zs");
}

#[test]
fn a_head_of_another_size_is_named_and_saved_as_it_was_judged() {
    let folder = folder("scaled", "noopt", false);
    let path = folder.path();
    // ft1 with a head for three classes in place of four.
    let bytes = fs::read(oracle("scaled").join("ft1.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let mut shape = view.shape().to_vec();
        let mut data = view.data();
        if name.starts_with("head.") {
            data = &data[..data.len() / shape[0] * 3];
            shape[0] = 3;
        }
        let view = safetensors::tensor::TensorView::new(view.dtype(), shape, data);
        (name, view.unwrap())
    });
    fs::write(
        path.join("new.safetensors"),
        safetensors::serialize(tensors, None).unwrap(),
    )
    .unwrap();
    list(path.join("m.csv"), &[("new", "new.safetensors")]);
    let run = |more: &[&str]| {
        let common = "soup --origin zs.onnx --models m.csv --val test.npz --test test.npz \
            --methods uniform --save uniform=u.safetensors --force";
        let mut command = program();
        command
            .current_dir(path)
            .args(common.split_whitespace())
            .args(more);
        command.output().unwrap()
    };
    assert_eq!(run(&[]).status.code(), Some(2));
    let idle = run(&["--ignore", "fc.*"]);
    assert!(
        stderr(&idle).contains("`fc.*` matches no tensor"),
        "{}",
        stderr(&idle)
    );
    let output = run(&["--ignore", "head.*"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(
        told.contains("zs's tensors replace those of new without head.*"),
        "{told}"
    );
    let judged = json(result(path, "soup.json"));
    assert_eq!(judged["models"][0]["name"], "new without head.*");
    // The file has θ0's head of four classes.
    let bytes = fs::read(path.join("u.safetensors")).unwrap();
    let saved = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bytes = fs::read(oracle("scaled").join("zs.safetensors")).unwrap();
    let origin = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ["head.weight", "head.bias"] {
        let (ours, theirs) = (saved.tensor(name).unwrap(), origin.tensor(name).unwrap());
        assert_eq!(ours.shape(), theirs.shape());
        assert_eq!(ours.data(), theirs.data());
    }
}

#[test]
fn an_adapter_is_told_for_what_it_is() {
    let folder = folder("scaled", "noopt", false);
    let values = [0_u8; 8];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &values);
    let name = "base_model.model.body.lora_A.weight";
    let bytes = safetensors::serialize([(name, view.unwrap())], None).unwrap();
    fs::write(folder.path().join("adapter.safetensors"), bytes).unwrap();
    let ignore = [
        "--ignore",
        "base_model*",
        "--ignore",
        "body*",
        "--ignore",
        "head*",
    ];
    let output = plane(&folder, ["adapter.safetensors", "ft2.safetensors"], &ignore);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("LoRA adapter") && told.contains("merge_and_unload"),
        "{told}"
    );
}

#[test]
fn names_of_files_may_be_given_without_their_endings() {
    let folder = folder("scaled", "noopt", true);
    assert!(plane(&folder, DICTS, &[]).status.success());
    assert_eq!(summary(&folder)["provenance"]["verified"]["ft2"], "value");
}
