//! Contour levels: logarithmic above the minimum, round, and never finer than the noise.

/// Levels and the range they were made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// Ascending, all above the smallest value.
    pub values: Vec<f64>,
    /// Smallest finite value.
    pub min: f64,
    /// Largest finite value.
    pub max: f64,
}

/// How many levels are aimed at.
const COUNT: usize = 8;

/// The first level stands at least this part of the range above the minimum.
const FIRST: f64 = 1.0 / 40.0;

impl Levels {
    /// Levels for these values, whose standard error at their minimum is `noise`.
    ///
    /// Spaced as in Garipov et al. 2018, levelₖ = min + exp(a + k·γ), so that the basin shows;
    /// then rounded, and thinned to gaps of at least `noise`, below which a contour means
    /// nothing. A few huge values do not stretch the scale: the last level stands at the 95th
    /// percentile where the maximum is far above it.
    pub fn new(values: &[f64], noise: f64) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let noise = if noise.is_finite() {
            noise.max(0.0)
        } else {
            0.0
        };
        let high = sorted[(sorted.len() - 1) * 95 / 100];
        let top = if max - min > 3.0 * (high - min) {
            high
        } else {
            max
        };
        let span = top - min;
        let mut levels = Self {
            values: Vec::new(),
            min,
            max,
        };
        if span <= 0.0 || span < 1e-12 * max.abs() {
            return Some(levels);
        }
        let first = noise.max(span * FIRST);
        let ratio = (span / first).max(1.0).powf(1.0 / COUNT as f64);
        let mut last = min;
        for k in 0..COUNT {
            let raw = min + first * ratio.powi(k as i32);
            let gap = if k == 0 {
                first
            } else {
                first * ratio.powi(k as i32) * (1.0 - 1.0 / ratio)
            };
            let level = round_to(raw, gap.max(noise));
            if level - last >= noise * (1.0 - 1e-9) && level > last && level < max {
                levels.values.push(level);
                last = level;
            }
        }
        Some(levels)
    }

    /// Index of the band that holds a value: 0 below the first level.
    #[cfg(test)]
    fn band(&self, value: f64) -> usize {
        self.values.iter().filter(|level| value >= **level).count()
    }

    /// Decimals that tell all levels apart.
    pub fn decimals(&self) -> usize {
        let exact = |decimals: usize| {
            let scale = 10_f64.powi(decimals as i32);
            let whole =
                |v: &f64| ((v * scale).round() / scale - v).abs() < 1e-9 * v.abs().max(1e-9);
            self.values.iter().all(whole)
        };
        (0..12).find(|&decimals| exact(decimals)).unwrap_or(12)
    }
}

/// Rounds to a multiple of the largest of 1, 2, 5 × 10ᵏ that is at most a third of `gap`.
fn round_to(value: f64, gap: f64) -> f64 {
    let step = nice_at_most(gap / 3.0);
    (value / step).round() * step
}

/// The largest of 1, 2, 5 × 10ᵏ that is at most `x`.
pub fn nice_at_most(x: f64) -> f64 {
    let power = 10_f64.powf(x.log10().floor());
    let factor = [5.0, 2.0]
        .into_iter()
        .find(|factor| factor * power <= x * (1.0 + 1e-12));
    factor.unwrap_or(1.0) * power
}

/// A level as a person would write it.
pub fn label(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if value != 0.0 && (value.abs() >= 1e6 || value.abs() < 1e-4) {
        return format!("{value:.1e}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bowl(min: f64, max: f64) -> Vec<f64> {
        (0..400)
            .map(|k| min + (max - min) * (f64::from(k) / 399.0).powi(2))
            .collect()
    }

    #[test]
    fn levels_are_round_distinct_and_cover_wide_and_narrow_ranges() {
        for (min, max, noise) in [
            (0.0964, 0.973, 0.004),
            (1.13, 29.7, 0.19),
            (15.4, 27.3, 0.6),
        ] {
            let levels = Levels::new(&bowl(min, max), noise).unwrap();
            assert!((5..=9).contains(&levels.values.len()), "{levels:?}");
            assert!(levels.values[0] > min && levels.values[0] < min + 0.2 * (max - min));
            assert!(levels.values.last().unwrap() > &(min + 0.6 * (max - min)));
            assert!(levels.decimals() <= 3, "{levels:?}");
            for pair in levels.values.windows(2) {
                assert!(pair[1] - pair[0] >= noise * 0.999, "{levels:?}");
            }
        }
    }

    #[test]
    fn levels_never_come_closer_than_the_noise() {
        let levels = Levels::new(&bowl(10.0, 12.0), 0.7).unwrap();
        assert!(!levels.values.is_empty());
        assert!(levels.values[0] - 10.0 >= 0.69);
        assert!(
            levels
                .values
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= 0.69),
            "{levels:?}"
        );
    }

    #[test]
    fn a_few_huge_values_do_not_eat_the_scale() {
        let mut values = bowl(0.1, 1.0);
        values.extend([1e10, f64::INFINITY, f64::NAN]);
        let levels = Levels::new(&values, 0.0).unwrap();
        assert!(levels.values.iter().all(|level| *level < 1.1), "{levels:?}");
        assert_eq!(levels.max, 1e10);
        assert_eq!(levels.band(0.1), 0);
        assert_eq!(levels.band(1e9), levels.values.len());
    }

    #[test]
    fn constant_and_empty_surfaces_have_no_levels() {
        assert_eq!(
            Levels::new(&[2.0; 9], 0.1).unwrap().values,
            Vec::<f64>::new()
        );
        assert_eq!(Levels::new(&[f64::NAN; 4], 0.1), None);
    }

    #[test]
    fn nice_numbers() {
        assert_eq!(nice_at_most(0.07), 0.05);
        assert_eq!(nice_at_most(2.0), 2.0);
        assert_eq!(nice_at_most(19.0), 10.0);
        assert_eq!(label(1.5, 2), "1.50");
    }
}
