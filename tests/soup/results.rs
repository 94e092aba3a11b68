//! What the table and the files beside it say.

use std::collections::{HashMap, HashSet};

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{Row, number, result, rows};
use crate::{MODELS, digits, json, list, rays, soup, table};

/// The sets of members that a greedy method evaluated, from its trace: those it had, and the one
/// it tried.
fn tried(trace: &[Row], method: &str) -> HashSet<Vec<String>> {
    let mut sets = HashSet::new();
    let mut members: Vec<String> = Vec::new();
    for row in trace.iter().filter(|row| row["method"] == method) {
        if row["step"] == "1" {
            members.clear();
        }
        let mut with = members.clone();
        with.push(row["model"].clone());
        with.sort();
        if row["added"] == "true" {
            members.clone_from(&with);
            assert_eq!(row["members"], members.len().to_string());
        }
        sets.insert(with);
    }
    sets
}

#[test]
fn only_logits_of_what_was_tried_take_the_network_twice() {
    let out = tempfile::tempdir().unwrap();
    soup(out.path(), &MODELS)
        .assert()
        .success()
        .stdout(contains("greedy soup").and(contains("O(k)")));
    let trace = rows(result(out.path(), "soup.trace.csv"));
    let mut trials = tried(&trace, "greedy");
    trials.extend(tried(&trace, "greedy-random"));
    // A model alone is known from its logits.
    trials.retain(|members| members.len() > 1);
    let (val, sets, models) = (300, 6, 17);
    let mut samples = models * val * sets + trials.len() * val;
    // The uniform soup, against which the loss of learning is held, and the logits of the uniform
    // and the greedy soup, from which learning may start.
    samples += 3 * val;
    let table = table(out.path());
    let mut served = HashSet::new();
    // What lies between θ0 and a soup. The sweep of the best model is on its ray.
    let rays = rays(out.path());
    let of_one = |method: &String| {
        let row = table.iter().find(|row| row["method"] == *method).unwrap();
        !row["members"].contains(';')
    };
    let between = rays.iter().filter(|row| {
        let is_end = ["0", "1"].contains(&row["alpha"].as_str());
        !is_end && (row["method"] == "best" || !of_one(&row["method"]))
    });
    samples += between.count() * val * sets;
    for row in table
        .iter()
        .filter(|row| !row["method"].starts_with("wise-ft"))
    {
        let mut members: Vec<String> = row["members"].split(';').map(String::from).collect();
        members.sort();
        // A learned soup has coefficients of its own.
        let is_learned = row["method"].starts_with("learned");
        let is_known = !is_learned && !served.insert(members.clone());
        if row["method"].contains("ensemble") || members.len() == 1 || is_known {
            continue;
        }
        samples += val * sets;
    }
    // The files as they are, on a few samples.
    samples += models * 64;
    let counted = &json(out.path())["evaluations"];
    assert_eq!(counted["samples"], samples);
    assert_eq!(counted["logits"], models);
    // Every iteration takes all samples once or more, and so does the start of each learned soup.
    let learned = counted["learning"].as_u64().unwrap();
    let (val, batch) = (val as u64, 256);
    // Ahead of both, the start is held against the evaluator's: the forward passes, and of one
    // mini-batch both kinds.
    let held = val + 2 * batch;
    let result = json(out.path());
    let courses = result["learned"].as_array().unwrap().iter();
    let epochs = courses.map(|of| of["epochs"].as_array().unwrap().len() as u64);
    let passes = (learned - held) / val;
    assert_eq!((learned - held) % val, 0);
    let least: u64 = epochs.sum();
    assert!((least..=3 * least).contains(&passes), "{passes} {least}");
}

#[test]
fn the_table_is_what_its_parts_say() {
    let out = tempfile::tempdir().unwrap();
    soup(out.path(), &MODELS).assert().success();
    let models = rows(result(out.path(), "soup.models.csv"));
    assert_eq!(models.len(), 16);
    // The list has a column of the name of one that is measured.
    assert_eq!(models[0]["listed_val_accuracy"], "0.9700");
    assert_eq!(models[0]["lr"], "0.00145");
    let val = |row: &Row| number(row, "val_accuracy");
    let mut ranked: Vec<_> = models.iter().collect();
    ranked.sort_by(|a, b| val(b).total_cmp(&val(a)));
    let table = table(out.path());
    let row = |method: &str| table.iter().find(|row| row["method"] == method).unwrap();
    for (method, model) in [("best", ranked[0]), ("second", ranked[1])] {
        assert_eq!(row(method)["members"], model["name"]);
        for column in [
            "val_accuracy",
            "val_loss",
            "test_accuracy",
            "accuracy_pendigits",
        ] {
            assert_eq!(row(method)[column], model[column], "{method} {column}");
        }
    }
    for method in ["greedy", "greedy-ensemble"] {
        assert!(val(row(method)) >= val(row("best")), "{method}");
    }
    // Nothing was chosen for the plain means, and of the models only two were.
    for row in &table {
        let is_plain = ["uniform", "ensemble"].contains(&row["method"].as_str());
        assert_eq!(row["val_in_sample"], (!is_plain).to_string(), "{row:?}");
    }
    for (rank, model) in ranked.iter().enumerate() {
        assert_eq!(model["val_in_sample"], (rank < 2).to_string(), "{model:?}");
    }
    let random: Vec<_> = table
        .iter()
        .filter(|row| row["method"] == "greedy-random")
        .collect();
    let seeds: Vec<&str> = random.iter().map(|row| row["seed"].as_str()).collect();
    assert_eq!(seeds, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let shifts = ["optdigits", "mfeat", "pendigits"];
    for row in table.iter().chain(&models) {
        let number = |column: &str| number(row, column);
        let sum: f64 = shifts
            .iter()
            .map(|name| number(&format!("accuracy_{name}")))
            .sum();
        assert!((number("shift_accuracy") - sum / 3.0).abs() < 1e-12);
        // θ0's own domain has a column of its own and is in no mean.
        assert!(number("accuracy_fonts") > 0.0);
        let right = 300.0 * number("test_accuracy");
        assert!((right - right.round()).abs() < 1e-9);
    }
    // The weights of every average sum to 1 and are those of its members; by layer those of each
    // tensor.
    let mut sums: HashMap<[String; 3], (f64, Vec<String>)> = HashMap::new();
    for row in rows(result(out.path(), "soup.weights.csv")) {
        assert_eq!(
            row["tensor"].is_empty(),
            row["method"] != "learned-by-layer"
        );
        let key = ["method", "seed", "tensor"].map(|column| row[column].clone());
        let sum = sums.entry(key).or_default();
        sum.0 += number(&row, "coefficient");
        sum.1.push(row["model"].clone());
    }
    // The network has ten tensors.
    assert_eq!(sums.len(), table.len() - 1 + 10);
    for (key, (sum, members)) in &sums {
        assert!((sum - 1.0).abs() < 1e-12);
        let mut rows = table.iter();
        let of = rows.find(|row| row["method"] == key[0] && row["seed"] == key[1]);
        // WiSE-FT has θ0's weight, too.
        if !key[0].starts_with("wise-ft") {
            assert_eq!(of.unwrap()["members"], members.join(";"));
        }
    }
    let loss = |method: &str| number(row(method), "val_loss");
    for method in ["learned", "learned-by-layer"] {
        assert!(loss(method) < loss("uniform"), "{method}");
    }
}

#[test]
fn seeds_repeat_an_order_and_another_seed_gives_another() {
    let read = |seed: &str| {
        let out = tempfile::tempdir().unwrap();
        let more = [
            "--methods",
            "greedy-random",
            "--orders",
            "1",
            "--seed",
            seed,
        ];
        soup(out.path(), &[&MODELS[..], &more].concat())
            .assert()
            .success();
        let trace = rows(result(out.path(), "soup.trace.csv"));
        trace
            .iter()
            .map(|row| row["model"].clone())
            .collect::<Vec<_>>()
    };
    let (first, again, other) = (read("4"), read("4"), read("5"));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(first.len(), 16);
}

#[test]
fn a_model_that_cannot_be_saved_costs_no_table() {
    let out = tempfile::tempdir().unwrap();
    let models = list(out.path(), &[("only", digits("ft1"))]);
    let file = out.path().join("second.safetensors");
    let save = format!("second={}", file.display());
    let flags = ["--models", &models, "--methods", "best", "--save", &save];
    let message = soup(out.path(), &flags).assert().code(2);
    message.stderr(predicates::str::contains("--save: second is undefined"));
    assert_eq!(table(out.path()).len(), 1);
    assert!(!file.exists());
}

#[test]
fn one_model_is_its_own_soup() {
    let out = tempfile::tempdir().unwrap();
    let models = list(out.path(), &[("only", digits("ft1"))]);
    soup(out.path(), &["--models", &models]).assert().success();
    let table = table(out.path());
    let methods: Vec<&str> = table.iter().map(|row| row["method"].as_str()).collect();
    // There is no second, which is said.
    let random = methods.iter().filter(|name| **name == "greedy-random");
    assert_eq!(random.count(), 10);
    // Beside these and the eleven α: three means of weights, two of logits, two learned soups.
    assert!(!methods.contains(&"second") && methods.len() == 10 + 11 + 7);
    let warnings = json(out.path())["warnings"].to_string();
    assert!(warnings.contains("second is undefined"), "{warnings}");
    assert!(table.iter().all(|row| row["members"] == "only"));
    // A learned one has a β of its own.
    let mut plain = table
        .iter()
        .filter(|row| !row["method"].starts_with("learned"))
        .filter(|row| !row["method"].starts_with("wise-ft") || row["method"] == "wise-ft:1");
    assert!(plain.all(|row| row["val_loss"] == table[0]["val_loss"]));
}

#[test]
fn a_point_of_a_sweep_stands_once_and_is_chosen_only_by_validation() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("half.safetensors");
    let save = format!("wise-ft:0.5={}", file.display());
    let more = ["--methods", "wise-ft", "--save", &save];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success();
    // α = 0 and 1 are points, too: θ0, and the best model.
    assert_eq!(table(out.path()).len(), 11);
    let save = format!("task-arithmetic={}", file.display());
    let more = [
        "--methods",
        "uniform",
        "--test",
        "test.npz",
        "--save",
        &save,
        "--force",
    ];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .code(2)
        .stderr(contains("is needed to choose which `task-arithmetic`"));
    let more = ["--methods", "task-arithmetic", "--test", "test.npz"];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success()
        .stdout(contains("task arithmetic (s = 0.1)").and(contains("task arithmetic (s = 1.5)")));
}

#[test]
fn wise_ft_shortens_what_any_method_makes() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("short.safetensors");
    let save = format!("wise-ft(greedy):0.8={}", file.display());
    let methods = "greedy,uniform,task-arithmetic:1,wise-ft(uniform),wise-ft(greedy):1,\
                   wise-ft(model-stock):0.5,wise-ft(best):1,best";
    let more = ["--methods", methods, "--save", &save];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success()
        .stdout(
            contains("uniform soup, shortened (α = ").and(contains("greedy soup, shortened (α = ")),
        );
    let table = table(out.path());
    let row = |name: &str| table.iter().find(|row| row["method"] == name).unwrap();
    for (shortened, whole) in [
        ("wise-ft(greedy):1", "greedy"),
        ("wise-ft(uniform):1", "uniform"),
        ("task-arithmetic:1", "uniform"),
        ("wise-ft:1", "best"),
    ] {
        for column in ["members", "val_accuracy", "test_accuracy"] {
            assert_eq!(row(shortened)[column], row(whole)[column], "{shortened}");
        }
    }
    assert_eq!(
        row("wise-ft(uniform):0")["members"],
        row("uniform")["members"]
    );
    assert!(file.is_file());
    // The mean is shortened per tensor where it was made per tensor.
    let weights = rows(result(out.path(), "soup.weights.csv"));
    let mut weights = weights
        .iter()
        .filter(|row| row["method"] == "wise-ft(model-stock):0.5");
    assert!(weights.all(|row| !row["tensor"].is_empty()));
    for (method, problem) in [
        ("wise-ft(ensemble)", "wise-ft(ensemble) is no model between"),
        ("wise-ft(wise-ft)", "wise-ft(wise-ft) is no model between"),
        ("wise-ft(nothing)", "there is no method `nothing`"),
        ("greedy(uniform)", "`greedy` takes no other method"),
    ] {
        let more = ["--methods", method];
        soup(out.path(), &[&MODELS[..], &more].concat())
            .assert()
            .code(2)
            .stderr(contains(problem));
    }
}

#[test]
fn tables_for_papers_stand_alone_on_standard_output() {
    let out = tempfile::tempdir().unwrap();
    let print = |kind: &str| {
        let more = ["--methods", "best,uniform,ensemble", "--table", kind];
        let output = soup(out.path(), &[&MODELS[..], &more].concat())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let markdown = print("markdown");
    // Below the table is what its marks mean.
    let lines: Vec<&str> = markdown.lines().collect();
    assert!(lines.len() == 8 && lines[6].is_empty() && lines[7].starts_with("bold"));
    assert!(
        lines[..6]
            .iter()
            .all(|line| line.starts_with('|') && line.ends_with('|'))
    );
    assert!(markdown.contains("**"));
    let latex = print("latex");
    let (comment, latex) = latex.split_once('\n').unwrap();
    assert!(comment.starts_with("% bold"));
    assert!(latex.starts_with("\\begin{tabular}") && latex.ends_with("\\end{tabular}\n"));
    assert!(latex.contains("test (\\%)") && latex.contains("\\textbf{"));
    // A header, θ0 and three rows of nine columns: three accuracies, one that of the fonts, each beside
    // the difference from the best model.
    assert_eq!(latex.matches(" & ").count(), 5 * 8);
}
