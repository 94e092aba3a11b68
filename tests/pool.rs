//! `landscape soup` and `landscape pairs` on the whole of the bundled example against PyTorch in
//! float64 (`oracle/soup.py`).
//!
//! Tolerances: counts to the sample, but for samples whose two largest logits lie within 1e-4 of
//! each other (`close`; mostly there is none); losses to 1e-5 relative, as of the plane (float32
//! forward passes); angles to 1e-6 degrees; the approximations of section 4 to 1e-4 nats: a second
//! difference of float32 losses over h² = 1/1024, averaged over 10,000 samples.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{example, program, result, rows};

fn oracle() -> Value {
    common::json(common::oracle("soup.json"))
}

/// Runs a command on all samples of the example.
fn run(command: &str, out: &Path, more: &[&str]) {
    program()
        .current_dir(example())
        .args([command, "--origin", "zs.onnx", "--models", "models.csv"])
        .args(["--limit", "0", "--out"])
        .arg(out)
        .args(more)
        .assert()
        .success();
}

fn json(out: &Path, file: &str) -> Value {
    common::json(result(out, file))
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|name| name.as_str().unwrap()).collect()
}

/// Holds the scores of a model against the oracle's on those data sets that it has.
fn agree(what: &str, datasets: &Value, scores: &Value, expected: &Value) {
    let mut held = 0;
    for (set, score) in datasets
        .as_array()
        .unwrap()
        .iter()
        .zip(scores.as_array().unwrap())
    {
        let name = set["name"].as_str().unwrap();
        let Some(expected) = expected.get(name) else {
            continue;
        };
        let samples = set["samples"].as_f64().unwrap();
        let wrong = (score["error"].as_f64().unwrap() * samples).round() as i64;
        let difference = wrong - expected["wrong"].as_i64().unwrap();
        assert!(
            difference.abs() <= expected["close"].as_i64().unwrap(),
            "{what} on {name}: {wrong} wrong, not {}",
            expected["wrong"]
        );
        let loss = score["loss"].as_f64().unwrap();
        let ratio = loss / expected["loss"].as_f64().unwrap();
        assert!((ratio - 1.0).abs() < 1e-5, "{what} on {name}: {loss}");
        held += 1;
    }
    assert!(held > 0, "{what}");
}

#[test]
fn the_table_of_soups_is_that_of_pytorch() {
    let out = tempfile::tempdir().unwrap();
    let methods = "best,second,uniform,greedy,ensemble,greedy-ensemble,wise-ft:0.5";
    run("soup", out.path(), &["--methods", methods]);
    let (soups, oracle) = (json(out.path(), "soup.json"), oracle());
    let datasets = &soups["datasets"];
    agree(
        "zs",
        datasets,
        &soups["origin"]["scores"],
        &oracle["models"]["zs"],
    );
    for model in soups["models"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        agree(name, datasets, &model["scores"], &oracle["models"][name]);
    }
    let method = |name: &str| {
        let mut methods = soups["methods"].as_array().unwrap().iter();
        methods.find(|made| made["method"] == name).unwrap()
    };
    for name in ["best", "second"] {
        assert_eq!(
            names(&method(name)["members"]),
            [oracle[name].as_str().unwrap()]
        );
    }
    for (name, expected) in [
        ("uniform", &oracle["uniform"]),
        ("ensemble", &oracle["ensemble"]),
        ("greedy", &oracle["greedy"]["ge"]),
        ("greedy-ensemble", &oracle["greedy_ensemble"]["ge"]),
        ("wise-ft", &oracle["averages"]["wise_ft"]),
    ] {
        agree(name, datasets, &method(name)["scores"], expected);
    }
    let val = datasets
        .as_array()
        .unwrap()
        .iter()
        .find(|set| set["name"] == "val");
    let samples = val.unwrap()["samples"].as_f64().unwrap();
    for (name, key) in [("greedy", "greedy"), ("greedy-ensemble", "greedy_ensemble")] {
        let expected = &oracle[key]["ge"];
        assert_eq!(names(&method(name)["members"]), names(&expected["members"]));
        let decisions = soups["decisions"].as_array().unwrap().iter();
        let decisions: Vec<_> = decisions.filter(|made| made["method"] == name).collect();
        let trace = expected["trace"].as_array().unwrap();
        assert_eq!(decisions.len(), trace.len());
        for (made, expected) in decisions.iter().zip(trace) {
            assert_eq!(made["model"], expected["model"]);
            assert_eq!(made["added"], expected["added"]);
            let wrong = (1.0 - made["val_accuracy"].as_f64().unwrap()) * samples;
            let difference = wrong.round() as i64 - expected["val_wrong"].as_i64().unwrap();
            assert!(difference.abs() <= expected["close"].as_i64().unwrap());
        }
    }
}

/// Makes averages of some of the example's models and evaluates them on all test images.
fn averages(out: &Path, models: &[&str], more: &[&str]) -> Value {
    let files = models.iter().map(|name| {
        let file = example().join(format!("{name}.safetensors"));
        (*name, file)
    });
    let list = common::list(out.join("list.csv"), &files.collect::<Vec<_>>());
    program()
        .current_dir(example())
        .args(["soup", "--origin", "zs.onnx", "--models", &list])
        .args(["--val", "val.npz", "--test", "test.npz", "--limit", "0"])
        .args(more)
        .arg("--out")
        .arg(out)
        .assert()
        .success();
    json(out, "soup.json")
}

fn made<'s>(soups: &'s Value, method: &str) -> &'s Value {
    let mut methods = soups["methods"].as_array().unwrap().iter();
    methods.find(|made| made["method"] == method).unwrap()
}

#[test]
fn task_arithmetic_is_that_of_pytorch() {
    let out = tempfile::tempdir().unwrap();
    let more = ["--methods", "task-arithmetic:0.9"];
    let soups = averages(out.path(), &["ft1", "ft2", "ft3"], &more);
    let made = made(&soups, "task-arithmetic");
    // λ = 0.3 for the sum of three task vectors is s = 0.9 for their mean.
    let expected = &oracle()["averages"]["task_arithmetic"];
    assert_eq!(expected["scale"], 0.3);
    agree(
        "task arithmetic",
        &soups["datasets"],
        &made["scores"],
        expected,
    );
}

/// The values of `averages.json` are float64 sums over at most 51,200 elements; the file holds them
/// in float32. Rounding of an element is 2⁻²⁵ of its size: sums differ by less than 51,200 of
/// these of elements below 1, and usually by the root of that. What differs by 1e-4 is another
/// formula: with one angle for the whole network, sums of the large tensors differ by more than 0.1.
#[test]
fn averages_by_angles_are_those_of_numpy() {
    let oracle = common::json(common::oracle("averages.json"));
    let cases = [
        ("slerp", "slerp:0.3", &["ft1", "ft16"][..]),
        ("slerp-tasks", "slerp-tasks:0.7", &["ft1", "ft2"]),
        ("model-stock", "model-stock", &["ft1", "ft2", "ft3"]),
    ];
    for (method, wanted, models) in cases {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("made.safetensors");
        let save = format!("{wanted}={}", file.display());
        let soups = averages(out.path(), models, &["--methods", wanted, "--save", &save]);
        let (found, expected) = (made(&soups, method), &oracle[method]);
        agree(method, &soups["datasets"], &found["scores"], expected);
        let bytes = std::fs::read(&file).unwrap();
        let saved = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, expected) in expected["tensors"].as_object().unwrap() {
            let bytes = saved.tensor(name).unwrap().data().as_chunks::<4>().0;
            let values = bytes.iter().map(|it| f64::from(f32::from_le_bytes(*it)));
            let values: Vec<f64> = values.collect();
            let norm = values.iter().map(|it| it * it).sum::<f64>().sqrt();
            let found = [values.iter().sum(), norm, values[0]];
            for (found, key) in found.into_iter().zip(["sum", "norm", "first"]) {
                let expected = expected[key].as_f64().unwrap();
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{method}, {key} of {name}: {found}"
                );
            }
        }
        if method == "model-stock" {
            // One t per tensor: the share of the models in it.
            for (name, expected) in expected["tensors"].as_object().unwrap() {
                let coefficients = found["coefficients"].as_array().unwrap().iter();
                let of = coefficients.filter(|of| of["tensor"] == **name && of["model"] != "zs");
                let t: f64 = of.map(|of| of["coefficient"].as_f64().unwrap()).sum();
                assert!(
                    (t - expected["t"].as_f64().unwrap()).abs() < 1e-9,
                    "{name}: {t}"
                );
            }
        }
    }
}

#[test]
fn pairs_are_those_of_pytorch() {
    let out = tempfile::tempdir().unwrap();
    let oracle = oracle();
    let wanted = oracle["pairs"].as_array().unwrap();
    let list = out.path().join("ten.csv");
    let line = |pair: &Value| {
        format!(
            "{},{}\n",
            pair["a"].as_str().unwrap(),
            pair["b"].as_str().unwrap()
        )
    };
    let lines: String = wanted.iter().map(line).collect();
    fs::write(&list, format!("a,b\n{lines}")).unwrap();
    run("pairs", out.path(), &["--pairs", list.to_str().unwrap()]);
    let rows = rows(result(out.path(), "pairs.csv"));
    for pair in wanted {
        let of_pair = rows
            .iter()
            .filter(|row| row["a"] == pair["a"] && row["b"] == pair["b"]);
        let of_pair: Vec<_> = of_pair.collect();
        assert_eq!(of_pair.len(), 8);
        for row in of_pair {
            let number = |column: &str| common::number(row, column);
            let expected = |key: &str| pair[key].as_f64().unwrap();
            assert!((number("angle_deg") - expected("angle_deg")).abs() < 1e-6);
            assert!((number("norm_a") / expected("norm_a") - 1.0).abs() < 1e-12);
            let set = row["dataset"].as_str();
            let mut slack = 0.0;
            for kind in ["soup", "ensemble"] {
                let Some(expected) = pair[kind].get(set) else {
                    continue;
                };
                let samples = number("samples");
                let wrong = (1.0 - number(&format!("accuracy_{kind}"))) * samples;
                let difference = wrong.round() as i64 - expected["wrong"].as_i64().unwrap();
                let close = expected["close"].as_i64().unwrap();
                assert!(difference.abs() <= close, "{row:?}");
                slack += close as f64 / samples;
            }
            let advantage = pair["advantage"][set].as_f64().unwrap();
            // Means, and ends with close samples of their own.
            let most = slack
                + if row["role"] == "mean" {
                    1e-3
                } else {
                    1.5 / number("samples")
                };
            assert!((number("advantage") - advantage).abs() <= most, "{row:?}");
        }
    }
}

#[test]
fn section_4_is_that_of_pytorch() {
    let out = tempfile::tempdir().unwrap();
    let oracle = oracle();
    let list = out.path().join("two.csv");
    fs::write(&list, "a,b\nft1,ft2\nft5,ft9\n").unwrap();
    let more = [
        "--val", "val.npz", "--test", "test.npz", "--theory", "--pairs",
    ];
    run(
        "pairs",
        out.path(),
        &[&more[..], &[list.to_str().unwrap()]].concat(),
    );
    let points = json(out.path(), "pairs.json")["theory"].clone();
    let mut held = 0;
    for pair in oracle["theory"]["pairs"].as_array().unwrap() {
        for row in pair["rows"].as_array().unwrap() {
            let calibrated = row["beta_kind"] == "calibrated";
            let mut points = points.as_array().unwrap().iter();
            let point = points.find(|point| {
                point["a"] == pair["a"]
                    && point["b"] == pair["b"]
                    && point["alpha"] == row["alpha"]
                    && point["calibrated"] == calibrated
            });
            let (point, number) = (point.unwrap(), |of: &Value, key: &str| {
                of[key].as_f64().unwrap()
            });
            let apart = |key: &str| (number(point, key) - number(row, key)).abs();
            assert!(apart("beta") < 1e-4);
            assert!(apart("loss_soup") < 1e-6 && apart("loss_ensemble") < 1e-6);
            let close = number(row, "close_soup") + number(row, "close_ensemble");
            assert!(apart("error_soup").max(apart("error_ensemble")) <= (close + 0.5) / 10_000.0);
            for key in ["approximation", "approximation_path"] {
                assert!(apart(key) < 1e-4, "{key}: {point} {row}");
            }
            held += 1;
        }
    }
    assert_eq!(held, 12);
}
