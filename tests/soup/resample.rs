//! How much of the greedy soup is chance: `--resample`.

use std::fs;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{number, result, rows};
use crate::{MODELS, digits, json, list, soup, table};

const GREEDY: [&str; 3] = ["--methods", "greedy", "--no-rays"];

#[test]
fn the_choices_of_the_greedy_soup_are_repeated_on_resamples() {
    let run = |seed: &str| {
        let out = tempfile::tempdir().unwrap();
        let more = ["--resample", "60", "--seed", seed];
        soup(out.path(), &[&MODELS[..], &GREEDY, &more].concat())
            .assert()
            .success()
            .stderr(contains("60 resamples of the 300 validation samples"))
            .stdout(contains("60 resamples").and(contains("in the greedy soup of resamples: ")));
        let csv = fs::read_to_string(result(out.path(), "soup.resample.csv")).unwrap();
        (csv, json(out.path())["resampling"].clone(), out)
    };
    let (csv, summary, out) = run("0");
    assert!(csv.starts_with("model,frequency\nft1,") && csv.lines().count() == 17);
    let models = rows(result(out.path(), "soup.resample.csv"));
    let frequency: Vec<f64> = models.iter().map(|row| number(row, "frequency")).collect();
    // Each resample has a soup of one model or more.
    let sum: f64 = frequency.iter().sum();
    assert!(sum >= 1.0 - 1e-9 && frequency.iter().all(|it| (0.0..=1.0).contains(it)));
    for it in &frequency {
        let count = 60.0 * it;
        assert!((count - count.round()).abs() < 1e-9);
    }
    let count = |key: &str| summary[key].as_u64().unwrap();
    assert_eq!((count("resamples"), count("seed")), (60, 0));
    assert!((2..=60).contains(&count("soups")));
    // More soups are tried than the recipe itself does.
    assert!(count("evaluated") > 0 && count("evaluated") <= 60 * 15);
    let of = |part: &str, key: &str| summary[part][key].as_f64().unwrap();
    for part in ["test", "shifts"] {
        assert!(of(part, "low") <= of(part, "high") && of(part, "sd") > 0.0);
    }
    assert_eq!(run("0").0, csv);
    assert_ne!(run("1").1["models"], summary["models"]);
}

#[test]
fn one_model_leaves_nothing_to_chance() {
    let out = tempfile::tempdir().unwrap();
    let models = list(out.path(), &[("only", digits("ft1"))]);
    let more = ["--models", &models, "--resample", "40"];
    soup(out.path(), &[&more[..], &GREEDY].concat())
        .assert()
        .success()
        .stdout(contains("give one greedy soup, that of the table in 100 %"));
    let summary = &json(out.path())["resampling"];
    assert_eq!(
        (&summary["soups"], &summary["evaluated"]),
        (&1.into(), &0.into())
    );
    assert_eq!(summary["published"], 1.0);
    let accuracy = number(&table(out.path())[0], "test_accuracy");
    for (key, expected) in [("sd", 0.0), ("low", accuracy), ("high", accuracy)] {
        let value = summary["test"][key].as_f64().unwrap();
        assert!((value - expected).abs() < 1e-12, "{key}: {value}");
    }
    let csv = fs::read_to_string(result(out.path(), "soup.resample.csv")).unwrap();
    assert_eq!(csv, "model,frequency\nonly,1.0\n");
}

#[test]
fn resamples_that_serve_nothing_are_refused() {
    let out = tempfile::tempdir().unwrap();
    for (more, message) in [
        (
            &["--methods", "uniform", "--resample", "100"][..],
            "--resample: repeats the choices of the greedy soup",
        ),
        (
            &["--resample", "10"],
            "--resample: is 10; expected 40 to 1000",
        ),
    ] {
        soup(out.path(), &[&MODELS[..], more].concat())
            .assert()
            .code(2)
            .stderr(contains(message));
    }
    // In the file it is used where there is a greedy soup.
    let config = out.path().join("c.toml");
    let text = fs::read_to_string(crate::common::example().join("landscape.toml")).unwrap();
    let whole = |line: &str| match line.split_once(" = \"") {
        Some((key, rest)) if rest.contains(".npz") => {
            format!("{key} = \"{}/{rest}\n", crate::common::example().display())
        }
        _ => format!("{line}\n"),
    };
    let text: String = text.lines().map(whole).collect();
    fs::write(
        &config,
        format!("{text}[soup]\nresample = 40\nno-rays = true\n"),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    for (methods, is_there) in [("uniform", false), ("greedy", true)] {
        let more = ["--methods", methods, "--config", config];
        soup(out.path(), &[&MODELS[..], &more].concat())
            .assert()
            .success()
            .stderr(contains("rays of").not());
        assert_eq!(result(out.path(), "soup.resample.csv").exists(), is_there);
    }
}
