//! Runs over files of every kind give the values of the same weights in `.safetensors` files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use landscape::checkpoint::safetensors;
use landscape::checkpoint::tensor::Tensor;
use serde_json::Value;
use tempfile::TempDir;

use super::common::{self, program, result, rows};
use super::pickles::save;

/// A folder with a network, its data, two fine-tunes as `.safetensors` files, and the same in other
/// files: `runs/a/model.pt` and `runs/b/model.pt` (one dictionary), `both.pth` (both fine-tunes),
/// `sharded/` (the first in two files).
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let from = common::oracle("folded/gain");
    for (file, name) in [
        ("zs_noopt.onnx", "zs.onnx"),
        ("ft1.safetensors", "ft1.safetensors"),
        ("ft2.safetensors", "ft2.safetensors"),
        ("test.npz", "test.npz"),
        ("zs.safetensors", "zs.safetensors"),
    ] {
        fs::copy(from.join(file), root.join(name)).unwrap();
    }
    let [one, two] = ["ft1.safetensors", "ft2.safetensors"]
        .map(|name| safetensors::read(&root.join(name)).unwrap());
    for (run, tensors) in [("a", &one), ("b", &two)] {
        fs::create_dir_all(root.join("runs").join(run)).unwrap();
        save(
            &root.join("runs").join(run).join("model.pt"),
            &[("state_dict", tensors)],
        );
    }
    save(
        &root.join("both.pth"),
        &[("state_dict", &one), ("model_ema", &two)],
    );
    shards(&root.join("sharded"), &one);
    folder
}

fn shards(folder: &Path, tensors: &BTreeMap<String, Tensor>) {
    fs::create_dir(folder).unwrap();
    let mut names = serde_json::Map::new();
    for part in 0..2 {
        let name = format!("pytorch_model-0000{}-of-00002.bin", part + 1);
        let own = tensors
            .iter()
            .enumerate()
            .filter(|(index, _)| index % 2 == part);
        let own: BTreeMap<String, Tensor> = own
            .map(|(_, (name, tensor))| (name.clone(), tensor.clone()))
            .collect();
        for tensor in own.keys() {
            names.insert(tensor.clone(), Value::from(name.as_str()));
        }
        save(&folder.join(&name), &[("weights", &own)]);
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": names });
    fs::write(
        folder.join("pytorch_model.bin.index.json"),
        index.to_string(),
    )
    .unwrap();
}

fn run(folder: &TempDir, flags: &str) -> Output {
    let mut command = program();
    command
        .current_dir(folder.path())
        .args(flags.split_whitespace());
    command.output().unwrap()
}

fn plane(folder: &TempDir, models: &str) -> (Value, Vec<String>, String) {
    let flags = "plane --origin zs.onnx --test test.npz --steps 3 --fresh";
    let output = run(folder, &format!("{flags} {models}"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{models}: {told}");
    let losses = rows(result(folder.path(), "plane.csv"));
    let losses = losses.iter().map(|row| row["loss"].clone()).collect();
    (
        common::json(result(folder.path(), "plane.json")),
        losses,
        told,
    )
}

fn names(summary: &Value) -> Vec<&str> {
    let checkpoints = summary["checkpoints"].as_array().unwrap();
    checkpoints
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect()
}

#[test]
fn every_kind_of_file_gives_the_same_plane() {
    let folder = folder();
    let (summary, expected, _) = plane(&folder, "--a ft1 --b ft2");
    assert!(summary["provenance"].get("dictionaries").is_none());
    for (models, called) in [
        ("--a runs/a/model.pt --b runs/b/model", ["a", "b"]),
        ("--a runs/a --b runs/b", ["a", "b"]),
        ("--a sharded --b two=ft2", ["sharded", "two"]),
        (
            "--a sharded/pytorch_model.bin.index.json --b ft2",
            ["pytorch_model", "ft2"],
        ),
    ] {
        let (summary, losses, _) = plane(&folder, models);
        assert_eq!(losses, expected, "{models}");
        assert_eq!(names(&summary)[1..3], called, "{models}");
    }
    // All files of a checkpoint are listed, and the dictionary that was taken.
    let (summary, _, _) = plane(&folder, "--a sharded --b runs/b");
    let provenance = &summary["provenance"];
    for file in [
        "sharded/pytorch_model.bin.index.json",
        "sharded/pytorch_model-00001-of-00002.bin",
        "sharded/pytorch_model-00002-of-00002.bin",
        "runs/b/model.pt",
    ] {
        assert!(provenance["files"].get(file).is_some(), "{provenance}");
    }
    assert_eq!(
        provenance["dictionaries"],
        serde_json::json!({ "b": "state_dict", "sharded": "weights" })
    );
    assert_eq!(provenance["verified"]["b"], "value");
}

#[test]
fn a_dictionary_is_chosen_by_flag_file_or_list_and_never_silently() {
    let folder = folder();
    let (_, expected, _) = plane(&folder, "--a ft2 --b ft1");
    let flags = "plane --origin zs.onnx --test test.npz --steps 3 --a both --b ft1";
    let refused = run(&folder, flags);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("`model_ema`: ") && told.contains("--weights state_dict"),
        "{told}"
    );
    let (summary, losses, _) = plane(&folder, "--a both --b ft1 --weights model_ema");
    assert_eq!(losses, expected);
    assert_eq!(summary["provenance"]["dictionaries"]["both"], "model_ema");
    fs::write(
        folder.path().join("landscape.toml"),
        "weights = \"model_ema\"\n",
    )
    .unwrap();
    assert_eq!(plane(&folder, "--a both --b ft1").1, expected);
    // Each row may choose its own.
    let list = "name,path,weights\nraw,both.pth,state_dict\nema,both.pth,model_ema\n";
    fs::write(folder.path().join("models.csv"), list).unwrap();
    let pairs = "pairs --origin zs.onnx --test test.npz --fresh --models";
    let angle = |models: &str| {
        let output = run(&folder, &format!("{pairs} {models}"));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let rows = rows(result(folder.path(), "pairs.csv"));
        (
            rows[0]["a"].clone(),
            rows[0]["b"].clone(),
            rows[0]["angle_deg"].clone(),
        )
    };
    let listed = angle("models.csv");
    assert_eq!((listed.0.as_str(), listed.1.as_str()), ("raw", "ema"));
    assert_eq!(listed.2, angle("ft1 ft2").2);
    let tensors = run(&folder, "inspect both.pth --weights state_dict");
    assert!(tensors.status.success());
    assert!(
        String::from_utf8(tensors.stderr)
            .unwrap()
            .contains("the tensors of `state_dict`:")
    );
}

#[test]
fn a_pattern_names_models_by_what_differs_and_a_soup_of_them_is_saved() {
    let folder = folder();
    let soup = "soup --origin zs.onnx --test test.npz --methods uniform --force --save \
                uniform=soup.safetensors --fresh --models";
    let saved = |models: &str| {
        let output = run(&folder, &format!("{soup} {models}"));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        safetensors::read(&folder.path().join("soup.safetensors")).unwrap()
    };
    let expected = saved("ft1 ft2");
    let found = saved("runs/*/model.pt");
    let models = rows(result(folder.path(), "soup.models.csv"));
    let names: Vec<&str> = models.iter().map(|row| row["name"].as_str()).collect();
    assert!(names.contains(&"a") && names.contains(&"b"), "{names:?}");
    assert_eq!(expected.len(), found.len());
    for (name, tensor) in expected {
        assert_eq!(tensor.bytes, found[&name].bytes, "{name}");
        assert_eq!(tensor.shape, found[&name].shape, "{name}");
    }
    let output = run(&folder, &format!("{soup} none/*/model.pt"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("--models: `none/*/model.pt` matches no file"),
        "{told}"
    );
}
