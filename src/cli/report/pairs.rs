//! The report of pairs: the extremes and the correlations.

use std::path::{Path, PathBuf};

use super::{Report, figures};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::pairs::{Correlation, Pair, Pairs, file};
use crate::result::provenance::Provenance;

/// Pairs of models and how to present them.
pub struct PairsReport<'r> {
    /// The pairs.
    pub pairs: &'r Pairs,
    /// What soups are, if not averages of the models' parameters.
    pub averages: Option<&'r str>,
}

impl Report for PairsReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.pairs.warnings
    }

    fn provenance(&self) -> &Provenance {
        &self.pairs.provenance
    }

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.pairs, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::pairs(self.pairs, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        print_json(self.pairs)
    }

    fn result(&self) -> Vec<String> {
        let averages = self.averages.iter();
        let said = averages.map(|it| format!("every soup is {it}"));
        let of = self.pairs.angles_of.iter();
        let of = of.map(|it| format!("norms and angles are of {it}"));
        said.chain(of).chain(extremes(self.pairs)).collect()
    }

    fn remarks(&self, rate: f64) -> Vec<String> {
        let pairs = self.pairs;
        let seconds = pairs.provenance.wall_seconds;
        vec![
            format!(
                "angle and advantage: Spearman {}",
                described(&pairs.angle_advantage)
            ),
            format!(
                "soup and ensemble: Pearson {} on test, {} on the shifts",
                described(&pairs.soup_ensemble_test),
                described(&pairs.soup_ensemble_shifts)
            ),
            format!("{rate:.0} samples/s, {seconds:.1} s"),
        ]
    }
}

/// Number of pairs shown at each end.
const SHOWN: usize = 3;

/// Describes the pairs that gain most by interpolation, and those that lose most.
fn extremes(pairs: &Pairs) -> Vec<String> {
    let mean = |pair: &Pair| pair.row("all").or(pair.rows.first()).cloned();
    let mut rows: Vec<_> = pairs
        .pairs
        .iter()
        .filter_map(|pair| Some((pair, mean(pair)?)))
        .collect();
    rows.sort_by(|a, b| b.1.advantage.total_cmp(&a.1.advantage));
    let header =
        "pair                 angle   soup (%)   ensemble (%)   advantage (points, unpaired ±)";
    let mut lines = vec![header.to_string()];
    let ends = rows.len().saturating_sub(SHOWN).max(SHOWN);
    for (index, (pair, row)) in rows.iter().enumerate() {
        if index >= SHOWN && index < ends {
            continue;
        }
        if index == ends && ends > SHOWN {
            lines.push("…".to_string());
        }
        lines.push(format!(
            "{:18}  {:5.1}°   {:8.2}   {:12.2}   {:+.2} ± {:.2}",
            format!("{} {}", pair.a, pair.b),
            pair.angle_deg,
            100.0 * row.accuracy_soup,
            100.0 * row.accuracy_ensemble,
            100.0 * row.advantage,
            100.0 * row.advantage_se
        ));
    }
    lines
}

/// Describes a correlation with its interval.
fn described(correlation: &Correlation) -> String {
    let Correlation {
        value,
        low,
        high,
        pairs,
    } = correlation;
    match (value.is_nan(), low.is_nan() || high.is_nan()) {
        (true, _) => format!("undefined (pairs: {pairs})"),
        (false, true) => format!("{value:.2} (pairs: {pairs})"),
        (false, false) => format!("{value:.2} ({low:.2} to {high:.2}, {pairs} pairs)"),
    }
}
