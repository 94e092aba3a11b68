//! Converts the gradient of a loss in a tensor to the gradient in the coefficients of a mix.

use ndarray::ArrayView1;
use rayon::prelude::*;

use super::gram::{for_each_block, segments};
use super::log_variance;
use super::mix::Mix;
use super::pool::{ParameterRole, Pool};

/// Computes `products[member]` = ⟨g, ∂θ/∂cᵢ⟩ over parameter `index` of a mix: the derivative of a
/// loss with respect to the parameter's coefficients, where g is the gradient of the loss with
/// respect to the parameter. `gradient(start, out)` writes the elements of g from `start` on, in the
/// graph's order. ∂θ/∂cᵢ is θᵢ, except for variances outside the hull ([`log_variance`]).
///
/// Members are streamed from their files; segments are summed in a fixed order, in f64.
pub fn inner_products(
    pool: &Pool,
    index: usize,
    mix: &Mix,
    gradient: impl Fn(usize, &mut [f64]) + Sync,
) -> Vec<f64> {
    let (parameter, row) = (&pool.parameters[index], mix.row(index));
    if parameter.role == ParameterRole::Variance && log_variance::is_beyond(row) {
        let mut own = vec![0.0; parameter.len()];
        gradient(0, &mut own);
        let members = pool.members.iter();
        let sources: Vec<_> = members.map(|member| &member.sources[index]).collect();
        return log_variance::inner_products(row, &sources, &own);
    }
    let segments: Vec<_> = segments(pool, index).collect();
    let parts = segments.into_par_iter().map(|(index, range)| {
        let mut sums = vec![0.0; pool.members.len()];
        let mut own = Vec::new();
        for_each_block(pool, index, range, |start, blocks| {
            own.resize(blocks.ncols(), 0.0);
            gradient(start, &mut own);
            let products = blocks.dot(&ArrayView1::from(&own));
            sums.iter_mut().zip(products).for_each(|(sum, x)| *sum += x);
        });
        sums
    });
    let parts: Vec<Vec<f64>> = parts.collect();
    let mut total = vec![0.0; pool.members.len()];
    for part in parts {
        total
            .iter_mut()
            .zip(part)
            .for_each(|(total, x)| *total += x);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::decode::values;
    use crate::space::testing::random_pool;

    #[test]
    fn products_with_every_member_in_the_graphs_order() {
        // Odd members hold the matrix transposed.
        let pool = random_pool(3, &[vec![40, 33], vec![5000]], 11);
        for index in 0..2 {
            let len = pool.parameters[index].len();
            let gradient: Vec<f64> = (0..len).map(|k| (k as f64 * 0.37).sin()).collect();
            let read = |start: usize, out: &mut [f64]| {
                out.copy_from_slice(&gradient[start..][..out.len()]);
            };
            let found = inner_products(&pool, index, &Mix::unit(0, 3), read);
            for (member, found) in found.into_iter().enumerate() {
                let theta = values(&pool.members[member].sources[index]);
                let expected: f64 = theta.iter().zip(&gradient).map(|(a, b)| a * b).sum();
                assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
            }
        }
    }
}
