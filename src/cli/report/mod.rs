//! What is said of results: files, figures, and words at the terminal.

pub mod figures;
pub mod inspection;
mod line;
mod pairs;
mod plane;
mod self_check;
mod soup;
mod soup_table;
mod spectrum;

use std::path::{Path, PathBuf};

pub use self::line::LineReport;
pub use self::pairs::PairsReport;
pub use self::plane::{PlaneReport, write_partial};
pub use self::soup::SoupReport;
pub use self::spectrum::SpectrumReport;
use super::progress::Progress;
use super::terminal::{note, print, warn};
use crate::error::Result;
use crate::experiment::session::Session;

/// A result that can be written, drawn and told.
pub trait Report {
    /// Its warnings.
    fn warnings(&self) -> &[String];

    /// Writes its CSV and what goes beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn write(&self, csv: &Path) -> Result<()>;

    /// Writes its figures; returns their paths.
    ///
    /// # Errors
    /// When it cannot be drawn or written.
    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>>;

    /// Prints it as JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    fn print_json(&self) -> Result<()>;

    /// The lines that tell it.
    fn result(&self) -> Vec<String>;

    /// The lines below them: caveats, checks, and what it took, at so many samples a second.
    fn remarks(&self, rate: f64) -> Vec<String>;

    /// Whether the result alone goes to standard output, all else to standard error.
    fn stands_alone(&self) -> bool {
        false
    }
}

/// Writes a result, draws it and says what it is.
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
    report.remarks(rate).iter().for_each(|line| say(line));
    say(&format!("data    {}", csv.display()));
    for figure in drawn {
        say(&format!("figure  {}", figure.display()));
    }
    Ok(())
}
