//! Soups as files: saved, resumed and drawn again.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{Row, draw, example, number, process, result, rows};
use crate::{MODELS, json, list, soup, table};

#[test]
fn a_saved_soup_is_the_model_of_its_row() {
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name);
    let save = |method: &str, name: &str| format!("{method}={}", at(name).display());
    let saves = [
        save("greedy", "greedy.safetensors"),
        save("wise-ft:0.5", "half.onnx"),
        save("greedy-random", "random.safetensors"),
    ];
    let saves: Vec<&str> = saves.iter().flat_map(|save| ["--save", save]).collect();
    soup(out.path(), &[&MODELS[..], &saves].concat())
        .assert()
        .success();
    let made = table(out.path());
    let random = made.iter().filter(|row| row["method"] == "greedy-random");
    let val = |row: &&Row| number(row, "val_accuracy");
    // Of equals the first.
    let random = random
        .rev()
        .max_by(|a, b| val(a).total_cmp(&val(b)))
        .unwrap();
    let row = |method: &str| made.iter().find(|row| row["method"] == method).unwrap();
    let again = tempfile::tempdir().unwrap();
    let models = [
        ("greedy", at("greedy.safetensors")),
        ("half", at("half.onnx")),
        ("random", at("random.safetensors")),
    ];
    let models = list(again.path(), &models);
    soup(again.path(), &["--models", &models, "--methods", "best"])
        .assert()
        .success()
        // wise-ft:0.5 lies on the way from θ0 to the soup, and its logits are smaller; nothing else
        // is told.
        .stderr(
            contains("warning")
                .count(2)
                .and(contains("nearly parallel"))
                .and(contains("differ in scale")),
        );
    let read = rows(result(again.path(), "soup.models.csv"));
    for (read, row) in read.iter().zip([row("greedy"), row("wise-ft:0.5"), random]) {
        for column in ["val_accuracy", "test_accuracy", "shift_accuracy"] {
            assert_eq!(read[column], row[column], "{} {column}", read["name"]);
        }
        let loss = |row: &Row| number(row, "val_loss");
        // The network of the .onnx is optimized as a whole: rounding in another order.
        assert!((loss(read) / loss(row) - 1.0).abs() < 1e-5);
    }
}

#[test]
fn files_are_written_over_only_by_force_and_never_over_a_model() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("soup.safetensors");
    fs::write(&file, "mine").unwrap();
    let save = format!("uniform={}", file.display());
    let more = [&MODELS[..], &["--methods", "uniform", "--save", &save]].concat();
    soup(out.path(), &more)
        .assert()
        .code(2)
        .stderr(contains("exists already").and(contains("--force")));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    soup(out.path(), &[&more[..], &["--force"]].concat())
        .assert()
        .success();
    assert!(fs::metadata(&file).unwrap().len() > 200_000);
    for (save, message) in [
        ("uniform=ft1.safetensors", "one of the inputs"),
        ("uniform=zs.onnx", "one of the inputs"),
        ("ensemble=e.safetensors", "many models"),
        ("uniform=e.pt", "ends neither"),
        ("uniform", "METHOD=FILE"),
        ("learnt=e.onnx", "there is no method `learnt`"),
    ] {
        soup(
            out.path(),
            &[&MODELS[..], &["--force", "--save", save]].concat(),
        )
        .assert()
        .code(2)
        .stderr(contains(message));
    }
}

#[test]
fn a_killed_run_computes_no_logits_twice_and_ends_with_the_same_bytes() {
    let start = |out: &Path| {
        let mut command = process();
        command
            .current_dir(example())
            .args([
                "soup",
                "--origin",
                "zs.onnx",
                "--models",
                "models.csv",
                "--out",
            ])
            .arg(out)
            .args(["--limit", "1000", "--workers", "1"])
            // Learning computes no logits that are kept, and takes minutes.
            .args([
                "--methods",
                "best,uniform,greedy,greedy-random,wise-ft,ensemble",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let whole = tempfile::tempdir().unwrap();
    assert!(start(whole.path()).status().unwrap().success());
    let killed = tempfile::tempdir().unwrap();
    let lines = || {
        let folder = fs::read_dir(killed.path().join(".landscape"));
        let mut files = folder
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        let journal = files.find(|path| path.extension().is_some_and(|end| end == "journal"));
        let text = journal.and_then(|path| fs::read_to_string(path).ok());
        text.map_or(0, |text| text.lines().count())
    };
    // In the midst of the logits, then in the midst of the trials.
    let mut before = 0;
    for until in [6, 45] {
        let mut run = start(killed.path()).spawn().unwrap();
        let begun = Instant::now();
        while lines() < until && run.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(2));
        }
        run.kill().unwrap();
        assert!(!run.wait().unwrap().success(), "the kill came too late");
        assert!(lines() >= until && lines() > before);
        before = lines();
    }
    assert!(start(killed.path()).status().unwrap().success());
    for file in [
        "soup.csv",
        "soup.models.csv",
        "soup.trace.csv",
        "soup.weights.csv",
    ] {
        let read = |out: &Path| fs::read(result(out, file)).unwrap();
        assert_eq!(read(killed.path()), read(whole.path()), "{file}");
    }
    let samples = |out: &Path| json(out)["evaluations"]["samples"].as_u64().unwrap();
    // All logits but those of θ0 alone would be more.
    assert!(samples(killed.path()) < samples(whole.path()) - 16 * 5000);
    assert!(!killed.path().join(".landscape").exists());
}

#[test]
fn figures_are_drawn_again_from_their_files() {
    let out = tempfile::tempdir().unwrap();
    soup(out.path(), &MODELS).assert().success();
    let again = tempfile::tempdir().unwrap();
    let csv = result(out.path(), "soup.csv");
    draw(&csv, again.path()).assert().success();
    let svg = "soup-learned-by-layer.svg";
    for file in ["soup.png", "soup.svg", "soup-learned-by-layer.png", svg] {
        let first = fs::read(out.path().join("plots").join(file)).unwrap();
        assert_eq!(first, fs::read(again.path().join(file)).unwrap());
    }
    let svg = fs::read_to_string(again.path().join(svg)).unwrap();
    assert!(svg.contains("by tensor; white: 1/16"));
    let path = result(out.path(), "soup.json");
    fs::write(path, "{}").unwrap();
    draw(&csv, again.path())
        .assert()
        .code(2)
        .stderr(contains("is no table of soups"));
}
