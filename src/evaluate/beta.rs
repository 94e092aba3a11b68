//! The β that calibrates a model's logits (temperature scaling, Guo et al. 2017, with β = 1/T). Reads
//! logits; runs nothing.

use std::ops::Range;

use rayon::prelude::*;

use crate::result::loss::{Beta, BetaFit};

/// Number of samples that one thread takes at a time. Sums of blocks are added in order, so results
/// do not depend on the number of threads.
const BLOCK: usize = 512;

/// Sums of blocks of samples, in the order of the samples.
pub fn blocks<T: Send>(samples: usize, sum: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let starts: Vec<usize> = (0..samples).step_by(BLOCK).collect();
    let sums = starts.into_par_iter();
    sums.map(|start| sum(start..samples.min(start + BLOCK)))
        .collect()
}

/// softmax(β·z).
pub fn softmax(logits: &[f64], beta: f64, out: &mut [f64]) {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for (probability, logit) in out.iter_mut().zip(logits) {
        *probability = (beta * (logit - max)).exp();
        sum += *probability;
    }
    out.iter_mut().for_each(|probability| *probability /= sum);
}

/// Σ p·g over the classes with nonzero probability: a class that the network masks with −∞ has
/// none, and its value is not used.
fn mean(probabilities: &[f64], value: impl Fn(usize) -> f64) -> f64 {
    let terms = probabilities.iter().enumerate().filter(|(_, p)| **p != 0.0);
    terms.map(|(class, p)| p * value(class)).sum()
}

/// The variance of g_Y with Y drawn from p.
pub fn variance(probabilities: &[f64], values: &[f64]) -> f64 {
    let centre = mean(probabilities, |class| values[class]);
    mean(probabilities, |class| (values[class] - centre).powi(2))
}

/// Bounds of [`calibrate`].
const BETAS: [f64; 2] = [1e-3, 1e3];

/// The β that calibrates logits, that is, minimizes the mean cross-entropy of β·z (temperature
/// scaling, Guo et al. 2017, with β = 1/T). `read(sample, row)` must write the logits z into a row
/// of `classes` values.
///
/// The loss is convex in β, with slope `E[Σ p·(z − z_label)]` and curvature `E Var_p[z]`, where p =
/// softmax(β·z). The root of the slope is bracketed in 0.001 to 1000 and found by Newton's method,
/// or by bisection (of log β) if a step leaves the bracket. If the slope has one sign throughout, β
/// is the bound: 1000 if the logits separate the samples without an error. β is 1 and
/// [`BetaFit::Undefined`] if a logit is NaN or +∞ or a label's is −∞, if every β is equally good (no
/// logits differ), and without samples.
///
/// # Panics
/// Panics when a label is not below `classes`.
pub fn calibrate(
    labels: &[usize],
    classes: usize,
    read: impl Fn(usize, &mut [f64]) + Sync,
) -> Beta {
    let derivatives = |beta: f64| {
        let sums = blocks(labels.len(), |samples| {
            let mut row = vec![0.0; classes];
            let mut probabilities = vec![0.0; classes];
            let (mut slope, mut curvature) = (0.0, 0.0);
            for sample in samples {
                let label = labels[sample];
                read(sample, &mut row);
                softmax(&row, beta, &mut probabilities);
                // Uses differences: equal logits give exactly 0, whatever the probabilities sum to.
                slope += mean(&probabilities, |class| row[class] - row[label]);
                curvature += variance(&probabilities, &row);
            }
            (slope, curvature)
        });
        let sums = sums.into_iter();
        sums.fold((0.0, 0.0), |(a, b), (slope, curvature)| {
            (a + slope, b + curvature)
        })
    };
    root(derivatives)
}

/// The β where the slope of a convex loss is 0; `derivatives` computes slope and curvature.
fn root(derivatives: impl Fn(f64) -> (f64, f64)) -> Beta {
    let found = |value: f64, fit: BetaFit| Beta { value, fit };
    let [mut low, mut high] = BETAS;
    let [at_low, at_high] = BETAS.map(|beta| derivatives(beta).0);
    match (at_low, at_high) {
        _ if !at_low.is_finite() || !at_high.is_finite() => return found(1.0, BetaFit::Undefined),
        (0.0, 0.0) => return found(1.0, BetaFit::Undefined),
        _ if at_low >= 0.0 => return found(low, BetaFit::LowerBound),
        _ if at_high <= 0.0 => return found(high, BetaFit::UpperBound),
        _ => {}
    }
    let mut beta = 1.0;
    // Bisection alone converges in about 40 steps.
    for _ in 0..100 {
        let (slope, curvature) = derivatives(beta);
        *if slope > 0.0 { &mut high } else { &mut low } = beta;
        let newton = beta - slope / curvature;
        let inside = low <= newton && newton <= high;
        let next = if inside { newton } else { (low * high).sqrt() };
        if (next - beta).abs() <= 1e-10 * beta {
            return found(next, BetaFit::Minimum);
        }
        beta = next;
    }
    found(beta, BetaFit::Minimum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metrics::cross_entropy;

    fn calibrated(rows: &[&[f64]], labels: &[usize]) -> Beta {
        let classes = rows.first().map_or(2, |row| row.len());
        calibrate(labels, classes, |sample, row| {
            row.copy_from_slice(rows[sample]);
        })
    }

    #[test]
    fn calibration_is_the_closed_form_of_two_classes() {
        // With margin 2z, 10·p of 10 samples are right: softmax gives p at β = ln(p/(1−p))/2z.
        for (right, z) in [(9, 0.5), (6, 0.01), (7, 20.0), (6, 40.0)] {
            let row = [z, -z];
            let labels: Vec<usize> = (0..10).map(|sample| usize::from(sample >= right)).collect();
            let p = f64::from(right as u32) / 10.0;
            let expected = (p / (1.0 - p)).ln() / (2.0 * z);
            let found = calibrated(&[row.as_slice(); 10], &labels);
            assert_eq!(found.fit, BetaFit::Minimum);
            let found = found.value;
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn calibration_is_where_many_classes_have_no_slope() {
        // Logits without a pattern; each label's is raised a little.
        let labels: Vec<usize> = (0..40).map(|sample| sample * 7 % 5).collect();
        let row = |(sample, label): (usize, &usize)| -> Vec<f64> {
            let logit = |class: usize| {
                let wave = (1.7 * sample as f64 + 2.9 * class as f64).sin();
                2.0 * wave + if class == *label { 1.0 } else { 0.0 }
            };
            (0..5).map(logit).collect()
        };
        let rows: Vec<Vec<f64>> = labels.iter().enumerate().map(row).collect();
        let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let beta = calibrated(&slices, &labels).value;
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
    fn calibration_stops_at_its_bounds_and_says_so() {
        let is = |rows: &[&[f64]], labels: &[usize], value: f64, fit: BetaFit| {
            assert_eq!(calibrated(rows, labels), Beta { value, fit });
        };
        let apart: [&[f64]; 2] = [&[1.0, 0.0], &[0.0, 0.1]];
        is(&apart, &[0, 1], 1e3, BetaFit::UpperBound);
        is(&apart, &[1, 0], 1e-3, BetaFit::LowerBound);
        let undefined = |rows: &[&[f64]], labels: &[usize]| {
            is(rows, labels, 1.0, BetaFit::Undefined);
        };
        undefined(&[[0.3; 3].as_slice(); 2], &[0, 2]);
        undefined(&[&[f64::NAN, 0.0], &[0.0, 0.1]], &[1, 0]);
        undefined(&[&[f64::INFINITY, 0.0]], &[0]);
        undefined(&[&[f64::NEG_INFINITY, 0.0]], &[0]);
        undefined(&[], &[]);
        // A masked class, and a sample so certain that β does not matter.
        is(
            &[&[f64::NEG_INFINITY, 3.0, 0.0]],
            &[1],
            1e3,
            BetaFit::UpperBound,
        );
        undefined(&[&[3e38, 0.0]], &[0]);
    }
}
