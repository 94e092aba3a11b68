//! Files of a path, `NAME.csv` and `NAME.json`; they are read back to redraw it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Line, LineSummary};
use crate::error::{Error, Result};
use crate::result::score::{DatasetInfo, Role, Score};
use crate::result::table::{enter_dataset, read_both, write_json, write_rows};

/// One row of the CSV: a point of the path on a data set.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    alpha: f64,
    dataset: String,
    role: Role,
    samples: usize,
    soup_loss: f64,
    soup_loss_se: f64,
    soup_error: f64,
    soup_error_se: f64,
    ensemble_loss: f64,
    ensemble_loss_se: f64,
    ensemble_error: f64,
    ensemble_error_se: f64,
}

/// Writes the CSV (by point, then data set) and the JSON.
///
/// # Errors
/// When a file cannot be written.
pub fn write(line: &Line, csv: &Path) -> Result<()> {
    write_rows(csv, rows(line))?;
    write_json(csv, &line.summary)
}

fn rows(line: &Line) -> impl Iterator<Item = Row> + '_ {
    line.alphas
        .iter()
        .enumerate()
        .flat_map(move |(point, alpha)| {
            line.datasets.iter().enumerate().map(move |(set, dataset)| {
                let (soup, ensemble) = (&line.soup[set][point], &line.ensemble[set][point]);
                Row {
                    alpha: *alpha,
                    dataset: dataset.name.clone(),
                    role: dataset.role,
                    samples: dataset.samples,
                    soup_loss: soup.loss,
                    soup_loss_se: soup.loss_se,
                    soup_error: soup.error,
                    soup_error_se: soup.error_se,
                    ensemble_loss: ensemble.loss,
                    ensemble_loss_se: ensemble.loss_se,
                    ensemble_error: ensemble.error,
                    ensemble_error_se: ensemble.error_se,
                }
            })
        })
}

/// Reads a path from its CSV and the JSON beside it.
///
/// # Errors
/// When a file is missing or was not made by [`write()`]; the message says where.
pub fn read(csv: &Path) -> Result<Line> {
    let (rows, summary) = read_both(csv, "path")?;
    assemble(&rows, summary).map_err(|problem| Error::input(csv, problem))
}

/// Makes a score; the number of non-finite losses is not in the file.
fn score(loss: f64, loss_se: f64, error: f64, error_se: f64) -> Score {
    Score {
        loss,
        loss_se,
        error,
        error_se,
        nonfinite: usize::from(!loss.is_finite()),
    }
}

fn assemble(rows: &[Row], summary: LineSummary) -> std::result::Result<Line, String> {
    let mut datasets: Vec<DatasetInfo> = Vec::new();
    for row in rows {
        enter_dataset(&mut datasets, &row.dataset, row.role, row.samples)?;
    }
    let points = rows.chunks(datasets.len().max(1));
    let alphas: Vec<f64> = points.clone().map(|point| point[0].alpha).collect();
    let belongs = |(point, alpha): (&[Row], &f64)| {
        let names = point.iter().map(|row| &row.dataset);
        let same = point.iter().all(|row| row.alpha == *alpha);
        same && names.eq(datasets.iter().map(|dataset| &dataset.name))
    };
    let ascends = alphas.windows(2).all(|pair| pair[0] < pair[1]);
    if alphas.is_empty() || !ascends || !points.zip(&alphas).all(belongs) {
        return Err("does not have a row for every point and data set, in order".to_string());
    }
    let scores = |of: fn(&Row) -> Score| -> Vec<Vec<Score>> {
        let set = |set: usize| {
            rows.iter()
                .skip(set)
                .step_by(datasets.len())
                .map(of)
                .collect()
        };
        (0..datasets.len()).map(set).collect()
    };
    let soup = scores(|row| {
        score(
            row.soup_loss,
            row.soup_loss_se,
            row.soup_error,
            row.soup_error_se,
        )
    });
    let ensemble = scores(|row| {
        let (loss, error) = (row.ensemble_loss, row.ensemble_error);
        score(loss, row.ensemble_loss_se, error, row.ensemble_error_se)
    });
    Ok(Line {
        alphas,
        soup,
        ensemble,
        datasets,
        summary,
    })
}
