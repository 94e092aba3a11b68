//! A plane on its way: what is said while it is computed, and what is shown of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::args::PanelsArg;
use super::doubts::doubts;
use super::draw;
use super::plan::Plan;
use super::progress::Progress;
use crate::analysis::adaptive::Refinement;
use crate::analysis::plane::{self as analysis, Surface};
use crate::analysis::self_check;
use crate::error::Result;
use crate::evaluate::onnx::Engine;
use crate::evaluate::{Answers, Outlook, Watch};
use crate::result::grid::Grid;
use crate::result::plane::{Arrow, Check, NamedScore, Plane, Projected, Summary};
use crate::result::plane_file;
use crate::result::provenance::Provenance;
use crate::result::score::{DatasetInfo, Score};
use crate::space::gram::Gram;
use crate::space::matching::Aligned;
use crate::space::plane::PlaneBasis;

/// All that turns answers into a plane and its files.
pub struct Job<'j> {
    /// Stem of the output files.
    pub name: &'j str,
    /// What was asked for.
    pub plan: &'j Plan,
    /// The checkpoints, aligned.
    pub aligned: &'j Aligned,
    /// Panels of the figure.
    pub panels: PanelsArg,
    /// Names of θ0, θ1, θ2 and the models that are marked.
    pub names: Vec<String>,
    /// Inner products of the checkpoints.
    pub gram: Gram,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// The plane.
    pub basis: PlaneBasis,
    /// Its grid.
    pub grid: Grid,
    /// The loss's slopes, where they were asked for.
    pub arrows: Vec<Arrow>,
    /// Which points of it are measured.
    pub refinement: Mutex<Refinement>,
    /// When the run began.
    pub start: Instant,
    /// What is done.
    pub progress: Progress,
}

impl Job<'_> {
    /// The measured points so far.
    pub fn refinement(&self) -> MutexGuard<'_, Refinement> {
        let points = self.refinement.lock();
        points.unwrap_or_else(PoisonError::into_inner)
    }

    /// The plane that the answers are.
    pub fn assemble(&self, answers: &Answers) -> Plane {
        let refinement = self.refinement();
        let surface = analysis::arrange(answers, &self.basis, &self.grid, &refinement, &self.names);
        let datasets = &answers.datasets;
        let as_mixes = [surface.on_plane.as_slice(), &surface.others].concat();
        let checks = self_check::against_files(datasets, &self.names, &answers.files, &as_mixes);
        let mut warnings = warnings(self.aligned, &checks, &surface);
        let marks = self.marks(datasets, &surface.others);
        warnings.extend(marks.iter().filter_map(|mark| self.outside(mark)));
        let provenance = self.progress.recorded(&self.provenance, self.start);
        Plane {
            coefficients: surface.coefficients,
            datasets: datasets.clone(),
            scores: surface.scores,
            summary: Summary {
                geometry: self.basis.geometry,
                checkpoints: surface.checkpoints,
                marks,
                arrows: self.arrows.clone(),
                minimum: surface.minimum,
                checks,
                warnings,
                provenance,
            },
            measured: refinement.measured().to_vec(),
            grid: self.grid.clone(),
        }
    }
}

impl Job<'_> {
    /// What is to be said of the inputs, now that θ0 and the checkpoints have scores.
    pub fn doubts(&self, engine: &Engine<'_>, plane: &Plane) -> Vec<String> {
        let scores = |scores: &[NamedScore]| scores.iter().map(|named| named.score).collect();
        // The fourth of them is a soup.
        let models = plane.summary.checkpoints.iter().take(3);
        let mut all: Vec<Vec<Score>> = models.map(|model| scores(&model.scores)).collect();
        all.extend(plane.summary.marks.iter().map(|mark| scores(&mark.scores)));
        doubts(
            engine,
            &self.aligned.pool,
            Some(&self.gram),
            &plane.datasets,
            &all,
        )
    }

    /// The marked models on the plane.
    fn marks(&self, datasets: &[DatasetInfo], scores: &[Vec<Score>]) -> Vec<Projected> {
        let names = self.names[3..].iter().zip(scores).enumerate();
        let mark = |(index, (name, scores)): (usize, (&String, &Vec<Score>))| {
            let (x, y, distance) = self.basis.project(&self.gram, index + 2);
            Projected {
                name: name.clone(),
                x,
                y,
                distance,
                scores: NamedScore::all(datasets, scores),
            }
        };
        names.map(mark).collect()
    }

    /// What is to be said of a mark that the figure does not show.
    fn outside(&self, mark: &Projected) -> Option<String> {
        let Projected { name, x, y, .. } = mark;
        let within = |axis: &[f64], at: f64| (axis[0]..=axis[axis.len() - 1]).contains(&at);
        let shown = within(&self.grid.xs, *x) && within(&self.grid.ys, *y);
        (!shown).then(|| {
            format!("{name} lies at ({x:.3}, {y:.3}), outside the grid; --x and --y choose another")
        })
    }
}

impl Watch for Job<'_> {
    fn begins(&self, outlook: &Outlook) {
        self.progress.begins(outlook);
    }

    fn progress(&self, models: usize, samples: usize) {
        self.progress.progress(models, samples);
    }

    fn sharpened(&self, answers: &Answers) -> Result<()> {
        let name = format!("{}.partial", self.name);
        let mut plane = self.assemble(answers);
        plane
            .summary
            .warnings
            .push("partial: the run goes on".to_string());
        let csv = self.plan.csv(&name);
        plane_file::write(&plane, &csv, &plane_file::json_beside(&csv))?;
        draw::figures(&plane, self.panels, &self.plan.plots(), &name)?;
        Ok(())
    }
}

fn warnings(aligned: &Aligned, checks: &[Check], surface: &Surface) -> Vec<String> {
    let mut warnings = aligned.warnings.clone();
    for check in checks.iter().filter(|check| !check.agrees) {
        warnings.push(format!(
            "{} on {}: its file gives loss {:.6}, the plane {:.6}, {} samples differ; do not trust this plane",
            check.name, check.dataset, check.loss_file, check.loss_plane, check.error_difference
        ));
    }
    let nonfinite = surface
        .scores
        .iter()
        .flatten()
        .filter(|score| score.nonfinite > 0)
        .count();
    if nonfinite > 0 {
        warnings.push(format!(
            "{nonfinite} values of the surface are NaN or infinite; they are hatched"
        ));
    }
    warnings
}
