//! The soups table written: `NAME.csv`, `NAME.models.csv`, `NAME.weights.csv`, `NAME.trace.csv`
//! and `NAME.json`, which holds all of it.

use std::io;
use std::path::Path;

use super::atomic;
use super::models::{Accuracies, Individual};
use super::plane_file::json_beside;
use super::soup::{MethodResult, Soups};
use crate::error::{Error, Result};

/// Writes all files; `csv` is the table's.
///
/// # Errors
/// When a file cannot be written.
pub fn write(soups: &Soups, csv: &Path) -> Result<()> {
    table(&csv.with_extension("models.csv"), &models(soups))?;
    table(&csv.with_extension("weights.csv"), &weights(soups))?;
    table(&csv.with_extension("trace.csv"), &trace(soups))?;
    table(csv, &methods(soups))?;
    atomic::write_json(&json_beside(csv), soups)
}

/// Reads the table back from the JSON beside its CSV.
///
/// # Errors
/// When there is none, or it is something else.
pub fn read(csv: &Path) -> Result<Soups> {
    let json = json_beside(csv);
    let text = std::fs::read_to_string(&json).map_err(|error| Error::read(&json, &error))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::input(&json, format!("is no table of soups: {error}")))
}

/// Rows of text, the header first.
type Rows = Vec<Vec<String>>;

fn table(path: &Path, rows: &Rows) -> Result<()> {
    atomic::write(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        for row in rows {
            writer.write_record(row).map_err(io::Error::other)?;
        }
        writer.flush()
    })
}

fn methods(soups: &Soups) -> Rows {
    let names = ["method", "seed", "members"].map(String::from).to_vec();
    let header = [names, Accuracies::header(&soups.datasets)].concat();
    let row = |result: &MethodResult| {
        let accuracies = Accuracies::of(&soups.datasets, &result.scores);
        let names = [
            result.to_string(),
            seed(result.seed),
            result.members.join(";"),
        ];
        [names.to_vec(), accuracies.record(&soups.datasets)].concat()
    };
    std::iter::once(header)
        .chain(soups.methods.iter().map(row))
        .collect()
}

fn models(soups: &Soups) -> Rows {
    let first = soups.models.first();
    let columns = first
        .into_iter()
        .flat_map(|model| model.hyperparameters.keys());
    let names = ["name", "path"].map(String::from).into_iter();
    let own = Accuracies::header(&soups.datasets);
    // The list may say something of the same name; what was measured here has it.
    let columns = columns.map(|column| match own.contains(column) {
        true => format!("listed_{column}"),
        false => column.clone(),
    });
    let header = [names.chain(columns).collect(), own.clone()].concat();
    let row = |model: &Individual| {
        let names = vec![model.name.clone(), model.path.clone()];
        let values = model.hyperparameters.values().cloned().collect();
        let accuracies = Accuracies::of(&soups.datasets, &model.scores);
        [names, values, accuracies.record(&soups.datasets)].concat()
    };
    std::iter::once(header)
        .chain(soups.models.iter().map(row))
        .collect()
}

fn weights(soups: &Soups) -> Rows {
    let header = ["method", "seed", "model", "tensor", "coefficient"].map(String::from);
    let mut rows = vec![header.to_vec()];
    for result in &soups.methods {
        for weight in &result.coefficients {
            rows.push(vec![
                result.to_string(),
                seed(result.seed),
                weight.model.clone(),
                weight.tensor.clone().unwrap_or_default(),
                weight.coefficient.to_string(),
            ]);
        }
    }
    rows
}

fn trace(soups: &Soups) -> Rows {
    let header = [
        "method",
        "seed",
        "step",
        "model",
        "val_accuracy",
        "added",
        "members",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    for decision in &soups.decisions {
        rows.push(vec![
            decision.method.name().to_string(),
            seed(decision.seed),
            decision.step.to_string(),
            decision.model.clone(),
            decision.val_accuracy.to_string(),
            decision.added.to_string(),
            decision.members.to_string(),
        ]);
    }
    rows
}

fn seed(seed: Option<u64>) -> String {
    seed.map_or_else(String::new, |seed| seed.to_string())
}
