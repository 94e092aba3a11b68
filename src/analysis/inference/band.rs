//! Simultaneous bands: with [`LEVEL`] the whole curve, or plane, lies within.
//!
//! The largest of many points is where the noise was largest, too; an interval of that point alone
//! does not know that. A band holds at all points at once, so it may be read where it is highest.
//!
//! By the Gaussian multiplier bootstrap. With the values d_s(α) of sample s at point α and their mean
//! d̄(α), a draw is D*(α) = n^(−1/2)·Σ_s ξ_s·(d_s(α) − d̄(α)), one ξ_s with mean 0 and variance 1 for
//! each sample and *all* points, so that points keep their dependence. c is the [`LEVEL`] quantile of
//! max_α |D*(α)|/sd(α) over the draws, and the band is d̄(α) ∓ c·se(α). For few samples c is larger by
//! the ratio of the quantiles of Student's t and of the normal distribution.
//!
//! Chernozhukov, Chetverikov and Kato, "Gaussian approximations and multiplier bootstrap for maxima of
//! sums of high-dimensional random vectors", Annals of Statistics 41, 2013; as a band: Montiel Olea and
//! Plagborg-Møller, "Simultaneous confidence bands: theory, implementation, and an application to
//! SVARs", Journal of Applied Econometrics 34, 2019. The simulated coverage is in docs/validation.md.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};
use rayon::prelude::*;

use super::points::PointValues;
use super::{Draws, LEVEL, normal_quantile, t_quantile};

/// A simultaneous band.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// The points, as they were pushed.
    pub points: Vec<BandPoint>,
    /// c: how many standard errors the band reaches on either side. NaN if no point has a spread.
    pub quantile: f64,
    /// How many standard errors the interval of one point alone reaches.
    pub single: f64,
    /// max_α |D*(α)|/sd(α) of each draw, ascending.
    maxima: Vec<f64>,
}

/// A band at one point, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BandPoint {
    /// Mean over samples. NaN if a sample is unusable.
    pub value: f64,
    /// Standard error of the point by itself. NaN if the values are unusable, or all equal without a
    /// grain: the point is then no part of the band.
    pub se: f64,
    /// Lower end of the band.
    pub low: f64,
    /// Upper end of the band.
    pub high: f64,
    /// Number of samples whose value is NaN or infinite.
    pub unusable: usize,
}

impl Band {
    /// The share of draws whose largest |D*(α)|/sd(α) reaches a number of standard errors, the data
    /// counted as a draw: (1 + #)/(1 + draws). It is the p value, two-sided and corrected for the
    /// choice among all points, of a point that lies so far from 0. NaN for NaN or without a band.
    pub fn p(&self, standard_errors: f64) -> f64 {
        if standard_errors.is_nan() || self.maxima.is_empty() {
            return f64::NAN;
        }
        // As the band, which is wider for few samples.
        let reached = standard_errors * normal_quantile() / self.single;
        let below = self.maxima.partition_point(|most| *most < reached);
        (1 + self.maxima.len() - below) as f64 / (1 + self.maxima.len()) as f64
    }
}

/// The band around the means of all points.
///
/// The time is that of a product of matrices, points × samples × draws; the memory beside the values
/// is 4 bytes × points × 400 for each thread.
pub fn around(points: &PointValues, draws: &Draws) -> Band {
    let zero = Reference {
        value: 0.0,
        at: None,
    };
    band(points, &zero, draws)
}

/// The band around the differences d̄(α) − d̄(reference) of all points to one of them.
///
/// At the reference itself the difference is 0 without a spread.
///
/// # Panics
/// Panics when `reference` is no point.
pub fn around_differences(points: &PointValues, reference: usize, draws: &Draws) -> Band {
    let reference = Reference {
        value: points.estimates()[reference].value,
        at: Some(reference),
    };
    band(points, &reference, draws)
}

/// What is subtracted from all points.
struct Reference {
    value: f64,
    at: Option<usize>,
}

fn band(points: &PointValues, reference: &Reference, draws: &Draws) -> Band {
    let estimates = points.estimates().iter();
    let mut band: Vec<BandPoint> = estimates
        .map(|estimate| BandPoint {
            value: estimate.value - reference.value,
            se: estimate.se,
            low: f64::NAN,
            high: f64::NAN,
            unusable: estimate.unusable,
        })
        .collect();
    if let Some(at) = reference.at {
        for (point, band) in band.iter_mut().enumerate() {
            band.se = if point == at {
                f64::NAN
            } else {
                points.standard_error(squared_difference(points, point, at))
            };
        }
    }
    let mut maxima = maxima(points, &band, reference.at, draws);
    maxima.sort_by(f64::total_cmp);
    let rank = (LEVEL * (maxima.len() + 1) as f64).ceil() as usize;
    let last = maxima.len().saturating_sub(1);
    let quantile = maxima.get((rank.max(1) - 1).min(last));
    // The draws take the standard errors for known. For few samples they are not, as with Student's t.
    let single = t_quantile(points.samples());
    let quantile = quantile.map_or(f64::NAN, |of| of * single / normal_quantile());
    for point in &mut band {
        point.low = point.value - quantile * point.se;
        point.high = point.value + quantile * point.se;
    }
    Band {
        points: band,
        quantile,
        single,
        maxima,
    }
}

/// Σ over samples of the squared deviation of the difference of two points from its mean; NaN if one
/// is unusable.
fn squared_difference(points: &PointValues, a: usize, b: usize) -> f64 {
    let [first, second] = [a, b].map(|point| points.estimates()[point].value);
    let pairs = points.values(a).iter().zip(points.values(b));
    let deviations = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b) - (first - second));
    deviations.map(|deviation| deviation.powi(2)).sum()
}

/// Samples whose multipliers are in memory at once.
const SAMPLES: usize = 256;

/// Draws that are made together, by one thread.
const TOGETHER: usize = 125;

/// max_α |D*(α)|/sd(α) of each draw; empty if no point has a spread.
fn maxima(
    points: &PointValues,
    band: &[BandPoint],
    reference: Option<usize>,
    draws: &Draws,
) -> Vec<f64> {
    let taken: Vec<usize> = (0..band.len())
        .filter(|&point| band[point].se > 0.0)
        .collect();
    if taken.is_empty() {
        return Vec::new();
    }
    // The reference comes last, where it is subtracted from the others.
    let rows: Vec<Row> = taken
        .iter()
        .copied()
        .chain(reference)
        .map(|point| Row::new(points, point))
        .collect();
    // D*/sd is Σξ(d − d̄) over its standard deviation given the data, the root of Σ(d − d̄)² with the
    // imaginary samples. SE² is that sum over the divisor.
    let divisor = points.divisor().sqrt();
    let roots: Vec<f64> = taken
        .iter()
        .map(|&point| band[point].se * divisor)
        .collect();
    let mut seeds = Xoshiro256PlusPlus::seed_from_u64(draws.seed);
    let chunks = (0..draws.count).step_by(TOGETHER);
    let chunks: Vec<(usize, u64)> = chunks
        .map(|first| (TOGETHER.min(draws.count - first), seeds.next_u64()))
        .collect();
    let chunks = chunks.into_par_iter().map(|(count, seed)| {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let sums = products(&rows, points.samples(), count, &mut generator);
        let of_draw = |sums: &[f32]| {
            let imaginary =
                points.grain() * f64::from(multiplier(&mut generator) - multiplier(&mut generator));
            let sums: Vec<f64> = sums
                .iter()
                .zip(&rows)
                .map(|(sum, row)| f64::from(*sum) * row.scale)
                .collect();
            let subtracted = if reference.is_some() {
                sums[roots.len()]
            } else {
                0.0
            };
            let terms = sums.iter().zip(&roots);
            terms
                .map(|(sum, root)| (sum - subtracted + imaginary).abs() / root)
                .fold(0.0, f64::max)
        };
        sums.chunks(rows.len()).map(of_draw).collect::<Vec<f64>>()
    });
    chunks.flatten_iter().collect()
}

/// The deviations of a point from its mean: (value − mean)/scale is of size 1 in 32 bits.
struct Row<'a> {
    values: &'a [f32],
    mean: f64,
    scale: f64,
}

impl<'a> Row<'a> {
    fn new(points: &'a PointValues, point: usize) -> Self {
        let (values, mean) = (points.values(point), points.estimates()[point].value);
        let squares: f64 = values
            .iter()
            .map(|value| (f64::from(*value) - mean).powi(2))
            .sum();
        let scale = (squares / values.len() as f64).sqrt();
        // A point may be constant: its deviations are 0, whatever their unit.
        let scale = if scale > 0.0 { scale } else { 1.0 };
        Self {
            values,
            mean,
            scale,
        }
    }
}

/// Σ_s ξ_s·(value − mean)/scale for `count` draws of ξ: draw after draw, each with all rows.
fn products(
    rows: &[Row],
    samples: usize,
    count: usize,
    generator: &mut Xoshiro256PlusPlus,
) -> Vec<f32> {
    let mut sums = Array2::<f32>::zeros((count, rows.len()));
    let (mut multipliers, mut deviations) = (Vec::new(), Vec::new());
    for first in (0..samples).step_by(SAMPLES) {
        let width = SAMPLES.min(samples - first);
        multipliers.clear();
        multipliers.extend((0..count * width).map(|_| multiplier(generator)));
        deviations.clear();
        for row in rows {
            let values = &row.values[first..first + width];
            deviations.extend(
                values
                    .iter()
                    .map(|value| ((f64::from(*value) - row.mean) / row.scale) as f32),
            );
        }
        let shaped = (
            ArrayView2::from_shape((count, width), &multipliers),
            ArrayView2::from_shape((rows.len(), width), &deviations),
        );
        if let (Ok(multipliers), Ok(deviations)) = shaped {
            general_mat_mul(1.0, &multipliers, &deviations.t(), 1.0, &mut sums);
        }
    }
    sums.into_raw_vec_and_offset().0
}

/// A multiplier ξ: the number of ones among 64 random bits, minus 32, over 4. A binomial number that
/// stands for a normal one: mean 0, variance 1, symmetric, kurtosis 2.97. It is the same on all
/// machines and costs one random number.
fn multiplier(generator: &mut Xoshiro256PlusPlus) -> f32 {
    (generator.next_u64().count_ones() as f32 - 32.0) / 4.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::inference::normal_quantile;

    /// Values that look random: sin of squares.
    fn noise(point: usize, sample: usize) -> f64 {
        (((point * 31 + 17) * (sample + 3) * (sample + 7)) as f64 * 0.618).sin()
    }

    fn noisy(points: usize, samples: usize) -> PointValues {
        let mut values = PointValues::new(samples, None);
        for point in 0..points {
            values.push((0..samples).map(|sample| noise(point, sample)));
        }
        values
    }

    /// The 95 % quantile of the largest of `count` independent |normal|: Φ⁻¹((1 + 0.95^(1/count))/2).
    fn independent(count: usize) -> f64 {
        use statrs::distribution::{ContinuousCDF as _, Normal};
        Normal::standard().inverse_cdf(f64::midpoint(1.0, LEVEL.powf(1.0 / count as f64)))
    }

    #[test]
    fn the_quantile_is_that_of_the_largest_of_normal_numbers() {
        let draws = Draws {
            count: 4000,
            seed: 3,
        };
        // The 95 % quantile of 4000 draws has a standard error of 0.03 (√(0.05·0.95/4000) over the
        // density, about 0.11 for one point); 300 samples add correlations of ±0.06.
        for count in [1, 5, 20] {
            let found = around(&noisy(count, 300), &draws).quantile;
            assert!((found - independent(count)).abs() < 0.1, "{count}: {found}");
        }
    }

    #[test]
    fn equal_points_count_once() {
        let mut values = PointValues::new(300, None);
        for scale in 1..50 {
            values.push((0..300).map(|sample| f64::from(scale) * noise(0, sample) + 7.0));
        }
        let band = around(&values, &Draws::new(1));
        assert!(
            (band.quantile - normal_quantile()).abs() < 0.1,
            "{}",
            band.quantile
        );
        let (first, last) = (band.points[0], band.points[48]);
        // Values of 32 bits: 6e-8 of numbers up to 50.
        assert!(((last.high - last.low) / (first.high - first.low) - 49.0).abs() < 1e-4);
    }

    #[test]
    fn a_draw_is_what_the_formula_says() {
        // The same multipliers, summed one by one in 64 bits.
        let (points, samples, count) = (3, 700, 5);
        for grain in [None, Some(1.0)] {
            let mut values = PointValues::new(samples, grain);
            (0..points)
                .for_each(|point| values.push((0..samples).map(|sample| noise(point, sample))));
            let draws = Draws { count, seed: 9 };
            let mut band = around(&values, &draws).points;
            let found = maxima(&values, &band, None, &draws);
            let mut seeds = Xoshiro256PlusPlus::seed_from_u64(9);
            let mut generator = Xoshiro256PlusPlus::seed_from_u64(seeds.next_u64());
            let mut xi = vec![vec![0.0; samples]; count];
            for first in (0..samples).step_by(SAMPLES) {
                for xi in &mut xi {
                    let last = (first + SAMPLES).min(samples);
                    xi[first..last].fill_with(|| f64::from(multiplier(&mut generator)));
                }
            }
            for (xi, found) in xi.iter().zip(&found) {
                let extra = f64::from(multiplier(&mut generator) - multiplier(&mut generator));
                let extra = grain.unwrap_or(0.0) * extra;
                let of_point = |(point, at): (usize, &mut BandPoint)| {
                    let deviation = |s: usize| noise(point, s) - at.value;
                    let sum: f64 = (0..samples).map(|s| xi[s] * deviation(s)).sum();
                    let squares: f64 = (0..samples).map(|s| deviation(s).powi(2)).sum();
                    let squares = squares + 2.0 * grain.unwrap_or(0.0).powi(2);
                    (sum + extra).abs() / squares.sqrt()
                };
                let expected = band
                    .iter_mut()
                    .enumerate()
                    .map(of_point)
                    .fold(0.0, f64::max);
                // Sums of 700 products in 32 bits: √700 · 6e-8 relative to √700.
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn differences_are_those_of_values_that_were_subtracted() {
        let (samples, draws) = (500, Draws::new(4));
        let found = around_differences(&noisy(4, samples), 2, &draws);
        let mut subtracted = PointValues::new(samples, None);
        for point in 0..4 {
            subtracted.push((0..samples).map(|s| noise(point, s) - noise(2, s)));
        }
        let expected = around(&subtracted, &draws);
        for (found, expected) in found.points.iter().zip(&expected.points) {
            // Values of 32 bits.
            assert!((found.value - expected.value).abs() < 1e-15);
            assert!(
                found.se.is_nan() && expected.se.is_nan() || (found.se - expected.se).abs() < 1e-7
            );
        }
        assert_eq!(found.points[2].value, 0.0);
        assert!(found.points[2].low.is_nan());
        assert!((found.quantile - expected.quantile).abs() < 1e-4);
    }

    #[test]
    fn it_follows_from_the_seed_and_not_from_the_threads() {
        let values = noisy(7, 600);
        let pool = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
        };
        let [one, three] =
            [1, 3].map(|threads| pool(threads).install(|| around(&values, &Draws::new(5))));
        assert_eq!(one, three);
        assert_ne!(one.quantile, around(&values, &Draws::new(6)).quantile);
    }

    #[test]
    fn points_without_a_spread_are_no_part_of_a_band_of_losses_but_of_one_of_errors() {
        let mut losses = PointValues::new(200, None);
        losses.push([0.25; 200]);
        let alone = around(&losses, &Draws::new(0));
        assert!(alone.quantile.is_nan() && alone.points[0].high.is_nan() && alone.p(1.0).is_nan());
        losses.push((0..200).map(|s| noise(0, s)));
        losses.push((0..200).map(|s| if s == 7 { f64::NAN } else { 0.0 }));
        let band = around(&losses, &Draws::new(0));
        assert!(band.points[0].low.is_nan() && band.points[1].low < band.points[1].value);
        assert!(band.points[2].value.is_nan() && band.points[2].unusable == 1);
        let mut errors = PointValues::new(200, Some(1.0));
        errors.push([0.0; 200]);
        let band = around(&errors, &Draws::new(0));
        // √2/n · 1.96, and imaginary samples in place of n: 3 % for the quantile of 2000 draws.
        let expected = normal_quantile() * 2.0_f64.sqrt() / 201.5;
        assert!(
            (band.points[0].high / expected - 1.0).abs() < 0.06,
            "{band:?}"
        );
    }

    #[test]
    fn p_values_of_the_quantile_are_one_minus_the_level() {
        let band = around(&noisy(5, 300), &Draws::new(2));
        assert!((band.p(band.quantile) - 0.05).abs() < 0.001);
        assert!(band.p(0.0) == 1.0 && band.p(f64::NAN).is_nan());
        assert!((band.p(1e9) - 1.0 / 2001.0).abs() < 1e-15);
    }
}
