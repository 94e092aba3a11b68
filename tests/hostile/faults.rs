//! Runs that are stopped and disks that fill up: one message, and no half file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::folder::Folder;

/// The files in the output folders, by name.
fn written(folder: &Folder) -> Vec<String> {
    let mut names = Vec::new();
    for part in ["out/notebooks-data", "out/plots"] {
        for entry in fs::read_dir(folder.path(part)).into_iter().flatten() {
            names.push(entry.unwrap().file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn an_output_folder_that_cannot_be_made_is_a_failure_before_the_run() {
    let folder = Folder::new();
    fs::write(folder.path("out"), "a file").unwrap();
    let message = folder.refused(1, &[]);
    assert!(
        message.contains("plane.csv: cannot be written"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_with_one_message_and_no_file() {
    let folder = Folder::new();
    let mut run = Command::new(env!("CARGO_BIN_EXE_landscape"))
        .current_dir(folder.path(""))
        .args([
            "plane",
            "--origin",
            "zs_noopt.onnx",
            "--a",
            "ft1.safetensors",
        ])
        .args([
            "--b", "ft2", "--test", "data.npz", "--steps", "900", "--out", "out",
        ])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    // The geometry is told when the evaluation begins.
    let begun = lines.find(|line| line.as_ref().unwrap().contains("angle"));
    assert!(begun.is_some());
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let sent = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let status = run.wait().unwrap();
    // Within the batches that were running; a plane of this size takes hours.
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(status.code(), Some(1));
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let errors: Vec<&String> = rest.iter().filter(|line| line.contains("error")).collect();
    assert!(
        matches!(errors.as_slice(), [one] if one.contains("stopped before the end")),
        "{rest:?}"
    );
    assert_eq!(written(&folder), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_leaves_no_half_file() {
    let folder = Folder::new();
    fs::create_dir(folder.path("out")).unwrap();
    // A disk of 8 KiB of its own, where the system lets an ordinary user mount one.
    let script = "mount -t tmpfs -o size=8k none out && \
        { \"$0\" \"$@\"; status=$?; find out -type f >left; exit $status; }";
    let unshare = || {
        let mut command = Command::new("unshare");
        command.current_dir(folder.path("")).args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
        ]);
        command
    };
    let possible = unshare().arg("mount -t tmpfs -o size=8k none out").status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("not run: this system lets no ordinary user mount a file system");
        return;
    }
    let output = unshare()
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_landscape"))
        .args([
            "plane",
            "--origin",
            "zs_noopt.onnx",
            "--a",
            "ft1.safetensors",
        ])
        .args([
            "--b", "ft2", "--test", "data.npz", "--steps", "12", "--out", "out",
        ])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("plane.csv: cannot be written") && message.contains("space"),
        "{message}"
    );
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    assert_eq!(fs::read_to_string(folder.path("left")).unwrap(), "");
}
