//! How far a soup is learned: a bar at a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::note;
use super::progress::LINE_EVERY;
use crate::analysis::learned::TrainingStep;

/// The steps of one soup; the bar goes with it.
pub struct Course {
    /// What is learned.
    name: &'static str,
    bar: Option<ProgressBar>,
    start: Instant,
    /// When the next plain line is due, after `start`.
    next_line: Duration,
}

impl Course {
    /// Before the first step.
    pub fn new(name: &'static str, bars: &MultiProgress) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = bars.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg} {eta} left") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            name,
            bar,
            start: Instant::now(),
            next_line: Duration::from_millis(LINE_EVERY as u64),
        }
    }

    /// A step was taken.
    pub fn step(&mut self, moment: &TrainingStep) {
        let text = text(self.name, moment);
        if let Some(bar) = &self.bar {
            bar.set_length(moment.steps as u64);
            bar.set_position(moment.step as u64);
            bar.set_message(text);
            return;
        }
        let elapsed = self.start.elapsed();
        if elapsed >= self.next_line {
            self.next_line = elapsed + Duration::from_millis(LINE_EVERY as u64);
            let left = moment.steps.saturating_sub(moment.step) as f64;
            let left = elapsed.as_secs_f64() / moment.step as f64 * left;
            note(&format!("{text}, {left:.0} s left"));
        }
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn text(name: &str, moment: &TrainingStep) -> String {
    let accuracy = 100.0 * (1.0 - moment.error);
    format!(
        "{name}: step {}/{}, loss {:.4}, accuracy {accuracy:.1} %",
        moment.step, moment.steps, moment.loss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_with_its_loss_and_accuracy() {
        let moment = TrainingStep {
            step: 3,
            steps: 20,
            loss: 0.123_45,
            error: 0.041,
        };
        assert_eq!(
            text("learned soup", &moment),
            "learned soup: step 3/20, loss 0.1235, accuracy 95.9 %"
        );
    }
}
