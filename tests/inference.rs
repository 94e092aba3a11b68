//! Inference against scipy, statsmodels, mpmath and numpy (`tests/oracle/inference.py`).
//!
//! Tolerances: 1e-12 relative where both sides sum some hundred numbers in 64 bits; 1e-9 relative for
//! tails and quantiles of distributions (statrs' incomplete beta function: 4e-10 was seen for two
//! million trials, 1e-12 for thousands). What is drawn at random has a standard error, and four of it
//! are allowed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use landscape::analysis::correlation::PairPoint;
use landscape::analysis::inference::dyadic::{self, PairValue};
use landscape::analysis::inference::mantel::{Kind, ModelEffects, correlation};
use landscape::analysis::inference::paired::{Discordant, difference};
use landscape::analysis::inference::points::PointValues;
use landscape::analysis::inference::{Draws, Interval, band, multiple, proportion};
use serde_json::Value;

use crate::common::{json, oracle};

fn expected() -> Value {
    json(oracle("inference.json"))
}

fn numbers(value: &Value) -> Vec<f64> {
    let all = value.as_array().unwrap().iter();
    all.map(|number| number.as_f64().unwrap()).collect()
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn near(found: f64, expected: &Value, relative: f64) {
    let expected = expected.as_f64().unwrap();
    let off = (found - expected).abs();
    assert!(off <= relative * expected.abs(), "{found} {expected}");
}

#[test]
fn differences_have_the_standard_error_of_the_paired_t_test() {
    let paired = &expected()["paired"];
    let found = difference(&numbers(&paired["a"]), &numbers(&paired["b"]));
    near(found.value, &paired["mean"], 1e-12);
    near(found.se, &paired["se"], 1e-12);
}

#[test]
fn mcnemar_is_exact_also_far_out_and_for_millions() {
    for case in expected()["mcnemar"].as_array().unwrap() {
        let (only_first, only_second) = (count(&case["only_first"]), count(&case["only_second"]));
        for (only_first, only_second) in [(only_first, only_second), (only_second, only_first)] {
            let samples = only_first + only_second + 100;
            let found = Discordant {
                only_first,
                only_second,
                samples,
            };
            near(found.p(), &case["p"], 1e-9);
        }
    }
}

#[test]
fn adjusted_p_values() {
    let case = &expected()["adjusted"];
    let ps = numbers(&case["p"]);
    for (found, name) in [
        (multiple::holm(&ps), "holm"),
        (multiple::benjamini_hochberg(&ps), "bh"),
    ] {
        for (found, expected) in found.iter().zip(case[name].as_array().unwrap()) {
            near(*found, expected, 1e-12);
        }
    }
}

#[test]
fn intervals_of_proportions() {
    for case in expected()["proportions"].as_array().unwrap() {
        let (x, n) = (count(&case["count"]), count(&case["samples"]));
        for (found, name) in [
            (proportion::wilson(x, n), "wilson"),
            (proportion::agresti_coull(x, n), "agresti_coull"),
        ] {
            let ends = numbers(&case[name]);
            // statsmodels does not cut its ends to 0 and 1, nor round them there.
            for (found, expected) in [(found.low, ends[0]), (found.high, ends[1])] {
                let expected = expected.clamp(0.0, 1.0);
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{name} {x}/{n}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn the_quantile_of_a_band_is_that_of_correlated_normal_numbers() {
    let case = &expected()["curve"];
    let rows: Vec<Vec<f64>> = case["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    let mut values = PointValues::new(60, None);
    rows.iter().for_each(|row| values.push(row.iter().copied()));
    let draws = Draws {
        count: 40_000,
        seed: 0,
    };
    let bands = [
        (band::around(&values, &draws), "quantile"),
        (
            band::around_differences(&values, 2, &draws),
            "difference_quantile",
        ),
    ];
    for (band, name) in bands {
        // √(0.05 · 0.95/40,000) over the density there, about 0.12: 0.009. The multipliers are
        // binomial, with quantiles of their sums off by less.
        let expected = case[name].as_f64().unwrap();
        // Of normal numbers; that of 60 samples is wider by the ratio of t to normal quantiles.
        let normal = band.quantile * 1.959_963_985 / 2.000_995_378;
        assert!(
            (normal - expected).abs() < 0.036,
            "{name}: {normal} {expected}"
        );
        assert!((band.single - 2.000_995_378).abs() < 1e-8);
    }
}

fn interval_near(found: Interval, case: &Value) {
    // Near 0 an end may be rounded away; its size is that of a correlation.
    for (found, end) in [(found.low, "low"), (found.high, "high")] {
        let expected = case[end].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
}

#[test]
fn correlations_over_pairs_with_and_without_the_effects_of_models() {
    let case = &expected()["pairs"];
    let points: Vec<PairPoint> = case["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .map(|p| PairPoint {
            a: p[0] as usize,
            b: p[1] as usize,
            x: p[2],
            y: p[3],
        })
        .collect();
    let draws = Draws {
        count: 20_000,
        seed: 0,
    };
    for (effects, name) in [
        (ModelEffects::Kept, "kept"),
        (ModelEffects::Removed, "removed"),
    ] {
        for (kind, of) in [(Kind::Pearson, "pearson"), (Kind::Spearman, "spearman")] {
            let case = &case[format!("{name}_{of}")];
            let found = correlation(&points, kind, effects, &draws);
            near(found.value, &case["value"], 1e-12);
            interval_near(found.interval, case);
            let p = case["p"].as_f64().unwrap();
            let se = (p * (1.0 - p) / 20_000.0).sqrt();
            assert!((found.p - p).abs() < 4.0 * se + 1e-4, "{} {p}", found.p);
        }
    }
}

#[test]
fn means_and_shares_over_pairs() {
    let case = &expected()["pairs"];
    let pairs: Vec<PairValue> = case["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .map(|p| PairValue {
            a: p[0] as usize,
            b: p[1] as usize,
            value: p[2],
        })
        .collect();
    let mean = dyadic::mean(&pairs);
    near(mean.value, &case["mean"]["value"], 1e-12);
    near(mean.se, &case["mean"]["se"], 1e-12);
    near(mean.p, &case["mean"]["p"], 1e-9);
    interval_near(mean.interval, &case["mean"]);
    let sides = dyadic::sides(&pairs);
    near(sides.share, &case["share"]["value"], 1e-12);
    near(sides.se, &case["share"]["se"], 1e-12);
    near(sides.p, &case["share"]["p"], 1e-9);
    // The oracle's interval reaches beyond 0 and 1.
    assert_eq!((sides.interval.low, sides.interval.high), (0.0, 1.0));
}
