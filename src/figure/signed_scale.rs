//! Scales for axes whose values have signs and span decades.

use super::numbers;
use super::ticks::{Interval, Ticks, ticks};

/// The map from values to positions on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SignedScale {
    /// The position is the value.
    Linear,
    /// Linear below this value and, far above it, one unit per decade, on both sides of 0: asinh of
    /// half the quotient, divided by ln 10.
    Symlog(f64),
}

/// Ratio of the largest to the median magnitude from which a linear axis would show a single point.
const LOGARITHMIC_FROM: f64 = 300.0;

/// Maximum number of decades shown on one side.
const MOST_DECADES: f64 = 7.0;

impl SignedScale {
    /// The scale that keeps these values apart: logarithmic only if the largest is so far beyond
    /// most others that these would all be drawn at 0.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let sizes = values.map(f64::abs);
        let mut sizes: Vec<f64> = sizes.filter(|v| v.is_finite() && *v > 0.0).collect();
        sizes.sort_by(f64::total_cmp);
        let (Some(smallest), Some(largest)) = (sizes.first(), sizes.last()) else {
            return Self::Linear;
        };
        if *largest <= LOGARITHMIC_FROM * sizes[sizes.len() / 2] {
            return Self::Linear;
        }
        let least = smallest.log10().floor();
        Self::Symlog(10_f64.powf(least.max(largest.log10().ceil() - MOST_DECADES)))
    }

    /// The position of a value.
    pub fn at(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Symlog(least) => (value / (2.0 * least)).asinh() / std::f64::consts::LN_10,
        }
    }

    /// Ticks at round values within a range of positions.
    pub fn ticks(self, (min, max): Interval) -> Ticks {
        let Self::Symlog(least) = self else {
            // 0 has no decimals, even if the others are written as powers of ten.
            let zero = |(at, label)| {
                if at == 0.0 {
                    (at, "0".to_string())
                } else {
                    (at, label)
                }
            };
            return ticks((min, max)).into_iter().map(zero).collect();
        };
        // In the linear part of the scale, numbers would crowd around 0.
        let from = least.log10().round() as i32 + 1;
        let decades = from..=from + min.abs().max(max.abs()).ceil() as i32;
        let below = decades.clone().rev().map(|k| (-10_f64.powi(k), k, "−"));
        let above = decades.map(|k| (10_f64.powi(k), k, ""));
        let below = below.map(|(value, k, sign)| (self.at(value), format!("{sign}{}", power(k))));
        let above = above.map(|(value, k, sign)| (self.at(value), format!("{sign}{}", power(k))));
        below
            .chain([(0.0, "0".to_string())])
            .chain(above)
            .filter(|(at, _)| (min..=max).contains(at))
            .collect()
    }
}

/// Ticks at powers of ten within a range of decimal logarithms, at most about `most` of them.
pub fn decades((min, max): Interval, most: usize) -> Ticks {
    let (from, to) = (min.ceil() as i32, max.floor() as i32);
    let step = ((to - from + 1).max(1) as usize).div_ceil(most.max(1)) as i32;
    let whole = (from..=to).filter(|k| k.rem_euclid(step) == 0);
    whole.map(|k| (f64::from(k), power(k))).collect()
}

/// Formats 10ᵏ as a person would write it.
fn power(k: i32) -> String {
    match k {
        0..=3 => format!("1{}", "0".repeat(k as usize)),
        -2..0 => numbers::label(10_f64.powi(k)),
        _ => format!("1e{k}").replace('-', "−"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_over_many_decades_get_a_logarithm_and_others_do_not() {
        let of = |values: &[f64]| SignedScale::of(values.iter().copied());
        assert_eq!(of(&[]), SignedScale::Linear);
        assert_eq!(of(&[0.0, 0.0]), SignedScale::Linear);
        assert_eq!(of(&[50.0, 20.0, 1.0, -0.3, -0.2]), SignedScale::Linear);
        assert_eq!(of(&[1e4, 5.0, 3.0, 1.0, -0.2]), SignedScale::Symlog(0.1));
        assert_eq!(of(&[1e9, 5.0, 3.0, 1.0, 1e-12]), SignedScale::Symlog(100.0));
    }

    #[test]
    fn a_symmetric_logarithm_rises_and_has_a_decade_a_unit() {
        let scale = SignedScale::Symlog(0.1);
        let at = |value| scale.at(value);
        assert_eq!(at(0.0), 0.0);
        assert!((at(1e5) - at(1e4) - 1.0).abs() < 1e-6);
        assert_eq!(at(-3.0), -at(3.0));
        let ticks = scale.ticks((at(-2.0), at(2e4)));
        let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
        let expected = ["−1", "0", "1", "10", "100", "1000", "1e4"];
        assert_eq!(labels, expected);
        assert!(ticks.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn decades_are_few_and_whole() {
        let labels = |min: f64, max: f64| -> Vec<String> {
            let ticks = decades((min, max), 6);
            ticks.into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(-3.5, 1.2), ["1e−3", "0.01", "0.1", "1", "10"]);
        assert_eq!(labels(-8.0, 2.0).len(), 6);
        assert!(labels(0.2, 0.8).is_empty());
    }
}
