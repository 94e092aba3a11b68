//! The path from one checkpoint to another, straight or through others: soups and ensembles at
//! every point, and the barriers between them (Frankle et al. 2020, Entezari et al. 2022).

use super::inference::Draws;
use super::inference::band::{Band, around};
use super::inference::barrier::{self, tolerance};
use super::inference::paired::contrast_values;
use super::inference::points::PointValues;
use super::quantities::{points, values};
use crate::analysis::inference::mean;
use crate::evaluate::outcomes::Outcomes;
use crate::result::line::{Barrier, Rise, Verdict};
use crate::result::panels::Quantity;
use crate::space::mix::Mix;

/// A sequence of checkpoints, and the positions between them at which models are evaluated.
///
/// α = k is the k-th checkpoint, counted from 0; between k and k + 1 the model is (1−t)·θ_k +
/// t·θ_{k+1} with t = α − k. Beyond the ends, the first and the last segment are extended.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointPath {
    /// The checkpoints, as members of the pool.
    pub nodes: Vec<usize>,
    /// Positions to evaluate, ascending.
    pub alphas: Vec<f64>,
}

impl CheckpointPath {
    /// The two checkpoints around α, by their index on the path, with their weights.
    pub fn weights(&self, alpha: f64) -> [(usize, f64); 2] {
        let last = self.nodes.len() - 2;
        let from = (alpha.floor().max(0.0) as usize).min(last);
        let t = alpha - from as f64;
        [(from, 1.0 - t), (from + 1, t)]
    }

    /// The mixes to evaluate, for a pool of `members`: one per α, then the checkpoints.
    pub fn mixes(&self, members: usize) -> Vec<Mix> {
        let mix = |alpha: &f64| {
            let weights = self.weights(*alpha);
            Mix::over(
                &weights.map(|(node, weight)| (self.nodes[node], weight)),
                members,
            )
        };
        let nodes = self.nodes.iter().map(|&node| Mix::unit(node, members));
        self.alphas.iter().map(mix).chain(nodes).collect()
    }
}

/// The baseline from which a rise is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The straight line between the ends: Entezari et al.
    Chord,
    /// The mean of the ends: Frankle et al.
    Mean,
}

/// The rises of a path on one data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Rises {
    /// The largest.
    pub barrier: Barrier,
    /// `points[α]`: the rise of each soup, with its band; NaN at and beyond the checkpoints.
    pub points: Vec<Rise>,
}

/// An α this close to a checkpoint is the checkpoint's own, up to rounding: `--alpha -0.3:1.3:17`
/// has a point at 5.6e-17.
const SAME: f64 = 1e-9;

impl CheckpointPath {
    /// Whether a soup lies strictly between two checkpoints. At a checkpoint the soup is the
    /// checkpoint, and its rise over the chord is 0 by definition.
    fn is_inside(&self, alpha: f64) -> bool {
        let pieces = (self.nodes.len() - 1) as f64;
        (0.0..pieces).contains(&alpha) && (alpha - alpha.round()).abs() > SAME
    }

    /// The rises of a quantity over `base`, from the outcomes of the soups and of the checkpoints on
    /// the same samples of one data set, with their simultaneous band. The barrier is the largest
    /// rise strictly between two checkpoints, possibly negative; without such a point there is none.
    ///
    /// Over the mean of the ends, the ends count too, as published: see [`Barrier::at_end`].
    ///
    /// # Panics
    /// Panics when the models have different samples.
    pub fn rises(
        &self,
        (soups, ends): (&[Outcomes], &[Outcomes]),
        (base, quantity): (Base, Quantity),
        draws: &Draws,
    ) -> Rises {
        let samples = ends.first().map_or(0, Outcomes::len);
        let mut rises = points(quantity, samples);
        let ends: Vec<Vec<f64>> = ends.iter().map(|of| values(quantity, of)).collect();
        let (mut places, mut sums) = (Vec::new(), Vec::new());
        for (index, &alpha) in self.alphas.iter().enumerate() {
            if !self.is_inside(alpha) {
                continue;
            }
            let soup = values(quantity, &soups[index]);
            let [(from, first), (to, second)] = self.weights(alpha);
            let weights = match base {
                Base::Chord => [first, second],
                Base::Mean => [0.5; 2],
            };
            let terms = [
                (1.0, soup.as_slice()),
                (-weights[0], &ends[from]),
                (-weights[1], &ends[to]),
            ];
            sums.push((contrast_values(&terms).sum(), alpha));
            rises.push(contrast_values(&terms));
            places.push(Place::Between(index));
        }
        let mut of_soups = vec![Rise::NONE; self.alphas.len()];
        if places.is_empty() {
            let barrier = Barrier::UNMEASURED;
            return Rises {
                barrier,
                points: of_soups,
            };
        }
        if base == Base::Mean {
            // Last: on a tie the end is kept, as the path does not rise above it.
            self.push_ends(&ends, &mut rises, &mut places);
        }
        let band = around(&rises, draws);
        for (place, point) in places.iter().zip(&band.points) {
            if let Place::Between(index) = place {
                of_soups[*index] = Rise {
                    value: point.value,
                    low: point.low,
                    high: point.high,
                };
            }
        }
        let of_ends = ends.iter().map(|end| mean(end.iter().copied()).value);
        let of_ends: Vec<f64> = of_ends.collect();
        let barrier = infinite(&sums).unwrap_or_else(|| self.barrier(&band, &places, &of_ends));
        Rises {
            barrier,
            points: of_soups,
        }
    }

    /// Adds the rises of the checkpoints over the mean of the ends of each of their segments.
    fn push_ends(&self, ends: &[Vec<f64>], rises: &mut PointValues, places: &mut Vec<Place>) {
        for from in 0..self.nodes.len() - 1 {
            for (at, [first, second]) in [(from, [0.5, -0.5]), (from + 1, [-0.5, 0.5])] {
                let terms = [(first, &*ends[from]), (second, &*ends[from + 1])];
                rises.push(contrast_values(&terms));
                places.push(Place::At(at));
            }
        }
    }

    /// The largest rise of a band, and what its interval says.
    fn barrier(&self, band: &Band, places: &[Place], ends: &[f64]) -> Barrier {
        let Some(rise) = barrier::Rise::largest(band) else {
            return Barrier::UNMEASURED;
        };
        let (alpha, at_end) = match places[rise.at] {
            Place::Between(index) => (self.alphas[index], false),
            Place::At(node) => (node as f64, true),
        };
        let [(from, _), (to, _)] = self.weights(alpha);
        let verdict = match rise.verdict(tolerance([ends[from], ends[to]])) {
            barrier::Verdict::Barrier => Verdict::Barrier,
            barrier::Verdict::NoneAbove(_) => Verdict::NoneLarger,
            barrier::Verdict::Undecided => Verdict::Undecided,
        };
        Barrier {
            height: rise.height,
            se: rise.se,
            low: rise.low,
            high: rise.high,
            alpha,
            at_end,
            verdict,
        }
    }
}

/// The barrier at the first α whose sum of rises is infinite, unless one is no number: a soup with
/// an infinite loss between ends of finite loss needs no interval.
fn infinite(sums: &[(f64, f64)]) -> Option<Barrier> {
    if sums.iter().any(|(sum, _)| sum.is_nan()) {
        return None;
    }
    let highest = sums.iter().find(|(sum, _)| *sum == f64::INFINITY);
    highest.map(|(height, alpha)| Barrier {
        height: *height,
        alpha: *alpha,
        verdict: Verdict::Barrier,
        ..Barrier::UNMEASURED
    })
}

/// Where a rise was measured.
enum Place {
    /// At a soup between two checkpoints, by the index of its α.
    Between(usize),
    /// At a checkpoint, by its index on the path.
    At(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Evaluator;
    use crate::evaluate::metrics::Outcome;
    use crate::evaluate::quadratic::Quadratic;
    use crate::result::grid::linspace;
    use crate::space::testing::pool;

    /// Losses of 400 samples around a mean, which differ by sample alike in all models, and a little
    /// by model.
    fn outcomes(loss: f64) -> Outcomes {
        // The sine of an infinity is no number.
        let own = |s: usize| {
            if loss.is_finite() {
                ((s as f64) * loss).sin()
            } else {
                0.0
            }
        };
        let sample = |s: usize| Outcome {
            loss: loss + if s.is_multiple_of(2) { 0.5 } else { -0.5 } + 0.01 * own(s),
            correct: (s as f64) >= 40.0 * loss,
        };
        (0..400).map(sample).collect()
    }

    fn rises(path: &CheckpointPath, soups: &[f64], ends: &[f64], base: Base) -> Rises {
        let soups: Vec<Outcomes> = soups.iter().map(|loss| outcomes(*loss)).collect();
        let ends: Vec<Outcomes> = ends.iter().map(|loss| outcomes(*loss)).collect();
        path.rises((&soups, &ends), (base, Quantity::Loss), &Draws::new(0))
    }

    #[test]
    fn mixes_run_through_all_checkpoints_and_beyond() {
        let path = CheckpointPath {
            nodes: vec![1, 0, 2],
            alphas: vec![-0.5, 0.0, 0.25, 1.0, 1.5, 2.0, 2.5],
        };
        let mixes = path.mixes(3);
        let expected = [
            [-0.5, 1.5, 0.0],
            [0.0, 1.0, 0.0],
            [0.25, 0.75, 0.0],
            [1.0, 0.0, 0.0],
            [0.5, 0.0, 0.5],
            [0.0, 0.0, 1.0],
            [-0.5, 0.0, 1.5],
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0],
        ];
        for (mix, expected) in mixes.iter().zip(expected) {
            assert_eq!(mix.row(0), expected);
        }
    }

    #[test]
    fn barriers_by_both_definitions_in_closed_form() {
        let path = CheckpointPath {
            nodes: vec![0, 1],
            alphas: vec![-1.0, 0.0, 0.25, 0.5, 0.75, 1.0],
        };
        // The ends are 1 and 3; at ¾ the chord is 2.5 and the mean 2. The sines add 0.01/√400 ·
        // √(½ + …) at most, and the losses are stored as f32.
        let (soups, ends) = ([9.0, 1.0, 2.0, 2.6, 3.4, 3.0], [1.0, 3.0]);
        let chord = rises(&path, &soups, &ends, Base::Chord);
        let barrier = chord.barrier;
        assert!((barrier.height - 0.9).abs() < 2e-3 && barrier.alpha == 0.75);
        assert_eq!(barrier.verdict, Verdict::Barrier);
        // The half that all models share is gone: unpaired it would be 0.5/√400.
        assert!(barrier.se < 1e-3 && barrier.low > 0.89 && barrier.high < 0.91);
        let known = chord.points.iter().map(|rise| rise.value.is_finite());
        assert!(known.eq([false, false, true, true, true, false]));
        let mean = rises(&path, &soups, &ends, Base::Mean).barrier;
        assert!((mean.height - 1.4).abs() < 2e-3 && mean.alpha == 0.75);
        assert!(!mean.at_end);
    }

    #[test]
    fn the_largest_rise_is_told_where_it_is_negative_too() {
        let path = CheckpointPath {
            nodes: vec![0, 1],
            alphas: vec![0.0, 0.25, 0.5, 0.75, 1.0],
        };
        let ends = [1.0, 3.0];
        // Below the chord by 0.5, 0.25 and 0.5.
        let soups = [1.0, 1.0, 1.75, 2.0, 3.0];
        let chord = rises(&path, &soups, &ends, Base::Chord).barrier;
        assert!((chord.height + 0.25).abs() < 2e-3 && chord.alpha == 0.5);
        assert!(chord.high < -0.24 && chord.verdict == Verdict::NoneLarger);
        // Over the mean of the ends the higher end is highest, by half their difference; there the
        // soup and the end are the same model.
        let mean = rises(&path, &soups, &ends, Base::Mean).barrier;
        assert!((mean.height - 1.0).abs() < 2e-3);
        assert_eq!((mean.alpha, mean.at_end), (1.0, true));
        // An interior point must be above it.
        for (value, at_end) in [(3.0, true), (3.5, false)] {
            let soups = [1.0, 1.0, value, 2.0, 3.0];
            let mean = rises(&path, &soups, &ends, Base::Mean).barrier;
            assert!((mean.height - (value - 2.0)).abs() < 2e-3);
            assert_eq!(mean.at_end, at_end);
        }
    }

    #[test]
    fn without_a_point_between_the_checkpoints_nothing_is_told() {
        let rounded = vec![0.0, 5.6e-17, 1.0 - 1e-16, 1.0, 2.0];
        for alphas in [vec![0.0, 1.0, 2.0], vec![-0.5, 2.5], rounded] {
            let soups = vec![9.0; alphas.len()];
            let nodes = vec![0, 1, 2];
            let path = CheckpointPath { nodes, alphas };
            for base in [Base::Chord, Base::Mean] {
                let barrier = rises(&path, &soups, &[1.0, 3.0, 2.0], base).barrier;
                assert!(barrier.height.is_nan() && barrier.se.is_nan() && barrier.alpha.is_nan());
                assert_eq!(barrier.verdict, Verdict::Undecided);
            }
        }
    }

    #[test]
    fn every_checkpoint_of_a_path_is_an_end_of_both_its_pieces() {
        let path = CheckpointPath {
            nodes: vec![0, 1, 2],
            alphas: vec![0.0, 0.5, 1.0, 1.5, 2.0],
        };
        // α = 1 is 2 above the mean of the first segment and ½ above that of the second.
        let soups = [1.0, 2.0, 5.0, 4.0, 4.0];
        let mean = rises(&path, &soups, &[1.0, 5.0, 4.0], Base::Mean).barrier;
        assert!((mean.height - 2.0).abs() < 2e-3);
        assert_eq!((mean.alpha, mean.at_end), (1.0, true));
    }

    #[test]
    fn errors_count_samples_and_never_have_a_standard_error_of_zero() {
        let path = CheckpointPath {
            nodes: vec![0, 1],
            alphas: vec![0.0, 0.5, 1.0],
        };
        let all: Vec<Outcomes> = [1.0, 1.0, 1.0].map(outcomes).to_vec();
        let draws = Draws::new(0);
        let quantity = (Base::Chord, Quantity::Error);
        let same = path.rises((&all, &all[..2]), quantity, &draws).barrier;
        assert_eq!((same.height, same.verdict), (0.0, Verdict::NoneLarger));
        assert!(same.se > 0.0 && same.high > 0.0);
        // 40 and 80 wrong of 400, the soup has 100: 40/400 above the chord.
        let [soup, b] = [2.5, 2.0].map(outcomes);
        let soups = [all[0].clone(), soup, b.clone()];
        let found = path.rises((&soups, &[all[0].clone(), b]), quantity, &draws);
        assert!((found.barrier.height - 0.1).abs() < 1e-12);
        assert_eq!(found.barrier.verdict, Verdict::Barrier);
    }

    #[test]
    fn a_rise_that_cannot_be_measured_is_no_number() {
        let path = CheckpointPath {
            nodes: vec![0, 1],
            alphas: vec![0.25, 0.5, 0.75],
        };
        for base in [Base::Chord, Base::Mean] {
            let barrier = rises(&path, &[1.0, f64::NAN, 9.0], &[1.0, 3.0], base).barrier;
            assert!(barrier.height.is_nan() && barrier.alpha == 0.5);
            assert_eq!(barrier.verdict, Verdict::Undecided);
            // An infinite end leaves nothing to compare with.
            let ends = [1.0, f64::INFINITY];
            let barrier = rises(&path, &[1.0, f64::INFINITY, 9.0], &ends, base).barrier;
            assert!(barrier.height.is_nan() && barrier.verdict == Verdict::Undecided);
        }
        let soups = [1.0, f64::INFINITY, 9.0];
        let barrier = rises(&path, &soups, &[1.0, 3.0], Base::Chord).barrier;
        assert_eq!((barrier.height, barrier.alpha), (f64::INFINITY, 0.5));
        assert!(barrier.verdict == Verdict::Barrier && barrier.low.is_nan());
    }

    #[test]
    fn a_quadratic_loss_has_no_barrier_and_bends_as_its_formula() {
        let pool = pool(&[&[0.0, 0.0], &[2.0, 1.0], &[-1.0, 3.0]]);
        let evaluator = Quadratic::new(&pool, vec![0.5, 0.5], vec![2.0, 1.0], 0.1);
        let path = CheckpointPath {
            nodes: vec![1, 2],
            alphas: linspace(0.0, 1.0, 9),
        };
        let answers = evaluator.evaluate(&path.mixes(3), &()).unwrap();
        let losses: Vec<f64> = answers.scores.iter().map(|sets| sets[0].loss).collect();
        let (soups, ends) = losses.split_at(9);
        let outcomes = path.mixes(3).into_iter();
        let outcomes = outcomes.map(|mix| evaluator.outcomes(&mix, 0, 1).unwrap().unwrap());
        let outcomes: Vec<Outcomes> = outcomes.collect();
        let chord = (Base::Chord, Quantity::Loss);
        let barrier = path
            .rises(outcomes.split_at(9), chord, &Draws::new(0))
            .barrier;
        // −α(1−α)/2·δᵀHδ at the points next to the ends, α = ⅛ and ⅞; losses are stored as f32.
        assert!((barrier.height + 7.0 / 128.0 * 22.0).abs() < 1e-5);
        assert!([0.125, 0.875].contains(&barrier.alpha));
        // L(α) = chord − α(1−α)/2·δᵀHδ, δ = (−3, 2).
        for (alpha, soup) in path.alphas.iter().zip(soups) {
            let chord = (1.0 - alpha) * ends[0] + alpha * ends[1];
            let expected = chord - alpha * (1.0 - alpha) / 2.0 * (2.0 * 9.0 + 4.0);
            assert!((soup - expected).abs() < 1e-12);
        }
    }
}
