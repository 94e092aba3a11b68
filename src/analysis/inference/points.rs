//! What every sample says at every point of a curve or a plane.

use super::{Estimate, mean};

/// The values of the same samples at several points.
#[derive(Debug, Clone)]
pub struct PointValues {
    samples: usize,
    grain: Option<f64>,
    /// Point after point, each with all samples. 32 bits suffice: from here come spreads, places and
    /// means of halves; [`estimates`](Self::estimates) are of the 64 bits.
    values: Vec<f32>,
    estimates: Vec<Estimate>,
}

impl PointValues {
    /// No point yet, of data with a number of samples.
    ///
    /// `grain` says how far one sample can move the values: 1 where they are 0 and 1 or differences of
    /// such (errors), `None` for losses. With it, spreads count two imaginary samples, one this far
    /// above the mean and one as far below. That is the adjustment of Bonett and Price (2012), and of
    /// Agresti and Coull (1998) near 0 and n, with the centre left where it was measured. So no
    /// standard error is below √2·grain/n: that no sample told two models apart is no proof that none
    /// would. Without it, a point whose values are all equal has no spread (NaN).
    pub fn new(samples: usize, grain: Option<f64>) -> Self {
        Self {
            samples,
            grain,
            values: Vec::new(),
            estimates: Vec::new(),
        }
    }

    /// Adds a point: its value for each sample, in the order of the samples.
    ///
    /// # Panics
    /// Panics when there are more or fewer values than samples.
    pub fn push(&mut self, values: impl IntoIterator<Item = f64>) {
        let before = self.values.len();
        let values = values
            .into_iter()
            .inspect(|value| self.values.push(*value as f32));
        let mut estimate = mean(values);
        let point = &self.values[before..];
        assert_eq!(point.len(), self.samples, "a point with other samples");
        // A value beyond 32 bits is as unusable as an infinity: its square is beyond 64.
        estimate.unusable = point.iter().filter(|value| !value.is_finite()).count();
        if estimate.unusable > 0 {
            (estimate.value, estimate.se) = (f64::NAN, f64::NAN);
        }
        let squares = estimate.se.powi(2) * (self.samples * (self.samples.max(1) - 1)) as f64;
        estimate.se = self.standard_error(squares);
        self.estimates.push(estimate);
    }

    /// Mean over samples at each point, and its standard error by itself (not simultaneous).
    pub fn estimates(&self) -> &[Estimate] {
        &self.estimates
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The values of a point by sample.
    pub fn values(&self, point: usize) -> &[f32] {
        &self.values[point * self.samples..][..self.samples]
    }

    /// How far one sample can move the values; 0 if unknown.
    pub(super) fn grain(&self) -> f64 {
        self.grain.unwrap_or(0.0)
    }

    /// The standard error of a mean, √((S + 2·grain²)/divisor), from the sum S of squared deviations
    /// from it; NaN if it would be 0.
    pub(super) fn standard_error(&self, squares: f64) -> f64 {
        let variance = (squares + 2.0 * self.grain().powi(2)) / self.divisor();
        if variance > 0.0 {
            variance.sqrt()
        } else {
            f64::NAN
        }
    }

    /// n(n−1); with the two imaginary samples (n+1)(n+2).
    pub(super) fn divisor(&self) -> f64 {
        let n = self.samples as f64 + if self.grain.is_some() { 2.0 } else { 0.0 };
        n * (n - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_never_have_a_standard_error_of_zero_and_equal_losses_have_none() {
        let mut errors = PointValues::new(98, Some(1.0));
        errors.push([0.0; 98]);
        errors.push((0..98).map(|s| f64::from(u8::from(s < 3))));
        let [none, few] = errors.estimates() else {
            panic!("two points")
        };
        assert_eq!(none.value, 0.0);
        assert!((none.se - (2.0_f64 / 9900.0).sqrt()).abs() < 1e-15);
        let squares = 3.0 - 9.0 / 98.0;
        assert!((few.se - ((squares + 2.0) / 9900.0_f64).sqrt()).abs() < 1e-15);
        let mut losses = PointValues::new(3, None);
        losses.push([0.7; 3]);
        losses.push([1.0, 2.0, 6.0]);
        assert!(losses.estimates()[0].se.is_nan());
        // Variance 14/2 = 7.
        let found = losses.estimates()[1];
        assert!(found.value == 3.0 && (found.se - (7.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn unusable_samples_are_counted_also_those_beyond_32_bits() {
        let mut losses = PointValues::new(4, None);
        losses.push([1.0, f64::NAN, f64::INFINITY, 1e39]);
        let found = losses.estimates()[0];
        assert!(found.value.is_nan() && found.se.is_nan() && found.unusable == 3);
    }

    #[test]
    #[should_panic(expected = "other samples")]
    fn a_point_of_other_samples_is_refused() {
        PointValues::new(2, None).push([1.0]);
    }
}
