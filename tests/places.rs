//! Soups of networks that read a sample by its place in the batch, with the part that computes the
//! place frozen, against PyTorch in float64 (`tests/oracle/places.py`); and what else must not be
//! kept sample by sample.
//!
//! Tolerances: the network is small, and float32 leaves six digits of its losses and slopes: 2e-6.
//! A value read for another sample moves the loss by over 1 nat (`stale`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use landscape::evaluate::differentiable_loss::DifferentiableLoss;
use landscape::evaluate::onnx::BindingChoice;
use landscape::evaluate::onnx::gradient::Precision;
use landscape::space::mix::Mix;
use serde_json::Value;

use crate::common::engine::with_engine;
use crate::common::{json, number, numbers, oracle, program, result, rows};

/// With any batch size, by either exporter, and with a batch size of 7.
const EXPORTS: [&str; 3] = ["noopt", "ts", "fixed"];

const SAMPLES: usize = 40;

fn fixture(file: &str) -> PathBuf {
    oracle("places").join(file)
}

fn expected() -> Value {
    json(fixture("expected.json"))
}

fn close(found: f64, expected: f64, what: &str) {
    let off = (found - expected).abs();
    assert!(off < 2e-6, "{what}: {found} for {expected}");
}

/// ∂L/∂z of a softmax at z = 0 from the slopes in its coefficients.
fn through_softmax(slopes: &[f64]) -> Vec<f64> {
    let count = slopes.len() as f64;
    let mean = slopes.iter().sum::<f64>() / count;
    slopes.iter().map(|slope| (slope - mean) / count).collect()
}

#[test]
fn losses_and_slopes_of_samples_in_any_order_are_those_of_pytorch() {
    let expected = expected();
    let loss = expected["loss"].as_f64().unwrap();
    let third = 1.0 / 3.0;
    for export in EXPORTS {
        let origin = format!("zs_{export}.onnx");
        let names = [
            &origin,
            "ft1.safetensors",
            "ft2.safetensors",
            "ft3.safetensors",
        ];
        let files = names.map(fixture);
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let data = fixture("data.npz");
        with_engine(
            &files,
            &data,
            None,
            SAMPLES,
            BindingChoice::Auto,
            |engine, _, places| {
                // Something is kept all the same: the embedding of each token.
                let (frozen, all) = engine.frozen_nodes().unwrap();
                assert!(frozen > 0 && frozen < all, "{export}: {frozen} of {all}");
                let gradients = engine.gradients(0, SAMPLES, Precision::Own).unwrap();
                let mix = Mix::new(vec![0.0, third, third, third]);
                let turned: Vec<usize> = places.iter().rev().copied().collect();
                for samples in [&places, &turned] {
                    let slope = gradients.coefficient_gradient(&mix, 1.0, samples).unwrap();
                    close(slope.fit.loss, loss, export);
                    close(
                        gradients.fit(&mix, 1.0, samples).unwrap().loss,
                        loss,
                        export,
                    );
                    let all = |member: usize| slope.rows.iter().map(|row| row[member]).sum::<f64>();
                    let found = through_softmax(&[all(1), all(2), all(3)]);
                    for (found, expected) in found.iter().zip(numbers(&expected["alpha"])) {
                        close(*found, expected, export);
                    }
                    let tensors = expected["tensors"].as_array().unwrap().iter();
                    for (tensor, row) in tensors.zip(expected["by_tensor"].as_array().unwrap()) {
                        let parameters = gradients.parameters();
                        let mut parameters = parameters.iter();
                        let (index, _) = parameters.find(|(_, name)| name == tensor).unwrap();
                        let found = through_softmax(&slope.rows[*index][1..]);
                        for (found, expected) in found.iter().zip(numbers(row)) {
                            close(*found, expected, export);
                        }
                    }
                }
            },
        );
    }
}

#[test]
fn the_soups_that_are_learned_begin_at_the_loss_that_is_evaluated() {
    let loss = expected()["loss"].as_f64().unwrap();
    for export in EXPORTS {
        let out = tempfile::tempdir().unwrap();
        program()
            .current_dir(fixture(""))
            .args(["soup", "--origin", &format!("zs_{export}.onnx")])
            .args(["--models", "models.csv", "--val", "data.npz"])
            .args(["--methods", "uniform,learned,learned-by-layer", "--out"])
            .arg(out.path())
            .assert()
            .success();
        let soups = rows(result(out.path(), "soup.csv"));
        close(number(&soups[0], "val_loss"), loss, export);
        // The start is the best of the uniform soup, the greedy soup, and the models, each at its best β.
        let models = rows(result(out.path(), "soup.models.csv"));
        let calibrated = |row| number(row, "val_loss_calibrated");
        let best = models.iter().chain(&soups[..1]).map(calibrated);
        let best = best.fold(f64::INFINITY, f64::min);
        let steps = rows(result(out.path(), "soup.learned.csv"));
        let starts: Vec<_> = steps.iter().filter(|row| row["step"] == "0").collect();
        assert_eq!(starts.len(), 2);
        for row in starts {
            let start = number(row, "selection_loss");
            assert!(start < best + 2e-6, "{export}: {start} {best}");
        }
        let ends: Vec<f64> = soups[1..].iter().map(calibrated).collect();
        // By layer there is something to gain.
        assert!(ends[0] < best + 2e-6 && ends[1] < best, "{ends:?} {best}");
    }
}

#[test]
fn a_batch_of_another_size_reads_the_same_values() {
    let run = |batch: &str| {
        let out = tempfile::tempdir().unwrap();
        program()
            .current_dir(fixture(""))
            .args([
                "line",
                "--origin",
                "zs_noopt.onnx",
                "--a",
                "ft1",
                "--b",
                "ft2",
            ])
            .args([
                "--test", "data.npz", "--steps", "3", "--batch", batch, "--out",
            ])
            .arg(out.path())
            .assert()
            .success();
        let rows = rows(result(out.path(), "line.csv"));
        let losses = rows.iter().map(|row| number(row, "soup_loss"));
        losses.collect::<Vec<f64>>()
    };
    let whole = run("40");
    for batch in ["1", "3", "16"] {
        for (found, expected) in run(batch).iter().zip(&whole) {
            close(*found, *expected, batch);
        }
    }
}
