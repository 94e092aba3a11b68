//! The path from one checkpoint to another, straight or through others: soups and ensembles at
//! every point, and the barriers between them (Frankle et al. 2020, Entezari et al. 2022).

use crate::result::line::Barrier;
use crate::result::score::Score;
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

/// A value and its standard error.
type Value = (f64, f64);

/// An α this close to a checkpoint is the checkpoint's own, up to rounding: `--alpha -0.3:1.3:17`
/// has a point at 5.6e-17.
const SAME: f64 = 1e-9;

impl CheckpointPath {
    /// The barrier of a quantity: the largest rise over `base`, possibly negative, of the soups
    /// strictly between two checkpoints; NaN if there is no such point. At a checkpoint the soup is
    /// the checkpoint, and its rise over the chord is 0 by definition.
    ///
    /// Over the mean of the ends, the ends count too, as published: see [`Barrier::at_end`].
    pub fn barrier(
        &self,
        soups: &[Score],
        ends: &[Score],
        base: Base,
        value: fn(&Score) -> Value,
    ) -> Barrier {
        let pieces = (self.nodes.len() - 1) as f64;
        let points = self.alphas.iter().zip(soups);
        let inside = points.filter(|(alpha, _)| {
            (0.0..pieces).contains(*alpha) && (*alpha - alpha.round()).abs() > SAME
        });
        let rises = inside.map(|(&alpha, soup)| {
            let [(from, first), (to, second)] = self.weights(alpha);
            let weights = match base {
                Base::Chord => [first, second],
                Base::Mean => [0.5; 2],
            };
            let (a, b) = (value(&ends[from]), value(&ends[to]));
            rise(
                alpha,
                &[(1.0, value(soup)), (-weights[0], a), (-weights[1], b)],
            )
        });
        let Some(interior) = rises.reduce(higher) else {
            return Barrier::UNMEASURED;
        };
        match base {
            Base::Chord => interior,
            // On a tie the end is kept: the path does not rise above it.
            Base::Mean => (0..self.nodes.len() - 1)
                .flat_map(|from| self.over_mean(from, ends, value))
                .chain([interior])
                .reduce(higher)
                .unwrap_or(interior),
        }
    }

    /// The rise of each end of a segment over the mean of both.
    fn over_mean(&self, from: usize, ends: &[Score], value: fn(&Score) -> Value) -> [Barrier; 2] {
        let (a, b) = (value(&ends[from]), value(&ends[from + 1]));
        [[0.5, -0.5], [-0.5, 0.5]].map(|[first, second]| Barrier {
            at_end: true,
            ..rise(
                (from + usize::from(second > 0.0)) as f64,
                &[(first, a), (second, b)],
            )
        })
    }
}

/// A weighted sum of values, with its standard error if they are independent.
fn rise(alpha: f64, terms: &[(f64, Value)]) -> Barrier {
    let squares = terms.iter().map(|(weight, (_, se))| (weight * se).powi(2));
    Barrier {
        height: terms
            .iter()
            .map(|(weight, (value, _))| weight * value)
            .sum(),
        se: squares.sum::<f64>().sqrt(),
        alpha,
        at_end: false,
    }
}

/// The first of two barriers unless the second is higher. NaN marks a rise that cannot be measured;
/// the first one is kept.
fn higher(first: Barrier, second: Barrier) -> Barrier {
    let replaces = second.height > first.height || second.height.is_nan();
    if replaces && !first.height.is_nan() {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Evaluator;
    use crate::evaluate::quadratic::Quadratic;
    use crate::result::grid::linspace;
    use crate::space::testing::pool;

    fn score(loss: f64) -> Score {
        Score {
            loss,
            loss_se: 0.3,
            error: loss / 10.0,
            error_se: 0.0,
            nonfinite: 0,
        }
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
        // The ends are 1 and 3; at ¾ the chord is 2.5 and the mean 2.
        let soups = [9.0, 1.0, 2.0, 2.6, 3.4, 3.0].map(score);
        let ends = [1.0, 3.0].map(score);
        let chord = path.barrier(&soups, &ends, Base::Chord, loss);
        assert!((chord.height - 0.9).abs() < 1e-12 && chord.alpha == 0.75);
        let se = 0.3 * (1.0_f64 + 0.0625 + 0.5625).sqrt();
        assert!((chord.se - se).abs() < 1e-12);
        let mean = path.barrier(&soups, &ends, Base::Mean, loss);
        assert!((mean.height - 1.4).abs() < 1e-12 && mean.alpha == 0.75);
        assert!(!mean.at_end);
    }

    /// Loss and its standard error.
    fn loss(score: &Score) -> (f64, f64) {
        (score.loss, score.loss_se)
    }

    #[test]
    fn the_largest_rise_is_told_where_it_is_negative_too() {
        let path = CheckpointPath {
            nodes: vec![0, 1],
            alphas: vec![0.0, 0.25, 0.5, 0.75, 1.0],
        };
        let ends = [1.0, 3.0].map(score);
        // Below the chord by 0.5, 0.25 and 0.5.
        let soups = [1.0, 1.0, 1.75, 2.0, 3.0].map(score);
        let chord = path.barrier(&soups, &ends, Base::Chord, loss);
        assert_eq!((chord.height, chord.alpha), (-0.25, 0.5));
        let se = 0.3 * (1.0_f64 + 0.25 + 0.25).sqrt();
        assert!((chord.se - se).abs() < 1e-12 && !chord.at_end);
        // Over the mean of the ends the higher end is highest, by half their difference; there the
        // soup and the end are the same model.
        let mean = path.barrier(&soups, &ends, Base::Mean, loss);
        assert_eq!((mean.height, mean.alpha, mean.at_end), (1.0, 1.0, true));
        assert!((mean.se - 0.3 / 2.0_f64.sqrt()).abs() < 1e-12);
        // An interior point must be above it.
        for (value, at_end) in [(3.0, true), (3.5, false)] {
            let soups = [1.0, 1.0, value, 2.0, 3.0].map(score);
            let mean = path.barrier(&soups, &ends, Base::Mean, loss);
            assert_eq!((mean.height, mean.at_end), (value - 2.0, at_end));
        }
    }

    #[test]
    fn without_a_point_between_the_checkpoints_nothing_is_told() {
        let ends = [1.0, 3.0, 2.0].map(score);
        let rounded = vec![0.0, 5.6e-17, 1.0 - 1e-16, 1.0, 2.0];
        for alphas in [vec![0.0, 1.0, 2.0], vec![-0.5, 2.5], rounded] {
            let soups: Vec<Score> = alphas.iter().map(|_| score(9.0)).collect();
            let nodes = vec![0, 1, 2];
            let path = CheckpointPath { nodes, alphas };
            for base in [Base::Chord, Base::Mean] {
                let barrier = path.barrier(&soups, &ends, base, loss);
                assert!(barrier.height.is_nan() && barrier.se.is_nan() && barrier.alpha.is_nan());
            }
        }
    }

    #[test]
    fn every_checkpoint_of_a_path_is_an_end_of_both_its_pieces() {
        let path = CheckpointPath {
            nodes: vec![0, 1, 2],
            alphas: vec![0.0, 0.5, 1.0, 1.5, 2.0],
        };
        let soups = [1.0, 2.0, 5.0, 4.0, 4.0].map(score);
        // α = 1 is 2 above the mean of the first segment and ½ above that of the second.
        let mean = path.barrier(&soups, &[1.0, 5.0, 4.0].map(score), Base::Mean, loss);
        assert_eq!((mean.height, mean.alpha, mean.at_end), (2.0, 1.0, true));
    }

    #[test]
    fn a_rise_that_cannot_be_measured_is_no_number() {
        let path = CheckpointPath {
            nodes: vec![0, 1],
            alphas: vec![0.25, 0.5, 0.75],
        };
        let ends = [1.0, 3.0].map(score);
        let soups = [1.0, f64::NAN, 9.0].map(score);
        for base in [Base::Chord, Base::Mean] {
            let barrier = path.barrier(&soups, &ends, base, loss);
            assert!(barrier.height.is_nan() && barrier.alpha == 0.5);
        }
        let barrier = path.barrier(
            &[1.0, f64::INFINITY, 9.0].map(score),
            &ends,
            Base::Chord,
            loss,
        );
        assert_eq!((barrier.height, barrier.alpha), (f64::INFINITY, 0.5));
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
        let scores: Vec<Score> = answers.scores.iter().map(|sets| sets[0]).collect();
        let (soups, ends) = scores.split_at(9);
        let barrier = path.barrier(soups, ends, Base::Chord, |score| (score.loss, 0.0));
        // −α(1−α)/2·δᵀHδ at the points next to the ends, α = ⅛ and ⅞.
        assert!((barrier.height + 7.0 / 128.0 * 22.0).abs() < 1e-12);
        assert!([0.125, 0.875].contains(&barrier.alpha));
        // L(α) = chord − α(1−α)/2·δᵀHδ, δ = (−3, 2).
        for (alpha, soup) in path.alphas.iter().zip(soups) {
            let chord = (1.0 - alpha) * ends[0].loss + alpha * ends[1].loss;
            let expected = chord - alpha * (1.0 - alpha) / 2.0 * (2.0 * 9.0 + 4.0);
            assert!((soup.loss - expected).abs() < 1e-12);
        }
    }
}
