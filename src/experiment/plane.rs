//! The plane through θ0, θ1 and θ2: loss and error on a grid (Figure 2 of Wortsman et al. 2022).

use super::plane_run::PlaneRun;
use super::session::Session;
use super::{Observer, batch_norm, plane_paired};
use crate::analysis::adaptive::{Refinement, contours};
use crate::analysis::arrows as analysis_of_arrows;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::differentiable_loss::Reference;
use crate::evaluate::onnx::gradient::Precision;
use crate::evaluate::onnx::{Engine, check_gradient};
use crate::graph::network::Network;
use crate::result::grid::Grid;
use crate::result::loss::LossKind;
use crate::result::panels::Panels;
use crate::result::plane::{Arrow, Plane};
use crate::result::score::DatasetInfo;
use crate::space::plane::PlaneBasis;

/// Maximum number of grid points: nobody could wait for more, or open the CSV.
const MOST_POINTS: usize = 1_000_000;

/// Number of points along the longer side of the grid, by default.
pub const DEFAULT_STEPS: usize = 21;

/// Margin around the models as a fraction of the longer side, by default.
pub const DEFAULT_MARGIN: f64 = 0.25;

/// The part of the plane to measure, and its resolution.
#[derive(Debug, Clone, PartialEq)]
pub enum GridSpec {
    /// The box around θ0, θ1 and θ2.
    Box {
        /// Number of points along the longer side.
        steps: usize,
        /// Margin on every side, as a fraction of the longer side.
        margin: f64,
    },
    /// These coordinates, ascending.
    Axes {
        /// Along u1.
        xs: Vec<f64>,
        /// Along u2.
        ys: Vec<f64>,
    },
}

impl Default for GridSpec {
    fn default() -> Self {
        Self::Box {
            steps: DEFAULT_STEPS,
            margin: DEFAULT_MARGIN,
        }
    }
}

impl GridSpec {
    /// Lays the grid over a plane.
    ///
    /// # Errors
    /// When the grid has too many points.
    fn over(&self, basis: &PlaneBasis) -> Result<Grid> {
        let grid = match self {
            Self::Axes { xs, ys } => Grid {
                xs: xs.clone(),
                ys: ys.clone(),
            },
            Self::Box { steps, margin } => basis.grid(*steps, *margin),
        };
        if grid.len() > MOST_POINTS {
            let (nx, ny) = (grid.xs.len(), grid.ys.len());
            return Err(Error::flag(
                "grid",
                format!("has {nx}×{ny} points; at most {MOST_POINTS} are possible"),
            ));
        }
        Ok(grid)
    }
}

/// How to measure a plane.
#[derive(Debug, Clone, Default)]
pub struct PlaneSettings {
    /// The grid.
    pub grid: GridSpec,
    /// If set, refine a coarse grid where the contours of these panels pass, and interpolate the
    /// rest.
    pub adaptive: Option<Panels>,
    /// If set, compute descent arrows on a grid with this many points along the longer side.
    pub arrows: Option<usize>,
    /// What losses are computed from.
    pub loss: LossKind,
}

impl PlaneSettings {
    /// Checks the settings against the models and the limits of a session.
    fn check(&self, session: &Session) -> Result<()> {
        if session.members() < 3 {
            let problem = "a plane needs two checkpoints beside θ0";
            return Err(Error::flag("models", problem));
        }
        if self.adaptive.is_some() && session.settings.refuse_limits().is_err() {
            let problem = "refined points would be evaluated on other samples under a limit";
            return Err(Error::flag("adaptive", problem));
        }
        session.settings.check_loss(self.loss)?;
        if self.arrows.is_some() {
            session.settings.refuse_recalibration("--arrows needs")?;
            refuse_calibrated_arrows(self.loss)?;
        }
        match &self.grid {
            GridSpec::Axes { xs, ys } if xs.len() < 2 || ys.len() < 2 => {
                Err(Error::flag("grid", "each axis needs two coordinates"))
            }
            GridSpec::Box { steps: 0 | 1, .. } => {
                Err(Error::flag("grid", "the longer side needs two points"))
            }
            _ => Ok(()),
        }
    }

    /// A grid around the three models with `steps` points along its longer side.
    pub fn with_steps(steps: usize) -> Self {
        let margin = DEFAULT_MARGIN;
        Self {
            grid: GridSpec::Box { steps, margin },
            ..Self::default()
        }
    }
}

/// Refuses arrows of calibrated losses.
///
/// # Errors
/// When losses are calibrated.
pub fn refuse_calibrated_arrows(loss: LossKind) -> Result<()> {
    if loss == LossKind::Plain {
        return Ok(());
    }
    let problem = "are the gradient of the loss at a fixed β, and with --loss calibrated β moves with the point";
    Err(Error::flag("--arrows", problem).help("leave one of the two out"))
}

/// Measures the plane through θ0 and the session's first two checkpoints; further checkpoints are
/// projected onto it.
///
/// # Errors
/// When the three models span no plane, an input cannot be used, or the run fails or is stopped.
pub fn run(session: &Session, settings: &PlaneSettings, observer: &dyn Observer) -> Result<Plane> {
    settings.check(session)?;
    let basis = PlaneBasis::of(session.pool(), session.gram())?;
    let grid = settings.grid.over(&basis)?;
    observer.note(&described(&basis, &grid));
    let network = session.network();
    if settings.arrows.is_some() {
        check_gradient(
            &network,
            session.aligned(),
            session.settings.logits_output.as_deref(),
        )?;
    }
    let data = session.load_data()?;
    let files = session.originals(&network);
    let engine = session.engine(&network, &data, observer)?;
    let engine = engine.with_originals(files);
    if settings.arrows.is_some() {
        check_gradients(&engine)?;
    }
    let engine = session.with_loss(engine, settings.loss);
    let engine = session.keep(engine, &data)?;
    let refinement = match settings.adaptive {
        Some(_) => Refinement::coarse(&grid),
        None => Refinement::whole(&grid),
    };
    let inputs = (session, &data, &engine);
    let run = PlaneRun::new(inputs, (&basis, &grid), refinement, observer);
    let mut plane = measured(&engine, &run, settings.adaptive)?;
    plane_paired::add(&engine, &run, &mut plane, session.seed())?;
    if let Some(steps) = settings.arrows {
        plane.summary.arrows = arrows(steps, (&engine, &run), &plane.datasets, observer)?;
        plane.summary.provenance = session.provenance(&data, Some(&engine));
    }
    let warnings = run.input_warnings(&plane);
    plane.summary.warnings.splice(0..0, warnings);
    let warnings = &mut plane.summary.warnings;
    warnings.extend(of_batch_norm(session, &network, &run));
    let cut = data.cut(&plane.datasets);
    let is_whole = cut.is_none();
    warnings.extend(cut);
    drop(run);
    session.conclude(engine, is_whole)?;
    Ok(plane)
}

/// Describes the plane in words.
fn described(basis: &PlaneBasis, grid: &Grid) -> String {
    let geometry = basis.geometry;
    format!(
        "‖δ1‖ = {:.4}, ‖δ2‖ = {:.4}, angle {:.2}°; {}×{} points",
        geometry.norm_a,
        geometry.norm_b,
        geometry.angle_deg,
        grid.xs.len(),
        grid.ys.len()
    )
}

/// Evaluates the grid, or refines it until every contour is measured.
fn measured(engine: &Engine<'_>, run: &PlaneRun<'_>, adaptive: Option<Panels>) -> Result<Plane> {
    loop {
        // The engine remembers points that it has evaluated.
        let answers = engine.evaluate(&run.mixes(), run)?;
        let plane = run.assemble(&answers);
        let Some(panels) = adaptive else {
            return Ok(plane);
        };
        if !run.refinement().refine(&contours(&plane, panels)) {
            return Ok(plane);
        }
    }
}

/// Warns about batch norm on the plane.
fn of_batch_norm(session: &Session, network: &Network<'_>, run: &PlaneRun<'_>) -> Vec<String> {
    let points: Vec<(f64, f64)> = run.grid.points().collect();
    let words = ("points", "the triangle of the three models");
    let place = |point: usize| {
        let (x, y) = points[point];
        format!("({x:.3}, {y:.3})")
    };
    batch_norm::warnings(session, network, &run.grid_mixes(), words, place)
}

/// Checks that the network can be differentiated on every data set. This comes before the grid,
/// which takes long: an operator may have no derivative.
fn check_gradients(engine: &Engine<'_>) -> Result<()> {
    let mut sets = engine.datasets().into_iter().enumerate();
    sets.try_for_each(|(index, set)| engine.check_gradients(index, set.samples, Precision::Own))
}

/// Computes the gradients on all data sets at the points of a coarse grid, over the samples that
/// the plane was measured on.
fn arrows(
    steps: usize,
    (engine, run): (&Engine<'_>, &PlaneRun<'_>),
    datasets: &[DatasetInfo],
    observer: &dyn Observer,
) -> Result<Vec<Arrow>> {
    let points = analysis_of_arrows::points(run.grid, steps);
    let count = points.len() * datasets.len();
    observer.note(&format!("{count} gradients for the arrows"));
    observer.steps_begin("gradients", count);
    let members = engine.members();
    let mut arrows = Vec::new();
    // One data set at a time: the output of the frozen part may take all the memory for each.
    for (index, set) in datasets.iter().enumerate() {
        let gradients = engine.gradients(index, set.samples, Precision::Own)?;
        let done = || observer.steps_done(1);
        let found =
            analysis_of_arrows::arrows(run.basis, &points, &gradients, set, members, &done)?;
        if let Some(first) = found.first() {
            hold(engine, run.basis, index, first)?;
        }
        arrows.extend(found);
    }
    observer.steps_end();
    Ok(arrows)
}

/// Compares the loss of a data set's first arrow with the evaluator's.
fn hold(engine: &Engine<'_>, basis: &PlaneBasis, index: usize, arrow: &Arrow) -> Result<()> {
    let mix = basis.mix(arrow.x, arrow.y, engine.members());
    let answers = engine.evaluate_one(&[mix], index, &())?;
    let point = format!("the point ({:.3}, {:.3})", arrow.x, arrow.y);
    let reference = Reference::of(&answers, index, point, engine.rounding());
    // A limit may have stopped one but not the other.
    if reference.samples == arrow.samples {
        reference.hold(arrow.loss)
    } else {
        Ok(())
    }
}
