//! How differently two models err: the more, the more an ensemble of them gains.

use crate::result::pairs::PairRow;
use crate::result::score::{DatasetInfo, MEANS, Role, in_roles};

/// How differently two models err on a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diversity {
    /// Fraction of the samples for which they predict different classes, in [0, 1].
    pub disagreement: f64,
    /// Pearson's correlation of their errors, as 0 and 1 per sample; NaN if one of them errs
    /// nowhere or everywhere.
    pub error_correlation: f64,
}

/// Compares two models' predictions, `predictions[sample]`; `None` is wrong, and differs from every
/// class.
pub fn diversity(a: &[Option<u32>], b: &[Option<u32>], labels: &[usize]) -> Diversity {
    let n = labels.len() as f64;
    let (mut differ, mut wrong_a, mut wrong_b, mut both) = (0, 0, 0, 0);
    for ((a, b), &label) in a.iter().zip(b).zip(labels) {
        let label = u32::try_from(label).ok();
        differ += u32::from(a != b);
        let [fails_a, fails_b] = [a, b].map(|class| class.is_none() || *class != label);
        wrong_a += u32::from(fails_a);
        wrong_b += u32::from(fails_b);
        both += u32::from(fails_a && fails_b);
    }
    let [differ, wrong_a, wrong_b, both] =
        [differ, wrong_a, wrong_b, both].map(|count| f64::from(count) / n);
    let variance = |wrong: f64| wrong * (1.0 - wrong);
    let covariance = both - wrong_a * wrong_b;
    Diversity {
        disagreement: differ,
        error_correlation: covariance / (variance(wrong_a) * variance(wrong_b)).sqrt(),
    }
}

/// Writes what was found on each data set, `found[data set]`, into a pair's rows: one per data set,
/// then the means.
pub fn fill(rows: &mut [PairRow], datasets: &[DatasetInfo], found: &[Diversity]) {
    let mean = |roles: &[Role]| {
        let sets = in_roles(datasets, found, roles);
        let n = sets.len() as f64;
        Diversity {
            disagreement: sets.iter().map(|of| of.disagreement).sum::<f64>() / n,
            error_correlation: sets.iter().map(|of| of.error_correlation).sum::<f64>() / n,
        }
    };
    for row in rows {
        let set = datasets.iter().position(|set| set.name == row.dataset);
        let means = MEANS.into_iter().find(|(name, _)| *name == row.dataset);
        let of = match (row.role.as_str(), means, set) {
            ("mean", Some((_, roles)), _) => mean(roles),
            (_, _, Some(set)) => found[set],
            _ => continue,
        };
        row.disagreement = of.disagreement;
        row.error_correlation = of.error_correlation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms() {
        let labels = [0, 0, 0, 0, 1, 1, 1, 1];
        let of = |classes: [u32; 8]| classes.map(Some).to_vec();
        // a errs on samples 0 and 4, b on 0 and 1: one in common, and 1/8 − 1/16 of 3/16.
        let a = of([1, 0, 0, 0, 2, 1, 1, 1]);
        let b = of([2, 1, 0, 0, 1, 1, 1, 1]);
        let found = diversity(&a, &b, &labels);
        // On sample 0, both err, but differently.
        assert_eq!(found.disagreement, 3.0 / 8.0);
        assert!((found.error_correlation - 1.0 / 3.0).abs() < 1e-15);
        let same = diversity(&a, &a, &labels);
        assert_eq!((same.disagreement, same.error_correlation), (0.0, 1.0));
        let right = of([0, 0, 0, 0, 1, 1, 1, 1]);
        assert!(diversity(&a, &right, &labels).error_correlation.is_nan());
        let mut unknown = right.clone();
        unknown[3] = None;
        let found = diversity(&unknown, &right, &labels);
        assert_eq!(found.disagreement, 1.0 / 8.0);
    }
}
