//! A spectrum from its analysis through its files to its figure.

mod common;

use landscape::analysis::spectrum::{SpectrumPlan, spectrum};
use landscape::error::Result;
use landscape::evaluate::linear_operator::LinearOperator;
use landscape::result::provenance::Provenance;
use landscape::result::score::{DatasetInfo, Role};
use landscape::result::spectrum::{self, Spectrum};
use predicates::str::contains;

struct Diagonal(Vec<f64>);

impl LinearOperator for Diagonal {
    fn dim(&self) -> usize {
        self.0.len()
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        Ok(self.0.iter().zip(v).map(|(h, v)| h * v).collect())
    }
}

fn found() -> Result<Spectrum> {
    let bulk = (0..2000).map(|k| 0.1 * (f64::from(k) * 0.7).sin().powi(3));
    let operator = Diagonal(bulk.chain([50.0, 20.0, 8.0, -1.0]).collect());
    let plan = SpectrumPlan::default();
    let found = spectrum(&operator, None, &plan, &mut |_| {})?;
    Ok(Spectrum {
        name: "ft1".to_string(),
        coefficients: Vec::new(),
        dataset: DatasetInfo {
            name: "train".to_string(),
            role: Role::Train,
            samples: 100,
        },
        held_out_samples: 0,
        dimension: operator.dim(),
        loss: 0.1,
        gradient_norm: 1e-3,
        eigenvalues: found.eigenvalues,
        trace: found.trace,
        density: found.density,
        products: found.products,
        method: "graph".to_string(),
        seed: plan.seed,
        warnings: found.warnings,
        provenance: Provenance::default(),
    })
}

#[test]
fn a_spectrum_is_drawn_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("notebooks-data/spectrum.csv");
    let written = found().unwrap();
    spectrum::file::write(&written, &csv).unwrap();
    assert_eq!(spectrum::file::read(&csv).unwrap(), written);
    let draw = || {
        let mut command = common::program();
        command.arg("draw").arg(&csv);
        command.assert()
    };
    draw().success().stdout(contains("spectrum.png"));
    let svg = std::fs::read_to_string(folder.path().join("plots/spectrum.svg")).unwrap();
    assert!(svg.contains("Hessian of the train loss") && svg.contains("10 largest: 50 to"));
    // The same from a plan carried out anew: nothing in it is left to chance.
    spectrum::file::write(&found().unwrap(), &csv).unwrap();
    draw().success();
    let again = std::fs::read_to_string(folder.path().join("plots/spectrum.svg")).unwrap();
    assert_eq!(svg, again);
    std::fs::write(csv.with_extension("json"), "{}").unwrap();
    draw().code(2).stderr(contains("is no spectrum"));
    std::fs::remove_file(csv.with_extension("json")).unwrap();
    draw().code(2).stderr(contains("spectrum.json"));
}
