//! The paper's table of soups, as text, Markdown or LaTeX.
//!
//! What separates two rows is their paired difference on the same samples, not the distance of
//! their accuracies. So each row stands beside its difference from the best individual model, and
//! every value is marked that may be the highest of its column.

use super::columns::aligned;
use crate::analysis::inference::LEVEL;
use crate::cli::args::TableFormat;
use crate::result::method::Method;
use crate::result::models::{Accuracies, Individual};
use crate::result::score::{DatasetInfo, Role, SHIFTS};
use crate::result::soup::{MethodResult, Soups};

/// A column of accuracies: the test set, the mean over the shift sets, or a set of θ0's own domain.
struct Column {
    title: String,
    /// The name of its data set or mean in comparisons; none without such data.
    dataset: Option<String>,
    value: Box<dyn Fn(&Accuracies) -> f64>,
}

/// A row of the table.
enum Row<'s> {
    /// θ0.
    Origin(&'s Individual),
    /// The result of a method, or its results in several random orders.
    Made(Vec<&'s MethodResult>),
}

impl<'s> Row<'s> {
    /// θ0, then the methods.
    fn all(soups: &'s Soups) -> Vec<Self> {
        let made = soups.rows().into_iter().map(|row| {
            let results = row.0.iter().map(|&at| &soups.methods[at]);
            Self::Made(results.collect())
        });
        std::iter::once(Self::Origin(&soups.origin))
            .chain(made)
            .collect()
    }

    fn title(&self) -> String {
        let first = match self {
            Self::Origin(origin) => return format!("θ0 ({})", origin.name),
            Self::Made(results) => results[0],
        };
        let setting = match (first.method, first.setting) {
            (_, None) => String::new(),
            (Method::TaskArithmetic, Some(setting)) => format!(" (s = {setting})"),
            // Shortened to nothing.
            (Method::WiseFt, Some(0.0)) => " (α = 0, θ0 itself)".to_string(),
            (Method::WiseFt, Some(setting)) => format!(" (α = {setting})"),
            (_, Some(setting)) => format!(" ({setting})"),
        };
        first.label() + &setting
    }

    fn accuracies(&self, datasets: &[DatasetInfo]) -> Vec<Accuracies> {
        match self {
            Self::Origin(origin) => vec![Accuracies::of(datasets, &origin.scores)],
            Self::Made(results) => {
                let all = results
                    .iter()
                    .map(|it| Accuracies::of(datasets, &it.scores));
                all.collect()
            }
        }
    }

    /// The name and the seed under which it is compared with others, unless it is of several orders.
    fn compared(&self) -> Option<(String, Option<u64>)> {
        match self {
            Self::Origin(origin) => Some((origin.name.clone(), None)),
            Self::Made(results) => match results.as_slice() {
                [one] => Some((one.to_string(), one.seed)),
                _ => None,
            },
        }
    }

    /// The name under which others are compared with it, if they are.
    fn reference(&self) -> Option<String> {
        match self {
            Self::Origin(_) => None,
            Self::Made(results) => match results.as_slice() {
                [one] if one.method == Method::Best => one.members.first().cloned(),
                [one] => Some(one.to_string()),
                _ => None,
            },
        }
    }

    fn cost(&self) -> &'static str {
        match self {
            Self::Made(results) if results[0].method.is_ensemble() => "O(k)",
            _ => "O(1)",
        }
    }

    fn members(&self) -> Vec<usize> {
        match self {
            Self::Origin(_) => vec![1],
            Self::Made(results) => results.iter().map(|it| it.members.len()).collect(),
        }
    }
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
    let rows = Row::all(soups);
    let best = best(soups, &rows);
    let mut header = vec!["method".to_string()];
    for column in &columns {
        header.push(format!("{} (%)", column.title));
        if best.is_some() {
            header.push("− best".to_string());
        }
    }
    header.extend(["cost", "models"].map(String::from));
    let marks: Vec<Vec<bool>> = columns
        .iter()
        .map(|column| marked(soups, &rows, column))
        .collect();
    let cells = |(index, row): (usize, &Row<'_>)| -> Vec<String> {
        let mut cells = vec![row.title()];
        for (column, marks) in columns.iter().zip(&marks) {
            let text = cell(soups, row, column).text();
            cells.push(with_mark(&text, marks[index], kind));
            if let Some(best) = &best {
                cells.push(difference(soups, row, best, column, kind));
            }
        }
        cells.push(row.cost().to_string());
        cells.push(range(row.members().into_iter()));
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
    let rows = Row::all(soups);
    let mark = match kind {
        TableFormat::Text => "*",
        TableFormat::Markdown | TableFormat::Latex => "bold",
    };
    let mut parts = Vec::new();
    if let Some(best) = best(soups, &rows) {
        parts.push(format!(
            "{mark}: may be the highest of its column: with probability {:.0} % all rows that truly are \
             have the mark (paired on the same samples, all rows together)",
            100.0 * LEVEL
        ));
        parts.push(format!(
            "− best: points above {best}, ± the paired standard error over samples, given these models"
        ));
    } else {
        parts.push(format!("{mark}: the highest value of its column"));
    }
    if soups.methods.iter().any(|it| it.method == Method::WiseFt) {
        parts.push("shortened: θ0 + α·(θ − θ0), WiSE-FT".to_string());
    }
    let orders = rows.iter().map(|row| row.members().len()).max();
    if let Some(orders) = orders.filter(|orders| *orders > 1) {
        parts.push(format!(
            "[,]: median and range of {orders} random orders, which no test compares"
        ));
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

fn cell(soups: &Soups, row: &Row<'_>, column: &Column) -> Cell {
    let all = row.accuracies(&soups.datasets);
    let percent = all.iter().map(|of| 100.0 * (column.value)(of));
    Cell::of(percent.collect())
}

/// The name of the best individual model, if rows are compared with it.
fn best(soups: &Soups, rows: &[Row<'_>]) -> Option<String> {
    let of_best = |row: &&Row<'_>| match row {
        Row::Made(results) => results[0].method == Method::Best,
        Row::Origin(_) => false,
    };
    let name = rows.iter().find(of_best)?.reference()?;
    let mut comparisons = soups.comparisons.iter();
    comparisons.any(|it| it.reference == name).then_some(name)
}

/// Stands where two models have the same samples right.
const NO_DIFFERENCE: &str = "no sample differs";

/// The difference of a row from the best individual model, in points.
fn difference(
    soups: &Soups,
    row: &Row<'_>,
    best: &str,
    column: &Column,
    kind: TableFormat,
) -> String {
    let found = || {
        let (name, seed) = row.compared()?;
        soups.comparison((&name, seed), best, column.dataset.as_deref()?)
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
        match (delta, se) {
            (0.0, 0.0) => NO_DIFFERENCE.to_string(),
            // Without a spread among the samples nothing is known of others.
            (_, se) if se > 0.0 => format!("{} {plus_minus} {se:.2}", signed(delta)),
            _ => format!("{} {plus_minus} –", signed(delta)),
        }
    })
}

/// Which rows of a column are marked: those that may be the highest; without a comparison, the highest.
/// Rows of several orders are neither: no test compares a median of models.
fn marked(soups: &Soups, rows: &[Row<'_>], column: &Column) -> Vec<bool> {
    let dataset = column.dataset.as_ref();
    if let Some(may_be) = dataset.and_then(|name| soups.may_be_highest.get(name)) {
        let is_named = |row: &Row<'_>| {
            row.compared()
                .is_some_and(|(name, _)| may_be.contains(&name))
        };
        return rows.iter().map(is_named).collect();
    }
    let printed = |row: &Row<'_>| {
        let hundredths = 100.0 * cell(soups, row, column).value;
        let is_one = row.compared().is_some() && hundredths.is_finite();
        is_one.then_some(hundredths.round() as i64)
    };
    let printed: Vec<Option<i64>> = rows.iter().map(printed).collect();
    let highest = printed.iter().flatten().max();
    let is_highest = |of: &Option<i64>| of.is_some() && of.as_ref() == highest;
    printed.iter().map(is_highest).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::combine::Combine;
    use crate::result::comparison::Comparison;
    use crate::result::provenance::Provenance;
    use crate::result::score::Score;
    use crate::result::soup::Evaluations;

    /// A result with this number of right samples of 1000.
    fn made(method: Method, seed: Option<u64>, right: f64) -> MethodResult {
        MethodResult {
            method,
            base: None,
            setting: None,
            seed,
            members: vec!["ft1".to_string()],
            coefficients: Vec::new(),
            combine: Combine::Logits,
            beta: None,
            val_in_sample: false,
            scores: scores(right),
            calibration: None,
        }
    }

    fn scores(right: f64) -> Vec<Score> {
        vec![Score {
            loss: 0.1,
            loss_se: 0.01,
            error: 1.0 - right / 1000.0,
            error_se: 0.01,
            nonfinite: 0,
        }]
    }

    /// The uniform soup compared with the best model.
    fn compared() -> Comparison {
        Comparison {
            method: "uniform".to_string(),
            seed: None,
            reference: "ft1".to_string(),
            dataset: "test".to_string(),
            role: "test".to_string(),
            samples: 1000,
            delta_accuracy: 0.01,
            delta_accuracy_se: 0.01,
            only_method: None,
            only_reference: None,
            mcnemar_p: Some(0.3),
            delta_loss: 0.0,
            delta_loss_se: 0.0,
            without_one_low: None,
            without_one_high: None,
        }
    }

    fn soups() -> Soups {
        Soups {
            datasets: vec![DatasetInfo {
                name: "test".to_string(),
                role: Role::Test,
                samples: 1000,
            }],
            origin: Individual {
                name: "zs".to_string(),
                path: "zs.onnx".to_string(),
                hyperparameters: Default::default(),
                scores: scores(700.0),
                calibration: None,
            },
            models: Vec::new(),
            methods: vec![
                made(Method::Best, None, 950.0),
                made(Method::Uniform, None, 960.0),
                made(Method::GreedyRandom, Some(0), 970.0),
                made(Method::GreedyRandom, Some(1), 980.0),
                made(Method::Ensemble, None, 800.0),
            ],
            decisions: Vec::new(),
            rays: Vec::new(),
            resampling: None,
            comparisons: vec![compared()],
            origin_comparisons: Vec::new(),
            may_be_highest: [(
                "test".to_string(),
                vec!["best".to_string(), "uniform".to_string()],
            )]
            .into(),
            learned: Vec::new(),
            saved: Vec::new(),
            evaluations: Evaluations::default(),
            warnings: Vec::new(),
            provenance: Provenance::default(),
        }
    }

    #[test]
    fn a_median_over_orders_takes_no_mark_from_the_others() {
        let table = table(&soups(), TableFormat::Text);
        let marks: Vec<(&str, bool)> = table
            .lines()
            .skip(1)
            .map(|line| {
                (
                    line.split("   ").next().unwrap_or_default(),
                    line.contains('*'),
                )
            })
            .collect();
        let expected = [
            ("θ0 (zs)", false),
            ("best individual model", true),
            ("uniform soup", true),
            ("greedy soup (random order)", false),
            ("ensemble", false),
        ];
        assert_eq!(marks, expected, "{table}");
    }

    #[test]
    fn without_a_comparison_the_highest_row_is_marked() {
        let mut soups = soups();
        soups.may_be_highest.clear();
        soups.origin.scores = scores(990.0);
        let table = table(&soups, TableFormat::Text);
        let marked: Vec<&str> = table.lines().filter(|line| line.contains('*')).collect();
        assert!(marked.len() == 1 && marked[0].starts_with("θ0"), "{table}");
    }
}
