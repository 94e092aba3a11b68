//! Pairs of checkpoints: the midpoint soup compared with the two models and their ensemble
//! (Wortsman et al. 2022, Figures 3 and 4).

use std::ops::Range;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

use super::correlation::{PairPoint, pearson, spearman};
use super::inference::dyadic::{self, PairValue};
use super::inference::mantel::{self, Kind, ModelEffects};
use super::inference::means::over_sets;
use super::inference::multiple::benjamini_hochberg;
use super::inference::paired::{contrast, difference};
use super::inference::{Draws, Estimate, LEVEL, normal_p};
use crate::evaluate::outcomes::Outcomes;
use crate::result::pairs::{Correlation, MeanAdvantage, Pair, PairRow, PairSummary};
use crate::result::score::{DatasetInfo, MEANS, Role, SHIFTS, Score, in_roles};
use crate::space::gram::Gram;

/// All pairs of `models`, each once, as (smaller, larger).
pub fn all(models: Range<usize>) -> Vec<(usize, usize)> {
    let end = models.end;
    models
        .flat_map(|a| (a + 1..end).map(move |b| (a, b)))
        .collect()
}

/// Draws `count` of the pairs without replacement and keeps their order.
pub fn drawn(mut pairs: Vec<(usize, usize)>, count: usize, seed: u64) -> Vec<(usize, usize)> {
    pairs.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    pairs.truncate(count);
    pairs.sort_unstable();
    pairs
}

/// A pair's models on every data set, `scores[data set]` and `outcomes[data set]` each.
#[derive(Debug, Clone, Copy)]
pub struct PairModels<'s> {
    /// The outcomes of the first checkpoint.
    pub a: &'s [Outcomes],
    /// The outcomes of the second checkpoint.
    pub b: &'s [Outcomes],
    /// The outcomes of ½θa + ½θb.
    pub soup: &'s [Outcomes],
    /// The scores of the mean of the two checkpoints' logits.
    pub ensemble: &'s [Score],
}

/// A pair on one data set, or in the mean over several.
struct Measured {
    samples: usize,
    /// Accuracies of the first checkpoint, the second, the soup and the ensemble.
    accuracies: [f64; 4],
    /// The soup over the mean of the ends, over the first and over the second: of accuracies.
    over: [Estimate; 3],
}

impl Measured {
    fn on(set: usize, dataset: &DatasetInfo, models: PairModels<'_>) -> Self {
        let of = [models.a, models.b, models.soup].map(|outcomes| &outcomes[set]);
        let errors = of.map(Outcomes::errors);
        let [a, b, soup] = errors.each_ref().map(Vec::as_slice);
        let ensemble = dataset.accuracy(models.ensemble[set].error);
        let share = |of: &Outcomes| of.correct().count_ones(..) as f64 / of.len() as f64;
        let [first, second, mixed] = of.map(share);
        Self {
            samples: dataset.samples,
            accuracies: [first, second, mixed, ensemble],
            over: [
                contrast(&[(-1.0, soup), (0.5, a), (0.5, b)]),
                difference(a, soup),
                difference(b, soup),
            ],
        }
    }

    /// The unweighted mean over data sets.
    fn mean(sets: &[&Self]) -> Self {
        let over = [0, 1, 2].map(|which: usize| {
            let all: Vec<Estimate> = sets.iter().map(|set| set.over[which]).collect();
            over_sets(&all)
        });
        let accuracies = [0, 1, 2, 3].map(|which: usize| {
            let sum: f64 = sets.iter().map(|set| set.accuracies[which]).sum();
            sum / sets.len() as f64
        });
        Self {
            samples: sets.iter().map(|set| set.samples).sum(),
            accuracies,
            over,
        }
    }

    fn row(&self, dataset: &str, role: &str) -> PairRow {
        let [accuracy_a, accuracy_b, accuracy_soup, accuracy_ensemble] = self.accuracies;
        let [over_mean, over_a, over_b] = self.over;
        let over_best = if accuracy_b > accuracy_a {
            over_b
        } else {
            over_a
        };
        PairRow {
            dataset: dataset.to_string(),
            role: role.to_string(),
            samples: self.samples,
            accuracy_a,
            accuracy_b,
            accuracy_soup,
            accuracy_ensemble,
            advantage: accuracy_soup - f64::midpoint(accuracy_a, accuracy_b),
            advantage_se: over_mean.se,
            advantage_z: over_mean.z(),
            advantage_best: accuracy_soup - accuracy_a.max(accuracy_b),
            advantage_best_se: over_best.se,
            advantage_best_z: over_best.z(),
            disagreement: f64::NAN,
            error_correlation: f64::NAN,
        }
    }
}

/// One row per data set, without [`super::diversity`], then the unweighted means `shifts`, over the shift sets, and `all`, over
/// these and the test set, if there are such sets.
///
/// # Panics
/// Panics when the models have different samples.
pub fn rows(datasets: &[DatasetInfo], models: PairModels<'_>) -> Vec<PairRow> {
    let sets = datasets.iter().enumerate();
    let measured: Vec<Measured> = sets
        .map(|(set, dataset)| Measured::on(set, dataset, models))
        .collect();
    let rows = datasets.iter().zip(&measured);
    let rows = rows.map(|(dataset, of)| of.row(&dataset.name, dataset.role.name()));
    let means = MEANS.into_iter().filter_map(|(name, roles)| {
        let sets = in_roles(datasets, &measured, roles);
        (!sets.is_empty()).then(|| Measured::mean(&sets).row(name, "mean"))
    });
    rows.chain(means).collect()
}

/// What all pairs together say, for each of their rows; `places` are the models of each pair.
pub fn summaries(pairs: &[Pair], places: &[(usize, usize)]) -> Vec<PairSummary> {
    let rows = pairs.first().map_or(0, |pair| pair.rows.len());
    let summary = |row: usize| {
        let of = |value: &dyn Fn(&PairRow) -> f64| -> Vec<PairValue> {
            let both = pairs.iter().zip(places);
            both.map(|(pair, &(a, b))| PairValue {
                a,
                b,
                value: value(&pair.rows[row]),
            })
            .collect()
        };
        let mean = |value: fn(&PairRow) -> f64, z: fn(&PairRow) -> f64| {
            let mean = dyadic::mean(&of(&value));
            let zs: Vec<f64> = pairs.iter().map(|pair| z(&pair.rows[row])).collect();
            let ps: Vec<f64> = zs.iter().map(|z| normal_p(*z, 1.0)).collect();
            let found = benjamini_hochberg(&ps);
            let count = |sign: f64| {
                let both = zs.iter().zip(&found);
                both.filter(|(z, p)| **p <= 1.0 - LEVEL && sign * **z > 0.0)
                    .count()
            };
            MeanAdvantage {
                mean: mean.value,
                low: mean.interval.low,
                high: mean.interval.high,
                gain: count(1.0),
                lose: count(-1.0),
            }
        };
        let sides = dyadic::sides(&of(&|row| row.accuracy_soup - row.accuracy_ensemble));
        PairSummary {
            dataset: pairs[0].rows[row].dataset.clone(),
            pairs: pairs.len(),
            advantage: mean(|row| row.advantage, |row| row.advantage_z),
            advantage_best: mean(|row| row.advantage_best, |row| row.advantage_best_z),
            soup_above: sides.positive,
            ensemble_above: sides.negative,
            sides_p: sides.p,
        }
    };
    (0..rows).map(summary).collect()
}

/// The correlation of angle with advantage, on `all` (otherwise on the first data set), for the
/// pairs with an advantage of at least `floor` points.
pub fn angle_advantage(
    pairs: &[Pair],
    places: &[(usize, usize)],
    models: usize,
    seed: u64,
    floor: f64,
) -> Correlation {
    let main = |pair: &Pair| pair.main().map(|row| row.advantage);
    let points = points(pairs, places, &|pair| {
        Some((
            pair.angle_deg,
            main(pair).filter(|value| 100.0 * value >= floor)?,
        ))
    });
    tested(
        spearman(&points, models, seed),
        &points,
        Kind::Spearman,
        seed,
    )
}

/// The correlations of the accuracies of soup and ensemble, on the test set and on `shifts`.
pub fn soup_ensemble(
    pairs: &[Pair],
    places: &[(usize, usize)],
    models: usize,
    seed: u64,
) -> [Correlation; 2] {
    let both = |row: &PairRow| (row.accuracy_soup, row.accuracy_ensemble);
    let test = |row: &&PairRow| row.role == Role::Test.name();
    let on_test = points(pairs, places, &|pair| pair.rows.iter().find(test).map(both));
    let on_shifts = points(pairs, places, &|pair| pair.row(SHIFTS).map(both));
    [on_test, on_shifts].map(|points| {
        let found = pearson(&points, models, seed);
        tested(found, &points, Kind::Pearson, seed)
    })
}

/// Adds Mantel's test, and the correlation without what is special about each model.
fn tested(found: Correlation, points: &[PairPoint], kind: Kind, seed: u64) -> Correlation {
    let permutations = Draws::new(seed);
    let of = |effects| mantel::correlation(points, kind, effects, &permutations);
    let (whole, residual) = (of(ModelEffects::Kept), of(ModelEffects::Removed));
    Correlation {
        p: whole.p,
        residual: residual.value,
        residual_low: residual.interval.low,
        residual_high: residual.interval.high,
        residual_p: residual.p,
        ..found
    }
}

/// Two quantities of every pair that has both.
fn points(
    pairs: &[Pair],
    places: &[(usize, usize)],
    of: &dyn Fn(&Pair) -> Option<(f64, f64)>,
) -> Vec<PairPoint> {
    let both = pairs.iter().zip(places);
    both.filter_map(|(pair, &(a, b))| {
        let (x, y) = of(pair)?;
        Some(PairPoint { a, b, x, y })
    })
    .collect()
}

/// Warnings about checkpoints that are equal to θ0 or to each other; `names[checkpoint]` does not
/// include θ0.
pub fn twins(gram: &Gram, names: &[String]) -> Vec<String> {
    let products = &gram.total;
    let k = names.len();
    let still = (0..k).filter(|&k| products[[k, k]] == 0.0);
    let still = still.map(|k| format!("{} is equal to θ0: its angles are undefined", names[k]));
    let apart = |a: usize, b: usize| products[[a, a]] - 2.0 * products[[a, b]] + products[[b, b]];
    let equal = all(0..k).into_iter().filter(|&(a, b)| {
        // Three roundings of sums that cancel.
        products[[a, a]] > 0.0 && apart(a, b).abs() <= 1e-14 * products[[a, a]]
    });
    let equal = equal.map(|(a, b)| format!("{} and {} are equal", names[a], names[b]));
    still.chain(equal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Evaluator;
    use crate::evaluate::metrics::Outcome;
    use crate::evaluate::quadratic::Quadratic;
    use crate::space::mix::Mix;
    use crate::space::testing::pool;

    fn dataset(name: &str, role: Role) -> DatasetInfo {
        DatasetInfo {
            name: name.to_string(),
            role,
            samples: 1 << 40,
        }
    }

    fn score(error: f64, error_se: f64) -> Score {
        Score {
            loss: 0.0,
            loss_se: 0.0,
            error,
            error_se,
            nonfinite: 0,
        }
    }

    #[test]
    fn pairs_are_all_or_a_sample_of_them() {
        assert_eq!(all(1..4), [(1, 2), (1, 3), (2, 3)]);
        let some = drawn(all(0..20), 30, 5);
        assert_eq!(some.len(), 30);
        assert!(some.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(some, drawn(all(0..20), 30, 5));
        assert_ne!(some, drawn(all(0..20), 30, 6));
        assert_eq!(drawn(all(0..3), 30, 5), all(0..3));
    }

    /// Outcomes of which the first `wrong` of 100 samples are wrong.
    fn outcomes(wrong: usize) -> Outcomes {
        let sample = |s: usize| Outcome {
            loss: 0.0,
            correct: s >= wrong,
        };
        (0..100).map(sample).collect()
    }

    #[test]
    fn means_weigh_sets_alike_and_errors_are_paired() {
        let sets = [
            dataset("val", Role::Val),
            dataset("test", Role::Test),
            dataset("v2", Role::Shift),
            dataset("r", Role::Shift),
            // θ0's own domain is in no mean.
            dataset("fonts", Role::Source),
        ];
        let a = [50, 10, 20, 40, 90].map(outcomes);
        let b = [50, 30, 20, 60, 90].map(outcomes);
        let soup = [50, 10, 10, 30, 0].map(outcomes);
        let ensemble = [0.5, 0.1, 0.2, 0.4, 0.9].map(|error| score(error, 0.02));
        let models = PairModels {
            a: &a,
            b: &b,
            soup: &soup,
            ensemble: &ensemble,
        };
        let rows = rows(&sets, models);
        let names: Vec<&str> = rows.iter().map(|row| row.dataset.as_str()).collect();
        assert_eq!(names, ["val", "test", "v2", "r", "fonts", "shifts", "all"]);
        let near = |found: Vec<f64>, expected: [f64; 7]| {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        };
        let expected = [0.0, 0.1, 0.1, 0.2, 0.9, 0.15, 0.4 / 3.0];
        near(rows.iter().map(|row| row.advantage).collect(), expected);
        // In the mean over r and v2, a is the better end.
        let expected = [0.0, 0.0, 0.1, 0.1, 0.9, 0.1, 0.2 / 3.0];
        near(
            rows.iter().map(|row| row.advantage_best).collect(),
            expected,
        );
        // Of 100 samples 20 differ by ½ on test; 10 by 1 on v2; 10 by 1 and 20 by ½ on r.
        let se = |sum: f64, squares: f64| ((squares - sum * sum / 100.0) / 9900.0).sqrt();
        let [test, v2, r] = [se(10.0, 5.0), se(10.0, 10.0), se(20.0, 15.0)];
        let shifts = v2.hypot(r) / 2.0;
        let all = v2.hypot(r).hypot(test) / 3.0;
        let ses = rows.iter().map(|row| row.advantage_se).collect();
        near(ses, [0.0, test, v2, r, se(90.0, 90.0), shifts, all]);
        assert!((rows[1].advantage_z - 0.1 / test).abs() < 1e-12);
        assert!(rows[0].advantage_z.is_nan());
    }

    #[test]
    fn summaries_count_what_is_established_and_test_over_models() {
        // The soups of the first ten pairs gain 2 points with an error of ½, the others lose ¼ ± ½.
        let places = all(0..6);
        let pair = |(index, &(a, b)): (usize, &(usize, usize))| {
            let gains = index < 10;
            let advantage = if gains { 0.02 } else { -0.0025 };
            let row = PairRow {
                dataset: "test".to_string(),
                role: "test".to_string(),
                samples: 100,
                accuracy_a: 0.5,
                accuracy_b: 0.5,
                advantage,
                advantage_se: 0.005,
                advantage_z: advantage / 0.005,
                advantage_best: -0.02,
                advantage_best_se: 0.005,
                advantage_best_z: -4.0,
                disagreement: f64::NAN,
                error_correlation: f64::NAN,
                accuracy_soup: 0.5 + advantage,
                accuracy_ensemble: 0.5,
            };
            Pair {
                a: a.to_string(),
                b: b.to_string(),
                angle_deg: 60.0,
                norm_a: 1.0,
                norm_b: 1.0,
                rounding: None,
                differ: Vec::new(),
                rows: vec![row],
            }
        };
        let pairs: Vec<Pair> = places.iter().enumerate().map(pair).collect();
        let found = summaries(&pairs, &places).remove(0);
        assert_eq!((found.advantage.gain, found.advantage.lose), (10, 0));
        assert_eq!(
            (found.advantage_best.gain, found.advantage_best.lose),
            (0, 15)
        );
        assert!((found.advantage.mean - (0.2 - 0.0125) / 15.0).abs() < 1e-15);
        assert!(found.advantage.low < found.advantage.mean);
        assert_eq!((found.soup_above, found.ensemble_above), (10, 5));
        // 10 : 5 of independent pairs would have p = 0.3; of six models it says less or as much.
        assert!(found.sides_p > 0.05 && found.sides_p < 1.0);
        assert!(summaries(&[], &[]).is_empty());
    }

    #[test]
    fn on_a_quadratic_bowl_the_error_follows_from_the_angle() {
        // L = ½‖θ‖² around θ0, two deltas of length r: the midpoint has ‖θ‖² = r²(1 + cos φ)/2.
        let r = 1.5_f64;
        for degrees in [0.0_f64, 30.0, 90.0, 150.0] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let pool = pool(&[&[0.0, 0.0], &[r, 0.0], &[r * cos, r * sin]]);
            let gram = Gram::of(&pool);
            assert!((gram.angle(0, 1) - degrees).abs() < 1e-6);
            let bowl = Quadratic::new(&pool, vec![0.0; 2], vec![1.0; 2], 0.0);
            let mix = Mix::new(vec![0.0, 0.5, 0.5]);
            let scores = bowl.evaluate(&[mix], &()).unwrap().scores;
            let expected = r * r * (1.0 + cos) / 4.0;
            assert!((scores[0][0].loss - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn angles_from_nowhere_are_undefined_and_said() {
        let pool = pool(&[
            &[1.0, 1.0],
            &[1.0, 1.0],
            &[2.0, 1.0],
            &[2.0, 1.0],
            &[1.0, 2.0],
        ]);
        let gram = Gram::of(&pool);
        assert!(gram.angle(0, 1).is_nan());
        assert_eq!(gram.angle(1, 2), 0.0);
        assert!((gram.angle(1, 3) - 90.0).abs() < 1e-12);
        let names = ["a", "b", "c", "d"].map(String::from);
        let said = twins(&gram, &names);
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("a is equal to θ0") && said[1] == "b and c are equal");
    }
}
