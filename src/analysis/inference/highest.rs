//! Which of several models may have the highest mean accuracy?
//!
//! The highest of noisy accuracies is chosen by its luck, too. So a model is told from the highest only
//! if it lies below one of the others by more than the largest of *all* paired differences would by
//! chance: with probability [`LEVEL`] every model that is truly the highest is left (multiple
//! comparisons with the best, Hsu, *Multiple Comparisons*, 1996, here with the quantile of all pairs).

use fixedbitset::FixedBitSet;
use nalgebra::{DMatrix, SymmetricEigen};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};

use super::paired::Discordant;
use super::{Draws, LEVEL};

/// The samples of a data set that each model has right: `correct[model]`.
pub struct Right<'s> {
    /// `correct[model]`, one bit per sample.
    pub correct: Vec<&'s FixedBitSet>,
    /// Number of samples.
    pub samples: usize,
}

/// Whether each model may be the one with the highest accuracy, in the unweighted mean over separate
/// data sets.
///
/// A model is ruled out if another one lies above it by more than c paired standard errors, where c is
/// the [`LEVEL`] quantile of the largest of all standardized differences of normal numbers with the
/// covariance of the accuracies, and if the exact test of McNemar on the discordant samples of all sets
/// agrees: a few samples tell nothing.
///
/// # Panics
/// Panics when the sets have different numbers of models.
pub fn may_be_highest(sets: &[Right<'_>], draws: &Draws) -> Vec<bool> {
    let models = sets.first().map_or(0, |set| set.correct.len());
    let pairs = Pairs::of(sets, models);
    let quantile = pairs.quantile(draws);
    let is_above = |other: usize, model: usize| {
        let (difference, se) = (
            pairs.means[other] - pairs.means[model],
            pairs.se(other, model),
        );
        let exact = Discordant {
            only_first: pairs.only[(other, model)],
            only_second: pairs.only[(model, other)],
            samples: sets.iter().map(|set| set.samples).sum(),
        };
        let is_beyond = match se > 0.0 {
            true => difference > quantile * se,
            // Without a spread, only the number of samples says how sure the difference is.
            false => se == 0.0 && difference > 0.0,
        };
        is_beyond && exact.p() < 1.0 - LEVEL
    };
    (0..models)
        .map(|model| !(0..models).any(|other| other != model && is_above(other, model)))
        .collect()
}

/// What is known of all pairs of models.
struct Pairs {
    means: Vec<f64>,
    /// Covariances of the mean accuracies.
    covariance: DMatrix<f64>,
    /// Number of samples, over all sets, that the first of two models has right and the second wrong.
    only: DMatrix<usize>,
}

impl Pairs {
    fn of(sets: &[Right<'_>], models: usize) -> Self {
        let mut pairs = Self {
            means: vec![0.0; models],
            covariance: DMatrix::zeros(models, models),
            only: DMatrix::zeros(models, models),
        };
        let weight = 1.0 / sets.len() as f64;
        for set in sets {
            assert_eq!(set.correct.len(), models, "sets with different models");
            let n = set.samples as f64;
            let counts: Vec<usize> = set.correct.iter().map(|of| of.count_ones(..)).collect();
            for (a, first) in set.correct.iter().enumerate() {
                pairs.means[a] += weight * counts[a] as f64 / n;
                for (b, second) in set.correct.iter().enumerate() {
                    let both = first.intersection_count(second);
                    pairs.only[(a, b)] += counts[a] - both;
                    let product = counts[a] as f64 * counts[b] as f64 / n;
                    let covariance = (both as f64 - product) / (n * (n - 1.0));
                    pairs.covariance[(a, b)] += weight * weight * covariance;
                }
            }
        }
        pairs
    }

    /// Standard error of the difference of two accuracies; NaN for a single sample.
    fn se(&self, a: usize, b: usize) -> f64 {
        let of = &self.covariance;
        let both = of[(a, a)] + of[(b, b)];
        let square = both - 2.0 * of[(a, b)];
        // What is left of models that differ on no sample, or on all, is rounding.
        match square <= 1e-12 * both {
            true => 0.0,
            false => square.sqrt(),
        }
    }

    /// The [`LEVEL`] quantile of the largest standardized difference; NaN where none has a spread.
    fn quantile(&self, draws: &Draws) -> f64 {
        let models = self.means.len();
        let spread: Vec<(usize, usize, f64)> = (0..models)
            .flat_map(|a| (a + 1..models).map(move |b| (a, b)))
            .map(|(a, b)| (a, b, self.se(a, b)))
            .filter(|(_, _, se)| *se > 0.0)
            .collect();
        let root = root(&self.covariance).filter(|_| !spread.is_empty());
        let Some(root) = root else {
            return f64::NAN;
        };
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(draws.seed);
        let mut largest: Vec<f64> = (0..draws.count)
            .map(|_| {
                let normal = DMatrix::from_fn(models, 1, |_, _| normal(&mut generator));
                let drawn = &root * normal;
                let ratios = spread.iter();
                let ratios = ratios.map(|(a, b, se)| (drawn[*a] - drawn[*b]).abs() / se);
                ratios.fold(0.0, f64::max)
            })
            .collect();
        largest.sort_by(f64::total_cmp);
        let rank = (LEVEL * (largest.len() + 1) as f64).ceil() as usize;
        largest[rank.clamp(1, largest.len().max(1)) - 1]
    }
}

/// A matrix whose product with its transpose is this one; none if it has elements that are not finite.
fn root(covariance: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    if covariance.iter().any(|element| !element.is_finite()) {
        return None;
    }
    let eigen = SymmetricEigen::try_new(covariance.clone(), f64::EPSILON, 1000)?;
    // Rounding makes values of 0 negative.
    let roots = eigen.eigenvalues.map(|value| value.max(0.0).sqrt());
    Some(eigen.eigenvectors * DMatrix::from_diagonal(&roots))
}

/// A standard normal number, by Box and Muller.
fn normal(generator: &mut Xoshiro256PlusPlus) -> f64 {
    let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let (radius, angle) = (uniform(generator.next_u64()), uniform(generator.next_u64()));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(right: impl IntoIterator<Item = bool>) -> FixedBitSet {
        let right: Vec<bool> = right.into_iter().collect();
        let mut bits = FixedBitSet::with_capacity(right.len());
        for (at, right) in right.iter().enumerate() {
            bits.set(at, *right);
        }
        bits
    }

    fn found(sets: &[Vec<FixedBitSet>]) -> Vec<bool> {
        let sets: Vec<Right<'_>> = sets
            .iter()
            .map(|set| Right {
                correct: set.iter().collect(),
                samples: set[0].len(),
            })
            .collect();
        may_be_highest(&sets, &Draws::new(0))
    }

    #[test]
    fn two_models_are_told_apart_by_their_paired_difference() {
        // 40 against 10 discordant samples of 1000: 30/√(50 − 0.9) = 4.3 standard errors.
        let first = bits((0..1000).map(|s| s >= 10));
        let second = bits((0..1000).map(|s| s < 960));
        assert_eq!(found(&[vec![first.clone(), second.clone()]]), [true, false]);
        // 15 against 10: 1.0 standard errors.
        let third = bits((0..1000).map(|s| s < 985));
        assert_eq!(found(&[vec![first, third]]), [true, true]);
    }

    #[test]
    fn few_samples_and_equal_models_tell_nothing() {
        // All five samples: p = 1/16 by the exact test.
        let [all, none] = [true, false].map(|right| bits(std::iter::repeat_n(right, 5)));
        assert_eq!(found(&[vec![all.clone(), none.clone()]]), [true, true]);
        assert_eq!(found(&[vec![all.clone(), all.clone()]]), [true, true]);
        // One sample has no spread.
        let [one, other] = [true, false].map(|right| bits([right]));
        assert_eq!(found(&[vec![one, other]]), [true, true]);
        let [all, none] = [true, false].map(|right| bits(std::iter::repeat_n(right, 500)));
        // Without any spread the difference is certain, and the exact test says so.
        assert_eq!(found(&[vec![all, none]]), [true, false]);
    }

    #[test]
    fn the_quantile_of_independent_models_is_that_of_the_studentized_range() {
        // Five independent models, infinitely many samples: q₀.₉₅(5, ∞)/√2 = 3.858/√2 (tables of the
        // studentized range). The quantile of 20,000 draws has a standard error of about 0.01.
        let pairs = Pairs {
            means: vec![0.0; 5],
            covariance: DMatrix::identity(5, 5),
            only: DMatrix::from_element(5, 5, 1),
        };
        let draws = Draws {
            count: 20_000,
            seed: 0,
        };
        let expected = 3.858 / 2.0_f64.sqrt();
        let quantile = pairs.quantile(&draws);
        assert!((quantile - expected).abs() < 0.04, "{quantile} {expected}");
    }

    #[test]
    fn a_mean_over_sets_weighs_them_alike() {
        // The first model is better on a large set by a little, and worse on a small one by a lot.
        let large = vec![
            bits((0..2000).map(|s| s >= 20)),
            bits((0..2000).map(|s| s >= 60)),
        ];
        let small = vec![
            bits((0..200).map(|s| s >= 100)),
            bits((0..200).map(|s| s >= 20)),
        ];
        assert_eq!(found(std::slice::from_ref(&large)), [true, false]);
        let both = found(&[large, small]);
        assert_eq!(both, [false, true]);
    }
}
