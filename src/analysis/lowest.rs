//! The lowest point of a plane: how low it is without the luck of having been chosen, which other
//! points may be as low, and how far it lies below the models.

use super::inference::Draws;
use super::inference::extremum::smallest;
use super::inference::paired::difference;
use super::inference::points::PointValues;
use super::quantities::{points, values};
use crate::evaluate::outcomes::Outcomes;
use crate::result::panels::Quantity;
use crate::result::plane::{Below, Lowest};

/// A point this many paired standard errors above the lowest one is separated from it, however many
/// points there are: the quantile of a band over 10⁶ independent points is 5.3. What is left of the
/// points then decides about the rest (the first step of a step-down procedure, Romano and Wolf,
/// Econometrica 73, 2005).
const FAR: f64 = 6.0;

/// Most values (points × samples) that are held at once, 4 bytes each.
const MOST_VALUES: usize = 1 << 28;

/// Draws of the band: its quantile varies by 1.5 % with the seed.
const DRAWS: usize = 1000;

/// Collects points of a plane that are not far above its lowest one.
pub struct LowPoints {
    quantity: Quantity,
    lowest: Vec<f64>,
    /// Indices of the points.
    indices: Vec<usize>,
    points: PointValues,
    /// Whether there were too many to hold.
    is_full: bool,
}

impl LowPoints {
    /// Starts with the outcomes of the lowest point.
    pub fn new(quantity: Quantity, lowest: &Outcomes) -> Self {
        Self {
            quantity,
            lowest: values(quantity, lowest),
            indices: Vec::new(),
            points: points(quantity, lowest.len()),
            is_full: false,
        }
    }

    /// Adds a point of the plane, unless it lies far above the lowest one or has values that are
    /// not finite.
    pub fn add(&mut self, index: usize, outcomes: &Outcomes) {
        let here = values(self.quantity, outcomes);
        let above = difference(&here, &self.lowest);
        let is_far = above.se > 0.0 && above.value > FAR * above.se;
        if self.is_full || !above.value.is_finite() || is_far {
            return;
        }
        if (self.indices.len() + 1) * here.len() > MOST_VALUES {
            self.is_full = true;
            return;
        }
        self.indices.push(index);
        self.points.push(here);
    }

    /// What the samples say of the lowest point, and of its distance below each of `models`; `None`
    /// if too many points are as low.
    pub fn lowest(&self, models: &[(&str, &Outcomes)], seed: u64) -> Option<Lowest> {
        if self.is_full {
            return None;
        }
        let draws = Draws { count: DRAWS, seed };
        let found = smallest(&self.points, &draws)?;
        let first = *found.tied.first()?;
        let cross_fit = &found.cross_fit;
        let below = models.iter().map(|(name, outcomes)| {
            let of = cross_fit.minus(&values(self.quantity, outcomes), &self.points);
            Below {
                model: (*name).to_string(),
                delta: of.value,
                delta_se: of.se,
            }
        });
        let place = |at: &usize| self.indices[*at];
        Some(Lowest {
            value_se: self.points.estimates()[first].se,
            cross_fitted: cross_fit.estimate.value,
            cross_fitted_se: cross_fit.estimate.se,
            tied: found.tied.iter().map(place).collect(),
            not_separated: found.not_separated.iter().map(place).collect(),
            below: below.collect(),
        })
    }
}

/// Paired standard error of the difference between a point and its neighbours, as the root mean
/// square over them; `None` without a neighbour whose difference has one.
pub fn neighbor_se(quantity: Quantity, point: &Outcomes, neighbors: &[Outcomes]) -> Option<f64> {
    let here = values(quantity, point);
    let mut above = points(quantity, point.len());
    for neighbor in neighbors {
        let there = values(quantity, neighbor);
        above.push(there.iter().zip(&here).map(|(there, here)| there - here));
    }
    let squares = above.estimates().iter().map(|of| of.se.powi(2));
    let squares: Vec<f64> = squares.filter(|square| square.is_finite()).collect();
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    (!squares.is_empty()).then(|| mean.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metrics::Outcome;

    /// Outcomes around a mean loss that differ by sample alike everywhere and a little by point; the
    /// first `wrong` samples are wrong.
    fn outcomes(loss: f64, wrong: usize, point: usize) -> Outcomes {
        let sample = |s: usize| {
            let own = 0.1 * ((s * (point + 2)) as f64).sin();
            Outcome {
                loss: loss + f64::from(u8::from(s.is_multiple_of(2))) + own,
                correct: s >= wrong,
            }
        };
        (0..600).map(sample).collect()
    }

    #[test]
    fn the_noise_of_a_shape_is_paired_and_never_0_for_errors() {
        // The neighbour is wrong on 4 samples more of 600, nothing else differs: with two imaginary
        // samples, variance (4·(1 − 4/600) + 2)/(601·602).
        let (here, there) = (outcomes(1.0, 60, 1), outcomes(1.0, 64, 1));
        let se = neighbor_se(Quantity::Error, &here, std::slice::from_ref(&there)).unwrap();
        let squares = 4.0_f64 - 16.0 / 600.0;
        assert!(
            (se - ((squares + 2.0) / (601.0 * 602.0)).sqrt()).abs() < 1e-9,
            "{se}"
        );
        let equal = [here.clone()];
        assert!(neighbor_se(Quantity::Error, &here, &equal).unwrap() > 0.0);
        assert_eq!(neighbor_se(Quantity::Loss, &here, &equal), None);
        assert_eq!(neighbor_se(Quantity::Error, &here, &[]), None);
        // A loss that is higher by the same on all samples has a height with noise, and a shape
        // without.
        let shifted = neighbor_se(Quantity::Loss, &here, &[outcomes(1.5, 60, 1)]);
        assert!(shifted.is_none_or(|se| se < 1e-7), "{shifted:?}");
    }

    #[test]
    fn far_points_are_left_out_and_near_ones_are_not_separated() {
        // Points 1 and 2 are alike but for 0.1·sin/√600 ≈ 0.003; point 0 is far.
        let all = [
            outcomes(2.0, 300, 0),
            outcomes(1.0, 60, 1),
            outcomes(1.001, 60, 2),
        ];
        let mut low = LowPoints::new(Quantity::Loss, &all[1]);
        all.iter().enumerate().for_each(|(at, of)| low.add(at, of));
        assert_eq!(low.indices, [1, 2]);
        let found = low
            .lowest(&[("far", &all[0]), ("self", &all[1])], 0)
            .unwrap();
        assert_eq!(found.not_separated, [1, 2]);
        assert!((found.cross_fitted - 1.5).abs() < 0.01);
        assert!((found.below[0].delta + 1.0).abs() < 0.02 && found.below[0].delta_se < 0.01);
        assert!(found.below[1].delta.abs() < 0.01);
        // Of errors the two are tied.
        let mut low = LowPoints::new(Quantity::Error, &all[1]);
        all.iter().enumerate().for_each(|(at, of)| low.add(at, of));
        let found = low.lowest(&[], 0).unwrap();
        assert_eq!(found.tied, [1, 2]);
        // The mean of ten splits.
        assert!((found.cross_fitted - 0.1).abs() < 1e-12);
        assert!(found.value_se > 0.012 && found.value_se < 0.0125);
    }
}
