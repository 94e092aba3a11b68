//! Paths between two models, and planes.

use landscape::analysis::inference::barrier::{Rise, Verdict, tolerance};
use landscape::analysis::inference::extremum::{self, Extremum};
use landscape::analysis::inference::points::PointValues;
use landscape::analysis::inference::{Draws, band};
use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::random::{Random, so};
use crate::{ALARM, AT_LEAST, Claim, EXACT};

pub const CLAIMS: &[Claim] = &[
    Claim {
        what: "whole curve in the band",
        setting: "losses, 19 points, 500 samples",
        limits: EXACT,
        draw: |seed| {
            let path = losses(500, 0.05, seed);
            let points = path.band(seed).points;
            let inside = points
                .iter()
                .zip(&path.truth)
                .all(|(point, truth)| point.low <= *truth && *truth <= point.high);
            so(inside)
        },
    },
    Claim {
        what: "whole curve in the band",
        setting: "errors of 5 %, 19 points, 1000 samples",
        limits: AT_LEAST,
        draw: |seed| {
            let path = errors(1000, [0.05, 0.07], seed);
            let points = path.band(seed).points;
            let inside = points
                .iter()
                .zip(&path.truth)
                .all(|(point, truth)| point.low <= *truth && *truth <= point.high);
            so(inside)
        },
    },
    Claim {
        what: "barrier between low and high",
        setting: "losses, barrier 0.1, 500 samples",
        limits: AT_LEAST,
        draw: |seed| losses(500, 0.1, seed).holds(seed),
    },
    Claim {
        what: "barrier between low and high",
        setting: "losses, flat, 500 samples",
        limits: AT_LEAST,
        draw: |seed| losses(500, 0.0, seed).holds(seed),
    },
    Claim {
        what: "barrier between low and high",
        setting: "errors of 5 %, barrier 2 %, 1000 samples",
        limits: AT_LEAST,
        draw: |seed| errors(1000, [0.05, 0.07], seed).holds(seed),
    },
    Claim {
        what: "barrier between low and high",
        setting: "errors of 0.3 %, flat, 1000 samples",
        limits: AT_LEAST,
        draw: |seed| errors(1000, [0.003, 0.003], seed).holds(seed),
    },
    Claim {
        what: "*barrier* said",
        setting: "losses, flat, 100 samples",
        limits: ALARM,
        draw: |seed| losses(100, 0.0, seed).said(seed, Verdict::Barrier),
    },
    Claim {
        what: "*barrier* said",
        setting: "losses, flat, 500 samples",
        limits: ALARM,
        draw: |seed| losses(500, 0.0, seed).said(seed, Verdict::Barrier),
    },
    Claim {
        what: "*barrier* said",
        setting: "errors of 5 %, flat, 1000 samples",
        limits: ALARM,
        draw: |seed| errors(1000, [0.05, 0.05], seed).said(seed, Verdict::Barrier),
    },
    Claim {
        what: "*barrier* said",
        setting: "errors of 0.3 %, flat, 1000 samples",
        limits: ALARM,
        draw: |seed| errors(1000, [0.003, 0.003], seed).said(seed, Verdict::Barrier),
    },
    Claim {
        what: "*none larger than* said",
        setting: "errors of 5 %, barrier of 2 %, 1000 samples",
        limits: ALARM,
        draw: |seed| {
            let path = errors(1000, [0.05, 0.07], seed);
            let said = path.rise(seed).verdict(tolerance([0.05, 0.05]));
            so(matches!(said, Verdict::NoneAbove(_)))
        },
    },
    Claim {
        what: "mean at the places chosen, cross-fitted",
        setting: "minimum, losses, 19 points, 500 samples",
        limits: EXACT,
        draw: |seed| chosen(&losses(500, -0.1, seed), seed),
    },
    Claim {
        what: "mean at the places chosen, cross-fitted",
        setting: "minimum, errors, plane of 121 points, 1000 samples",
        limits: EXACT,
        draw: |seed| chosen(&plane(1000, seed), seed),
    },
    Claim {
        what: "lowest minus the first point, cross-fitted",
        setting: "losses, 19 points, 500 samples",
        limits: EXACT,
        draw: |seed| below(&losses(500, -0.1, seed), 0, seed),
    },
    // The first to be chosen may be the point itself, and the difference is then 0.
    Claim {
        what: "lowest minus a point beside it, cross-fitted",
        setting: "losses, 19 points, 500 samples",
        limits: [87.0, 98.0],
        draw: |seed| below(&losses(500, -0.1, seed), 9, seed),
    },
    Claim {
        what: "lowest minus the first point, cross-fitted",
        setting: "errors, plane of 121 points, 1000 samples",
        limits: AT_LEAST,
        draw: |seed| below(&plane(1000, seed), 0, seed),
    },
    Claim {
        what: "true minimum, cross-fitted",
        setting: "losses, 19 points, 500 samples",
        limits: EXACT,
        draw: |seed| cross_fitted(&losses(500, -0.1, seed), seed),
    },
    Claim {
        what: "true minimum, cross-fitted",
        setting: "errors, plane of 121 points, 1000 samples",
        limits: EXACT,
        draw: |seed| cross_fitted(&plane(1000, seed), seed),
    },
    Claim {
        what: "true minimum, from the band",
        setting: "losses, 19 points, 500 samples",
        limits: AT_LEAST,
        draw: |seed| from_band(&losses(500, -0.1, seed), seed),
    },
    Claim {
        what: "true minimum, from the band",
        setting: "errors, plane of 121 points, 1000 samples",
        limits: AT_LEAST,
        draw: |seed| from_band(&plane(1000, seed), seed),
    },
    Claim {
        what: "place of the minimum among those not separated",
        setting: "losses, 19 points, 500 samples",
        limits: AT_LEAST,
        draw: |seed| not_separated(&losses(500, -0.1, seed), seed),
    },
    Claim {
        what: "place of the minimum among those not separated",
        setting: "errors, plane of 121 points, 1000 samples",
        limits: AT_LEAST,
        draw: |seed| not_separated(&plane(1000, seed), seed),
    },
];

/// Values of samples, and the true means.
struct Path {
    values: PointValues,
    truth: Vec<f64>,
}

impl Path {
    fn band(&self, seed: u64) -> band::Band {
        band::around(&self.values, &Draws { count: 250, seed })
    }

    fn smallest(&self) -> f64 {
        self.truth.iter().copied().fold(f64::MAX, f64::min)
    }

    fn rise(&self, seed: u64) -> Rise {
        Rise::largest(&self.band(seed)).unwrap()
    }

    fn holds(&self, seed: u64) -> f64 {
        let (rise, truth) = (
            self.rise(seed),
            self.truth.iter().copied().fold(f64::MIN, f64::max),
        );
        so(rise.low <= truth && truth <= rise.high)
    }

    fn said(&self, seed: u64, verdict: Verdict) -> f64 {
        so(self.rise(seed).verdict(0.0) == verdict)
    }
}

/// Interior points of a path.
fn alphas() -> impl Iterator<Item = f64> {
    (1..20).map(|step| f64::from(step) / 20.0)
}

/// A rise of `height` at ½ with skewed parts of each sample that are 0 at the ends: of the height, of
/// the side on which it is higher, and of a wave.
fn losses(samples: usize, height: f64, seed: u64) -> Path {
    let mut random = Random::new(seed);
    let parts: Vec<[f64; 3]> = (0..samples)
        .map(|_| [0.5, 0.3, 0.2].map(|size| size * (random.loss() - 1.0)))
        .collect();
    let mut values = PointValues::new(samples, None);
    let hill = |alpha: f64| 4.0 * alpha * (1.0 - alpha);
    for alpha in alphas() {
        let [turn, wave] = [2.0, 3.0].map(|k| (k * std::f64::consts::PI * alpha).sin());
        values.push(
            parts
                .iter()
                .map(|[a, b, c]| (height + a) * hill(alpha) + b * turn + c * wave),
        );
    }
    Path {
        values,
        truth: alphas().map(|alpha| height * hill(alpha)).collect(),
    }
}

/// A sample is wrong where a normal number that turns along the path exceeds a threshold. The error
/// is `share[0]` at the ends and `share[1]` at ½; the value is the error above the chord.
fn errors(samples: usize, share: [f64; 2], seed: u64) -> Path {
    let mut random = Random::new(seed);
    let parts: Vec<[f64; 2]> = (0..samples)
        .map(|_| [random.normal(), random.normal()])
        .collect();
    let error = |alpha: f64| share[0] + (share[1] - share[0]) * 4.0 * alpha * (1.0 - alpha);
    let at = |alpha: f64| -> Vec<f64> {
        let (sin, cos) = (0.8 * alpha).sin_cos();
        let threshold = Normal::standard().inverse_cdf(1.0 - error(alpha));
        parts
            .iter()
            .map(|[a, b]| so(cos * a + sin * b > threshold))
            .collect()
    };
    let (start, end) = (at(0.0), at(1.0));
    let mut values = PointValues::new(samples, Some(1.0));
    for alpha in alphas() {
        let chord = start
            .iter()
            .zip(&end)
            .map(|(start, end)| (1.0 - alpha) * start + alpha * end);
        values.push(
            at(alpha)
                .iter()
                .zip(chord)
                .map(|(here, chord)| here - chord),
        );
    }
    Path {
        values,
        truth: alphas().map(|alpha| error(alpha) - share[0]).collect(),
    }
}

/// Errors of 2 % in the middle of a plane and up to 9 % in its corners.
fn plane(samples: usize, seed: u64) -> Path {
    let mut random = Random::new(seed);
    let parts: Vec<[f64; 3]> = (0..samples)
        .map(|_| [0.0; 3].map(|_| random.normal()))
        .collect();
    let places = || (0..121).map(|at| [at % 11, at / 11].map(|step| (f64::from(step) - 5.0) / 7.0));
    let error = |[x, y]: [f64; 2]| 0.02 + 0.07 * (x * x + y * y);
    let mut values = PointValues::new(samples, Some(1.0));
    for [x, y] in places() {
        let above =
            Normal::standard().inverse_cdf(1.0 - error([x, y])) * (1.0 + x * x + y * y).sqrt();
        values.push(parts.iter().map(|[a, b, c]| so(a + x * b + y * c > above)));
    }
    Path {
        values,
        truth: places().map(error).collect(),
    }
}

fn extremum_of(path: &Path, count: usize, seed: u64) -> Extremum {
    extremum::smallest(&path.values, &Draws { count, seed }).unwrap()
}

/// Whether the cross-fitted interval holds the true mean at the places that the halves chose.
fn chosen(path: &Path, seed: u64) -> f64 {
    // Halves need no band.
    let found = extremum_of(path, 1, seed).cross_fit;
    let truth = found
        .chosen
        .iter()
        .map(|(at, share)| share * path.truth[*at])
        .sum();
    so(found.estimate.interval().contains(truth))
}

fn cross_fitted(path: &Path, seed: u64) -> f64 {
    let found = extremum_of(path, 1, seed).cross_fit;
    so(found.estimate.interval().contains(path.smallest()))
}

/// Whether the interval of the difference between the cross-fitted lowest point and another point holds
/// the true difference at the places chosen.
fn below(path: &Path, other: usize, seed: u64) -> f64 {
    let found = extremum_of(path, 1, seed).cross_fit;
    let chosen = found.chosen.iter();
    let truth: f64 = chosen.map(|(at, share)| share * path.truth[*at]).sum();
    let values = path.values.values(other).iter().map(|it| f64::from(*it));
    let minus = found.minus(&values.collect::<Vec<f64>>(), &path.values);
    so(minus.interval().contains(truth - path.truth[other]))
}

fn from_band(path: &Path, seed: u64) -> f64 {
    so(extremum::interval_of_smallest(&path.band(seed)).contains(path.smallest()))
}

fn not_separated(path: &Path, seed: u64) -> f64 {
    let places = path.truth.iter().enumerate();
    let (place, _) = places.min_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    so(extremum_of(path, 250, seed).not_separated.contains(&place))
}
