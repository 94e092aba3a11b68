//! How far the probabilities of a model can be believed: the loss, the expected calibration error and
//! the Brier score of softmax(β·z), with the β that calibrates its logits.

use crate::evaluate::beta::{blocks, calibrate, softmax};
use crate::evaluate::logits::{Ensemble, Logits};
use crate::evaluate::metrics::cross_entropy;
use crate::result::calibration::{Calibration, Reliability};

/// Number of bins of equal width of the expected calibration error (Guo et al. 2017 use 15).
const BINS: usize = 15;

/// The calibration of a model or an ensemble on all data sets; `validation` is the place of the one
/// that β is fitted on.
///
/// # Panics
/// Panics when there is no such model or data set.
pub fn calibration(
    logits: &Logits,
    ensemble: Ensemble<'_>,
    validation: Option<usize>,
) -> Calibration {
    let classes = logits.classes();
    let beta = validation.map_or(f64::NAN, |set| {
        let read = logits.reader(ensemble, set);
        calibrate(logits.labels(set), classes, read).value
    });
    let at = |beta: f64| {
        let sets = 0..logits.datasets();
        sets.map(|set| {
            let read = logits.reader(ensemble, set);
            reliability(logits.labels(set), classes, beta, read)
        })
        .collect()
    };
    Calibration {
        beta,
        plain: at(1.0),
        calibrated: at(beta),
    }
}

/// The ratio of two models' β from which their logits are said to differ in scale.
const UNEVEN: f64 = 1.3;

/// Warns about models whose β differ; `names` are theirs.
pub fn uneven(calibrations: &[Calibration], names: &[String]) -> Option<String> {
    let models = calibrations.iter().zip(names);
    let models = models.filter(|(of, _)| of.beta.is_finite());
    let by_beta =
        |a: &(&Calibration, &String), b: &(&Calibration, &String)| a.0.beta.total_cmp(&b.0.beta);
    let (low, first) = models.clone().min_by(by_beta)?;
    let (high, last) = models.max_by(by_beta)?;
    (high.beta > UNEVEN * low.beta).then(|| {
        format!(
            "the models' logits differ in scale: the β that calibrates them is {:.2} for {first} and \
             {:.2} for {last}. Losses at β = 1 compare the scales, too, and an ensemble of logits \
             gives a model with larger logits more weight; --ensemble probabilities does not",
            low.beta, high.beta
        )
    })
}

/// Sums over samples that [`reliability`] is computed from.
#[derive(Clone, Copy, Default)]
struct Sums {
    loss: f64,
    brier: f64,
    /// `Σ (confidence − correct)` of each bin of confidences.
    gaps: [f64; BINS],
}

/// Loss, calibration error and Brier score of softmax(β·z); `read` is that of [`calibrate`]. All
/// are NaN without samples, or where a logit is NaN or +∞.
///
/// The expected calibration error (Naeini et al. 2015, Guo et al. 2017) is Σ |Σ (confidence −
/// correct)|/n over 15 bins of equal width ((m−1)/15, m/15], where the confidence is the largest
/// probability and belongs to the first of the largest logits. The Brier score is the mean of Σ (p −
/// one-hot)² over all classes, in [0, 2] (Brier 1950).
///
/// # Panics
/// Panics when a label is not below `classes`.
pub fn reliability(
    labels: &[usize],
    classes: usize,
    beta: f64,
    read: impl Fn(usize, &mut [f64]) + Sync,
) -> Reliability {
    let sums = blocks(labels.len(), |samples| {
        let mut row = vec![0.0; classes];
        let mut probabilities = vec![0.0; classes];
        let mut sums = Sums::default();
        for sample in samples {
            read(sample, &mut row);
            row.iter_mut().for_each(|logit| *logit *= beta);
            softmax(&row, 1.0, &mut probabilities);
            sums.add(&row, &probabilities, labels[sample]);
        }
        sums
    });
    let mut total = Sums::default();
    for sums in sums {
        total.loss += sums.loss;
        total.brier += sums.brier;
        let gaps = total.gaps.iter_mut().zip(sums.gaps);
        gaps.for_each(|(gap, more)| *gap += more);
    }
    let n = labels.len() as f64;
    Reliability {
        loss: total.loss / n,
        ece: total.gaps.iter().map(|gap| gap.abs()).sum::<f64>() / n,
        brier: total.brier / n,
    }
}

impl Sums {
    fn add(&mut self, logits: &[f64], probabilities: &[f64], label: usize) {
        self.loss += cross_entropy(logits, label);
        let mut first = 0;
        for (class, p) in probabilities.iter().enumerate() {
            let target = if class == label { 1.0 } else { 0.0 };
            self.brier += (p - target) * (p - target);
            if logits[class] > logits[first] {
                first = class;
            }
        }
        let confidence = probabilities[first];
        let correct = if first == label { 1.0 } else { 0.0 };
        // (m−1)/15 < confidence ≤ m/15; a NaN goes to the first bin and makes the error NaN.
        let bin = (confidence * BINS as f64).ceil() as usize;
        self.gaps[bin.clamp(1, BINS) - 1] += confidence - correct;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::logits::Scratch;
    use crate::result::combine::Combine;

    #[test]
    fn closed_forms_of_reliability() {
        // Probabilities 0.9 and 0.1: nine of ten are right, so nothing is off.
        let z = 9.0_f64.ln();
        let of = |labels: &[usize], beta: f64| {
            reliability(labels, 2, beta, |_, row| row.copy_from_slice(&[z, 0.0]))
        };
        let labels = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let exact = of(&labels, 1.0);
        assert!(exact.ece.abs() < 1e-15, "{exact:?}");
        // Σ (p − one-hot)² is 2·0.1² or 2·0.9².
        assert!((exact.brier - (0.9 * 0.02 + 0.1 * 1.62)).abs() < 1e-15);
        let loss = -(0.9 * 0.9_f64.ln() + 0.1 * 0.1_f64.ln());
        assert!((exact.loss - loss).abs() < 1e-15);
        // At β = 0, every confidence is ½ and the first class is chosen: |½ − 0.9|.
        let flat = of(&labels, 0.0);
        assert!((flat.ece - 0.4).abs() < 1e-15 && (flat.brier - 0.5).abs() < 1e-15);
        assert!(of(&[], 1.0).ece.is_nan());
        let broken = reliability(&[0], 2, 1.0, |_, row| row.fill(f64::NAN));
        assert!(broken.ece.is_nan() && broken.loss.is_nan() && broken.brier.is_nan());
    }

    #[test]
    fn logits_of_different_scales_are_told() {
        let names = ["a", "b", "c"].map(String::from);
        let of = |betas: [f64; 3]| {
            let calibrations = betas.map(|beta| Calibration {
                beta,
                plain: Vec::new(),
                calibrated: Vec::new(),
            });
            uneven(&calibrations, &names)
        };
        assert_eq!(of([1.0, 1.29, 1.1]), None);
        assert_eq!(of([f64::NAN; 3]), None);
        let text = of([2.12, 0.9, f64::NAN]).unwrap();
        assert!(text.contains("0.90 for b and 2.12 for a"), "{text}");
    }

    #[test]
    fn models_and_ensembles_are_measured_as_numpy_does() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/reliability.json");
        let text = std::fs::read_to_string(path).unwrap();
        let oracle: serde_json::Value = serde_json::from_str(&text).unwrap();
        let list = |value: &serde_json::Value| -> Vec<f64> {
            let values = value.as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let labels: Vec<usize> = list(&oracle["labels"])
            .iter()
            .map(|y| *y as usize)
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(folder.path(), 2, 5, &[labels.len()]).unwrap();
        for model in 0..2 {
            let rows = oracle["logits"][model].as_array().unwrap().iter();
            let values: Vec<f32> = rows.flat_map(list).map(|z| z as f32).collect();
            scratch.write(model, 0, 0, &values).unwrap();
        }
        let logits = scratch.finish(vec![labels]).unwrap();
        let mean: Vec<(usize, f64)> = list(&oracle["weights"]).into_iter().enumerate().collect();
        let first = [(0, 1.0)];
        let cases = [
            (Combine::Logits, &first[..], &oracle["models"][0]),
            (Combine::Logits, &mean[..], &oracle["ensemble"]),
            (Combine::Probabilities, &mean[..], &oracle["probabilities"]),
        ];
        for (combine, weights, expected) in cases {
            let found = calibration(&logits, Ensemble { combine, weights }, Some(0));
            // SciPy's minimum is flat: its β is good to a millionth.
            let beta = expected["beta"].as_f64().unwrap();
            assert!(
                (found.beta / beta - 1.0).abs() < 1e-5,
                "{} {beta}",
                found.beta
            );
            for (found, key) in [
                (&found.plain[0], "plain"),
                (&found.calibrated[0], "calibrated"),
            ] {
                let pairs = [
                    (found.loss, "loss"),
                    (found.ece, "ece"),
                    (found.brier, "brier"),
                ];
                for (found, what) in pairs {
                    let expected = expected[key][what].as_f64().unwrap();
                    assert!(
                        (found - expected).abs() < 1e-6,
                        "{key} {what} {found} {expected}"
                    );
                }
            }
        }
    }
}
