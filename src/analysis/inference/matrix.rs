//! Symmetric matrices of quantities of pairs of models, without a diagonal.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::correlation::{PairPoint, Sorted, correlation};

/// Two quantities of every pair of some models.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PairMatrices {
    /// The models, ascending.
    pub(super) models: Vec<usize>,
    /// `x[i][j]` of `models[i]` and `models[j]`; NaN on the diagonal.
    pub(super) x: Vec<Vec<f64>>,
    pub(super) y: Vec<Vec<f64>>,
}

impl PairMatrices {
    /// The matrices of pairs in any order. Where a pair is missing, NaN or infinite, models are left
    /// out until all pairs of the rest are there: each time the model that lacks most, of several the
    /// last.
    pub(super) fn complete(points: &[PairPoint]) -> Self {
        let finite =
            |point: &&PairPoint| point.x.is_finite() && point.y.is_finite() && point.a != point.b;
        let pairs: BTreeMap<(usize, usize), (f64, f64)> = points
            .iter()
            .filter(finite)
            .map(|point| {
                (
                    (point.a.min(point.b), point.a.max(point.b)),
                    (point.x, point.y),
                )
            })
            .collect();
        let models: BTreeSet<usize> = points.iter().flat_map(|point| [point.a, point.b]).collect();
        let mut models: Vec<usize> = models.into_iter().collect();
        let pair = |a: usize, b: usize| pairs.get(&(a.min(b), a.max(b))).copied();
        loop {
            let lacks = |model: usize| {
                let others = models.iter().filter(|&&other| other != model);
                others
                    .filter(|&&other| pair(model, other).is_none())
                    .count()
            };
            let most = (0..models.len()).max_by_key(|&at| lacks(models[at]));
            match most {
                Some(at) if lacks(models[at]) > 0 => models.remove(at),
                _ => break,
            };
        }
        let matrix = |of: fn((f64, f64)) -> f64| -> Vec<Vec<f64>> {
            let entry = |a: usize, b: usize| pair(a, b).map_or(f64::NAN, of);
            let row = |&a: &usize| models.iter().map(|&b| entry(a, b)).collect();
            models.iter().map(row).collect()
        };
        Self {
            x: matrix(|values| values.0),
            y: matrix(|values| values.1),
            models,
        }
    }

    /// The matrices without the model at an index.
    pub(super) fn without(&self, at: usize) -> Self {
        fn drop<T: Clone>(all: &[T], at: usize) -> Vec<T> {
            [&all[..at], &all[at + 1..]].concat()
        }
        let matrix =
            |matrix: &[Vec<f64>]| drop(matrix, at).iter().map(|row| drop(row, at)).collect();
        Self {
            models: drop(&self.models, at),
            x: matrix(&self.x),
            y: matrix(&self.y),
        }
    }

    /// Both matrices without their model effects.
    pub(super) fn residuals(&self) -> Self {
        Self {
            models: self.models.clone(),
            x: residuals(&self.x),
            y: residuals(&self.y),
        }
    }

    /// Both matrices with ranks among all pairs in place of values.
    pub(super) fn ranked(&self) -> Self {
        Self {
            models: self.models.clone(),
            x: ranks(&self.x),
            y: ranks(&self.y),
        }
    }

    /// Pearson's correlation over the pairs; NaN for fewer than three pairs and for constants.
    pub(super) fn correlation(&self) -> f64 {
        let (x, y) = (upper(&self.x), upper(&self.y));
        correlation(&x, &y, &vec![1.0; x.len()])
    }
}

/// What remains of a symmetric matrix when m + aᵢ + aⱼ is fitted to its k(k−1)/2 pairs by least
/// squares: with row sums Sᵢ and mean m, aᵢ = (Sᵢ − (k−1)·m)/(k−2). Every row of the residuals sums
/// to 0.
///
/// These are the general and specific combining abilities of a half diallel (Griffing, "Concept of
/// general and specific combining ability in relation to diallel crossing systems", Australian Journal
/// of Biological Sciences 9, 1956, method 4).
///
/// Fewer than 4 models leave no residual: NaN. What is below 1e-12 of the largest value is
/// rounding, and 0.
fn residuals(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let k = matrix.len();
    if k < 4 {
        return vec![vec![f64::NAN; k]; k];
    }
    let others = |i: usize| (0..k).filter(move |&j| j != i);
    let sums: Vec<f64> = (0..k)
        .map(|i| others(i).map(|j| matrix[i][j]).sum())
        .collect();
    let mean = sums.iter().sum::<f64>() / (k * (k - 1)) as f64;
    let effect = |i: usize| (sums[i] - (k - 1) as f64 * mean) / (k - 2) as f64;
    let largest = upper(matrix)
        .into_iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()));
    let residual = |i: usize, j: usize| {
        let rest = matrix[i][j] - mean - effect(i) - effect(j);
        if rest.abs() <= 1e-12 * largest {
            0.0
        } else {
            rest
        }
    };
    (0..k)
        .map(|i| (0..k).map(|j| residual(i, j)).collect())
        .collect()
}

/// Ranks from 1 among all pairs; equal values share their mean rank.
fn ranks(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let k = matrix.len();
    let values = upper(matrix);
    let mut ranked = vec![vec![f64::NAN; k]; k];
    if values.iter().any(|value| value.is_nan()) {
        return ranked;
    }
    let ones = vec![1.0; values.len()];
    let ranks = Sorted::new(values).ranks(&ones);
    for ((i, j), rank) in pairs(k).zip(ranks) {
        (ranked[i][j], ranked[j][i]) = (rank, rank);
    }
    ranked
}

/// The values of the pairs i < j.
pub(super) fn upper(matrix: &[Vec<f64>]) -> Vec<f64> {
    pairs(matrix.len()).map(|(i, j)| matrix[i][j]).collect()
}

/// All i < j < k, row by row.
pub(super) fn pairs(k: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..k).flat_map(move |i| (i + 1..k).map(move |j| (i, j)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(k: usize, value: impl Fn(usize, usize) -> f64) -> Vec<PairPoint> {
        let point = |(a, b)| PairPoint {
            a,
            b,
            x: value(a, b),
            y: -value(a, b),
        };
        pairs(k).map(point).collect()
    }

    #[test]
    fn residuals_are_the_least_squares_fit_and_what_is_additive_has_none() {
        let noise = |a: usize, b: usize| ((a * 7 + b * 3 + a * b) as f64).sin();
        let parts = [3.0, -1.0, 0.5, 9.0, 2.0];
        let noisy = PairMatrices::complete(&points(5, |a, b| noise(a, b) + parts[a] + parts[b]));
        let plain = PairMatrices::complete(&points(5, noise));
        let (found, expected) = (noisy.residuals(), plain.residuals());
        for (i, j) in pairs(5) {
            // Effects of up to 12 vanish to rounding.
            assert!((found.x[i][j] - expected.x[i][j]).abs() < 1e-13);
            assert_eq!(found.x[i][j], -found.y[i][j]);
        }
        for (i, row) in found.x.iter().enumerate() {
            // The normal equations: residuals of each model sum to 0.
            let sum: f64 = (0..5).filter(|&j| j != i).map(|j| row[j]).sum();
            assert!(sum.abs() < 1e-13, "{sum}");
        }
        let additive = PairMatrices::complete(&points(6, |a, b| 0.1 * (a + b) as f64)).residuals();
        assert!(upper(&additive.x).iter().all(|rest| *rest == 0.0));
        assert!(additive.correlation().is_nan());
        let three = PairMatrices::complete(&points(3, noise)).residuals();
        assert!(upper(&three.x).iter().all(|rest| rest.is_nan()));
    }

    #[test]
    fn models_without_all_pairs_are_left_out() {
        let mut few = points(6, |a, b| (a * 10 + b) as f64);
        few.retain(|point| !(point.b == 4 && point.a < 3));
        few[0].y = f64::NAN; // models 0 and 1: either may go, the later does
        let found = PairMatrices::complete(&few);
        assert_eq!(found.models, [0, 2, 3, 5]);
        assert_eq!(upper(&found.x), [2.0, 3.0, 5.0, 23.0, 25.0, 35.0]);
        assert_eq!(upper(&found.without(1).x), [3.0, 5.0, 35.0]);
        let swapped: Vec<PairPoint> = few
            .iter()
            .map(|p| PairPoint {
                a: p.b,
                b: p.a,
                ..*p
            })
            .collect();
        assert_eq!(PairMatrices::complete(&swapped).models, found.models);
        assert!(PairMatrices::complete(&[]).models.is_empty());
    }
}
