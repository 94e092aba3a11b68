//! How well the approximation agrees with the truth over many pairs.

use crate::analysis::correlation::{PairPoint, spearman};
use crate::result::pairs::{TheoryAgreement, TheoryPoint};

/// The agreement over the points of each step and kind of β, with pairs behind a barrier apart.
/// `models` are the models' names, which the points' ends are among.
pub fn agreements(points: &[TheoryPoint], models: &[String], seed: u64) -> Vec<TheoryAgreement> {
    let mut found: Vec<TheoryAgreement> = Vec::new();
    for of in points {
        let is_same = |known: &TheoryAgreement| {
            (known.step, known.calibrated, known.barrier) == (of.step, of.calibrated, of.barrier)
        };
        if !found.iter().any(is_same) {
            found.push(agreement(points, of, models, seed));
        }
    }
    found
}

/// The agreement over the points that are like one of them.
fn agreement(
    points: &[TheoryPoint],
    one: &TheoryPoint,
    models: &[String],
    seed: u64,
) -> TheoryAgreement {
    let is_alike = |of: &&TheoryPoint| {
        (of.step, of.calibrated, of.barrier) == (one.step, one.calibrated, one.barrier)
    };
    let alike: Vec<&TheoryPoint> = points.iter().filter(is_alike).collect();
    let place = |name: &String| models.iter().position(|model| model == name);
    let correlation = |approximation: &dyn Fn(&TheoryPoint) -> f64| {
        let pairs = alike.iter().filter_map(|of| {
            Some(PairPoint {
                a: place(&of.a)?,
                b: place(&of.b)?,
                x: approximation(of),
                y: of.loss_difference(),
            })
        });
        spearman(&pairs.collect::<Vec<_>>(), models.len(), seed)
    };
    // A difference within two standard errors of 0 has no sign to tell.
    let told: Vec<_> = alike
        .iter()
        .filter(|of| of.loss_difference().abs() > 2.0 * of.loss_difference_se)
        .collect();
    let same = |approximation: &dyn Fn(&TheoryPoint) -> f64| {
        let same = told
            .iter()
            .filter(|of| approximation(of) * of.loss_difference() > 0.0);
        same.count()
    };
    TheoryAgreement {
        step: one.step,
        calibrated: one.calibrated,
        barrier: one.barrier,
        points: alike.len(),
        rank: correlation(&|of| of.approximation),
        rank_path: correlation(&|of| of.approximation_path),
        signs: told.len(),
        same_sign: same(&|of| of.approximation),
        same_sign_path: same(&|of| of.approximation_path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(ends: [&str; 2], truth: f64, approximation: f64, barrier: bool) -> TheoryPoint {
        TheoryPoint {
            a: ends[0].to_string(),
            b: ends[1].to_string(),
            dataset: "test".to_string(),
            alpha: 0.5,
            beta: 1.0,
            calibrated: false,
            error_soup: 0.0,
            error_ensemble: 0.0,
            loss_soup: 1.0 + truth,
            loss_ensemble: 1.0,
            approximation,
            approximation_path: -approximation,
            step: 0.5,
            loss_difference_se: 0.1,
            error_difference_se: 0.0,
            approximation_se: 0.0,
            approximation_path_se: 0.0,
            residual_se: 0.0,
            residual_path_se: 0.0,
            rise: 0.0,
            rise_se: 0.0,
            barrier,
        }
    }

    #[test]
    fn pairs_behind_a_barrier_are_apart_and_signs_within_two_errors_do_not_count() {
        let models = ["a", "b", "c", "d"].map(str::to_string);
        let points = [
            point(["a", "b"], 1.0, 2.0, false),
            point(["a", "c"], 0.5, 1.0, false),
            point(["b", "c"], -0.5, -1.0, false),
            point(["b", "d"], 0.15, -0.5, false),
            point(["a", "d"], 9.0, -9.0, true),
        ];
        let found = agreements(&points, &models, 0);
        assert_eq!(found.len(), 2);
        let near = &found[0];
        assert!(!near.barrier && found[1].barrier);
        assert_eq!((near.points, near.signs), (4, 3));
        assert_eq!((near.same_sign, near.same_sign_path), (3, 0));
        assert!(
            (near.rank.value - 1.0).abs() < 1e-12 && (near.rank_path.value + 1.0).abs() < 1e-12
        );
        assert_eq!(
            (found[1].points, found[1].signs, found[1].same_sign),
            (1, 1, 0)
        );
    }
}
