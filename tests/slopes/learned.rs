//! `soup --methods learned,learned-by-layer`: the table, its files, and unusual models and settings.

use landscape::checkpoint::onnx::proto::NodeProto;
use landscape::graph::build::{ints, node};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::common::small::{Folder, Small};
use crate::common::{Row, example, number, program};

const LEARNED: &str = "--methods uniform,learned,learned-by-layer";

fn losses(rows: &[Row]) -> Vec<f64> {
    rows.iter()
        .map(|row| number(row, "val_loss_calibrated"))
        .collect()
}

#[test]
fn the_example_has_learned_soups_in_its_table_and_in_its_json() {
    let folder = Folder::empty();
    let run = |more: &[&str]| {
        let mut command = program();
        command
            .current_dir(example())
            .args(["soup", "--origin", "zs.onnx", "--models", "models.csv"])
            .args(["--methods", "uniform,learned,learned-by-layer"])
            .args(["--limit", "96", "--epochs", "2", "--out"])
            .arg(folder.path("out"))
            .args(more);
        command.assert().success().get_output().clone()
    };
    let output = run(&["--table", "markdown"]);
    let table = String::from_utf8(output.stdout).unwrap();
    // The table, and below it what its marks mean.
    let mut rows = table.lines().take_while(|line| !line.is_empty());
    assert!(rows.all(|line| line.starts_with('|')), "{table}");
    assert!(table.contains("bold: "), "{table}");
    assert!(table.contains("learned soup (by layer)"), "{table}");
    let rows = folder.rows("soup.csv");
    let losses = losses(&rows);
    // The best epoch is kept, and the first is the uniform soup.
    assert!(losses[1] < losses[0] && losses[2] < losses[0], "{losses:?}");
    let steps = folder.rows("soup.learned.csv");
    assert!(steps.iter().any(|row| row["method"] == "learned-by-layer"));

    let output = run(&["--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let methods = found["methods"].as_array().unwrap();
    let names: Vec<&str> = methods
        .iter()
        .map(|made| made["method"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["uniform", "learned", "learned-by-layer"]);
    assert_eq!(folder.rows("soup.csv"), rows);
}

#[test]
fn the_same_run_gives_the_same_files_and_workers_change_the_last_digits_alone() {
    let folder = Small::new().write();
    let run = |workers: usize| {
        let command = format!("{LEARNED} --learn-batch 10 --workers {workers} --batch 4 --fresh");
        folder.soup(&command).assert().success();
        let text = |name: &str| {
            std::fs::read_to_string(folder.path("out/notebooks-data").join(name)).unwrap()
        };
        let files = ["soup.csv", "soup.weights.csv", "soup.learned.csv"].map(text);
        (files, losses(&folder.rows("soup.csv")))
    };
    let (files, alone) = run(1);
    assert_eq!(run(1).0, files);
    for workers in [2, 5] {
        let (_, found) = run(workers);
        for (found, expected) in found.iter().zip(&alone) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{workers}: {found} {expected}"
            );
        }
    }
}

#[test]
fn saved_soups_are_read_again_with_the_accuracy_of_the_table() {
    let folder = Small::new().write();
    let saves = "--save learned=whole.onnx --save learned-by-layer=layers.safetensors";
    folder
        .soup(&format!("{LEARNED} --fixed-beta {saves}"))
        .assert()
        .success();
    let made = folder.rows("soup.csv");
    folder.list(&["whole", "layers"]);
    folder.soup("--methods uniform").assert().success();
    let found = folder.rows("soup.models.csv");
    for (made, found) in made[1..].iter().zip(&found) {
        assert_eq!(made["val_accuracy"], found["val_accuracy"]);
        let off = number(made, "val_loss") - number(found, "val_loss");
        assert!(off.abs() < 1e-6, "{off}");
    }
    // The loss is that of a spectrum there, too.
    let at = "--at layers.safetensors --top 1 --bottom 0 --trace 0 --probes 0";
    folder.spectrum(at).assert().success();
    let spectrum = folder.json("spectrum.json");
    let off = spectrum["loss"].as_f64().unwrap() - number(&made[2], "val_loss");
    assert!(off.abs() < 1e-6, "{off}");
    assert_eq!(spectrum["name"], "layers");
}

#[test]
fn unusual_settings_and_models_have_soups() {
    let folder = Small::new().write();
    for more in [
        "--limit 1",
        "--limit 1 --holdout 50%",
        "--limit 2 --holdout 50%",
        "--holdout 99%",
        "--holdout 0.001",
        "--learn-batch 1000",
        "--batch 7 --learn-batch 5",
        "--memory 1M --threads 2",
        "--unconstrained --lr 500",
    ] {
        let output = folder.soup(&format!("{LEARNED} {more}"));
        output.assert_quietly(more);
        let losses = losses(&folder.rows("soup.csv"));
        assert!(
            losses.iter().all(|loss| loss.is_finite()),
            "{more}: {losses:?}"
        );
    }
    for models in [&["ft1"][..], &["ft1", "same"], &["zero", "ft1"]] {
        std::fs::copy(
            folder.path("ft1.safetensors"),
            folder.path("same.safetensors"),
        )
        .unwrap();
        folder.scaled("zero", 1.0);
        folder.list(models);
        folder.soup(LEARNED).assert_quietly(&format!("{models:?}"));
        let losses = losses(&folder.rows("soup.csv"));
        assert!(losses[1] <= losses[0] && losses[2] <= losses[0]);
    }
}

#[test]
fn diverged_models_are_told() {
    let folder = Small::between(vec![node("Relu", &["h"], "a", &[])]).write();
    folder.scaled("nan", f64::NAN);
    folder.list(&["ft1", "nan", "ft2"]);
    folder
        .soup(LEARNED)
        .assert()
        .success()
        .stderr(contains("nan is left out"));
    assert_eq!(folder.rows("soup.csv")[1]["members"], "ft1;ft2");
    // Finite weights whose products are not: the uniform soup has no loss.
    folder.scaled("far", 1e30);
    folder.list(&["ft1", "far"]);
    // Learning begins at the best model alone, and nothing improves it.
    let told = contains("no epoch improved on the loss of the start, the best single model")
        .and(contains("far: "))
        .and(contains("uniform: "))
        .and(contains("losses are NaN or infinite"))
        .and(contains("learned: 37").not());
    folder.soup(LEARNED).assert().success().stderr(told);
}

/// Less the mean over the batch, as batch norm in training mode: the loss is another in every batch.
fn centred() -> Vec<NodeProto> {
    let mean = NodeProto {
        attribute: vec![ints("axes", &[0])],
        ..node("ReduceMean", &["h"], "m", &[])
    };
    vec![mean, node("Sub", &["h", "m"], "a", &[])]
}

#[test]
fn a_network_whose_samples_depend_on_each_other_is_refused() {
    let folder = Small::between(centred()).write();
    let output = folder
        .soup(&format!("{LEARNED} --batch 5"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    for part in ["depends on the other samples", "model.eval()"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!folder.path("out/notebooks-data/soup.csv").exists());
}

#[test]
fn a_layer_that_is_frozen_is_run_once() {
    let folder = Small {
        between: vec![node("Tanh", &["h"], "a", &[])],
        head_alone: true,
        ..Small::new()
    }
    .write();
    let output = folder.plane("--steps 2").output().unwrap();
    assert!(output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("3 of 4 nodes are frozen"), "{message}");
}

/// Runs that have nothing to warn of but what every run of these networks tells.
trait Quiet {
    fn assert_quietly(self, what: &str);
}

impl Quiet for assert_cmd::Command {
    fn assert_quietly(mut self, what: &str) {
        let output = self.output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{what}: {message}");
        // That nothing was gained, that no state dict of θ0 is there, that the models' β differ, and
        // that models are equal, may be said.
        let mut lines = message.lines();
        let quiet = |line: &str| {
            let known = [
                "no epoch improved",
                "by name only",
                "differ in scale",
                " equal",
            ];
            !line.contains("warning") || known.iter().any(|it| line.contains(it))
        };
        assert!(lines.all(quiet), "{what}: {message}");
    }
}
