//! Is there a barrier between two models, and how high may it be?
//!
//! The values are d_s(α) = ℓ_s(α) − (1−α)·ℓ_s(0) − α·ℓ_s(1) of sample s at *interior* points α of the
//! path: how far it rises above the chord between its ends (Entezari et al. 2022; the mean of the ends
//! in place of the chord gives that of Frankle et al. 2020). The ends themselves are 0 by definition
//! and no points.

use super::band::{Band, BandPoint};

/// The largest rise of a path above the chord between its ends, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rise {
    /// Where it is highest: an index of the band's points.
    pub at: usize,
    /// The mean rise there, also if it is negative. NaN if a sample is unusable at any point.
    ///
    /// As the largest of noisy means it is too high on average, by about one standard error where the
    /// path is flat. `low` and `high` are not affected.
    pub height: f64,
    /// Standard error of the rise at that point by itself.
    pub se: f64,
    /// max_α (mean − c·se): the true largest rise is at least this high.
    pub low: f64,
    /// max_α (mean + t·se): the true largest rise on these points is at most this high. Between the
    /// points the path may be higher.
    pub high: f64,
    /// p value of "no point rises", corrected for the choice of the highest point; below 0.05 where
    /// `low` is above 0. NaN without a band.
    pub p: f64,
}

/// What can be said of a barrier with confidence [`LEVEL`](super::LEVEL).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The lower end of the interval is above 0: there is a barrier, however small. In fewer than 5 %
    /// of paths without one is this said.
    Barrier,
    /// No barrier was found, and the interval excludes any higher than this, which is at most the
    /// tolerance: a barrier that matters would have been found. At or below 0 there is none.
    NoneAbove(f64),
    /// Neither: a barrier above the tolerance is possible, and so is none. More samples decide.
    Undecided,
}

impl Rise {
    /// The largest rise of a band of d(α); none if there is no point.
    ///
    /// Points where all samples have the same value have no spread (see
    /// [`PointValues`](super::points::PointValues)). They count for `high` with their value and not
    /// for `low`.
    pub fn largest(band: &Band) -> Option<Self> {
        let points = band.points.iter().enumerate();
        let (at, highest) = points.max_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
        let unusable = band.points.iter().any(|point| point.unusable > 0);
        let usable = |value| if unusable { f64::NAN } else { value };
        // `max` passes over NaN.
        let low = band
            .points
            .iter()
            .map(|point| point.low)
            .fold(f64::NAN, f64::max);
        let ends = band
            .points
            .iter()
            .map(|point| upper_end(point, band.single));
        let high = if low.is_nan() {
            low
        } else {
            ends.fold(f64::NAN, f64::max)
        };
        let ratios = band.points.iter().map(|point| point.value / point.se);
        Some(Self {
            at,
            height: usable(highest.value),
            se: usable(highest.se),
            low: usable(low),
            high: usable(high),
            p: usable(band.p(ratios.fold(f64::NAN, f64::max))),
        })
    }

    /// What the interval says, given the height of a barrier that would matter, in the unit of the
    /// values: [`tolerance`] is the usual one.
    ///
    /// - `low > 0`: [`Verdict::Barrier`].
    /// - else, `high ≤ tolerance` or `high ≤ 0`: [`Verdict::NoneAbove`]`(high)`.
    /// - else, or without an interval: [`Verdict::Undecided`].
    pub fn verdict(&self, tolerance: f64) -> Verdict {
        if self.low > 0.0 {
            Verdict::Barrier
        } else if self.high <= tolerance.max(0.0) {
            Verdict::NoneAbove(self.high)
        } else {
            Verdict::Undecided
        }
    }
}

/// mean + t·se, of the point by itself; the mean where there is no spread.
fn upper_end(point: &BandPoint, t: f64) -> f64 {
    (point.value + t * point.se).max(point.value)
}

/// A tenth of the mean loss, or error, of the two ends, and not more than the better end's: a lower
/// barrier changes a model by less than fine-tunes that are called equal differ. (Beside a diverged end
/// everything would be lower than a tenth of the mean.)
///
/// It is a convention of ours. Frankle et al. (2020) call an error barrier below 2 % none, for
/// networks with errors of 5 to 30 %.
pub fn tolerance(ends: [f64; 2]) -> f64 {
    (0.1 * f64::midpoint(ends[0], ends[1])).min(ends[0].min(ends[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::inference::Draws;
    use crate::analysis::inference::band::around;
    use crate::analysis::inference::points::PointValues;

    fn largest(points: &[&[f64]], grain: Option<f64>) -> Rise {
        let mut values = PointValues::new(points[0].len(), grain);
        points
            .iter()
            .for_each(|point| values.push(point.iter().copied()));
        Rise::largest(&around(&values, &Draws::new(0))).unwrap()
    }

    /// 200 values around `mean`: half of them one higher and half one lower.
    fn around_mean(mean: f64) -> Vec<f64> {
        (0..200)
            .map(|s| mean + if s % 2 == 0 { 1.0 } else { -1.0 })
            .collect()
    }

    #[test]
    fn a_clear_rise_is_a_barrier_and_its_interval_holds_it() {
        let (low, high) = (around_mean(0.1), around_mean(0.5));
        let found = largest(&[&low, &high], None);
        assert!(found.at == 1 && (found.height - 0.5).abs() < 1e-12);
        // Equal deviations at both points: the band is that of one, 1.96 · 1/√199, the quantile to
        // 3 % from 2000 draws.
        let half = 1.96 / 199.0_f64.sqrt();
        assert!(
            (found.high - found.height - half).abs() < 0.06 * half,
            "{found:?}"
        );
        assert_eq!(found.verdict(0.1), Verdict::Barrier);
        assert!(found.p < 0.001);
    }

    #[test]
    fn what_is_not_found_is_excluded_or_undecided_by_the_tolerance() {
        let flat = largest(&[&around_mean(-0.01), &around_mean(-0.02)], None);
        assert!((flat.height + 0.01).abs() < 1e-12 && flat.low < 0.0 && flat.high > 0.1);
        assert_eq!(flat.verdict(0.2), Verdict::NoneAbove(flat.high));
        assert_eq!(flat.verdict(0.1), Verdict::Undecided);
        assert!(flat.p > 0.8);
        let below = largest(&[&around_mean(-2.0), &around_mean(-1.0)], None);
        assert_eq!(below.verdict(0.0), Verdict::NoneAbove(below.high));
        assert!(below.high < 0.0);
        assert_eq!(tolerance([0.02, 0.04]), 0.003);
    }

    #[test]
    fn no_rise_on_any_sample_is_no_proof_of_none() {
        let errors = largest(&[&[0.0; 500], &[0.0; 500]], Some(1.0));
        assert!(errors.height == 0.0 && errors.se > 0.0);
        // 1.96 · √2/n, the imaginary samples and the draws of the quantile: 6 %.
        assert!((errors.high / (1.96 * 2.0_f64.sqrt() / 501.5) - 1.0).abs() < 0.06);
        assert_eq!(errors.verdict(0.001), Verdict::Undecided);
        let losses = largest(&[&[0.0; 500], &[0.0; 500]], None);
        assert!(losses.height == 0.0 && losses.high.is_nan() && losses.p.is_nan());
        assert_eq!(losses.verdict(1.0), Verdict::Undecided);
        // A constant point beside a noisy one that is lower.
        let both = largest(&[&[0.0; 200], &around_mean(-9.0)], None);
        assert!(both.at == 0 && both.high == 0.0 && both.low < -8.0);
    }

    #[test]
    fn an_unusable_sample_leaves_the_barrier_open() {
        let mut broken = around_mean(0.5);
        broken[3] = f64::INFINITY;
        let found = largest(&[&around_mean(0.5), &broken], None);
        assert!(
            [found.height, found.se, found.low, found.high, found.p]
                .iter()
                .all(|x| x.is_nan())
        );
        assert_eq!(found.verdict(1.0), Verdict::Undecided);
        assert!(Rise::largest(&around(&PointValues::new(3, None), &Draws::new(0))).is_none());
    }
}
