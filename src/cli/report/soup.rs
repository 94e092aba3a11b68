//! The report of soups: the table and the effort.

use std::path::{Path, PathBuf};

use super::soup_table::{legend, table};
use super::{Report, figures};
use crate::cli::args::TableFormat;
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::score::Score;
use crate::result::soup::{Evaluations, Inclusion, Resampling, SavedModel, Soups, Spread, file};

/// Soups and how to present them.
pub struct SoupReport<'r> {
    /// The soups.
    pub soups: &'r Soups,
    /// Format of the table.
    pub table: TableFormat,
    /// What soups are, if not averages of the models' parameters.
    pub averages: Option<&'r str>,
}

impl Report for SoupReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.soups.warnings
    }

    fn provenance(&self) -> &Provenance {
        &self.soups.provenance
    }

    fn datasets(&self) -> &[DatasetInfo] {
        &self.soups.datasets
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
        let mut lines: Vec<String> = table.lines().map(String::from).collect();
        let said = self.averages.map(|it| format!("every soup is {it}"));
        let legend = legend(self.soups, self.table);
        match self.table {
            TableFormat::Text => {
                lines.splice(0..0, said);
                lines.push(legend);
            }
            TableFormat::Markdown => {
                let notes = said.into_iter().chain([legend]);
                lines.extend(notes.flat_map(|it| [String::new(), it]));
            }
            // Comments leave the table as it is.
            TableFormat::Latex => {
                let notes = said.into_iter().chain([legend]);
                lines.splice(0..0, notes.map(|it| format!("% {it}")));
            }
        }
        lines
    }

    fn remarks(&self, rate: f64) -> Vec<String> {
        let resampled = self.soups.resampling.as_ref();
        let mut lines = resampled.map_or_else(Vec::new, resamples);
        lines.push(effort(self.soups, rate));
        lines
    }

    fn stands_alone(&self) -> bool {
        // Redirected output must hold nothing but the table.
        self.table != TableFormat::Text
    }
}

/// Number of models whose frequency is printed.
const SHOWN: usize = 8;

/// Describes how the greedy soup depends on the images of the validation set.
fn resamples(it: &Resampling) -> Vec<String> {
    let percent = |fraction: f64| format!("{:.0} %", 100.0 * fraction);
    let spread = |(name, of): (&str, Option<Spread>)| {
        let [sd, low, high] = of.map(|of| [of.sd, of.low, of.high].map(|it| 100.0 * it))?;
        Some(format!("; {name} {low:.2} to {high:.2} (sd {sd:.2})"))
    };
    let spreads = [("test", it.test), ("mean of shifts", it.shifts)];
    let spreads: String = spreads.into_iter().filter_map(spread).collect();
    let soups = match it.soups {
        1 => "one greedy soup".to_string(),
        count => format!("{count} greedy soups"),
    };
    let mut models: Vec<&Inclusion> = it.models.iter().collect();
    models.retain(|of| of.frequency > 0.0);
    models.sort_by(|a, b| b.frequency.total_cmp(&a.frequency));
    let more = match models.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = models.iter().take(SHOWN);
    let named = named.map(|of| format!("{} {}", of.model, percent(of.frequency)));
    let named: Vec<String> = named.collect();
    vec![
        format!(
            "{} resamples of the validation set give {soups}, that of the table in {} of them{spreads} \
             (%, 95 % of the resamples)",
            it.resamples,
            percent(it.published),
        ),
        format!(
            "in the greedy soup of resamples: {}{more}",
            named.join(", ")
        ),
    ]
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
    // The rate covers both.
    let (learned, effort) = match learning {
        0 => (String::new(), super::effort(rate, seconds)),
        _ => (
            format!(" and {learning} to learn soups"),
            format!("{seconds:.1} s"),
        ),
    };
    format!(
        "{logits} models and {tried} soups evaluated, {remembered} soups reused; {samples} samples \
         through the network{learned}, {effort}"
    )
}

/// Describes a saved model: what its file holds, beside what the table shows.
pub fn saved_model(model: &SavedModel) -> String {
    let SavedModel { path, dataset, .. } = model;
    let values = |score: &Score| {
        let accuracy = 100.0 * (1.0 - score.error);
        format!("{accuracy:.2} % right, loss {:.4}", score.loss)
    };
    match (&model.score, &model.unchecked) {
        (Some(score), _) => format!(
            "saved   {path}: read back, {} on {dataset} ({} in the table: {})",
            values(score),
            model.method,
            values(&model.table)
        ),
        (None, why) => format!(
            "saved   {path}: not read back: {}",
            why.as_deref().unwrap_or_default()
        ),
    }
}
