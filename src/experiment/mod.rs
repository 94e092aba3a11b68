//! Experiments: each computes a result from opened inputs. They know no flags, terminal or
//! figures.
//!
//! A [`session::Session`] holds the opened inputs: the network, the checkpoints aligned with it,
//! and how to evaluate. Each experiment is a function of it,
//! `run(&Session, &…Settings, &dyn Observer) -> Result<…>`: it loads the data, sets up the engine,
//! evaluates the mixes that the analysis needs, and arranges the scores into a result with warnings
//! and provenance. An [`Observer`] follows its progress; pass `&()` to ignore it.

mod adapters;
pub mod angle_tensors;
pub mod batch_norm;
pub mod candidates;
pub mod data;
mod evaluated;
mod evaluation;
mod identity;
mod input_warnings;
pub mod inputs;
pub mod inspection;
pub mod layouts;
pub mod line;
mod made_models;
mod originals;
pub mod output;
pub mod pair_selection;
pub mod pairs;
pub mod plane;
mod plane_paired;
mod plane_run;
pub mod save;
mod self_check;
pub mod session;
pub mod settings;
pub mod soup;
mod soup_comparisons;
mod soup_rays;
mod soup_resample;
mod soup_result;
pub mod spectrum;
mod theory;
pub mod unfolding;

use crate::analysis::learned::TrainingStep;
use crate::error::Result;
use crate::evaluate::EvaluationObserver;
use crate::result::method::Method;
use crate::result::plane::Plane;

/// Follows the progress of an experiment. Every method does nothing by default.
pub trait Observer: EvaluationObserver {
    /// Reports something worth knowing that is not a warning, such as the amount of work.
    fn note(&self, _text: &str) {}

    /// Reports a warning as soon as it is known. The result lists it as well.
    fn warn(&self, _text: &str) {}

    /// Begins `count` steps of about the same length; `what` names them in the plural.
    fn steps_begin(&self, _what: &'static str, _count: usize) {}

    /// Reports `count` more finished steps.
    fn steps_done(&self, _count: usize) {}

    /// Ends the steps.
    fn steps_end(&self) {}

    /// Reports a step of the optimizer of a learned soup.
    fn learning_step(&self, _method: Method, _step: &TrainingStep) {}

    /// Shows the whole plane, estimated from the samples so far.
    ///
    /// # Errors
    /// When the observer wants the experiment to end, e.g. because it cannot write a file.
    fn partial_plane(&self, _plane: &Plane) -> Result<()> {
        Ok(())
    }
}

impl Observer for () {}
