//! The ways from θ0 to the best model and to each soup, and the best model shortened.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{result, rows};
use crate::{MODELS, json, rays, soup, table};

#[test]
fn the_ends_of_rays_are_the_origin_and_the_soups_bit_for_bit() {
    let out = tempfile::tempdir().unwrap();
    // A soup by tensor and one of negative weights are no exceptions.
    let methods = "best,second,uniform,greedy,learned-by-layer,model-stock,slerp-tasks,ensemble";
    let more = ["--methods", methods, "--rays", "4", "--epochs", "1"];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success()
        .stderr(contains("6 rays of 4 mixes from θ0"));
    let soups = json(out.path());
    let methods = soups["methods"].as_array().unwrap();
    let rays = soups["rays"].as_array().unwrap();
    let names: Vec<&str> = rays
        .iter()
        .map(|ray| ray["method"].as_str().unwrap())
        .collect();
    let expected = [
        "best",
        "uniform",
        "greedy",
        "learned-by-layer",
        "model-stock",
    ];
    assert_eq!(names, [&expected[..], &["slerp-tasks"]].concat());
    for ray in rays {
        let points = ray["points"].as_array().unwrap();
        let alphas: Vec<f64> = points
            .iter()
            .map(|it| it["alpha"].as_f64().unwrap())
            .collect();
        assert_eq!(alphas, [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert_eq!(points[0]["scores"], soups["origin"]["scores"]);
        let made = methods
            .iter()
            .find(|made| made["method"] == ray["method"])
            .unwrap();
        let scores = made["scores"].as_array().unwrap();
        let ends = points[3]["scores"].as_array().unwrap();
        for ((end, score), set) in ends
            .iter()
            .zip(scores)
            .zip(soups["datasets"].as_array().unwrap())
        {
            assert_eq!(end["error"], score["error"], "{}", ray["method"]);
            // The loss of a learned soup on the validation set is that of β·logits.
            if set["role"] != "val" || made["beta"].is_null() {
                assert_eq!(end, score, "{}", ray["method"]);
            }
        }
    }
}

#[test]
fn a_sweep_of_the_best_model_is_its_ray() {
    let out = tempfile::tempdir().unwrap();
    let more = ["--methods", "uniform,wise-ft", "--rays", "11"];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success()
        // Nine on the way to the uniform soup; those to the best model are in the sweep.
        .stderr(contains("2 rays of 11 mixes").and(contains("9 more models")))
        .stdout(contains("best, shortened (α = "));
    let (rays, table) = (rays(out.path()), table(out.path()));
    assert_eq!(rays.len(), 22);
    let of_best = rays.iter().filter(|row| row["method"] == "best");
    for row in of_best {
        let name = format!("wise-ft:{}", row["alpha"]);
        let point = table.iter().find(|row| row["method"] == name).unwrap();
        for column in [
            "val_loss",
            "val_accuracy",
            "test_accuracy",
            "shift_accuracy",
        ] {
            assert_eq!(row[column], point[column], "{name}");
        }
        assert_eq!(point["val_in_sample"], "true");
    }
    let uniform = table.iter().find(|row| row["method"] == "uniform").unwrap();
    assert_eq!(uniform["val_in_sample"], "false");
    // The run is small: without a number there are fewer mixes, and none if they are not wanted.
    let more = ["--methods", "uniform"];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success()
        .stderr(contains("2 rays of 11 mixes").or(contains("2 rays of 6 mixes")));
    soup(out.path(), &[&MODELS[..], &more, &["--no-rays"]].concat())
        .assert()
        .success()
        .stderr(contains("rays of").not());
    assert!(!result(out.path(), "soup.rays.csv").exists());
    for (more, message) in [
        (&["--rays", "1"][..], "--rays: is 1; expected 2 to 1001"),
        (&["--rays", "5", "--no-rays"], "cannot be used with"),
    ] {
        soup(out.path(), &[&MODELS[..], more].concat())
            .assert()
            .code(2)
            .stderr(contains(message));
    }
}

#[test]
fn every_row_is_compared_with_the_best_model_shortened() {
    let out = tempfile::tempdir().unwrap();
    let more = [
        "--methods",
        "best,uniform,greedy,wise-ft,ensemble",
        "--no-rays",
    ];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success();
    let table = table(out.path());
    // Its α is that of the highest validation accuracy, the smallest of equals.
    let val = |name: &str| {
        let row = table.iter().find(|row| row["method"] == name).unwrap();
        row["val_accuracy"].parse::<f64>().unwrap()
    };
    let sweep = (0..=10).map(|tenths| format!("wise-ft:{}", f64::from(tenths) / 10.0));
    let chosen = sweep
        .rev()
        .max_by(|a, b| val(a).total_cmp(&val(b)))
        .unwrap();
    let all = rows(result(out.path(), "soup.comparisons.csv"));
    for method in ["best", "uniform", "greedy", "ensemble"] {
        let mut compared = all.iter().filter(|row| row["reference"] == chosen);
        assert!(compared.any(|row| row["method"] == method), "{method}");
    }
}
