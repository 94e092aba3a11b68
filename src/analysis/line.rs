//! The path from one checkpoint to another, straight or through more: soups and ensembles at every
//! point, and the barriers between (Frankle et al. 2020, Entezari et al. 2022).

use crate::result::line::Barrier;
use crate::result::score::Score;
use crate::space::mix::Mix;

/// Checkpoints in a row, and where between them models are evaluated.
///
/// α = k stands at the k-th checkpoint (the first being 0); between k and k + 1 the model is
/// (1−t)·θ_k + t·θ_{k+1} with t = α − k. Outside, the first and the last piece go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Members of the pool.
    pub nodes: Vec<usize>,
    /// Ascending.
    pub alphas: Vec<f64>,
}

impl Path {
    /// The two checkpoints around α, by their places on the path, with their weights.
    pub fn weights(&self, alpha: f64) -> [(usize, f64); 2] {
        let last = self.nodes.len() - 2;
        let from = (alpha.floor().max(0.0) as usize).min(last);
        let t = alpha - from as f64;
        [(from, 1.0 - t), (from + 1, t)]
    }

    /// The mixes to evaluate: one an α, then the checkpoints; of a pool of `members`.
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

/// What a rise is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The straight line between the ends: Entezari et al.
    Chord,
    /// The mean of the ends: Frankle et al.
    Mean,
}

impl Path {
    /// The barrier of a quantity: its value and standard error at each α and at each checkpoint.
    /// Only points between the checkpoints count.
    pub fn barrier(
        &self,
        soups: &[Score],
        ends: &[Score],
        base: Base,
        value: fn(&Score) -> (f64, f64),
    ) -> Barrier {
        let pieces = (self.nodes.len() - 1) as f64;
        let inside = self.alphas.iter().zip(soups);
        let inside = inside.filter(|(alpha, _)| (0.0..=pieces).contains(*alpha));
        let mut highest = Barrier {
            height: 0.0,
            se: 0.0,
            alpha: 0.0,
        };
        for (&alpha, soup) in inside {
            let [(from, first), (to, second)] = match (self.weights(alpha), base) {
                (weights, Base::Chord) => weights,
                ([(from, _), (to, _)], Base::Mean) => [(from, 0.5), (to, 0.5)],
            };
            let ((soup, soup_se), (a, a_se), (b, b_se)) =
                (value(soup), value(&ends[from]), value(&ends[to]));
            let height = soup - (first * a + second * b);
            // A loss that is NaN is a barrier that nobody can measure.
            if height > highest.height || height.is_nan() {
                let squares = [soup_se, first * a_se, second * b_se].map(|se| se * se);
                let se = squares.iter().sum::<f64>().sqrt();
                highest = Barrier { height, se, alpha };
            }
        }
        highest
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
        let path = Path {
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
        let path = Path {
            nodes: vec![0, 1],
            alphas: vec![-1.0, 0.0, 0.25, 0.5, 0.75, 1.0],
        };
        // The ends are 1 and 3; the chord at ¾ is 2.5, the mean 2.
        let soups = [9.0, 1.0, 2.0, 2.6, 3.4, 3.0].map(score);
        let ends = [1.0, 3.0].map(score);
        let loss = |score: &Score| (score.loss, score.loss_se);
        let chord = path.barrier(&soups, &ends, Base::Chord, loss);
        assert!((chord.height - 0.9).abs() < 1e-12 && chord.alpha == 0.75);
        let se = 0.3 * (1.0_f64 + 0.0625 + 0.5625).sqrt();
        assert!((chord.se - se).abs() < 1e-12);
        let mean = path.barrier(&soups, &ends, Base::Mean, loss);
        assert!((mean.height - 1.4).abs() < 1e-12 && mean.alpha == 0.75);
        let none = path.barrier(&[1.0; 6].map(score), &ends, Base::Chord, loss);
        assert_eq!((none.height, none.se, none.alpha), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_quadratic_loss_has_no_barrier_and_bends_as_its_formula() {
        let pool = pool(&[&[0.0, 0.0], &[2.0, 1.0], &[-1.0, 3.0]]);
        let evaluator = Quadratic::new(&pool, vec![0.5, 0.5], vec![2.0, 1.0], 0.1);
        let path = Path {
            nodes: vec![1, 2],
            alphas: linspace(0.0, 1.0, 9),
        };
        let answers = evaluator.evaluate(&path.mixes(3), &()).unwrap();
        let scores: Vec<Score> = answers.scores.iter().map(|sets| sets[0]).collect();
        let (soups, ends) = scores.split_at(9);
        let barrier = path.barrier(soups, ends, Base::Chord, |score| (score.loss, 0.0));
        assert_eq!(barrier.height, 0.0);
        // L(α) = chord − α(1−α)/2·δᵀHδ, δ = (−3, 2).
        for (alpha, soup) in path.alphas.iter().zip(soups) {
            let chord = (1.0 - alpha) * ends[0].loss + alpha * ends[1].loss;
            let expected = chord - alpha * (1.0 - alpha) / 2.0 * (2.0 * 9.0 + 4.0);
            assert!((soup.loss - expected).abs() < 1e-12);
        }
    }
}
