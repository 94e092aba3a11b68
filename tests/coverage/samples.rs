//! Models on the same samples.

use landscape::analysis::inference::paired::{Discordant, contrast, difference};
use landscape::analysis::inference::{Estimate, means, proportion};

use fixedbitset::FixedBitSet;
use landscape::analysis::inference::Draws;
use landscape::analysis::inference::highest::{Right, may_be_highest};

use crate::random::{Random, so};
use crate::{Claim, EXACT};

pub const CLAIMS: &[Claim] = &[
    Claim {
        what: "paired difference of losses",
        setting: "100 samples, skewed",
        limits: EXACT,
        draw: |seed| so(losses(100, seed).interval().contains(0.25)),
    },
    Claim {
        what: "paired difference of losses",
        setting: "1000 samples, skewed",
        limits: EXACT,
        draw: |seed| so(losses(1000, seed).interval().contains(0.25)),
    },
    Claim {
        what: "paired difference of errors",
        setting: "1000 samples, 5 % and 3 % discordant",
        limits: EXACT,
        draw: |seed| {
            so(discordant(1000, 0.05, 0.03, seed)
                .difference()
                .interval()
                .contains(0.02))
        },
    },
    Claim {
        what: "the same, adjusted",
        setting: "1000 samples, 5 % and 3 % discordant",
        limits: EXACT,
        draw: |seed| so(discordant(1000, 0.05, 0.03, seed).interval().contains(0.02)),
    },
    Claim {
        what: "the same, adjusted",
        setting: "1000 samples, 0.1 % and 0.1 % discordant",
        limits: [93.0, 100.0],
        draw: |seed| {
            so(discordant(1000, 0.001, 0.001, seed)
                .interval()
                .contains(0.0))
        },
    },
    Claim {
        what: "exact McNemar p below 0.05",
        setting: "equal models, 1000 samples, 3 % and 3 % discordant",
        limits: crate::ALARM,
        draw: |seed| so(discordant(1000, 0.03, 0.03, seed).p() < 0.05),
    },
    Claim {
        what: "all rows that are the highest are marked",
        setting: "10 equal models, errors of 5 %, 1000 samples",
        limits: crate::AT_LEAST,
        draw: |seed| highest(&[0.0; 10], &[1000], seed),
    },
    Claim {
        what: "all rows that are the highest are marked",
        setting: "6 models, 4 of them equal, mean of sets of 200 and 1000",
        limits: crate::AT_LEAST,
        draw: |seed| highest(&[0.0, 0.0, 0.0, 0.0, 0.02, 0.05], &[200, 1000], seed),
    },
    Claim {
        what: "soup above its ends",
        setting: "losses, 1000 samples",
        limits: EXACT,
        draw: soup,
    },
    Claim {
        what: "mean difference over 4 sets",
        setting: "200 to 500 samples each",
        limits: EXACT,
        draw: |seed| {
            let sets: Vec<Estimate> = (0..4)
                .map(|set| losses(200 + 100 * set, 4 * seed + set as u64))
                .collect();
            so(means::over_sets(&sets).interval().contains(0.25))
        },
    },
    Claim {
        what: "mean over a finite set",
        setting: "600 of 1000 samples",
        limits: EXACT,
        draw: finite,
    },
    Claim {
        what: "error rate, Wilson",
        setting: "256 samples, 1 % errors",
        limits: EXACT,
        draw: |seed| {
            let mut random = Random::new(seed);
            let wrong = (0..256).filter(|_| random.uniform() < 0.01).count();
            so(proportion::wilson(wrong, 256).contains(0.01))
        },
    },
];

/// Two models with the same hard samples: 1.25 × and 1 × a loss with mean 1, and a part of their own.
fn losses(samples: usize, seed: u64) -> Estimate {
    let mut random = Random::new(seed);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let shared = random.loss();
        a.push(1.25 * shared + 0.3 * random.loss());
        b.push(shared + 0.3 * random.loss());
    }
    difference(&a, &b)
}

fn discordant(samples: usize, first: f64, second: f64, seed: u64) -> Discordant {
    let mut random = Random::new(seed);
    let drawn: Vec<f64> = (0..samples).map(|_| random.uniform()).collect();
    let second_right = drawn.iter().map(|u| *u >= first);
    let first_right = drawn.iter().map(|u| *u < first || *u >= first + second);
    Discordant::count(first_right, second_right)
}

/// A soup 0.1 above its ends.
fn soup(seed: u64) -> f64 {
    let mut random = Random::new(seed);
    let mut models = [const { Vec::new() }; 3];
    for _ in 0..1000 {
        let shared = random.loss();
        for (model, values) in models.iter_mut().enumerate() {
            values.push(shared + 0.2 * random.loss() + if model == 0 { 0.1 } else { 0.0 });
        }
    }
    let [soup, a, b] = &models;
    let found = contrast(&[(1.0, soup), (-0.5, a), (-0.5, b)]);
    so(found.interval().contains(0.1))
}

/// The mean of a set of 1000, of which 600 are drawn.
fn finite(seed: u64) -> f64 {
    let mut random = Random::new(seed);
    let mut set: Vec<f64> = (0..1000).map(|_| random.loss()).collect();
    let truth = set.iter().sum::<f64>() / 1000.0;
    for at in 0..600 {
        let with = at + (random.uniform() * (1000 - at) as f64) as usize;
        set.swap(at, with.min(999));
    }
    let found = difference(&set[..600], &[0.0; 600]).within(1000);
    so(found.interval().contains(truth))
}

/// Whether all models without a worse error are left as possibly the highest: `worse[model]` is added to
/// an error of 5 %, half of which all models have in common.
fn highest(worse: &[f64], samples: &[usize], seed: u64) -> f64 {
    let mut random = Random::new(seed);
    let sets = samples.iter().map(|&samples| {
        let mut correct = vec![FixedBitSet::with_capacity(samples); worse.len()];
        for sample in 0..samples {
            let is_hard = random.uniform() < 0.025;
            for (model, worse) in worse.iter().enumerate() {
                let own = random.uniform() < 0.025 + worse;
                correct[model].set(sample, !(is_hard || own));
            }
        }
        correct
    });
    let sets: Vec<Vec<FixedBitSet>> = sets.collect();
    let right = sets.iter().zip(samples).map(|(correct, &samples)| Right {
        correct: correct.iter().collect(),
        samples,
    });
    let right: Vec<Right<'_>> = right.collect();
    let may_be = may_be_highest(&right, &Draws { count: 500, seed });
    let mut best = may_be.iter().zip(worse).filter(|(_, worse)| **worse == 0.0);
    so(best.all(|(may_be, _)| *may_be))
}
