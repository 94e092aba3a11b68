//! Ticks and scales of axes: plain values, or accuracies by their logit as in Wortsman et al. 2022
//! (WiSE-FT): h(p) = ln(p / (1 − p)).

use super::numbers::fixed;
use super::text::{SMALL, width};
use crate::base::human::nice_at_most;

/// The two ends of a range of values, the smaller first.
pub type Interval = (f64, f64);

/// The positions of ticks, and their labels.
pub type Ticks = Vec<(f64, String)>;

/// The width of the longest label.
pub fn ticks_width(ticks: &Ticks) -> f64 {
    let widths = ticks.iter().map(|(_, label)| width(label, SMALL));
    widths.fold(0.0, f64::max)
}

/// The map from values to positions on an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AxisScale {
    /// The position is the value.
    #[default]
    Linear,
    /// The position of a fraction is its logit; ticks are in percent.
    Logit,
}

/// Margin at the ends of an axis, as a fraction of its length.
const END_ROOM: f64 = 0.08;
/// Minimum distance between two numbers of a logit axis, in layout pixels.
const LOGIT_SPACING: f64 = 74.0;

impl AxisScale {
    /// The position of a value.
    pub fn at(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logit => logit(value),
        }
    }

    /// A range of positions with margins at its ends; a default range if there is none.
    pub fn around(self, range: Option<Interval>) -> Interval {
        let (min, max) = match (range, self) {
            (Some(range), _) => range,
            (None, Self::Linear) => return (0.0, 1.0),
            (None, Self::Logit) => return (-1.0, 1.0),
        };
        let largest = min.abs().max(max.abs());
        let least = match self {
            Self::Logit => 0.05,
            Self::Linear if min == max => 0.05 * if largest == 0.0 { 1.0 } else { largest },
            // The number of digits in a tick's label is limited.
            Self::Linear => 1e-6 * largest,
        };
        let room = (END_ROOM * (max - min)).max(least);
        (min - room, max + room)
    }

    /// Ticks at round values within a range of positions, on an axis of this length.
    pub fn ticks(self, range: Interval, length: f64) -> Ticks {
        match self {
            Self::Linear => ticks(range),
            Self::Logit => logit_ticks(range, length),
        }
    }

    /// Formats a value for the reader: fractions in percent.
    pub fn label(self, value: f64) -> String {
        match self {
            Self::Linear => format!("{value:.1}"),
            Self::Logit => format!("{:.1}", 100.0 * value),
        }
    }
}

/// ln(p / (1 − p)); at 0 and 1, as if one of a thousand samples were different.
fn logit(accuracy: f64) -> f64 {
    let p = accuracy.clamp(1e-3, 1.0 - 1e-3);
    (p / (1.0 - p)).ln()
}

/// Ticks at round accuracies within a range of logits, with labels in percent.
fn logit_ticks((min, max): Interval, length: f64) -> Ticks {
    let part = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let steps = [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
    let of = |step: f64| -> Ticks {
        let (from, to) = (
            (part(min) / step).ceil() as i64,
            (part(max) / step).floor() as i64,
        );
        let decimals = usize::from(step < 0.01);
        let mut kept = Ticks::new();
        let apart = LOGIT_SPACING / length * (max - min);
        for k in from.max(1)..=to {
            let value = k as f64 * step;
            if value >= 1.0 {
                break;
            }
            let at = logit(value);
            if kept.last().is_none_or(|(last, _)| at - last >= apart) {
                kept.push((at, format!("{:.decimals$}", 100.0 * value)));
            }
        }
        kept
    };
    let all = steps.map(of);
    let enough = all.iter().find(|ticks| ticks.len() >= 5);
    let most = all.iter().max_by_key(|ticks| ticks.len());
    enough.or(most).cloned().unwrap_or_default()
}

/// Ticks at three to seven round values within a range.
pub fn ticks((min, max): Interval) -> Ticks {
    let step = nice_at_most((max - min) / 3.0);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (min / step).ceil() as i64;
    let last = (max / step).floor() as i64;
    (first..=last.min(first + 20))
        .map(|k| {
            let value = k as f64 * step;
            (value, fixed(value, decimals))
        })
        .collect()
}

/// Removes ticks below an axis until the remaining numbers have room; zero stays.
pub fn spaced(ticks: Ticks, scale: f64) -> Ticks {
    let fits = |ticks: &Ticks| {
        ticks.windows(2).all(|pair| {
            let wide = f64::midpoint(width(&pair[0].1, SMALL), width(&pair[1].1, SMALL));
            (pair[1].0 - pair[0].0) * scale > wide + 30.0
        })
    };
    let zero = ticks.iter().position(|tick| tick.0 == 0.0).unwrap_or(0);
    let every = |step: usize| -> Ticks {
        let kept = ticks.iter().enumerate();
        let kept = kept.filter(|(index, _)| index.abs_diff(zero).is_multiple_of(step));
        kept.map(|(_, tick)| tick.clone()).collect()
    };
    (1..=ticks.len()).map(every).find(fits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_accuracies_that_keep_apart() {
        for (low, high) in [(0.5, 0.9), (0.93, 0.97), (0.02, 0.999), (0.701, 0.704)] {
            let (min, max) = (logit(low), logit(high));
            let ticks = AxisScale::Logit.ticks((min, max), 640.0);
            assert!((2..12).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            for (at, label) in &ticks {
                assert!((min..=max).contains(at));
                let value: f64 = label.parse().unwrap();
                assert!((logit(value / 100.0) - at).abs() < 1e-9, "{label}");
            }
        }
    }

    #[test]
    fn all_or_nothing_right_has_a_place() {
        assert!(logit(1.0).is_finite() && logit(0.0).is_finite());
    }

    #[test]
    fn equal_values_have_room_and_ticks() {
        for scale in [AxisScale::Linear, AxisScale::Logit] {
            for value in [0.0, -0.3, 0.97, 97.0, 1e-12, 1e9] {
                let at = scale.at(value);
                for range in [None, Some((at, at)), Some((at, at + 1e-13))] {
                    let (min, max) = scale.around(range);
                    assert!(min < max, "{scale:?} {value}");
                    let ticks = scale.ticks((min, max), 640.0);
                    assert!(!ticks.is_empty() && ticks.len() < 22, "{scale:?} {value}");
                }
            }
        }
    }
}
