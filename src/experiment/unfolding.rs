//! Unfolding the origin's network for checkpoints that are state dicts.

use std::collections::BTreeMap;

use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::space::matching::Options;
use crate::space::matching::unfold::unfold;
use crate::space::matching::unproven;

/// Maximum number of unexplained tensors in an error.
const SHOWN: usize = 8;

/// What was found out about the tensors that the exporter computed.
#[derive(Debug, Default)]
pub struct Unfolding {
    /// For each tensor of the file that is computed from the state dict's, its name and how.
    pub explained: BTreeMap<String, String>,
    /// Tensors without an explanation, each with the nearest candidate.
    pub unexplained: Vec<String>,
    /// The warning about explained tensors for which only equal values at θ0 speak.
    pub warning: Option<String>,
}

impl Unfolding {
    /// Adds the unexplained tensors to an error about a checkpoint that does not fit.
    pub fn explain(&self, error: Error) -> Error {
        let count = self.unexplained.len();
        if count == 0 {
            return error;
        }
        let more = (count > SHOWN).then(|| format!("and {} more", count - SHOWN));
        let shown = self.unexplained.iter().take(SHOWN).cloned();
        let title = "no expression of θ0's state dict gives these tensors of the graph:";
        let lines = std::iter::once(title.to_string());
        error.lines(lines.chain(shown.chain(more).map(|line| format!("  {line}"))))
    }
}

/// Unfolds a model, if all checkpoints are state dicts and θ0's own is at hand.
///
/// # Errors
/// When θ0's weights have no names of their own.
pub fn of(
    model: &mut Model,
    weights: Option<&Checkpoint>,
    checkpoints: &[Checkpoint],
    options: &Options,
) -> Result<Unfolding> {
    let is_named = |it: &Checkpoint| matches!(it.content, Content::StateDict(_));
    let Some(weights) = weights.filter(|_| !checkpoints.is_empty()) else {
        return Ok(Unfolding::default());
    };
    if !checkpoints.iter().all(is_named) {
        return Ok(Unfolding::default());
    }
    let found = unfold(model, weights, options)?;
    if let Some(unfolded) = found.model {
        *model = unfolded;
    }
    Ok(Unfolding {
        explained: found.explained,
        unexplained: found.unexplained,
        warning: unproven::warning(found.unproven.into_iter().collect()),
    })
}
