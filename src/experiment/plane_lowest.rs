//! Adds to a plane what its samples say of the lowest points, from outcomes that were kept.

use super::plane_run::PlaneRun;
use crate::analysis::lowest::LowPoints;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::Engine;
use crate::evaluate::outcomes::Outcomes;
use crate::result::panels::Quantity;
use crate::result::plane::Plane;
use crate::space::mix::Mix;

/// Fills in what is known of each data set's minima beside their values.
/// Where the outcomes of the points are not kept, they stay empty.
///
/// # Errors
/// When kept outcomes cannot be read.
pub fn add(engine: &Engine<'_>, run: &PlaneRun<'_>, plane: &mut Plane, seed: u64) -> Result<()> {
    // The grid's measured points, then θ0, θ1, θ2 and the soup.
    let mixes = run.mixes();
    let measured = plane.measured.iter().enumerate();
    let measured = measured.filter(|(_, is_measured)| **is_measured);
    let indices: Vec<usize> = measured.map(|(index, _)| index).collect();
    let (points, models) = mixes.split_at(indices.len());
    let models = &models[1..4];
    for set in 0..plane.datasets.len() {
        let samples = plane.datasets[set].samples;
        let of = |mix: &Mix| engine.outcomes(mix, set, samples);
        let Some(references) = all(models.iter().map(of))? else {
            return Ok(());
        };
        for quantity in [Quantity::Loss, Quantity::Error] {
            let minimum = &plane.summary.minimum[set];
            let value = match quantity {
                Quantity::Loss => minimum.loss,
                Quantity::Error => minimum.error,
            };
            let Some(value) = value else { continue };
            let at = plane.grid.index(value.i, value.j);
            let place = |index: usize| indices.iter().position(|measured| *measured == index);
            let lowest = place(at).map(|place| of(&points[place])).transpose()?;
            let Some(lowest) = lowest.flatten() else {
                return Ok(());
            };
            let mut low = LowPoints::new(quantity, &lowest);
            for (index, mix) in indices.iter().zip(points) {
                let Some(outcomes) = of(mix)? else {
                    return Ok(());
                };
                low.add(*index, &outcomes);
            }
            let checkpoints = &plane.summary.checkpoints;
            let named = checkpoints[1..].iter().zip(&references);
            let named = named.map(|(model, outcomes)| (model.name.as_str(), outcomes));
            let found = low.lowest(&named.collect::<Vec<_>>(), seed);
            let minimum = &mut plane.summary.minimum[set];
            match quantity {
                Quantity::Loss => minimum.lowest_loss = found,
                Quantity::Error => minimum.lowest_error = found,
            }
        }
    }
    Ok(())
}

/// All outcomes, or `None` if some are not kept.
fn all(found: impl Iterator<Item = Result<Option<Outcomes>>>) -> Result<Option<Vec<Outcomes>>> {
    found.collect()
}
