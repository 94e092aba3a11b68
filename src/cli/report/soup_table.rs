//! The paper's table of soups, as text, Markdown or LaTeX.

use crate::cli::args::TableFormat;
use crate::result::combine::Combine;
use crate::result::method::Method;
use crate::result::models::Accuracies;
use crate::result::score::Role;
use crate::result::soup::{MethodResult, Soups};

/// A row of the table.
struct Row {
    label: String,
    /// Test accuracy and mean accuracy over the shifts.
    accuracies: [Cell; 2],
    cost: &'static str,
    models: String,
}

/// A mean in percent, with the standard deviation over seeds if there are several.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    mean: f64,
    deviation: Option<f64>,
}

impl Cell {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = 100.0 * values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (100.0 * value - mean).powi(2));
        let deviation = (squares.sum::<f64>() / (n - 1.0)).sqrt();
        Self {
            mean,
            deviation: (values.len() > 1).then_some(deviation),
        }
    }

    /// The mean as printed, in hundredths; `None` without a value. Values that print alike are
    /// marked alike.
    fn printed(self) -> Option<i64> {
        let hundredths = 100.0 * self.mean;
        hundredths.is_finite().then_some(hundredths.round() as i64)
    }

    fn text(self, plus_minus: &str) -> String {
        match self.deviation {
            _ if self.mean.is_nan() => "–".to_string(),
            Some(deviation) => format!("{:.2} {plus_minus} {deviation:.2}", self.mean),
            None => format!("{:.2}", self.mean),
        }
    }
}

/// Formats the table; the best value in each accuracy column is marked.
pub fn table(soups: &Soups, kind: TableFormat) -> String {
    let rows = rows(soups);
    let shifts = soups.datasets.iter();
    let shifts = shifts.filter(|set| set.role == Role::Shift);
    let shifts: Vec<&String> = shifts.map(|set| &set.name).collect();
    let header = [
        "method".to_string(),
        "test (%)".to_string(),
        match shifts.as_slice() {
            [] => "shifts (%)".to_string(),
            [one] => format!("{one} (%)"),
            all => format!("mean of {} shifts (%)", all.len()),
        },
        "cost".to_string(),
        "models".to_string(),
    ];
    let best: [Option<i64>; 2] = [0, 1].map(|column| {
        let means = rows.iter().map(|row| row.accuracies[column].printed());
        means.max().flatten()
    });
    let cells = |row: &Row| -> [String; 5] {
        let [test, shift] = [0, 1].map(|column| {
            let cell = row.accuracies[column];
            let is_best = cell.printed().is_some() && cell.printed() == best[column];
            marked(cell, is_best, kind)
        });
        [
            row.label.clone(),
            test,
            shift,
            row.cost.to_string(),
            row.models.clone(),
        ]
    };
    let rows: Vec<[String; 5]> = rows.iter().map(cells).collect();
    match kind {
        TableFormat::Text => text(&header, &rows),
        TableFormat::Markdown => markdown(&header, &rows),
        TableFormat::Latex => latex(&header, &rows),
    }
}

fn marked(cell: Cell, is_best: bool, kind: TableFormat) -> String {
    match (kind, is_best) {
        (TableFormat::Text, true) => format!("{} *", cell.text("±")),
        (TableFormat::Text, false) => format!("{}  ", cell.text("±")),
        (TableFormat::Markdown, true) => format!("**{}**", cell.text("±")),
        (TableFormat::Markdown, false) => cell.text("±"),
        (TableFormat::Latex, true) => format!("\\textbf{{{}}}", cell.text("$\\pm$")),
        (TableFormat::Latex, false) => cell.text("$\\pm$"),
    }
}

/// Makes one row per method. Seeds are averaged. A sweep is represented by its best point on the
/// validation set, or shown in full if there is no validation set.
fn rows(soups: &Soups) -> Vec<Row> {
    let of = |result: &MethodResult| Accuracies::of(&soups.datasets, &result.scores);
    let row = |results: &[&MethodResult]| {
        let first = results.first()?;
        let column = |value: fn(&Accuracies) -> f64| {
            let values: Vec<f64> = results.iter().map(|result| value(&of(result))).collect();
            Cell::of(&values)
        };
        let method = first.method;
        Some(Row {
            label: match first.setting {
                Some(setting) => format!("{} ({setting})", first.label()),
                None => first.label(),
            },
            accuracies: [column(|of| of.test), column(|of| of.shift)],
            cost: if method.is_ensemble() { "O(k)" } else { "O(1)" },
            models: range(results.iter().map(|result| result.members.len())),
        })
    };
    let rows = |(method, combine): (Method, Combine)| {
        let made = soups.methods.iter();
        let made = made.filter(|made| (made.method, made.combine) == (method, combine));
        let mut results: Vec<&MethodResult> = made.collect();
        if results.iter().all(|result| result.setting.is_none()) {
            return vec![row(&results)];
        }
        if of(results[0]).val.is_finite() {
            // The sort is stable: among equals the first wins.
            results.sort_by(|a, b| of(b).val.total_cmp(&of(a).val));
            results.truncate(1);
        }
        results.iter().map(|result| row(&[*result])).collect()
    };
    let kinds = |method| [Combine::Logits, Combine::Probabilities].map(|combine| (method, combine));
    let all = Method::ALL.into_iter().flat_map(kinds);
    all.flat_map(rows).flatten().collect()
}

fn range(counts: impl Iterator<Item = usize> + Clone) -> String {
    let (min, max) = (counts.clone().min(), counts.max());
    match (min, max) {
        (Some(min), Some(max)) if min < max => format!("{min}–{max}"),
        (Some(count), _) => count.to_string(),
        _ => String::new(),
    }
}

fn text(header: &[String; 5], rows: &[[String; 5]]) -> String {
    let all: Vec<&[String; 5]> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| {
        let widths = all.iter().map(|row| row[column].trim_end().chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let line = |row: &&[String; 5]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("   ").trim_end().to_string()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn markdown(header: &[String; 5], rows: &[[String; 5]]) -> String {
    let line = |row: &[String; 5]| format!("| {} |", row.join(" | "));
    let mut lines = vec![line(header), "|---|---:|---:|---|---:|".to_string()];
    lines.extend(rows.iter().map(line));
    lines.join("\n")
}

fn latex(header: &[String; 5], rows: &[[String; 5]]) -> String {
    let line = |row: &[String; 5]| {
        let mut row = row.join(" & ").replace('–', "--");
        for special in ['%', '_', '#'] {
            row = row.replace(special, &format!("\\{special}"));
        }
        format!("{row} \\\\")
    };
    let mut lines = vec!["\\begin{tabular}{lrrlr}".to_string(), "\\hline".to_string()];
    lines.push(line(header));
    lines.push("\\hline".to_string());
    lines.extend(rows.iter().map(line));
    lines.extend(["\\hline".to_string(), "\\end{tabular}".to_string()]);
    lines.join("\n")
}
