//! A folder of inputs that tests spoil, and the program run on it.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use landscape::checkpoint::onnx::proto::ModelProto;
use prost::Message;
use tempfile::TempDir;

use crate::common::{number, oracle, program, result, rows};

/// A folder with the small transformer's files, to be spoiled.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vit = oracle("vit");
        for name in [
            "zs_noopt.onnx",
            "ft1.safetensors",
            "ft2.safetensors",
            "ft1_noopt.onnx",
            "data.npz",
        ] {
            fs::copy(vit.join(name), folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn edit_model(&self, change: impl FnOnce(&mut ModelProto)) {
        self.edit("zs_noopt.onnx", |bytes| {
            let mut model = ModelProto::decode(&bytes[..]).unwrap();
            change(&mut model);
            *bytes = model.encode_to_vec();
        });
    }

    pub fn plane(&self, more: &[&str]) -> Command {
        let mut command = program();
        command
            .current_dir(self.0.path())
            .args([
                "plane",
                "--origin",
                "zs_noopt.onnx",
                "--a",
                "ft1.safetensors",
                "--b",
                "ft2",
            ])
            .args(["--test", "data.npz", "--out", "out"])
            .args(more);
        if !more.iter().any(|flag| flag.starts_with("--x")) {
            command.args(["--steps", "3"]);
        }
        command
    }

    /// The message of a refusal; nothing may stand under a final name.
    pub fn refused(&self, status: i32, more: &[&str]) -> String {
        let output = self
            .plane(more)
            .assert()
            .code(status)
            .get_output()
            .stderr
            .clone();
        let message = String::from_utf8(output).unwrap();
        assert!(
            message.contains("error: ") && !message.contains("panicked"),
            "{message}"
        );
        assert!(!self.path("out/notebooks-data/plane.csv").exists());
        assert!(!self.path("out/plots/plane.png").exists());
        message
    }

    pub fn losses(&self) -> Vec<f64> {
        self.plane(&[]).assert().success();
        let rows = rows(result(&self.path("out"), "plane.csv"));
        rows.iter().map(|row| number(row, "loss")).collect()
    }
}
