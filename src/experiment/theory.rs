//! Compares soup and ensemble along the path between two checkpoints with the prediction of
//! section 4 of "Model soups" (Wortsman et al. 2022).

use super::Observer;
use super::evaluated::EvaluatedModels;
use super::session::Session;
use crate::analysis::theory::{Comparison, InterpolationPoint, PathModel, compare};
use crate::error::Result;
use crate::evaluate::beta::calibrate;
use crate::evaluate::logits::Logits;
use crate::evaluate::onnx::Engine;
use crate::result::pairs::TheoryPoint;
use crate::result::score::{DatasetInfo, Role};
use crate::space::mix::Mix;

/// Points on the path; dyadic, so that the soups' weights are exact.
const ALPHAS: [f64; 3] = [0.25, 0.5, 0.75];

/// Index of the midpoint among [`ALPHAS`].
const MIDPOINT: usize = 1;

/// Compares soup and ensemble for pairs of checkpoints whose logits are known. `pairs` counts
/// checkpoints from 0, without θ0. Derivatives are taken with each of `steps`. It covers all data
/// sets except the validation set, which calibrates β if there is one.
///
/// # Errors
/// When a soup cannot be evaluated.
pub fn compared(
    session: &Session,
    engine: &Engine<'_>,
    models: &EvaluatedModels,
    (pairs, steps): (&[(usize, usize)], &[f64]),
    observer: &dyn Observer,
) -> Result<Vec<TheoryPoint>> {
    let samples: Vec<usize> = models.datasets.iter().map(|set| set.samples).collect();
    let members = session.members();
    let names = session.names();
    let folder = session.scratch_folder();
    let mut points = Vec::new();
    for &(a, b) in pairs {
        let mix = |alpha: f64| Mix::over(&[(a + 1, 1.0 - alpha), (b + 1, alpha)], members);
        let mixes = ALPHAS.iter().flat_map(|&alpha| {
            let around = steps
                .iter()
                .flat_map(move |&step| place(alpha, step, 1.0).around());
            std::iter::once(alpha).chain(around).map(mix)
        });
        // One pair at a time: the logits of all pairs may fill a disk.
        let mixes: Vec<Mix> = mixes.collect();
        let soups = engine.logits(&mixes, &samples, &folder, observer)?;
        let logits = PairLogits {
            ends: &models.logits,
            soups: &soups,
            members: (a + 1, b + 1),
            names: (&names[a + 1], &names[b + 1]),
            datasets: &models.datasets,
            steps,
        };
        points.extend(logits.points());
    }
    Ok(points)
}

fn place(alpha: f64, step: f64, beta: f64) -> InterpolationPoint {
    InterpolationPoint { alpha, step, beta }
}

/// Logits of a pair and of its soups.
struct PairLogits<'l> {
    ends: &'l Logits,
    /// For each α the soup, then the two around it for each step.
    soups: &'l Logits,
    members: (usize, usize),
    names: (&'l str, &'l str),
    datasets: &'l [DatasetInfo],
    steps: &'l [f64],
}

impl PairLogits<'_> {
    /// The points at every α and step, with β = 1 and with the calibrated β.
    fn points(&self) -> Vec<TheoryPoint> {
        let sets = self.datasets.iter().enumerate();
        let of_role = |is_val: bool| {
            let sets = sets.clone();
            sets.filter(move |(_, set)| (set.role == Role::Val) == is_val)
        };
        let validation = of_role(true).map(|(set, _)| set).next();
        // `betas[kind][α]`
        let mut betas = vec![[1.0; ALPHAS.len()]];
        betas.extend(validation.map(|set| [0, 1, 2].map(|index| self.calibrated(index, set))));
        let mut points = Vec::new();
        for (set, _) in of_role(false) {
            for (kind, betas) in betas.iter().enumerate() {
                // The midpoint's rise above the chord does not depend on the step.
                let midpoint = self.compared(MIDPOINT, 0, set, betas[MIDPOINT]);
                for (index, &beta) in betas.iter().enumerate() {
                    for step in 0..self.steps.len() {
                        let found = self.compared(index, step, set, beta);
                        let found = (&found, &midpoint);
                        points.push(self.point((index, step, set), (beta, kind), found));
                    }
                }
            }
        }
        points
    }

    /// Index of the soup at the `index`-th α.
    fn soup(&self, index: usize) -> usize {
        (1 + 2 * self.steps.len()) * index
    }

    /// The β that calibrates the soup on a data set.
    fn calibrated(&self, index: usize, set: usize) -> f64 {
        let soup = self.soup(index);
        let beta = calibrate(self.ends.labels(set), self.ends.classes(), |sample, row| {
            widen_into(row, self.soups.row(soup, set, sample));
        });
        beta.value
    }

    fn compared(&self, index: usize, step: usize, set: usize, beta: f64) -> Comparison {
        let soup = self.soup(index);
        let around = soup + 1 + 2 * step;
        let read = |model: PathModel, sample: usize, row: &mut [f64]| match model {
            PathModel::A => widen_into(row, self.ends.row(self.members.0, set, sample)),
            PathModel::B => widen_into(row, self.ends.row(self.members.1, set, sample)),
            PathModel::Below => widen_into(row, self.soups.row(around, set, sample)),
            PathModel::Soup => widen_into(row, self.soups.row(soup, set, sample)),
            PathModel::Above => widen_into(row, self.soups.row(around + 1, set, sample)),
        };
        let place = place(ALPHAS[index], self.steps[step], beta);
        compare(&place, self.ends.labels(set), self.ends.classes(), read)
    }

    fn point(
        &self,
        (index, step, set): (usize, usize, usize),
        (beta, kind): (f64, usize),
        (found, midpoint): (&Comparison, &Comparison),
    ) -> TheoryPoint {
        let rise = midpoint.rise;
        TheoryPoint {
            a: self.names.0.to_string(),
            b: self.names.1.to_string(),
            dataset: self.datasets[set].name.clone(),
            alpha: ALPHAS[index],
            beta,
            calibrated: kind > 0,
            error_soup: found.soup.error,
            error_ensemble: found.ensemble.error,
            loss_soup: found.soup.loss,
            loss_ensemble: found.ensemble.loss,
            approximation: found.approximation.mean,
            approximation_path: found.approximation_path.mean,
            step: self.steps[step],
            loss_difference_se: found.difference.se,
            error_difference_se: found.error_difference.se,
            approximation_se: found.approximation.se,
            approximation_path_se: found.approximation_path.se,
            residual_se: found.residual.se,
            residual_path_se: found.residual_path.se,
            rise: rise.mean,
            rise_se: rise.se,
            barrier: rise.mean > 2.0 * rise.se || rise.mean == f64::INFINITY,
        }
    }
}

fn widen_into(row: &mut [f64], logits: impl Iterator<Item = f32>) {
    for (value, logit) in row.iter_mut().zip(logits) {
        *value = f64::from(logit);
    }
}
