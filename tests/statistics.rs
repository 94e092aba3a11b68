//! Batch norm's running statistics in mixes: said to be averaged wherever a mix is judged, and named
//! where the average of a variance is negative, so that another is taken. The values of the messages are those of `tests/oracle/resnet`,
//! computed by hand from its checkpoints: (1−α)·ft1 + α·ft2 and θ0 + λ·(δ1 + δ2).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::common::{json, list, oracle, result};

const AVERAGED: &str = "batch norm's running statistics were averaged, not re-estimated: a barrier or \
                        a soup's loss may come from stale statistics (REPAIR, Jordan et al. 2023)";

/// The program on a network's files.
fn run(network: &str, command: &str, more: &str, out: &TempDir) -> Command {
    let mut program = common::program();
    program
        .current_dir(oracle(network))
        .args([command, "--origin", "zs_noopt.onnx", "--test", "data.npz"])
        .args(more.split_whitespace())
        .arg("--out")
        .arg(out.path());
    program
}

/// The warnings of a run that succeeds: the same on the terminal and in its JSON.
fn warnings(network: &str, command: &str, more: &str) -> Vec<String> {
    let out = tempfile::tempdir().unwrap();
    let model = |name| (name, oracle(network).join(format!("{name}.safetensors")));
    let list = list(out.path().join("models.csv"), &["ft1", "ft2"].map(model));
    let models = match command {
        "soup" | "pairs" => format!("--models {list}"),
        "spectrum" => String::new(),
        _ => "--a ft1 --b ft2".to_string(),
    };
    let mut program = run(network, command, &format!("{models} {more}"), &out);
    let output = program.assert().success().get_output().clone();
    let message = String::from_utf8(output.stderr).unwrap();
    let warnings = common::warnings(&json(result(out.path(), &format!("{command}.json"))));
    for warning in &warnings {
        assert!(
            message.contains(&format!("warning: {warning}")),
            "{message}"
        );
    }
    warnings
}

/// The warnings that speak of negative averages.
fn negative(warnings: &[String]) -> Vec<&String> {
    let found = warnings.iter();
    found
        .filter(|text| text.contains(" is negative "))
        .collect()
}

#[test]
fn statistics_are_said_to_be_averaged_wherever_a_mix_is_judged() {
    for (command, more) in [
        ("line", "--steps 3"),
        ("plane", "--steps 3"),
        ("soup", "--methods uniform"),
        ("pairs", ""),
        (
            "spectrum",
            "--at ft1 --at ft2 --top 1 --bottom 0 --trace 0 --probes 0",
        ),
    ] {
        let found = warnings("bn", command, more);
        let told: Vec<&String> = found
            .iter()
            .filter(|text| text.starts_with(AVERAGED))
            .collect();
        assert_eq!(told.len(), 1, "{command}: {found:?}");
        // A Hessian of re-estimated statistics is refused.
        let has_cure =
            told[0].ends_with("--bn recalibrate=N re-estimates them from N training samples");
        assert_eq!(has_cure, command != "spectrum");
        // The corners of a plane lie outside the triangle.
        let is_inside = command != "plane";
        assert_eq!(
            negative(&found).is_empty(),
            is_inside,
            "{command}: {found:?}"
        );
    }
    // One model is no average, and a network without batch norm has none.
    let alone = "--at ft1 --top 1 --bottom 0 --trace 0 --probes 0";
    for found in [
        warnings("bn", "spectrum", alone),
        warnings("vit", "line", "--steps 3"),
    ] {
        assert!(
            !found.iter().any(|text| text.starts_with(AVERAGED)),
            "{found:?}"
        );
        assert!(negative(&found).is_empty(), "{found:?}");
    }
}

#[test]
fn a_negative_variance_is_named_with_its_place_on_the_line() {
    let found = warnings("resnet", "line", "--alpha=-1:2:13");
    let expected = "the average of `layer2.0.bn1.running_var` is negative (-1.226) at 2 of 13 points, \
                    first at α = 1.75: outside the models' hull batch norm's variances are averaged \
                    in the logarithm instead, and values there rest on that choice; inside it (α from \
                    0 to 1) they do not";
    assert_eq!(negative(&found), [expected]);
    // Up to where it is 0.
    assert!(negative(&warnings("resnet", "line", "--alpha=-1:1.5:11")).is_empty());
}

#[test]
fn a_negative_variance_is_named_with_its_place_on_the_plane() {
    let found = warnings("resnet", "plane", "--steps 9");
    let of = negative(&found);
    assert_eq!(of.len(), 1, "{found:?}");
    for part in [
        "the average of `layer2.0.bn1.running_var` is negative (-0.225) at 3 of 81 points, first at \
         (-1.132, -1.333)",
        "inside it (the triangle of the three models)",
    ] {
        assert!(of[0].contains(part), "{of:?}");
    }
    let found = warnings("resnet", "plane", "--steps 9 --margin 0");
    assert!(negative(&found).is_empty(), "{found:?}");
}

#[test]
fn a_negative_variance_is_named_with_the_soup_that_has_it() {
    let methods = "--methods uniform,task-arithmetic:2,task-arithmetic:6";
    let found = warnings("resnet", "soup", methods);
    let of = negative(&found);
    assert_eq!(of.len(), 1, "{found:?}");
    for part in [
        "the average of `layer2.0.downsample.1.running_var` is negative (-5.208), and 3 other variances \
         with it, at 1 of 3 soups, first at task-arithmetic:6",
        "inside it (coefficients of 0 or more)",
    ] {
        assert!(of[0].contains(part), "{of:?}");
    }
    let mut all = found.iter();
    assert!(
        !all.any(|text| text.contains("are NaN or infinite")),
        "{found:?}"
    );
}

#[test]
fn a_spectrum_beyond_the_hull_says_that_the_average_of_a_variance_is_negative() {
    let at = "--at ft1:-1 --at ft2:2 --top 1 --bottom 0 --trace 0 --probes 0";
    let found = warnings("resnet", "spectrum", at);
    let of = negative(&found);
    assert_eq!(of.len(), 1, "{found:?}");
    for part in [
        "the average of `layer2.0.bn1.running_var` is negative (-1.226): outside",
        "inside it (weights of 0 or more)",
    ] {
        assert!(of[0].contains(part), "{of:?}");
    }
}

#[test]
fn a_plane_of_networks_with_batch_norm_is_finite_everywhere() {
    let out = tempfile::tempdir().unwrap();
    let more = "--a ft1 --b ft2 --steps 15 --margin 1.5";
    run("resnet", "plane", more, &out).assert().success();
    let all = common::rows(result(out.path(), "plane.csv"));
    assert!(all.len() > 100);
    for row in all {
        assert_eq!(row["nonfinite"], "0", "{row:?}");
    }
}
