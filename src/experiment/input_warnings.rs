//! Warnings about the inputs of a result, in addition to those of matching.

use crate::analysis::chance::{self, LabelCoverage};
use crate::analysis::{common_start, origin, twins};
use crate::evaluate::onnx::Engine;
use crate::result::score::{DatasetInfo, Score};
use crate::space::gram::Gram;
use crate::space::pool::Pool;
use crate::space::rounding::Rounding;

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
    let sets = engine.hashes();
    let sets: Vec<(&str, &str)> = sets.iter().map(|(name, hash)| (&**name, &**hash)).collect();
    warnings.extend(twins::same_data(&sets));
    warnings.extend(chance::warnings(datasets, &labels, scores));
    warnings.extend(Rounding::of(pool).and_then(|rounding| rounding.warning(pool)));
    if pool.members.len() > 2 {
        let of_few;
        let of_few_gram;
        let (pool, gram) = match gram {
            Some(gram) => (pool, gram),
            None => {
                of_few = few(pool);
                of_few_gram = Gram::of(&of_few);
                (&of_few, &of_few_gram)
            }
        };
        warnings.extend(origin::warnings(pool, gram, (datasets, &labels), scores));
        warnings.extend(common_start::warnings(pool, gram));
    }
    warnings
}

/// Takes θ0 and as many checkpoints as the warnings need, spread over the list.
fn few(pool: &Pool) -> Pool {
    let checkpoints = pool.members.len() - 1;
    let count = checkpoints.min(origin::CHECKPOINTS);
    let chosen = (0..count).map(|k| 1 + k * checkpoints / count);
    let members = std::iter::once(0).chain(chosen);
    Pool {
        parameters: pool.parameters.clone(),
        members: members.map(|member| pool.members[member].clone()).collect(),
    }
}
