//! Progress of learning a soup.

use indicatif::MultiProgress;

use super::ticker::Ticker;
use crate::analysis::learned::TrainingStep;

/// Counts the steps of one soup; dropping it removes the bar.
pub struct LearningProgress {
    name: &'static str,
    ticker: Ticker,
}

impl LearningProgress {
    /// Starts before the first step of a soup.
    pub fn new(name: &'static str, bars: &MultiProgress) -> Self {
        Self {
            name,
            ticker: Ticker::new(bars, "{bar:30} {msg} {eta} left", 0),
        }
    }

    /// Counts a step.
    pub fn step(&self, step: &TrainingStep) {
        let text = text(self.name, step);
        self.ticker.set_length(step.steps);
        self.ticker.tick(step.step, &text, |seconds| {
            let left = step.steps.saturating_sub(step.step) as f64;
            let left = seconds / step.step.max(1) as f64 * left;
            format!("{text}, {left:.0} s left")
        });
    }
}

fn text(name: &str, step: &TrainingStep) -> String {
    let accuracy = 100.0 * (1.0 - step.error);
    format!(
        "{name}: step {}/{}, loss {:.4}, accuracy {accuracy:.1} %",
        step.step, step.steps, step.loss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_with_its_loss_and_accuracy() {
        let step = TrainingStep {
            step: 3,
            steps: 20,
            loss: 0.123_45,
            error: 0.041,
        };
        assert_eq!(
            text("learned soup", &step),
            "learned soup: step 3/20, loss 0.1235, accuracy 95.9 %"
        );
    }
}
