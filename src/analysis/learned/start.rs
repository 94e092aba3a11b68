//! Checks that the loss that soups are trained with is the loss that they are judged by.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

use crate::error::Result;
use crate::evaluate::differentiable_loss::{DifferentiableLoss, Reference};
use crate::space::mix::Mix;

/// Compares the losses used for training with the evaluator's, at one mix: the loss of forward
/// passes over all samples, in another order and so in other batches than the evaluator's, and the
/// loss that comes with the gradient of the first mini-batch of `batch` samples.
///
/// # Errors
/// Fails when they differ by more than rounding, the network cannot be run, or the user stopped the
/// run.
pub fn hold(
    loss: &dyn DifferentiableLoss,
    mix: &Mix,
    batch: usize,
    reference: &Reference,
) -> Result<()> {
    // Training itself reports such a start.
    if !reference.loss.is_finite() {
        return Ok(());
    }
    let mut order: Vec<usize> = (0..reference.samples).collect();
    order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(0));
    reference.hold(loss.fit(mix, 1.0, &order)?.loss)?;
    let first = &order[..batch.min(order.len())];
    let of_first = Reference {
        loss: loss.fit(mix, 1.0, first)?.loss,
        samples: first.len(),
        ..reference.clone()
    };
    of_first.hold(loss.coefficient_gradient(mix, 1.0, first)?.fit.loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;
    use crate::evaluate::differentiable_loss::CoefficientGradient;
    use crate::evaluate::metrics::Outcome;

    /// A loss per sample, which changes if the sample is at another place than the evaluator had
    /// it, or if gradients are requested.
    struct Faulty {
        elsewhere: f64,
        beside_slopes: f64,
    }

    const SAMPLES: usize = 40;

    fn loss(sample: usize) -> f64 {
        0.25 + (sample as f64).sin().abs()
    }

    impl Faulty {
        fn mean(&self, samples: &[usize]) -> f64 {
            let losses = samples.iter().enumerate().map(|(place, &sample)| {
                let off = if place == sample { 0.0 } else { self.elsewhere };
                loss(sample) + off
            });
            losses.sum::<f64>() / samples.len() as f64
        }
    }

    impl DifferentiableLoss for Faulty {
        fn parameters(&self) -> Vec<(usize, String)> {
            Vec::new()
        }

        fn samples(&self) -> usize {
            SAMPLES
        }

        fn coefficient_gradient(
            &self,
            mix: &Mix,
            beta: f64,
            samples: &[usize],
        ) -> Result<CoefficientGradient> {
            let mut fit = self.fit(mix, beta, samples)?;
            fit.loss += self.beside_slopes;
            Ok(CoefficientGradient {
                fit,
                rows: Vec::new(),
                beta: 0.0,
            })
        }

        fn outcomes(&self, _mix: &Mix, _beta: f64, samples: &[usize]) -> Result<Vec<Outcome>> {
            let outcome = Outcome {
                loss: self.mean(samples),
                correct: true,
            };
            Ok(vec![outcome; samples.len()])
        }
    }

    fn held(elsewhere: f64, beside_slopes: f64, evaluated: f64) -> Result<()> {
        let faulty = Faulty {
            elsewhere,
            beside_slopes,
        };
        let reference = Reference {
            what: "the uniform soup".to_string(),
            dataset: "val".to_string(),
            loss: evaluated,
            samples: SAMPLES,
            rounding: 1e-3,
        };
        hold(&faulty, &Mix::unit(0, 2), 8, &reference)
    }

    #[test]
    fn a_loss_that_depends_on_the_place_or_comes_with_the_slope_alone_is_an_error() {
        let in_order: Vec<usize> = (0..SAMPLES).collect();
        let right = Faulty {
            elsewhere: 3.0,
            beside_slopes: 0.0,
        }
        .mean(&in_order);
        assert!(held(0.0, 0.0, right).is_ok());
        // They differ by less than rounding.
        assert!(held(1e-5, 1e-5, right).is_ok());
        let error = held(3.0, 0.0, right).unwrap_err();
        assert!(matches!(error.cause(), Cause::Runtime));
        let text = error.to_string();
        for part in [
            "the uniform soup",
            "40 samples of val",
            &format!("{right:.6}"),
            "do not trust",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let text = held(0.0, 0.1, right).unwrap_err().to_string();
        assert!(text.contains("8 samples of val"), "{text}");
        // A NaN loss in training does not match a number.
        assert!(held(f64::NAN, 0.0, right).is_err());
        assert!(held(0.0, f64::NAN, right).is_err());
        // If the evaluator's loss is NaN, training reports it.
        assert!(held(f64::NAN, 0.0, f64::NAN).is_ok());
    }
}
