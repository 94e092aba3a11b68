//! Contour levels: logarithmic above the minimum, rounded, and never finer than the noise.
//!
//! They belong to the results because two users must agree on them: the figure that draws the
//! contours, and the refinement that evaluates more points where a contour passes.

/// Contour levels and the range they were made for.
#[derive(Debug, Clone, PartialEq)]
pub struct ContourLevels {
    /// The levels, ascending, all above the smallest value.
    pub values: Vec<f64>,
    /// Smallest finite value.
    pub min: f64,
    /// Largest finite value.
    pub max: f64,
}

/// Number of levels to aim at.
const COUNT: usize = 8;

/// Fraction of the grid that the first level encloses, so that the basin shows.
const BASIN: f64 = 0.06;

/// Smallest height of the first level above the minimum, as a fraction of the range.
const FIRST: f64 = 1e-3;

impl ContourLevels {
    /// Makes levels for these values, whose noise near the minimum is `noise`. Returns
    /// `None` if no value is finite.
    ///
    /// Levels are spaced as in Garipov et al. 2018, levelₖ = min + exp(a + k·γ), the first around
    /// the lowest few of the values. They are rounded to numbers a person would write, with gaps of
    /// at least `noise`, below which a contour means nothing. A few huge values do not stretch the
    /// scale: if the maximum is far above the 95th percentile, the last level stands at that
    /// percentile.
    pub fn new(values: &[f64], noise: f64) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
        let noise = Some(noise).filter(|noise| noise.is_finite()).unwrap_or(0.0);
        let top = if max - min > 3.0 * (at(0.95) - min) {
            at(0.95)
        } else {
            max
        };
        let mut levels = Self {
            values: Vec::new(),
            min,
            max,
        };
        let span = top - min;
        if span > 0.0 && span >= 1e-12 * max.abs() {
            let first = (at(BASIN) - min).max(span * FIRST).max(noise);
            levels.fill(first, span, noise);
        }
        Some(levels)
    }

    /// Adds levels from `first` to `span` above the minimum, at least `noise` apart.
    fn fill(&mut self, first: f64, span: f64, noise: f64) {
        let ratio = (span / first).max(1.0).powf(1.0 / COUNT as f64);
        let mut last = self.min;
        let mut rise = first;
        while rise < span * (1.0 - 1e-9) && self.values.len() < COUNT {
            // Rounding may use nearly half of the gap to the levels on both sides.
            let spare = 0.45 * (rise * (1.0 - 1.0 / ratio)).max(noise).min(rise);
            let near = self.min + rise;
            let floor = (last + noise).max(near - spare);
            // The range lost to the noise below is added above.
            let level = roundest(floor, floor + 2.0 * spare, near);
            if level > last && level < self.max {
                self.values.push(level);
                last = level;
            }
            rise = (rise * ratio).max(last - self.min + noise);
        }
    }

    /// Index of the band that contains a value: 0 below the first level.
    #[cfg(test)]
    fn band(&self, value: f64) -> usize {
        self.values.iter().filter(|level| value >= **level).count()
    }
}

/// The number between `low` and `high` with the fewest digits; among several, the one closest to
/// `near`.
fn roundest(low: f64, high: f64, near: f64) -> f64 {
    let near = near.clamp(low.min(high), high);
    let largest = low.abs().max(high.abs());
    let mut power = largest.log10().ceil() as i32;
    // An f64 has at most sixteen significant digits.
    for _ in 0..16 {
        for factor in [1.0, 0.5, 0.2] {
            let step = factor * 10_f64.powi(power);
            let (least, most) = ((low / step).ceil(), (high / step).floor());
            if least <= most {
                let multiple = (near / step).round().clamp(least, most);
                return exact(multiple * step, power - 1);
            }
        }
        power -= 1;
    }
    near
}

/// The f64 closest to the decimal with the last digit at 10^`power`: avoids 0.6000000000000001.
fn exact(value: f64, power: i32) -> f64 {
    let decimals = (-power).max(0) as usize;
    format!("{value:.decimals$}").parse().unwrap_or(value)
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
            let levels = ContourLevels::new(&bowl(min, max), noise).unwrap();
            assert!((5..=9).contains(&levels.values.len()), "{levels:?}");
            assert!(levels.values[0] > min && levels.values[0] < min + 0.2 * (max - min));
            assert!(levels.values.last().unwrap() > &(min + 0.4 * (max - min)));
            let digits = |level: &f64| level.to_string().replace("0.", "").len();
            assert!(
                levels.values.iter().all(|level| digits(level) <= 4),
                "{levels:?}"
            );
            for pair in levels.values.windows(2) {
                assert!(pair[1] - pair[0] >= noise * 0.999, "{levels:?}");
            }
        }
    }

    #[test]
    fn the_first_level_shows_the_basin_of_a_surface_with_a_wide_floor() {
        // Forty of a hundred points within 1 % of the range.
        let values: Vec<f64> = (0..100)
            .map(|k| {
                1.7 + if k < 40 {
                    0.02 * f64::from(k)
                } else {
                    f64::from(k - 39)
                }
            })
            .collect();
        let levels = ContourLevels::new(&values, 0.1).unwrap();
        let inside = values.iter().filter(|v| **v < levels.values[0]).count();
        assert!((5..=12).contains(&inside), "{inside} {levels:?}");
    }

    #[test]
    fn levels_are_what_a_person_would_write() {
        assert_eq!(roundest(15.85, 16.15, 16.0), 16.0);
        assert_eq!(roundest(19.2, 20.4, 19.7), 20.0);
        assert_eq!(roundest(0.0121, 0.0139, 0.013), 0.013);
        assert_eq!(roundest(0.55, 0.66, 0.612), 0.6);
        assert_eq!(roundest(-0.3, 0.2, -0.1), 0.0);
        assert_eq!(roundest(2450.0, 2650.0, 2540.0), 2500.0);
    }

    #[test]
    fn levels_never_come_closer_than_the_noise() {
        let levels = ContourLevels::new(&bowl(10.0, 12.0), 0.7).unwrap();
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
        let levels = ContourLevels::new(&values, 0.0).unwrap();
        assert!(levels.values.iter().all(|level| *level < 1.1), "{levels:?}");
        assert_eq!(levels.max, 1e10);
        assert_eq!(levels.band(0.1), 0);
        assert_eq!(levels.band(1e9), levels.values.len());
    }

    #[test]
    fn constant_and_empty_surfaces_have_no_levels() {
        assert_eq!(
            ContourLevels::new(&[2.0; 9], 0.1).unwrap().values,
            Vec::<f64>::new()
        );
        assert_eq!(ContourLevels::new(&[f64::NAN; 4], 0.1), None);
    }
}
