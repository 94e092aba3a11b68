//! Runs that are stopped and disks that fill up: one message, and no half file.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Seek, SeekFrom, Write};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::process;
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

/// A plane of so many steps that has told a line with `part`, and the lines after it.
#[cfg(unix)]
fn begun(folder: &Folder, steps: &str, part: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut run = process()
        .current_dir(folder.path(""))
        .args([
            "plane",
            "--origin",
            "zs_noopt.onnx",
            "--a",
            "ft1.safetensors",
        ])
        .args([
            "--b", "ft2", "--test", "data.npz", "--steps", steps, "--out", "out",
        ])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(part)));
    (run, lines)
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_with_one_message_and_no_file() {
    let folder = Folder::new();
    // The geometry is told when the evaluation begins.
    let (mut run, lines) = begun(&folder, "900", "angle");
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    // Not SIGINT: a shell starts what it runs in the background with it ignored, and so it stays.
    let sent = Command::new("kill")
        .args(["-TERM", &run.id().to_string()])
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

#[cfg(unix)]
#[test]
fn a_checkpoint_that_is_written_to_during_the_run_is_an_error_and_nothing_is_kept() {
    let folder = Folder::new();
    // Inputs are open, and thousands of models still to be evaluated, when the plan is told.
    let (mut run, lines) = begun(&folder, "60", "models ×");
    // In place: a file that is cut first would end the program.
    let mut file = fs::File::options()
        .write(true)
        .open(folder.path("ft1.safetensors"))
        .unwrap();
    file.seek(SeekFrom::End(-1)).unwrap();
    file.write_all(&[1]).unwrap();
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{rest:?}");
    let told = |line: &String| line.contains("ft1.safetensors: changed while the run");
    assert!(rest.iter().any(told), "{rest:?}");
    let left = written(&folder);
    assert!(!left.iter().any(|name| name == "plane.csv"), "{left:?}");
    let kept = fs::read_dir(folder.path("out/.landscape"))
        .into_iter()
        .flatten();
    assert_eq!(kept.count(), 0);
}

/// Runs a shell script with a small disk of its own as `out`, where the system lets an ordinary
/// user mount one.
#[cfg(target_os = "linux")]
fn on_a_small_disk(folder: &Folder, size: &str, script: &str) -> Option<std::process::Output> {
    fs::create_dir(folder.path("out")).unwrap();
    let mount = format!("mount -t tmpfs -o size={size} none out");
    let shell = |script: &str| {
        Command::new("unshare")
            .current_dir(folder.path(""))
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .env("PROGRAM", env!("CARGO_BIN_EXE_landscape"))
            .output()
    };
    if !shell(&mount).is_ok_and(|output| output.status.success()) {
        eprintln!("not run: this system lets no ordinary user mount a file system");
        return None;
    }
    Some(shell(&format!("{mount} && {{ {script} }}")).unwrap())
}

#[cfg(target_os = "linux")]
const RUN: &str = "$PROGRAM plane --origin zs_noopt.onnx --a ft1.safetensors --b ft2 \
    --test data.npz --steps 12 --out out";

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_the_run_goes_on_when_there_is_room() {
    let folder = Folder::new();
    let script = format!(
        "{RUN}; echo $? >status; find out -type f >left; mount -o remount,size=4m out; \
         {RUN} 2>second; cp out/notebooks-data/plane.csv resumed.csv; find out >after;"
    );
    let Some(output) = on_a_small_disk(&folder, "16k", &script) else {
        return;
    };
    let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(read("status"), "1\n", "{message}");
    assert!(
        message.contains(": cannot be written") && message.contains("free some space"),
        "{message}"
    );
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    assert!(
        read("left")
            .lines()
            .all(|file| file.contains(".landscape/"))
    );
    assert!(
        read("second").contains("were done before"),
        "{}",
        read("second")
    );
    assert!(!read("after").contains(".landscape"), "{}", read("after"));
    let elsewhere = Folder::new();
    let whole = Command::new("sh")
        .current_dir(elsewhere.path(""))
        .env("PROGRAM", env!("CARGO_BIN_EXE_landscape"))
        .args(["-c", RUN])
        .status();
    assert!(whole.unwrap().success());
    let whole = fs::read_to_string(elsewhere.path("out/notebooks-data/plane.csv")).unwrap();
    assert_eq!(read("resumed.csv"), whole);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_at_the_end_leaves_no_half_file() {
    let folder = Folder::new();
    // Room for the journal, but not for the figures.
    let script = format!("{RUN}; echo $? >status; find out -type f >left;");
    let Some(output) = on_a_small_disk(&folder, "120k", &script) else {
        return;
    };
    let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(read("status"), "1\n", "{message}");
    assert!(message.contains("cannot be written: No space"), "{message}");
    let left = read("left");
    assert!(
        !left.contains("plane.png") && !left.contains(".landscape-"),
        "{left}"
    );
}
