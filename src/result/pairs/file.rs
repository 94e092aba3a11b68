//! Files of pairs: `NAME.csv`, `NAME.json`, which holds everything, and if asked for
//! `NAME.layers.csv`, `NAME.groups.csv` and `NAME.theory.csv`.

use std::path::Path;

use serde::Serialize;

use super::Pairs;
use crate::error::Result;
use crate::result::table::{read_json, write_json, write_rows, write_rows_if_any};

/// A row of the CSV, with its columns in order.
#[derive(Serialize)]
struct Row<'a> {
    a: &'a str,
    b: &'a str,
    angle_deg: f64,
    norm_a: f64,
    norm_b: f64,
    dataset: &'a str,
    role: &'a str,
    samples: usize,
    accuracy_a: f64,
    accuracy_b: f64,
    accuracy_soup: f64,
    accuracy_ensemble: f64,
    advantage: f64,
    advantage_se: f64,
    advantage_z: f64,
    advantage_best: f64,
    advantage_best_se: f64,
    advantage_best_z: f64,
    disagreement: f64,
    error_correlation: f64,
    angle_unrounded_deg: Option<f64>,
    norm_a_unrounded: Option<f64>,
    norm_b_unrounded: Option<f64>,
}

/// Writes all files; `csv` is the path of the table of pairs.
///
/// # Errors
/// When a file cannot be written.
pub fn write(pairs: &Pairs, csv: &Path) -> Result<()> {
    write_rows_if_any(&csv.with_extension("layers.csv"), &pairs.layers)?;
    write_rows_if_any(&csv.with_extension("groups.csv"), &pairs.groups)?;
    write_rows_if_any(&csv.with_extension("theory.csv"), &pairs.theory)?;
    write_rows(csv, rows(pairs))?;
    write_json(csv, pairs)
}

fn rows(pairs: &Pairs) -> impl Iterator<Item = Row<'_>> {
    pairs.pairs.iter().flat_map(|pair| {
        pair.rows.iter().map(move |row| Row {
            a: &pair.a,
            b: &pair.b,
            angle_deg: pair.angle_deg,
            norm_a: pair.norm_a,
            norm_b: pair.norm_b,
            dataset: &row.dataset,
            role: &row.role,
            samples: row.samples,
            accuracy_a: row.accuracy_a,
            accuracy_b: row.accuracy_b,
            accuracy_soup: row.accuracy_soup,
            accuracy_ensemble: row.accuracy_ensemble,
            advantage: row.advantage,
            advantage_se: row.advantage_se,
            advantage_z: row.advantage_z,
            advantage_best: row.advantage_best,
            advantage_best_se: row.advantage_best_se,
            advantage_best_z: row.advantage_best_z,
            disagreement: row.disagreement,
            error_correlation: row.error_correlation,
            angle_unrounded_deg: pair.rounding.map(|it| it.angle_deg),
            norm_a_unrounded: pair.rounding.map(|it| it.norm_a),
            norm_b_unrounded: pair.rounding.map(|it| it.norm_b),
        })
    })
}

/// Reads pairs from the JSON beside their CSV.
///
/// # Errors
/// When the file is missing or holds something else.
pub fn read(csv: &Path) -> Result<Pairs> {
    read_json(csv, "summary of pairs")
}
