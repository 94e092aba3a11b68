//! The self-check of pools: runs each original file on a few samples and compares it with the model
//! that its tensors make in the origin's network.

use super::session::Session;
use crate::analysis::self_check;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::logits::Logits;
use crate::evaluate::onnx::Engine;
use crate::graph::network::Network;
use crate::result::score::{DatasetInfo, Score};

/// Number of samples for the self-check.
const SAMPLES: usize = 64;

/// Warns if a file, run as it is on a few samples, gives other values than its mix: then its
/// tensors were matched wrongly.
///
/// # Errors
/// When a file cannot be run.
pub fn against_files(
    engine: &Engine<'_>,
    session: &Session,
    network: &Network<'_>,
    logits: &Logits,
) -> Result<Vec<String>> {
    let files = engine.try_originals(&session.originals(network), SAMPLES)?;
    let set = engine.datasets().swap_remove(0);
    let samples = set.samples.min(SAMPLES);
    let mixes = (0..files.len()).map(|member| vec![logits.first(member, 0, samples)]);
    let mixes: Vec<Vec<Score>> = mixes.collect();
    let set = DatasetInfo { samples, ..set };
    let differing = |member: usize, _| {
        let (_, outcomes) = &files[member];
        Some(outcomes.differing(&logits.outcomes_of(member, 0)))
    };
    let scores: Vec<Vec<Score>> = files.iter().map(|(score, _)| vec![*score]).collect();
    let checks = self_check::against_files(&[set], &session.names(), (&scores, &mixes), &differing);
    let disagreeing = checks.iter().filter(|check| !check.agrees).map(|check| {
        format!(
            "{} on {samples} samples of {}: its file gives loss {:.6}, its tensors in the \
             origin's network {:.6}; do not trust these results",
            check.name, check.dataset, check.loss_file, check.loss_plane
        )
    });
    Ok(disagreeing.collect())
}
