//! Compares two models on the same samples, data set by data set and in the mean over sets.

use super::inference::means::{over_sets, without_one};
use super::inference::paired::{Discordant, difference};
use super::inference::{Estimate, Interval};
use crate::evaluate::outcomes::Outcomes;
use crate::result::comparison::Comparison;
use crate::result::score::{DatasetInfo, MEANS, in_roles};

/// A model to compare.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'o> {
    /// The name in the results.
    pub name: &'o str,
    /// Seed of its random order, if it has one.
    pub seed: Option<u64>,
    /// `outcomes[data set]`.
    pub outcomes: &'o [Outcomes],
}

/// The differences of a model from a reference on one data set.
struct Differences {
    counts: Discordant,
    accuracy: Estimate,
    loss: Estimate,
}

impl Differences {
    /// # Panics
    /// Panics when the models have different numbers of samples.
    fn of(model: &Outcomes, reference: &Outcomes) -> Self {
        let counts = Discordant::count(model.correctness(), reference.correctness());
        Self {
            counts,
            accuracy: counts.difference(),
            loss: difference(&model.losses_f64(), &reference.losses_f64()),
        }
    }
}

/// One row per data set, then the unweighted means `shifts` and `all` where there are such sets.
///
/// # Panics
/// Panics when the models have different numbers of samples.
pub fn compare(
    datasets: &[DatasetInfo],
    model: Compared<'_>,
    reference: Compared<'_>,
) -> Vec<Comparison> {
    let pairs = model.outcomes.iter().zip(reference.outcomes);
    let found: Vec<Differences> = pairs.map(|(a, b)| Differences::of(a, b)).collect();
    let row = |dataset: &str, role: &str, accuracy: Estimate, loss: Estimate| Comparison {
        method: model.name.to_string(),
        seed: model.seed,
        reference: reference.name.to_string(),
        dataset: dataset.to_string(),
        role: role.to_string(),
        samples: accuracy.samples,
        delta_accuracy: accuracy.value,
        delta_accuracy_se: accuracy.se,
        only_method: None,
        only_reference: None,
        mcnemar_p: None,
        delta_loss: loss.value,
        delta_loss_se: loss.se,
        without_one_low: None,
        without_one_high: None,
    };
    let sets = datasets.iter().zip(&found).map(|(dataset, of)| Comparison {
        only_method: Some(of.counts.only_first),
        only_reference: Some(of.counts.only_second),
        mcnemar_p: Some(of.counts.p()),
        ..row(&dataset.name, dataset.role.name(), of.accuracy, of.loss)
    });
    let mut rows: Vec<Comparison> = sets.collect();
    for (name, roles) in MEANS {
        let of = in_roles(datasets, &found, roles);
        if of.is_empty() {
            continue;
        }
        let accuracies: Vec<Estimate> = of.iter().map(|of| of.accuracy).collect();
        let losses: Vec<Estimate> = of.iter().map(|of| of.loss).collect();
        let values: Vec<f64> = accuracies.iter().map(|of| of.value).collect();
        let Interval { low, high } = without_one(&values);
        rows.push(Comparison {
            without_one_low: Some(low).filter(|low| low.is_finite()),
            without_one_high: Some(high).filter(|high| high.is_finite()),
            ..row(name, "mean", over_sets(&accuracies), over_sets(&losses))
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metrics::Outcome;
    use crate::result::score::Role;

    fn outcomes(of: &[(f64, bool)]) -> Outcomes {
        let outcomes = of.iter();
        outcomes
            .map(|&(loss, correct)| Outcome { loss, correct })
            .collect()
    }

    fn dataset(name: &str, role: Role, samples: usize) -> DatasetInfo {
        DatasetInfo {
            name: name.to_string(),
            role,
            samples,
        }
    }

    #[test]
    fn sets_and_their_means_by_hand() {
        let sets = [
            dataset("test", Role::Test, 4),
            dataset("v2", Role::Shift, 2),
            dataset("r", Role::Shift, 2),
        ];
        let a = [
            outcomes(&[(0.0, true), (1.0, true), (0.5, true), (2.0, false)]),
            outcomes(&[(1.0, true), (1.0, false)]),
            outcomes(&[(1.0, true), (3.0, true)]),
        ];
        let b = [
            outcomes(&[(1.0, true), (1.0, false), (0.5, false), (1.0, true)]),
            outcomes(&[(1.0, true), (1.0, false)]),
            outcomes(&[(1.0, false), (1.0, true)]),
        ];
        let of = |name, outcomes| Compared {
            name,
            seed: None,
            outcomes,
        };
        let rows = compare(&sets, of("uniform", &a), of("ft1", &b));
        let names: Vec<&str> = rows.iter().map(|row| row.dataset.as_str()).collect();
        assert_eq!(names, ["test", "v2", "r", "shifts", "all"]);
        // Differences of the test set: accuracy 0, 1, 1, −1, loss −1, 0, 0, 1.
        let test = &rows[0];
        assert_eq!((test.only_method, test.only_reference), (Some(2), Some(1)));
        assert_eq!((test.delta_accuracy, test.delta_loss), (0.25, 0.0));
        let se = (11.0_f64 / 48.0).sqrt();
        assert!((test.delta_accuracy_se - se).abs() < 1e-15);
        assert!((test.delta_loss_se - (1.0_f64 / 6.0).sqrt()).abs() < 1e-15);
        assert_eq!(test.mcnemar_p, Some(1.0));
        // v2: 0 ± 0. r: accuracy ½ ± ½, loss 1 ± 1.
        let shifts = &rows[3];
        assert_eq!((shifts.delta_accuracy, shifts.delta_loss), (0.25, 0.5));
        assert_eq!(
            (shifts.delta_accuracy_se, shifts.delta_loss_se),
            (0.25, 0.5)
        );
        assert_eq!((shifts.role.as_str(), shifts.samples), ("mean", 4));
        assert_eq!((shifts.only_method, shifts.mcnemar_p), (None, None));
        let range = (shifts.without_one_low, shifts.without_one_high);
        assert_eq!(range, (Some(0.0), Some(0.5)));
        assert!((rows[4].delta_accuracy - 0.25).abs() < 1e-15);
        assert_eq!(rows[4].samples, 8);
    }

    #[test]
    fn a_loss_that_is_not_finite_leaves_the_accuracies_alone() {
        let sets = [dataset("test", Role::Test, 2)];
        let a = [outcomes(&[(f64::NAN, false), (1.0, true)])];
        let b = [outcomes(&[(0.0, true), (1.0, true)])];
        let of = |outcomes| Compared {
            name: "x",
            seed: Some(3),
            outcomes,
        };
        let row = compare(&sets, of(&a), of(&b)).remove(0);
        assert!(row.delta_loss.is_nan() && row.delta_loss_se.is_nan());
        assert_eq!((row.delta_accuracy, row.seed), (-0.5, Some(3)));
    }
}
