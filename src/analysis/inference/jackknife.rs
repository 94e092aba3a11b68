//! Intervals of quantities of pairs by leaving out one model at a time.
//!
//! θ₋ᵢ is the quantity over the pairs without model i, and z̄ the mean of the k of them:
//!
//! Var θ = (k−1)/k · Σᵢ (θ₋ᵢ − z̄)², interval θ ∓ t(k−1)·√Var.
//!
//! The factor, for the mean over pairs of x_ij = aᵢ + aⱼ + e_ij: leaving out i moves it by
//! 2(Sᵢ − S̄)/((k−1)(k−2)), S the row sums, so that
//!
//! - of the models' parts alone E Σ(θ₋ᵢ − z̄)² = 4σ_a²/(k−1), of a variance of 4σ_a²/k: factor (k−1)/k;
//! - of the pairs' parts alone 4σ_e²/((k−1)(k−2)), of a variance of 2σ_e²/(k(k−1)): (k−2)/(2k).
//!
//! Quantities of models have both. The smaller factor is too small by a half as soon as models differ,
//! so the larger one is taken: right for models that differ, up to 1.4 times too wide for pairs that
//! do not share anything. Lin, Lunde and Sarkar, "On the theoretical properties of the network
//! jackknife" (arXiv 2004.08935), prove for node-wise jackknives in general that they err to this side.
//! In simulations with 6, 10 and 16 models, with (k−1)/k, intervals of correlations (z = atanh r) and
//! of means held the truth in 94.5 % to 99.7 % of 1000 cases each; with (k−2)/k in 92.7 % to 99.7 %,
//! with (k−2)/(2k) in 82.3 % to 96.8 %.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{Interval, LEVEL};

/// The standard error of a quantity of the pairs of k models; `without` gives it without one of them.
/// NaN for fewer than 3 models, or where it is NaN without one.
pub fn standard_error(k: usize, without: impl Fn(usize) -> f64) -> f64 {
    if k < 3 {
        return f64::NAN;
    }
    let left: Vec<f64> = (0..k).map(without).collect();
    let mean = left.iter().sum::<f64>() / k as f64;
    let squares: f64 = left.iter().map(|value| (value - mean).powi(2)).sum();
    ((k - 1) as f64 / k as f64 * squares).sqrt()
}

/// `value` ∓ t(k−1)·SE; none where it is not finite.
pub fn interval(value: f64, k: usize, without: impl Fn(usize) -> f64) -> Option<Interval> {
    around(value, standard_error(k, without), k)
}

/// `value` ∓ t(k−1)·`se`; none where it is not finite.
pub fn around(value: f64, se: f64, k: usize) -> Option<Interval> {
    let half = students(k)?.inverse_cdf(f64::midpoint(1.0, LEVEL)) * se;
    let interval = Interval {
        low: value - half,
        high: value + half,
    };
    interval.low.is_finite().then_some(interval)
}

/// Two-sided p value of value/se under t(k−1); NaN without a spread.
pub fn p(value: f64, se: f64, k: usize) -> f64 {
    match students(k) {
        Some(students) if se > 0.0 && value.is_finite() => 2.0 * students.sf((value / se).abs()),
        _ => f64::NAN,
    }
}

/// Student's t with k − 1 degrees of freedom.
fn students(k: usize) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, k.checked_sub(1)? as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_p_values_are_those_of_t() {
        // t of 2 degrees in closed form: Φ⁻¹(0.975) = √(2·0.95²/(1 − 0.95²)), P(|T| > t) = 1 − t/√(2 + t²).
        let interval = around(1.0, 0.5, 3).unwrap();
        let quantile = (2.0 * 0.9025 / 0.0975_f64).sqrt();
        assert!(
            (interval.high - 1.0 - 0.5 * quantile).abs() < 1e-9,
            "{interval:?}"
        );
        assert!((interval.low + interval.high - 2.0).abs() < 1e-12);
        assert!((p(-3.0, 1.0, 3) - (1.0 - 3.0 / 11.0_f64.sqrt())).abs() < 1e-12);
    }

    #[test]
    fn without_a_spread_or_models_there_is_none() {
        assert!(p(1.0, 0.0, 9).is_nan() && p(f64::NAN, 1.0, 9).is_nan() && p(1.0, 1.0, 1).is_nan());
        assert!(around(1.0, f64::NAN, 9).is_none() && around(1.0, 1.0, 0).is_none());
        assert!(around(f64::INFINITY, 1.0, 9).is_none() && around(1.0, f64::INFINITY, 9).is_none());
        assert!(
            standard_error(2, |_| 1.0).is_nan()
                && standard_error(4, |at| [1.0, 2.0, f64::NAN, 3.0][at]).is_nan()
        );
    }
}
