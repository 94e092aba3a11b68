//! What the integration tests share: where files lie, the program, and how its results are read.

// Every test program includes this file and uses only a part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

pub mod engine;
pub mod small;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use assert_cmd::Command;
use safetensors::SafeTensors;
use serde_json::Value;

/// A row of a CSV file: its cells by column.
pub type Row = HashMap<String, String>;

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the bundled example.
pub fn example() -> PathBuf {
    root().join("examples/digits")
}

/// A file or folder of `tests/oracle`.
pub fn oracle(name: &str) -> PathBuf {
    root().join("tests/oracle").join(name)
}

/// The program, with assertions on what it does.
pub fn program() -> Command {
    Command::cargo_bin("landscape").unwrap()
}

/// The program as a process that a test can start, watch and kill.
pub fn process() -> process::Command {
    process::Command::new(env!("CARGO_BIN_EXE_landscape"))
}

/// `landscape draw` on a CSV file, with `out` as the folder for its figures.
pub fn draw(csv: impl AsRef<Path>, out: impl AsRef<Path>) -> Command {
    let mut command = program();
    command.arg("draw").arg(csv.as_ref());
    command.arg("--out").arg(out.as_ref());
    command
}

/// A result file in the folder that was given as `--out`.
pub fn result(out: &Path, name: &str) -> PathBuf {
    out.join("notebooks-data").join(name)
}

/// Reads a JSON file.
pub fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The rows of a CSV text.
pub fn table(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

/// The rows of a CSV file.
pub fn rows(path: impl AsRef<Path>) -> Vec<Row> {
    table(&fs::read_to_string(path).unwrap())
}

/// A number in a row.
pub fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap()
}

/// The numbers of a JSON array.
pub fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

/// The warnings that a result lists.
pub fn warnings(result: &Value) -> Vec<String> {
    let warnings = result["warnings"].as_array().unwrap().iter();
    let text = |warning: &Value| warning.as_str().unwrap().to_string();
    warnings.map(text).collect()
}

/// Writes a list of models, by name and path; returns its own path as an argument.
pub fn list<P: AsRef<Path>>(file: impl AsRef<Path>, models: &[(&str, P)]) -> String {
    let line = |(name, path): &(&str, P)| format!("{name},{}\n", path.as_ref().display());
    let lines: String = models.iter().map(line).collect();
    fs::write(&file, format!("name,path\n{lines}")).unwrap();
    file.as_ref().to_str().unwrap().to_string()
}

/// Writes θ0's tensors to a file, those whose names begin with `head` from a fine-tune.
pub fn head_alone(origin: &Path, tuned: &Path, head: &str, to: &Path) {
    let [origin, tuned] = [origin, tuned].map(|path| fs::read(path).unwrap());
    let [origin, tuned] = [&origin, &tuned].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let views = origin.iter().map(|(name, view)| {
        let is_tuned = name.starts_with(head);
        let tuned = || tuned.tensor(name).unwrap();
        (name, if is_tuned { tuned() } else { view })
    });
    safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, to).unwrap();
}
