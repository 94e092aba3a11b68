//! The soups at which learning may start.

use std::collections::HashMap;

use crate::analysis::calibration::reliability;
use crate::evaluate::beta::calibrate;
use crate::evaluate::logits::Logits;
use crate::result::learned::Start;

/// A soup of the checkpoints whose logits are known, so that its best β costs no forward pass.
pub struct Candidate<'l> {
    /// What it is.
    pub start: Start,
    /// Its coefficients, one per checkpoint.
    pub alpha: Vec<f64>,
    /// Logits of models on the data set that soups are learned on.
    pub logits: &'l Logits,
    /// Its place among these models.
    pub model: usize,
    /// The place of the data set among theirs.
    pub dataset: usize,
}

/// The soup and the β at which learning starts.
pub struct Begin {
    pub start: Start,
    /// One coefficient per checkpoint.
    pub alpha: Vec<f64>,
    pub beta: f64,
}

impl Begin {
    /// The uniform soup of some checkpoints, with β = 1.
    pub fn uniform(models: usize) -> Self {
        Self {
            start: Start::Uniform,
            alpha: vec![1.0 / models as f64; models],
            beta: 1.0,
        }
    }

    /// Of the candidates, and the uniform soup if there are none, the one with the least loss on
    /// the samples `selection`, each at the β that is best on the samples `training`, or at β = 1
    /// unless β is learned. Losses that are NaN come last; of equals, the first wins.
    pub fn best(
        candidates: &[Candidate<'_>],
        models: usize,
        (training, selection): (&[usize], &[usize]),
        learns_beta: bool,
    ) -> Self {
        // Candidates may be the same soup, as a greedy soup with one member.
        let mut seen = HashMap::new();
        let mut best: Option<(f64, &Candidate<'_>, f64)> = None;
        for candidate in candidates {
            let bits: Vec<u64> = candidate.alpha.iter().map(|a| a.to_bits()).collect();
            if seen.insert(bits, ()).is_some() {
                continue;
            }
            let beta = if learns_beta {
                candidate.calibrated(training)
            } else {
                1.0
            };
            let loss = candidate.loss(beta, selection);
            if best
                .as_ref()
                .is_none_or(|(least, ..)| loss.total_cmp(least).is_lt())
            {
                best = Some((loss, candidate, beta));
            }
        }
        best.map_or_else(
            || Self::uniform(models),
            |(_, candidate, beta)| Self {
                start: candidate.start,
                alpha: candidate.alpha.clone(),
                beta,
            },
        )
    }
}

impl Candidate<'_> {
    fn calibrated(&self, samples: &[usize]) -> f64 {
        let labels = self.labels(samples);
        calibrate(&labels, self.logits.classes(), |k, row| {
            self.read(samples[k], row);
        })
        .value
    }

    fn loss(&self, beta: f64, samples: &[usize]) -> f64 {
        let labels = self.labels(samples);
        let read = |k: usize, row: &mut [f64]| self.read(samples[k], row);
        reliability(&labels, self.logits.classes(), beta, read).loss
    }

    fn labels(&self, samples: &[usize]) -> Vec<usize> {
        let labels = self.logits.labels(self.dataset);
        samples.iter().map(|&sample| labels[sample]).collect()
    }

    fn read(&self, sample: usize, row: &mut [f64]) {
        let logits = self.logits.row(self.model, self.dataset, sample);
        for (value, logit) in row.iter_mut().zip(logits) {
            *value = f64::from(logit);
        }
    }
}
