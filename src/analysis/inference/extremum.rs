//! The best point of a curve or a plane: its value without the luck of having been chosen, and the
//! points that may be as good.

use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;

use super::band::around_differences;
use super::points::PointValues;
use super::{Draws, Estimate, mean};

/// The smallest, or largest, mean value among points.
#[derive(Debug, Clone, PartialEq)]
pub struct Extremum {
    /// The points whose mean is exactly the extreme one, ascending: with counts of errors there are
    /// often several.
    pub tied: Vec<usize>,
    /// The extreme mean. It is too extreme on average: the point was chosen for it.
    pub value: f64,
    /// The value of each sample at the place that the *other half* of the samples chooses; NaN for
    /// fewer than 4 samples. A paired comparison with another model takes these values:
    /// [`difference`](super::paired::difference)`(&cross_fitted_values, other)`.
    pub cross_fitted_values: Vec<f64>,
    /// The mean of these values: place on one half, value on the other, both ways averaged. It is
    /// unbiased for the mean at the two places that were chosen, which is a little less extreme than
    /// the true extremum.
    pub cross_fitted: Estimate,
    /// The points that are not separated from the extreme one, itself included, ascending: those where
    /// 0 lies in the simultaneous band of the differences to it. The true best point is among them
    /// with [`LEVEL`](super::LEVEL), nearly: the band is that of the point chosen and not of the true
    /// one. (Hansen, Lunde and Nason, "The model confidence set", Econometrica 79, 2011, has the idea.)
    pub not_separated: Vec<usize>,
}

/// The smallest mean; none if no point is usable. Points with NaN or infinite values are passed over.
///
/// The halves are random, from the seed of the draws.
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
    let values = cross_fitted(points, &usable, draws.seed, sign);
    let mut estimate = mean(values.iter().copied());
    let n = values.len() as f64;
    estimate.se = points.standard_error(estimate.se.powi(2) * n * (n - 1.0));
    Some(Extremum {
        value: points.estimates()[first].value,
        not_separated: not_separated.collect(),
        tied,
        cross_fitted: estimate,
        cross_fitted_values: values,
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

/// The value of each sample where the other half of the samples has its extremum: the mean over ties.
fn cross_fitted(points: &PointValues, usable: &[usize], seed: u64, sign: f64) -> Vec<f64> {
    let samples = points.samples();
    let mut values = vec![f64::NAN; samples];
    if samples < 4 {
        return values;
    }
    let mut order: Vec<usize> = (0..samples).collect();
    order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    let (first, second) = order.split_at(samples / 2);
    for (chooses, is_valued) in [(first, second), (second, first)] {
        let mean_of = |point: &usize| {
            let values = points.values(*point);
            let sum: f64 = chooses.iter().map(|&s| f64::from(values[s])).sum();
            sum / chooses.len() as f64
        };
        let means: Vec<f64> = usable.iter().map(mean_of).collect();
        let places: Vec<usize> = smallest_of(&means, sign)
            .into_iter()
            .map(|at| usable[at])
            .collect();
        for &s in is_valued {
            let sum: f64 = places
                .iter()
                .map(|&point| f64::from(points.values(point)[s]))
                .sum();
            values[s] = sum / places.len() as f64;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut order: Vec<usize> = (0..samples).collect();
        order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(8));
        let halves = [order[..20].to_vec(), order[20..].to_vec()];
        let at = |point: usize, s: usize| f64::from(values.values(point)[s]);
        let mut sum = 0.0;
        for (chooses, valued) in [(0, 1), (1, 0)] {
            let total = |point: usize| halves[chooses].iter().map(|&s| at(point, s)).sum::<f64>();
            let place = (0..5)
                .min_by(|a, b| total(*a).total_cmp(&total(*b)))
                .unwrap();
            for &s in &halves[valued] {
                assert_eq!(found.cross_fitted_values[s], at(place, s));
                sum += at(place, s);
            }
        }
        assert!((found.cross_fitted.value - sum / 40.0).abs() < 1e-14);
        assert!(found.cross_fitted.value >= found.value);
        let paired = difference(&found.cross_fitted_values, &found.cross_fitted_values);
        assert_eq!((paired.value, paired.se), (0.0, 0.0));
    }

    #[test]
    fn no_error_at_the_best_point_has_a_standard_error() {
        let found = smallest(&wrong(682, &[0, 0, 50]), &Draws::new(0)).unwrap();
        assert_eq!((found.tied, found.not_separated), (vec![0, 1], vec![0, 1]));
        let se = (2.0_f64 / (683.0 * 684.0)).sqrt();
        assert!(found.cross_fitted.value == 0.0 && (found.cross_fitted.se - se).abs() < 1e-15);
    }

    #[test]
    fn unusable_points_are_passed_over_and_few_samples_have_no_halves() {
        let mut values = wrong(3, &[2]);
        values.push([f64::NAN, 0.0, 0.0]);
        let found = smallest(&values, &Draws::new(0)).unwrap();
        assert_eq!((found.tied, found.not_separated), (vec![0], vec![0]));
        assert!(found.cross_fitted.value.is_nan() && found.cross_fitted.se.is_nan());
        let mut none = PointValues::new(2, None);
        none.push([f64::NAN, 1.0]);
        assert!(smallest(&none, &Draws::new(0)).is_none());
    }
}
