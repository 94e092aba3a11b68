//! Files of a plane, `NAME.csv` and `NAME.json`; they are read back to redraw it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Plane, PlaneSummary};
use crate::error::{Error, Result};
use crate::result::grid::Grid;
use crate::result::loss::BetaFit;
use crate::result::score::{DatasetInfo, Role, Score};
use crate::result::table::{
    self, enter_dataset, named, read_both, write_json, write_losses, write_losses_if_any,
};

/// One row of the CSV: a grid point on a data set.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    i: usize,
    j: usize,
    x: f64,
    y: f64,
    c_origin: f64,
    c_a: f64,
    c_b: f64,
    dataset: String,
    role: Role,
    samples: usize,
    loss: f64,
    loss_se: f64,
    error: f64,
    error_se: f64,
    nonfinite: usize,
    /// Whether the point was evaluated; otherwise it is interpolated and has no samples of its own.
    #[serde(default = "always")]
    measured: bool,
    // The following stand only in files of calibrated losses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beta: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beta_fit: Option<BetaFit>,
}

/// Files of earlier versions hold only measured points.
fn always() -> bool {
    true
}

/// Writes the CSV (by grid point, then data set), `NAME.comparisons.csv`, the JSON and, with arrows,
/// `NAME.arrows.csv`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(plane: &Plane, csv: &Path) -> Result<()> {
    let (loss, summary) = (plane.summary.loss(), &plane.summary);
    write_losses(csv, loss, rows(plane))?;
    write_losses_if_any(&csv.with_extension("arrows.csv"), loss, &summary.arrows)?;
    let comparisons = csv.with_extension("comparisons.csv");
    write_losses_if_any(&comparisons, loss, &summary.comparisons)?;
    write_json(csv, &named(loss, summary)?)
}

fn rows(plane: &Plane) -> impl Iterator<Item = Row> + '_ {
    (0..plane.grid.len()).flat_map(move |index| {
        let (i, j) = plane.grid.ij(index);
        let (x, y) = plane.grid.point(index);
        let [c_origin, c_a, c_b] = plane.coefficients[index];
        let sets = plane.datasets.iter().zip(&plane.scores);
        sets.map(move |(dataset, scores)| {
            let (score, measured) = (scores[index], plane.measured[index]);
            Row {
                i,
                j,
                x,
                y,
                c_origin,
                c_a,
                c_b,
                dataset: dataset.name.clone(),
                role: dataset.role,
                samples: if measured { dataset.samples } else { 0 },
                loss: score.loss,
                loss_se: score.loss_se,
                error: score.error,
                error_se: score.error_se,
                nonfinite: score.nonfinite,
                measured,
                beta: plane.betas.get(index).map(|beta| beta.value),
                beta_fit: plane.betas.get(index).map(|beta| beta.fit),
            }
        })
    })
}

/// Reads a plane from its CSV and the JSON beside it.
///
/// # Errors
/// When a file is missing or was not made by [`write()`]; the message says where.
pub fn read(csv: &Path) -> Result<Plane> {
    let (rows, summary) = read_both(csv, "plane")?;
    assemble(rows, summary).map_err(|problem| Error::input(csv, problem))
}

fn assemble(rows: Vec<Row>, summary: PlaneSummary) -> std::result::Result<Plane, String> {
    let (grid, datasets) = grid_and_datasets(&rows)?;
    let points = grid.len();
    let mut coefficients = vec![None; points];
    let mut scores = vec![vec![None; points]; datasets.len()];
    let mut measured = vec![true; points];
    let mut betas = vec![(None, None); points];
    for row in rows {
        let index = grid.index(row.i, row.j);
        measured[index] &= row.measured;
        betas[index] = (row.beta, row.beta_fit);
        coefficients[index] = Some([row.c_origin, row.c_a, row.c_b]);
        let dataset = datasets
            .iter()
            .position(|dataset| dataset.name == row.dataset);
        let Some(slot) = dataset.map(|dataset| &mut scores[dataset][index]) else {
            continue;
        };
        *slot = Some(Score {
            loss: row.loss,
            loss_se: row.loss_se,
            error: row.error,
            error_se: row.error_se,
            nonfinite: row.nonfinite,
        });
    }
    let complete = scores
        .into_iter()
        .map(|scores| scores.into_iter().collect());
    let scores: Option<Vec<Vec<Score>>> = complete.collect();
    let coefficients: Option<Vec<_>> = coefficients.into_iter().collect();
    let (Some(scores), Some(coefficients)) = (scores, coefficients) else {
        return Err("has a grid point twice and another not at all".to_string());
    };
    belongs(&grid, &coefficients, &summary)?;
    Ok(Plane {
        grid,
        coefficients,
        datasets,
        scores,
        measured,
        betas: table::betas(betas.into_iter()),
        summary,
    })
}

/// Recovers the grid and the data sets from rows: one row per point and data set.
fn grid_and_datasets(rows: &[Row]) -> std::result::Result<(Grid, Vec<DatasetInfo>), String> {
    let mut grid = Grid {
        xs: Vec::new(),
        ys: Vec::new(),
    };
    let mut datasets: Vec<DatasetInfo> = Vec::new();
    for row in rows {
        place(&mut grid.xs, row.i, row.x)?;
        place(&mut grid.ys, row.j, row.y)?;
        enter_dataset(&mut datasets, &row.dataset, row.role, row.samples)?;
    }
    let points = grid.len();
    if points == 0 || points.checked_mul(datasets.len()) != Some(rows.len()) {
        return Err(format!(
            "has {} rows; {} grid points and {} data sets need {}",
            rows.len(),
            points,
            datasets.len(),
            points.saturating_mul(datasets.len())
        ));
    }
    Ok((grid, datasets))
}

/// Checks that the summary's θ1 and θ2 give the grid's coordinates: the JSON of another plane would
/// put the markers in the wrong places.
fn belongs(
    grid: &Grid,
    coefficients: &[[f64; 3]],
    summary: &PlaneSummary,
) -> std::result::Result<(), String> {
    let (a, b) = (summary.geometry.a, summary.geometry.b);
    let near = |k: usize, [_, c_a, c_b]: [f64; 3], at: f64| {
        let (first, second) = (c_a * a[k], c_b * b[k]);
        (first + second - at).abs() <= 1e-6 * (first.abs() + second.abs() + a[0].abs())
    };
    let mut points = grid.points().zip(coefficients);
    let fit = points.all(|((x, y), c)| near(0, *c, x) && near(1, *c, y));
    let models = summary.checkpoints.iter().map(|model| [model.x, model.y]);
    if fit && models.take(3).eq([[0.0, 0.0], a, b]) {
        Ok(())
    } else {
        Err("and the .json beside it belong to different planes".to_string())
    }
}

/// Stores a coordinate at its index; new indices must come in ascending order.
fn place(axis: &mut Vec<f64>, index: usize, value: f64) -> std::result::Result<(), String> {
    match axis.get(index) {
        Some(known) if known.to_bits() == value.to_bits() => Ok(()),
        Some(known) => Err(format!("index {index} stands at {known} and at {value}")),
        None if !value.is_finite() || axis.last().is_some_and(|last| *last >= value) => Err(
            format!("coordinate {value} of index {index} does not ascend"),
        ),
        None if index == axis.len() => {
            axis.push(value);
            Ok(())
        }
        None => Err(format!("index {index} comes before index {}", axis.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::plane::{Geometry, PlacedModel};
    use crate::result::provenance::Provenance;
    use crate::result::table::json_beside;

    fn plane() -> Plane {
        let grid = Grid {
            xs: vec![-0.1, 0.2, 1.0 / 3.0],
            ys: vec![0.0, 5.0],
        };
        let score = |k: usize| Score {
            loss: if k == 2 { f64::NAN } else { k as f64 / 7.0 },
            loss_se: f64::INFINITY,
            error: 0.1 * k as f64,
            error_se: 0.01,
            nonfinite: usize::from(k == 2),
        };
        let info = |name: &str, role| DatasetInfo {
            name: name.into(),
            role,
            samples: 9,
        };
        Plane {
            // c_a·(1, 0) + c_b·(1, √3) = (x, y).
            coefficients: grid
                .points()
                .map(|(x, y)| {
                    let c_b = y / 3.0_f64.sqrt();
                    [1.0 - x, x - c_b, c_b]
                })
                .collect(),
            datasets: vec![info("test", Role::Test), info("s,1", Role::Shift)],
            scores: vec![(0..6).map(score).collect(), (6..12).map(score).collect()],
            measured: (0..6).map(|index| index != 4).collect(),
            betas: Vec::new(),
            summary: PlaneSummary {
                calibration: None,
                geometry: Geometry {
                    norm_a: 1.0,
                    // Only a parser that rounds correctly reads this back exactly.
                    norm_b: 51.248_178_942_168_61,
                    angle_deg: 60.0,
                    cosine: 0.5,
                    a: [1.0, 0.0],
                    b: [1.0, 3.0_f64.sqrt()],
                },
                checkpoints: [
                    ("zs", 0.0, 0.0),
                    ("a", 1.0, 0.0),
                    ("b", 1.0, 3.0_f64.sqrt()),
                ]
                .map(|(name, x, y)| PlacedModel {
                    beta: None,
                    name: name.into(),
                    x,
                    y,
                    scores: Vec::new(),
                })
                .into(),
                marks: Vec::new(),
                arrows: Vec::new(),
                minimum: Vec::new(),
                comparisons: Vec::new(),
                checks: Vec::new(),
                warnings: vec!["w".into()],
                provenance: Provenance {
                    command: vec!["landscape".into()],
                    version: "0".into(),
                    files: [("a".to_string(), "b".to_string())].into(),
                    drawn_from: [("test".to_string(), 9)].into(),
                    settings: Default::default(),
                    onnxruntime: "1".into(),
                    provider: "CPU".into(),
                    caveats: Vec::new(),
                    wall_seconds: 0.5,
                    verified: Default::default(),
                    dictionaries: Default::default(),
                },
            },
            grid,
        }
    }

    #[test]
    fn a_plane_is_read_back_to_the_bit_on_a_non_square_grid_with_nan() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("p.csv");
        let written = plane();
        write(&written, &csv).unwrap();
        let back = read(&csv).unwrap();
        assert_eq!(format!("{written:?}"), format!("{back:?}"));
        let text = std::fs::read_to_string(&csv).unwrap();
        let header = "i,j,x,y,c_origin,c_a,c_b,dataset,role,samples,loss,loss_se,error,error_se,nonfinite,measured";
        assert_eq!(text.lines().next(), Some(header));
        assert!(text.contains(",NaN,inf,"));
    }

    #[test]
    fn the_json_of_another_plane_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("p.csv");
        let mut other = plane();
        other.summary.geometry.b[1] *= 1.01;
        write(&other, &csv).unwrap();
        let message = read(&csv).unwrap_err().to_string();
        assert!(message.contains("belong to different planes"), "{message}");
    }

    #[test]
    fn samples_are_counted_where_they_were_taken() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("p.csv");
        let mut first_is_interpolated = plane();
        first_is_interpolated.measured = vec![false, false, true, true, true, false];
        write(&first_is_interpolated, &csv).unwrap();
        let back = read(&csv).unwrap();
        assert_eq!(back.datasets, first_is_interpolated.datasets);
        let text = std::fs::read_to_string(&csv).unwrap();
        std::fs::write(&csv, text.replacen(",test,test,9,", ",test,test,8,", 1)).unwrap();
        let message = read(&csv).unwrap_err().to_string();
        let expected = "has rows of 8 samples and of 9 for the data set `test`";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn a_missing_row_and_a_missing_column_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("p.csv");
        write(&plane(), &csv).unwrap();
        let text = std::fs::read_to_string(&csv).unwrap();
        let cut = text.lines().take(12).collect::<Vec<_>>().join("\n");
        std::fs::write(&csv, cut).unwrap();
        let message = read(&csv).unwrap_err().to_string();
        assert!(
            message.contains("has 11 rows; 6 grid points and 2 data sets need 12"),
            "{message}"
        );
        std::fs::write(&csv, text.replacen("loss_se", "other", 1)).unwrap();
        assert!(
            read(&csv)
                .unwrap_err()
                .to_string()
                .contains("missing field `loss_se`")
        );
        std::fs::remove_file(json_beside(&csv)).unwrap();
        assert!(
            read(&csv)
                .unwrap_err()
                .to_string()
                .contains("p.json: there is no such file")
        );
    }
}
