//! The derivative of a function along a line by differences in float64, with a step at the floor of
//! rounding that is checked at every use.
//!
//! A kink of the network (ReLU, MaxPool) within the step adds its jump, divided by the step. A
//! smaller step makes this rarer and larger, so that the mean does not fall: only the chance of it
//! does. So the step is as small as rounding allows, and the difference ahead is held against the
//! one behind. They agree unless there is a kink; then smaller steps are tried.

use std::sync::Mutex;

use crate::base::lock::lock;
use crate::error::Result;

/// First step, as a fraction of the norm of the weights (of 1 if that is smaller). On the example's
/// network, rounding then adds 3e-9 of a product with its largest eigenvector and 3e-7 of one with
/// any vector. With 1e-6, a kink adds 0.2 % and 15 % of them.
const STEP: f64 = 1e-9;

/// The difference between both sides, as a fraction of the derivative, up to which they agree.
pub const AGREEMENT: f64 = 0.01;

/// Number of steps that are tried, each a quarter of the one before. A kink within the first lies
/// within the last of them in one case of 64.
const TRIES: usize = 4;

/// A difference between both sides of this, as a fraction of the function, is rounding.
const ROUNDING: f64 = 100.0 * f64::EPSILON;

/// Differences with a step, and how well their sides have agreed so far.
pub struct Differences {
    step: f64,
    sides: Mutex<Sides>,
}

/// How well the differences ahead of a point and behind it agreed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sides {
    /// Number of derivatives.
    pub count: usize,
    /// How many of them had no step at which both sides agree within [`AGREEMENT`].
    pub apart: usize,
    /// The largest difference between the sides, as a fraction of the derivative.
    pub worst: f64,
}

impl Differences {
    /// Differences around weights of this norm.
    pub fn around(norm: f64) -> Self {
        Self {
            step: STEP * norm.max(1.0),
            sides: Mutex::default(),
        }
    }

    /// f′(0) of a function f of the distance along a line; `zero` is f(0).
    ///
    /// # Errors
    /// Returns the errors of f.
    pub fn derivative(
        &self,
        zero: &[f64],
        f: impl Fn(f64) -> Result<Vec<f64>>,
    ) -> Result<Vec<f64>> {
        let mut step = self.step;
        let (mut best, mut apart) = central(zero, &f(step)?, &f(-step)?, step);
        for _ in 1..TRIES {
            // Not of a NaN, which no step would cure.
            if apart > AGREEMENT {
                step /= 4.0;
                let (other, other_apart) = central(zero, &f(step)?, &f(-step)?, step);
                if other_apart < apart {
                    (best, apart) = (other, other_apart);
                }
            }
        }
        let mut sides = lock(&self.sides);
        sides.count += 1;
        sides.apart += usize::from(apart > AGREEMENT);
        sides.worst = sides.worst.max(apart);
        Ok(best)
    }

    /// How well both sides have agreed so far.
    pub fn sides(&self) -> Sides {
        *lock(&self.sides)
    }
}

/// The central difference, and how far the one-sided ones are apart as a fraction of it.
fn central(zero: &[f64], ahead: &[f64], behind: &[f64], step: f64) -> (Vec<f64>, f64) {
    let (mut apart, mut size) = (0.0_f64, 0.0_f64);
    let mut central = Vec::with_capacity(zero.len());
    for ((zero, ahead), behind) in zero.iter().zip(ahead).zip(behind) {
        let slope = (ahead - behind) / (2.0 * step);
        apart += ((ahead - zero) + (behind - zero)).powi(2);
        size += slope * slope;
        central.push(slope);
    }
    let apart = apart.sqrt() / step;
    let norm = zero.iter().map(|value| value * value).sum::<f64>().sqrt();
    let rounding = ROUNDING * norm / step;
    let apart = (apart - rounding).max(0.0);
    // Of a derivative that is 0, rounding is all there is.
    let part = if apart == 0.0 {
        0.0
    } else {
        apart / size.sqrt()
    };
    (central, part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (3 + 2t + t², 1 − t), with a jump of its slope's gradient like a ReLU's at `kink`.
    fn f(t: f64, kink: f64) -> Vec<f64> {
        let jump = if t > kink { 0.5 } else { 0.0 };
        vec![3.0 + 2.0 * t + t * t + jump, 1.0 - t]
    }

    fn slope(kink: f64) -> (Vec<f64>, Sides) {
        let differences = Differences::around(1.0);
        let zero = f(0.0, kink);
        let slope = differences.derivative(&zero, |t| Ok(f(t, kink))).unwrap();
        (slope, differences.sides())
    }

    #[test]
    fn a_smooth_function_takes_one_step() {
        let (slope, sides) = slope(1.0);
        // Rounding of 3 is 4e-16, and 1e-9 the step.
        assert!(
            (slope[0] - 2.0).abs() < 1e-6 && (slope[1] + 1.0).abs() < 1e-6,
            "{slope:?}"
        );
        assert_eq!(
            sides,
            Sides {
                count: 1,
                apart: 0,
                worst: 0.0
            }
        );
    }

    #[test]
    fn a_kink_within_the_step_is_found_on_either_side_and_avoided() {
        // A jump of 0.5 within the step of 1e-9 adds 2.5e8.
        for kink in [0.9e-9, -0.9e-9, 0.3e-9, -0.02e-9] {
            let (slope, sides) = slope(kink);
            assert!((slope[0] - 2.0).abs() < 1e-4, "{kink}: {slope:?}");
            assert_eq!((sides.count, sides.apart), (1, 0));
        }
    }

    #[test]
    fn a_kink_at_the_point_itself_is_said() {
        let (_, sides) = slope(0.0);
        assert_eq!((sides.count, sides.apart), (1, 1));
        assert!(sides.worst > 1.0);
    }

    #[test]
    fn a_constant_has_no_slope_and_its_rounding_is_no_kink() {
        let differences = Differences::around(100.0);
        let noisy = |t: f64| Ok(vec![1.0 + f64::EPSILON * t.signum(), 1e3]);
        let slope = differences.derivative(&[1.0, 1e3], noisy).unwrap();
        // ε over the step of 1e-7.
        assert!(slope[0].abs() < 1e-8);
        assert_eq!(differences.sides().apart, 0);
    }

    #[test]
    fn what_is_not_a_number_is_returned_as_it_is() {
        let differences = Differences::around(1.0);
        let slope = differences
            .derivative(&[1.0], |_| Ok(vec![f64::NAN]))
            .unwrap();
        assert!(slope[0].is_nan());
    }
}
