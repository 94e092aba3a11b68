//! Converts the optimizer's variables to the coefficients α of mixes, and gradients back.

use super::layers;
use crate::evaluate::differentiable_loss::DifferentiableLoss;
use crate::result::learned::{Layers, LearningSettings, Row};
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// How much of the uniform soup is mixed into a soup before its z is taken: with a softmax, a
/// coefficient of 0 is z = −∞, where it has no slope and would stay.
const SMOOTHING: f64 = 0.05;

/// Rows of α over the checkpoints, as functions of free variables z, one per coefficient. At z = 0,
/// every row is uniform.
///
/// With a softmax, αᵢ = exp zᵢ / Σⱼ exp zⱼ. Without, αᵢ = 1/k + zᵢ − mean z: the coefficients sum
/// to 1 and no model is singled out, as one would be if its coefficient were 1 minus the others.
pub struct Coefficients {
    /// The tensors that use each row of α.
    pub rows: Vec<Row>,
    /// The row of each parameter of the pool.
    row_of: Vec<Option<usize>>,
    /// Number of checkpoints.
    models: usize,
    softmax: bool,
    /// Whether the first row applies to all tensors.
    is_shared: bool,
}

impl Coefficients {
    /// Creates rows for the tensors that differ between the checkpoints of a pool, which has at
    /// least one.
    pub fn new(loss: &dyn DifferentiableLoss, pool: &Pool, settings: &LearningSettings) -> Self {
        let (mut rows, mut row_of) = layers::rows(settings.layers, pool, &loss.parameters());
        let is_shared = settings.layers == Layers::All;
        if is_shared {
            // One row exists even if no tensor moves; tensors that do not move use it, too.
            rows.resize_with(1, Row::default);
            row_of.fill(Some(0));
        }
        Self {
            rows,
            row_of,
            models: pool.members.len() - 1,
            softmax: settings.softmax,
            is_shared,
        }
    }

    /// The number of free variables.
    pub fn len(&self) -> usize {
        self.rows.len() * self.models
    }

    /// z of a soup that has the coefficients `alpha` in every row; with a softmax, of the soup
    /// mixed with a little of the uniform one.
    pub fn free(&self, alpha: &[f64]) -> Vec<f64> {
        let count = self.models as f64;
        let z = |c: &f64| match self.softmax {
            true => ((1.0 - SMOOTHING) * count * c + SMOOTHING).ln(),
            false => c - 1.0 / count,
        };
        let row: Vec<f64> = alpha.iter().map(z).collect();
        row.repeat(self.rows.len())
    }

    /// α, `[row][model]`.
    pub fn alpha(&self, free: &[f64]) -> Vec<Vec<f64>> {
        let rows = free[..self.len()].chunks_exact(self.models);
        let row = if self.softmax { softmax } else { centred };
        rows.map(row).collect()
    }

    /// The mix with these rows. Tensors that differ in no model have the uniform row; θ0 has
    /// coefficient 0.
    pub fn mix(&self, alpha: &[Vec<f64>]) -> Mix {
        let with_origin = |row: &[f64]| [&[0.0], row].concat();
        if self.is_shared {
            return Mix::new(with_origin(&alpha[0]));
        }
        let uniform = vec![1.0 / self.models as f64; self.models];
        let row = |row: &Option<usize>| row.map_or(&uniform, |row| &alpha[row]);
        let rows = self.row_of.iter().map(row);
        Mix::by_parameter(rows.map(|row| with_origin(row)).collect())
    }

    /// ∂L/∂z from `slopes[parameter][member]`, the derivatives ∂L/∂c: those of parameters that
    /// share a row are summed and multiplied with the Jacobian of the row.
    pub fn gradient(&self, alpha: &[Vec<f64>], slopes: &[Vec<f64>]) -> Vec<f64> {
        let mut sums = vec![vec![0.0; self.models]; self.rows.len()];
        for (row, slopes) in self.row_of.iter().zip(slopes) {
            let Some(row) = *row else { continue };
            for (sum, slope) in sums[row].iter_mut().zip(&slopes[1..]) {
                *sum += slope;
            }
        }
        let rows = sums.iter().zip(alpha);
        rows.flat_map(|(sums, alpha)| self.through(sums, alpha))
            .collect()
    }

    /// ∂αⱼ/∂zᵢ = αⱼ (δᵢⱼ − αᵢ) with a softmax, otherwise δᵢⱼ − 1/k; both are symmetric.
    fn through(&self, slopes: &[f64], alpha: &[f64]) -> Vec<f64> {
        let count = self.models as f64;
        let mean: f64 = if self.softmax {
            slopes.iter().zip(alpha).map(|(s, a)| s * a).sum()
        } else {
            slopes.iter().sum::<f64>() / count
        };
        let weight = |alpha: &f64| if self.softmax { *alpha } else { 1.0 };
        let all = slopes.iter().zip(alpha);
        all.map(|(slope, alpha)| weight(alpha) * (slope - mean))
            .collect()
    }
}

fn softmax(free: &[f64]) -> Vec<f64> {
    let largest = free.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = free.iter().map(|z| (z - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn centred(free: &[f64]) -> Vec<f64> {
    let count = free.len() as f64;
    let mean = free.iter().sum::<f64>() / count;
    free.iter().map(|z| 1.0 / count + z - mean).collect()
}
