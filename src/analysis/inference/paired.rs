//! Comparisons of models on the same samples.

use statrs::distribution::{Binomial, DiscreteCDF as _};

use super::{Estimate, Interval, mean, normal_quantile};

/// The mean of a − b over samples, with its paired standard error sd(a − b)/√n (n−1 in the variance),
/// in the unit of the values.
///
/// Samples that are hard for both models add nothing, so this is smaller, often many times, than the
/// standard error for independent samples.
///
/// # Panics
/// Panics when the models have different numbers of samples.
pub fn difference(a: &[f64], b: &[f64]) -> Estimate {
    contrast(&[(1.0, a), (-1.0, b)])
}

/// The mean over samples of Σₘ wₘ·valueₘ, with its paired standard error, of models m with weights w:
/// a soup above its ends is (1, soup), (−½, a), (−½, b).
///
/// A model with weight 0 is not read. NaN for no model.
///
/// # Panics
/// Panics when the models have different numbers of samples.
pub fn contrast(terms: &[(f64, &[f64])]) -> Estimate {
    mean(contrast_values(terms))
}

/// What [`contrast`] takes the mean of: Σₘ wₘ·valueₘ of each sample.
///
/// # Panics
/// Panics when the models have different numbers of samples.
pub fn contrast_values<'a>(terms: &'a [(f64, &'a [f64])]) -> impl Iterator<Item = f64> + 'a {
    let samples = terms.first().map_or(0, |(_, values)| values.len());
    for (_, values) in terms {
        assert_eq!(values.len(), samples, "models with different samples");
    }
    (0..samples).map(move |s| {
        let read = terms.iter().filter(|(weight, _)| *weight != 0.0);
        read.map(|(weight, values)| weight * values[s]).sum()
    })
}

/// The samples on which one of two models is right and the other is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discordant {
    /// Number of samples that only the first model has right.
    pub only_first: usize,
    /// Number of samples that only the second model has right.
    pub only_second: usize,
    /// Number of all samples.
    pub samples: usize,
}

impl Discordant {
    /// Counts whether each sample is right, in the same order for both models.
    ///
    /// # Panics
    /// Panics when the models have different numbers of samples.
    pub fn count(
        first: impl IntoIterator<Item = bool>,
        second: impl IntoIterator<Item = bool>,
    ) -> Self {
        let mut found = Self {
            only_first: 0,
            only_second: 0,
            samples: 0,
        };
        let mut second = second.into_iter();
        for first in first {
            let second = second.next();
            assert!(second.is_some(), "models with different samples");
            found.samples += 1;
            found.only_first += usize::from(first && second == Some(false));
            found.only_second += usize::from(!first && second == Some(true));
        }
        assert!(second.next().is_none(), "models with different samples");
        found
    }

    /// The accuracy of the first model minus that of the second, (b − c)/n as a share, with
    /// SE² = [(b + c) − (b − c)²/n] / (n(n−1)).
    ///
    /// This is [`difference`] of values 1 and 0. It is 0 ± 0 if the models agree on all samples;
    /// [`interval`](Self::interval) is honest there.
    pub fn difference(&self) -> Estimate {
        let [b, c, n] = self.counts();
        let squares = (b + c) - (b - c).powi(2) / n;
        Estimate {
            value: (b - c) / n,
            // All discordant on one side, and no other sample: a difference of equal numbers.
            se: (squares.max(0.0) / (n * (n - 1.0))).sqrt(),
            samples: self.samples,
            unusable: 0,
        }
    }

    /// An interval of the difference that has a width even if no sample is discordant: with
    /// p₁ = (b+1)/(n+2) and p₂ = (c+1)/(n+2), p₁ − p₂ ∓ z·√([p₁ + p₂ − (p₁ − p₂)²]/(n+2)), cut to −1..1.
    ///
    /// Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions
    /// based on paired data", Journal of Educational and Behavioral Statistics 37, 2012.
    pub fn interval(&self) -> Interval {
        let [b, c, n] = self.counts();
        let [first, second] = [b, c].map(|count| (count + 1.0) / (n + 2.0));
        let difference = first - second;
        let variance = (first + second - difference.powi(2)) / (n + 2.0);
        let half = normal_quantile() * variance.sqrt();
        Interval {
            low: (difference - half).max(-1.0),
            high: (difference + half).min(1.0),
        }
    }

    /// The exact two-sided p value of McNemar's test that both models are right equally often:
    /// min(1, 2·P(X ≥ max(b, c))) for X binomial with b + c trials and probability ½; 1 without a
    /// discordant sample.
    ///
    /// McNemar, Psychometrika 12, 1947; as statsmodels' `mcnemar(exact=True)`. The tail is an incomplete
    /// beta function; against sums in 40 digits it is right to 1e-11 for thousands of discordant
    /// samples, far out too (1e-65), and to 1e-9 for two million.
    pub fn p(&self) -> f64 {
        let (trials, most) = (
            (self.only_first + self.only_second) as u64,
            self.only_first.max(self.only_second) as u64,
        );
        match (Binomial::new(0.5, trials), most.checked_sub(1)) {
            (Ok(binomial), Some(below)) => (2.0 * binomial.sf(below)).min(1.0),
            _ => 1.0,
        }
    }

    /// b, c and n.
    fn counts(&self) -> [f64; 3] {
        [self.only_first, self.only_second, self.samples].map(|count| count as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn discordant(only_first: usize, only_second: usize, samples: usize) -> Discordant {
        Discordant {
            only_first,
            only_second,
            samples,
        }
    }

    #[test]
    fn differences_and_contrasts_by_hand() {
        // Differences 1, 2, 6: mean 3, variance (4 + 1 + 9)/2 = 7.
        let found = difference(&[2.0, 4.0, 7.0], &[1.0, 2.0, 1.0]);
        assert_eq!((found.value, found.samples, found.unusable), (3.0, 3, 0));
        assert!((found.se - (7.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        // The chord of −1, 5 and 0, 8 at ½ is 2 and 4; the soup is 1 above and 1 below it.
        let (soup, a, b) = ([3.0, 3.0], [-1.0, 0.0], [5.0, 8.0]);
        let found = contrast(&[(1.0, &soup), (-0.5, &a), (-0.5, &b)]);
        assert_eq!((found.value, found.se), (0.0, 1.0));
    }

    #[test]
    fn what_is_not_finite_is_counted_and_spoils_the_result() {
        let found = difference(&[f64::INFINITY, f64::NAN, 1.0], &[f64::INFINITY, 0.0, 0.0]);
        assert!(found.value.is_nan() && found.se.is_nan());
        assert_eq!((found.samples, found.unusable), (3, 2));
        let (broken, fine) = ([f64::NAN, 1.0], [1.0, 2.0]);
        assert_eq!(contrast(&[(0.0, &broken), (1.0, &fine)]).value, 1.5);
        let single = difference(&[1.0], &[0.5]);
        assert!(single.value == 0.5 && single.se.is_nan());
        assert!(difference(&[], &[]).value.is_nan() && contrast(&[]).value.is_nan());
    }

    #[test]
    fn a_spread_far_below_the_mean_keeps_its_digits() {
        // Σd² − n·mean² would lose all: 1e8 squared has 16 digits.
        let values: Vec<f64> = (0..1000).map(|s| 1e8 + f64::from(s % 2)).collect();
        let found = difference(&values, &[0.0; 1000]);
        let expected = (0.25_f64 / 999.0).sqrt();
        assert!((found.se / expected - 1.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn mcnemar_by_hand_and_from_the_example() {
        // P(Bin(5, ½) ≥ 4) = 6/32.
        assert!((discordant(1, 4, 50).p() - 12.0 / 32.0).abs() < 1e-15);
        assert_eq!(discordant(0, 0, 50).p(), 1.0);
        assert_eq!(discordant(3, 3, 50).p(), 1.0);
        assert!((discordant(0, 1, 1).p() - 1.0).abs() < 1e-15);
        assert!((discordant(0, 60, 99).p() / 0.5_f64.powi(59) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn agreement_everywhere_has_an_interval() {
        let none = discordant(0, 0, 682);
        let (difference, interval) = (none.difference(), none.interval());
        assert_eq!((difference.value, difference.se), (0.0, 0.0));
        // √(2/684)/√684 · 1.96.
        let half = normal_quantile() * 2.0_f64.sqrt() / 684.0;
        assert!((interval.high - half).abs() < 1e-15 && interval.low == -interval.high);
        let all = discordant(7, 0, 7);
        assert!(all.difference().se == 0.0 && all.interval().high == 1.0);
    }

    #[test]
    #[should_panic(expected = "different samples")]
    fn other_samples_are_refused() {
        Discordant::count([true, false], [true]);
    }

    proptest! {
        #[test]
        fn counts_say_what_the_values_say(pairs in prop::collection::vec(any::<(bool, bool)>(), 2..200)) {
            let side = |second: bool| pairs.iter().map(move |pair| if second { pair.1 } else { pair.0 });
            let counted = Discordant::count(side(false), side(true)).difference();
            let [first, second] = [false, true]
                .map(|which| side(which).map(|right| f64::from(u8::from(right))).collect::<Vec<_>>());
            let paired = difference(&first, &second);
            // Sums of 200 small integers, and Welford's running mean of them.
            prop_assert!((counted.value - paired.value).abs() < 1e-14);
            prop_assert!((counted.se - paired.se).abs() < 1e-13);
        }
    }
}
