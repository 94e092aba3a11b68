//! `plane --arrows`: slopes beside the differences of a plane's own losses.

use std::fs;

use landscape::checkpoint::onnx::proto::DataType;

use crate::common::small::{Folder, Small};
use crate::common::{Row, example, number, oracle, program};

/// Holds the one arrow of each data set of a plane of 3×3 points against the central differences of
/// the points around it.
fn agree(folder: &Folder, tolerance: f64) {
    let points = folder.rows("plane.csv");
    let arrows = folder.rows("plane.arrows.csv");
    assert!(!arrows.is_empty());
    for arrow in &arrows {
        let point = |i: &str, j: &str| -> &Row {
            let mut of_set = points.iter().filter(|p| p["dataset"] == arrow["dataset"]);
            of_set.find(|p| p["i"] == i && p["j"] == j).unwrap()
        };
        let centre = point("1", "1");
        assert!((number(centre, "x") - number(arrow, "x")).abs() < 1e-9);
        assert!((number(centre, "y") - number(arrow, "y")).abs() < 1e-9);
        assert!((number(centre, "loss") - number(arrow, "loss")).abs() < 1e-6);
        assert_eq!(
            (&centre["samples"], &centre["role"]),
            (&arrow["samples"], &arrow["role"])
        );
        let across = |ahead: &Row, behind: &Row, axis: &str| {
            (number(ahead, "loss") - number(behind, "loss"))
                / (number(ahead, axis) - number(behind, axis))
        };
        let dx = across(point("2", "1"), point("0", "1"), "x");
        let dy = across(point("1", "2"), point("1", "0"), "y");
        let size = dx.hypot(dy);
        for (found, expected) in [("dloss_dx", dx), ("dloss_dy", dy)] {
            let found = number(arrow, found);
            assert!(
                (found - expected).abs() < tolerance * size,
                "{}: {found} for {expected} of {size}",
                arrow["dataset"]
            );
        }
    }
}

/// Losses are of logits in 32 bits, so that closer points would have less exact differences.
const AROUND: &str = "--x=0.495:0.505:3 --y=0.295:0.305:3 --arrows 1";

#[test]
fn arrows_are_the_differences_of_the_losses_around_them() {
    // With a batch size of its own, too: 37 samples fill neither 8 nor 16.
    for batch in [None, Some(1), Some(8)] {
        for head_alone in [false, true] {
            let small = Small {
                dtype: DataType::Double,
                batch,
                head_alone,
                ..Small::new()
            };
            let folder = small.write();
            folder.plane(AROUND).assert().success();
            agree(&folder, 1e-4);
        }
    }
}

#[test]
fn arrows_of_all_roles_on_the_example_are_differences_of_its_losses() {
    let folder = Folder::empty();
    program()
        .current_dir(example())
        .args(["plane", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2"])
        .args(["--limit", "200", "--x=1.98:2.02:3", "--y=0.98:1.02:3"])
        .args(["--arrows", "1", "--json", "--out"])
        .arg(folder.path("out"))
        .assert()
        .success();
    // train, val, test, three shifts and a source.
    assert_eq!(folder.rows("plane.arrows.csv").len(), 7);
    // Losses are of f32, and the network has kinks.
    agree(&folder, 0.02);
}

#[test]
fn arrows_beyond_the_hull_follow_batch_norms_variances_there() {
    // Both fine-tunes have negative coefficients: variances are averaged in the logarithm.
    for policy in ["interpolate", "origin"] {
        let folder = Folder::empty();
        program()
            .current_dir(oracle("resnet"))
            .args([
                "plane",
                "--origin",
                "zs_noopt.onnx",
                "--a",
                "ft1",
                "--b",
                "ft2",
            ])
            .args([
                "--test",
                "data.npz",
                "--x=-0.81:-0.79:3",
                "--y=-0.91:-0.89:3",
            ])
            .args(["--arrows", "1", "--json", "--bn", policy, "--out"])
            .arg(folder.path("out"))
            .assert()
            .success();
        // Losses are of f32, and the network has kinks.
        agree(&folder, 0.02);
    }
}

#[test]
fn a_plane_that_a_limit_stopped_has_arrows_of_its_samples() {
    let folder = Small::new().write();
    let limited = "--steps 3 --arrows 2 --batch 1 --tolerance 0.3";
    folder.plane(limited).assert().success();
    let samples = folder.rows("plane.csv")[0]["samples"].clone();
    assert_ne!(samples, "37", "no limit stopped it");
    let arrows = folder.rows("plane.arrows.csv");
    assert!(arrows.iter().all(|arrow| arrow["samples"] == samples));
}

#[test]
fn a_plane_without_arrows_leaves_none_of_an_earlier_one() {
    let folder = Small::new().write();
    folder
        .plane("--steps 3 --arrows 2 --adaptive")
        .assert()
        .success();
    let arrows = folder.path("out/notebooks-data/plane.arrows.csv");
    assert!(arrows.exists());
    let svg = folder.path("out/plots/plane.svg");
    let drawn = fs::read_to_string(&svg).unwrap();
    fs::remove_file(&svg).unwrap();
    program()
        .current_dir(folder.path(""))
        .args(["draw", "out/notebooks-data/plane.csv"])
        .assert()
        .success();
    assert_eq!(fs::read_to_string(&svg).unwrap(), drawn);
    folder.plane("--steps 3").assert().success();
    assert!(!arrows.exists());
    assert_ne!(fs::read_to_string(&svg).unwrap(), drawn);
}
