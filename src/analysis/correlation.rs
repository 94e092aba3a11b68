//! The correlation of two quantities of pairs of checkpoints, with a confidence interval.
//!
//! Pairs share models: k models form k(k−1)/2 pairs but only k independent units, so resampling
//! pairs would make the interval far too narrow. Models are resampled instead, following the
//! bootstrap of networks by their nodes (Snijders and Borgatti, "Non-parametric standard errors and
//! tests for network statistics", Connections 22(2), 1999).

use std::cmp::Ordering;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::result::pairs::Correlation;

/// Two quantities of a pair of models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairPoint {
    /// One model of the pair: an index below the number of models.
    pub a: usize,
    /// The other model.
    pub b: usize,
    /// The first quantity. A point with a NaN or an infinity is left out.
    pub x: f64,
    /// The second quantity.
    pub y: f64,
}

/// Number of bootstrap draws.
const DRAWS: usize = 1000;

/// Minimum number of points for a correlation: with two it would always be ±1.
const FEWEST: usize = 3;

/// Pearson's correlation Σ(x−x̄)(y−ȳ) / √(Σ(x−x̄)² Σ(y−ȳ)²) over the pairs of `models` models.
///
/// The interval is between the 2.5th and the 97.5th percentile of 1000 draws of `models` models
/// with replacement. The weight of a pair is the product of how often its two models were drawn (a
/// model drawn twice forms no pair with itself). Draws without a correlation are skipped; if they
/// are more than half, as with three models, the interval is NaN.
///
/// The interval is a guide, not an exact 95 %. In simulations with quantities that are sums of
/// contributions of each of 6 to 40 models, with and without noise of the pair, it contained the
/// truth in 86 % to 99 % of 400 cases each; an interval from resampling pairs did in 29 % to 84 %.
///
/// # Panics
/// Panics when a point names a model that is not below `models`.
pub fn pearson(points: &[PairPoint], models: usize, seed: u64) -> Correlation {
    let points = finite(points);
    let xs: Vec<f64> = points.iter().map(|point| point.x).collect();
    let ys: Vec<f64> = points.iter().map(|point| point.y).collect();
    bootstrap(&points, models, seed, |weights| {
        correlation(&xs, &ys, weights)
    })
}

/// Spearman's correlation: Pearson's correlation of the ranks, where equal values share their mean
/// rank. The interval is as in [`pearson`], with ranks recomputed in every draw.
///
/// # Panics
/// Panics when a point names a model that is not below `models`.
pub fn spearman(points: &[PairPoint], models: usize, seed: u64) -> Correlation {
    let points = finite(points);
    let xs = Sorted::new(points.iter().map(|point| point.x).collect());
    let ys = Sorted::new(points.iter().map(|point| point.y).collect());
    bootstrap(&points, models, seed, |weights| {
        correlation(&xs.ranks(weights), &ys.ranks(weights), weights)
    })
}

fn finite(points: &[PairPoint]) -> Vec<PairPoint> {
    let finite = |point: &&PairPoint| point.x.is_finite() && point.y.is_finite();
    points.iter().filter(finite).copied().collect()
}

/// A correlation `of` weighted points, with its bootstrap interval over resampled models.
fn bootstrap(
    points: &[PairPoint],
    models: usize,
    seed: u64,
    of: impl Fn(&[f64]) -> f64,
) -> Correlation {
    let mut weights = vec![1.0; points.len()];
    let value = of(&weights);
    let mut drawn: Vec<f64> = Vec::new();
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut times = vec![0.0; models];
    // If the points have no correlation, no draw has one.
    for _ in 0..if value.is_nan() { 0 } else { DRAWS } {
        times.fill(0.0);
        for _ in 0..models {
            times[below(&mut generator, models)] += 1.0;
        }
        for (weight, point) in weights.iter_mut().zip(points) {
            *weight = times[point.a] * times[point.b];
        }
        drawn.push(of(&weights));
    }
    drawn.retain(|value| !value.is_nan());
    drawn.sort_by(f64::total_cmp);
    let enough = 2 * drawn.len() >= DRAWS;
    let end = |p| {
        if enough {
            percentile(&drawn, p)
        } else {
            f64::NAN
        }
    };
    Correlation {
        value,
        low: end(0.025),
        high: end(0.975),
        ..Correlation::undefined(points.len())
    }
}

/// A uniform integer in 0..bound: the high word of a 128-bit product. Some values are more likely
/// than others by bound/2⁶⁴, which affects no interval.
pub(super) fn below(generator: &mut impl Rng, bound: usize) -> usize {
    ((u128::from(generator.next_u64()) * bound as u128) >> 64) as usize
}

/// The value below which a fraction `p` of the sorted values lies, linear between neighbours.
pub(super) fn percentile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

/// Pearson's correlation of weighted points; NaN if fewer than [`FEWEST`] have a weight or one
/// quantity is constant among them.
pub(super) fn correlation(xs: &[f64], ys: &[f64], weights: &[f64]) -> f64 {
    let constant = |values: &[f64]| {
        let mut counted = values.iter().zip(weights).filter(|(_, w)| **w > 0.0);
        let first = counted.next();
        counted.all(|(value, _)| first.is_some_and(|(first, _)| first == value))
    };
    let counted = weights.iter().filter(|weight| **weight > 0.0).count();
    // Values are compared, since rounding may give a constant a nonzero variance.
    if counted < FEWEST || constant(xs) || constant(ys) {
        return f64::NAN;
    }
    let total: f64 = weights.iter().sum();
    let mean = |values: &[f64]| {
        let terms = values.iter().zip(weights);
        terms.map(|(value, w)| w * value).sum::<f64>() / total
    };
    let (mean_x, mean_y) = (mean(xs), mean(ys));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for ((x, y), w) in xs.iter().zip(ys).zip(weights) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        xx += w * dx * dx;
        xy += w * dx * dy;
        yy += w * dy * dy;
    }
    (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)
}

/// Values, and the order that sorts them, which does not depend on the weights.
pub(super) struct Sorted {
    values: Vec<f64>,
    order: Vec<usize>,
}

impl Sorted {
    pub(super) fn new(values: Vec<f64>) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        // The values are finite; −0 and 0 are a tie.
        let compare = |a: &usize, b: &usize| values[*a].partial_cmp(&values[*b]);
        order.sort_by(|a, b| compare(a, b).unwrap_or(Ordering::Equal));
        Self { values, order }
    }

    /// The rank of each value, from 1 for the smallest, as if each value occurred `weight` times.
    /// Equal values share their mean rank.
    pub(super) fn ranks(&self, weights: &[f64]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.values.len()];
        let mut before = 0.0;
        let equal = |a: &usize, b: &usize| self.values[*a] == self.values[*b];
        for ties in self.order.chunk_by(equal) {
            let weight: f64 = ties.iter().map(|&index| weights[index]).sum();
            for &index in ties {
                ranks[index] = before + f64::midpoint(weight, 1.0);
            }
            before += weight;
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quantity of each pair of `models` models.
    fn pairs(models: usize, value: impl Fn(usize, usize) -> (f64, f64)) -> Vec<PairPoint> {
        let all = (0..models).flat_map(|a| (a + 1..models).map(move |b| (a, b)));
        all.map(|(a, b)| {
            let (x, y) = value(a, b);
            PairPoint { a, b, x, y }
        })
        .collect()
    }

    /// Points that are each a pair of two models of their own.
    fn apart(xs: &[f64], ys: &[f64]) -> (Vec<PairPoint>, usize) {
        let values = xs.iter().zip(ys).enumerate();
        let points = values.map(|(k, (&x, &y))| {
            let (a, b) = (2 * k, 2 * k + 1);
            PairPoint { a, b, x, y }
        });
        (points.collect(), 2 * xs.len())
    }

    fn both(xs: &[f64], ys: &[f64]) -> [f64; 2] {
        let (points, models) = apart(xs, ys);
        [pearson, spearman].map(|of| of(&points, models, 0).value)
    }

    #[test]
    fn monotone_is_one_and_reversed_minus_one() {
        let rising = pairs(8, |a, b| {
            let x = (a * a + 3 * b) as f64;
            (x, x.exp())
        });
        let falling: Vec<PairPoint> = rising.iter().map(|p| PairPoint { y: -p.x, ..*p }).collect();
        let near = |found: Correlation, expected: f64| {
            let ends = [found.value, found.low, found.high];
            assert!(ends.iter().all(|end| (end - expected).abs() < 1e-12));
            assert_eq!(found.pairs, 28);
        };
        near(spearman(&rising, 8, 1), 1.0);
        near(spearman(&falling, 8, 1), -1.0);
        near(pearson(&falling, 8, 1), -1.0);
    }

    #[test]
    fn published_examples_and_ties_by_hand() {
        // Anscombe's first set, r = 0.816.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [
            8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68,
        ];
        assert!((both(&x, &y)[0] - 0.816_420_516_344_84).abs() < 1e-12);
        // IQ and hours of television, without ties: ρ = 1 − 6·194/(10·99) = −29/165.
        let x = [
            106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0,
        ];
        let y = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        assert!((both(&x, &y)[1] + 29.0 / 165.0).abs() < 1e-12);
        // Ranks 1, 2½, 2½, 4 against 1, 2, 3, 4: 4.5/√(4.5·5).
        let [_, tied] = both(&[0.1, 7.0, 7.0, 9.0], &[-4.0, -1.0, 0.0, 50.0]);
        assert!((tied - 3.0 / 10.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn too_few_points_and_constants_have_no_correlation() {
        let none = |xs: &[f64], ys: &[f64]| both(xs, ys).iter().all(|value| value.is_nan());
        assert!(none(&[], &[]) && none(&[1.0, 2.0], &[3.0, 5.0]));
        // The mean of three times 0.1 is not 0.1.
        assert!(none(&[0.1; 3], &[1.0, 2.0, 4.0]) && none(&[1.0, 2.0, 4.0], &[0.1; 3]));
        let unusable = [1.0, f64::NAN, 2.0, f64::INFINITY];
        assert!(none(&unusable, &[1.0, 2.0, 4.0, 3.0]));
        let (points, models) = apart(&[1.0, f64::NAN, 2.0, 3.0], &[1.0, 2.0, 4.0, 3.0]);
        let found = spearman(&points, models, 0);
        assert!((found.value - 0.5).abs() < 1e-12 && found.pairs == 3);
    }

    #[test]
    fn a_weight_is_a_number_of_copies() {
        let (xs, ys) = ([3.0, 1.0, 2.0, 2.0, 5.0], [1.0, 0.0, 4.0, 9.0, 4.0]);
        let copies = [2, 1, 0, 3, 4];
        let weights = copies.map(|count| count as f64);
        let repeat = |values: &[f64]| -> Vec<f64> {
            let values = values.iter().zip(copies);
            values
                .flat_map(|(&value, count)| vec![value; count])
                .collect()
        };
        let (many_x, many_y) = (repeat(&xs), repeat(&ys));
        let ones = vec![1.0; many_x.len()];
        let ranked = |xs: &[f64], ys: &[f64], weights: &[f64]| {
            let [xs, ys] = [xs, ys].map(|values| Sorted::new(values.to_vec()).ranks(weights));
            correlation(&xs, &ys, weights)
        };
        let (found, expected) = (ranked(&xs, &ys, &weights), ranked(&many_x, &many_y, &ones));
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        let (found, expected) = (
            correlation(&xs, &ys, &weights),
            correlation(&many_x, &many_y, &ones),
        );
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn the_interval_is_the_seeds_and_holds_the_value() {
        let points = pairs(10, |a, b| {
            let x = (7 * a + 5 * b) as f64 % 11.0;
            (x, x + 3.0 * ((a * b) as f64).sin())
        });
        for of in [pearson, spearman] {
            let found = of(&points, 10, 3);
            let ends = |of: Correlation| [of.low, of.high];
            assert_eq!(ends(found), ends(of(&points, 10, 3)));
            assert_ne!(ends(found), ends(of(&points, 10, 4)));
            assert!(found.low < found.value && found.value < found.high);
            assert!(-1.0 <= found.low && found.high <= 1.0);
        }
    }

    #[test]
    fn pairs_that_share_models_count_as_the_models() {
        // Both quantities are sums of contributions of each model: 66 pairs tell no more about the
        // correlation than 12 models do, about ±2/√12; as independent pairs, about ±2/√66.
        let points = pairs(12, |a, b| {
            let part = |model: usize, factor: f64| (factor * (model + 1) as f64).sin();
            (
                part(a, 1.7) + part(b, 1.7),
                part(a, 12.9) + part(b, 12.9) + 0.3 * part(a, 1.7) + 0.3 * part(b, 1.7),
            )
        });
        let found = pearson(&points, 12, 0);
        assert!(found.high - found.low > 0.7, "{found:?}");
        let (alone, models) = apart(
            &points.iter().map(|point| point.x).collect::<Vec<_>>(),
            &points.iter().map(|point| point.y).collect::<Vec<_>>(),
        );
        let naive = pearson(&alone, models, 0);
        assert!(naive.high - naive.low < found.high - found.low);
    }

    #[test]
    fn three_models_have_a_value_and_no_interval() {
        let points = pairs(3, |a, b| ((a + b) as f64, (a * b) as f64));
        let found = spearman(&points, 3, 0);
        assert!(found.value > 0.0 && found.low.is_nan() && found.high.is_nan());
        let points = pairs(4, |a, b| ((a + 2 * b) as f64, (a * b) as f64));
        assert!(!spearman(&points, 4, 0).low.is_nan());
    }
}
