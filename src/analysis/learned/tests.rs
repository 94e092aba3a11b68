use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::evaluate::differentiable_loss::CoefficientGradient;
use crate::evaluate::quadratic::Quadratic;
use crate::result::learned::Length;
use crate::space::testing::{pool, random_pool};

fn settings(layers: Layers, epochs: usize) -> LearningSettings {
    LearningSettings {
        layers,
        length: Length::Epochs(epochs),
        ..Preset::Released.settings()
    }
}

fn learned(loss: &dyn DifferentiableLoss, pool: &Pool, settings: &LearningSettings) -> Learned {
    learn(loss, pool, settings, &[], &|_| {}).unwrap()
}

/// The uniform soup of a pool's checkpoints.
fn uniform(pool: &Pool) -> Mix {
    let models = pool.members.len() - 1;
    Mix::new([vec![0.0], vec![1.0 / models as f64; models]].concat())
}

/// The loss ½(θ − tₛ)² + ½(β − b)² of each sample, over a pool of single numbers; NaN beyond a
/// limit.
struct Targets {
    members: Vec<f64>,
    targets: Vec<f64>,
    beta: f64,
    /// Losses are NaN above this.
    limit: f64,
    /// The samples of each step.
    steps: RefCell<Vec<Vec<usize>>>,
    /// The samples of each evaluation.
    judged: RefCell<Vec<Vec<usize>>>,
}

impl Targets {
    fn new(members: &[f64], targets: &[f64]) -> Self {
        Self {
            members: members.to_vec(),
            targets: targets.to_vec(),
            beta: 1.0,
            limit: f64::INFINITY,
            steps: RefCell::default(),
            judged: RefCell::default(),
        }
    }

    fn pool(&self) -> Pool {
        let members: Vec<Vec<f64>> = self.members.iter().map(|member| vec![*member]).collect();
        pool(&members.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn theta(&self, mix: &Mix) -> f64 {
        let members = self.members.iter().zip(mix.row(0));
        members.map(|(member, c)| member * c).sum()
    }

    fn mean(&self, samples: &[usize], of: impl Fn(f64) -> f64) -> f64 {
        let values = samples.iter().map(|sample| of(self.targets[*sample]));
        values.sum::<f64>() / samples.len() as f64
    }

    fn losses(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Vec<Outcome> {
        let theta = self.theta(mix);
        let outcome = |&sample: &usize| {
            let far = theta - self.targets[sample];
            let loss = 0.5 * far * far + 0.5 * (beta - self.beta).powi(2);
            Outcome {
                loss: if theta < self.limit { loss } else { f64::NAN },
                correct: true,
            }
        };
        samples.iter().map(outcome).collect()
    }
}

impl DifferentiableLoss for Targets {
    fn parameters(&self) -> Vec<(usize, String)> {
        vec![(0, "w".to_string())]
    }

    fn samples(&self) -> usize {
        self.targets.len()
    }

    fn coefficient_gradient(
        &self,
        mix: &Mix,
        beta: f64,
        samples: &[usize],
    ) -> Result<CoefficientGradient> {
        self.steps.borrow_mut().push(samples.to_vec());
        let theta = self.theta(mix);
        let slope = self.mean(samples, |target| theta - target);
        Ok(CoefficientGradient {
            fit: Fit::of(&self.losses(mix, beta, samples)),
            rows: vec![self.members.iter().map(|member| slope * member).collect()],
            beta: beta - self.beta,
        })
    }

    fn outcomes(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Vec<Outcome>> {
        self.judged.borrow_mut().push(samples.to_vec());
        Ok(self.losses(mix, beta, samples))
    }
}

#[test]
fn the_minimum_between_two_models_is_found() {
    let pool = pool(&[&[9.0, 9.0], &[0.0, 0.0], &[1.0, 2.0]]);
    // L(t) = ½[3(t − 0.1)² + (2t − 1.2)²] is minimal at t = (0.3 + 2.4) / (3 + 4).
    let loss = Quadratic::new(&pool, vec![0.1, 1.2], vec![3.0, 1.0], 0.5);
    for softmax in [true, false] {
        let settings = LearningSettings {
            softmax,
            ..settings(Layers::All, 400)
        };
        let found = learned(&loss, &pool, &settings);
        let row = found.mix.shared().unwrap();
        assert!((row[2] - 2.7 / 7.0).abs() < 0.01, "{row:?}");
        assert_eq!(row[0], 0.0);
        assert!((found.beta - 1.0).abs() < 0.01);
        assert_eq!(found.learning.method, Method::Learned);
    }
}

#[test]
fn lbfgs_finds_the_minimum_of_a_quadratic_loss() {
    let pool = pool(&[&[9.0, 9.0], &[0.0, 0.0], &[1.0, 2.0], &[-3.0, 5.0]]);
    // Of the segment between the first two, as in the test above; the third model is far off.
    let loss = Quadratic::new(&pool, vec![0.1, 1.2], vec![3.0, 1.0], 0.5);
    for softmax in [true, false] {
        let settings = LearningSettings {
            softmax,
            ..lbfgs_settings()
        };
        let found = learned(&loss, &pool, &settings);
        assert_eq!(found.learning.ended, Ended::Converged);
        let theta = loss.theta(&found.mix);
        let slope = [3.0 * (theta[0] - 0.1), theta[1] - 1.2];
        // At the minimum of the plane through the models, there is no slope at all; of their hull,
        // none toward a model.
        for model in [[0.0, 0.0], [1.0, 2.0], [-3.0, 5.0]] {
            let toward = (0..2).map(|k| slope[k] * (model[k] - theta[k]));
            assert!(toward.sum::<f64>() > -1e-3, "{theta:?}");
        }
        assert!((found.beta - 1.0).abs() < 1e-3);
    }
}

#[test]
fn a_start_is_mixed_with_a_little_of_another_soup_within_the_hull() {
    let pool = random_pool(4, &[vec![2]], 1);
    let loss = Quadratic::new(&pool, vec![0.0; 2], vec![1.0; 2], 0.0);
    let vertex = vec![vec![0.0, 1.0, 0.0]];
    let uniform = vec![vec![1.0 / 3.0; 3]];
    for (softmax, optimizer, expected) in [
        (true, Optimizer::AdamW, [0.05 / 3.0, 0.95 + 0.05 / 3.0]),
        (true, Optimizer::Lbfgs, [0.05 / 3.0, 0.95 + 0.05 / 3.0]),
        (false, Optimizer::Lbfgs, [0.0, 1.0]),
    ] {
        let settings = LearningSettings {
            softmax,
            optimizer,
            ..settings(Layers::All, 1)
        };
        let coefficients = Coefficients::new(&loss, &pool, &settings);
        let alpha = coefficients.alpha(&coefficients.free(&vertex, &uniform));
        for (a, b) in alpha[0].iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{alpha:?}");
        }
    }
}

#[test]
fn an_epoch_has_its_gain_with_a_paired_standard_error() {
    let found = gain(&[1.0, 2.0, 4.0], &[0.5, 1.0, 2.5]);
    // Falls of 0.5, 1 and 1.5: their standard deviation is 0.5.
    assert!((found.0 - 1.0).abs() < 1e-15 && (found.1 - 0.5 / 3.0_f64.sqrt()).abs() < 1e-15);
    let loss = Targets::new(&[0.0, 1.0, 2.0], &[1.2, 1.9, 1.6]);
    let course = learned(&loss, &loss.pool(), &settings(Layers::All, 3)).learning;
    assert_eq!(course.epochs[0].gain, None);
    for pair in course.epochs.windows(2) {
        let fall = pair[0].selection_loss - pair[1].selection_loss;
        assert!((pair[1].gain.unwrap() - fall).abs() < 1e-12);
        assert!(pair[1].gain_se.unwrap() > 0.0);
    }
}

#[test]
fn presets_count_steps_and_round_up_to_whole_epochs() {
    assert_eq!(Length::Steps(510).epochs(102), 5);
    assert_eq!(Length::Steps(510).epochs(20), 26);
    assert_eq!(Length::Steps(510).epochs(1000), 1);
    assert_eq!(Length::Epochs(3).epochs(20), 3);
}

#[test]
fn by_tensor_each_finds_its_own_minimum() {
    let pool = random_pool(4, &[vec![7], vec![5, 2], vec![6]], 3);
    let parts = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]];
    let rows = parts.map(|row| [&[0.0], &row[..]].concat());
    let best = Mix::by_parameter(rows.to_vec());
    // The position of this mix, element by element.
    let origin = Quadratic::new(&pool, vec![0.0; 23], vec![1.0; 23], 0.0);
    let minimum = origin.theta(&best);
    let loss = Quadratic::new(&pool, minimum, vec![1.0; 23], 0.0);
    let found = learned(&loss, &pool, &settings(Layers::Tensor, 3000));
    assert_eq!(found.learning.method, Method::LearnedByLayer);
    let names: Vec<&str> = found
        .learning
        .rows
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(names, ["p0", "p1", "p2"]);
    for (row, expected) in found.mix.rows().iter().zip(best.rows()) {
        for (got, expected) in row.iter().zip(expected) {
            assert!((got - expected).abs() < 0.01, "{row:?} {expected:?}");
        }
    }
    let together = learned(&loss, &pool, &settings(Layers::All, 3000));
    assert!(found.fit.loss < 1e-3 * together.fit.loss);
}

#[test]
fn slopes_in_what_is_free_are_those_of_differences() {
    let mut pool = random_pool(5, &[vec![3], vec![4], vec![2, 2]], 8);
    for (parameter, name) in pool.parameters.iter_mut().zip(["b.0.w", "head", "b.0.v"]) {
        parameter.name = name.to_string();
    }
    let minimum = (0..11).map(|k| f64::from(k) / 20.0 - 0.3).collect();
    let loss = Quadratic::new(&pool, minimum, vec![2.0; 11], 0.0);
    for (layers, rows) in [(Layers::All, 1), (Layers::Tensor, 3), (Layers::Block, 2)] {
        let maps = [
            (true, Optimizer::AdamW),
            (true, Optimizer::Lbfgs),
            (false, Optimizer::Lbfgs),
        ];
        for (softmax, optimizer) in maps {
            let settings = LearningSettings {
                softmax,
                optimizer,
                ..settings(layers, 1)
            };
            let coefficients = Coefficients::new(&loss, &pool, &settings);
            assert_eq!(coefficients.rows.len(), rows);
            let free: Vec<f64> = (0..4 * rows).map(|k| 0.3 * (k as f64).sin()).collect();
            let at = |free: &[f64]| {
                let mix = coefficients.mix(&coefficients.alpha(free));
                loss.fit(&mix, 1.0, &[0]).unwrap().loss
            };
            let alpha = coefficients.alpha(&free);
            let slope = loss
                .coefficient_gradient(&coefficients.mix(&alpha), 1.0, &[0])
                .unwrap();
            let gradient = coefficients.gradient(&free, &alpha, &slope.rows);
            for (k, got) in gradient.iter().enumerate() {
                let moved = |by: f64| {
                    let mut free = free.clone();
                    free[k] += by;
                    at(&free)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((got - expected).abs() < 1e-8, "{layers:?} {got} {expected}");
            }
        }
    }
}

#[test]
fn a_minimum_outside_the_models_is_for_free_coefficients() {
    let pool = pool(&[&[0.0], &[1.0], &[2.0]]);
    let loss = Quadratic::new(&pool, vec![3.0], vec![1.0], 0.0);
    let inside = settings(Layers::All, 500);
    let free = LearningSettings {
        softmax: false,
        ..inside.clone()
    };
    let inside = learned(&loss, &pool, &inside);
    let free = learned(&loss, &pool, &free);
    // At (−1, 2): 2·2 − 1 = 3.
    let row = free.mix.shared().unwrap();
    assert!((row[1] + 1.0).abs() < 0.01 && (row[2] - 2.0).abs() < 0.01);
    assert!(free.fit.loss < 1e-4);
    // The nearest point of the models' hull has loss ½.
    assert!(inside.fit.loss >= 0.5 && inside.fit.loss < 0.52);
}

#[test]
fn beta_is_learned_unless_it_is_fixed() {
    let mut loss = Targets::new(&[0.0, 1.0, 2.0], &[1.5]);
    loss.beta = 1.4;
    let pool = loss.pool();
    let mut settings = LearningSettings {
        weight_decay: 0.3,
        ..settings(Layers::All, 0)
    };
    settings.length = Length::Epochs(3);
    settings.learns_beta = false;
    let fixed = learned(&loss, &pool, &settings);
    assert!(fixed.learning.steps.iter().all(|step| step.beta == 1.0));
    settings.weight_decay = 0.0;
    settings.length = Length::Epochs(400);
    settings.learns_beta = true;
    let found = learned(&loss, &pool, &settings);
    assert!((found.beta - 1.4).abs() < 0.01);
    assert!((found.mix.row(0)[2] - 0.5).abs() < 0.01);
}

#[test]
fn one_model_is_its_own_soup() {
    let mut loss = Targets::new(&[0.0, 3.0], &[1.0, 2.0]);
    loss.beta = 1.2;
    for layers in [Layers::All, Layers::Tensor, Layers::Block] {
        for softmax in [true, false] {
            let settings = LearningSettings {
                softmax,
                ..settings(layers, 200)
            };
            let found = learned(&loss, &loss.pool(), &settings);
            assert_eq!(found.mix, Mix::unit(1, 2));
            assert!((found.beta - 1.2).abs() < 0.01);
        }
    }
}

#[test]
fn every_sample_is_taken_once_an_epoch_and_in_another_order() {
    let targets: Vec<f64> = (0..10).map(f64::from).collect();
    let loss = Targets::new(&[0.0, 1.0, 2.0], &targets);
    let settings = LearningSettings {
        batch: 4,
        ..settings(Layers::All, 2)
    };
    let told = RefCell::new(Vec::new());
    let tell = |step: TrainingStep| told.borrow_mut().push((step.step, step.steps));
    let found = learn(&loss, &loss.pool(), &settings, &[], &tell).unwrap();
    let steps = loss.steps.borrow();
    let sizes: Vec<usize> = steps.iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 4, 2, 4, 4, 2]);
    let epochs = [steps[..3].concat(), steps[3..].concat()];
    assert_ne!(epochs[0], epochs[1]);
    for mut epoch in epochs {
        epoch.sort_unstable();
        assert!(epoch.into_iter().eq(0..10));
    }
    assert_eq!(*told.borrow(), [1, 2, 3, 4, 5, 6].map(|step| (step, 6)));
    let all: Vec<usize> = (0..10).collect();
    assert_eq!(*loss.judged.borrow(), [all.clone(), all.clone(), all]);
    let epochs: Vec<_> = found
        .learning
        .epochs
        .iter()
        .map(|of| (of.epoch, of.step))
        .collect();
    assert_eq!(epochs, [(0, 0), (1, 3), (2, 6)]);
    assert_eq!(found.learning.epochs[0].alpha, [[0.5, 0.5]]);
}

#[test]
fn a_seed_repeats_a_soup() {
    let targets: Vec<f64> = (0..50).map(|k| f64::from(k % 7)).collect();
    let learned = |seed: u64| {
        let loss = Targets::new(&[0.0, 1.0, 2.0, 7.0], &targets);
        let settings = LearningSettings {
            seed,
            batch: 8,
            holdout: Some(0.3),
            ..settings(Layers::All, 3)
        };
        learned(&loss, &loss.pool(), &settings)
    };
    assert_eq!(learned(4), learned(4));
    assert_ne!(learned(4).mix, learned(5).mix);
}

#[test]
fn what_is_held_out_is_never_learned_from_and_ends_it() {
    let targets = [vec![1.5; 40], vec![9.0; 2]].concat();
    let loss = Targets::new(&[0.0, 1.0, 2.0], &targets);
    let settings = LearningSettings {
        batch: 8,
        holdout: Some(0.25),
        ..settings(Layers::All, 100)
    };
    let found = learned(&loss, &loss.pool(), &settings);
    assert_eq!(found.learning.samples, [31, 11]);
    let judged = loss.judged.borrow();
    let mut trained = loss.steps.borrow().concat();
    assert!(trained.iter().all(|sample| !judged[0].contains(sample)));
    trained.sort_unstable();
    trained.dedup();
    assert_eq!(trained.len(), 31);
    // At the end all samples are evaluated.
    assert_eq!(judged.last().unwrap().len(), 42);
    let course = &found.learning;
    let best = course.kept().unwrap();
    let losses = course.epochs.iter().map(|epoch| epoch.selection_loss);
    assert_eq!(losses.fold(f64::INFINITY, f64::min), best.selection_loss);
    // The few outliers pull in one direction only.
    assert_eq!(course.ended, Ended::NoGain);
    assert_eq!(course.epochs.len(), course.best + 1 + settings.patience);
}

#[test]
fn samples_are_parted_so_that_none_of_the_parts_is_empty() {
    let parts = |samples: usize, part: Option<f64>| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
        let (training, held_out) = parted(samples, part, &mut random);
        (training.len(), held_out.len())
    };
    assert_eq!(parts(100, Some(0.2)), (80, 20));
    assert_eq!(parts(100, None), (100, 0));
    assert_eq!(parts(2, Some(0.01)), (1, 1));
    assert_eq!(parts(2, Some(0.99)), (1, 1));
    assert_eq!(parts(1, Some(0.5)), (1, 0));
}

#[test]
fn a_loss_that_is_not_finite_ends_it_with_the_best_until_then() {
    let mut loss = Targets::new(&[0.0, 1.0, 2.0], &[1.99]);
    loss.limit = 1.55;
    let found = learned(&loss, &loss.pool(), &settings(Layers::All, 50));
    let course = &found.learning;
    assert_eq!(course.ended, Ended::NotFinite);
    assert!(course.steps.last().unwrap().batch_loss.is_nan());
    assert!(course.steps.len() < 50 && course.best > 0);
    assert!(found.fit.loss.is_finite() && loss.theta(&found.mix) < 1.55);
    // Infinite from the start: nothing is better than the uniform soup.
    loss.limit = 1.0;
    let found = learned(&loss, &loss.pool(), &settings(Layers::All, 50));
    assert_eq!((found.beta, found.learning.steps.len()), (1.0, 1));
    assert_eq!(found.mix, uniform(&loss.pool()));
}

#[test]
fn steps_beyond_any_number_are_not_taken() {
    let loss = Targets::new(&[0.0, 1.0, 2.0], &[1.99]);
    for softmax in [true, false] {
        let settings = LearningSettings {
            learning_rate: f64::MAX,
            weight_decay: 1.0,
            softmax,
            ..settings(Layers::All, 50)
        };
        let found = learned(&loss, &loss.pool(), &settings);
        assert!(found.fit.loss.is_finite());
    }
}

#[test]
fn where_no_tensor_moves_beta_alone_is_learned() {
    struct Still(Targets);
    impl DifferentiableLoss for Still {
        fn parameters(&self) -> Vec<(usize, String)> {
            Vec::new()
        }
        fn samples(&self) -> usize {
            1
        }
        fn coefficient_gradient(
            &self,
            mix: &Mix,
            beta: f64,
            samples: &[usize],
        ) -> Result<CoefficientGradient> {
            self.0.coefficient_gradient(mix, beta, samples)
        }
        fn outcomes(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Vec<Outcome>> {
            self.0.outcomes(mix, beta, samples)
        }
    }
    let mut loss = Targets::new(&[1.0, 1.0, 1.0], &[1.0]);
    loss.beta = 1.3;
    let (pool, still) = (loss.pool(), Still(loss));
    for layers in [Layers::All, Layers::Tensor] {
        let found = learned(&still, &pool, &settings(layers, 300));
        assert!((found.beta - 1.3).abs() < 0.01);
        assert_eq!(found.mix, uniform(&pool));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any models, loss and settings, the soup is never worse than the uniform one with β = 1,
    /// and with a softmax its coefficients are those of an average.
    #[test]
    fn a_learned_soup_is_never_worse_than_the_uniform_one(
        members in 2_usize..6,
        seed in 0_u64..1000,
        layers in prop::sample::select(vec![Layers::All, Layers::Tensor, Layers::Block]),
        minimum in prop::collection::vec(-3.0_f64..3.0, 7),
        curvature in prop::collection::vec(-0.2_f64..5.0, 7),
        learning_rate in 1e-3_f64..3.0,
        weight_decay in 0.0_f64..0.5,
        softmax: bool,
        learns_beta: bool,
    ) {
        let pool = random_pool(members, &[vec![2], vec![2, 2], vec![1]], seed);
        let loss = Quadratic::new(&pool, minimum, curvature, 0.0);
        let settings = LearningSettings {
            layers, length: Length::Epochs(6), learning_rate, weight_decay, softmax, learns_beta, seed,
            ..Preset::Paper.settings()
        };
        let found = learned(&loss, &pool, &settings);
        let start = loss.fit(&uniform(&pool), 1.0, &[0]).unwrap().loss;
        // The two mixes may be rounded differently.
        prop_assert!(found.fit.loss <= start + 1e-12 * start.abs());
        prop_assert_eq!(found.fit, loss.fit(&found.mix, found.beta, &[0]).unwrap());
        for row in found.mix.rows() {
            prop_assert_eq!(row[0], 0.0);
            prop_assert!(!softmax || row.iter().all(|c| (0.0..=1.0).contains(c)));
        }
    }
}
