//! The report of a path: its barriers.

use std::path::{Path, PathBuf};

use super::{Report, figures, self_check};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::line::{Barriers, ESTABLISHED, Line, file};
use crate::result::panels::Panels;
use crate::result::provenance::Provenance;

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

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.line, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::line(self.line, self.panels, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        print_json(&self.line.summary)
    }

    fn result(&self) -> Vec<String> {
        let averages = self.averages.iter();
        let said = averages.map(|it| format!("every soup between the ends is {it}"));
        said.chain(rises(&self.line.summary.barriers)).collect()
    }

    fn remarks(&self, rate: f64) -> Vec<String> {
        let summary = &self.line.summary;
        let (checks, provenance) = (&summary.checks, &summary.provenance);
        let seconds = provenance.wall_seconds;
        vec![
            self_check::described(checks, provenance, "the path"),
            format!("{rate:.0} samples/s, {seconds:.1} s"),
        ]
    }
}

/// Describes the highest barriers and their significance.
fn rises(barriers: &[Barriers]) -> Vec<String> {
    let column = |name: &str| format!("{name:23}  at α  {:16}", "");
    let [loss, error] = ["loss (nats, ± unpaired)", "error (%, ± unpaired)"].map(column);
    let mut lines = vec![format!("largest rise  {loss}  {error}  over the mean")];
    for of in barriers {
        let loss = rise(of.barrier_loss, of.barrier_loss_se, of.argmax_alpha, 4);
        let (height, se) = (100.0 * of.barrier_error, 100.0 * of.barrier_error_se);
        let error = rise(height, se, of.argmax_alpha_error, 2);
        let frankle = match (of.frankle_barrier_error, of.frankle_at_end) {
            (height, _) if height.is_nan() => "–".to_string(),
            (height, true) => format!("{:.2} % (at an end)", 100.0 * height),
            (height, false) => format!("{:.2} %", 100.0 * height),
        };
        lines.push(format!("{:12}  {loss}  {error}  {frankle}", of.dataset));
    }
    lines.extend(
        [
            "±: one standard error, unpaired: as if the soup and the ends had seen different samples. The paired",
            "error may be much smaller, or larger. A rise of more than two standard errors is called a barrier.",
            "A smaller one is \"not established\"; this does not show that there is no barrier.",
        ]
        .map(String::from),
    );
    if barriers.iter().any(|of| of.frankle_at_end) {
        lines.push(
            "at an end: no soup is above the higher end, so this is no barrier but half the difference between the ends"
                .to_string(),
        );
    }
    lines
}

/// Describes a rise: its height, standard error, place, and a verdict.
fn rise(height: f64, se: f64, alpha: f64, digits: usize) -> String {
    if alpha.is_nan() {
        return format!("{:47}", "no point between the checkpoints");
    }
    let words = match height {
        _ if height.is_nan() => "not a number",
        // An infinite loss has no standard error.
        _ if height > ESTABLISHED * se || height == f64::INFINITY => "barrier",
        _ => "not established",
    };
    format!("{height:10.digits$} ± {se:<10.digits$}  {alpha:4.2}  {words:16}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_a_barrier_above_two_standard_errors_only() {
        for (height, se, alpha, words) in [
            (0.5, 0.2, 0.5, "    0.5000 ± 0.2000      0.50  barrier"),
            (
                0.4,
                0.2,
                0.5,
                "    0.4000 ± 0.2000      0.50  not established",
            ),
            (
                -0.4,
                0.1,
                0.25,
                "   -0.4000 ± 0.1000      0.25  not established",
            ),
            (
                0.4,
                f64::NAN,
                0.5,
                "    0.4000 ± NaN         0.50  not established",
            ),
            (
                f64::INFINITY,
                f64::NAN,
                0.5,
                "       inf ± NaN         0.50  barrier",
            ),
            (
                f64::NAN,
                f64::NAN,
                0.5,
                "       NaN ± NaN         0.50  not a number",
            ),
            (
                f64::NAN,
                f64::NAN,
                f64::NAN,
                "no point between the checkpoints",
            ),
        ] {
            assert_eq!(rise(height, se, alpha, 4).trim_end(), words);
        }
        // The columns keep their width.
        let widths = [0.5, f64::NAN].map(|alpha| rise(0.5, 0.1, alpha, 2).chars().count());
        assert_eq!(widths[0], widths[1]);
    }
}
