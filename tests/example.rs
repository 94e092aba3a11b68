//! The program of `examples/plane.rs`: as short as a first program should be, and with the result of
//! the command line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::env;
use std::path::PathBuf;

use assert_cmd::Command;

use crate::common::{example, json, program, result, root, warnings};

/// `cargo test` builds the examples into a folder beside that of the tests.
fn built() -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    let path = folder
        .join("plane")
        .with_extension(env::consts::EXE_EXTENSION);
    assert!(
        path.is_file(),
        "{}: is not there; run `cargo build --example plane` first",
        path.display()
    );
    path
}

/// The loss and its place, as the example writes them.
fn read(line: &str) -> Option<[&str; 3]> {
    let line = line
        .strip_prefix("least test loss: ")?
        .strip_suffix(")\n")?;
    let (loss, place) = line.split_once(" nats at (")?;
    let (x, y) = place.split_once(", ")?;
    Some([loss, x, y])
}

#[test]
fn the_example_prints_the_minimum_of_the_command_line() {
    let output = Command::new(built())
        .assert()
        .success()
        .get_output()
        .clone();
    let line = String::from_utf8(output.stdout).unwrap();
    let Some(found) = read(&line) else {
        panic!("another line: {line:?}");
    };
    let out = tempfile::tempdir().unwrap();
    program()
        .current_dir(example())
        .args(["plane", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2"])
        .args(["--test", "test.npz", "--limit", "200", "--steps", "7"])
        .arg("--config")
        .arg(root().join("tests/data/digits.toml"))
        .arg("--out")
        .arg(out.path())
        .assert()
        .success();
    let summary = json(result(out.path(), "plane.json"));
    assert_eq!(summary["minimum"].as_array().unwrap().len(), 1);
    let least = &summary["minimum"][0]["loss"];
    // Half a unit of the last place that is printed, and the rounding of another layout.
    for (found, (key, unit)) in found
        .iter()
        .zip([("value", 1e-4), ("x", 1e-2), ("y", 1e-2)])
    {
        let (number, expected) = (found.parse::<f64>().unwrap(), least[key].as_f64().unwrap());
        assert!(
            (number - expected).abs() <= 0.5 * unit + 1e-6,
            "{key}: {found} for {expected}"
        );
    }
}

#[test]
fn the_example_fits_on_a_page() {
    let lines = include_str!("../examples/plane.rs").lines().count();
    assert!(lines < 40, "{lines} lines");
}

/// Without room for the outcomes of every point, the models are still compared, and the lowest points
/// are said not to be.
#[test]
fn a_plane_beyond_the_disk_compares_its_models_and_says_what_is_missing() {
    let out = tempfile::tempdir().unwrap();
    let plane = |disk: &str| {
        program()
            .current_dir(example())
            .args(["plane", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2"])
            .args(["--test", "test.npz", "--limit", "100", "--steps", "3"])
            .args(["--fresh", "--disk", disk, "--out"])
            .arg(out.path())
            .assert()
            .success();
        json(result(out.path(), "plane.json"))
    };
    let whole = plane("1M");
    assert!(warnings(&whole).is_empty(), "{:?}", warnings(&whole));
    assert!(whole["minimum"][0]["lowest_error"].is_object());
    // Room for five models of 100 samples, about 450 bytes each.
    let few = plane("2500");
    assert_eq!(few["comparisons"], whole["comparisons"]);
    assert!(few["minimum"][0]["lowest_error"].is_null());
    let told = warnings(&few);
    assert!(told.len() == 1 && told[0].contains("--disk"), "{told:?}");
}
