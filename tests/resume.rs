//! Runs that are killed, limited, or laid out otherwise: the same bytes at the end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::common::{Row, example, head_alone, json, number, process, result, root, table};

fn plane(out: &Path, more: &[&str]) -> Command {
    let mut command = process();
    command
        .current_dir(example())
        .args(["plane", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2"])
        .args(["--limit", "300", "--out"])
        .arg(out)
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn finish(out: &Path, more: &[&str]) -> String {
    let output = plane(out, more).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    message
}

fn csv(out: &Path) -> String {
    fs::read_to_string(result(out, "plane.csv")).unwrap()
}

fn journal(out: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(out.join(".landscape")).ok()?;
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|ending| ending == "journal"))
}

/// Lines of the journal.
fn lines(out: &Path) -> usize {
    let text = journal(out).and_then(|path| fs::read_to_string(path).ok());
    text.map_or(0, |text| text.lines().count())
}

#[test]
fn a_run_killed_at_twenty_moments_ends_with_the_bytes_of_an_undisturbed_one() {
    let whole = tempfile::tempdir().unwrap();
    finish(whole.path(), &["--steps", "12"]);
    let killed = tempfile::tempdir().unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut before = 0;
    for kill in 0..20 {
        let mut run = plane(killed.path(), &["--steps", "12"]).spawn().unwrap();
        let start = Instant::now();
        // Every fourth is killed while it sets up, the others once they have done something.
        while kill % 4 > 0 && lines(killed.path()) <= before && run.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(random.next_u64() % 150));
        run.kill().unwrap();
        if run.wait().unwrap().success() {
            break;
        }
        let now = lines(killed.path());
        assert!(now + 1 >= before, "kill {kill}: {before} lines, then {now}");
        before = now;
    }
    assert!(
        before > 20,
        "only {before} lines were kept: the kills came too early"
    );
    finish(killed.path(), &["--steps", "12"]);
    assert_eq!(csv(killed.path()), csv(whole.path()));
    assert!(journal(killed.path()).is_none());
}

#[test]
fn workers_memory_and_chunks_change_no_byte() {
    let one = tempfile::tempdir().unwrap();
    finish(one.path(), &["--steps", "4"]);
    let other = tempfile::tempdir().unwrap();
    let message = finish(
        other.path(),
        &["--steps", "4", "--workers", "3", "--memory", "2500K"],
    );
    assert!(
        message.contains("the whole map appears after 1/"),
        "{message}"
    );
    assert_eq!(csv(one.path()), csv(other.path()));
    let left = fs::read_dir(other.path().join("notebooks-data"))
        .unwrap()
        .count();
    // The plane, its comparisons and its summary.
    assert_eq!(left, 3, "no partial file stays");
}

#[test]
fn a_limit_ends_the_run_with_honest_counts_and_more_time_goes_on() {
    let out = tempfile::tempdir().unwrap();
    let message = finish(out.path(), &["--steps", "4", "--tolerance", "3%"]);
    assert!(message.contains("stopped by a limit after"), "{message}");
    for row in table(&csv(out.path())) {
        let samples: usize = row["samples"].parse().unwrap();
        assert!(samples < 300, "{samples}");
        assert!(number(&row, "error_se") <= 0.03);
    }
    let message = finish(out.path(), &["--steps", "4"]);
    assert!(message.contains("were done before"), "{message}");
    let whole = tempfile::tempdir().unwrap();
    finish(whole.path(), &["--steps", "4"]);
    assert_eq!(csv(out.path()), csv(whole.path()));
}

#[test]
fn calibrated_losses_end_with_the_same_bytes_and_are_not_mixed_with_plain_ones() {
    let calibrated = ["--steps", "4", "--loss", "calibrated"];
    let whole = tempfile::tempdir().unwrap();
    finish(whole.path(), &calibrated);
    // In several chunks, β is of all validation samples from the first chunk on.
    let other = tempfile::tempdir().unwrap();
    let chunks = ["--workers", "3", "--memory", "4M"];
    let message = finish(other.path(), &[&calibrated[..], &chunks].concat());
    assert!(
        message.contains("the whole map appears after 1/"),
        "{message}"
    );
    assert_eq!(csv(other.path()), csv(whole.path()));
    // A limit ends runs of both kinds of loss in one folder; neither takes what the other did.
    let out = tempfile::tempdir().unwrap();
    let limit = ["--tolerance", "3%"];
    finish(out.path(), &[&["--steps", "4"][..], &limit].concat());
    let message = finish(out.path(), &[&calibrated[..], &limit].concat());
    assert!(message.contains("stopped by a limit after"), "{message}");
    assert!(!message.contains("were done before"), "{message}");
    let stopped = table(&csv(out.path()));
    let of_whole = table(&csv(whole.path()));
    for (stopped, whole) in stopped.iter().zip(&of_whole) {
        assert!(number(stopped, "samples") < 300.0);
        assert_eq!(stopped["beta"], whole["beta"]);
    }
    let message = finish(out.path(), &calibrated);
    assert!(message.contains("were done before"), "{message}");
    assert_eq!(csv(out.path()), csv(whole.path()));
}

#[test]
fn a_calibrated_run_that_is_killed_ends_with_the_bytes_of_an_undisturbed_one() {
    let calibrated = ["--steps", "8", "--loss", "calibrated"];
    let whole = tempfile::tempdir().unwrap();
    finish(whole.path(), &calibrated);
    let killed = tempfile::tempdir().unwrap();
    let mut before = 0;
    for _ in 0..5 {
        let mut run = plane(killed.path(), &calibrated).spawn().unwrap();
        let start = Instant::now();
        while lines(killed.path()) <= before + 4 && run.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(2));
        }
        run.kill().unwrap();
        if run.wait().unwrap().success() {
            break;
        }
        before = lines(killed.path());
    }
    assert!(before > 8, "only {before} lines were kept");
    let message = finish(killed.path(), &calibrated);
    assert!(message.contains("were done before"), "{message}");
    assert_eq!(csv(killed.path()), csv(whole.path()));
}

#[test]
fn a_frozen_part_is_run_once_and_gives_what_the_whole_files_give() {
    let vit = ["zs.safetensors", "zs_noopt.onnx", "data.npz", "head"];
    let digits = ["zs.safetensors", "zs.onnx", "test.npz", "fc"];
    for (folder, [origin, graph, data, head]) in
        [("tests/oracle/vit", vit), ("examples/digits", digits)]
    {
        let folder = root().join(folder);
        let out = tempfile::tempdir().unwrap();
        for name in ["ft1", "ft2"] {
            let tuned = format!("{name}.safetensors");
            let (from, to) = (folder.join(&tuned), out.path().join(&tuned));
            head_alone(&folder.join(origin), &from, head, &to);
        }
        let output = process()
            .current_dir(out.path())
            .args([
                "plane", "--a", "ft1", "--b", "ft2", "--limit", "200", "--steps", "3",
            ])
            .arg("--config")
            .arg(root().join("tests/data/digits.toml"))
            .arg("--origin")
            .arg(folder.join(graph))
            .arg("--test")
            .arg(folder.join(data))
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{message}");
        assert!(message.contains("nodes are frozen"), "{message}");
        let json = json(result(out.path(), "plane.json"));
        for check in json["checks"].as_array().unwrap() {
            let (file, plane) = (check["loss_file"].as_f64(), check["loss_plane"].as_f64());
            let off = (plane.unwrap() / file.unwrap() - 1.0).abs();
            assert!(off < 1e-6, "{check}");
            assert_eq!(check["error_difference"], 0);
        }
        let losses: Vec<f64> = json["checkpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["scores"][0]["loss"].as_f64().unwrap())
            .collect();
        assert!(
            (losses[0] - losses[1]).abs() > 1e-3,
            "the head moves: {losses:?}"
        );
    }
}

/// (loss, error) of each row of a run.
fn numbers(more: &[&str]) -> Vec<(f64, f64)> {
    let out = tempfile::tempdir().unwrap();
    finish(out.path(), more);
    let rows = table(&csv(out.path()));
    let pair = |row: &Row| (number(row, "loss"), number(row, "error"));
    rows.iter().map(pair).collect()
}

#[test]
fn all_bindings_agree_within_rounding() {
    let with = |binding| numbers(&["--steps", "4", "--binding", binding]);
    let baked = with("baked");
    for binding in ["in-graph", "inputs"] {
        for (baked, other) in baked.iter().zip(with(binding)) {
            assert!(
                (baked.0 / other.0 - 1.0).abs() < 1e-5,
                "{binding}: {baked:?} {other:?}"
            );
            assert!((baked.1 - other.1).abs() < 1.5 / 300.0);
        }
    }
}

/// Layouts that a measurement chose could differ, and with them the last digits of logits.
const LAID_OUT: [&str; 6] = ["--workers", "2", "--threads", "1", "--batch", "32"];

/// Both compute in f64 from the same f32 logits: only the order of a few sums differs.
#[test]
fn the_graph_computes_the_losses_that_the_host_does() {
    let far = ["--x=-1e30:1e30:3", "--y=-1e30:1e30:3"];
    let mut seen = (0, 0);
    for grid in [&["--steps", "4"], &far] {
        for binding in ["baked", "in-graph", "inputs"] {
            let with = |losses| {
                let how = ["--binding", binding, "--losses", losses];
                numbers(&[&grid[..], &LAID_OUT, &how].concat())
            };
            for (host, graph) in with("host").into_iter().zip(with("graph")) {
                let off = (host.0 / graph.0 - 1.0).abs();
                let same = host.0.to_bits() == graph.0.to_bits();
                assert!(same || off < 1e-12, "{binding}: {host:?} {graph:?}");
                assert_eq!(host.1, graph.1);
                if host.0.is_finite() {
                    seen.0 += 1;
                } else {
                    seen.1 += 1;
                }
            }
        }
    }
    assert!(seen.0 > 0 && seen.1 > 0, "finite and not: {seen:?}");
}

#[test]
fn an_adaptive_grid_measures_some_points_of_the_whole_one_and_says_which() {
    let rows = |more: &[&str]| {
        let out = tempfile::tempdir().unwrap();
        let grid = ["--steps", "18", "--binding", "baked"];
        finish(out.path(), &[&grid, &LAID_OUT[..], more].concat());
        table(&csv(out.path()))
    };
    let (whole, adaptive) = (rows(&[]), rows(&["--adaptive"]));
    assert_eq!(whole.len(), adaptive.len());
    let mut measured = 0;
    for (whole, adaptive) in whole.iter().zip(&adaptive) {
        if adaptive["measured"] == "true" {
            assert_eq!(whole, adaptive);
            measured += 1;
        } else {
            let place = |row: &Row| ["i", "j", "x", "y", "dataset"].map(|key| row[key].clone());
            assert_eq!(place(whole), place(adaptive));
            assert_eq!((&*adaptive["samples"], &*adaptive["loss_se"]), ("0", "NaN"));
        }
    }
    let part = f64::from(measured) / whole.len() as f64;
    assert!((0.05..1.0).contains(&part), "{part}");
}
