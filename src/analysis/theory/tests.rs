use super::*;

impl Comparison {
    /// The quantity to approximate: the soup's loss minus the ensemble's.
    fn difference(&self) -> f64 {
        self.soup.loss - self.ensemble.loss
    }
}

/// `[sample][class]`: the logits c0 + c1·α + c2·α² of each class.
type Toy = Vec<Vec<[f64; 3]>>;

/// Logits of three classes whose curvature in α is scaled by `bend`.
fn toy(samples: usize, bend: f64) -> (Toy, Vec<usize>) {
    let part = |sample: usize, class: usize| {
        let at = |factor: f64| (factor * (3 * sample + class + 1) as f64).sin();
        [2.0 * at(1.3), 1.5 * at(2.9), bend * at(5.3)]
    };
    let rows = (0..samples).map(|sample| (0..3).map(|class| part(sample, class)).collect());
    (
        rows.collect(),
        (0..samples).map(|sample| sample % 3).collect(),
    )
}

fn at([c0, c1, c2]: [f64; 3], alpha: f64) -> f64 {
    c0 + alpha * (c1 + alpha * c2)
}

fn compared(toy: &Toy, labels: &[usize], place: InterpolationPoint) -> Comparison {
    compare(&place, labels, toy[0].len(), |model, sample, row| {
        let alpha = match model {
            PathModel::A => 0.0,
            PathModel::B => 1.0,
            PathModel::Below => place.around()[0],
            PathModel::Soup => place.alpha,
            PathModel::Above => place.around()[1],
        };
        for (logit, coefficients) in row.iter_mut().zip(&toy[sample]) {
            *logit = at(*coefficients, alpha);
        }
    })
}

fn place(alpha: f64, beta: f64) -> InterpolationPoint {
    let step = 1e-3;
    InterpolationPoint { alpha, step, beta }
}

#[test]
fn where_logits_are_linear_soup_and_ensemble_are_the_same() {
    let (toy, labels) = toy(7, 0.0);
    for (alpha, beta) in [(0.5, 1.0), (0.25, 2.5), (0.0, 1.0), (1.0, 0.5)] {
        let found = compared(&toy, &labels, place(alpha, beta));
        assert!(found.difference().abs() < 1e-12);
        // The curvature equals Var[Δf] up to h²/12 of the fourth derivative and 1e-16/h².
        assert!(found.approximation.mean.abs() < 1e-6, "{found:?}");
        assert!(found.approximation_path.mean.abs() < 1e-6);
        assert!((found.parts.variance - found.parts.variance_path).abs() < 1e-9);
        assert!(found.parts.variance > 0.1);
    }
    // Nothing is rounded: one class has all the probability, and logits are dyadic.
    let certain = vec![vec![[900.0, 4.0, 0.0], [-900.0, 8.0, 0.0]]];
    let found = compared(
        &certain,
        &[1],
        InterpolationPoint {
            step: STEP,
            ..place(0.25, 1.0)
        },
    );
    assert_eq!(found.difference(), 0.0);
    assert_eq!(
        (found.approximation.mean, found.approximation_path.mean),
        (0.0, 0.0)
    );
    assert_eq!((found.soup.loss, found.soup.error), (1799.0, 1.0));
}

/// d²L/dα² and the variances from their formulas.
fn analytic(toy: &Toy, labels: &[usize], alpha: f64, beta: f64) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for (row, &label) in toy.iter().zip(labels) {
        let weights: Vec<f64> = row.iter().map(|c| (beta * at(*c, alpha)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let expected = |value: &dyn Fn(&[f64; 3]) -> f64| {
            let terms = weights.iter().zip(row);
            terms.map(|(w, c)| w / total * value(c)).sum::<f64>()
        };
        let variance = |value: &dyn Fn(&[f64; 3]) -> f64| {
            expected(&|c| value(c).powi(2)) - expected(value).powi(2)
        };
        let slope = variance(&|c| c[1] + 2.0 * alpha * c[2]);
        // β²·Var[f′] + β·Σ (p − e_y)·f″
        let bend = 2.0 * (expected(&|c| c[2]) - row[label][2]);
        sums[0] += beta * beta * slope + beta * bend;
        sums[1] += variance(&|c| c[1] + c[2]);
        sums[2] += slope;
    }
    sums.map(|sum| sum / labels.len() as f64)
}

#[test]
fn the_parts_are_their_formulas_and_the_curvature_to_second_order() {
    let (toy, labels) = toy(11, 0.8);
    for (alpha, beta) in [(0.5, 1.0), (0.25, 1.7), (0.8, 0.4)] {
        let [curvature, variance, path] = analytic(&toy, &labels, alpha, beta);
        let error = |step: f64| {
            let found = compared(
                &toy,
                &labels,
                InterpolationPoint {
                    step,
                    ..place(alpha, beta)
                },
            );
            assert!((found.parts.variance - variance).abs() < 1e-12);
            // Exact for logits that are quadratic in α.
            assert!((found.parts.variance_path - path).abs() < 1e-9);
            let factor = alpha * (1.0 - alpha) / 2.0;
            let both = [
                (found.approximation.mean, variance),
                (found.approximation_path.mean, path),
            ];
            for (approximation, variance) in both {
                let expected = factor * (beta * beta * variance - found.parts.curvature);
                assert!((approximation - expected).abs() < 1e-9);
            }
            found.parts.curvature - curvature
        };
        let (coarse, fine) = (error(1.0 / 16.0), error(1.0 / 32.0));
        assert!(coarse.abs() < 0.05, "{coarse}");
        assert!((coarse / fine - 4.0).abs() < 0.1, "{coarse} {fine}");
        // At the default step.
        assert!(error(STEP).abs() < 0.01);
    }
}

/// The mean and the standard error of these terms of samples.
fn estimate(terms: &[f64]) -> [f64; 2] {
    let n = terms.len() as f64;
    let mean = terms.iter().sum::<f64>() / n;
    let squares = terms.iter().map(|term| (term - mean).powi(2)).sum::<f64>();
    [mean, (squares / (n - 1.0) / n).sqrt()]
}

#[test]
fn standard_errors_are_of_differences_on_the_same_samples() {
    let (toy, labels) = toy(40, 0.6);
    let place = place(0.5, 1.3);
    let whole = compared(&toy, &labels, place);
    // What the comparison of a single sample gives is that sample's term.
    let singles = toy.iter().zip(&labels);
    let singles = singles.map(|(row, label)| compared(&vec![row.clone()], &[*label], place));
    let singles: Vec<Comparison> = singles.collect();
    for of in [
        (|of| of.difference) as fn(&Comparison) -> Estimate,
        |of| of.error_difference,
        |of| of.approximation,
        |of| of.approximation_path,
        |of| of.residual,
        |of| of.residual_path,
        |of| of.rise,
    ] {
        let terms: Vec<f64> = singles.iter().map(|single| of(single).mean).collect();
        let [mean, se] = estimate(&terms);
        let found = of(&whole);
        assert!((found.mean - mean).abs() < 1e-9, "{found:?} {mean}");
        assert!((found.se - se).abs() < 1e-9, "{found:?} {se}");
        assert!(of(&singles[0]).se.is_nan());
    }
    assert!((whole.difference.mean - whole.difference()).abs() < 1e-12);
    let residual = whole.difference.mean - whole.approximation.mean;
    assert!((whole.residual.mean - residual).abs() < 1e-12);
    // The two losses are nearly the same on every sample, so that the difference is known better.
    assert!(whole.difference.se < 0.5 * whole.soup.loss_se);
}

#[test]
fn the_rise_is_above_the_chord_and_is_the_curvature_of_the_longest_step() {
    let (toy, labels) = toy(9, 0.9);
    for alpha in [0.25, 0.5, 0.75] {
        let at = |step: f64| InterpolationPoint {
            step,
            ..place(alpha, 1.2)
        };
        let found = compared(&toy, &labels, at(1.0));
        let loss = |alpha: f64| compared(&toy, &labels, place(alpha, 1.2)).soup.loss;
        let chord = (1.0 - alpha) * loss(0.0) + alpha * loss(1.0);
        assert!((found.rise.mean - (loss(alpha) - chord)).abs() < 1e-12);
        let bend = -alpha * (1.0 - alpha) / 2.0 * found.parts.curvature;
        assert!((found.rise.mean - bend).abs() < 1e-12);
        // Logits that are quadratic in α have the slope of the parabola, whatever the step.
        let fine = compared(&toy, &labels, at(1e-3));
        assert!((found.parts.variance_path - fine.parts.variance_path).abs() < 1e-9);
    }
    assert_eq!(
        InterpolationPoint {
            step: 0.5,
            ..place(0.25, 1.0)
        }
        .around(),
        [0.0, 0.75]
    );
}

#[test]
fn losses_and_errors_are_those_of_soup_and_ensemble() {
    // The soup of the first sample is (0, 1 − ½·2): a tie, so the first class is chosen.
    let toy = vec![
        vec![[0.0, 0.0, 0.0], [0.0, -1.0, 2.0]],
        vec![[0.0, 0.0, 0.0], [0.0, -4.0, 2.0]],
    ];
    let found = compared(&toy, &[1, 0], place(0.5, 3.0));
    let loss = |margin: f64| (1.0 + (-3.0 * margin).exp()).ln();
    let soup = f64::midpoint(loss(0.0), loss(1.5));
    assert!((found.soup.loss - soup).abs() < 1e-12);
    assert_eq!(found.soup.error, 0.5);
    let ensemble = f64::midpoint(loss(0.5), loss(1.0));
    assert!((found.ensemble.loss - ensemble).abs() < 1e-12);
    assert_eq!(found.ensemble.error, 0.0);
    assert!((found.difference() - (soup - ensemble)).abs() < 1e-15);
}

#[test]
fn the_sign_says_which_is_better() {
    // The soup's logits sag below the chord by ¼ of the bend; at the label this increases the loss.
    for (bend, better_is_ensemble) in [(0.5, true), (-0.5, false)] {
        let toy = vec![vec![[0.3, 0.4, bend], [0.0, 0.1, 0.0], [-0.2, 0.0, 0.0]]];
        let found = compared(&toy, &[0], place(0.5, 1.5));
        assert_eq!(found.difference() > 0.0, better_is_ensemble);
        assert_eq!(found.approximation.mean > 0.0, better_is_ensemble);
        assert_eq!(found.approximation_path.mean > 0.0, better_is_ensemble);
    }
}

#[test]
fn the_approximation_is_first_order_in_the_bend() {
    // Its error falls as the square of the bend: always with the path's derivative; with Δf at ½ as
    // well, where Δf equals that derivative.
    let errors = |alpha: f64, bend: f64| {
        let (toy, labels) = toy(5, bend);
        let found = compared(&toy, &labels, place(alpha, 1.2));
        let truth = found.difference();
        assert!(truth.abs() > 1e-4);
        [
            found.approximation.mean - truth,
            found.approximation_path.mean - truth,
        ]
    };
    for alpha in [0.25, 0.5, 0.7] {
        let ([delta, path], [half_delta, half_path]) = (errors(alpha, 0.2), errors(alpha, 0.1));
        assert!((path / half_path - 4.0).abs() < 0.5, "{path} {half_path}");
        if alpha == 0.5 {
            assert!((delta - path).abs() < 1e-9);
        } else {
            assert!(
                (delta / half_delta - 2.0).abs() < 0.5,
                "{delta} {half_delta}"
            );
        }
    }
}

#[test]
fn nan_is_wrong_and_makes_no_approximation() {
    let toy = vec![
        vec![[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        vec![[f64::NAN, 0.0, 0.0], [0.0, 0.0, 0.0]],
    ];
    let found = compared(&toy, &[0, 0], place(0.5, 1.0));
    assert_eq!((found.soup.error, found.ensemble.error), (0.5, 0.5));
    assert_eq!((found.soup.nonfinite, found.ensemble.nonfinite), (1, 1));
    assert!(found.difference().is_nan());
    assert!(found.approximation.mean.is_nan() && found.approximation_path.mean.is_nan());
}

#[test]
fn a_masked_class_does_no_harm() {
    let masked = [f64::NEG_INFINITY, 0.0, 0.0];
    let (with, labels) = (vec![vec![[0.0, 1.0, 0.5], [0.2, 0.0, 0.0], masked]], [0]);
    let without = vec![with[0][..2].to_vec()];
    let [with, without] = [with, without].map(|toy| compared(&toy, &labels, place(0.5, 1.0)));
    assert!((with.approximation.mean - without.approximation.mean).abs() < 1e-12);
    assert!((with.difference() - without.difference()).abs() < 1e-12);
}
