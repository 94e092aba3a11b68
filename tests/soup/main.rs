//! `landscape soup` on the bundled example: what it evaluates, what it writes, what it refuses.
//! The numbers are held against PyTorch in `pool.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod rays;
mod refused;
mod resample;
mod results;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

use crate::common::{Row, example, program, result, rows};

fn soup(out: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command
        .current_dir(example())
        .args(["soup", "--origin", "zs.onnx", "--limit", "300", "--out"])
        .arg(out)
        .args(more);
    command
}

/// The models of the example.
const MODELS: [&str; 2] = ["--models", "models.csv"];

fn json(out: &Path) -> Value {
    common::json(result(out, "soup.json"))
}

fn table(out: &Path) -> Vec<Row> {
    rows(result(out, "soup.csv"))
}

fn rays(out: &Path) -> Vec<Row> {
    rows(result(out, "soup.rays.csv"))
}

/// A list of models in a folder, by absolute paths.
fn list(folder: &Path, models: &[(&str, PathBuf)]) -> String {
    common::list(folder.join("list.csv"), models)
}

fn digits(name: &str) -> PathBuf {
    example().join(format!("{name}.safetensors"))
}
