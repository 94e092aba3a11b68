//! `landscape pairs` on the bundled example: its rows, its figures, its refusals. The numbers are
//! held against PyTorch in `pool.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::common::{Row, draw, example, list, number, program, result};

fn pairs(out: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command
        .current_dir(example())
        .args(["pairs", "--origin", "zs.onnx", "--limit", "200", "--out"])
        .arg(out)
        .args(more);
    command
}

fn rows(out: &Path, file: &str) -> Vec<Row> {
    common::rows(result(out, file))
}

fn json(out: &Path) -> Value {
    common::json(result(out, "pairs.json"))
}

#[test]
fn every_pair_has_its_rows_and_its_means() {
    let out = tempfile::tempdir().unwrap();
    let more = ["--models", "models.csv", "--pairs", "12", "--by-layer"];
    pairs(out.path(), &more)
        .assert()
        .success()
        .stdout(contains("Spearman").and(contains("Pearson")));
    let rows_read = rows(out.path(), "pairs.csv");
    // val, test, three shifts, a source, and the two means.
    assert_eq!(rows_read.len(), 12 * 8);
    for of_pair in rows_read.chunks(8) {
        let names: Vec<&str> = of_pair.iter().map(|row| row["dataset"].as_str()).collect();
        let sets = ["val", "test", "optdigits", "mfeat", "pendigits", "fonts"];
        assert_eq!(names[..6], sets);
        assert_eq!(names[6..], ["shifts", "all"]);
        for row in of_pair {
            let ends = f64::midpoint(number(row, "accuracy_a"), number(row, "accuracy_b"));
            let advantage = number(row, "accuracy_soup") - ends;
            assert!((number(row, "advantage") - advantage).abs() < 1e-12);
        }
        for column in ["accuracy_soup", "accuracy_ensemble", "advantage"] {
            let mean = |range: std::ops::Range<usize>| {
                let values = of_pair[range.clone()].iter().map(|row| number(row, column));
                values.sum::<f64>() / range.len() as f64
            };
            assert!((number(&of_pair[6], column) - mean(2..5)).abs() < 1e-12);
            assert!((number(&of_pair[7], column) - mean(1..5)).abs() < 1e-12);
        }
        assert_eq!(
            (&*of_pair[7]["role"], &*of_pair[7]["samples"]),
            ("mean", "800")
        );
    }
    // Squared norms and inner products over the tensors are those of the whole.
    let layers = rows(out.path(), "pairs.layers.csv");
    assert_eq!(layers.len(), 12 * 10);
    for of_pair in rows_read.chunks(8) {
        let row = &of_pair[0];
        let of = layers
            .iter()
            .filter(|layer| layer["a"] == row["a"] && layer["b"] == row["b"]);
        let (mut product, mut squared) = (0.0, 0.0);
        for layer in of {
            let (a, b) = (number(layer, "norm_a"), number(layer, "norm_b"));
            product += a * b * number(layer, "angle_deg").to_radians().cos();
            squared += a * a;
        }
        let (a, b) = (number(row, "norm_a"), number(row, "norm_b"));
        assert!((squared.sqrt() / a - 1.0).abs() < 1e-12);
        let angle = (product / (a * b)).acos().to_degrees();
        assert!((angle - number(row, "angle_deg")).abs() < 1e-6);
    }
    for name in ["angle-advantage", "soup-ensemble", "layers"] {
        for ending in ["png", "svg"] {
            let path = out.path().join(format!("plots/pairs-{name}.{ending}"));
            assert!(
                fs::metadata(&path).unwrap().len() > 1000,
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn listed_pairs_only_and_what_differs_between_them() {
    let out = tempfile::tempdir().unwrap();
    let list = out.path().join("some.csv");
    fs::write(&list, "a,b\nft1,ft2\nft4,ft5\n").unwrap();
    let list = list.to_str().unwrap();
    let more = [
        "--models",
        "models.csv",
        "--pairs",
        list,
        "--hyperparameters",
        "label_smoothing,augmentation",
    ];
    pairs(out.path(), &more).assert().success();
    let read = json(out.path());
    let differ = |pair: usize| read["pairs"][pair]["differ"].to_string();
    assert_eq!(read["pairs"].as_array().unwrap().len(), 2);
    assert_eq!(differ(0), r#"["label_smoothing"]"#);
    assert_eq!(differ(1), r#"["label_smoothing"]"#);
    assert_eq!(read["models"].as_array().unwrap().len(), 16);
    // Two pairs have no correlation.
    assert_eq!(read["angle_advantage"]["value"], "NaN");
}

#[test]
fn the_theory_s_sides_agree_where_the_models_are_close() {
    let out = tempfile::tempdir().unwrap();
    let list = out.path().join("some.csv");
    fs::write(&list, "a,b\nft5,ft9\nft3,ft12\n").unwrap();
    let mut more = vec!["--models", "models.csv", "--theory"];
    more.extend(["--pairs", list.to_str().unwrap()]);
    more.extend(["--val", "val.npz", "--test", "test.npz"]);
    let sets = ["optdigits", "mfeat", "pendigits"].map(|name| format!("{name}={name}.npz"));
    more.extend(sets.iter().flat_map(|set| ["--shift", set]));
    more.extend(["--source", "fonts=fonts.npz"]);
    pairs(out.path(), &more).assert().success();
    let points = rows(out.path(), "pairs.theory.csv");
    // Pairs × α × (test and four others) × (β = 1 and calibrated).
    assert_eq!(points.len(), 2 * 3 * 5 * 2);
    let side = |row: &Row| number(row, "loss_soup") - number(row, "loss_ensemble");
    for row in &points {
        assert!((row["calibrated"] == "true") || number(row, "beta") == 1.0);
        assert!(number(row, "approximation_path").is_finite());
    }
    // Soup beside ensemble: nearly the same loss, and the approximation says which is lower.
    let plain: Vec<_> = points.iter().filter(|row| row["beta"] == "1.0").collect();
    assert!(plain.iter().all(|row| side(row).abs() < 0.1));
    let told = plain
        .iter()
        .filter(|row| side(row).signum() == number(row, "approximation_path").signum());
    assert!(told.count() * 4 > plain.len() * 3);
    assert!(out.path().join("plots/pairs-theory.png").is_file());
    // The two are nearly the same on each image, so that their difference is known well: independent
    // standard errors would be 0.01.
    let mut on_test = plain.iter().filter(|row| row["dataset"] == "test");
    assert!(on_test.all(|row| number(row, "loss_difference_se") < 0.004));
    assert!(
        plain
            .iter()
            .all(|row| number(row, "approximation_path_se") > 0.0)
    );
    for row in &points {
        let is_barrier = number(row, "rise") > 2.0 * number(row, "rise_se");
        assert_eq!(row["barrier"], is_barrier.to_string());
    }
}

#[test]
fn steps_of_the_theory_are_asked_for() {
    let out = tempfile::tempdir().unwrap();
    let list = out.path().join("some.csv");
    fs::write(&list, "a,b\nft5,ft9\n").unwrap();
    let more = ["--models", "models.csv", "--pairs", list.to_str().unwrap()];
    let with = |flags: &[&str]| pairs(out.path(), &[&more[..], flags].concat()).assert();
    with(&["--theory", "--theory-step", "1,1/8", "--test", "test.npz"]).success();
    let points = rows(out.path(), "pairs.theory.csv");
    assert_eq!(points.len(), 3 * 2);
    let of_step = |step: &'static str| points.iter().filter(move |row| row["step"] == step);
    assert_eq!((of_step("1.0").count(), of_step("0.125").count()), (3, 3));
    // All but the step is the same, and the standard error grows as the step falls.
    for (long, short) in of_step("1.0").zip(of_step("0.125")) {
        for column in [
            "alpha",
            "loss_soup",
            "loss_ensemble",
            "loss_difference_se",
            "rise",
        ] {
            assert_eq!(long[column], short[column]);
        }
        assert!(number(long, "approximation_se") < number(short, "approximation_se"));
    }
    with(&["--theory-step", "1/8"])
        .code(2)
        .stderr(contains("give --theory, too"));
    let wrong = with(&["--theory", "--theory-step", "2"]).code(2);
    wrong.stderr(contains("`2`: expected a number above 0 and at most 1"));
}

#[test]
fn equal_models_are_reported_and_a_still_one_has_no_angle() {
    let out = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        let to = out.path().join(to);
        fs::copy(example().join(from), &to).unwrap();
        to
    };
    let (still, twin) = (
        copy("zs.safetensors", "s.safetensors"),
        copy("ft1.safetensors", "t.safetensors"),
    );
    let first = example().join("ft1.safetensors");
    let models = [("one", first), ("twin", twin), ("still", still)];
    let models = list(out.path().join("models.csv"), &models);
    pairs(out.path(), &["--models", &models])
        .assert()
        .success()
        .stderr(contains("still is equal to θ0").and(contains("one and twin are equal")));
    let read = rows(out.path(), "pairs.csv");
    let angle = |a: &str, b: &str| {
        let row = read
            .iter()
            .find(|row| row["a"] == a && row["b"] == b)
            .unwrap();
        number(row, "angle_deg")
    };
    assert!(angle("one", "twin").abs() < 1e-5);
    assert!(angle("one", "still").is_nan() && angle("twin", "still").is_nan());
}

#[test]
fn what_cannot_be_used_is_told() {
    let out = tempfile::tempdir().unwrap();
    let models = [("x", example().join("ft1.safetensors"))];
    let one = list(out.path().join("one.csv"), &models);
    for (more, message) in [
        (
            &["--models", &one][..],
            "a pair needs two models; there is only `x`",
        ),
        (&["--models", "models.csv", "--pairs", "0"], "--pairs: is 0"),
        (
            &["--models", "models.csv", "--pairs", "no.csv"],
            "no.csv: there is no such file",
        ),
        (
            &["--models", "models.csv", "--pairs", "models.csv"],
            "has no column `a`",
        ),
        (
            &["--models", "models.csv", "--hyperparameters", "lr,mood"],
            "no column `mood`",
        ),
    ] {
        pairs(out.path(), more)
            .assert()
            .code(2)
            .stderr(contains(message));
    }
}

#[test]
fn figures_are_drawn_again_from_their_files() {
    let out = tempfile::tempdir().unwrap();
    pairs(out.path(), &["--models", "models.csv", "--pairs", "9"])
        .assert()
        .success();
    let again = tempfile::tempdir().unwrap();
    draw(result(out.path(), "pairs.csv"), again.path())
        .assert()
        .success();
    for file in ["pairs-angle-advantage.svg", "pairs-soup-ensemble.png"] {
        let first = fs::read(out.path().join("plots").join(file)).unwrap();
        assert_eq!(first, fs::read(again.path().join(file)).unwrap());
    }
}
