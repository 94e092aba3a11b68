//! An error rate of x wrong samples among n, and how sure it is, also at 0 and at n.
//!
//! √(p(1−p)/n) is 0 at x = 0, as if no error were possible; everything here is positive there. Shares
//! are in 0..1. For n = 0 intervals are 0..1 or NaN as said.

use super::{Interval, normal_quantile};
pub use crate::result::score::cautious_se as standard_error;

/// Wilson's interval: the p for which (x/n − p)² ≤ z²·p(1−p)/n; 0..1 for n = 0.
///
/// Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927;
/// recommended by Brown, Cai and DasGupta, "Interval estimation for a binomial proportion",
/// Statistical Science 16, 2001.
pub fn wilson(count: usize, samples: usize) -> Interval {
    let (n, z) = (samples as f64, normal_quantile());
    if samples == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    let share = count as f64 / n;
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // The ends are exactly 0 and 1 there; rounding must not say otherwise.
    Interval {
        low: if count == 0 { 0.0 } else { middle - half },
        high: if count == samples { 1.0 } else { middle + half },
    }
}

/// Agresti and Coull's interval: p̃ ∓ z·√(p̃(1−p̃)/ñ) with ñ = n + z² and p̃ = (x + z²/2)/ñ, cut to 0..1.
///
/// Agresti and Coull, "Approximate is better than 'exact' for interval estimation of binomial
/// proportions", The American Statistician 52, 1998. It contains Wilson's interval.
pub fn agresti_coull(count: usize, samples: usize) -> Interval {
    let z = normal_quantile();
    let n = samples as f64 + z * z;
    let share = (count as f64 + z * z / 2.0) / n;
    let half = z * (share * (1.0 - share) / n).sqrt();
    Interval {
        low: (share - half).max(0.0),
        high: (share + half).min(1.0),
    }
}

/// The largest share that is compatible with *no* error among n samples, 3/n, at most 1: with a larger
/// one, n samples without an error have a probability below 5 % (the exact bound is 1 − 0.05^(1/n),
/// and −ln 0.05 = 2.996). One-sided.
///
/// Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249, 1983.
pub fn none_seen(samples: usize) -> f64 {
    (3.0 / samples as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_error_and_only_errors_have_a_width() {
        let z2 = normal_quantile().powi(2);
        for n in [1, 10, 682, 1_000_000] {
            let none = wilson(0, n);
            // In closed form z²/(n + z²).
            let high = z2 / (n as f64 + z2);
            assert!(none.low == 0.0 && (none.high - high).abs() < 1e-14 * high.max(1e-3));
            let all = wilson(n, n);
            assert!(all.high == 1.0 && (all.low - (1.0 - high)).abs() < 1e-14);
            assert!(standard_error(0, n) > 0.0 && standard_error(n, n) > 0.0);
            // The rule of three is above the exact bound by a little.
            let exact = 1.0 - 0.05_f64.powf(1.0 / n as f64);
            assert!(none_seen(n) >= exact && none_seen(n) < 1.2 * exact, "{n}");
        }
        assert_eq!((wilson(0, 0).low, wilson(0, 0).high), (0.0, 1.0));
        assert_eq!(none_seen(0), 1.0);
        // p̃ = 1/2 for n = 0: √(¼/4).
        assert!((standard_error(0, 0) - 0.25).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn wilson_solves_its_equation_and_lies_in_agresti_coull(n in 1..5000_usize, part in 0.0..1.0) {
            let count = (part * (n + 1) as f64) as usize;
            let (wilson, agresti) = (wilson(count, n), agresti_coull(count, n));
            let (n, share) = (n as f64, count as f64 / n as f64);
            prop_assert!(wilson.contains(share) && agresti.contains(share));
            prop_assert!(agresti.low <= wilson.low + 1e-14 && wilson.high <= agresti.high + 1e-14);
            for p in [wilson.low, wilson.high] {
                let (left, right) = ((share - p).powi(2), normal_quantile().powi(2) * p * (1.0 - p) / n);
                // Squares of numbers below 1, rounded some ten times.
                prop_assert!((left - right).abs() < 1e-14);
            }
        }
    }
}
