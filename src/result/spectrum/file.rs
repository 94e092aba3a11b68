//! Files of a spectrum: `NAME.csv` with the extreme eigenvalues, `NAME.density.csv` if the density
//! was asked for, and `NAME.json`, which holds everything.

use std::path::Path;

use serde::Serialize;

use super::{Density, Eigenvalue, Spectrum};
use crate::error::Result;
use crate::result::table::{read_json, remove_stale, write_json, write_under};

/// Columns of the eigenvalues' CSV.
const EIGENVALUES: [&str; 8] = [
    "rank",
    "end",
    "eigenvalue",
    "residual",
    "converged",
    "sampling_se",
    "held_out",
    "held_out_se",
];

/// Writes all files; `csv` is the path of the eigenvalues.
///
/// # Errors
/// When a file cannot be written.
pub fn write(spectrum: &Spectrum, csv: &Path) -> Result<()> {
    let density = csv.with_extension("density.csv");
    match &spectrum.density {
        Some(values) => write_under(&density, ["eigenvalue", "density"], points(values))?,
        None => remove_stale(&density),
    }
    write_under(csv, EIGENVALUES, spectrum.eigenvalues.iter().map(row))?;
    write_json(csv, spectrum)
}

/// Reads a spectrum from the JSON beside its CSV.
///
/// # Errors
/// When the file is missing or holds something else.
pub fn read(csv: &Path) -> Result<Spectrum> {
    read_json(csv, "spectrum")
}

/// Makes a row with the columns [`EIGENVALUES`].
fn row(eigenvalue: &Eigenvalue) -> impl Serialize {
    let Eigenvalue {
        rank,
        end,
        value,
        residual,
        converged,
        sampling_se,
        held_out,
    } = *eigenvalue;
    let (held_out, held_out_se) = (held_out.map(|it| it.value), held_out.and_then(|it| it.se));
    let measured = (sampling_se, held_out, held_out_se);
    (rank, end.name(), value, residual, converged, measured)
}

fn points(density: &Density) -> impl Iterator<Item = impl Serialize> {
    density.grid.iter().zip(&density.values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::provenance::Provenance;
    use crate::result::score::{DatasetInfo, Role};
    use crate::result::soup::Coefficient;
    use crate::result::spectrum::{End, Sampled, Trace};

    fn spectrum() -> Spectrum {
        let eigenvalue = |rank, end, value| Eigenvalue {
            rank,
            end,
            value,
            residual: 1e-4,
            converged: rank == 1,
            sampling_se: (rank == 1).then_some(2.5),
            held_out: (end == End::Top).then_some(Sampled {
                value: 0.75 * value,
                se: (rank == 1).then_some(0.5),
            }),
        };
        Spectrum {
            name: "soup".to_string(),
            coefficients: vec![Coefficient {
                model: "ft1".to_string(),
                tensor: None,
                coefficient: 1.0,
            }],
            dataset: DatasetInfo {
                name: "train".to_string(),
                role: Role::Train,
                samples: 100,
            },
            held_out_samples: 80,
            dimension: 3,
            loss: f64::NAN,
            gradient_norm: f64::INFINITY,
            eigenvalues: vec![
                eigenvalue(1, End::Top, 50.125),
                eigenvalue(2, End::Top, 1.0 / 3.0),
                eigenvalue(1, End::Bottom, -0.5),
            ],
            trace: Some(Trace {
                value: 51.0,
                se: f64::NAN,
                sampling_se: Some(4.0),
            }),
            density: Some(Density {
                grid: vec![-1.0, 0.1, 51.0],
                values: vec![0.0, 0.5, 1e-300],
                width: 0.2,
                nodes: vec![-0.5, 50.125],
                weights: vec![0.75, 0.25],
                probes: 1,
                steps: 2,
            }),
            products: 12,
            method: "graph".to_string(),
            seed: 7,
            warnings: Vec::new(),
            provenance: Provenance::default(),
        }
    }

    #[test]
    fn the_tables_have_a_row_an_eigenvalue_and_a_row_a_point() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("spectrum.csv");
        write(&spectrum(), &csv).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(
            text(&csv),
            "rank,end,eigenvalue,residual,converged,sampling_se,held_out,held_out_se\n\
             1,top,50.125,0.0001,true,2.5,37.59375,0.5\n\
             2,top,0.3333333333333333,0.0001,false,,0.25,\n\
             1,bottom,-0.5,0.0001,true,2.5,,\n"
        );
        let density = text(&csv.with_extension("density.csv"));
        assert!(density.starts_with("eigenvalue,density\n-1.0,0.0\n0.1,0.5\n51.0,1e-300\n"));
    }

    #[test]
    fn what_is_written_is_read_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("spectrum.csv");
        let written = spectrum();
        write(&written, &csv).unwrap();
        let back = read(&csv).unwrap();
        // NaN is not equal to itself, but its text is.
        assert_eq!(format!("{back:?}"), format!("{written:?}"));
        std::fs::write(csv.with_extension("json"), "{}").unwrap();
        assert!(
            read(&csv)
                .unwrap_err()
                .to_string()
                .contains("is no spectrum")
        );
    }

    #[test]
    fn without_density_there_is_no_table_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("spectrum.csv");
        let mut spectrum = spectrum();
        write(&spectrum, &csv).unwrap();
        spectrum.density = None;
        spectrum.eigenvalues.clear();
        write(&spectrum, &csv).unwrap();
        assert!(!csv.with_extension("density.csv").exists());
        let text = std::fs::read_to_string(&csv).unwrap();
        assert_eq!(text, EIGENVALUES.join(",") + "\n");
        assert!(read(&csv).unwrap().density.is_none());
    }
}
