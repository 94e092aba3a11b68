//! The self-check: compares models evaluated as points of the space with their own files, run
//! unchanged.

use crate::result::check::Check;
use crate::result::score::{DatasetInfo, Score};

/// Largest relative difference of two losses that rounding in float32 can explain if operations run
/// in another order: a hundred times the largest difference seen on the tested networks.
const ROUNDING: f64 = 1e-4;

/// Compares the scores of models evaluated from their files with those of the same models as points
/// of the space: `files[model][data set]` and `space[model][data set]`. `differing(model, data set)`
/// counts the samples that one of the two has right and the other wrong; where it is not known, the
/// difference of the numbers of wrong samples stands for it.
pub fn against_files(
    datasets: &[DatasetInfo],
    names: &[String],
    (files, space): (&[Vec<Score>], &[Vec<Score>]),
    differing: &dyn Fn(usize, usize) -> Option<usize>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let models = names.iter().zip(files.iter().zip(space)).enumerate();
    for (model, (name, (files, space))) in models {
        let sets = datasets.iter().zip(files.iter().zip(space)).enumerate();
        for (set, (dataset, (file, space))) in sets {
            let found = differing(model, set);
            checks.push(check(name, dataset, (file, space), found));
        }
    }
    checks
}

fn check(
    name: &str,
    dataset: &DatasetInfo,
    (file, space): (&Score, &Score),
    differing: Option<usize>,
) -> Check {
    let wrong = |score: &Score| (score.error * dataset.samples as f64).round() as i64;
    let close = (file.loss - space.loss).abs() <= ROUNDING * file.loss.abs().max(1e-3);
    let same =
        file.loss.to_bits() == space.loss.to_bits() || (file.loss.is_nan() && space.loss.is_nan());
    let net = || (wrong(space) - wrong(file)).unsigned_abs() as usize;
    let error_difference = differing.unwrap_or_else(net);
    // A sample on the boundary between two classes may go either way.
    let few = error_difference <= 1 + dataset.samples / 1000;
    Check {
        name: name.to_string(),
        dataset: dataset.name.clone(),
        loss_file: file.loss,
        loss_plane: space.loss,
        error_difference,
        agrees: (close || same) && few,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{score, test_set};

    #[test]
    fn rounding_agrees_and_another_network_does_not() {
        let dataset = test_set(1000);
        let agrees = |a: Score, b: Score| check("ft", &dataset, (&a, &b), None).agrees;
        assert!(agrees(score(0.5, 0.1), score(0.500_04, 0.102)));
        assert!(!agrees(score(0.5, 0.1), score(0.501, 0.1)));
        assert!(!agrees(score(0.5, 0.1), score(0.5, 0.103)));
        assert!(agrees(score(f64::NAN, 1.0), score(f64::NAN, 1.0)));
        assert!(!agrees(score(f64::NAN, 1.0), score(0.5, 1.0)));
        let wrong = check("ft", &dataset, (&score(0.5, 0.1), &score(0.5, 0.2)), None);
        assert_eq!(wrong.error_difference, 100);
        // As many are wrong, but not the same ones.
        let swapped = check(
            "ft",
            &dataset,
            (&score(0.5, 0.1), &score(0.5, 0.1)),
            Some(60),
        );
        assert!(swapped.error_difference == 60 && !swapped.agrees);
    }
}
