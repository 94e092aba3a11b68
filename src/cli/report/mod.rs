//! Reports of results: files, figures, and text on the terminal.

mod calibration;
mod columns;
pub mod figures;
pub mod inspection;
mod line;
mod pairs;
mod plane;
mod population;
mod scores;
mod self_check;
mod soup;
mod soup_table;
mod spectrum;
mod verified;

use std::path::{Path, PathBuf};

pub use self::line::LineReport;
pub use self::pairs::PairsReport;
pub use self::plane::{PlaneReport, write_partial};
pub use self::soup::{SoupReport, saved_model};
pub use self::spectrum::SpectrumReport;
use super::progress::Progress;
use super::terminal::{note, print, warn};
use crate::error::Result;
use crate::experiment::session::Session;
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;

/// Describes the effort of a run: its rate in samples per second, if any went through the network,
/// and its time.
fn effort(rate: f64, seconds: f64) -> String {
    match rate > 0.0 {
        true => format!("{rate:.0} samples/s, {seconds:.1} s"),
        false => format!("all values were kept from an earlier run, {seconds:.1} s"),
    }
}

/// A result that can be written, drawn and printed.
pub trait Report {
    /// Warnings about the result.
    fn warnings(&self) -> &[String];

    /// Where the result comes from.
    fn provenance(&self) -> &Provenance;

    /// The data sets, with the number of samples that the values are from.
    fn datasets(&self) -> &[DatasetInfo];

    /// Writes the CSV and the files beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn write(&self, csv: &Path) -> Result<()>;

    /// Draws the figures; returns their paths.
    ///
    /// # Errors
    /// When a figure cannot be drawn or written.
    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>>;

    /// Prints the result as JSON.
    ///
    /// # Errors
    /// When it cannot be serialized.
    fn print_json(&self) -> Result<()>;

    /// The lines that present the result. What the values are, if not what a reader expects, is
    /// said among them.
    fn result(&self) -> Vec<String>;

    /// The lines below the result: checks and effort. `rate` is in samples per second.
    fn remarks(&self, rate: f64) -> Vec<String>;

    /// Whether only the result goes to standard output and everything else to standard error.
    fn stands_alone(&self) -> bool {
        false
    }
}

/// Writes, draws and prints a result.
///
/// # Errors
/// When a file cannot be written.
pub fn finish(
    report: &dyn Report,
    session: &Session,
    progress: &Progress<'_>,
    json: bool,
) -> Result<()> {
    let rate = progress.finish();
    let output = session.output();
    let csv = output.csv();
    report.write(&csv)?;
    let drawn = report.draw(&output.plots(), &output.name)?;
    report.warnings().iter().for_each(|warning| warn(warning));
    if json {
        return report.print_json();
    }
    report.result().iter().for_each(|line| print(line));
    let say = if report.stands_alone() { note } else { print };
    verified::line(report.provenance())
        .iter()
        .for_each(|line| say(line));
    population::line(report.datasets(), &report.provenance().drawn_from)
        .iter()
        .for_each(|line| say(line));
    report.remarks(rate).iter().for_each(|line| say(line));
    say(&format!("data    {}", csv.display()));
    for figure in drawn {
        say(&format!("figure  {}", figure.display()));
    }
    Ok(())
}
