//! Do two quantities of pairs of models, as their angle and what averaging them gains, go together?
//!
//! k models form k(k−1)/2 pairs, which are not independent: pairs with one model in common share what
//! is special about it. So tests permute models and intervals leave models out, never pairs.

use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;

use super::matrix::{PairMatrices, pairs, upper};
use super::{Draws, Interval, jackknife};
use crate::analysis::correlation::PairPoint;

/// Which correlation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pearson's, of the values.
    Pearson,
    /// Spearman's: Pearson's of the ranks among all pairs, equal values sharing their mean rank.
    Spearman,
}

/// Whether what is special about each model takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelEffects {
    /// The quantities as they are. A model that is far from all others and averages badly with all
    /// makes a correlation by itself.
    Kept,
    /// m + aᵢ + aⱼ is first fitted to both quantities by least squares and subtracted (Griffing 1956),
    /// which leaves what is special about each *pair*. Needs 4 models; Spearman ranks what is left.
    Removed,
}

/// A correlation over the pairs of models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairCorrelation {
    /// The correlation; NaN for fewer than 3 pairs, or 4 models without their effects, and for
    /// constants.
    pub value: f64,
    /// Two-sided p value of Mantel's permutation test.
    pub p: f64,
    /// Interval by leaving models out; none for fewer than 5 models, and for ±1.
    pub interval: Interval,
    /// Number of models with all their pairs; the others are left out.
    pub models: usize,
    /// Number of pairs of these models.
    pub pairs: usize,
}

/// The correlation of x and y over pairs, with Mantel's test and a jackknife interval.
///
/// *Test.* The models of y are permuted against those of x. p = (1 + #)/(1 + permutations), where #
/// counts permutations with a correlation of at least this size, of either sign; so it is never 0, and
/// with k models it cannot fall below about 1/k!. Mantel, "The detection of disease clustering and a
/// generalized regression approach", Cancer Research 27, 1967; the 1: Phipson and Smyth, Statistical
/// Applications in Genetics and Molecular Biology 9, 2010. The hypothesis is that models are
/// exchangeable: with effects kept, *any* relation of the two quantities breaks it, also one that comes
/// from models and not from pairs.
///
/// *Interval.* On z = atanh r, by [`jackknife`]: each model left out once, t with
/// k − 1 degrees. It is conservative where effects are removed.
///
/// Models that lack a pair, or have one with a NaN or infinite quantity, are left out, those that lack
/// most first.
pub fn correlation(
    points: &[PairPoint],
    kind: Kind,
    effects: ModelEffects,
    permutations: &Draws,
) -> PairCorrelation {
    let matrices = PairMatrices::complete(points);
    let k = matrices.models.len();
    let compared = compared(&matrices, kind, effects);
    let value = compared.correlation();
    let fisher = |left: usize| {
        let rest = matrices.without(left);
        self::compared(&rest, kind, effects).correlation().atanh()
    };
    let interval = match jackknife::interval(value.atanh(), k, fisher) {
        // The fewest models of which each may be left out and still leave three pairs and residuals.
        Some(interval) if k >= 5 => Interval {
            low: interval.low.tanh(),
            high: interval.high.tanh(),
        },
        _ => Interval::NONE,
    };
    PairCorrelation {
        value,
        p: mantel(&compared, value, permutations),
        interval,
        models: k,
        pairs: pairs(k).count(),
    }
}

/// The matrices whose values are correlated.
fn compared(matrices: &PairMatrices, kind: Kind, effects: ModelEffects) -> PairMatrices {
    let left = match effects {
        ModelEffects::Kept => matrices.clone(),
        ModelEffects::Removed => matrices.residuals(),
    };
    match kind {
        Kind::Pearson => left,
        Kind::Spearman => left.ranked(),
    }
}

/// The share of permutations of the models of y with a correlation of at least |`value`|.
fn mantel(matrices: &PairMatrices, value: f64, permutations: &Draws) -> f64 {
    if value.is_nan() {
        return f64::NAN;
    }
    let k = matrices.models.len();
    let centred = |values: Vec<f64>| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
        (mean, centred)
    };
    // A permutation changes neither means nor spreads: only Σ x·y has to be compared.
    let (_, x) = centred(upper(&matrices.x));
    let (mean, y) = centred(upper(&matrices.y));
    let product = |a: &[f64]| a.iter().map(|value| value * value).sum::<f64>().sqrt();
    // Sums in another order round differently.
    let reached = (value.abs() - 1e-12) * product(&x) * product(&y);
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(permutations.seed);
    let mut order: Vec<usize> = (0..k).collect();
    let as_large = (0..permutations.count).filter(|_| {
        order.shuffle(&mut generator);
        let permuted = pairs(k).map(|(i, j)| matrices.y[order[i]][order[j]] - mean);
        let sum: f64 = x.iter().zip(permuted).map(|(x, y)| x * y).sum();
        sum.abs() >= reached
    });
    (1 + as_large.count()) as f64 / (1 + permutations.count) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: Draws = Draws {
        count: 4000,
        seed: 1,
    };

    fn points(k: usize, value: impl Fn(usize, usize) -> (f64, f64)) -> Vec<PairPoint> {
        let point = |(a, b)| {
            let (x, y) = value(a, b);
            PairPoint { a, b, x, y }
        };
        pairs(k).map(point).collect()
    }

    fn noise(a: usize, b: usize, factor: f64) -> f64 {
        (factor * ((a + 2) * (b + 5) * (a + b + 1)) as f64).sin()
    }

    #[test]
    fn p_is_the_share_of_permutations() {
        // Six different values of four models: of the 24 permutations, only the identity keeps all.
        let equal = points(4, |a, b| (noise(a, b, 1.0), 2.0 * noise(a, b, 1.0) + 1.0));
        for kind in [Kind::Pearson, Kind::Spearman] {
            let found = correlation(&equal, kind, ModelEffects::Kept, &DRAWS);
            assert!((found.value - 1.0).abs() < 1e-12);
            // 4000 draws: standard error √(1/24 · 23/24 / 4000) = 0.003. A correlation of −1 may not
            // be reached by any.
            assert!((found.p - 1.0 / 24.0).abs() < 0.013, "{found:?}");
            assert!(found.interval.low.is_nan());
            assert_eq!((found.models, found.pairs), (4, 6));
        }
    }

    #[test]
    fn every_permutation_counts_where_all_are_equally_large() {
        // x tells model 0 from the others, and y does: a quarter of the permutations agree.
        let star = points(4, |a, _| {
            let of_first = f64::from(u8::from(a == 0));
            (of_first, 3.0 * of_first)
        });
        let found = correlation(&star, Kind::Pearson, ModelEffects::Kept, &DRAWS);
        // Else the correlation is −1/3. Standard error 0.007.
        assert!((found.p - 0.25).abs() < 0.03, "{found:?}");
        // And models alone explain it: no pair is special.
        let removed = correlation(&star, Kind::Pearson, ModelEffects::Removed, &DRAWS);
        assert!(removed.value.is_nan() && removed.p.is_nan() && removed.interval.low.is_nan());
    }

    #[test]
    fn what_models_hide_is_found_without_their_effects() {
        let parts: Vec<[f64; 2]> = (0..14)
            .map(|m| [noise(m, 0, 3.0), noise(m, 1, 7.0)].map(|part| 5.0 * part))
            .collect();
        let hidden = points(14, |a, b| {
            let own = noise(a, b, 0.7);
            (
                parts[a][0] + parts[b][0] + own,
                parts[a][1] + parts[b][1] + own + 0.5 * noise(a, b, 0.3),
            )
        });
        for kind in [Kind::Pearson, Kind::Spearman] {
            let kept = correlation(&hidden, kind, ModelEffects::Kept, &DRAWS);
            let removed = correlation(&hidden, kind, ModelEffects::Removed, &DRAWS);
            assert!(kept.value.abs() < 0.5 && kept.p > 0.05, "{kept:?}");
            assert!(removed.value > 0.75 && removed.p < 0.001, "{removed:?}");
            assert!(removed.interval.low > 0.5 && removed.interval.contains(removed.value));
            assert!(kept.interval.contains(kept.value) && kept.interval.high < 1.0);
        }
    }

    #[test]
    fn it_follows_from_the_seed_and_names_of_models_do_not_matter() {
        let some = points(8, |a, b| (noise(a, b, 0.7), noise(a, b, 0.9)));
        let of = |points: &[PairPoint], seed| {
            correlation(
                points,
                Kind::Spearman,
                ModelEffects::Kept,
                &Draws { count: 500, seed },
            )
        };
        let found = of(&some, 1);
        assert_eq!(found, of(&some, 1));
        assert_ne!(found.p, of(&some, 2).p);
        let renamed: Vec<PairPoint> = some
            .iter()
            .map(|p| PairPoint {
                a: 3 * p.b + 1,
                b: 3 * p.a + 1,
                ..*p
            })
            .collect();
        assert_eq!(found, of(&renamed, 1));
    }

    #[test]
    fn few_models_and_constants_have_none() {
        let two = points(2, |_, _| (1.0, 2.0));
        let constant = points(6, |a, b| (1.0, noise(a, b, 1.0)));
        for points in [vec![], two, constant] {
            let found = correlation(&points, Kind::Pearson, ModelEffects::Kept, &DRAWS);
            assert!(found.value.is_nan() && found.p.is_nan() && found.interval.low.is_nan());
        }
    }
}
