//! The report of soups: the table and the effort.

use std::path::{Path, PathBuf};

use super::soup_table::table;
use super::{Report, figures};
use crate::cli::args::TableFormat;
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::soup::{Evaluations, Soups, file};

/// Soups and how to present them.
pub struct SoupReport<'r> {
    /// The soups.
    pub soups: &'r Soups,
    /// Format of the table.
    pub table: TableFormat,
    /// Caveat printed next to values of soups.
    pub caveat: Option<&'r str>,
}

impl Report for SoupReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.soups.warnings
    }

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.soups, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::soups(self.soups, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        print_json(self.soups)
    }

    fn result(&self) -> Vec<String> {
        let table = table(self.soups, self.table);
        table.lines().map(String::from).collect()
    }

    fn remarks(&self, rate: f64) -> Vec<String> {
        let caveat = self.caveat.iter();
        let mut lines: Vec<String> = caveat.map(|it| format!("every soup: {it}")).collect();
        lines.push(effort(self.soups, rate));
        lines
    }

    fn stands_alone(&self) -> bool {
        // Redirected output must hold nothing but the table.
        self.table != TableFormat::Text
    }
}

/// Describes the effort: evaluations, learning, and their rate.
fn effort(soups: &Soups, rate: f64) -> String {
    let Evaluations {
        logits,
        soups: tried,
        remembered,
        samples,
        learning,
    } = soups.evaluations;
    let seconds = soups.provenance.wall_seconds;
    let learned = match learning {
        0 => format!(", {rate:.0} samples/s"),
        // The rate covers both.
        _ => format!(" and {learning} to learn soups"),
    };
    format!(
        "{logits} models and {tried} soups evaluated, {remembered} soups reused; {samples} samples \
         through the network{learned}, {seconds:.1} s"
    )
}
