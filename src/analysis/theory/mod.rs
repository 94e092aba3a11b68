//! Section 4 of "Model soups": the difference between the losses of a soup of two models and of
//! their ensemble, and its approximation by the soup's curvature and the variance of the difference
//! between the two models' logits.
//!
//! With θ_α = (1−α)·θa + α·θb and f_α = f(x; θ_α), the soup's loss is L_α = E ℓ(β·f_α, y) and the
//! ensemble's E ℓ(β·[(1−α)·f_a + α·f_b], y), with ℓ the cross-entropy. Then, to first order in the
//! difference of their logits,
//!
//! `L_soup − L_ensemble ≈ α(1−α)/2·(−d²L_α/dα² + β²·E_x Var_{Y ~ softmax(β·f_α)}[Δf_Y])`,
//! Δf = f_b − f_a.
//!
//! If it is positive, the ensemble is better. Everything is computed in f64, sample by sample.

use super::calibration::{softmax, variance};
use crate::evaluate::metrics::{Outcome, Tally, cross_entropy};
use crate::result::score::Score;

#[cfg(test)]
mod tests;

/// The models whose logits the comparison needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathModel {
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

/// The point at which a soup and an ensemble are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InterpolationPoint {
    /// The weight of θb: 0 is θa.
    pub alpha: f64,
    /// h, the distance in α to the soups on both sides: [`STEP`] unless there is a reason for
    /// another.
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

/// A soup and an ensemble, and the approximation of the difference of their losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The soup at α; its loss is that of β times its logits.
    pub soup: Score,
    /// The ensemble; its loss is that of β times its logits.
    pub ensemble: Score,
    /// α(1−α)/2·(−d²L_α/dα² + β²·`E_x Var[Δf_Y]`), in nats; d²L_α/dα² is taken as
    /// (L(α+h) − 2L(α) + L(α−h))/h².
    pub approximation: f64,
    /// The approximation with ∂f/∂α, as (f(α+h) − f(α−h))/2h, in place of Δf. It avoids replacing
    /// ∂f/∂α by Δf, a poor approximation away from α = ½, and so stays accurate there.
    pub approximation_path: f64,
    /// The terms of the approximations.
    #[cfg(test)]
    parts: Parts,
}

/// The terms of the approximations.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq)]
struct Parts {
    /// d²L_α/dα².
    curvature: f64,
    /// `E_x Var[Δf_Y]`, without β².
    variance: f64,
    /// `E_x Var` with ∂f/∂α in place of Δf.
    variance_path: f64,
}

/// Compares the soup of two models with their ensemble on the samples of `labels`. `read(model,
/// sample, row)` must write the model's logits into a row of `classes` values.
///
/// A logit that is NaN or +∞ makes its losses and the approximations not finite; a row with a NaN
/// counts as wrong.
///
/// # Panics
/// Panics when a label is not below `classes`.
pub fn compare(
    place: &InterpolationPoint,
    labels: &[usize],
    classes: usize,
    mut read: impl FnMut(PathModel, usize, &mut [f64]),
) -> Comparison {
    let InterpolationPoint { alpha, step, beta } = *place;
    let mut rows: [Vec<f64>; 5] = std::array::from_fn(|_| vec![0.0; classes]);
    let mut other = vec![0.0; classes];
    let mut probabilities = vec![0.0; classes];
    let (mut soups, mut ensembles) = (Tally::default(), Tally::default());
    let mut sums = [0.0; 3];
    for (sample, &label) in labels.iter().enumerate() {
        use PathModel::{A, Above, B, Below, Soup};
        for (model, row) in [A, B, Below, Soup, Above].into_iter().zip(&mut rows) {
            read(model, sample, row);
            // ℓ takes β·f; Δf is computed from these too and divided by β at the end.
            row.iter_mut().for_each(|logit| *logit *= beta);
        }
        let [a, b, below, soup, above] = &rows;
        let outcome = Outcome::of(soup, label);
        soups.add(outcome);
        combine(&mut other, (1.0 - alpha, a), (alpha, b));
        ensembles.add(Outcome::of(&other, label));
        // Differences are taken per sample, because the means are nearly equal.
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
        approximation: approximation(between),
        approximation_path: approximation(path),
        #[cfg(test)]
        parts: Parts {
            curvature,
            variance: between / (beta * beta),
            variance_path: path / (beta * beta),
        },
    }
}

/// `out` = c·x + d·y.
fn combine(out: &mut [f64], (c, x): (f64, &[f64]), (d, y): (f64, &[f64])) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = c * x + d * y;
    }
}
