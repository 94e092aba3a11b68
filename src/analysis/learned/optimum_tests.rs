//! Learned soups whose optimum is known: linear classifiers, whose loss is convex in the weights of
//! the soup, against SciPy (`tests/oracle/learned_optimum.py`).

use serde_json::Value;

use super::*;
use crate::evaluate::differentiable_loss::CoefficientGradient;
use crate::evaluate::logits::{Logits, Scratch};
use crate::result::learned::{Length, Start};
use crate::space::testing::random_pool;

/// Linear classifiers; each class's weights are a tensor of their own.
struct Linear {
    /// `logits[model][sample][class]`.
    logits: Vec<Vec<Vec<f64>>>,
    labels: Vec<usize>,
    classes: usize,
}

fn oracle() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/oracle/learned_optimum.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

impl Linear {
    fn new(oracle: &Value) -> Self {
        let samples = rows(&oracle["x"]);
        let models = oracle["models"].as_array().unwrap();
        let models: Vec<Vec<Vec<f64>>> = models.iter().map(rows).collect();
        let dot = |w: &Vec<f64>, x: &Vec<f64>| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        let of = |model: &Vec<Vec<f64>>| -> Vec<Vec<f64>> {
            let logits = |x: &Vec<f64>| model.iter().map(|w| dot(w, x)).collect();
            samples.iter().map(logits).collect()
        };
        Self {
            classes: models[0].len(),
            logits: models.iter().map(of).collect(),
            labels: numbers(&oracle["labels"])
                .iter()
                .map(|y| *y as usize)
                .collect(),
        }
    }

    /// θ0 and the models in one tensor per class; only that they differ matters here.
    fn pool(&self) -> Pool {
        random_pool(self.logits.len() + 1, &vec![vec![2]; self.classes], 3)
    }

    fn row(&self, mix: &Mix, beta: f64, sample: usize) -> Vec<f64> {
        let models = || self.logits.iter().enumerate();
        let logit = |class: usize| {
            let terms = models().map(|(k, of)| mix.row(class)[k + 1] * of[sample][class]);
            beta * terms.sum::<f64>()
        };
        (0..self.classes).map(logit).collect()
    }

    /// Every model's logits on all samples, as the evaluator has them, after θ0's.
    fn kept(&self) -> Logits {
        let folder = tempfile::tempdir().unwrap();
        let samples = self.labels.len();
        let models = self.logits.len() + 1;
        let scratch = Scratch::new(folder.path(), models, self.classes, &[samples]).unwrap();
        for (k, logits) in self.logits.iter().enumerate() {
            let values: Vec<f32> = logits.iter().flatten().map(|z| *z as f32).collect();
            scratch.write(k + 1, 0, 0, &values).unwrap();
        }
        scratch.finish(vec![self.labels.clone()]).unwrap()
    }
}

impl DifferentiableLoss for Linear {
    fn parameters(&self) -> Vec<(usize, String)> {
        (0..self.classes).map(|c| (c, format!("w.{c}"))).collect()
    }

    fn samples(&self) -> usize {
        self.labels.len()
    }

    fn coefficient_gradient(
        &self,
        mix: &Mix,
        beta: f64,
        samples: &[usize],
    ) -> Result<CoefficientGradient> {
        let mut slopes = vec![vec![0.0; self.logits.len() + 1]; self.classes];
        let mut along_beta = 0.0;
        let n = samples.len() as f64;
        for &sample in samples {
            let row = self.row(mix, beta, sample);
            let total: f64 = row.iter().map(|z| z.exp()).sum();
            for (class, z) in row.iter().enumerate() {
                let target = if class == self.labels[sample] {
                    1.0
                } else {
                    0.0
                };
                let slope = (z.exp() / total - target) / n;
                along_beta += slope * z / beta;
                for (k, of) in self.logits.iter().enumerate() {
                    slopes[class][k + 1] += slope * beta * of[sample][class];
                }
            }
        }
        Ok(CoefficientGradient {
            fit: self.fit(mix, beta, samples)?,
            rows: slopes,
            beta: along_beta,
        })
    }

    fn outcomes(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Vec<Outcome>> {
        let outcome =
            |&sample: &usize| Outcome::of(&self.row(mix, beta, sample), self.labels[sample]);
        Ok(samples.iter().map(outcome).collect())
    }
}

fn lbfgs(layers: Layers) -> LearningSettings {
    LearningSettings {
        layers,
        ..lbfgs_settings()
    }
}

/// Learns from the best single model, whose logits are known.
fn from_vertices(linear: &Linear, settings: &LearningSettings) -> Learned {
    let logits = linear.kept();
    let models = linear.logits.len();
    let candidate = |k: usize| {
        let mut alpha = vec![0.0; models];
        alpha[k] = 1.0;
        Candidate {
            start: Start::Model,
            alpha,
            logits: &logits,
            model: k + 1,
            dataset: 0,
        }
    };
    let candidates: Vec<Candidate<'_>> = (0..models).map(candidate).collect();
    learn(linear, &linear.pool(), settings, &candidates, &|_| {}).unwrap()
}

#[test]
fn lbfgs_finds_the_optimum_of_a_convex_loss_from_a_vertex() {
    let oracle = oracle();
    let linear = Linear::new(&oracle);
    for (layers, key) in [(Layers::All, "one"), (Layers::Tensor, "by_class")] {
        let optimum = oracle[key]["loss"].as_f64().unwrap();
        let learned = from_vertices(&linear, &lbfgs(layers));
        let (found, course) = (learned.fit.loss, &learned.learning);
        let start = course.epochs[0].selection_loss;
        // It ends where a new beginning gains less than a thousandth of the loss.
        assert!(found >= optimum - 1e-9, "{key}: {found} for {optimum}");
        assert!(found < optimum * 1.003, "{key}: {found} for {optimum}");
        assert!(start - found > 0.98 * (start - optimum), "{key}: {found}");
        assert_eq!(course.ended, Ended::Converged, "{key}");
    }
    let learned = from_vertices(&linear, &lbfgs(Layers::All));
    let expected = numbers(&oracle["one"]["alpha"]);
    // Flat to second order: 3e-3 of the loss is about 5e-2 in α.
    for (a, b) in learned.mix.row(0)[1..].iter().zip(expected) {
        assert!((a - b).abs() < 0.05, "{:?}", learned.mix.row(0));
    }
}

#[test]
fn learning_starts_at_the_best_single_model_with_its_beta() {
    let oracle = oracle();
    let linear = Linear::new(&oracle);
    let best = &oracle["vertex"];
    for learns_beta in [true, false] {
        let settings = LearningSettings {
            learns_beta,
            ..lbfgs(Layers::All)
        };
        let learned = from_vertices(&linear, &settings);
        let start = &learned.learning.epochs[0];
        assert_eq!(learned.learning.start, Start::Model);
        let key = if learns_beta { "loss" } else { "plain" };
        let beta = if learns_beta {
            best["beta"].as_f64().unwrap()
        } else {
            1.0
        };
        if learns_beta {
            let model = best["model"].as_u64().unwrap() as usize;
            assert_eq!(start.alpha[0][model], 1.0);
        }
        // The kept logits are rounded to float32, and Nelder and Mead's β is good to 1e-6.
        assert!((start.beta - beta).abs() < 1e-4, "{} {beta}", start.beta);
        let loss = best[key].as_f64().unwrap();
        assert!(start.selection_loss <= loss + 1e-6, "{key}");
        assert!(learned.fit.loss <= start.selection_loss);
    }
}

#[test]
fn the_steps_of_the_released_code_reach_what_there_is_to_gain() {
    let oracle = oracle();
    let linear = Linear::new(&oracle);
    let optimum = oracle["one"]["loss"].as_f64().unwrap();
    let settings = LearningSettings {
        optimizer: Optimizer::AdamW,
        length: Length::Steps(510),
        ..Preset::Released.settings()
    };
    let learned = from_vertices(&linear, &settings);
    let start = learned.learning.epochs[0].selection_loss;
    let part = (start - learned.fit.loss) / (start - optimum);
    assert!(part > 0.95, "{part} of the gain");
}

#[test]
fn held_out_samples_stop_lbfgs_and_choose_the_iteration() {
    let linear = Linear::new(&oracle());
    let settings = LearningSettings {
        holdout: Some(0.5),
        ..lbfgs(Layers::Tensor)
    };
    let learned = from_vertices(&linear, &settings);
    let course = &learned.learning;
    assert_eq!(course.samples, [30, 30]);
    let best = course.kept().unwrap();
    let losses = course.epochs.iter().map(|epoch| epoch.selection_loss);
    assert_eq!(losses.fold(f64::INFINITY, f64::min), best.selection_loss);
    // Thirty samples and 18 coefficients: what is learned last is noise.
    assert_eq!(course.ended, Ended::NoGain);
    assert_eq!(course.epochs.len(), course.best + 1 + settings.patience);
}
