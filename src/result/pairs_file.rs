//! Pairs written: `NAME.csv`, `NAME.layers.csv` and `NAME.theory.csv` where they were asked for,
//! and `NAME.json`, which holds all of it.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::pairs::Pairs;
use super::plane_file::json_beside;
use crate::base::atomic;
use crate::base::files;
use crate::error::{Error, Result};

/// A row of the CSV, in the order of its columns.
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
}

/// Writes all files; `csv` is that of the pairs.
///
/// # Errors
/// When a file cannot be written.
pub fn write(pairs: &Pairs, csv: &Path) -> Result<()> {
    optional(&csv.with_extension("layers.csv"), &pairs.layers)?;
    optional(&csv.with_extension("theory.csv"), &pairs.theory)?;
    table(csv, rows(pairs))?;
    atomic::write_json(&json_beside(csv), pairs)
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
        })
    })
}

fn table(path: &Path, rows: impl IntoIterator<Item = impl Serialize>) -> Result<()> {
    atomic::write(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        for row in rows {
            writer.serialize(row).map_err(io::Error::other)?;
        }
        writer.flush()
    })
}

/// A table that is not there when it has no rows, nor one of an earlier run.
fn optional<R: Serialize>(path: &Path, rows: &[R]) -> Result<()> {
    if rows.is_empty() {
        let _ = std::fs::remove_file(path);
        return Ok(());
    }
    table(path, rows)
}

/// Reads pairs back from the JSON beside their CSV.
///
/// # Errors
/// When there is none, or it is something else.
pub fn read(csv: &Path) -> Result<Pairs> {
    let json = json_beside(csv);
    let text = files::text(&json, files::RESULT)?;
    serde_json::from_str(&text)
        .map_err(|error| Error::input(&json, format!("is no summary of pairs: {error}")))
}
