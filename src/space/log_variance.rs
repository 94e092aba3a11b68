//! Running variances outside the checkpoints' convex hull.
//!
//! Inside the hull a variance is mixed as every tensor, σ² = Σᵢ cᵢσᵢ². With a negative coefficient
//! that sum reaches 0 at a finite distance, and batch norm has no meaning beyond. So log σ² is mixed
//! there:
//!
//! σ² = A₊^S₊ / A₋^S₋, where S₊ is the sum of the positive coefficients, A₊ the mean of the
//! variances weighted with them, and S₋ and A₋ are those of the negative coefficients, without sign.
//!
//! On a straight line through two checkpoints this is exp(Σᵢ cᵢ log σᵢ²). With more, it differs from
//! that: it meets the arithmetic mean where the last negative coefficient becomes 0, so that a plane
//! has no step along the edges of its triangle.

use super::decode;
use super::stored_tensor::StoredTensor;

/// Variances below this count as this: they belong to dead channels, and batch norm adds an epsilon
/// many times larger.
const LEAST: f64 = 1e-12;

/// Largest result: it still fits into a float32.
const MOST: f64 = 1e30;

/// Whether coefficients lie outside the hull.
pub fn is_beyond(coefficients: &[f64]) -> bool {
    coefficients.iter().any(|c| *c < 0.0)
}

/// One side of the ratio: the coefficients of one sign.
struct Side {
    /// The sum of the coefficients, without sign.
    sum: f64,
    /// The weighted mean of the variances, at least [`LEAST`].
    mean: f64,
}

impl Side {
    fn of(terms: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut sum, mut total) = (0.0, 0.0);
        for (coefficient, variance) in terms {
            sum += coefficient;
            total += coefficient * variance;
        }
        let mean = if sum > 0.0 { total / sum } else { 1.0 };
        Self {
            sum,
            // `max` would hide NaN.
            mean: if mean < LEAST { LEAST } else { mean },
        }
    }

    /// The derivative of S·log A in the coefficient of a member with this variance.
    fn slope(&self, variance: f64) -> f64 {
        let moved = if self.mean > LEAST {
            variance / self.mean - 1.0
        } else {
            0.0
        };
        self.mean.ln() + moved
    }
}

/// Both sides for one channel, of terms (coefficient, variance).
fn sides(terms: &[(f64, f64)]) -> [Side; 2] {
    [1.0, -1.0].map(|sign| {
        let own = terms.iter().filter(|(c, _)| c * sign > 0.0);
        Side::of(own.map(|&(c, variance)| (c * sign, variance)))
    })
}

fn ratio([plus, minus]: &[Side; 2]) -> f64 {
    let exponent = plus.sum * plus.mean.ln() - minus.sum * minus.mean.ln();
    let value = exponent.exp();
    if value > MOST { MOST } else { value }
}

/// The variances of a mix outside the hull, channel by channel, in the graph's order. `terms` are
/// the members with nonzero coefficients.
pub fn mixed(terms: &[(f64, &StoredTensor)]) -> Vec<f64> {
    let members: Vec<(f64, Vec<f64>)> = terms
        .iter()
        .map(|(c, source)| (*c, decode::values(source)))
        .collect();
    let channels = members.first().map_or(0, |(_, values)| values.len());
    let channel = |k: usize| {
        let of: Vec<(f64, f64)> = members.iter().map(|(c, values)| (*c, values[k])).collect();
        ratio(&sides(&of))
    };
    (0..channels).map(channel).collect()
}

/// `products[member]` = Σₖ gₖ·∂σ²ₖ/∂cᵢ outside the hull: the derivative of a loss in the
/// coefficients of its variances, where g is the gradient of the loss in the variances.
pub fn inner_products(
    coefficients: &[f64],
    sources: &[&StoredTensor],
    gradient: &[f64],
) -> Vec<f64> {
    let members: Vec<Vec<f64>> = sources.iter().map(|it| decode::values(it)).collect();
    let mut products = vec![0.0; members.len()];
    for (k, gradient) in gradient.iter().enumerate() {
        let values = members.iter().map(|values| values[k]);
        let terms: Vec<(f64, f64)> = coefficients.iter().copied().zip(values).collect();
        let sides = sides(&terms);
        let value = ratio(&sides);
        for ((c, variance), product) in terms.iter().zip(&mut products) {
            let [plus, minus] = &sides;
            let side = if *c < 0.0 { minus } else { plus };
            *product += gradient * value * side.slope(*variance);
        }
    }
    products
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor::Dtype;
    use crate::space::testing::source;

    fn of(terms: &[(f64, &[f64])]) -> Vec<f64> {
        let sources: Vec<StoredTensor> = terms
            .iter()
            .map(|(_, values)| source(values, &[values.len()], Dtype::F64, false))
            .collect();
        let terms: Vec<(f64, &StoredTensor)> = terms
            .iter()
            .zip(&sources)
            .map(|((c, _), source)| (*c, source))
            .collect();
        mixed(&terms)
    }

    fn close(found: f64, expected: f64) {
        let scale = expected.abs().max(1e-300);
        assert!(
            (found - expected).abs() <= 1e-12 * scale,
            "{found} for {expected}"
        );
    }

    #[test]
    fn on_a_line_the_logarithm_is_linear() {
        // From 1 through 3, beyond both ends; the line itself would be 0 at α = −½.
        for alpha in [-2.0, -0.5, -0.25, 1.5, 3.0] {
            let found = of(&[(1.0 - alpha, &[1.0, 4.0]), (alpha, &[3.0, 0.5])]);
            close(found[0], 3.0_f64.powf(alpha));
            close(found[1], 4.0 * 0.125_f64.powf(alpha));
        }
        close(of(&[(-0.5, &[2.0]), (1.5, &[8.0])])[0], 16.0);
    }

    #[test]
    fn at_the_edge_of_a_triangle_it_meets_the_arithmetic_mean() {
        let edge = 0.25 * 1.0 + 0.75 * 9.0;
        for small in [1e-6, 1e-9] {
            let found = of(&[(0.25, &[1.0]), (0.75 + small, &[9.0]), (-small, &[0.1])])[0];
            assert!((found - edge).abs() < 60.0 * small, "{found} for {edge}");
        }
        // exp(Σ c log σ²) would be 3^1.5 = 5.2 there, a step.
        assert!(edge > 6.9);
    }

    #[test]
    fn dead_channels_stay_finite_and_positive_or_zero() {
        let all = of(&[(3.0, &[0.0, 0.0, 1.0]), (-2.0, &[0.0, 1.0, 0.0])]);
        assert!(
            all.iter().all(|value| (0.0..=MOST).contains(value)),
            "{all:?}"
        );
        close(all[0], LEAST);
        close(all[2], 1e24);
        assert_eq!(of(&[(20.0, &[1.0]), (-19.0, &[0.0])]), [MOST]);
        // A checkpoint's NaN is not hidden.
        assert!(of(&[(2.0, &[f64::NAN]), (-1.0, &[1.0])])[0].is_nan());
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        let values: [&[f64]; 4] = [&[1.0, 0.2], &[3.0, 0.9], &[0.5, 2.0], &[4.0, 1.0]];
        let sources = values.map(|values| source(values, &[2], Dtype::F64, false));
        let coefficients = [-0.3, 0.9, 0.8, -0.4];
        let gradient = [0.7, -1.3];
        let value = |coefficients: &[f64]| {
            let terms: Vec<_> = coefficients.iter().copied().zip(&sources).collect();
            let mixed = mixed(&terms);
            mixed.iter().zip(gradient).map(|(a, b)| a * b).sum::<f64>()
        };
        let all: Vec<&StoredTensor> = sources.iter().collect();
        let found = inner_products(&coefficients, &all, &gradient);
        for (member, found) in found.into_iter().enumerate() {
            let at = |step: f64| {
                let mut moved = coefficients;
                moved[member] += step;
                value(&moved)
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((found - expected).abs() < 1e-7, "{found} for {expected}");
        }
    }
}
