//! Learned soups of the example against PyTorch in float64 (`tests/oracle/learned.py`), and what a
//! learned soup must be whatever the data.
//!
//! Tolerances: PyTorch's own float32 run parts from its float64 run by 4e-7 after ten steps; 2e-5 is
//! asked of coefficients, β and losses here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use landscape::analysis::learned::{Learned, Preset, learn};
use landscape::error::Result;
use landscape::evaluate::differentiable_loss::{CoefficientGradient, DifferentiableLoss};
use landscape::evaluate::metrics::Outcome;
use landscape::evaluate::onnx::gradient::{Gradients, Precision};
use landscape::evaluate::onnx::{BindingChoice, Engine};
use landscape::result::learned::{Layers, LearningSettings, Length};
use landscape::space::matching::Aligned;
use landscape::space::mix::Mix;
use serde_json::Value;

use crate::common::engine::with_engine;
use crate::common::{json, numbers};

/// The slopes on some of the samples.
struct Part<'g> {
    gradients: Gradients<'g>,
    places: Vec<usize>,
}

impl Part<'_> {
    fn places(&self, samples: &[usize]) -> Vec<usize> {
        samples.iter().map(|&sample| self.places[sample]).collect()
    }
}

impl DifferentiableLoss for Part<'_> {
    fn parameters(&self) -> Vec<(usize, String)> {
        self.gradients.parameters()
    }

    fn samples(&self) -> usize {
        self.places.len()
    }

    fn coefficient_gradient(
        &self,
        mix: &Mix,
        beta: f64,
        samples: &[usize],
    ) -> Result<CoefficientGradient> {
        self.gradients
            .coefficient_gradient(mix, beta, &self.places(samples))
    }

    fn outcomes(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Vec<Outcome>> {
        self.gradients.outcomes(mix, beta, &self.places(samples))
    }
}

fn example(file: &str) -> PathBuf {
    common::example().join(file)
}

fn oracle() -> Value {
    json(common::oracle("learned.json"))
}

/// The example's models of these names, and the first images of its validation set.
fn with_models(
    names: &[&str],
    samples: usize,
    then: impl FnOnce(&Engine<'_>, &Aligned, Vec<usize>),
) {
    let models = names
        .iter()
        .map(|name| example(&format!("{name}.safetensors")));
    let files: Vec<PathBuf> = std::iter::once(example("zs.onnx")).chain(models).collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let config = example("landscape.toml");
    with_engine(
        &files,
        &example("val.npz"),
        Some(&config),
        samples,
        BindingChoice::Auto,
        then,
    );
}

/// Full-batch steps, as the oracle takes them.
fn settings(layers: Layers, epochs: usize) -> LearningSettings {
    LearningSettings {
        layers,
        length: Length::Epochs(epochs),
        ..Preset::Released.settings()
    }
}

fn learned(names: &[&str], samples: usize, settings: &LearningSettings) -> Learned {
    let mut found = None;
    with_models(names, samples, |engine, aligned, places| {
        let gradients = engine.gradients(0, samples, Precision::Own).unwrap();
        let slopes = Part { gradients, places };
        found = Some(learn(&slopes, &aligned.pool, settings, &[], &|_| {}).unwrap());
    });
    found.unwrap()
}

fn close(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() < 2e-5,
        "{what}: {found} for {expected}"
    );
}

fn follows(layers: Layers, course: &Value, rows: &[Value]) {
    let steps = course["steps"].as_array().unwrap();
    let learned = learned(
        &["ft1", "ft2", "ft3", "ft4"],
        256,
        &settings(layers, steps.len() - 1),
    );
    let found = &learned.learning;
    assert_eq!(found.epochs.len(), steps.len());
    for (k, expected) in steps.iter().enumerate() {
        let epoch = &found.epochs[k];
        let what = format!("{layers:?}, after step {k}");
        close(
            epoch.selection_loss,
            expected["loss"].as_f64().unwrap(),
            &what,
        );
        close(epoch.beta, expected["beta"].as_f64().unwrap(), &what);
        for (row, alpha) in found.rows.iter().zip(&epoch.alpha) {
            let of = rows.iter().position(|name| *name == row.name);
            let expected = match of {
                Some(tensor) => numbers(&expected["weights"][tensor]),
                None => numbers(&expected["weights"]),
            };
            for (a, b) in alpha.iter().zip(expected) {
                close(*a, b, &what);
            }
        }
    }
}

#[test]
fn steps_are_those_of_pytorch_for_the_whole_network_and_by_tensor() {
    let oracle = oracle();
    follows(Layers::All, &oracle["one"], &[]);
    let tensors = oracle["tensors"].as_array().unwrap();
    follows(Layers::Tensor, &oracle["by_tensor"], tensors);
}

#[test]
fn slopes_in_coefficients_are_differences_of_the_evaluator() {
    with_models(&["ft1", "ft2", "ft3"], 512, |engine, aligned, places| {
        let gradients = engine.gradients(0, 512, Precision::Own).unwrap();
        let center = vec![0.1, 0.4, 0.3, 0.2];
        let slope = gradients
            .coefficient_gradient(&Mix::new(center.clone()), 1.2, &places)
            .unwrap();
        // Along directions that keep the sum, and in β. Kinks of ReLU and pooling that lie within a
        // step move a difference by some thousandths; PyTorch's derivatives hold them to 1e-4
        // (tests/networks.rs).
        let loss =
            |c: Vec<f64>, beta: f64| gradients.fit(&Mix::new(c), beta, &places).unwrap().loss;
        for (from, to) in [(1, 2), (2, 3), (0, 1)] {
            let moved = |h: f64| {
                let mut c = center.clone();
                (c[from], c[to]) = (c[from] - h, c[to] + h);
                loss(c, 1.2)
            };
            let difference = (moved(0.005) - moved(-0.005)) / 0.01;
            let by_member = |member: usize| slope.rows.iter().map(|row| row[member]).sum::<f64>();
            let found = by_member(to) - by_member(from);
            assert!(
                (found - difference).abs() < 1e-2 * found.abs().max(0.05),
                "{found} for {difference}"
            );
        }
        let difference = (loss(center.clone(), 1.21) - loss(center.clone(), 1.19)) / 0.02;
        assert!(
            (slope.beta - difference).abs() < 1e-4,
            "{} for {difference}",
            slope.beta
        );
        // Rows of single tensors, too.
        let parameters = aligned.pool.parameters.len();
        let index = gradients.parameters()[2].0;
        let moved = |h: f64| {
            let mut rows = vec![center.clone(); parameters];
            (rows[index][1], rows[index][2]) = (center[1] - h, center[2] + h);
            gradients
                .fit(&Mix::by_parameter(rows), 1.2, &places)
                .unwrap()
                .loss
        };
        let difference = (moved(0.01) - moved(-0.01)) / 0.02;
        let found = slope.rows[index][2] - slope.rows[index][1];
        assert!(
            (found - difference).abs() < 1e-2 * found.abs().max(0.05),
            "{found} for {difference}"
        );
    });
}

#[test]
fn one_model_is_that_model() {
    let learned = learned(&["ft3"], 256, &settings(Layers::Tensor, 2));
    let mean = learned.mix.mean();
    assert!(mean[0] == 0.0 && (mean[1] - 1.0).abs() < 1e-12, "{mean:?}");
}

#[test]
fn of_two_models_it_is_the_best_point_of_the_line_and_never_above_uniform() {
    let samples = 600;
    for learns_beta in [false, true] {
        let settings = LearningSettings {
            length: Length::Epochs(80),
            batch: samples,
            learning_rate: 0.1,
            learns_beta,
            ..settings(Layers::All, 1)
        };
        with_models(&["ft1", "ft2"], samples, |engine, aligned, places| {
            let gradients = engine.gradients(0, samples, Precision::Own).unwrap();
            let slopes = Part { gradients, places };
            let learned = learn(&slopes, &aligned.pool, &settings, &[], &|_| {}).unwrap();
            let all: Vec<usize> = (0..samples).collect();
            let loss = |t: f64| {
                let mix = Mix::new(vec![0.0, 1.0 - t, t]);
                slopes.fit(&mix, learned.beta, &all).unwrap().loss
            };
            let sweep = (0..=100).map(|k| f64::from(k) / 100.0);
            let best = sweep.min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap();
            let found = learned.mix.mean()[2];
            assert!((found - best).abs() < 0.01, "{found} for {best}");
            assert!(learned.fit.loss <= loss(best) + 1e-6);
            let uniform = learned.learning.epochs[0].selection_loss;
            assert!(learned.fit.loss < uniform);
        });
    }
}

#[test]
fn the_best_point_of_pytorchs_line_has_its_loss_here() {
    let oracle = oracle();
    with_models(&["ft1", "ft2"], 5000, |engine, _, places| {
        let gradients = engine.gradients(0, 5000, Precision::Own).unwrap();
        for key in ["plain", "joint"] {
            let best = &oracle["line"][key];
            let number = |key: &str| best[key].as_f64();
            let (t, beta) = (number("t").unwrap(), number("beta").unwrap_or(1.0));
            let mix = Mix::new(vec![0.0, 1.0 - t, t]);
            let slope = gradients.coefficient_gradient(&mix, beta, &places).unwrap();
            let fit = gradients.fit(&mix, beta, &places).unwrap();
            for found in [slope.fit.loss, fit.loss] {
                let loss = number("loss").unwrap();
                assert!((found - loss).abs() < 1e-6, "{key}: {found} for {loss}");
            }
            // It is flat there: PyTorch's t is right to about 1e-3.
            let by_member = |member: usize| slope.rows.iter().map(|row| row[member]).sum::<f64>();
            let along = by_member(2) - by_member(1);
            assert!(along.abs() < 1e-3, "{key}: slope {along}");
        }
    });
}
