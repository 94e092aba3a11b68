//! Adds to a plane what its samples say when they are compared one by one: the models with each
//! other, and the lowest points. Uses outcomes that were kept; nothing is evaluated.

use super::plane_run::PlaneRun;
use crate::analysis::comparison::{Compared, compare};
use crate::analysis::lowest::{LowPoints, neighbor_se};
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::Engine;
use crate::evaluate::outcomes::Outcomes;
use crate::result::grid::Grid;
use crate::result::panels::Quantity;
use crate::result::plane::{GridValue, Lowest, Plane};
use crate::space::mix::Mix;

/// What is said of a minimum: its loss and its error.
const QUANTITIES: [Quantity; 2] = [Quantity::Loss, Quantity::Error];

/// The warning where points cannot be compared.
const NOT_KEPT: &str = "the loss and correctness of every sample at every point take more disk than --disk allows: the \
                        lowest points are not compared with others, and have no standard errors";

/// Number of models on the plane: θ0, θ1, θ2 and the soup.
const MODELS: usize = 4;

/// Fills in the comparisons of the models, and what is known of each data set's minima beside their
/// values. Where the outcomes of the points were too many to keep, they stay empty, and a warning says so.
///
/// # Errors
/// When kept outcomes cannot be read.
pub fn add(engine: &Engine<'_>, run: &PlaneRun<'_>, plane: &mut Plane, seed: u64) -> Result<()> {
    // The grid's measured points, then the models.
    let mixes = run.mixes();
    let measured = plane.measured.iter().enumerate();
    let measured = measured.filter(|(_, is_measured)| **is_measured);
    let indices: Vec<usize> = measured.map(|(index, _)| index).collect();
    let (points, models) = mixes.split_at(indices.len());
    let samples: Vec<usize> = plane.datasets.iter().map(|set| set.samples).collect();
    let kept = Kept {
        engine,
        samples: &samples,
        indices: &indices,
        points,
    };
    let mut outcomes: Vec<Vec<Outcomes>> = vec![Vec::new(); MODELS];
    for set in 0..samples.len() {
        for (of, model) in outcomes.iter_mut().zip(models) {
            let Some(found) = kept.of(model, set)? else {
                plane.summary.warnings.push(NOT_KEPT.to_string());
                return Ok(());
            };
            of.push(found);
        }
    }
    add_comparisons(plane, &outcomes);
    for set in 0..samples.len() {
        let on_set: Vec<&Outcomes> = outcomes.iter().map(|of| &of[set]).collect();
        let Some([loss, error]) = kept.lowest(plane, set, &on_set, seed)? else {
            plane.summary.warnings.push(NOT_KEPT.to_string());
            return Ok(());
        };
        let minimum = &mut plane.summary.minimum[set];
        (minimum.lowest_loss, minimum.lowest_error) = (loss, error);
        let at = [minimum.loss, minimum.error];
        let [loss, error] = kept.neighbor_ses(&plane.grid, set, at)?;
        let minimum = &mut plane.summary.minimum[set];
        (minimum.neighbor_loss_se, minimum.neighbor_error_se) = (loss, error);
    }
    Ok(())
}

/// Compares the models with each of θ1 and θ2: `outcomes[model][data set]`.
fn add_comparisons(plane: &mut Plane, outcomes: &[Vec<Outcomes>]) {
    let summary = &mut plane.summary;
    let models = summary.checkpoints.iter().zip(outcomes);
    let models = models.map(|(model, outcomes)| Compared {
        name: &model.name,
        seed: None,
        outcomes,
    });
    let models: Vec<Compared<'_>> = models.collect();
    let mut comparisons = Vec::new();
    for reference in [1, 2] {
        for model in (0..models.len()).filter(|&model| model != reference) {
            let rows = compare(&plane.datasets, models[model], models[reference]);
            comparisons.extend(rows);
        }
    }
    summary.comparisons = comparisons;
}

/// The outcomes of a plane's points.
struct Kept<'k> {
    engine: &'k Engine<'k>,
    /// `samples[data set]`.
    samples: &'k [usize],
    /// Grid indices of the measured points.
    indices: &'k [usize],
    /// The mixes of these points.
    points: &'k [Mix],
}

impl Kept<'_> {
    fn of(&self, mix: &Mix, set: usize) -> Result<Option<Outcomes>> {
        self.engine.outcomes(mix, set, self.samples[set])
    }

    /// The outcomes of a point of the grid, if it was measured.
    fn at(&self, index: usize, set: usize) -> Result<Option<Outcomes>> {
        let place = self.indices.iter().position(|it| *it == index);
        let found = place.map(|place| self.of(&self.points[place], set));
        Ok(found.transpose()?.flatten())
    }

    /// The noise of the surface's shape at the smallest loss and at the smallest error.
    fn neighbor_ses(
        &self,
        grid: &Grid,
        set: usize,
        smallest: [Option<GridValue>; 2],
    ) -> Result<[Option<f64>; 2]> {
        let mut both = [None, None];
        for (se, (quantity, value)) in both.iter_mut().zip(QUANTITIES.iter().zip(smallest)) {
            let Some(value) = value else { continue };
            let Some(here) = self.at(grid.index(value.i, value.j), set)? else {
                continue;
            };
            let mut neighbors = Vec::new();
            for index in grid.neighbors(value.i, value.j) {
                neighbors.extend(self.at(index, set)?);
            }
            *se = neighbor_se(*quantity, &here, &neighbors);
        }
        Ok(both)
    }

    /// What the samples of a data set say of the points with its lowest loss and its lowest error;
    /// `models` are those of the plane. `None` if the outcomes of some point were not kept.
    fn lowest(
        &self,
        plane: &Plane,
        set: usize,
        models: &[&Outcomes],
        seed: u64,
    ) -> Result<Option<[Option<Lowest>; 2]>> {
        let minimum = &plane.summary.minimum[set];
        let start = |quantity, value: Option<GridValue>| {
            let at = value.map(|value| plane.grid.index(value.i, value.j));
            let at = self.indices.iter().position(|index| Some(*index) == at);
            let lowest = at.map(|at| self.of(&self.points[at], set)).transpose()?;
            Ok(lowest.flatten().map(|it| LowPoints::new(quantity, &it)))
        };
        let mut both: [Option<LowPoints>; 2] = [
            start(Quantity::Loss, minimum.loss)?,
            start(Quantity::Error, minimum.error)?,
        ];
        for (index, point) in self.indices.iter().zip(self.points) {
            let Some(outcomes) = self.of(point, set)? else {
                return Ok(None);
            };
            let low = both.iter_mut().flatten();
            low.for_each(|low| low.add(*index, &outcomes));
        }
        let checkpoints = plane.summary.checkpoints.iter().zip(models).skip(1);
        let named = checkpoints.map(|(model, outcomes)| (model.name.as_str(), *outcomes));
        let named: Vec<(&str, &Outcomes)> = named.collect();
        Ok(Some(both.map(|low| low?.lowest(&named, seed))))
    }
}
