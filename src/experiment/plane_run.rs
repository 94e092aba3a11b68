//! A plane being measured: chooses the mixes to evaluate and assembles the scores.

use std::sync::{Mutex, MutexGuard};

use super::data::LoadedData;
use super::session::Session;
use super::{Observer, input_warnings};
use crate::analysis::adaptive::Refinement;
use crate::analysis::plane::{self as analysis, Surface};
use crate::analysis::self_check;
use crate::base::lock::lock;
use crate::error::Result;
use crate::evaluate::onnx::Engine;
use crate::evaluate::{Answers, EvaluationObserver, RunEstimate};
use crate::result::check::Check;
use crate::result::grid::Grid;
use crate::result::loss::CalibratedOn;
use crate::result::plane::{Plane, PlaneSummary, Projected};
use crate::result::score::{DatasetInfo, NamedScore, Score};
use crate::space::mix::Mix;
use crate::space::plane::PlaneBasis;

/// Chooses points of a plane's grid to evaluate and arranges their scores.
pub struct PlaneRun<'r> {
    session: &'r Session,
    data: &'r LoadedData,
    engine: &'r Engine<'r>,
    observer: &'r dyn Observer,
    /// The plane through θ0, θ1, θ2.
    pub basis: &'r PlaneBasis,
    /// The grid on the plane.
    pub grid: &'r Grid,
    /// Names of θ0, θ1, θ2 and the marked models.
    names: Vec<String>,
    /// The points of the grid that are measured.
    refinement: Mutex<Refinement>,
}

impl<'r> PlaneRun<'r> {
    /// Starts before the first evaluation.
    pub fn new(
        (session, data, engine): (&'r Session, &'r LoadedData, &'r Engine<'r>),
        (basis, grid): (&'r PlaneBasis, &'r Grid),
        refinement: Refinement,
        observer: &'r dyn Observer,
    ) -> Self {
        Self {
            session,
            data,
            engine,
            observer,
            basis,
            grid,
            names: session.names(),
            refinement: Mutex::new(refinement),
        }
    }

    /// The measured points so far.
    pub fn refinement(&self) -> MutexGuard<'_, Refinement> {
        lock(&self.refinement)
    }

    /// The mixes to evaluate: the measured points, then the models.
    pub fn mixes(&self) -> Vec<Mix> {
        analysis::mixes(
            self.basis,
            self.grid,
            &self.refinement(),
            self.session.members(),
        )
    }

    /// The mixes of all grid points.
    pub fn grid_mixes(&self) -> Vec<Mix> {
        let members = self.session.members();
        let points = self.grid.points();
        points.map(|(x, y)| self.basis.mix(x, y, members)).collect()
    }

    /// The mixes that are held against the models' files: θ0, θ1 and θ2 as points of the plane, and
    /// the further members.
    fn checked(&self) -> Vec<Mix> {
        let members = self.session.members();
        let geometry = self.basis.geometry;
        let on_plane = [geometry.a, geometry.b].map(|[x, y]| self.basis.mix(x, y, members));
        let others = (3..members).map(|member| Mix::unit(member, members));
        let origin = std::iter::once(Mix::unit(0, members));
        origin.chain(on_plane).chain(others).collect()
    }

    /// Assembles the plane from the evaluated scores.
    pub fn assemble(&self, answers: &Answers) -> Plane {
        let refinement = self.refinement();
        let surface = analysis::arrange(answers, self.basis, self.grid, &refinement, &self.names);
        let datasets = &answers.datasets;
        let as_mixes = [surface.on_plane.as_slice(), &surface.others].concat();
        let mixes = self.checked();
        let differing = |model: usize, set: usize| {
            let (mix, samples) = (&mixes[model], datasets[set].samples);
            self.engine.differing(model, mix, set, samples)
        };
        let both = (answers.originals.as_slice(), as_mixes.as_slice());
        let checks = self_check::against_files(datasets, &self.names, both, &differing);
        let mut warnings = self.session.aligned().warnings.clone();
        warnings.extend(disagreeing(&checks));
        warnings.extend(nonfinite(&surface));
        let marks = self.marks(datasets, &surface);
        let calibration = self.calibration(&surface);
        warnings.extend(calibration.as_ref().and_then(CalibratedOn::exceptions));
        warnings.extend(marks.iter().filter_map(|mark| self.outside(mark)));
        Plane {
            coefficients: surface.coefficients,
            datasets: datasets.clone(),
            scores: surface.scores,
            betas: surface.betas,
            summary: PlaneSummary {
                calibration,
                geometry: self.basis.geometry,
                checkpoints: surface.checkpoints,
                marks,
                arrows: Vec::new(),
                minimum: surface.minimum,
                comparisons: Vec::new(),
                checks,
                warnings,
                provenance: self.session.provenance(self.data, Some(self.engine)),
            },
            measured: refinement.measured().to_vec(),
            grid: self.grid.clone(),
        }
    }

    /// Warns about the inputs, given the scores of θ0 and the checkpoints.
    pub fn input_warnings(&self, plane: &Plane) -> Vec<String> {
        let scores = |scores: &[NamedScore]| scores.iter().map(|named| named.score).collect();
        // The fourth is a soup.
        let models = plane.summary.checkpoints.iter().take(3);
        let mut all: Vec<Vec<Score>> = models.map(|model| scores(&model.scores)).collect();
        all.extend(plane.summary.marks.iter().map(|mark| scores(&mark.scores)));
        input_warnings::of_inputs(
            self.engine,
            self.session.pool(),
            Some(self.session.gram()),
            &plane.datasets,
            &all,
        )
    }

    /// How the losses of the grid's points and of the models are calibrated, if they are.
    fn calibration(&self, surface: &Surface) -> Option<CalibratedOn> {
        let models = surface.checkpoints.iter();
        let models = models.filter_map(|model| model.beta.as_ref());
        let betas = surface.betas.iter().chain(models);
        Session::calibrated_on(self.engine, betas.chain(&surface.others_betas))
    }

    /// The marked models, projected onto the plane.
    fn marks(&self, datasets: &[DatasetInfo], surface: &Surface) -> Vec<Projected> {
        let names = self.names[3..].iter().zip(&surface.others).enumerate();
        let mark = |(index, (name, scores)): (usize, (&String, &Vec<Score>))| {
            let (x, y, distance) = self.basis.project(self.session.gram(), index + 2);
            Projected {
                name: name.clone(),
                x,
                y,
                distance,
                beta: surface.others_betas.get(index).copied(),
                scores: NamedScore::all(datasets, scores),
            }
        };
        names.map(mark).collect()
    }

    /// Warns about a marked model that lies outside the figure.
    fn outside(&self, mark: &Projected) -> Option<String> {
        let Projected { name, x, y, .. } = mark;
        let within = |axis: &[f64], at: f64| (axis[0]..=axis[axis.len() - 1]).contains(&at);
        let shown = within(&self.grid.xs, *x) && within(&self.grid.ys, *y);
        (!shown).then(|| {
            format!("{name} lies at ({x:.3}, {y:.3}), outside the grid; --x and --y choose another")
        })
    }
}

impl EvaluationObserver for PlaneRun<'_> {
    fn begins(&self, estimate: &RunEstimate) {
        self.observer.begins(estimate);
    }

    fn progress(&self, models: usize, samples: usize) {
        self.observer.progress(models, samples);
    }

    fn on_partial(&self, answers: &Answers) -> Result<()> {
        let mut plane = self.assemble(answers);
        let warnings = &mut plane.summary.warnings;
        warnings.push("partial: the run goes on".to_string());
        self.observer.partial_plane(&plane)
    }
}

fn disagreeing(checks: &[Check]) -> impl Iterator<Item = String> {
    let disagreeing = checks.iter().filter(|check| !check.agrees);
    disagreeing.map(|check| {
        format!(
            "{} on {}: its file gives loss {:.6}, the plane {:.6}, {} samples differ; do not trust this plane",
            check.name, check.dataset, check.loss_file, check.loss_plane, check.error_difference
        )
    })
}

fn nonfinite(surface: &Surface) -> Option<String> {
    let scores = surface.scores.iter().flatten();
    let nonfinite = scores.filter(|score| score.nonfinite > 0).count();
    (nonfinite > 0)
        .then(|| format!("{nonfinite} values of the surface are NaN or infinite; they are hatched"))
}
