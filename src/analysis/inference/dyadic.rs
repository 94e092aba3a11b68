//! Is a quantity of pairs positive on average, or in most pairs, given that pairs share models?
//!
//! A count of pairs on each side, as 63 to 28, is no count of independent cases: 14 models form 91
//! pairs. Standard errors are over models ([`jackknife`]).

use super::{Interval, jackknife, proportion};

/// A quantity of a pair of models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairValue {
    /// One model of the pair.
    pub a: usize,
    /// The other model.
    pub b: usize,
    /// The quantity.
    pub value: f64,
}

/// The mean of a quantity over pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairMean {
    /// The mean over the pairs, in the unit of the values. NaN if one is NaN or infinite, or for none.
    pub value: f64,
    /// Its standard error over models. NaN for fewer than 3 models, or if leaving one out leaves none.
    pub se: f64,
    /// value ∓ t(k−1)·SE.
    pub interval: Interval,
    /// Two-sided p value of a mean of 0, from t(k−1); NaN without a spread.
    pub p: f64,
    /// k, the number of models that occur in a pair.
    pub models: usize,
    /// Number of pairs.
    pub pairs: usize,
}

/// The mean over pairs, which need not be all pairs of the models.
pub fn mean(pairs: &[PairValue]) -> PairMean {
    let models = models(pairs);
    let value = mean_of(pairs.iter());
    let se = jackknife::standard_error(models.len(), |left| mean_of(without(pairs, models[left])));
    PairMean {
        value,
        se,
        interval: jackknife::around(value, se, models.len()).unwrap_or(Interval::NONE),
        p: jackknife::p(value, se, models.len()),
        models: models.len(),
        pairs: pairs.len(),
    }
}

/// How many pairs are on each side of 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sides {
    /// Number of pairs with a positive quantity.
    pub positive: usize,
    /// Number of pairs with a negative quantity.
    pub negative: usize,
    /// Number of pairs with exactly 0. They count for neither side.
    pub equal: usize,
    /// Number of pairs whose quantity is NaN. If there are any, what follows is NaN.
    pub unusable: usize,
    /// positive/(positive + negative).
    pub share: f64,
    /// Its standard error over models.
    pub se: f64,
    /// share ∓ t(k−1)·SE, cut to 0..1.
    pub interval: Interval,
    /// Two-sided p value of a share of ½, from t(k−1).
    pub p: f64,
    /// k, the number of models that occur in a pair on either side.
    pub models: usize,
}

/// Counts the pairs on each side of 0, and tests whether it is more on one.
///
/// If all are on one side, leaving models out shows no spread. But k models form ⌊k/2⌋ pairs that share
/// no model and are independent: standard error, interval and p are then those of ⌊k/2⌋ cases all on one
/// side ([`proportion::standard_error`], [`proportion::wilson`], and the sign test's 2·2^(−⌊k/2⌋)).
pub fn sides(pairs: &[PairValue]) -> Sides {
    let count = |on: fn(&f64) -> bool| pairs.iter().filter(|pair| on(&pair.value)).count();
    let positive = count(|value| *value > 0.0);
    let negative = count(|value| *value < 0.0);
    let unusable = count(|value| value.is_nan());
    let decided = pairs.iter().filter(|pair| pair.value != 0.0);
    let decided: Vec<PairValue> = decided
        .map(|pair| PairValue {
            value: if pair.value.is_nan() {
                f64::NAN
            } else {
                f64::from(u8::from(pair.value > 0.0))
            },
            ..*pair
        })
        .collect();
    let mean = mean(&decided);
    let (mut se, mut interval) = (mean.se, mean.interval);
    let mut p = jackknife::p(mean.value - 0.5, se, mean.models);
    if se == 0.0 {
        let apart = mean.models / 2;
        let on_side = if positive > 0 { apart } else { 0 };
        se = proportion::standard_error(on_side, apart);
        interval = proportion::wilson(on_side, apart);
        p = 2.0 * 0.5_f64.powi(apart as i32);
    }
    Sides {
        positive,
        negative,
        equal: count(|value| *value == 0.0),
        unusable,
        share: mean.value,
        se,
        // `clamp` keeps NaN.
        interval: Interval {
            low: interval.low.clamp(0.0, 1.0),
            high: interval.high.clamp(0.0, 1.0),
        },
        p,
        models: mean.models,
    }
}

/// The models that occur, ascending.
fn models(pairs: &[PairValue]) -> Vec<usize> {
    let mut models: Vec<usize> = pairs.iter().flat_map(|pair| [pair.a, pair.b]).collect();
    models.sort_unstable();
    models.dedup();
    models
}

fn without(pairs: &[PairValue], model: usize) -> impl Iterator<Item = &PairValue> {
    pairs
        .iter()
        .filter(move |pair| pair.a != model && pair.b != model)
}

/// NaN for no pair, and where a value is not finite.
fn mean_of<'a>(pairs: impl Iterator<Item = &'a PairValue>) -> f64 {
    let (count, sum) = pairs.fold((0, 0.0), |(count, sum), pair| (count + 1, sum + pair.value));
    let mean = sum / f64::from(count);
    if mean.is_finite() { mean } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(k: usize, value: impl Fn(usize, usize) -> f64) -> Vec<PairValue> {
        let pairs = (0..k).flat_map(|a| (a + 1..k).map(move |b| (a, b)));
        pairs
            .map(|(a, b)| PairValue {
                a,
                b,
                value: value(a, b),
            })
            .collect()
    }

    #[test]
    fn sums_of_parts_of_models_have_the_standard_error_of_the_models() {
        // The mean over pairs of aᵢ + aⱼ is twice the mean of a, whose SE is sd/√k.
        let parts: [f64; 6] = [0.3, -1.0, 2.0, 0.7, 5.0, 1.1];
        let found = mean(&all(6, |a, b| parts[a] + parts[b]));
        let centre = parts.iter().sum::<f64>() / 6.0;
        let squares: f64 = parts.iter().map(|part| (part - centre).powi(2)).sum();
        assert!((found.value - 2.0 * centre).abs() < 1e-14);
        assert!((found.se - 2.0 * (squares / 30.0).sqrt()).abs() < 1e-14);
        assert_eq!((found.models, found.pairs), (6, 15));
        assert!(
            found.interval.contains(found.value) && found.p > 0.05 && found.p < 0.2,
            "{found:?}"
        );
    }

    #[test]
    fn many_pairs_of_one_model_are_no_evidence() {
        // Model 0 spoils its 9 pairs; as independent pairs, 9 of 36 would be decided.
        let one = sides(&all(10, |a, b| if a == 0 { -1.0 } else { noise(a, b) }));
        assert_eq!(one.positive + one.negative, 45);
        let independent = (one.share * (1.0 - one.share) / 45.0).sqrt();
        assert!(one.se > 1.3 * independent, "{one:?}");
    }

    fn noise(a: usize, b: usize) -> f64 {
        ((a * 5 + b * b * 3 + a * b) as f64).sin()
    }

    #[test]
    fn all_on_one_side_is_as_sure_as_pairs_that_share_no_model() {
        for sign in [1.0, -1.0] {
            let found = sides(&all(14, |_, _| sign));
            assert_eq!(found.positive + found.negative, 91);
            // Seven pairs: p̃ = 9/11.
            assert!((found.se - (9.0 / 11.0 * 2.0 / 11.0 / 11.0_f64).sqrt()).abs() < 1e-15);
            assert_eq!(found.p, 2.0 / 128.0);
            assert!(!found.interval.contains(0.5) && found.interval.contains(found.share));
        }
        let few = sides(&all(4, |_, _| 1.0));
        assert!(few.p == 0.5 && few.interval.contains(0.5), "{few:?}");
    }

    #[test]
    fn zeros_are_on_neither_side_and_a_nan_is_counted() {
        let mut pairs = all(5, |a, b| if a == 0 { 0.0 } else { noise(a, b) });
        let found = sides(&pairs);
        assert_eq!(
            (found.equal, found.positive + found.negative, found.models),
            (4, 6, 4)
        );
        pairs[9].value = f64::NAN;
        let found = sides(&pairs);
        assert_eq!(found.unusable, 1);
        assert!(found.share.is_nan() && found.p.is_nan() && found.interval.low.is_nan());
        let none = sides(&[]);
        assert!(none.share.is_nan() && none.p.is_nan() && none.models == 0);
        assert!(mean(&all(3, |_, _| f64::INFINITY)).value.is_nan());
        // Without the model that all pairs have, none is left.
        let star = [(0, 1), (0, 2), (0, 3)].map(|(a, b)| PairValue {
            a,
            b,
            value: b as f64,
        });
        let found = mean(&star);
        assert!(found.value == 2.0 && found.se.is_nan() && found.p.is_nan());
    }
}
