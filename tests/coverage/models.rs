//! Quantities of pairs of models.

use landscape::analysis::correlation::PairPoint;
use landscape::analysis::inference::Draws;
use landscape::analysis::inference::dyadic::{PairValue, mean, sides};
use landscape::analysis::inference::mantel::{Kind, ModelEffects, PairCorrelation, correlation};

use crate::random::{Random, so};
use crate::{ABOUT, AT_LEAST, Claim};

pub const CLAIMS: &[Claim] = &[
    Claim {
        what: "correlation over pairs, jackknife",
        setting: "6 models, strong effects of models, r = 0.6",
        limits: AT_LEAST,
        draw: |seed| {
            of(6, 2.0, [0.6, 0.6], ModelEffects::Kept, seed, |found| {
                found.interval.contains(0.6)
            })
        },
    },
    Claim {
        what: "correlation over pairs, jackknife",
        setting: "14 models, strong effects of models, r = 0.6",
        limits: AT_LEAST,
        draw: |seed| {
            of(14, 2.0, [0.6, 0.6], ModelEffects::Kept, seed, |found| {
                found.interval.contains(0.6)
            })
        },
    },
    Claim {
        what: "correlation over pairs, jackknife",
        setting: "14 models, no effects of models, r = 0.3",
        limits: AT_LEAST,
        draw: |seed| {
            of(14, 0.0, [0.0, 0.3], ModelEffects::Kept, seed, |found| {
                found.interval.contains(0.3)
            })
        },
    },
    Claim {
        what: "the same without effects of models",
        setting: "14 models, strong effects of models, r = 0.3",
        limits: AT_LEAST,
        draw: |seed| {
            of(14, 2.0, [0.0, 0.3], ModelEffects::Removed, seed, |found| {
                found.interval.contains(0.3)
            })
        },
    },
    Claim {
        what: "Mantel p below 0.05",
        setting: "8 models, strong effects of models, r = 0",
        limits: ABOUT,
        draw: |seed| {
            of(8, 2.0, [0.0, 0.0], ModelEffects::Kept, seed, |found| {
                found.p < 0.05
            })
        },
    },
    Claim {
        what: "the same without effects of models",
        setting: "8 models, effects of models with r = 0.8, pairs with 0",
        limits: ABOUT,
        draw: |seed| {
            of(8, 2.0, [0.8, 0.0], ModelEffects::Removed, seed, |found| {
                found.p < 0.05
            })
        },
    },
    Claim {
        what: "mean over pairs",
        setting: "6 models, effects of models",
        limits: AT_LEAST,
        draw: |seed| so(mean(&values(6, 1.0, seed)).interval.contains(0.0)),
    },
    Claim {
        what: "mean over pairs",
        setting: "14 models, no effects of models",
        limits: AT_LEAST,
        draw: |seed| so(mean(&values(14, 0.0, seed)).interval.contains(0.0)),
    },
    Claim {
        what: "more pairs on one side, p below 0.05",
        setting: "14 models with effects, none better",
        limits: ABOUT,
        draw: |seed| so(sides(&values(14, 1.0, seed)).p < 0.05),
    },
    Claim {
        what: "more pairs on one side, p below 0.05",
        setting: "6 models with effects, none better",
        limits: ABOUT,
        draw: |seed| so(sides(&values(6, 1.0, seed)).p < 0.05),
    },
];

/// Two quantities of pairs: `effects` × (aᵢ + aⱼ) + e, with a correlation of the models' parts and of the pairs'.
fn points(k: usize, effects: f64, [models, pairs]: [f64; 2], seed: u64) -> Vec<PairPoint> {
    let mut random = Random::new(seed);
    let mut two = |r: f64| {
        let (x, rest) = (random.normal(), random.normal());
        [x, r * x + (1.0 - r * r).sqrt() * rest]
    };
    let parts: Vec<[f64; 2]> = (0..k).map(|_| two(models)).collect();
    let all = (0..k).flat_map(|a| (a + 1..k).map(move |b| (a, b)));
    all.map(|(a, b)| {
        let own = two(pairs);
        let [x, y] = [0, 1].map(|which| effects * (parts[a][which] + parts[b][which]) + own[which]);
        PairPoint { a, b, x, y }
    })
    .collect()
}

fn of(
    k: usize,
    effects: f64,
    r: [f64; 2],
    removed: ModelEffects,
    seed: u64,
    held: fn(PairCorrelation) -> bool,
) -> f64 {
    let draws = Draws { count: 400, seed };
    so(held(correlation(
        &points(k, effects, r, seed),
        Kind::Pearson,
        removed,
        &draws,
    )))
}

fn values(k: usize, effects: f64, seed: u64) -> Vec<PairValue> {
    let points = points(k, effects, [0.0, 0.0], seed).into_iter();
    points
        .map(|point| PairValue {
            a: point.a,
            b: point.b,
            value: point.x,
        })
        .collect()
}
