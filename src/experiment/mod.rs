//! Experiments: what a command computes, from opened inputs to a result, without flags, terminal
//! or figures.
//!
//! A [`session::Session`] holds what was opened: the network, the checkpoints aligned with it, and
//! how to evaluate. Each experiment is a function of it,
//! `run(&Session, &…Settings, &dyn Observer) -> Result<…>`: it loads the data, sets up the engine,
//! asks it for the mixes that the analysis wants, and arranges the answers as a result, with its
//! warnings and its provenance. An [`Observer`] hears how it goes on; `&()` hears nothing.

pub mod batch_norm;
pub mod candidates;
pub mod data;
mod evaluated;
mod identity;
mod input_warnings;
pub mod inputs;
pub mod inspection;
pub mod layouts;
pub mod line;
mod originals;
pub mod output;
pub mod pair_selection;
pub mod pairs;
pub mod plane;
mod plane_run;
pub mod save;
mod self_check;
pub mod session;
pub mod settings;
pub mod soup;
mod soup_result;
pub mod spectrum;
mod theory;

use crate::analysis::learned::TrainingStep;
use crate::error::Result;
use crate::evaluate::EvaluationObserver;
use crate::result::method::Method;
use crate::result::plane::Plane;

/// Hears how an experiment goes on. Every method has a default that does nothing.
pub trait Observer: EvaluationObserver {
    /// Something worth knowing that is no warning, such as the size of the work.
    fn note(&self, _text: &str) {}

    /// A warning, as soon as it is known. It stands in the result's list, too.
    fn warn(&self, _text: &str) {}

    /// `count` steps of about the same length begin, of what `what` names in the plural.
    fn steps_begin(&self, _what: &'static str, _count: usize) {}

    /// `count` more of these steps are done.
    fn steps_done(&self, _count: usize) {}

    /// The steps are over.
    fn steps_end(&self) {}

    /// The optimizer of a learned soup took a step.
    fn learning_step(&self, _method: Method, _step: &TrainingStep) {}

    /// The whole plane as it is known from the samples so far.
    ///
    /// # Errors
    /// What makes going on pointless.
    fn partial_plane(&self, _plane: &Plane) -> Result<()> {
        Ok(())
    }
}

impl Observer for () {}
