//! `landscape soup` on the bundled example: what it evaluates, what it writes, what it refuses.
//! The numbers are held against PyTorch in `pool.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/digits")
}

fn soup(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::cargo_bin("landscape").unwrap();
    command
        .current_dir(example())
        .args(["soup", "--origin", "zs.onnx", "--limit", "300", "--out"])
        .arg(out)
        .args(more);
    command
}

/// The models of the example.
const MODELS: [&str; 2] = ["--models", "models.csv"];

fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn json(out: &Path) -> Value {
    let path = out.join("notebooks-data/soup.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn table(out: &Path) -> Vec<HashMap<String, String>> {
    rows(&out.join("notebooks-data/soup.csv"))
}

/// A list of models in a folder, by absolute paths.
fn list(folder: &Path, models: &[(&str, PathBuf)]) -> String {
    let path = folder.join("list.csv");
    let lines = models.iter();
    let lines = lines.map(|(name, path)| format!("{name},{}\n", path.display()));
    fs::write(&path, format!("name,path\n{}", lines.collect::<String>())).unwrap();
    path.to_str().unwrap().to_string()
}

fn digits(name: &str) -> PathBuf {
    example().join(format!("{name}.safetensors"))
}

/// The sets of members that a greedy method evaluated, from its trace: those it had, and the one
/// it tried.
fn tried(trace: &[HashMap<String, String>], method: &str) -> HashSet<Vec<String>> {
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
fn nothing_goes_through_the_network_twice() {
    let out = tempfile::tempdir().unwrap();
    soup(out.path(), &MODELS)
        .assert()
        .success()
        .stdout(contains("greedy soup").and(contains("O(k)")));
    let trace = rows(&out.path().join("notebooks-data/soup.trace.csv"));
    let mut trials = tried(&trace, "greedy");
    trials.extend(tried(&trace, "greedy-random"));
    // A model alone is known from its logits.
    trials.retain(|members| members.len() > 1);
    let (val, sets, models) = (300, 5, 17);
    let mut samples = models * val * sets + trials.len() * val;
    let table = table(out.path());
    let mut served = HashSet::new();
    for row in &table {
        let mut members: Vec<String> = row["members"].split(';').map(String::from).collect();
        members.sort();
        // A learned soup has coefficients of its own.
        let is_learned = row["method"].starts_with("learned");
        let is_known = !is_learned && !served.insert(members.clone());
        if row["method"].contains("ensemble") || members.len() == 1 || is_known {
            continue;
        }
        samples += val
            * if trials.contains(&members) && !is_learned {
                sets - 1
            } else {
                sets
            };
    }
    // The files as they are, on a few samples.
    samples += models * 64;
    let counted = &json(out.path())["evaluations"];
    assert_eq!(counted["samples"], samples);
    assert_eq!(counted["logits"], models);
    // Five epochs of each learned soup, and what judged it: the start, every epoch, and the end
    // where that was not judged last.
    let learned = counted["learning"].as_u64().unwrap();
    let (val, batch) = (val as u64, 256);
    // Ahead of both, the start is held against the evaluator's: the forward passes, and of one
    // mini-batch both kinds.
    let held = val + 2 * batch;
    assert!((2 * (5 + 6) * val..=2 * (5 + 7) * val).contains(&(learned - held)));
}

#[test]
fn the_table_is_what_its_parts_say() {
    let out = tempfile::tempdir().unwrap();
    soup(out.path(), &MODELS).assert().success();
    let data = out.path().join("notebooks-data");
    let models = rows(&data.join("soup.models.csv"));
    assert_eq!(models.len(), 16);
    // The list has a column of the name of one that is measured.
    assert_eq!(models[0]["listed_val_accuracy"], "0.9700");
    assert_eq!(models[0]["lr"], "0.00145");
    let val = |row: &HashMap<String, String>| row["val_accuracy"].parse::<f64>().unwrap();
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
    let random: Vec<_> = table
        .iter()
        .filter(|row| row["method"] == "greedy-random")
        .collect();
    let seeds: Vec<&str> = random.iter().map(|row| row["seed"].as_str()).collect();
    assert_eq!(seeds, ["0", "1", "2"]);
    let shifts = ["optdigits", "mfeat", "pendigits"];
    for row in table.iter().chain(&models) {
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        let sum: f64 = shifts
            .iter()
            .map(|name| number(&format!("accuracy_{name}")))
            .sum();
        assert!((number("shift_accuracy") - sum / 3.0).abs() < 1e-12);
        let right = 300.0 * number("test_accuracy");
        assert!((right - right.round()).abs() < 1e-9);
    }
    // The weights of every average sum to 1 and are those of its members; by layer those of each
    // tensor.
    let mut sums: HashMap<[String; 3], (f64, Vec<String>)> = HashMap::new();
    for row in rows(&data.join("soup.weights.csv")) {
        assert_eq!(
            row["tensor"].is_empty(),
            row["method"] != "learned-by-layer"
        );
        let key = ["method", "seed", "tensor"].map(|column| row[column].clone());
        let sum = sums.entry(key).or_default();
        sum.0 += row["coefficient"].parse::<f64>().unwrap();
        sum.1.push(row["model"].clone());
    }
    // The network has ten tensors.
    assert_eq!(sums.len(), table.len() - 1 + 10);
    for (key, (sum, members)) in &sums {
        assert!((sum - 1.0).abs() < 1e-12);
        let mut rows = table.iter();
        let of = rows.find(|row| row["method"] == key[0] && row["seed"] == key[1]);
        assert_eq!(of.unwrap()["members"], members.join(";"));
    }
    let loss = |method: &str| row(method)["val_loss"].parse::<f64>().unwrap();
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
        let trace = rows(&out.path().join("notebooks-data/soup.trace.csv"));
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
fn a_saved_soup_is_the_model_of_its_row() {
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name);
    let save = |method: &str, name: &str| format!("{method}={}", at(name).display());
    let saves = [
        save("greedy", "greedy.safetensors"),
        save("wise-ft:0.5", "half.onnx"),
        save("greedy-random", "random.safetensors"),
    ];
    let saves: Vec<&str> = saves.iter().flat_map(|save| ["--save", save]).collect();
    soup(out.path(), &[&MODELS[..], &saves].concat())
        .assert()
        .success();
    let made = table(out.path());
    let random = made.iter().filter(|row| row["method"] == "greedy-random");
    let val = |row: &&HashMap<String, String>| row["val_accuracy"].parse::<f64>().unwrap();
    // Of equals the first.
    let random = random
        .rev()
        .max_by(|a, b| val(a).total_cmp(&val(b)))
        .unwrap();
    let row = |method: &str| made.iter().find(|row| row["method"] == method).unwrap();
    let again = tempfile::tempdir().unwrap();
    let models = [
        ("greedy", at("greedy.safetensors")),
        ("half", at("half.onnx")),
        ("random", at("random.safetensors")),
    ];
    let models = list(again.path(), &models);
    soup(again.path(), &["--models", &models, "--methods", "best"])
        .assert()
        .success()
        .stderr(contains("warning").not());
    let read = rows(&again.path().join("notebooks-data/soup.models.csv"));
    for (read, row) in read.iter().zip([row("greedy"), row("wise-ft:0.5"), random]) {
        for column in ["val_accuracy", "test_accuracy", "shift_accuracy"] {
            assert_eq!(read[column], row[column], "{} {column}", read["name"]);
        }
        let loss = |row: &HashMap<String, String>| row["val_loss"].parse::<f64>().unwrap();
        // The network of the .onnx is optimized as a whole: rounding in another order.
        assert!((loss(read) / loss(row) - 1.0).abs() < 1e-5);
    }
}

#[test]
fn files_are_written_over_only_by_force_and_never_over_a_model() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("soup.safetensors");
    fs::write(&file, "mine").unwrap();
    let save = format!("uniform={}", file.display());
    let more = [&MODELS[..], &["--methods", "uniform", "--save", &save]].concat();
    soup(out.path(), &more)
        .assert()
        .code(2)
        .stderr(contains("exists already").and(contains("--force")));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    soup(out.path(), &[&more[..], &["--force"]].concat())
        .assert()
        .success();
    assert!(fs::metadata(&file).unwrap().len() > 200_000);
    for (save, message) in [
        ("uniform=ft1.safetensors", "one of the inputs"),
        ("uniform=zs.onnx", "one of the inputs"),
        ("ensemble=e.safetensors", "many models"),
        ("uniform=e.pt", "ends neither"),
        ("uniform", "METHOD=FILE"),
        ("learnt=e.onnx", "there is no `learnt`"),
    ] {
        soup(
            out.path(),
            &[&MODELS[..], &["--force", "--save", save]].concat(),
        )
        .assert()
        .code(2)
        .stderr(contains(message));
    }
}

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
    let names: Vec<String> = rows(&out.path().join("notebooks-data/soup.models.csv"))
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
fn one_model_is_its_own_soup() {
    let out = tempfile::tempdir().unwrap();
    let models = list(out.path(), &[("only", digits("ft1"))]);
    soup(out.path(), &["--models", &models]).assert().success();
    let table = table(out.path());
    let methods: Vec<&str> = table.iter().map(|row| row["method"].as_str()).collect();
    // There is no second, which is said.
    assert!(!methods.contains(&"second") && methods.len() == 10);
    let warnings = json(out.path())["warnings"].to_string();
    assert!(warnings.contains("second is not defined"), "{warnings}");
    assert!(table.iter().all(|row| row["members"] == "only"));
    // A learned one has a β of its own.
    let mut plain = table
        .iter()
        .filter(|row| !row["method"].starts_with("learned"));
    assert!(plain.all(|row| row["val_loss"] == table[0]["val_loss"]));
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
            "there is no `worst`",
        ),
        (
            &["--models", "models.csv", "--methods", "best:2"],
            "takes no number",
        ),
        (
            &["--models", "models.csv", "--methods", "slerp:x"],
            "a number is needed",
        ),
        (
            &["--models", "models.csv", "--test", "test.npz"],
            "--val: is needed: `best`",
        ),
        (
            &["--models", "models.csv", "--train", "train.npz"],
            "no data set was named",
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
            "--epochs: serves none of the methods",
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
            "need all samples",
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
fn a_point_of_a_sweep_stands_once_and_is_chosen_only_by_validation() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("half.safetensors");
    let save = format!("wise-ft:0.5={}", file.display());
    let more = ["--methods", "wise-ft", "--save", &save];
    soup(out.path(), &[&MODELS[..], &more].concat())
        .assert()
        .success();
    assert_eq!(table(out.path()).len(), 9);
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
        .stdout(contains("task arithmetic (0.1)").and(contains("task arithmetic (0.9)")));
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
    let rows = rows(&out.path().join("notebooks-data/soup.models.csv"));
    let loss: f64 = rows[1]["val_loss"].parse().unwrap();
    assert!(!loss.is_finite());
    assert_eq!(table(out.path())[0]["members"], "one");
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
    assert_eq!(markdown.lines().count(), 5);
    assert!(
        markdown
            .lines()
            .all(|line| line.starts_with('|') && line.ends_with('|'))
    );
    assert!(markdown.contains("**"));
    let latex = print("latex");
    assert!(latex.starts_with("\\begin{tabular}") && latex.ends_with("\\end{tabular}\n"));
    assert!(latex.contains("test (\\%)") && latex.contains("\\textbf{"));
    assert_eq!(latex.matches(" & ").count(), 4 * 4);
}

#[test]
fn a_killed_run_computes_no_logits_twice_and_ends_with_the_same_bytes() {
    let start = |out: &Path| {
        let mut command = Process::new(env!("CARGO_BIN_EXE_landscape"));
        command
            .current_dir(example())
            .args([
                "soup",
                "--origin",
                "zs.onnx",
                "--models",
                "models.csv",
                "--out",
            ])
            .arg(out)
            .args(["--limit", "1000", "--workers", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let whole = tempfile::tempdir().unwrap();
    assert!(start(whole.path()).status().unwrap().success());
    let killed = tempfile::tempdir().unwrap();
    let lines = || {
        let folder = fs::read_dir(killed.path().join(".landscape"));
        let mut files = folder
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        let journal = files.find(|path| path.extension().is_some_and(|end| end == "journal"));
        let text = journal.and_then(|path| fs::read_to_string(path).ok());
        text.map_or(0, |text| text.lines().count())
    };
    // In the midst of the logits, then in the midst of the trials.
    let mut before = 0;
    for until in [6, 45] {
        let mut run = start(killed.path()).spawn().unwrap();
        let begun = Instant::now();
        while lines() < until && run.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(2));
        }
        run.kill().unwrap();
        assert!(!run.wait().unwrap().success(), "the kill came too late");
        assert!(lines() >= until && lines() > before);
        before = lines();
    }
    assert!(start(killed.path()).status().unwrap().success());
    for file in [
        "soup.csv",
        "soup.models.csv",
        "soup.trace.csv",
        "soup.weights.csv",
    ] {
        let read = |out: &Path| fs::read(out.join("notebooks-data").join(file)).unwrap();
        assert_eq!(read(killed.path()), read(whole.path()), "{file}");
    }
    let samples = |out: &Path| json(out)["evaluations"]["samples"].as_u64().unwrap();
    // All logits but those of θ0 alone would be more.
    assert!(samples(killed.path()) < samples(whole.path()) - 16 * 5000);
    assert!(!killed.path().join(".landscape").exists());
}

#[test]
fn figures_are_drawn_again_from_their_files() {
    let out = tempfile::tempdir().unwrap();
    soup(out.path(), &MODELS).assert().success();
    let again = tempfile::tempdir().unwrap();
    let csv = out.path().join("notebooks-data/soup.csv");
    let mut draw = Command::cargo_bin("landscape").unwrap();
    draw.arg("draw").arg(&csv).arg("--out").arg(again.path());
    draw.assert().success();
    let svg = "soup-learned-by-layer.svg";
    for file in ["soup.png", "soup.svg", "soup-learned-by-layer.png", svg] {
        let first = fs::read(out.path().join("plots").join(file)).unwrap();
        assert_eq!(first, fs::read(again.path().join(file)).unwrap());
    }
    let svg = fs::read_to_string(again.path().join(svg)).unwrap();
    assert!(svg.contains("by tensor; white: 1/16"));
    let path = out.path().join("notebooks-data/soup.json");
    fs::write(path, "{}").unwrap();
    let mut draw = Command::cargo_bin("landscape").unwrap();
    draw.arg("draw").arg(&csv).arg("--out").arg(again.path());
    draw.assert()
        .code(2)
        .stderr(contains("is no table of soups"));
}
