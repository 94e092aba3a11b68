//! Heads and vocabularies of another size: named, and taken from one model for all mixes.
//!
//! Values are PyTorch's in float64 (`tests/oracle/fixed.py`).

use std::fs;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{self, json, list, program, result};
use crate::{losses, stderr, stdout, summary};

/// A folder with the files; θ0's state dict is not beside the origin.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(common::oracle("fixed")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let weights = folder.path().join("zs.safetensors");
    fs::rename(weights, folder.path().join("origin.safetensors")).unwrap();
    folder
}

fn run(folder: &TempDir, arguments: &str) -> Output {
    let mut command = program();
    command
        .current_dir(folder.path())
        .args(arguments.split_whitespace());
    command.output().unwrap()
}

fn plane(folder: &TempDir, ending: &str, more: &str) -> Output {
    let common = "plane --origin zs.onnx --test test.npz --steps 3 --fresh";
    let models = format!("--a ft1.{ending} --b ft2.{ending}");
    run(folder, &format!("{common} {models} {more}"))
}

const FIXED: &str = "--fixed head.*=ft1 --fixed emb.*=ft1";

fn expected() -> Value {
    json(common::oracle("fixed").join("expected.json"))
}

#[test]
fn another_size_is_named_with_the_flags_to_paste() {
    let folder = folder();
    let output = plane(&folder, "safetensors", "");
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    for part in [
        "head.weight is [3, 8], the graph has [4, 8]",
        "emb.weight is [11, 6], the graph has [9, 6]",
        "--fixed 'emb.weight=ft1' --fixed 'head.*=ft1'",
        "--ignore 'emb.weight' --ignore 'head.*'",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert!(!told.contains("optimize=False"), "{told}");
    let told = stderr(&plane(&folder, "onnx", ""));
    assert!(told.contains("a head of another size?"), "{told}");
}

#[test]
fn fixed_tensors_give_pytorchs_values_and_are_out_of_the_geometry() {
    let expected = expected();
    let models = ["zs", "ft1", "ft2", "soup"];
    for (ending, more) in [
        ("safetensors", ""),
        ("safetensors", " --origin-weights origin.safetensors"),
        ("onnx", ""),
    ] {
        let folder = folder();
        let output = plane(&folder, ending, &format!("{FIXED}{more}"));
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = summary(&folder);
        for (model, loss) in models.iter().zip(losses(&summary)) {
            let wanted = expected[model]["loss"].as_f64().unwrap();
            assert!(
                (loss - wanted).abs() < 1e-5,
                "{ending} {model}: {loss} for {wanted}"
            );
        }
        for key in ["norm_a", "norm_b", "angle_deg"] {
            let [found, wanted] = [&summary["geometry"], &expected["geometry"]];
            let [found, wanted] = [found, wanted].map(|it| it[key].as_f64().unwrap());
            assert!(
                (found - wanted).abs() < 1e-5 * wanted,
                "{key}: {found} for {wanted}"
            );
        }
        // The names say which models are not their files, and the files of those are not run.
        let names = summary["checkpoints"].as_array().unwrap();
        let names: Vec<&str> = names
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        let with = " with head.* of ft1 with emb.* of ft1";
        assert_eq!(
            names[..3],
            [&format!("zs{with}"), "ft1", &format!("ft2{with}")]
        );
        let warnings = summary["warnings"].to_string();
        assert!(warnings.contains("--fixed takes emb.weight, head.bias, head.weight"));
        assert!(
            summary["checks"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| it["agrees"] == true)
        );
        let verified = &summary["provenance"]["verified"];
        assert_eq!(verified[names[0]], "fixed");
        let by = match (ending, more) {
            ("onnx", _) => "file",
            (_, "") => "name",
            _ => "value",
        };
        assert_eq!(verified["ft1"], by);
        assert_eq!(
            summary["provenance"]["settings"]["fixed"],
            "head.*=ft1, emb.*=ft1"
        );
    }
}

#[test]
fn a_saved_model_has_the_fixed_tensors_whichever_file_it_is_like() {
    let folder = folder();
    let (a, b) = ("ft1.safetensors", "ft2.safetensors");
    list(folder.path().join("m.csv"), &[("ft1", a), ("ft2", b)]);
    list(folder.path().join("turned.csv"), &[("ft2", b), ("ft1", a)]);
    let graphs = [("ft1", "ft1.onnx"), ("ft2", "ft2.onnx")];
    list(folder.path().join("graphs.csv"), &graphs);
    let graphs = [graphs[1], graphs[0]];
    list(folder.path().join("turned-graphs.csv"), &graphs);
    let wanted = expected()["soup"]["loss"].as_f64().unwrap();
    let data = "--val test.npz --test test.npz --fresh";
    for models in ["m.csv", "turned.csv", "graphs.csv", "turned-graphs.csv"] {
        let output = run(
            &folder,
            &format!(
                "soup --origin zs.onnx --models {models} {data} {FIXED} --methods uniform --force \
                 --save uniform=u.safetensors --save uniform=u.onnx"
            ),
        );
        assert!(output.status.success(), "{}", stderr(&output));
        let found = json(result(folder.path(), "soup.json"));
        let loss = found["methods"][0]["scores"][0]["loss"].as_f64().unwrap();
        assert!((loss - wanted).abs() < 1e-5, "{loss} for {wanted}");
        let bytes = fs::read(folder.path().join("u.safetensors")).unwrap();
        let saved = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let bytes = fs::read(folder.path().join(a)).unwrap();
        let donor = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(saved.len(), donor.len(), "{models}");
        for name in ["head.weight", "head.bias", "emb.weight"] {
            let (ours, theirs) = (saved.tensor(name).unwrap(), donor.tensor(name).unwrap());
            assert_eq!((ours.shape(), ours.data()), (theirs.shape(), theirs.data()));
        }
        // The saved network, judged by itself.
        let line = "line --origin u.onnx --a u.onnx --b u.onnx --test test.npz --steps 2 --fresh";
        let output = run(&folder, line);
        assert!(output.status.success(), "{}", stderr(&output));
        let line = json(result(folder.path(), "line.json"));
        let again = line["checkpoints"][0]["scores"][0]["loss"]
            .as_f64()
            .unwrap();
        assert!((again - wanted).abs() < 1e-5, "{again} for {wanted}");
    }
}

#[test]
fn the_origins_tensors_and_a_configuration() {
    let folder = folder();
    let config = "fixed = [\"head.*=origin\", \"emb.*=origin\"]\n";
    fs::write(folder.path().join("landscape.toml"), config).unwrap();
    // Words beyond θ0's vocabulary cannot be looked up in it: the runtime names the node.
    let output = plane(&folder, "safetensors", "");
    assert_ne!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("Gather"), "{}", stderr(&output));
    fs::remove_file(folder.path().join("landscape.toml")).unwrap();
    let output = run(
        &folder,
        "inspect zs.onnx ft1.safetensors ft2.safetensors --fixed head.*=origin --fixed emb.*=ft2",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(
        said.contains("constants of the network: emb.weight, head.bias, head.weight"),
        "{said}"
    );
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let folder = folder();
    for (fixed, words) in [
        ("head.*", "PATTERN=MODEL is needed"),
        (
            "head.*=ft3",
            "name one of the models (ft1, ft2) or `origin`",
        ),
        ("neck.*=ft1", "`neck.*` matches no tensor"),
        (
            "head.*=ft1 --fixed head.b*=ft2",
            "match one tensor and name two models",
        ),
    ] {
        let output = plane(&folder, "safetensors", &format!("--fixed {fixed}"));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{fixed}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{fixed}: {}",
            stderr(&output)
        );
    }
    // Patterns without effect are told by `inspect`, too.
    for files in ["zs.onnx", "zs.onnx ft1.onnx", "ft1.safetensors"] {
        let output = run(&folder, &format!("inspect {files} --ignore neck.*"));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{files}: {}",
            stdout(&output)
        );
        assert!(stderr(&output).contains("--ignore"), "{}", stderr(&output));
    }
}
