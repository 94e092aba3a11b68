//! Warnings about the inputs of a result, beside those of matching.

use crate::analysis::chance::{self, LabelCoverage};
use crate::analysis::origin;
use crate::evaluate::onnx::Engine;
use crate::result::score::{DatasetInfo, Score};
use crate::space::gram::Gram;
use crate::space::pool::Pool;

/// The engine's warnings, and those that follow from the scores of θ0 and the checkpoints,
/// `scores[member][data set]`: about the data, and about θ0.
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

/// θ0 and the first checkpoints: as many as are needed to tell.
fn few(pool: &Pool) -> Pool {
    let members = pool.members.iter().take(1 + origin::CHECKPOINTS);
    Pool {
        parameters: pool.parameters.clone(),
        members: members.cloned().collect(),
    }
}
