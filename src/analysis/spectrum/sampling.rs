//! How much of a curvature is due to the samples that it was measured on.
//!
//! To first order, a change dH of the Hessian changes an eigenvalue with eigenvector v by v·dH·v
//! (Rayleigh; Kato, "Perturbation Theory for Linear Operators", II.2) and the trace by tr(dH). So the
//! standard error of both is that of a mean over samples, which differences between groups of samples
//! give. The first order holds where the distance to the next eigenvalue is large beside the standard
//! error.

use crate::evaluate::linear_operator::GroupCurvature;
use crate::result::spectrum::Sampled;

/// The mean over all samples, weighted by the sizes of the groups, and its standard error:
/// s² = Σ nᵍ(qᵍ − q)²/(G − 1) estimates the variance of a sample without bias, whatever the sizes nᵍ
/// of the G groups, and the standard error is s/√Σnᵍ. It is `None` with a single group.
pub(super) fn mean(groups: &[GroupCurvature]) -> Sampled {
    let samples: f64 = groups.iter().map(|group| group.samples as f64).sum();
    let weighted = |of: &dyn Fn(f64) -> f64| {
        let terms = groups.iter();
        terms
            .map(|group| group.samples as f64 * of(group.value))
            .sum::<f64>()
    };
    let value = weighted(&|value| value) / samples;
    let squares = weighted(&|each| (each - value).powi(2));
    let freedom = groups.len().saturating_sub(1) as f64;
    Sampled {
        value,
        se: (freedom > 0.0).then(|| (squares / freedom / samples).sqrt()),
    }
}

/// Adds `factor` times the curvatures of the same groups.
pub(super) fn add(sum: &mut Vec<GroupCurvature>, factor: f64, groups: Vec<GroupCurvature>) {
    if sum.is_empty() {
        sum.extend(groups.iter().map(|group| GroupCurvature {
            value: 0.0,
            ..*group
        }));
    }
    for (sum, group) in sum.iter_mut().zip(groups) {
        sum.value += factor * group.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_count_by_their_sizes() {
        let group = |samples, value| GroupCurvature { samples, value };
        let found = mean(&[group(1, 8.0), group(3, 4.0)]);
        assert_eq!(found.value, 5.0);
        // s² = 1·3² + 3·1² = 12, of one degree of freedom; √(12/4).
        assert_eq!(found.se, Some(3.0_f64.sqrt()));
        assert_eq!(
            mean(&[group(9, 2.0)]),
            Sampled {
                value: 2.0,
                se: None
            }
        );
    }
}
