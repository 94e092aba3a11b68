//! Files of a path, `NAME.csv` and `NAME.json`; they are read back to redraw it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Line, LineSummary, Rise};
use crate::error::{Error, Result};
use crate::result::loss::BetaFit;
use crate::result::score::{DatasetInfo, Role, Score};
use crate::result::table::{betas, enter_dataset, named, read_both, write_json, write_losses};

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
    rise_loss: f64,
    rise_loss_low: f64,
    rise_loss_high: f64,
    rise_error: f64,
    rise_error_low: f64,
    rise_error_high: f64,
    // The following stand only in files of calibrated losses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soup_beta: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soup_beta_fit: Option<BetaFit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ensemble_beta: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ensemble_beta_fit: Option<BetaFit>,
}

/// Writes the CSV (by point, then data set) and the JSON.
///
/// # Errors
/// When a file cannot be written.
pub fn write(line: &Line, csv: &Path) -> Result<()> {
    let loss = line.summary.loss();
    write_losses(csv, loss, rows(line))?;
    write_json(csv, &named(loss, &line.summary)?)
}

fn rows(line: &Line) -> impl Iterator<Item = Row> + '_ {
    line.alphas
        .iter()
        .enumerate()
        .flat_map(move |(point, alpha)| {
            line.datasets.iter().enumerate().map(move |(set, dataset)| {
                let (soup, ensemble) = (&line.soup[set][point], &line.ensemble[set][point]);
                let (loss, error) = (line.rise_loss[set][point], line.rise_error[set][point]);
                let betas = (line.soup_beta.get(point), line.ensemble_beta.get(point));
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
                    rise_loss: loss.value,
                    rise_loss_low: loss.low,
                    rise_loss_high: loss.high,
                    rise_error: error.value,
                    rise_error_low: error.low,
                    rise_error_high: error.high,
                    soup_beta: betas.0.map(|beta| beta.value),
                    soup_beta_fit: betas.0.map(|beta| beta.fit),
                    ensemble_beta: betas.1.map(|beta| beta.value),
                    ensemble_beta_fit: betas.1.map(|beta| beta.fit),
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

/// Values of rows by data set and point, from rows by point and data set.
fn by_set<T>(rows: &[Row], sets: usize, of: impl Fn(&Row) -> T) -> Vec<Vec<T>> {
    let set = |set: usize| rows.iter().skip(set).step_by(sets).map(&of).collect();
    (0..sets).map(set).collect()
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
    let soup = by_set(rows, datasets.len(), |row| {
        score(
            row.soup_loss,
            row.soup_loss_se,
            row.soup_error,
            row.soup_error_se,
        )
    });
    let ensemble = by_set(rows, datasets.len(), |row| {
        let (loss, error) = (row.ensemble_loss, row.ensemble_error);
        score(loss, row.ensemble_loss_se, error, row.ensemble_error_se)
    });
    let rise = |value, low, high| Rise { value, low, high };
    let first = || rows.iter().step_by(datasets.len());
    Ok(Line {
        soup_beta: betas(first().map(|row| (row.soup_beta, row.soup_beta_fit))),
        ensemble_beta: betas(first().map(|row| (row.ensemble_beta, row.ensemble_beta_fit))),
        rise_loss: by_set(rows, datasets.len(), |row| {
            rise(row.rise_loss, row.rise_loss_low, row.rise_loss_high)
        }),
        rise_error: by_set(rows, datasets.len(), |row| {
            rise(row.rise_error, row.rise_error_low, row.rise_error_high)
        }),
        alphas,
        soup,
        ensemble,
        datasets,
        summary,
    })
}
