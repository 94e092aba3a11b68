//! `spectrum` beside every eigenvalue that PyTorch finds (`tests/oracle/spectrum.py`), and what it
//! refuses.

use std::fs::{self, File};

use landscape::graph::build::node;
use ndarray::{Array1, ArrayD, Axis, Slice};
use ndarray_npy::{NpzReader, NpzWriter};
use predicates::str::contains;
use serde_json::Value;

use crate::common::small::{Folder, Small};
use crate::common::{self, Row, example, json, number, numbers, program};

fn oracle() -> Value {
    json(common::oracle("spectrum.json"))
}

/// The eigenvalues of an end that were found, in their order, all of them converged.
fn found(rows: &[Row], end: &str) -> Vec<f64> {
    let rows = rows.iter().filter(|row| row["end"] == end);
    rows.map(|row| {
        assert_eq!(row["converged"], "true");
        number(row, "eigenvalue")
    })
    .collect()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert!(!found.is_empty());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < tolerance,
            "{what}: {found} for {expected}"
        );
    }
}

/// The whole spectrum of a small network at its first fine-tune.
fn is_dense(network: &str, export: &str) {
    let oracle = oracle();
    let mut dense = oracle["dense"].as_array().unwrap().iter();
    let dense = dense.find(|dense| dense["network"] == network).unwrap();
    let folder = Folder::empty();
    program()
        .current_dir(common::oracle(network))
        .args(["spectrum", "--at", "ft1.safetensors", "--test", "data.npz"])
        .args(["--origin", &format!("zs_{export}.onnx")])
        .args(["--top", "6", "--bottom", "4", "--steps", "200"])
        .args(["--trace", "100000", "--probes", "0", "--accuracy", "1e-5"])
        .arg("--out")
        .arg(folder.path("out"))
        .assert()
        .success();
    let rows = folder.rows("spectrum.csv");
    let mut values = numbers(&dense["eigenvalues"]);
    // Products are of f32.
    let tolerance = 1e-5 * values[values.len() - 1];
    close(&found(&rows, "bottom"), &values, tolerance, network);
    values.reverse();
    close(&found(&rows, "top"), &values, tolerance, network);
    let json = folder.json("spectrum.json");
    assert_eq!(json["dimension"], dense["parameters"]);
    let number = |json: &Value, key: &str| json[key].as_f64().unwrap();
    let trace = number(&json["trace"], "value");
    // A product with each unit vector.
    close(
        &[trace],
        &[number(dense, "trace")],
        10.0 * tolerance,
        "trace",
    );
    assert!(number(&json["trace"], "se").abs() < 1e-9);
    close(
        &[number(&json, "loss")],
        &[number(dense, "loss")],
        1e-5,
        "loss",
    );
}

#[test]
fn tied_embeddings_have_the_eigenvalues_of_pytorch() {
    is_dense("tied", "noopt");
    is_dense("tied", "ts");
}

#[test]
fn batch_norm_has_the_eigenvalues_of_pytorch() {
    is_dense("bn", "noopt");
}

#[test]
fn the_example_has_the_eigenvalues_of_pytorch() {
    let oracle = oracle();
    let mut points = oracle["digits"].as_array().unwrap().iter();
    let expected = points.find(|point| point["point"] == "ft1").unwrap();
    let samples = expected["samples"].as_u64().unwrap() as isize;
    let folder = Folder::empty();
    let mut all = NpzReader::new(File::open(example().join("test.npz")).unwrap()).unwrap();
    let images: ArrayD<u8> = all.by_name("x").unwrap();
    let labels: Array1<u8> = all.by_name("labels").unwrap();
    let mut first = NpzWriter::new(File::create(folder.path("first.npz")).unwrap());
    let some = Slice::from(..samples);
    first
        .add_array("x", &images.slice_axis(Axis(0), some))
        .unwrap();
    first
        .add_array("labels", &labels.slice_axis(Axis(0), some))
        .unwrap();
    first.finish().unwrap();
    program()
        .current_dir(example())
        .args([
            "spectrum", "--origin", "zs.onnx", "--at", "ft1", "--on", "test",
        ])
        .args(["--limit", "0", "--top", "2", "--bottom", "0"])
        .args(["--trace", "0", "--probes", "0", "--test"])
        .arg(folder.path("first.npz"))
        .arg("--out")
        .arg(folder.path("out"))
        .assert()
        .success();
    let rows = folder.rows("spectrum.csv");
    close(
        &found(&rows, "top"),
        &numbers(&expected["top"]),
        1e-3,
        "digits",
    );
    let loss = folder.json("spectrum.json")["loss"].as_f64().unwrap();
    close(&[loss], &[expected["loss"].as_f64().unwrap()], 1e-6, "loss");
}

const FEW: &str = "--top 1 --bottom 0 --trace 0 --probes 0";

#[test]
fn a_point_is_named_by_files_and_weights() {
    let folder = Small::new().write();
    let loss = |at: &str| {
        folder.spectrum(&format!("{at} {FEW}")).assert().success();
        folder.json("spectrum.json")["loss"].as_f64().unwrap()
    };
    assert_eq!(loss(""), loss("--at zs.onnx"));
    assert_eq!(loss("--at ft1"), loss("--at ft1.safetensors:1"));
    assert_eq!(loss("--at ft1 --at ft2"), loss("--at ft1:0.5 --at ft2:0.5"));
    let ahead = loss("--at zs.onnx:-0.5 --at ft1:1.5");
    assert!(ahead != loss("--at ft1") && ahead.is_finite());
    for (at, words) in [
        (
            "--at ft1:0.5 --at ft2:0.4",
            "2 of 2 models have a weight, with the sum 0.9",
        ),
        (
            "--at ft1:0.5 --at ft2",
            "1 of 2 models have a weight, with the sum 0.5",
        ),
        (
            "--at ft1:much",
            "`ft1:much`: expected a number after the colon",
        ),
        ("--at nothing", "nothing: there is no such file"),
    ] {
        let refused = folder.spectrum(&format!("{at} {FEW}")).assert().code(2);
        refused.stderr(contains(words));
    }
}

#[test]
fn little_can_be_asked_for_but_not_nothing() {
    let folder = Small::new().write();
    for more in [
        "--top 0 --steps 1",
        "--top 1000 --bottom 1000",
        "--probes 0 --trace 0",
        "--trace 1 --limit 1",
        "--probes 1 --probe-steps 1 --workers 5 --batch 1000",
    ] {
        folder.spectrum(more).assert().success();
        let csv = folder.path("out/notebooks-data/spectrum.csv");
        program().arg("draw").arg(csv).assert().success();
    }
    // The error of one vector's estimate is not known.
    let one = folder.spectrum("--trace 1").assert().success();
    assert!(!String::from_utf8_lossy(&one.get_output().stdout).contains("NaN"));
    for (more, words) in [
        (
            "--top 0 --bottom 0 --trace 0 --probes 0",
            "there is nothing to compute",
        ),
        (
            "--accuracy 0",
            "--accuracy: is 0; a number above 0 is needed",
        ),
        ("--accuracy nan", "--accuracy: is NaN"),
        (
            "--max-time 1m",
            "--max-time: every Hessian-vector product needs all samples",
        ),
        (
            "--tolerance 0.1",
            "--tolerance: every Hessian-vector product",
        ),
        ("--on val", "--on: there is no data set `val`"),
        ("--device cuda", "has no CUDA provider"),
    ] {
        folder
            .spectrum(more)
            .assert()
            .code(2)
            .stderr(contains(words));
    }
    // Limits that a configuration has for planes are none of a spectrum's, which says so.
    let config = "max-time = \"1m\"\ntolerance = \"0.1\"\n";
    fs::write(folder.path("landscape.toml"), config).unwrap();
    let told = contains("limits in the configuration (max-time, tolerance) are ignored");
    folder.spectrum(FEW).assert().success().stderr(told);
}

#[test]
fn samples_beyond_the_limit_are_held_out() {
    let folder = Small::new().write();
    let run = |limit: u64| {
        let few = "--top 2 --bottom 1 --trace 9 --probes 0";
        let mut run = folder.spectrum(&format!("{few} --limit {limit}"));
        let stdout = run.assert().success().get_output().stdout.clone();
        let text = String::from_utf8(stdout).unwrap();
        (
            folder.json("spectrum.json"),
            folder.rows("spectrum.csv"),
            text,
        )
    };
    let (whole, rows, text) = run(0);
    let samples = whole["dataset"]["samples"].as_u64().unwrap();
    assert_eq!(whole["held_out_samples"], 0);
    assert!(whole["eigenvalues"][0]["held_out"].is_null());
    assert!(
        rows.iter()
            .all(|row| row["held_out"].is_empty() && number(row, "sampling_se") > 0.0)
    );
    assert!(whole["trace"]["sampling_se"].as_f64().unwrap() > 0.0);
    assert!(text.contains("no samples were held out"), "{text}");
    // A single sample has a curvature and no error.
    for (limit, held_out) in [(samples - 1, 1), (2, 2)] {
        let (some, rows, text) = run(limit);
        assert_eq!(some["dataset"]["samples"], limit);
        assert_eq!(some["held_out_samples"], held_out);
        assert!(text.contains(&format!("on {held_out} held out")), "{text}");
        for row in rows {
            assert!(number(&row, "held_out").is_finite());
            assert_eq!(row["held_out_se"].is_empty(), held_out == 1);
        }
    }
}

#[test]
fn weights_and_losses_that_are_not_finite_are_named() {
    let folder = Small::between(vec![node("Relu", &["h"], "a", &[])]).write();
    folder.scaled("bad", f64::NAN);
    let refused = folder.spectrum("--at bad").assert().code(2);
    refused.stderr(contains(
        "bad.safetensors: 30 values of `w1` are NaN or infinite",
    ));
    folder.scaled("far", 1e30);
    let failed = folder.spectrum("--at far").assert().code(1);
    failed.stderr(contains("product 1 with a vector is NaN"));
    assert!(!folder.path("out/notebooks-data/spectrum.csv").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_spectrum_with_one_message_and_no_file() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use crate::common::process;

    let folder = Small::between(vec![node("Relu", &["h"], "a", &[])]).write();
    let mut run = process()
        .current_dir(folder.path(""))
        .args(["spectrum", "--origin", "zs.onnx", "--out", "out"])
        .args(["--test", "data.safetensors", "--probes", "1000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let begun = lines.find(|line| line.as_ref().unwrap().contains("products"));
    assert!(begun.is_some());
    std::thread::sleep(std::time::Duration::from_millis(300));
    // Not SIGINT: a shell starts what it runs in the background with it ignored, and so it stays.
    let sent = Command::new("kill")
        .args(["-TERM", &run.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let errors: Vec<&String> = rest.iter().filter(|line| line.contains("error")).collect();
    // It could not go on, and does not say so.
    assert!(
        matches!(errors.as_slice(), [one] if one.ends_with("nothing is kept")),
        "{rest:?}"
    );
    assert!(!folder.path("out/notebooks-data/spectrum.csv").exists());
}
