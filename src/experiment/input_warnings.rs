//! Warnings about the inputs of a result, in addition to those of matching.

use crate::analysis::chance::{self, LabelCoverage};
use crate::analysis::origin;
use crate::evaluate::onnx::Engine;
use crate::result::score::{DatasetInfo, Score};
use crate::space::gram::Gram;
use crate::space::pool::Pool;

/// Collects the engine's warnings and those that follow from the scores: about the data, and about
/// θ0. `scores[member][data set]` holds θ0 and the checkpoints.
///
/// `gram` holds the checkpoints' inner products; without it, those of a few are computed.
pub fn of_inputs(
    engine: &Engine<'_>,
    pool: &Pool,
    gram: Option<&Gram>,
    datasets: &[DatasetInfo],
    scores: &[Vec<Score>],
) -> Vec<String> {
    let (classes, named) = engine.coverage();
    let labels = named
        .into_iter()
        .map(|named| LabelCoverage { classes, named });
    let labels: Vec<LabelCoverage> = labels.collect();
    let mut warnings = engine.warnings().to_vec();
    warnings.extend(chance::warnings(datasets, &labels, scores));
    if pool.members.len() > 2 {
        let of_few;
        let gram = match gram {
            Some(gram) => gram,
            None => {
                of_few = Gram::of(&few(pool));
                &of_few
            }
        };
        warnings.extend(origin::warnings(pool, gram, (datasets, &labels), scores));
    }
    warnings
}

/// Takes θ0 and the first checkpoints: as many as the warnings need.
fn few(pool: &Pool) -> Pool {
    let members = pool.members.iter().take(1 + origin::CHECKPOINTS);
    Pool {
        parameters: pool.parameters.clone(),
        members: members.cloned().collect(),
    }
}
