//! Section 4 of "Model soups": how the loss of a soup of two models differs from that of their
//! ensemble, and the approximation of the difference from the soup's curvature and the variance of
//! the logits between the two.
//!
//! With θ_α = (1−α)·θa + α·θb and f_α = f(x; θ_α), the soup's loss is L_α = E ℓ(β·f_α, y) and the
//! ensemble's E ℓ(β·[(1−α)·f_a + α·f_b], y), with ℓ the cross-entropy. Then, to first order in the
//! difference of their logits,
//!
//! `L_soup − L_ensemble ≈ α(1−α)/2·(−d²L_α/dα² + β²·E_x Var_{Y ~ softmax(β·f_α)}[Δf_Y])`,
//! Δf = f_b − f_a.
//!
//! Above 0 the ensemble is better. Everything is in f64, sample by sample.

use crate::evaluate::metrics::{Outcome, Tally, cross_entropy};
use crate::result::score::Score;

/// The models whose logits the comparison needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// θa: α = 0.
    A,
    /// θb: α = 1.
    B,
    /// The soup at α − h.
    Below,
    /// The soup at α.
    Soup,
    /// The soup at α + h.
    Above,
}

/// Where a soup and an ensemble are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Share of θb: 0 is θa.
    pub alpha: f64,
    /// h, the distance in α to the soups on both sides: [`STEP`] unless there is a reason.
    pub step: f64,
    /// Factor of all logits (inverse temperature), above 0.
    pub beta: f64,
}

/// h for derivatives by central differences: a fraction of the path that is small, and large enough
/// for logits in f32.
///
/// The truncation error of d²L/dα² is h²/12·d⁴L/dα⁴; rounding logits of size 10 to f32 moves a
/// loss by about 1e-6 and the second difference by 2e-6/h², which is 2e-3 here before it is
/// averaged over samples. A power of 2, so that α ± h is exact.
pub const STEP: f64 = 1.0 / 32.0;

/// A soup and an ensemble, and the approximation of what their losses differ by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The soup at α; the loss is that of β times its logits.
    pub soup: Score,
    /// The ensemble, likewise.
    pub ensemble: Score,
    /// d²L_α/dα² as (L(α+h) − 2L(α) + L(α−h))/h².
    pub curvature: f64,
    /// `E_x Var[Δf_Y]`, without β².
    pub variance: f64,
    /// The same with ∂f/∂α as (f(α+h) − f(α−h))/2h in the place of Δf.
    pub variance_path: f64,
    /// α(1−α)/2·(−`curvature` + β²·`variance`).
    pub approximation: f64,
    /// α(1−α)/2·(−`curvature` + β²·`variance_path`). Without the step from ∂f/∂α to Δf this stays
    /// good away from α = ½, where that step is a poor one.
    pub approximation_path: f64,
}

impl Comparison {
    /// What is approximated: the soup's loss less the ensemble's.
    pub fn difference(&self) -> f64 {
        self.soup.loss - self.ensemble.loss
    }
}

/// Compares the soup of two models with their ensemble on samples with these labels, whose logits
/// `read(model, sample, row)` puts into a row of `classes`.
///
/// A logit that is NaN or +∞ makes its losses and the approximations not finite; a row with a NaN
/// is wrong.
///
/// # Panics
/// When a label is not below `classes`.
pub fn compare(
    place: &Place,
    labels: &[usize],
    classes: usize,
    mut read: impl FnMut(Model, usize, &mut [f64]),
) -> Comparison {
    let Place { alpha, step, beta } = *place;
    let mut rows: [Vec<f64>; 5] = std::array::from_fn(|_| vec![0.0; classes]);
    let mut other = vec![0.0; classes];
    let mut probabilities = vec![0.0; classes];
    let (mut soups, mut ensembles) = (Tally::default(), Tally::default());
    let mut sums = [0.0; 3];
    for (sample, &label) in labels.iter().enumerate() {
        use Model::{A, Above, B, Below, Soup};
        for (model, row) in [A, B, Below, Soup, Above].into_iter().zip(&mut rows) {
            read(model, sample, row);
            // ℓ takes β·f; Δf is taken from these as well and divided by β in the end.
            row.iter_mut().for_each(|logit| *logit *= beta);
        }
        let [a, b, below, soup, above] = &rows;
        let outcome = Outcome::of(soup, label);
        soups.add(outcome);
        combine(&mut other, (1.0 - alpha, a), (alpha, b));
        ensembles.add(Outcome::of(&other, label));
        // Differenced sample by sample: the means are nearly equal.
        let [before, after] = [below, above].map(|row| cross_entropy(row, label));
        sums[0] += (after - outcome.loss) + (before - outcome.loss);
        softmax(soup, 1.0, &mut probabilities);
        combine(&mut other, (1.0, b), (-1.0, a));
        sums[1] += variance(&probabilities, &other);
        combine(&mut other, (0.5 / step, above), (-0.5 / step, below));
        sums[2] += variance(&probabilities, &other);
    }
    let [bend, between, path] = sums.map(|sum| sum / labels.len() as f64);
    let curvature = bend / (step * step);
    let approximation = |variance: f64| alpha * (1.0 - alpha) / 2.0 * (variance - curvature);
    Comparison {
        soup: soups.score(),
        ensemble: ensembles.score(),
        curvature,
        variance: between / (beta * beta),
        variance_path: path / (beta * beta),
        approximation: approximation(between),
        approximation_path: approximation(path),
    }
}

/// `out` = c·x + d·y.
fn combine(out: &mut [f64], (c, x): (f64, &[f64]), (d, y): (f64, &[f64])) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = c * x + d * y;
    }
}

/// softmax(β·z).
fn softmax(logits: &[f64], beta: f64, out: &mut [f64]) {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for (probability, logit) in out.iter_mut().zip(logits) {
        *probability = (beta * (logit - max)).exp();
        sum += *probability;
    }
    out.iter_mut().for_each(|probability| *probability /= sum);
}

/// Σ p·g over the classes that have a probability: a class that the network masks with −∞ has
/// none, and no value either.
fn mean(probabilities: &[f64], value: impl Fn(usize) -> f64) -> f64 {
    let terms = probabilities.iter().enumerate().filter(|(_, p)| **p != 0.0);
    terms.map(|(class, p)| p * value(class)).sum()
}

/// Variance of g_Y with Y drawn from p.
fn variance(probabilities: &[f64], values: &[f64]) -> f64 {
    let centre = mean(probabilities, |class| values[class]);
    mean(probabilities, |class| (values[class] - centre).powi(2))
}

/// Bounds of [`calibrate`].
const BETAS: [f64; 2] = [1e-3, 1e3];

/// The β that calibrates logits: the one at which the mean cross-entropy of β·z is smallest, z
/// being the logits that `read(sample, row)` puts into a row of `classes` (temperature scaling,
/// Guo et al. 2017, with β = 1/T).
///
/// The loss is convex in β, with slope `E[Σ p·(z − z_label)]` and curvature `E Var_p[z]` where
/// p = softmax(β·z). Its root is bracketed in 0.001 to 1000 and found by Newton's steps, or by
/// halving (of log β) where a step leaves the bracket. Where the slope has one sign throughout, β is
/// the bound: 1000 when the logits separate the samples without an error. It is 1 where a logit is
/// NaN or +∞ or a label's is −∞, where every β does as well (no logits differ), and without a sample.
///
/// # Panics
/// When a label is not below `classes`.
pub fn calibrate(labels: &[usize], classes: usize, mut read: impl FnMut(usize, &mut [f64])) -> f64 {
    let mut row = vec![0.0; classes];
    let mut probabilities = vec![0.0; classes];
    let mut derivatives = |beta: f64| {
        let (mut slope, mut curvature) = (0.0, 0.0);
        for (sample, &label) in labels.iter().enumerate() {
            read(sample, &mut row);
            softmax(&row, beta, &mut probabilities);
            // As differences: of equal logits exactly 0, whatever the probabilities sum to.
            slope += mean(&probabilities, |class| row[class] - row[label]);
            curvature += variance(&probabilities, &row);
        }
        (slope, curvature)
    };
    let [mut low, mut high] = BETAS;
    let [at_low, at_high] = BETAS.map(|beta| derivatives(beta).0);
    match (at_low, at_high) {
        _ if !at_low.is_finite() || !at_high.is_finite() => return 1.0,
        (0.0, 0.0) => return 1.0,
        _ if at_low >= 0.0 => return low,
        _ if at_high <= 0.0 => return high,
        _ => {}
    }
    let mut beta = 1.0;
    // Halving alone gets there in about 40.
    for _ in 0..100 {
        let (slope, curvature) = derivatives(beta);
        *if slope > 0.0 { &mut high } else { &mut low } = beta;
        let newton = beta - slope / curvature;
        let inside = low <= newton && newton <= high;
        let next = if inside { newton } else { (low * high).sqrt() };
        if (next - beta).abs() <= 1e-10 * beta {
            return next;
        }
        beta = next;
    }
    beta
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits c0 + c1·α + c2·α² of each class: `[sample][class]`.
    type Toy = Vec<Vec<[f64; 3]>>;

    /// Some logits, of three classes, that bend by `bend` times as much.
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

    fn compared(toy: &Toy, labels: &[usize], place: Place) -> Comparison {
        compare(&place, labels, toy[0].len(), |model, sample, row| {
            let alpha = match model {
                Model::A => 0.0,
                Model::B => 1.0,
                Model::Below => place.alpha - place.step,
                Model::Soup => place.alpha,
                Model::Above => place.alpha + place.step,
            };
            for (logit, coefficients) in row.iter_mut().zip(&toy[sample]) {
                *logit = at(*coefficients, alpha);
            }
        })
    }

    fn place(alpha: f64, beta: f64) -> Place {
        let step = 1e-3;
        Place { alpha, step, beta }
    }

    #[test]
    fn where_logits_are_linear_soup_and_ensemble_are_the_same() {
        let (toy, labels) = toy(7, 0.0);
        for (alpha, beta) in [(0.5, 1.0), (0.25, 2.5), (0.0, 1.0), (1.0, 0.5)] {
            let found = compared(&toy, &labels, place(alpha, beta));
            assert!(found.difference().abs() < 1e-12);
            // The curvature is Var[Δf] but for h²/12 of the fourth derivative and 1e-16/h².
            assert!(found.approximation.abs() < 1e-6, "{found:?}");
            assert!(found.approximation_path.abs() < 1e-6);
            assert!((found.variance - found.variance_path).abs() < 1e-9);
            assert!(found.variance > 0.1);
        }
        // Nothing rounds: one class has all the probability, and logits are dyadic.
        let certain = vec![vec![[900.0, 4.0, 0.0], [-900.0, 8.0, 0.0]]];
        let found = compared(
            &certain,
            &[1],
            Place {
                step: STEP,
                ..place(0.25, 1.0)
            },
        );
        assert_eq!(found.difference(), 0.0);
        assert_eq!((found.approximation, found.approximation_path), (0.0, 0.0));
        assert_eq!((found.soup.loss, found.soup.error), (1799.0, 1.0));
    }

    /// d²L/dα² and the variances as their formulas say.
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
                    Place {
                        step,
                        ..place(alpha, beta)
                    },
                );
                assert!((found.variance - variance).abs() < 1e-12);
                // Exact for logits that are quadratic in α.
                assert!((found.variance_path - path).abs() < 1e-9);
                let factor = alpha * (1.0 - alpha) / 2.0;
                let both = [
                    (found.approximation, variance),
                    (found.approximation_path, path),
                ];
                for (approximation, variance) in both {
                    let expected = factor * (beta * beta * variance - found.curvature);
                    assert!((approximation - expected).abs() < 1e-9);
                }
                found.curvature - curvature
            };
            let (coarse, fine) = (error(1.0 / 16.0), error(1.0 / 32.0));
            assert!(coarse.abs() < 0.05, "{coarse}");
            assert!((coarse / fine - 4.0).abs() < 0.1, "{coarse} {fine}");
            // At the default.
            assert!(error(STEP).abs() < 0.01);
        }
    }

    #[test]
    fn losses_and_errors_are_those_of_soup_and_ensemble() {
        // The soup of the first sample is (0, 1 − ½·2): a tie, so the first class.
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
        // The soup's logits sag below the chord by ¼ of the bend: at the label that is a loss.
        for (bend, better_is_ensemble) in [(0.5, true), (-0.5, false)] {
            let toy = vec![vec![[0.3, 0.4, bend], [0.0, 0.1, 0.0], [-0.2, 0.0, 0.0]]];
            let found = compared(&toy, &[0], place(0.5, 1.5));
            assert_eq!(found.difference() > 0.0, better_is_ensemble);
            assert_eq!(found.approximation > 0.0, better_is_ensemble);
            assert_eq!(found.approximation_path > 0.0, better_is_ensemble);
        }
    }

    #[test]
    fn the_approximation_is_first_order_in_the_bend() {
        // Its error falls as the square of the bend: always with the path's derivative, at ½
        // with Δf as well, which is that derivative there.
        let errors = |alpha: f64, bend: f64| {
            let (toy, labels) = toy(5, bend);
            let found = compared(&toy, &labels, place(alpha, 1.2));
            let truth = found.difference();
            assert!(truth.abs() > 1e-4);
            [
                found.approximation - truth,
                found.approximation_path - truth,
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
        assert!(found.approximation.is_nan() && found.approximation_path.is_nan());
    }

    #[test]
    fn a_masked_class_does_no_harm() {
        let masked = [f64::NEG_INFINITY, 0.0, 0.0];
        let (with, labels) = (vec![vec![[0.0, 1.0, 0.5], [0.2, 0.0, 0.0], masked]], [0]);
        let without = vec![with[0][..2].to_vec()];
        let [with, without] = [with, without].map(|toy| compared(&toy, &labels, place(0.5, 1.0)));
        assert!((with.approximation - without.approximation).abs() < 1e-12);
        assert!((with.difference() - without.difference()).abs() < 1e-12);
    }

    fn calibrated(rows: &[&[f64]], labels: &[usize]) -> f64 {
        let classes = rows.first().map_or(2, |row| row.len());
        calibrate(labels, classes, |sample, row| {
            row.copy_from_slice(rows[sample]);
        })
    }

    #[test]
    fn calibration_is_the_closed_form_of_two_classes() {
        // Of 10 samples with margin 2z, 10·p are right: softmax gives p at β = ln(p/(1−p))/2z.
        for (right, z) in [(9, 0.5), (6, 0.01), (7, 20.0), (6, 40.0)] {
            let row = [z, -z];
            let labels: Vec<usize> = (0..10).map(|sample| usize::from(sample >= right)).collect();
            let p = f64::from(right as u32) / 10.0;
            let expected = (p / (1.0 - p)).ln() / (2.0 * z);
            let found = calibrated(&[row.as_slice(); 10], &labels);
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn calibration_is_where_many_classes_have_no_slope() {
        let (toy, labels) = toy(40, 0.0);
        let rows: Vec<Vec<f64>> = toy
            .iter()
            .zip(&labels)
            .map(|(row, &label)| {
                let class = |(class, c): (usize, &[f64; 3])| c[0] + f64::from(class == label);
                row.iter().enumerate().map(class).collect()
            })
            .collect();
        let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let beta = calibrated(&slices, &labels);
        let loss = |beta: f64| -> f64 {
            let scaled = |row: &Vec<f64>| row.iter().map(|z| beta * z).collect::<Vec<_>>();
            let losses = rows.iter().zip(&labels);
            losses
                .map(|(row, &label)| cross_entropy(&scaled(row), label))
                .sum()
        };
        assert!(loss(beta) < loss(beta * 1.001) && loss(beta) < loss(beta * 0.999));
        let slope = (loss(beta + 1e-5) - loss(beta - 1e-5)) / 2e-5;
        assert!(slope.abs() < 1e-6, "{slope}");
    }

    #[test]
    fn calibration_stops_at_its_bounds_and_where_it_says_nothing() {
        assert_eq!(calibrated(&[&[1.0, 0.0], &[0.0, 0.1]], &[0, 1]), 1e3);
        assert_eq!(calibrated(&[&[1.0, 0.0], &[0.0, 0.1]], &[1, 0]), 1e-3);
        assert_eq!(calibrated(&[[0.3; 3].as_slice(); 2], &[0, 2]), 1.0);
        assert_eq!(calibrated(&[&[f64::NAN, 0.0], &[0.0, 0.1]], &[1, 0]), 1.0);
        assert_eq!(calibrated(&[&[f64::INFINITY, 0.0]], &[0]), 1.0);
        assert_eq!(calibrated(&[&[f64::NEG_INFINITY, 0.0]], &[0]), 1.0);
        assert_eq!(calibrated(&[], &[]), 1.0);
        // A masked class; and a sample so certain that β does not matter.
        let masked = [f64::NEG_INFINITY, 3.0, 0.0];
        assert_eq!(calibrated(&[&masked], &[1]), 1e3);
        assert_eq!(calibrated(&[&[3e38, 0.0]], &[0]), 1.0);
    }
}
