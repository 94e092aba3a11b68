//! Compares soup and ensemble along the path between two checkpoints with the prediction of
//! section 4 of "Model soups" (Wortsman et al. 2022).

use super::Observer;
use super::evaluated::EvaluatedModels;
use super::session::Session;
use crate::analysis::calibration::calibrate;
use crate::analysis::theory::{InterpolationPoint, PathModel, STEP, compare};
use crate::error::Result;
use crate::evaluate::logits::Logits;
use crate::evaluate::onnx::Engine;
use crate::result::pairs::TheoryPoint;
use crate::result::score::{DatasetInfo, Role};
use crate::space::mix::Mix;

/// Points on the path; dyadic, so that the soups' weights are exact.
const ALPHAS: [f64; 3] = [0.25, 0.5, 0.75];

/// Offsets of the soups evaluated at each α, for finite differences.
const AROUND: [f64; 3] = [-STEP, 0.0, STEP];

/// Compares soup and ensemble for pairs of checkpoints whose logits are known. `pairs` counts
/// checkpoints from 0, without θ0. It covers all data sets except the validation set, which
/// calibrates β if there is one.
///
/// # Errors
/// When a soup cannot be evaluated.
pub fn compared(
    session: &Session,
    engine: &Engine<'_>,
    models: &EvaluatedModels,
    pairs: &[(usize, usize)],
    observer: &dyn Observer,
) -> Result<Vec<TheoryPoint>> {
    let samples: Vec<usize> = models.datasets.iter().map(|set| set.samples).collect();
    let members = session.members();
    let names = session.names();
    let folder = session.scratch_folder();
    let mut points = Vec::new();
    for &(a, b) in pairs {
        let mix = |alpha: f64| Mix::over(&[(a + 1, 1.0 - alpha), (b + 1, alpha)], members);
        let mixes = ALPHAS
            .iter()
            .flat_map(|alpha| AROUND.map(|step| mix(alpha + step)));
        // One pair at a time: the logits of all pairs may fill a disk.
        let mixes: Vec<Mix> = mixes.collect();
        let soups = engine.logits(&mixes, &samples, &folder, observer)?;
        let logits = PairLogits {
            ends: &models.logits,
            soups: &soups,
            members: (a + 1, b + 1),
            names: (&names[a + 1], &names[b + 1]),
            datasets: &models.datasets,
        };
        for (index, alpha) in ALPHAS.into_iter().enumerate() {
            points.extend(logits.at(index, alpha));
        }
    }
    Ok(points)
}

/// Logits of a pair and of its soups.
struct PairLogits<'l> {
    ends: &'l Logits,
    soups: &'l Logits,
    members: (usize, usize),
    names: (&'l str, &'l str),
    datasets: &'l [DatasetInfo],
}

impl PairLogits<'_> {
    /// Compares at the `index`-th α, with β = 1 and with the calibrated β.
    fn at(&self, index: usize, alpha: f64) -> Vec<TheoryPoint> {
        let sets = self.datasets.iter().enumerate();
        let mut validation = sets
            .clone()
            .filter(|(_, dataset)| dataset.role == Role::Val);
        let calibrated = validation
            .next()
            .map(|(set, _)| self.calibrated(index, set));
        let betas = [Some((1.0, false)), calibrated.map(|beta| (beta, true))];
        let others = sets.filter(|(_, dataset)| dataset.role != Role::Val);
        others
            .flat_map(|(set, _)| betas.into_iter().flatten().map(move |beta| (set, beta)))
            .map(|(set, beta)| self.point(index, alpha, set, beta))
            .collect()
    }

    /// The β that calibrates the soup on a data set.
    fn calibrated(&self, index: usize, set: usize) -> f64 {
        let soup = AROUND.len() * index + 1;
        calibrate(self.ends.labels(set), self.ends.classes(), |sample, row| {
            widen_into(row, self.soups.row(soup, set, sample));
        })
    }

    fn point(
        &self,
        index: usize,
        alpha: f64,
        set: usize,
        (beta, calibrated): (f64, bool),
    ) -> TheoryPoint {
        let place = InterpolationPoint {
            alpha,
            step: STEP,
            beta,
        };
        let first = AROUND.len() * index;
        let read = |model: PathModel, sample: usize, row: &mut [f64]| match model {
            PathModel::A => widen_into(row, self.ends.row(self.members.0, set, sample)),
            PathModel::B => widen_into(row, self.ends.row(self.members.1, set, sample)),
            PathModel::Below => widen_into(row, self.soups.row(first, set, sample)),
            PathModel::Soup => widen_into(row, self.soups.row(first + 1, set, sample)),
            PathModel::Above => widen_into(row, self.soups.row(first + 2, set, sample)),
        };
        let found = compare(&place, self.ends.labels(set), self.ends.classes(), read);
        TheoryPoint {
            a: self.names.0.to_string(),
            b: self.names.1.to_string(),
            dataset: self.datasets[set].name.clone(),
            alpha,
            beta,
            calibrated,
            error_soup: found.soup.error,
            error_ensemble: found.ensemble.error,
            loss_soup: found.soup.loss,
            loss_ensemble: found.ensemble.loss,
            approximation: found.approximation,
            approximation_path: found.approximation_path,
        }
    }
}

fn widen_into(row: &mut [f64], logits: impl Iterator<Item = f32>) {
    for (value, logit) in row.iter_mut().zip(logits) {
        *value = f64::from(logit);
    }
}
