//! The best point of a curve or a plane: its value without the luck of having been chosen, and the
//! points that may be as good.

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rayon::prelude::*;

use super::band::{Band, BandPoint, around_differences};
use super::points::PointValues;
use super::{Draws, Estimate, Interval, mean};

/// The smallest, or largest, mean value among points.
#[derive(Debug, Clone, PartialEq)]
pub struct Extremum {
    /// The points whose mean is exactly the extreme one, ascending: with counts of errors there are
    /// often several.
    pub tied: Vec<usize>,
    /// The extreme mean. It is too extreme on average: the point was chosen for it.
    pub value: f64,
    /// Its value without the luck of having been chosen.
    pub cross_fit: CrossFit,
    /// The points that are not separated from the extreme one, itself included, ascending: those where
    /// 0 lies in the simultaneous band of the differences to it. The true best point is among them
    /// with [`LEVEL`](super::LEVEL), nearly: the band is that of the point chosen and not of the true
    /// one. (Hansen, Lunde and Nason, "The model confidence set", Econometrica 79, 2011, has the idea.)
    pub not_separated: Vec<usize>,
}

/// The value at the extremum by cross-fitting: one half of the samples chooses the place, the other half
/// says its value, and the other way round; on average over ten random splits into halves.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossFit {
    /// The points that halves chose, ascending, each with the share of the halves; ties of a half count
    /// in equal parts. Empty for fewer than 4 samples.
    pub chosen: Vec<(usize, f64)>,
    /// `splits[split]`: the value of each sample at the place that the half *without* it chose; none for
    /// fewer than 4 samples.
    splits: Vec<Vec<f64>>,
    /// The mean of the values. It is unbiased for the true mean at the chosen places. The true extremum
    /// is more extreme by the price of not knowing the place: [`interval_of_smallest`] makes up for it.
    ///
    /// The standard error is that of one split (the root of the mean over splits of its square): the
    /// average varies a little less, which covers that both halves choose by chance.
    pub estimate: Estimate,
}

/// An interval of the true smallest mean, from the band [`around`](super::band::around) the means:
/// min_α (mean − t·se) to min_α (mean + c·se), the mirror image of a
/// [`Rise`](super::barrier::Rise)'s. It holds the smallest mean with at least
/// [`LEVEL`](super::LEVEL). Points that are no part of the band are passed over; none if no point is.
pub fn interval_of_smallest(band: &Band) -> Interval {
    let smallest =
        |end: &dyn Fn(&BandPoint) -> f64| band.points.iter().map(end).fold(f64::NAN, f64::min);
    Interval {
        low: smallest(&|point| point.value - band.single * point.se),
        high: smallest(&|point| point.high),
    }
}

/// The smallest mean; none if no point is usable. Points with NaN or infinite values are passed over.
///
/// The halves are random, from the seed of the draws. The time is that of [`around_differences`].
pub fn smallest(points: &PointValues, draws: &Draws) -> Option<Extremum> {
    extremum(points, draws, 1.0)
}

/// The largest mean; otherwise as [`smallest`].
pub fn largest(points: &PointValues, draws: &Draws) -> Option<Extremum> {
    extremum(points, draws, -1.0)
}

/// The smallest of `sign` × mean.
fn extremum(points: &PointValues, draws: &Draws, sign: f64) -> Option<Extremum> {
    let usable: Vec<usize> = (0..points.estimates().len())
        .filter(|&point| points.estimates()[point].value.is_finite())
        .collect();
    let means: Vec<f64> = usable
        .iter()
        .map(|&point| points.estimates()[point].value)
        .collect();
    let tied: Vec<usize> = smallest_of(&means, sign)
        .into_iter()
        .map(|at| usable[at])
        .collect();
    let first = *tied.first()?;
    let band = around_differences(points, first, draws);
    let not_separated = usable.iter().copied().filter(|&point| {
        let point_of_band = &band.points[point];
        // Sign × the end that is nearer to 0. A point without a spread equals the extreme one in all
        // samples, or differs from it by the same everywhere.
        let nearest = if sign > 0.0 {
            point_of_band.low
        } else {
            -point_of_band.high
        };
        if nearest.is_nan() {
            point_of_band.value == 0.0
        } else {
            nearest <= 0.0
        }
    });
    Some(Extremum {
        value: points.estimates()[first].value,
        not_separated: not_separated.collect(),
        tied,
        cross_fit: cross_fit(points, &usable, draws.seed, sign),
    })
}

/// Where sign × mean is smallest, ties included; values that are equal but for rounding are not tied.
fn smallest_of(means: &[f64], sign: f64) -> Vec<usize> {
    let least = means
        .iter()
        .map(|mean| sign * mean)
        .fold(f64::INFINITY, f64::min);
    (0..means.len())
        .filter(|&at| sign * means[at] == least)
        .collect()
}

/// Splits into halves. The average over them varies less than one split does.
const SPLITS: usize = 10;

fn cross_fit(points: &PointValues, usable: &[usize], seed: u64, sign: f64) -> CrossFit {
    let samples = points.samples();
    let few = samples < 4;
    let mut chosen = BTreeMap::new();
    let mut splits = Vec::new();
    let mut order: Vec<usize> = (0..samples).collect();
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    for _ in 0..if few { 0 } else { SPLITS } {
        order.shuffle(&mut generator);
        let (first, second) = order.split_at(samples / 2);
        let mut split = vec![0.0; samples];
        for (chooses, says) in [(first, second), (second, first)] {
            let places = place(points, usable, chooses, sign);
            let part = 1.0 / places.len() as f64;
            for &point in &places {
                *chosen.entry(point).or_insert(0.0) += part / (2 * SPLITS) as f64;
                let at_point = points.values(point);
                says.iter()
                    .for_each(|&s| split[s] += part * f64::from(at_point[s]));
            }
        }
        splits.push(split);
    }
    CrossFit {
        estimate: over_splits(points, &splits, |_| 0.0),
        chosen: chosen.into_iter().collect(),
        splits,
    }
}

impl CrossFit {
    /// The value minus that of another model, from its value of each sample, `other[sample]`. The
    /// standard error is paired, and that of one split, as the estimate's is. `points` are those of the
    /// extremum.
    pub fn minus(&self, other: &[f64], points: &PointValues) -> Estimate {
        over_splits(points, &self.splits, |sample| other[sample])
    }
}

/// The mean over splits and samples of what is left of each value, and the root of the mean over splits
/// of its squared standard error. NaN without a split.
fn over_splits(
    points: &PointValues,
    splits: &[Vec<f64>],
    subtracted: impl Fn(usize) -> f64,
) -> Estimate {
    let samples = points.samples();
    let (mut value, mut variance) = (0.0, 0.0);
    for split in splits {
        let values = split.iter().enumerate();
        let of_split = mean(values.map(|(sample, value)| value - subtracted(sample)));
        let squares = of_split.se.powi(2) * (samples * (samples - 1)) as f64;
        value += of_split.value;
        variance += points.standard_error(squares).powi(2);
    }
    let count = splits.len() as f64;
    Estimate {
        value: value / count,
        se: (variance / count).sqrt(),
        samples,
        unusable: 0,
    }
}

/// The usable points whose mean over some samples is extreme.
fn place(points: &PointValues, usable: &[usize], samples: &[usize], sign: f64) -> Vec<usize> {
    let mean_of = |point: &usize| {
        let values = points.values(*point);
        samples.iter().map(|&s| f64::from(values[s])).sum::<f64>() / samples.len() as f64
    };
    let means: Vec<f64> = usable.par_iter().map(mean_of).collect();
    smallest_of(&means, sign)
        .into_iter()
        .map(|at| usable[at])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::inference::band::around;
    use crate::analysis::inference::barrier::Rise;
    use crate::analysis::inference::paired::difference;

    /// Errors at each point: the samples below `count` are wrong.
    fn wrong(samples: usize, counts: &[usize]) -> PointValues {
        let mut values = PointValues::new(samples, Some(1.0));
        for &count in counts {
            values.push((0..samples).map(|s| f64::from(u8::from(s < count))));
        }
        values
    }

    #[test]
    fn equal_counts_are_tied_and_what_is_far_is_separated() {
        // Point 2 has as many errors as point 1, on other samples.
        let mut values = wrong(1000, &[300, 20]);
        values.push((0..1000).map(|s| f64::from(u8::from(s >= 980))));
        values.push((0..1000).map(|s| f64::from(u8::from(s < 23))));
        let found = smallest(&values, &Draws::new(0)).unwrap();
        assert_eq!(found.tied, [1, 2]);
        assert_eq!(found.value, 0.02);
        // Three errors more, all on one side: (3 ± c·√5) of 1000.
        assert_eq!(found.not_separated, [1, 2, 3]);
        let found = largest(&values, &Draws::new(0)).unwrap();
        assert_eq!((found.tied, found.not_separated), (vec![0], vec![0]));
    }

    #[test]
    fn each_half_is_valued_where_the_other_is_smallest() {
        let samples = 40;
        let mut values = PointValues::new(samples, None);
        for point in 0..5 {
            values.push((0..samples).map(|s| ((point * 13 + 5) as f64 * (s as f64 + 0.3)).sin()));
        }
        let found = smallest(&values, &Draws::new(8)).unwrap();
        let at = |point: usize, s: usize| f64::from(values.values(point)[s]);
        let mut expected = vec![0.0; samples];
        let mut chosen = [0.0; 5];
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(8);
        let mut order: Vec<usize> = (0..samples).collect();
        for _ in 0..SPLITS {
            order.shuffle(&mut generator);
            let halves = [&order[..20], &order[20..]];
            for (chooses, says) in [(0, 1), (1, 0)] {
                let total =
                    |point: usize| halves[chooses].iter().map(|&s| at(point, s)).sum::<f64>();
                let place = (0..5)
                    .min_by(|a, b| total(*a).total_cmp(&total(*b)))
                    .unwrap();
                chosen[place] += 0.5 / SPLITS as f64;
                halves[says]
                    .iter()
                    .for_each(|&s| expected[s] += at(place, s) / SPLITS as f64);
            }
        }
        let off = |(found, expected): (&f64, &f64)| (found - expected).abs();
        let fit = &found.cross_fit;
        let mean_over_splits = |sample: usize| {
            let values = fit.splits.iter().map(|split| split[sample]);
            values.sum::<f64>() / SPLITS as f64
        };
        let averaged: Vec<f64> = (0..samples).map(mean_over_splits).collect();
        assert!(
            averaged
                .iter()
                .zip(&expected)
                .map(off)
                .all(|off| off < 1e-14)
        );
        assert!(
            fit.chosen
                .iter()
                .all(|(point, share)| (share - chosen[*point]).abs() < 1e-14)
        );
        assert!((fit.chosen.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-14);
        let paired = fit.minus(&expected, &values);
        assert!(paired.value.abs() < 1e-14 && fit.estimate.value >= found.value);
        // Of one split: the value is the average over ten, which varies less.
        let of_average = difference(&averaged, &vec![0.0; samples]);
        assert!(fit.minus(&vec![0.0; samples], &values).se >= of_average.se);
    }

    #[test]
    fn the_interval_of_the_minimum_mirrors_that_of_a_rise() {
        let (mut values, mut mirrored) = (PointValues::new(60, None), PointValues::new(60, None));
        for point in 0..5 {
            let value = |s: usize| ((point * 13 + 5) as f64 * (s as f64 + 0.3)).sin();
            values.push((0..60).map(value));
            mirrored.push((0..60).map(|s| -value(s)));
        }
        let found = interval_of_smallest(&around(&values, &Draws::new(0)));
        let rise = Rise::largest(&around(&mirrored, &Draws::new(0))).unwrap();
        assert!((found.low + rise.high).abs() < 1e-12 && (found.high + rise.low).abs() < 1e-12);
        assert!(found.contains(smallest(&values, &Draws::new(0)).unwrap().value));
    }

    #[test]
    fn no_error_at_the_best_point_has_a_standard_error() {
        let found = smallest(&wrong(682, &[0, 0, 50]), &Draws::new(0)).unwrap();
        assert_eq!((found.tied, found.not_separated), (vec![0, 1], vec![0, 1]));
        assert_eq!(found.cross_fit.chosen.len(), 2);
        assert!(
            found
                .cross_fit
                .chosen
                .iter()
                .all(|(_, share)| (share - 0.5).abs() < 1e-14)
        );
        let se = (2.0_f64 / (683.0 * 684.0)).sqrt();
        assert!(
            found.cross_fit.estimate.value == 0.0
                && (found.cross_fit.estimate.se - se).abs() < 1e-15
        );
    }

    #[test]
    fn unusable_points_are_passed_over_and_few_samples_have_no_halves() {
        let mut values = wrong(3, &[2]);
        values.push([f64::NAN, 0.0, 0.0]);
        let found = smallest(&values, &Draws::new(0)).unwrap();
        assert_eq!((found.tied, found.not_separated), (vec![0], vec![0]));
        assert!(found.cross_fit.estimate.value.is_nan() && found.cross_fit.estimate.se.is_nan());
        let mut none = PointValues::new(2, None);
        none.push([f64::NAN, 1.0]);
        assert!(smallest(&none, &Draws::new(0)).is_none());
    }
}
