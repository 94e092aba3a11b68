//! What others build upon: help, printed tables, columns and keys, held as snapshots in
//! `tests/snapshots`. A test fails where one differs. If the change is meant, accept it, read the
//! difference and commit it:
//!
//! ```text
//! INSTA_UPDATE=always cargo test --test interface
//! git diff tests/snapshots
//! ```
//!
//! Where `CI` is set, nothing is written.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use insta::Settings;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{example, json, list, program, result};

/// Holds a text against `tests/snapshots/NAME.snap`.
fn hold(name: &str, text: &str) {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// One run of a command on a few images of the bundled example.
struct Run {
    out: TempDir,
    stdout: String,
}

impl Run {
    /// In a layout of its own: one that a measurement chose could change the last digits.
    fn new(command: &str, more: &[&str]) -> Self {
        let out = tempfile::tempdir().unwrap();
        let output = program()
            .current_dir(example())
            .args(command.split_whitespace())
            .args(["--origin", "zs.onnx", "--limit", "60"])
            .args(["--workers", "1", "--threads", "1", "--batch", "20"])
            .args(more)
            .arg("--out")
            .arg(out.path())
            .assert()
            .success()
            .get_output()
            .clone();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stdout = stdout.replace(out.path().to_str().unwrap(), "OUT");
        Self { out, stdout }
    }

    /// Holds the columns of every CSV file and the keys of the JSON file.
    fn hold_files(&self, command: &str) {
        hold(&format!("{command}-columns"), &columns(self.out.path()));
        let json = json(result(self.out.path(), &format!("{command}.json")));
        hold(&format!("{command}-keys"), &keys(&json));
    }

    /// Holds the files and what was printed.
    fn hold(&self, command: &str) {
        self.hold_files(command);
        let text = without_numbers(&self.stdout);
        hold(&format!("{command}-stdout"), &text);
    }
}

/// The first line of every CSV file, under the file's name.
fn columns(out: &Path) -> String {
    let files = fs::read_dir(result(out, "")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name.ends_with(".csv")).collect();
    let text = names.iter().map(|name| {
        let rows = fs::read_to_string(result(out, name)).unwrap();
        format!("{name}\n  {}\n", rows.lines().next().unwrap())
    });
    text.collect()
}

/// Objects whose keys are names that the user chose.
const NAMED: [&str; 3] = ["files", "verified", "hyperparameters"];

/// The path of every value, once.
fn keys(json: &Value) -> String {
    let mut paths = BTreeSet::new();
    collect(json, String::new(), &mut paths);
    paths.into_iter().collect::<Vec<_>>().join("\n")
}

fn collect(value: &Value, path: String, paths: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let has_names = NAMED.iter().any(|name| path.ends_with(name));
            for (key, value) in fields {
                let key = if has_names { "*" } else { key };
                let dot = if path.is_empty() { "" } else { "." };
                collect(value, format!("{path}{dot}{key}"), paths);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for value in values {
                collect(value, format!("{path}[]"), paths);
            }
        }
        Value::Array(_) => {
            paths.insert(format!("{path}[]"));
        }
        _ => {
            paths.insert(path);
        }
    }
}

/// A text with `#` for each number, and one space where the width of a column depends on them.
fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let in_word = kept.ends_with(char::is_alphanumeric);
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        if !in_word && unsigned.starts_with(|c: char| c.is_ascii_digit()) {
            kept.push('#');
            rest = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || ".e-".contains(c));
            continue;
        }
        if next != ' ' || !kept.ends_with(' ') {
            kept.push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    kept
}

/// A table with `#` for each digit of its percentages, which another processor may round otherwise.
/// The settings of methods stay: they stand in parentheses.
fn without_percentages(table: &str) -> String {
    let words = table.split_inclusive([' ', '\n', '*', '{', '}', '|']);
    let words = words.map(|word| {
        let is_number = word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
        if is_number {
            word.replace(|c: char| c.is_ascii_digit(), "#")
        } else {
            word.to_string()
        }
    });
    words.collect()
}

#[test]
fn help_of_every_command() {
    for command in [
        "", "plane", "line", "soup", "pairs", "spectrum", "bench", "draw", "inspect", "doctor",
    ] {
        let words = command.split_whitespace();
        // The terminal's width, as clap asks for it where there is none.
        let mut help = program();
        let help = help.env("COLUMNS", "100").args(words).arg("--help");
        let output = help.assert().success().get_output().clone();
        let text = String::from_utf8(output.stdout).unwrap();
        let name = if command.is_empty() {
            "help".to_string()
        } else {
            format!("help-{command}")
        };
        hold(&name, &text);
    }
}

#[test]
fn a_plane() {
    Run::new("plane --a ft1 --b ft2 --steps 3 --arrows 1", &[]).hold("plane");
}

#[test]
fn a_line() {
    Run::new("line --a ft1 --b ft2 --steps 3", &[]).hold("line");
}

#[test]
fn soups() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name| (name, example().join(format!("{name}.safetensors")));
    let models = list(
        folder.path().join("models.csv"),
        &["ft1", "ft2", "ft3"].map(model),
    );
    let methods = "best,second,uniform,greedy,greedy-random,learned,learned-by-layer,model-stock,\
                   wise-ft:0.5,slerp,slerp-tasks,task-arithmetic:0.9,ensemble,greedy-ensemble";
    let run = |table: &str| {
        let command = format!("soup --methods {methods} --orders 1 --epochs 1 --table {table}");
        Run::new(&command, &["--models", &models])
    };
    let text = run("text");
    text.hold_files("soup");
    // Below the table is what was computed, and how long it took.
    let is_count = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
    let table: Vec<&str> = text.stdout.lines().take_while(|it| !is_count(it)).collect();
    let rest: Vec<&str> = text.stdout.lines().skip(table.len()).collect();
    hold("soup-text", &without_percentages(&table.join("\n")));
    hold("soup-stdout", &without_numbers(&rest.join("\n")));
    for format in ["markdown", "latex"] {
        let table = run(format).stdout;
        hold(&format!("soup-{format}"), &without_percentages(&table));
    }
}

#[test]
fn pairs() {
    let flags = "--val val.npz --test test.npz --pairs 4 --theory --by-layer";
    let more = "--models models.csv --hyperparameters augmentation";
    Run::new(&format!("pairs {flags} {more}"), &[]).hold("pairs");
}

#[test]
fn a_spectrum() {
    let flags = "--at ft1 --on test --top 2 --bottom 1 --steps 8 --trace 2 --probes 1";
    Run::new(&format!("spectrum {flags} --probe-steps 8"), &[]).hold("spectrum");
}
