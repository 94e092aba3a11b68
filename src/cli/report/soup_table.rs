//! The paper's table of soups, as text, Markdown or LaTeX.
//!
//! What separates two rows is their paired difference on the same samples, not the distance of
//! their accuracies. So each row stands beside its difference from the best individual model, and
//! every value is marked that is not separated from the highest of its column.

use super::columns::aligned;
use crate::analysis::inference::multiple::holm;
use crate::analysis::inference::{LEVEL, normal_p};
use crate::cli::args::TableFormat;
use crate::result::comparison::Comparison;
use crate::result::method::Method;
use crate::result::models::Accuracies;
use crate::result::score::{Role, SHIFTS};
use crate::result::soup::{Soups, TableRow};

/// A column of accuracies: the test set, the mean over the shift sets, or a set of θ0's own domain.
struct Column {
    title: String,
    /// The name of its data set or mean in comparisons; none without such data.
    dataset: Option<String>,
    value: Box<dyn Fn(&Accuracies) -> f64>,
}

/// An accuracy in percent, the median where a method was run in several random orders.
#[derive(Debug, Clone, PartialEq)]
struct Cell {
    value: f64,
    /// The smallest and the largest value over several orders.
    range: Option<(f64, f64)>,
}

impl Cell {
    fn of(mut percents: Vec<f64>) -> Self {
        percents.sort_by(f64::total_cmp);
        let (middle, last) = (percents.len() / 2, percents.len() - 1);
        let value = match percents.len() % 2 {
            1 => percents[middle],
            _ => f64::midpoint(percents[middle - 1], percents[middle]),
        };
        Self {
            value,
            range: (last > 0).then(|| (percents[0], percents[last])),
        }
    }

    fn text(&self) -> String {
        match self.range {
            _ if self.value.is_nan() => "–".to_string(),
            Some((low, high)) => format!("{:.2} [{low:.2}, {high:.2}]", self.value),
            None => format!("{:.2}", self.value),
        }
    }
}

/// Formats the table.
pub fn table(soups: &Soups, kind: TableFormat) -> String {
    let columns = columns(soups);
    let rows = soups.rows();
    let compares = rows.iter().any(|row| against_best(soups, row).is_some());
    let mut header = vec!["method".to_string()];
    for column in &columns {
        header.push(format!("{} (%)", column.title));
        if compares {
            header.push("− best".to_string());
        }
    }
    header.extend(["cost", "models"].map(String::from));
    let marks: Vec<Vec<bool>> = columns
        .iter()
        .map(|column| marked(soups, &rows, column))
        .collect();
    let cells = |(index, row): (usize, &TableRow)| -> Vec<String> {
        let first = &soups.methods[row.0[0]];
        let mut cells = vec![match (first.method, first.setting) {
            (Method::TaskArithmetic, Some(setting)) => {
                format!("{} (s = {setting})", first.label())
            }
            (Method::WiseFt, Some(setting)) => format!("{} (α = {setting})", first.label()),
            (_, Some(setting)) => format!("{} ({setting})", first.label()),
            (_, None) => first.label(),
        }];
        for (column, marks) in columns.iter().zip(&marks) {
            cells.push(with_mark(
                &cell(soups, row, column).text(),
                marks[index],
                kind,
            ));
            if compares {
                cells.push(difference(soups, row, column, kind));
            }
        }
        let is_ensemble = first.method.is_ensemble();
        cells.push(if is_ensemble { "O(k)" } else { "O(1)" }.to_string());
        cells.push(range(
            row.0.iter().map(|&at| soups.methods[at].members.len()),
        ));
        cells
    };
    let cells: Vec<Vec<String>> = rows.iter().enumerate().map(cells).collect();
    match kind {
        TableFormat::Text => {
            let all = [vec![header], cells].concat();
            aligned(&all, &[0], "   ").join("\n")
        }
        TableFormat::Markdown => markdown(&header, &cells),
        TableFormat::Latex => latex(&header, &cells),
    }
}

/// What the marks, brackets and differences of the table mean.
pub fn legend(soups: &Soups, kind: TableFormat) -> String {
    let rows = soups.rows();
    let mark = match kind {
        TableFormat::Text => "*",
        TableFormat::Markdown | TableFormat::Latex => "bold",
    };
    let mut parts = Vec::new();
    if let Some(best) = rows.iter().find_map(|row| against_best(soups, row)) {
        parts.push(format!(
            "{mark}: not separated from the highest value of its column (paired test on the same \
             samples, Holm's correction, {:.0} %)",
            100.0 * (1.0 - LEVEL)
        ));
        parts.push(format!(
            "− best: points above {}, ± the paired standard error over samples, given these models",
            best.reference
        ));
    } else {
        parts.push(format!("{mark}: the highest value of its column"));
    }
    let mut shown = rows.iter().map(|row| soups.methods[row.0[0]].method);
    if shown.any(|method| method == Method::WiseFt) {
        parts.push("shortened: θ0 + α·(θ − θ0), WiSE-FT".to_string());
    }
    let orders = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    if orders > 1 {
        parts.push(format!("[,]: median and range of {orders} random orders"));
    }
    parts.join("; ")
}

/// The columns for which there is data.
fn columns(soups: &Soups) -> Vec<Column> {
    let of = |role: Role| {
        let sets = soups.datasets.iter().filter(move |set| set.role == role);
        sets.map(|set| set.name.clone()).collect::<Vec<String>>()
    };
    let (tests, shifts) = (of(Role::Test), of(Role::Shift));
    let mut columns = Vec::new();
    // Without any of the two the table still has a column, of dashes.
    if !tests.is_empty() || shifts.is_empty() {
        columns.push(Column {
            title: "test".to_string(),
            dataset: tests.first().cloned(),
            value: Box::new(|of| of.test),
        });
    }
    if !shifts.is_empty() {
        columns.push(Column {
            title: match shifts.as_slice() {
                [one] => one.clone(),
                all => format!("mean of {} shifts", all.len()),
            },
            dataset: Some(SHIFTS.to_string()),
            value: Box::new(|of| of.shift),
        });
    }
    columns.extend(of(Role::Source).into_iter().map(|name| Column {
        title: format!("{name}, source"),
        dataset: Some(name.clone()),
        value: Box::new(move |of| of.named[&name]),
    }));
    columns
}

fn cell(soups: &Soups, row: &TableRow, column: &Column) -> Cell {
    let results = row.0.iter().map(|&at| &soups.methods[at]);
    let percent = results
        .map(|result| 100.0 * (column.value)(&Accuracies::of(&soups.datasets, &result.scores)));
    Cell::of(percent.collect())
}

/// The name of the best individual model, to which rows are compared.
fn best(soups: &Soups) -> Option<&str> {
    let mut methods = soups.methods.iter();
    let best = methods.find(|made| made.method == Method::Best)?;
    best.members.first().map(String::as_str)
}

/// Any comparison of a row with the best individual model.
fn against_best<'s>(soups: &'s Soups, row: &TableRow) -> Option<&'s Comparison> {
    let result = &soups.methods[row.single()?];
    let best = best(soups)?;
    let name = result.to_string();
    let mut all = soups.comparisons.iter();
    all.find(|it| it.method == name && it.reference == best)
}

/// The difference of a row from the best individual model, in points.
fn difference(soups: &Soups, row: &TableRow, column: &Column, kind: TableFormat) -> String {
    let found = || {
        let result = &soups.methods[row.single()?];
        soups.comparison(result, best(soups)?, column.dataset.as_deref()?)
    };
    let plus_minus = match kind {
        TableFormat::Text | TableFormat::Markdown => "±",
        TableFormat::Latex => "$\\pm$",
    };
    let signed = |points: f64| match kind {
        TableFormat::Latex => format!("${points:+.2}$"),
        _ => format!("{points:+.2}").replace('-', "−"),
    };
    found().map_or_else(String::new, |it| {
        let [delta, se] = [it.delta_accuracy, it.delta_accuracy_se].map(|of| 100.0 * of);
        format!("{} {plus_minus} {se:.2}", signed(delta))
    })
}

/// Which rows of a column are marked: the highest value, and those that a paired test does not
/// separate from it. A row of several orders is marked only where it prints as high.
fn marked(soups: &Soups, rows: &[TableRow], column: &Column) -> Vec<bool> {
    let cells: Vec<Cell> = rows.iter().map(|row| cell(soups, row, column)).collect();
    let printed = |cell: &Cell| {
        let hundredths = 100.0 * cell.value;
        hundredths.is_finite().then_some(hundredths.round() as i64)
    };
    let highest = cells.iter().filter_map(printed).max();
    let is_highest = |at: &usize| highest.is_some() && printed(&cells[*at]) == highest;
    let top = (0..rows.len()).find(|at| rows[*at].single().is_some() && is_highest(at));
    let p = |row: &TableRow| -> Option<f64> {
        let reference = &soups.methods[rows[top?].single()?];
        let reference = match (reference.method, reference.members.first()) {
            (Method::Best, Some(model)) => model.clone(),
            _ => reference.to_string(),
        };
        let result = &soups.methods[row.single()?];
        let it = soups.comparison(result, &reference, column.dataset.as_deref()?)?;
        let by_spread = normal_p(it.delta_accuracy, it.delta_accuracy_se);
        Some(it.mcnemar_p.unwrap_or(by_spread))
    };
    let ps: Vec<f64> = rows.iter().map(|row| p(row).unwrap_or(f64::NAN)).collect();
    let adjusted = holm(&ps);
    (0..rows.len())
        .map(|at| is_highest(&at) || adjusted[at] > 1.0 - LEVEL)
        .collect()
}

fn with_mark(text: &str, is_marked: bool, kind: TableFormat) -> String {
    match (kind, is_marked) {
        (TableFormat::Text, true) => format!("{text} *"),
        (TableFormat::Text, false) => format!("{text}  "),
        (TableFormat::Markdown, true) => format!("**{text}**"),
        (TableFormat::Latex, true) => format!("\\textbf{{{text}}}"),
        (TableFormat::Markdown | TableFormat::Latex, false) => text.to_string(),
    }
}

fn range(counts: impl Iterator<Item = usize> + Clone) -> String {
    let (min, max) = (counts.clone().min(), counts.max());
    match (min, max) {
        (Some(min), Some(max)) if min < max => format!("{min}–{max}"),
        (Some(count), _) => count.to_string(),
        _ => String::new(),
    }
}

fn markdown(header: &[String], rows: &[Vec<String>]) -> String {
    let line = |row: &[String]| format!("| {} |", row.join(" | "));
    let numbers = "---:|".repeat(header.len().saturating_sub(3));
    let mut lines = vec![line(header), format!("|---|{numbers}---|---:|")];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

fn latex(header: &[String], rows: &[Vec<String>]) -> String {
    let line = |row: &[String]| {
        let mut row = row.join(" & ").replace('–', "--").replace('−', "$-$");
        for special in ['%', '_', '#'] {
            row = row.replace(special, &format!("\\{special}"));
        }
        format!("{row} \\\\")
    };
    let numbers = "r".repeat(header.len().saturating_sub(3));
    let mut lines = vec![
        format!("\\begin{{tabular}}{{l{numbers}lr}}"),
        "\\hline".to_string(),
    ];
    lines.push(line(header));
    lines.push("\\hline".to_string());
    lines.extend(rows.iter().map(|row| line(row)));
    lines.extend(["\\hline".to_string(), "\\end{tabular}".to_string()]);
    lines.join("\n")
}
