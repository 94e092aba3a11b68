//! Progress of an experiment, shown to a user at a terminal or in a log.

mod evaluation;
mod learning;
mod steps;
mod ticker;

use std::sync::{Mutex, OnceLock};

use indicatif::MultiProgress;

use self::evaluation::EvaluationProgress;
use self::learning::LearningProgress;
use self::steps::StepProgress;
use super::terminal;
use crate::analysis::learned::TrainingStep;
use crate::base::human::{duration, size};
use crate::base::lock::lock;
use crate::error::Result;
use crate::evaluate::{EvaluationObserver, RunEstimate};
use crate::experiment::Observer;
use crate::result::method::Method;
use crate::result::plane::Plane;

/// Called with a plane that is still being sampled.
type OnPartial<'p> = dyn Fn(&Plane) -> Result<()> + Sync + 'p;

/// Announces how long a run will take, and shows its progress.
#[derive(Default)]
pub struct Progress<'p> {
    /// All bars, one below the other.
    bars: MultiProgress,
    evaluation: OnceLock<EvaluationProgress>,
    /// Samples per second, set once the evaluations are over.
    rate: OnceLock<f64>,
    /// The soup being learned.
    learning: Mutex<Option<LearningProgress>>,
    steps: Mutex<Option<StepProgress>>,
    on_partial: Option<&'p OnPartial<'p>>,
    /// What comes after the evaluations that are announced, and is not in their time.
    later: Option<&'static str>,
}

impl<'p> Progress<'p> {
    /// Progress of a plane, which `on_partial` shows as soon as some of the samples are evaluated.
    pub fn showing(on_partial: &'p OnPartial<'p>) -> Self {
        Self {
            on_partial: Some(on_partial),
            ..Self::default()
        }
    }

    /// Progress of a run that begins with a part of its evaluations; the number of the others follows
    /// from what these find.
    pub fn beginning(later: &'static str) -> Self {
        Self {
            later: Some(later),
            ..Self::default()
        }
    }

    /// Removes the bars; returns samples per second over all evaluations.
    pub fn finish(&self) -> f64 {
        *lock(&self.learning) = None;
        *lock(&self.steps) = None;
        *self.rate.get_or_init(|| {
            let evaluation = self.evaluation.get();
            evaluation.map_or(0.0, EvaluationProgress::finish)
        })
    }

    /// Formats what is announced when the run begins.
    fn described(&self, estimate: &RunEstimate) -> String {
        let RunEstimate {
            models,
            samples,
            chunks,
            done,
            ..
        } = estimate;
        let mut line = format!(
            "{models} models × {samples} samples, about {}, {} of memory, {} of disk",
            duration(estimate.seconds),
            size(estimate.memory),
            size(estimate.disk)
        );
        if let Some((frozen, all)) = estimate.frozen_nodes {
            line.push_str(&format!(
                "; {frozen} of {all} nodes are frozen and run once"
            ));
        }
        if *chunks > 1 && self.on_partial.is_some() {
            line.push_str(&format!(
                "; the whole map appears after 1/{chunks} of the samples"
            ));
        }
        if let Some(later) = self.later {
            line.push_str(&format!("; then {later}"));
        }
        if *done > 0 {
            let part = 100.0 * *done as f64 / (models * samples) as f64;
            line.push_str(&format!(
                "; {part:.0} % were done before (--fresh starts over)"
            ));
        }
        line
    }
}

impl EvaluationObserver for Progress<'_> {
    fn begins(&self, estimate: &RunEstimate) {
        *lock(&self.learning) = None;
        let RunEstimate {
            models,
            samples,
            done,
            ..
        } = *estimate;
        let (models, samples) = (models - done / samples.max(1), models * samples - done);
        let Some(evaluation) = self.evaluation.get() else {
            self.note(&self.described(estimate));
            let begun = EvaluationProgress::new(models, samples, &self.bars);
            let _ = self.evaluation.set(begun);
            return;
        };
        // Later calls refine the grid or try another soup.
        if self.on_partial.is_some() {
            let seconds = duration(estimate.seconds);
            self.note(&format!("refining: {models} more points, about {seconds}"));
        }
        evaluation.extend(models, samples);
    }

    fn progress(&self, models: usize, samples: usize) {
        if let Some(evaluation) = self.evaluation.get() {
            evaluation.add(models, samples);
        }
    }
}

impl Observer for Progress<'_> {
    fn note(&self, text: &str) {
        self.bars.suspend(|| terminal::note(text));
    }

    fn warn(&self, text: &str) {
        self.bars.suspend(|| terminal::warn(text));
    }

    /// Steps come after all evaluations, so the evaluation rate is fixed here.
    fn steps_begin(&self, what: &'static str, count: usize) {
        self.finish();
        *lock(&self.steps) = Some(StepProgress::new(what, count, &self.bars));
    }

    fn steps_done(&self, count: usize) {
        if let Some(steps) = &*lock(&self.steps) {
            steps.add(count);
        }
    }

    fn steps_end(&self) {
        *lock(&self.steps) = None;
    }

    fn learning_step(&self, method: Method, step: &TrainingStep) {
        let mut learning = lock(&self.learning);
        if step.step == 1 {
            *learning = None;
        }
        let new = || LearningProgress::new(method.label(), &self.bars);
        learning.get_or_insert_with(new).step(step);
    }

    fn partial_plane(&self, plane: &Plane) -> Result<()> {
        self.on_partial.map_or(Ok(()), |write| write(plane))
    }
}
