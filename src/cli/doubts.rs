//! What the reader of any result should know of its inputs, beside what matching says.

use crate::analysis::chance::{self, LabelCoverage};
use crate::analysis::origin;
use crate::evaluate::onnx::Engine;
use crate::result::score::{DatasetInfo, Score};
use crate::space::gram::Gram;
use crate::space::pool::Pool;

/// What the engine warns of, and what the scores `[member][data set]` of θ0 and the checkpoints
/// say: of the data, and with the checkpoints' inner products, where they are at hand, of θ0.
pub fn doubts(
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
    let mut doubts = engine.warnings().to_vec();
    doubts.extend(chance::warnings(datasets, &labels, scores));
    if pool.members.len() > 2 {
        let of_few;
        let gram = match gram {
            Some(gram) => gram,
            None => {
                of_few = Gram::of(&few(pool));
                &of_few
            }
        };
        doubts.extend(origin::warnings(pool, gram, (datasets, &labels), scores));
    }
    doubts
}

/// θ0 and the first checkpoints: as many as are needed to tell.
fn few(pool: &Pool) -> Pool {
    let members = pool.members.iter().take(1 + origin::CHECKPOINTS);
    Pool {
        parameters: pool.parameters.clone(),
        members: members.cloned().collect(),
    }
}
