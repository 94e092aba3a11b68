//! Means over several data sets.

use super::{Estimate, Interval};

/// The unweighted mean of estimates on K separate data sets, with SE = (1/K)·√Σ SE².
///
/// The sets share no samples, so their errors are independent. The standard error is of the mean over
/// *these* sets. How much it would change with other sets, [`without_one`] shows. NaN for no set.
pub fn over_sets(sets: &[Estimate]) -> Estimate {
    let count = sets.len() as f64;
    Estimate {
        value: sets.iter().map(|set| set.value).sum::<f64>() / count,
        se: sets.iter().map(|set| set.se.powi(2)).sum::<f64>().sqrt() / count,
        samples: sets.iter().map(|set| set.samples).sum(),
        unusable: sets.iter().map(|set| set.unusable).sum(),
    }
}

/// Smallest and largest mean of the values when one is left out; none for fewer than two values or
/// where one is NaN.
pub fn without_one(values: &[f64]) -> Interval {
    let rest = values.len().saturating_sub(1);
    if rest == 0 || values.iter().any(|value| !value.is_finite()) {
        return Interval::NONE;
    }
    let total: f64 = values.iter().sum();
    let left = values.iter().map(|value| (total - value) / rest as f64);
    left.fold(
        Interval {
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
        },
        |range, mean| Interval {
            low: range.low.min(mean),
            high: range.high.max(mean),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: f64, se: f64) -> Estimate {
        Estimate {
            value,
            se,
            samples: 10,
            unusable: 0,
        }
    }

    #[test]
    fn by_hand() {
        let found = over_sets(&[set(1.0, 0.3), set(4.0, 0.4)]);
        assert_eq!((found.value, found.samples), (2.5, 20));
        assert!((found.se - 0.25).abs() < 1e-15);
        // The example's shifts, uniform minus greedy soup: −1.9, −0.4, 1.2, 1.8.
        let range = without_one(&[-1.9, -0.4, 1.2, 1.8]);
        assert!((range.low + 1.1 / 3.0).abs() < 1e-15 && (range.high - 2.6 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn one_set_has_no_range_and_an_unusable_set_spoils_both() {
        assert_eq!(over_sets(&[set(1.0, 0.3)]), set(1.0, 0.3));
        assert!(without_one(&[1.0]).low.is_nan() && without_one(&[]).high.is_nan());
        assert!(over_sets(&[]).value.is_nan());
        let spoilt = Estimate {
            unusable: 2,
            ..set(f64::NAN, f64::NAN)
        };
        let found = over_sets(&[set(1.0, 0.3), spoilt]);
        assert!(found.value.is_nan() && found.se.is_nan() && found.unusable == 2);
        assert!(without_one(&[1.0, 2.0, f64::NAN]).low.is_nan());
    }
}
