//! LoRA adapters against PEFT (`oracle/lora.py`), and what is told or refused about them.
//!
//! Losses agree to 1e-5 (float32 forward passes), merged tensors to 1e-6 of their size (PEFT sums
//! in float32).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{json, list, number, oracle, program, result, rows, warnings};

const ADAPTERS: [&str; 6] = ["plain", "stable", "dora", "half", "biased", "mixed"];

/// A folder with the base's network, the adapters and the data; with the base's state dict beside
/// the network where that is asked for.
fn folder(beside: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| fs::copy(oracle("lora").join(name), folder.path().join(name)).unwrap();
    for name in ["zs.onnx", "test.npz"] {
        copy(name);
    }
    if beside {
        copy("zs.safetensors");
    }
    for adapter in ADAPTERS {
        fs::create_dir(folder.path().join(adapter)).unwrap();
        for file in ["adapter_model.safetensors", "adapter_config.json"] {
            copy(&format!("{adapter}/{file}"));
        }
    }
    folder
}

fn run(folder: &Path, arguments: &str) -> Output {
    let mut command = program();
    command.current_dir(folder).args(arguments.split(' '));
    command.output().unwrap()
}

fn line(folder: &Path, a: &str, b: &str) -> Output {
    let flags = "--test test.npz --steps 3 --limit 0 --fresh";
    run(
        folder,
        &format!("line --origin zs.onnx --a {a} --b {b} {flags}"),
    )
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", told(output));
    told(output)
}

fn summary(folder: &Path, command: &str) -> Value {
    json(result(folder, &format!("{command}.json")))
}

/// The losses at both ends and at the midpoint of a line.
fn losses(folder: &Path) -> Vec<f64> {
    let rows = rows(result(folder, "line.csv"));
    rows.iter().map(|row| number(row, "soup_loss")).collect()
}

#[test]
fn adapters_and_their_averages_are_those_of_pefts_merged_models() {
    let expected = json(oracle("lora/expected.json"));
    for beside in [true, false] {
        let folder = folder(beside);
        for (a, b) in [
            ("plain", "stable"),
            ("dora", "half"),
            ("biased", "plain"),
            ("mixed", "half"),
        ] {
            // The folder or the file names an adapter.
            let file = format!("{b}/adapter_model.safetensors");
            let output = line(folder.path(), a, &file);
            assert!(output.status.success(), "{a} {b}: {}", told(&output));
            let found = losses(folder.path());
            let mean = format!("{a}+{b}");
            for (found, model) in found.iter().zip([a, &mean, b]) {
                let wanted = expected[model]["loss"].as_f64().unwrap();
                assert!((found - wanted).abs() < 1e-5, "{model}: {found} {wanted}");
            }
            assert_eq!(found.len(), 3);
            let summary = summary(folder.path(), "line");
            let how = if beside { "value" } else { "name" };
            for model in [a, b] {
                assert_eq!(summary["provenance"]["verified"][model], how, "{model}");
            }
            assert_eq!(warnings(&summary).is_empty(), beside, "{summary}");
            let hashed = summary["provenance"]["files"].to_string();
            for file in ["adapter_model.safetensors", "adapter_config.json"] {
                assert!(hashed.contains(&format!("{a}/{file}")), "{hashed}");
            }
        }
    }
}

/// The product of a tensor of a file with cos(0), cos(1), …, and its length.
fn projection(view: &safetensors::tensor::TensorView<'_>) -> (f64, usize) {
    assert_eq!(view.dtype(), safetensors::Dtype::F32);
    let (elements, _) = view.data().as_chunks::<4>();
    let terms = elements.iter().enumerate();
    let terms = terms.map(|(k, &bytes)| f64::from(f32::from_le_bytes(bytes)) * (k as f64).cos());
    (terms.sum(), elements.len())
}

#[test]
fn a_saved_model_is_the_merged_checkpoint_tensor_by_tensor() {
    let expected = json(oracle("lora/expected.json"));
    let folder = folder(true);
    for adapter in ADAPTERS {
        list(folder.path().join("models.csv"), &[("one", adapter)]);
        let output = run(
            folder.path(),
            "soup --origin zs.onnx --models models.csv --val test.npz --test test.npz --fresh \
             --methods uniform --force --save uniform=merged.safetensors"
                .replace("             ", "")
                .as_str(),
        );
        assert!(output.status.success(), "{adapter}: {}", told(&output));
        let bytes = fs::read(folder.path().join("merged.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let wanted = expected[adapter]["projections"].as_object().unwrap();
        assert_eq!(file.len(), wanted.len());
        for (name, wanted) in wanted {
            let (found, len) = projection(&file.tensor(name).unwrap());
            let off = (found - wanted.as_f64().unwrap()).abs();
            assert!(
                off < 1e-6 * (len as f64).sqrt(),
                "{adapter} {name}: {found} {wanted}"
            );
        }
    }
}

#[test]
fn an_inspection_shows_how_an_adapter_fits() {
    let folder = folder(true);
    let output = run(folder.path(), "inspect zs.onnx plain dora");
    assert!(output.status.success(), "{}", told(&output));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("conv.weight") && shown.contains("dora"),
        "{shown}"
    );
    let alone = refused(&run(folder.path(), "inspect plain"));
    assert!(alone.contains("only together with its base"), "{alone}");
}

#[test]
fn what_cannot_be_computed_is_refused_with_the_cure() {
    let folder = folder(true);
    let configuration = folder.path().join("plain/adapter_config.json");
    let text = fs::read_to_string(&configuration).unwrap();
    for (from, to, problem) in [
        ("\"LORA\"", "\"IA3\"", "of the kind IA3"),
        (
            "\"use_qalora\": false",
            "\"use_qalora\": true",
            "sets `use_qalora`",
        ),
        ("\"r\": 4", "\"r\": 2", "where the configuration says 2"),
        ("\"r\": 4", "\"r\": 0", "the rank 0"),
        (
            "\"lora_alpha\": 8",
            "\"lora_alpha\": NaN",
            "is not the configuration",
        ),
        (
            "\"init_lora_weights\": true",
            "\"init_lora_weights\": \"pissa\"",
            "pissa",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&configuration, text.replace(from, to)).unwrap();
        let message = refused(&line(folder.path(), "plain", "stable"));
        assert!(message.contains(problem), "{message}");
    }
    // An infinite weight is told as in any checkpoint.
    fs::write(
        &configuration,
        text.replace("\"lora_alpha\": 8", "\"lora_alpha\": 1e60"),
    )
    .unwrap();
    let message = refused(&line(folder.path(), "plain", "stable"));
    assert!(message.contains("NaN or infinite"), "{message}");
    fs::remove_file(&configuration).unwrap();
    let message = refused(&line(folder.path(), "plain", "stable"));
    assert!(
        message.contains("there is no adapter_config.json beside it"),
        "{message}"
    );
    assert!(message.contains("merge_and_unload"), "{message}");
}

#[test]
fn an_adapter_of_another_network_is_refused_by_name() {
    let folder = folder(true);
    fs::copy(
        oracle("lora/unmerged/zs.onnx"),
        folder.path().join("zs.onnx"),
    )
    .unwrap();
    fs::remove_file(folder.path().join("zs.safetensors")).unwrap();
    let message = refused(&line(folder.path(), "plain", "stable"));
    assert!(message.contains("not in its base, zs.onnx"), "{message}");
    assert!(
        message.contains("emb.weight") && message.contains("--origin-weights"),
        "{message}"
    );
}

#[test]
fn factors_in_a_graph_are_told_where_the_values_stand() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["zs.onnx", "ft1.onnx", "ft2.onnx", "test.npz"] {
        let from = oracle("lora/unmerged").join(name);
        fs::copy(from, folder.path().join(name)).unwrap();
    }
    let output = line(folder.path(), "ft1", "ft2");
    assert!(output.status.success(), "{}", told(&output));
    let summary = summary(folder.path(), "line");
    let warnings = warnings(&summary);
    let warning = warnings.iter().find(|it| it.contains("factors of LoRA"));
    let warning = warning.unwrap();
    assert!(warning.contains("`body`"), "{warning}");
    assert!(warning.contains("merge_and_unload"), "{warning}");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("an average of the factors A and B"),
        "{shown}"
    );
}
