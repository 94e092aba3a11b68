//! Models that cannot be averaged, and flags that mean nothing.

use std::fs;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{number, result, rows};
use crate::{MODELS, digits, json, list, soup, table};

#[test]
fn a_model_of_nan_is_left_out_and_the_rest_goes_on() {
    let out = tempfile::tempdir().unwrap();
    let broken = out.path().join("broken.safetensors");
    let mut bytes = fs::read(digits("ft2")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&broken, bytes).unwrap();
    let models = [
        ("one", digits("ft1")),
        ("bad", broken),
        ("two", digits("ft3")),
    ];
    let models = list(out.path(), &models);
    soup(out.path(), &["--models", &models])
        .assert()
        .success()
        .stderr(contains("warning: bad is left out: 1 values"));
    let names: Vec<String> = rows(result(out.path(), "soup.models.csv"))
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["one", "two"]);
    assert!(
        json(out.path())["warnings"][0]
            .as_str()
            .unwrap()
            .contains("bad")
    );
}

#[test]
fn what_cannot_be_used_is_told() {
    let out = tempfile::tempdir().unwrap();
    let twice = list(out.path(), &[("x", digits("ft1")), ("y", digits("ft1"))]);
    let other = tempfile::tempdir().unwrap();
    let origin = list(other.path(), &[("zs", digits("ft1"))]);
    for (more, message) in [
        (&["--models", &twice][..], "`y` is the same file as `x`"),
        (&["--models", &origin], "the name of the origin"),
        (
            &["--models", "nowhere.csv"],
            "nowhere.csv: there is no such file",
        ),
        (&[], "--models: is needed"),
        (
            &["--models", "models.csv", "--methods", "best,worst"],
            "there is no method `worst`",
        ),
        (
            &["--models", "models.csv", "--methods", "best:2"],
            "takes no number",
        ),
        (
            &["--models", "models.csv", "--methods", "slerp:x"],
            "expected a number after the colon",
        ),
        (
            &["--models", "models.csv", "--test", "test.npz"],
            "--val: is needed: `best`",
        ),
        (
            &["--models", "models.csv", "--train", "train.npz"],
            "no data set to compare models on",
        ),
        (&["--models", "models.csv", "--orders", "0"], "--orders"),
        (
            &[
                "--models",
                "models.csv",
                "--methods",
                "greedy",
                "--epochs",
                "3",
            ],
            "--epochs: applies to none of the methods",
        ),
        (
            &[
                "--models",
                "models.csv",
                "--methods",
                "learned",
                "--lr",
                "0",
            ],
            "--lr: is 0; a number above 0",
        ),
        (
            &["--models", "models.csv", "--methods", "learned:2"],
            "takes no number",
        ),
        (
            &[
                "--models",
                "models.csv",
                "--methods",
                "learned",
                "--test",
                "test.npz",
            ],
            "--val: is needed: `learned` is learned on it",
        ),
        (
            &["--models", "models.csv", "--tolerance", "1%"],
            "needs all samples",
        ),
    ] {
        soup(out.path(), more)
            .assert()
            .code(2)
            .stderr(contains(message));
    }
    let plain = ["--test", "test.npz", "--methods", "uniform,ensemble"];
    soup(out.path(), &[&MODELS[..], &plain].concat())
        .assert()
        .success();
    let table = table(out.path());
    assert_eq!(
        (&*table[0]["val_accuracy"], &*table[0]["shift_accuracy"]),
        ("NaN", "NaN")
    );
}

#[test]
fn losses_that_are_not_finite_are_kept_and_said() {
    let out = tempfile::tempdir().unwrap();
    let wild = out.path().join("wild.safetensors");
    let mut bytes = fs::read(digits("ft2")).unwrap();
    // Finite themselves, and beyond f32 in any sum.
    let end = bytes.len();
    for value in bytes[end - 400..].chunks_exact_mut(4) {
        value.copy_from_slice(&3e38_f32.to_le_bytes());
    }
    fs::write(&wild, bytes).unwrap();
    let models = list(out.path(), &[("one", digits("ft1")), ("wild", wild)]);
    soup(out.path(), &["--models", &models])
        .assert()
        .success()
        .stderr(contains("warning: wild: ").and(contains("losses are NaN or infinite")));
    let rows = rows(result(out.path(), "soup.models.csv"));
    let loss = number(&rows[1], "val_loss");
    assert!(!loss.is_finite());
    assert_eq!(table(out.path())[0]["members"], "one");
}
