//! Pairs of checkpoints: the midpoint soup compared with the two models and their ensemble
//! (Wortsman et al. 2022, Figures 3 and 4).

use std::ops::Range;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

use super::correlation::{PairPoint, pearson, spearman};
use crate::result::pairs::{Correlation, Pair, PairRow};
use crate::result::score::{DatasetInfo, Role, Score};
use crate::space::gram::Gram;

/// Names of the means over several data sets.
pub(super) const SHIFTS: &str = "shifts";
pub(super) const ALL: &str = "all";

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

/// The scores of a pair's four models, `scores[data set]` each.
#[derive(Debug, Clone, Copy)]
pub struct PairScores<'s> {
    /// The first checkpoint.
    pub a: &'s [Score],
    /// The second checkpoint.
    pub b: &'s [Score],
    /// ½θa + ½θb.
    pub soup: &'s [Score],
    /// The mean of the two checkpoints' logits.
    pub ensemble: &'s [Score],
}

/// One row per data set, without [`super::diversity`], then the unweighted means `shifts`, over the shift sets, and `all`, over
/// these and the test set, if there are such sets.
pub fn rows(datasets: &[DatasetInfo], scores: PairScores<'_>) -> Vec<PairRow> {
    let row = |(set, dataset): (usize, &DatasetInfo)| {
        let accuracy = |scores: &[Score]| dataset.accuracy(scores[set].error);
        let models = [scores.a, scores.b, scores.soup];
        let [a, b, soup] = models.map(|scores| scores[set].error_se);
        let (accuracy_a, accuracy_b) = (accuracy(scores.a), accuracy(scores.b));
        let accuracy_soup = accuracy(scores.soup);
        PairRow {
            dataset: dataset.name.clone(),
            role: dataset.role.name().to_string(),
            samples: dataset.samples,
            accuracy_a,
            accuracy_b,
            accuracy_soup,
            accuracy_ensemble: accuracy(scores.ensemble),
            advantage: accuracy_soup - f64::midpoint(accuracy_a, accuracy_b),
            advantage_se: (soup * soup + (a * a + b * b) / 4.0).sqrt(),
            disagreement: f64::NAN,
            error_correlation: f64::NAN,
        }
    };
    let mut rows: Vec<PairRow> = datasets.iter().enumerate().map(row).collect();
    let of = |roles: &[Role]| -> Vec<PairRow> {
        let sets = datasets.iter().zip(&rows);
        let sets = sets.filter(|(dataset, _)| roles.contains(&dataset.role));
        sets.map(|(_, row)| row.clone()).collect()
    };
    let means = [
        (SHIFTS, of(&[Role::Shift])),
        (ALL, of(&[Role::Test, Role::Shift])),
    ];
    let means = means.into_iter().filter(|(_, rows)| !rows.is_empty());
    rows.extend(means.map(|(name, rows)| mean(name, &rows)));
    rows
}

fn mean(name: &str, rows: &[PairRow]) -> PairRow {
    let n = rows.len() as f64;
    let mean = |value: fn(&PairRow) -> f64| rows.iter().map(value).sum::<f64>() / n;
    // The sets hold different samples.
    let squares: f64 = rows.iter().map(|row| row.advantage_se.powi(2)).sum();
    PairRow {
        dataset: name.to_string(),
        role: "mean".to_string(),
        samples: rows.iter().map(|row| row.samples).sum(),
        accuracy_a: mean(|row| row.accuracy_a),
        accuracy_b: mean(|row| row.accuracy_b),
        accuracy_soup: mean(|row| row.accuracy_soup),
        accuracy_ensemble: mean(|row| row.accuracy_ensemble),
        advantage: mean(|row| row.advantage),
        advantage_se: squares.sqrt() / n,
        disagreement: f64::NAN,
        error_correlation: f64::NAN,
    }
}

/// The correlations of angle with advantage, on `all` (otherwise on the first data set), and of
/// soup with ensemble, on the test set and on `shifts`.
pub fn correlations(
    pairs: &[Pair],
    places: &[(usize, usize)],
    models: usize,
    seed: u64,
) -> [Correlation; 3] {
    let points = |of: &dyn Fn(&Pair) -> Option<(f64, f64)>| -> Vec<PairPoint> {
        let both = pairs.iter().zip(places);
        both.filter_map(|(pair, &(a, b))| {
            let (x, y) = of(pair)?;
            Some(PairPoint { a, b, x, y })
        })
        .collect()
    };
    let both = |row: &PairRow| (row.accuracy_soup, row.accuracy_ensemble);
    let test = |row: &&PairRow| row.role == Role::Test.name();
    let first = |pair: &Pair| pair.row(ALL).or(pair.rows.first()).map(|row| row.advantage);
    let advantage = points(&|pair| Some((pair.angle_deg, first(pair)?)));
    let on_test = points(&|pair| pair.rows.iter().find(test).map(both));
    let on_shifts = points(&|pair| pair.row(SHIFTS).map(both));
    [
        spearman(&advantage, models, seed),
        pearson(&on_test, models, seed),
        pearson(&on_shifts, models, seed),
    ]
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

    #[test]
    fn means_weigh_sets_alike() {
        let sets = [
            dataset("val", Role::Val),
            dataset("test", Role::Test),
            dataset("v2", Role::Shift),
            dataset("r", Role::Shift),
        ];
        let a = [0.5, 0.1, 0.2, 0.4].map(|error| score(error, 0.02));
        let b = [0.5, 0.3, 0.2, 0.6].map(|error| score(error, 0.02));
        let soup = [0.5, 0.1, 0.1, 0.3].map(|error| score(error, 0.01));
        let four = PairScores {
            a: &a,
            b: &b,
            soup: &soup,
            ensemble: &a,
        };
        let rows = rows(&sets, four);
        let names: Vec<&str> = rows.iter().map(|row| row.dataset.as_str()).collect();
        assert_eq!(names, ["val", "test", "v2", "r", "shifts", "all"]);
        let advantages: Vec<f64> = rows.iter().map(|row| row.advantage).collect();
        let expected = [0.0, 0.1, 0.1, 0.2, 0.15, 0.4 / 3.0];
        for (advantage, expected) in advantages.iter().zip(expected) {
            assert!((advantage - expected).abs() < 1e-11);
        }
        let one = (0.0001_f64 + 0.0002).sqrt();
        assert!((rows[0].advantage_se - one).abs() < 1e-15);
        assert!((rows[5].advantage_se - one / 3.0_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn on_a_quadratic_bowl_the_advantage_follows_from_the_angle() {
        // L = ½‖θ‖² around θ0, two deltas of length r: the midpoint has ‖θ‖² = r²(1 + cos φ)/2.
        let r = 1.5_f64;
        for degrees in [0.0_f64, 30.0, 90.0, 150.0] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let pool = pool(&[&[0.0, 0.0], &[r, 0.0], &[r * cos, r * sin]]);
            let gram = Gram::of(&pool);
            assert!((gram.angle(0, 1) - degrees).abs() < 1e-6);
            let bowl = Quadratic::new(&pool, vec![0.0; 2], vec![1.0; 2], 0.0);
            let mixes = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]];
            let mixes = mixes.map(|mix| Mix::new(mix.to_vec()));
            let scores = bowl.evaluate(&mixes, &()).unwrap().scores;
            let four = PairScores {
                a: &scores[0],
                b: &scores[1],
                soup: &scores[2],
                ensemble: &scores[2],
            };
            let rows = rows(&[dataset("test", Role::Test)], four);
            // The evaluator's error is L/(1 + L).
            let accuracy = |square: f64| 1.0 / (1.0 + square / 2.0);
            let expected = accuracy(r * r * (1.0 + cos) / 2.0) - accuracy(r * r);
            assert!((rows[0].advantage - expected).abs() < 1e-11);
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
