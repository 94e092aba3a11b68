//! Converts the optimizer's variables to the coefficients α of mixes, and gradients back.

use super::layers;
use crate::evaluate::differentiable_loss::DifferentiableLoss;
use crate::result::learned::{Layers, LearningSettings, Optimizer, Row};
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// How much of another soup is mixed into one before its z is taken: a coefficient of 0 has no slope
/// in z and would stay 0.
const SMOOTHING: f64 = 0.05;

/// How a row of α follows from z.
#[derive(Clone, Copy, PartialEq)]
enum Map {
    /// αᵢ = exp zᵢ / Σⱼ exp zⱼ, as in the paper.
    Softmax,
    /// αᵢ = zᵢ² / Σⱼ zⱼ² (Li, McKenzie and Yin 2023, "From the simplex to the sphere"): a coefficient
    /// of 0 is not at infinity, so that L-BFGS reaches it.
    Squares,
    /// αᵢ = 1/k + zᵢ − mean z: the coefficients sum to 1 and no model is singled out, as one would
    /// be if its coefficient were 1 minus the others.
    Centred,
}

/// Rows of α over the checkpoints, as functions of free variables z, one per coefficient.
pub struct Coefficients {
    /// The tensors that use each row of α.
    pub rows: Vec<Row>,
    /// The row of each parameter of the pool.
    row_of: Vec<Option<usize>>,
    /// Number of checkpoints.
    models: usize,
    map: Map,
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
            map: match (settings.softmax, settings.optimizer) {
                (false, _) => Map::Centred,
                (true, Optimizer::AdamW) => Map::Softmax,
                (true, Optimizer::Lbfgs) => Map::Squares,
            },
            is_shared,
        }
    }

    /// The number of free variables.
    pub fn len(&self) -> usize {
        self.rows.len() * self.models
    }

    /// z of the rows `alpha` within the models' hull, mixed with a little of `other`; without a hull,
    /// of the rows themselves.
    pub fn free(&self, alpha: &[Vec<f64>], other: &[Vec<f64>]) -> Vec<f64> {
        let rows = alpha.iter().flatten().zip(other.iter().flatten());
        let z = |(a, b): (&f64, &f64)| {
            let mixed = (1.0 - SMOOTHING) * a + SMOOTHING * b;
            match self.map {
                Map::Softmax => mixed.ln(),
                Map::Squares => mixed.max(0.0).sqrt(),
                Map::Centred => a - 1.0 / self.models as f64,
            }
        };
        rows.map(z).collect()
    }

    /// The same coefficients in every row.
    pub fn everywhere(&self, alpha: &[f64]) -> Vec<Vec<f64>> {
        vec![alpha.to_vec(); self.rows.len()]
    }

    /// α, `[row][model]`.
    pub fn alpha(&self, free: &[f64]) -> Vec<Vec<f64>> {
        let rows = free[..self.len()].chunks_exact(self.models);
        let row = match self.map {
            Map::Softmax => softmax,
            Map::Squares => squares,
            Map::Centred => centred,
        };
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

    /// ∂L/∂α of each row from `slopes[parameter][member]`, the derivatives ∂L/∂c: those of parameters
    /// that share a row are summed.
    fn sums(&self, slopes: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let mut sums = vec![vec![0.0; self.models]; self.rows.len()];
        for (row, slopes) in self.row_of.iter().zip(slopes) {
            let Some(row) = *row else { continue };
            for (sum, slope) in sums[row].iter_mut().zip(&slopes[1..]) {
                *sum += slope;
            }
        }
        sums
    }

    /// ∂L/∂z from `slopes[parameter][member]`, the derivatives ∂L/∂c.
    pub fn gradient(&self, free: &[f64], alpha: &[Vec<f64>], slopes: &[Vec<f64>]) -> Vec<f64> {
        let free = free[..self.len()].chunks_exact(self.models);
        let rows = self.sums(slopes).into_iter().zip(alpha).zip(free);
        rows.flat_map(|((sums, alpha), free)| self.through(&sums, alpha, free))
            .collect()
    }

    /// Multiplies with the Jacobian of a row. ∂αⱼ/∂zᵢ is αᵢ (δᵢⱼ − αⱼ) of a softmax, 2zᵢ/‖z‖² (δᵢⱼ −
    /// αⱼ) of squares, and δᵢⱼ − 1/k without a hull.
    fn through(&self, slopes: &[f64], alpha: &[f64], free: &[f64]) -> Vec<f64> {
        let mean: f64 = match self.map {
            Map::Centred => slopes.iter().sum::<f64>() / self.models as f64,
            Map::Softmax | Map::Squares => slopes.iter().zip(alpha).map(|(s, a)| s * a).sum(),
        };
        let square: f64 = free.iter().map(|z| z * z).sum();
        let all = slopes.iter().zip(alpha).zip(free);
        all.map(|((slope, alpha), z)| {
            let weight = match self.map {
                Map::Softmax => *alpha,
                Map::Squares => 2.0 * z / square,
                Map::Centred => 1.0,
            };
            weight * (slope - mean)
        })
        .collect()
    }

    /// What the slope at `alpha` favours within the hull: in each row the model of least ∂L/∂α, and
    /// the gain that the slopes promise, Σ over rows of Σᵢ αᵢsᵢ − minᵢ sᵢ (the gap of Frank and Wolfe
    /// 1956: of a convex loss, no point of the hull is lower by more). 0 without a hull.
    pub fn favoured(&self, alpha: &[Vec<f64>], slopes: &[Vec<f64>]) -> (Vec<Vec<f64>>, f64) {
        if self.map == Map::Centred {
            return (alpha.to_vec(), 0.0);
        }
        let mut gap = 0.0;
        let rows = self.sums(slopes).into_iter().zip(alpha);
        let rows = rows.map(|(sums, alpha)| {
            let least = (0..sums.len()).min_by(|&a, &b| sums[a].total_cmp(&sums[b]));
            let least = least.unwrap_or(0);
            gap += alpha.iter().zip(&sums).map(|(a, s)| a * s).sum::<f64>() - sums[least];
            let mut vertex = vec![0.0; sums.len()];
            vertex[least] = 1.0;
            vertex
        });
        (rows.collect(), gap)
    }
}

fn softmax(free: &[f64]) -> Vec<f64> {
    let largest = free.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = free.iter().map(|z| (z - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn squares(free: &[f64]) -> Vec<f64> {
    let sum: f64 = free.iter().map(|z| z * z).sum();
    free.iter().map(|z| z * z / sum).collect()
}

fn centred(free: &[f64]) -> Vec<f64> {
    let count = free.len() as f64;
    let mean = free.iter().sum::<f64>() / count;
    free.iter().map(|z| 1.0 / count + z - mean).collect()
}
