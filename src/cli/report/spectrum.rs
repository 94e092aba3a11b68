//! The report of a spectrum: eigenvalues and trace.

use std::path::{Path, PathBuf};

use super::{Report, figures};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::spectrum::{Eigenvalue, End, Spectrum, file};

/// A spectrum to present.
pub struct SpectrumReport<'r>(pub &'r Spectrum);

impl Report for SpectrumReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.0, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::spectrum(self.0, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        print_json(self.0)
    }

    fn result(&self) -> Vec<String> {
        let found = self.0;
        let mut lines = vec![format!(
            "{} on {} samples of {}: loss {:.4} nats, ‖gradient‖ {:.4}",
            found.name, found.dataset.samples, found.dataset.name, found.loss, found.gradient_norm
        )];
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
        let (products, seconds) = (self.0.products, self.0.provenance.wall_seconds);
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
