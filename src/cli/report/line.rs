//! The report of a path: its barriers.

use std::path::{Path, PathBuf};

use super::columns::aligned;
use super::{Report, calibration, effort, figures, scores, self_check};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::line::{Barrier, Barriers, Line, LineSummary, Verdict, file};
use crate::result::loss::LossKind;
use crate::result::panels::Panels;
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::table::named;

/// A path and how to present it.
pub struct LineReport<'r> {
    /// The path.
    pub line: &'r Line,
    /// Panels of the figure.
    pub panels: Panels,
    /// What soups between the checkpoints are, if not averages of the models' parameters.
    pub averages: Option<&'r str>,
}

impl Report for LineReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.line.summary.warnings
    }

    fn provenance(&self) -> &Provenance {
        &self.line.summary.provenance
    }

    fn datasets(&self) -> &[DatasetInfo] {
        &self.line.datasets
    }

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.line, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::line(self.line, self.panels, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        let summary = &self.line.summary;
        print_json(&named(summary.loss(), summary)?)
    }

    fn result(&self) -> Vec<String> {
        let averages = self.averages.iter();
        let said = averages.map(|it| format!("every soup between the ends is {it}"));
        let summary = &self.line.summary;
        let mut lines: Vec<String> = said
            .chain(models(self.line))
            .chain(rises(&summary.barriers, summary.loss()))
            .collect();
        lines.extend(calibrated(summary));
        lines
    }

    fn remarks(&self, rate: f64) -> Vec<String> {
        let summary = &self.line.summary;
        let (checks, provenance) = (&summary.checks, &summary.provenance);
        let seconds = provenance.wall_seconds;
        vec![
            self_check::described(checks, provenance, "the path"),
            effort(rate, seconds),
        ]
    }
}

/// Says what the losses are if they are calibrated, with the β of the checkpoints.
fn calibrated(summary: &LineSummary) -> Vec<String> {
    let nodes = summary.checkpoints.iter();
    let betas = nodes.filter_map(|node| Some((node.name.as_str(), node.beta?)));
    calibration::described(summary.calibration.as_ref(), betas)
}

/// Loss and error of the checkpoints, and of the soup and the ensemble half way between each two.
fn models(line: &Line) -> Vec<String> {
    let nodes = &line.summary.checkpoints;
    let mut models: Vec<scores::Row<'_>> = Vec::new();
    for (k, node) in nodes.iter().enumerate() {
        models.push(scores::Row {
            name: node.name.clone(),
            scores: node.scores.iter().map(|it| &it.score).collect(),
        });
        let half = k as f64 + 0.5;
        if let Some(at) = line.alphas.iter().position(|alpha| *alpha == half) {
            let made = [("soup", &line.soup), ("ensemble", &line.ensemble)];
            models.extend(made.map(|(name, scores)| scores::Row {
                name: format!("{name} at {half}"),
                scores: scores.iter().map(|of| &of[at]).collect(),
            }));
        }
    }
    let datasets: Vec<String> = line.datasets.iter().map(|set| set.name.clone()).collect();
    scores::tables(&datasets, &models, line.summary.loss())
}

/// Describes the barriers with their intervals, and what these say.
fn rises(barriers: &[Barriers], loss: LossKind) -> Vec<String> {
    let loss = scores::title(loss);
    let header = [
        "barrier",
        &loss,
        "95 % interval",
        "at α",
        "",
        scores::ERROR,
        "95 % interval",
        "at α",
        "",
        "over the mean (%)",
        "95 % interval",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    for of in barriers {
        let loss = rise(&of.loss(), 1.0, 4);
        let error = rise(&of.error(), 100.0, 2);
        rows.push([vec![of.dataset.clone()], loss, error, over_mean(of)].concat());
    }
    // Names and words; all other cells are numbers.
    let mut lines = aligned(&rows, &[0, 4, 8], "  ");
    lines.push(
        "barrier: the largest rise of a soup above the straight line between the ends, on the same samples; its interval \
         holds for all α together; over the mean: the highest error minus the mean of the ends' (Frankle et al. 2020)"
            .to_string(),
    );
    let verdict = |which: Verdict| {
        let mut all = barriers.iter().flat_map(|of| [of.loss(), of.error()]);
        all.any(|rise| rise.verdict == which && !rise.alpha.is_nan())
    };
    if verdict(Verdict::NoneLarger) {
        lines.push(
            "none: the interval lies below 0; none larger than H: it ends at H, at most a tenth of the ends' mean"
                .to_string(),
        );
    }
    if verdict(Verdict::Undecided) {
        lines.push(
            "undecided: neither a barrier nor its absence is shown; more samples narrow the interval"
                .to_string(),
        );
    }
    if barriers.iter().any(|of| of.frankle_at_end) {
        lines.push(
            "(end): no soup is above the higher end, so this is no barrier but half the difference between the ends"
                .to_string(),
        );
    }
    lines
}

/// Cells of the height of the error over the mean of the ends, and of its interval; of a path that rises
/// to one end, neither is of a barrier.
fn over_mean(of: &Barriers) -> Vec<String> {
    let height = of.frankle_barrier_error;
    if height.is_nan() {
        return vec!["–".to_string(), String::new()];
    }
    let number = |value: f64| format!("{:.2}", 100.0 * value).replace('-', "−");
    let interval = match of.frankle_at_end {
        true => "(end)".to_string(),
        false => interval(
            [of.frankle_barrier_error_low, of.frankle_barrier_error_high],
            number,
        ),
    };
    vec![number(height), interval]
}

/// An interval; a dash where there is none.
fn interval([low, high]: [f64; 2], number: impl Fn(f64) -> String) -> String {
    match low.is_nan() || high.is_nan() {
        true => "–".to_string(),
        false => format!("{} to {}", number(low), number(high)),
    }
}

/// Cells of a rise: its height, interval, place and verdict, in `unit` parts.
fn rise(of: &Barrier, unit: f64, digits: usize) -> Vec<String> {
    if of.alpha.is_nan() {
        let nothing = "no point between the checkpoints";
        return ["–", "", "", nothing].map(String::from).to_vec();
    }
    let number = |value: f64| format!("{:.digits$}", unit * value).replace('-', "−");
    let words = match of.verdict {
        _ if of.height.is_nan() => "not a number".to_string(),
        Verdict::Barrier => "barrier".to_string(),
        Verdict::NoneLarger if of.high <= 0.0 => "none".to_string(),
        Verdict::NoneLarger => format!("none larger than {}", number(of.high)),
        Verdict::Undecided => "undecided".to_string(),
    };
    vec![
        number(of.height),
        interval([of.low, of.high], number),
        format!("{:.2}", of.alpha),
        words,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_follow_from_the_interval() {
        let barrier = |height, low, high, verdict| Barrier {
            height,
            low,
            high,
            alpha: 0.5,
            verdict,
            ..Barrier::UNMEASURED
        };
        let words = |of: Barrier| rise(&of, 100.0, 2).join(" | ");
        let (none, undecided) = (Verdict::NoneLarger, Verdict::Undecided);
        for (of, expected) in [
            (
                barrier(0.2, 0.1, 0.3, Verdict::Barrier),
                "20.00 | 10.00 to 30.00 | 0.50 | barrier",
            ),
            (
                barrier(0.001, -0.001, 0.003, none),
                "0.10 | −0.10 to 0.30 | 0.50 | none larger than 0.30",
            ),
            (
                barrier(-0.02, -0.03, -0.01, none),
                "−2.00 | −3.00 to −1.00 | 0.50 | none",
            ),
            (
                barrier(0.02, -0.01, 0.05, undecided),
                "2.00 | −1.00 to 5.00 | 0.50 | undecided",
            ),
            (
                barrier(f64::NAN, f64::NAN, f64::NAN, undecided),
                "NaN | – | 0.50 | not a number",
            ),
            (
                Barrier::UNMEASURED,
                "– |  |  | no point between the checkpoints",
            ),
        ] {
            assert_eq!(words(of), expected);
        }
    }
}
