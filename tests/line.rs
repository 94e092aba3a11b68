//! `landscape line` on the bundled example: against PyTorch and SciPy (`oracle/line.py`,
//! `oracle/calibrated.py`), and its refusals.
//!
//! Tolerances: losses to 1e-5 relative, as of the plane (float32 forward passes); errors to the
//! sample.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

use crate::common::{Row, draw, example, json, number, oracle, program, result};

fn line(out: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command
        .current_dir(example())
        .args(["line", "--origin", "zs.onnx", "--out"])
        .arg(out)
        .args(more);
    command
}

fn rows(out: &Path) -> Vec<Row> {
    common::rows(result(out, "line.csv"))
}

#[test]
fn soups_and_ensembles_are_those_of_pytorch() {
    let out = tempfile::tempdir().unwrap();
    let range = "--alpha=-0.5:1.5:9";
    line(
        out.path(),
        &[
            "--a", "ft1", "--b", "ft2", range, "--test", "test.npz", "--limit", "0",
        ],
    )
    .assert()
    .success()
    .stdout(contains("self-check: 3 of 3"));
    let rows = rows(out.path());
    let expected = json(oracle("line.json"));
    for point in expected.as_array().unwrap() {
        let alpha = point["alpha"].as_f64().unwrap();
        let row = rows
            .iter()
            .find(|row| number(row, "alpha") == alpha)
            .unwrap();
        for kind in ["soup", "ensemble"] {
            let number = |key: &str| number(row, &format!("{kind}_{key}"));
            let loss = point[format!("{kind}_loss")].as_f64().unwrap();
            let off = (number("loss") / loss - 1.0).abs();
            assert!(off < 1e-5, "{kind} {alpha}: {} {loss}", number("loss"));
            let samples: f64 = row["samples"].parse().unwrap();
            let wrong = (number("error") * samples).round();
            assert_eq!(Some(wrong as i64), point[format!("{kind}_wrong")].as_i64());
        }
    }
}

#[test]
fn calibrated_soups_and_ensembles_are_those_of_scipy() {
    let out = tempfile::tempdir().unwrap();
    let sets = ["--val", "val.npz", "--test", "test.npz"];
    let shift = ["--shift", "pendigits=pendigits.npz"];
    let path = [
        "--a",
        "ft1",
        "--b",
        "ft2",
        "--steps",
        "3",
        "--limit",
        "0",
        "--loss",
        "calibrated",
    ];
    line(out.path(), &[&path[..], &sets, &shift].concat())
        .assert()
        .success()
        .stdout(contains("calibrated loss (nats)"))
        .stdout(contains("the loss on val is in-sample"))
        .stdout(contains("β: ft1 1.101, ft2 "))
        .stdout(contains("self-check: 9 of 9"));
    let expected = json(oracle("calibrated.json"));
    let rows = rows(out.path());
    assert_eq!(rows.len(), 9);
    for row in &rows {
        let alpha = number(row, "alpha");
        let mut points = expected.as_array().unwrap().iter();
        let point = points
            .find(|point| point["alpha"].as_f64() == Some(alpha))
            .unwrap();
        for kind in ["soup", "ensemble"] {
            let of = &point[kind];
            let set = row["dataset"].as_str();
            let number = |key: &str| number(row, &format!("{kind}_{key}"));
            let off = number("beta") / of["beta"].as_f64().unwrap() - 1.0;
            assert!(off.abs() < 1e-6, "{kind} {alpha}: β is off by {off}");
            assert_eq!(row[&format!("{kind}_beta_fit")], "minimum");
            let loss = of["loss"][set].as_f64().unwrap();
            let off = number("loss_calibrated") - loss;
            assert!(off.abs() < 1e-6, "{kind} {alpha} {set}: {loss} {off}");
            let wrong = number("error") * row["samples"].parse::<f64>().unwrap();
            assert_eq!(Some(wrong.round() as i64), of["wrong"][set].as_i64());
        }
    }
    let summary = json(result(out.path(), "line.json"));
    assert_eq!(summary["provenance"]["settings"]["loss"], "calibrated");
    assert_eq!(summary["calibration"]["samples"], 5000);
    let svg = fs::read_to_string(out.path().join("plots/line.svg")).unwrap();
    assert!(svg.contains("test calibrated loss (nats)") && svg.contains("in-sample"));
    // Drawn again from the files alone, it is the same.
    let again = tempfile::tempdir().unwrap();
    draw(result(out.path(), "line.csv"), again.path())
        .assert()
        .success();
    assert_eq!(
        svg,
        fs::read_to_string(again.path().join("line.svg")).unwrap()
    );
}

#[test]
fn a_beta_at_its_bound_is_told_where_its_losses_stand() {
    let out = tempfile::tempdir().unwrap();
    // Both ends and their soup have these twelve images right.
    let path = [
        "--a",
        "ft1",
        "--b",
        "ft2",
        "--steps",
        "3",
        "--limit",
        "12",
        "--loss",
        "calibrated",
        "--val",
        "val.npz",
        "--test",
        "test.npz",
    ];
    line(out.path(), &path)
        .assert()
        .success()
        .stdout(contains("ft1 1000.000 (its upper bound)"))
        .stderr(contains(
            "β is at its upper bound 1000 for 6 (no error on val",
        ));
    for row in rows(out.path()) {
        assert_eq!(row["soup_beta_fit"], "upper-bound");
        assert_eq!(row["ensemble_beta_fit"], "upper-bound");
    }
    let summary = json(result(out.path(), "line.json"));
    assert_eq!(summary["calibration"]["at_upper_bound"], 6);
    let svg = fs::read_to_string(out.path().join("plots/line.svg")).unwrap();
    assert!(svg.contains("upper bound 1000"));
}

#[test]
fn a_calibrated_loss_without_a_validation_set_is_refused_with_the_cure() {
    let out = tempfile::tempdir().unwrap();
    let path = [
        "--a",
        "ft1",
        "--b",
        "ft2",
        "--loss",
        "calibrated",
        "--test",
        "test.npz",
    ];
    line(out.path(), &path)
        .assert()
        .code(2)
        .stderr(contains("no validation set to calibrate on"))
        .stderr(contains("--val FILE names it"));
}

#[test]
fn barriers_are_what_the_csv_says_and_a_model_outside_the_basin_has_one() {
    let out = tempfile::tempdir().unwrap();
    let path = [
        "--a", "ft1", "--b", "ft16", "--limit", "300", "--steps", "11",
    ];
    line(out.path(), &path).assert().success();
    let summary = json(result(out.path(), "line.json"));
    let rows = rows(out.path());
    for barrier in summary["barriers"].as_array().unwrap() {
        let rows: Vec<(f64, f64)> = rows
            .iter()
            .filter(|row| row["dataset"] == barrier["dataset"].as_str().unwrap())
            .map(|row| (number(row, "alpha"), number(row, "soup_error")))
            .collect();
        let (first, last) = (rows[0].1, rows[rows.len() - 1].1);
        // The rises of the points between the ends.
        let highest = |base: &dyn Fn(f64) -> f64| {
            let rises = rows[1..rows.len() - 1].iter();
            let rises = rises.map(|(alpha, error)| error - base(*alpha));
            rises.fold(f64::NEG_INFINITY, f64::max)
        };
        let near = |key: &str, expected: f64| {
            let found = barrier[key].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-12, "{barrier}");
        };
        near("barrier_error", highest(&|t| (1.0 - t) * first + t * last));
        near(
            "frankle_barrier_error",
            highest(&|_| f64::midpoint(first, last)),
        );
        assert_eq!(barrier["frankle_at_end"], false);
        if barrier["role"] == "test" {
            let height = barrier["barrier_error"].as_f64().unwrap();
            assert!(height > 0.2 && height > 5.0 * barrier["barrier_error_se"].as_f64().unwrap());
        }
    }
    // Drawn again from the files alone, they are the same.
    let again = tempfile::tempdir().unwrap();
    draw(result(out.path(), "line.csv"), again.path())
        .assert()
        .success();
    for name in ["line.png", "line.svg", "line-shift.png", "line-shift.svg"] {
        let first = fs::read(out.path().join("plots").join(name)).unwrap();
        assert_eq!(first, fs::read(again.path().join(name)).unwrap(), "{name}");
        assert!(
            fs::metadata(out.path().join("plots").join(name))
                .unwrap()
                .len()
                > 1000
        );
    }
}

/// The colour of what is shaded, as an SVG writes it.
const SHADE: &str = "#F5DEE3";

#[test]
fn a_rise_within_the_noise_is_no_barrier_in_words_or_colour() {
    let out = tempfile::tempdir().unwrap();
    let path = [
        "--a", "ft1", "--b", "ft2", "--limit", "300", "--steps", "11",
    ];
    let said = line(out.path(), &path).assert().success();
    let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
    assert!(said.contains("95 % interval") && said.contains("on the same samples"));
    assert!(said.contains("undecided") && !said.contains("  barrier"));
    let summary = json(result(out.path(), "line.json"));
    for barrier in summary["barriers"].as_array().unwrap() {
        let number = |key: &str| barrier[key].as_f64().unwrap();
        // Training loss bends down between these two, so that its largest rise is negative.
        assert!(number("barrier_loss") < 0.0, "{barrier}");
        assert!(number("barrier_loss_se") > 0.0 && number("barrier_error_se") > 0.0);
        assert!(number("barrier_error_low") < 0.0 && number("barrier_error_high") > 0.0);
        assert!(
            number("barrier_loss_high") < 0.0 && barrier["barrier_loss_verdict"] == "none-larger"
        );
        assert!((0.01..0.99).contains(&number("argmax_alpha")));
    }
    let svg = fs::read_to_string(out.path().join("plots/line.svg")).unwrap();
    assert!(!svg.to_uppercase().contains(SHADE) && !svg.contains("barrier"));
}

#[test]
fn a_rise_above_the_noise_is_shaded_and_called_a_barrier() {
    let out = tempfile::tempdir().unwrap();
    let path = [
        "--a", "ft1", "--b", "ft16", "--limit", "300", "--steps", "6",
    ];
    line(out.path(), &path)
        .assert()
        .success()
        .stdout(contains("0.20  barrier"));
    let svg = fs::read_to_string(out.path().join("plots/line.svg")).unwrap();
    assert!(svg.to_uppercase().contains(SHADE) && svg.contains("barrier: "));
}

#[test]
fn without_a_point_between_the_ends_no_barrier_is_told() {
    let out = tempfile::tempdir().unwrap();
    let path = ["--a", "ft1", "--b", "ft2", "--limit", "50", "--steps", "2"];
    line(out.path(), &path)
        .assert()
        .success()
        .stdout(contains("no point between the checkpoints"));
    let summary = json(result(out.path(), "line.json"));
    for barrier in summary["barriers"].as_array().unwrap() {
        for key in [
            "barrier_loss",
            "barrier_loss_se",
            "argmax_alpha",
            "frankle_barrier_error",
        ] {
            assert_eq!(barrier[key], "NaN", "{key}");
        }
    }
    // The file is read back.
    draw(result(out.path(), "line.csv"), out.path())
        .assert()
        .success();
}

#[test]
fn a_path_that_only_falls_has_half_the_difference_of_its_ends_over_their_mean_and_says_so() {
    let out = tempfile::tempdir().unwrap();
    line(
        out.path(),
        &["--b", "ft1", "--limit", "300", "--steps", "6"],
    )
    .assert()
    .success()
    .stdout(contains("(end)").and(contains("half the difference between the ends")));
    let summary = json(result(out.path(), "line.json"));
    let mut barriers = summary["barriers"].as_array().unwrap().iter();
    let test = barriers.find(|of| of["dataset"] == "test").unwrap();
    assert_eq!(test["frankle_at_end"], true);
    assert_eq!(test["argmax_alpha_frankle"], 0.0);
    let errors = [0, 1].map(|node: usize| {
        let mut scores = summary["checkpoints"][node]["scores"]
            .as_array()
            .unwrap()
            .iter();
        let test = scores.find(|of| of["dataset"] == "test").unwrap();
        test["error"].as_f64().unwrap()
    });
    let height = test["frankle_barrier_error"].as_f64().unwrap();
    assert!((height - (errors[0] - errors[1]) / 2.0).abs() < 1e-12);
}

#[test]
fn a_path_from_the_origin_through_others_stands_at_whole_numbers() {
    let out = tempfile::tempdir().unwrap();
    let path = [
        "--b",
        "ft2",
        "--through",
        "ft1",
        "--limit",
        "100",
        "--steps",
        "3",
    ];
    line(out.path(), &path).assert().success();
    let alphas: Vec<f64> = rows(out.path())
        .iter()
        .filter(|row| row["dataset"] == "test")
        .map(|row| number(row, "alpha"))
        .collect();
    assert_eq!(alphas, [0.0, 0.5, 1.0, 1.5, 2.0]);
    let summary = json(result(out.path(), "line.json"));
    let names: Vec<&str> = summary["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["zs", "ft1", "ft2"]);
}

#[test]
fn impossible_ranges_and_missing_files_are_told() {
    let out = tempfile::tempdir().unwrap();
    for (more, message) in [
        (&["--b", "ft2", "--steps", "1"][..], "--steps: is 1"),
        (&["--b", "ft2", "--alpha", "1:0:5"], "--alpha: is `1:0:5`"),
        (&["--b", "nothing"], "nothing"),
    ] {
        line(out.path(), more)
            .assert()
            .code(2)
            .stderr(contains(message));
    }
}

#[test]
fn a_damaged_csv_and_a_missing_json_are_told() {
    let out = tempfile::tempdir().unwrap();
    line(
        out.path(),
        &["--b", "ft2", "--steps", "3", "--limit", "100"],
    )
    .assert()
    .success();
    let csv = result(out.path(), "line.csv");
    let text = fs::read_to_string(&csv).unwrap();
    let draw = || draw(&csv, out.path()).assert();
    let cut = &text[..text.len() - 40];
    fs::write(&csv, cut).unwrap();
    draw().code(2).stderr(contains("line.csv"));
    fs::write(&csv, &text).unwrap();
    fs::remove_file(result(out.path(), "line.json")).unwrap();
    draw().code(2).stderr(contains("line.json"));
}
