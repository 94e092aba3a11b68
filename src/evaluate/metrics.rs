//! Computes loss and error from logits: for one sample, and mean and standard error over many. Only
//! this file defines loss and error.

use crate::result::score::{Score, cautious_se};

/// Loss and error of a model on one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Cross-entropy in nats; NaN or infinite if the logits make it so.
    pub loss: f64,
    /// Whether the largest logit belongs to the label.
    pub correct: bool,
}

impl Outcome {
    /// The outcome for one sample, from one logit per class and a label. The loss is `log Σ exp(z)
    /// − z[label]`. A row with a NaN has loss NaN and is wrong.
    pub fn of<T: Copy + Into<f64>>(logits: &[T], label: usize) -> Self {
        Self {
            loss: cross_entropy(logits, label),
            correct: arg_max(logits) == Some(label),
        }
    }

    /// The outcome of β·logits. As β is positive, the largest logit stays the same.
    pub fn calibrated<T: Copy + Into<f64>>(logits: &[T], beta: f64, label: usize) -> Self {
        let scaled: Vec<f64> = logits.iter().map(|&logit| beta * logit.into()).collect();
        Self {
            loss: cross_entropy(&scaled, label),
            correct: arg_max(logits) == Some(label),
        }
    }
}

/// Running sums over samples in a fixed order (mean and spread of the losses by Welford's
/// recurrence, f64), so that results are independent of batches, chunks and workers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    n: u64,
    mean: f64,
    /// Σ (loss − mean)².
    spread: f64,
    wrong: u64,
    nonfinite: u64,
}

/// Number of words that a [`Tally`] is stored as.
pub const WORDS: usize = 5;

impl Tally {
    /// Adds a sample. A loss that is NaN or infinite is included, and counted.
    pub fn add(&mut self, Outcome { loss, correct }: Outcome) {
        self.wrong += u64::from(!correct);
        self.n += 1;
        if !loss.is_finite() {
            self.nonfinite += 1;
        }
        if !self.mean.is_finite() || !loss.is_finite() {
            // The mean of numbers that are not all finite follows IEEE arithmetic.
            self.mean += loss;
            self.spread = f64::NAN;
            return;
        }
        let before = loss - self.mean;
        self.mean += before / self.n as f64;
        self.spread += before * (loss - self.mean);
    }

    /// The number of samples added so far.
    pub fn samples(&self) -> usize {
        self.n as usize
    }

    /// Means and their standard errors: sample standard deviation (n − 1) over √n; NaN for fewer
    /// than two samples.
    pub fn score(&self) -> Score {
        let n = self.n as f64;
        let standard_error = |spread: f64| match self.n {
            0 | 1 => f64::NAN,
            _ => (spread / (n - 1.0) / n).sqrt(),
        };
        let error = self.wrong as f64 / n;
        Score {
            loss: self.mean,
            loss_se: standard_error(self.spread),
            error,
            error_se: standard_error(n * error * (1.0 - error)),
            nonfinite: self.nonfinite as usize,
        }
    }

    /// A standard error of the error that is never 0: no error among few samples is no proof of none.
    pub fn cautious_error_se(&self) -> f64 {
        cautious_se(self.wrong as usize, self.n as usize)
    }

    /// The tally as words, without loss of a bit.
    pub fn to_words(self) -> [u64; WORDS] {
        let (mean, spread) = (self.mean.to_bits(), self.spread.to_bits());
        [self.n, mean, spread, self.wrong, self.nonfinite]
    }

    /// Restores a tally from [`Tally::to_words`].
    pub fn from_words([n, mean, spread, wrong, nonfinite]: [u64; WORDS]) -> Self {
        Self {
            n,
            mean: f64::from_bits(mean),
            spread: f64::from_bits(spread),
            wrong,
            nonfinite,
        }
    }
}

/// Cross-entropy of one row in nats, by a log-sum-exp shifted by the largest logit.
///
/// A logit of +∞ at the label gives loss 0 and elsewhere +∞; two of them give NaN.
pub fn cross_entropy<T: Copy + Into<f64>>(logits: &[T], label: usize) -> f64 {
    let at_label: f64 = logits[label].into();
    let mut max = f64::NEG_INFINITY;
    for &logit in logits {
        let logit = logit.into();
        if logit.is_nan() {
            return f64::NAN;
        }
        max = max.max(logit);
    }
    if max == f64::INFINITY {
        let several = logits
            .iter()
            .filter(|logit| (**logit).into() == f64::INFINITY)
            .count()
            > 1;
        return match (at_label == max, several) {
            (true, false) => 0.0,
            (true, true) => f64::NAN,
            (false, _) => f64::INFINITY,
        };
    }
    let sum: f64 = logits.iter().map(|&logit| (logit.into() - max).exp()).sum();
    sum.ln() + max - at_label
}

/// Index of the first largest logit; `None` when one is NaN.
pub(super) fn arg_max<T: Copy + Into<f64>>(logits: &[T]) -> Option<usize> {
    let (mut best, mut largest) = (0, f64::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        let logit = logit.into();
        if logit.is_nan() {
            return None;
        }
        if logit > largest {
            (best, largest) = (index, logit);
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(rows: &[(&[f32], usize)]) -> Score {
        let mut tally = Tally::default();
        for (logits, label) in rows {
            tally.add(Outcome::of(logits, *label));
        }
        tally.score()
    }

    #[test]
    fn closed_forms() {
        let score = score(&[(&[0.0, 0.0], 0), (&[0.0, 3.0_f32.ln()], 0)]);
        let losses = [2.0_f64.ln(), 4.0_f64.ln()];
        assert!((score.loss - f64::midpoint(losses[0], losses[1])).abs() < 1e-7);
        assert!((score.loss_se - (losses[1] - losses[0]) / 2.0).abs() < 1e-7);
        assert_eq!((score.error, score.error_se), (0.5, 0.5));
        assert_eq!(score.nonfinite, 0);
    }

    #[test]
    fn no_error_among_few_samples_is_no_certainty() {
        let mut tally = Tally::default();
        (0..96).for_each(|_| tally.add(Outcome::of(&[1.0, 0.0], 0)));
        assert_eq!(tally.score().error_se, 0.0);
        assert!((tally.cautious_error_se() - (0.02_f64 * 0.98 / 100.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn words_lose_nothing() {
        let mut tally = Tally::default();
        for logits in [[0.1, 0.7], [f32::NAN, 0.0]] {
            tally.add(Outcome::of(&logits, 0));
            let back = Tally::from_words(tally.to_words());
            assert_eq!(back.to_words(), tally.to_words());
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert_eq!(cross_entropy(&[1e4_f32, 0.0], 0), 0.0);
        assert_eq!(cross_entropy(&[1e4_f32, 0.0], 1), 1e4);
        assert_eq!(cross_entropy(&[3e38_f32, -3e38], 0), 0.0);
        assert_eq!(cross_entropy(&[f32::NEG_INFINITY, 0.0], 0), f64::INFINITY);
        assert_eq!(cross_entropy(&[f32::NEG_INFINITY, 0.0], 1), 0.0);
        assert_eq!(cross_entropy(&[f32::INFINITY, 0.0], 0), 0.0);
        assert_eq!(cross_entropy(&[f32::INFINITY, 0.0], 1), f64::INFINITY);
    }

    #[test]
    fn nan_is_kept_counted_and_wrong() {
        let score = score(&[(&[f32::NAN, 0.0], 1), (&[0.0, 1.0], 1)]);
        assert!(score.loss.is_nan() && score.loss_se.is_nan());
        assert_eq!((score.error, score.nonfinite), (0.5, 1));
        let score = super::tests::score(&[(&[f32::NEG_INFINITY, 0.0], 0), (&[0.0, 1.0], 1)]);
        assert_eq!((score.loss, score.nonfinite), (f64::INFINITY, 1));
    }

    #[test]
    fn ties_go_to_the_first_and_one_sample_has_no_standard_error() {
        assert_eq!(arg_max(&[1.0_f32, 2.0, 2.0]), Some(1));
        assert!(score(&[(&[0.0, 1.0], 1)]).loss_se.is_nan());
    }
}
