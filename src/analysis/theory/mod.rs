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

use crate::evaluate::beta::{softmax, variance};
use crate::evaluate::metrics::{Outcome, Tally, cross_entropy};
use crate::result::score::Score;

mod agreement;
mod estimate;
#[cfg(test)]
mod tests;

pub use agreement::agreements;
pub use estimate::Estimate;

use estimate::estimates;

/// The models whose logits the comparison needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathModel {
    /// θa: α = 0.
    A,
    /// θb: α = 1.
    B,
    /// The soup at the first of [`InterpolationPoint::around`].
    Below,
    /// The soup at α.
    Soup,
    /// The soup at the second of [`InterpolationPoint::around`].
    Above,
}

/// The point at which a soup and an ensemble are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InterpolationPoint {
    /// The weight of θb: 0 is θa.
    pub alpha: f64,
    /// h, the distance in α to the soups on both sides, as far as the path reaches: [`STEP`] unless
    /// there is a reason for another.
    pub step: f64,
    /// Factor of all logits (inverse temperature), above 0.
    pub beta: f64,
}

impl InterpolationPoint {
    /// The distances in α to the soups below and above: h, but between the ends no further than they
    /// are. With h = 1 the soups are the ends themselves, and −α(1−α)/2·d²L/dα² is the rise of the
    /// soup's loss above the chord between theirs.
    fn distances(&self) -> [f64; 2] {
        let Self { alpha, step, .. } = *self;
        if alpha <= 0.0 || alpha >= 1.0 {
            return [step; 2];
        }
        [step.min(alpha), step.min(1.0 - alpha)]
    }

    /// The two values of α on both sides from which derivatives are taken.
    pub fn around(&self) -> [f64; 2] {
        let [below, above] = self.distances();
        [self.alpha - below, self.alpha + above]
    }
}

/// h for derivatives by central differences: a fraction of the path that is small, and large enough
/// for logits in f32.
///
/// The truncation error of d²L/dα² is h²/12·d⁴L/dα⁴; rounding logits of size 10 to f32 moves a
/// loss by about 1e-6 and the second difference by 2e-6/h², which is 2e-3 here before it is
/// averaged over samples. A power of 2, so that α ± h is exact. Networks of ReLUs have kinks in place
/// of a curvature, which a larger step averages: it has a smaller standard error and a larger
/// truncation error.
pub const STEP: f64 = 1.0 / 32.0;

/// A soup and an ensemble, and the approximation of the difference of their losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The soup at α; its loss is that of β times its logits.
    pub soup: Score,
    /// The ensemble; its loss is that of β times its logits.
    pub ensemble: Score,
    /// The loss of the soup minus that of the ensemble, in nats.
    pub difference: Estimate,
    /// The error of the soup minus that of the ensemble, a fraction.
    pub error_difference: Estimate,
    /// The loss of the soup minus the chord (1−α)·L(θa) + α·L(θb), in nats.
    pub rise: Estimate,
    /// α(1−α)/2·(−d²L_α/dα² + β²·`E_x Var[Δf_Y]`), in nats; d²L_α/dα² is taken as
    /// (L(α+h) − 2L(α) + L(α−h))/h².
    pub approximation: Estimate,
    /// The approximation with ∂f/∂α, as (f(α+h) − f(α−h))/2h, in place of Δf. It avoids replacing
    /// ∂f/∂α by Δf, a poor approximation away from α = ½, and so stays accurate there.
    pub approximation_path: Estimate,
    /// `difference` minus `approximation`.
    pub residual: Estimate,
    /// `difference` minus `approximation_path`.
    pub residual_path: Estimate,
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
/// sample, row)` must write the model's logits into a row of `classes` values. Standard errors are
/// paired: those of means of differences on the same samples.
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
    let mut rows: [Vec<f64>; 5] = std::array::from_fn(|_| vec![0.0; classes]);
    let mut scratch = [vec![0.0; classes], vec![0.0; classes]];
    let mut terms = Vec::with_capacity(labels.len());
    for (sample, &label) in labels.iter().enumerate() {
        use PathModel::{A, Above, B, Below, Soup};
        for (model, row) in [A, B, Below, Soup, Above].into_iter().zip(&mut rows) {
            read(model, sample, row);
            // ℓ takes β·f; Δf is computed from these too and divided by β at the end.
            row.iter_mut().for_each(|logit| *logit *= place.beta);
        }
        terms.push(SampleTerms::of(place, &rows, label, &mut scratch));
    }
    summed(place, &terms)
}

/// The comparison over all samples.
fn summed(place: &InterpolationPoint, terms: &[SampleTerms]) -> Comparison {
    let (mut soups, mut ensembles) = (Tally::default(), Tally::default());
    for of in terms {
        soups.add(of.soup);
        ensembles.add(of.ensemble);
    }
    let alpha = place.alpha;
    let factor = alpha * (1.0 - alpha) / 2.0;
    let wrong = |outcome: &Outcome| f64::from(u8::from(!outcome.correct));
    let delta = |of: &SampleTerms| factor * (of.between - of.bend);
    let path = |of: &SampleTerms| factor * (of.path - of.bend);
    let truth = |of: &SampleTerms| of.soup.loss - of.ensemble.loss;
    let estimates = estimates(
        terms,
        [
            &truth,
            &|of| wrong(&of.soup) - wrong(&of.ensemble),
            &|of| of.rise,
            &delta,
            &path,
            &|of| truth(of) - delta(of),
            &|of| truth(of) - path(of),
        ],
    );
    let [
        difference,
        error_difference,
        rise,
        approximation,
        approximation_path,
        residual,
        residual_path,
    ] = estimates;
    Comparison {
        soup: soups.score(),
        ensemble: ensembles.score(),
        difference,
        error_difference,
        rise,
        approximation,
        approximation_path,
        residual,
        residual_path,
        #[cfg(test)]
        parts: Parts::of(terms, place.beta),
    }
}

#[cfg(test)]
impl Parts {
    fn of(terms: &[SampleTerms], beta: f64) -> Self {
        let [curvature, variance, variance_path] =
            estimates(terms, [&|of| of.bend, &|of| of.between, &|of| of.path]).map(|of| of.mean);
        Self {
            curvature,
            variance: variance / (beta * beta),
            variance_path: variance_path / (beta * beta),
        }
    }
}

/// The terms of one sample.
struct SampleTerms {
    soup: Outcome,
    ensemble: Outcome,
    /// The soup's loss above the chord.
    rise: f64,
    /// d²ℓ/dα².
    bend: f64,
    /// The variance of β·Δf.
    between: f64,
    /// The variance of β·∂f/∂α.
    path: f64,
}

impl SampleTerms {
    /// From β times the logits of θa, θb and the soups below, at and above α.
    fn of(
        place: &InterpolationPoint,
        [a, b, below, soup, above]: &[Vec<f64>; 5],
        label: usize,
        [other, probabilities]: &mut [Vec<f64>; 2],
    ) -> Self {
        let alpha = place.alpha;
        let [before, after] = place.distances();
        let outcome = Outcome::of(soup, label);
        combine(other, (1.0 - alpha, a), (alpha, b));
        let ensemble = Outcome::of(other, label);
        // Differences are taken per sample, because the means are nearly equal. Steps that are not
        // equal give the derivatives of the parabola through the three points.
        let loss = |row: &[f64]| cross_entropy(row, label) - outcome.loss;
        let bend = 2.0 * (loss(above) / after + loss(below) / before) / (before + after);
        let rise = -((1.0 - alpha) * loss(a) + alpha * loss(b));
        softmax(soup, 1.0, probabilities);
        combine(other, (1.0, b), (-1.0, a));
        let between = variance(probabilities, other);
        let (left, right) = (before / after, after / before);
        for (class, out) in other.iter_mut().enumerate() {
            let (ahead, behind) = (above[class] - soup[class], soup[class] - below[class]);
            *out = (left * ahead + right * behind) / (before + after);
        }
        Self {
            soup: outcome,
            ensemble,
            rise,
            bend,
            between,
            path: variance(probabilities, other),
        }
    }
}

/// `out` = c·x + d·y.
fn combine(out: &mut [f64], (c, x): (f64, &[f64]), (d, y): (f64, &[f64])) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = c * x + d * y;
    }
}
