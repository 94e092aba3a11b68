//! The report of a spectrum: eigenvalues and trace.

use std::path::{Path, PathBuf};

use super::{Report, figures};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::provenance::Provenance;
use crate::result::spectrum::{Eigenvalue, End, Spectrum, file};

/// A spectrum and how to present it.
pub struct SpectrumReport<'r> {
    /// The spectrum.
    pub spectrum: &'r Spectrum,
    /// What a mix of checkpoints is, if not an average of the models' parameters.
    pub averages: Option<&'r str>,
}

impl Report for SpectrumReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.spectrum.warnings
    }

    fn provenance(&self) -> &Provenance {
        &self.spectrum.provenance
    }

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.spectrum, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::spectrum(self.spectrum, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        print_json(self.spectrum)
    }

    fn result(&self) -> Vec<String> {
        let found = self.spectrum;
        let is_mix = found.coefficients.len() > 1;
        let averages = self.averages.filter(|_| is_mix);
        let mut lines: Vec<String> = averages
            .iter()
            .map(|it| format!("{} is {it}", found.name))
            .collect();
        lines.push(format!(
            "{} on {} samples of {}: loss {:.4} nats, ‖gradient‖ {:.4}",
            found.name, found.dataset.samples, found.dataset.name, found.loss, found.gradient_norm
        ));
        for (end, title) in [(End::Top, "largest"), (End::Bottom, "smallest")] {
            let of = found.eigenvalues.iter().filter(|value| value.end == end);
            let words: Vec<String> = of.map(eigenvalue).collect();
            if !words.is_empty() {
                lines.push(format!("{title:9} {}", words.join("  ")));
            }
        }
        if let Some(trace) = &found.trace {
            // The error of an estimate from a single vector is unknown.
            let error = if trace.se.is_finite() {
                format!(" ± {:.4}", trace.se)
            } else {
                String::new()
            };
            lines.push(format!("trace     {:.4}{error}", trace.value));
        }
        lines
    }

    fn remarks(&self, _rate: f64) -> Vec<String> {
        let (products, seconds) = (
            self.spectrum.products,
            self.spectrum.provenance.wall_seconds,
        );
        vec![format!("{products} products, {seconds:.1} s")]
    }
}

/// Formats an eigenvalue, with its error unless that is mere rounding.
fn eigenvalue(of: &Eigenvalue) -> String {
    if of.converged {
        format!("{:.4}", of.value)
    } else {
        format!("{:.4} (± {:.1e})", of.value, of.residual)
    }
}
