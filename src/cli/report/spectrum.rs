//! The report of a spectrum: eigenvalues and trace.

use std::path::{Path, PathBuf};

use super::{Report, figures};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::spectrum::{End, Spectrum, Trace, file};

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

    // Its errors are between batches, and say themselves of which samples they are.
    fn datasets(&self) -> &[DatasetInfo] {
        &[]
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
        lines.extend(eigenvalues(found));
        lines.extend(found.trace.iter().map(trace));
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

/// A table of the eigenvalues: each with its residual, its standard error over the samples and the
/// curvature along its vector on samples held out.
fn eigenvalues(found: &Spectrum) -> Vec<String> {
    if found.eigenvalues.is_empty() {
        return Vec::new();
    }
    let others = match found.held_out_samples {
        0 => String::new(),
        samples => format!("on {samples} held out"),
    };
    let mut lines = vec![row(["", "λ", "numerical", "sampling", &others])];
    for (end, title) in [(End::Top, "largest"), (End::Bottom, "smallest")] {
        let of_end = found.eigenvalues.iter().filter(|value| value.end == end);
        lines.extend(of_end.enumerate().map(|(index, of)| {
            let se = of.sampling_se.unwrap_or(of.residual);
            let mark = if of.converged { "" } else { ", not converged" };
            row([
                if index == 0 { title } else { "" },
                &rounded(of.value, se),
                &format!("{:.0e}{mark}", of.residual),
                &of.sampling_se
                    .map_or(String::new(), |se| format!("± {}", rounded(se, se))),
                &of.held_out.map_or(String::new(), |other| {
                    let value = rounded(other.value, other.se.unwrap_or(se));
                    let error = other.se.map(|se| format!(" ± {}", rounded(se, se)));
                    value + &error.unwrap_or_default()
                }),
            ])
        }));
    }
    if found.held_out_samples == 0 {
        lines.push("no samples were held out: --limit leaves some".to_string());
    }
    lines
}

fn row([title, value, numerical, sampling, held_out]: [&str; 5]) -> String {
    let line = format!("{title:9} {value:>9}  {numerical:>9}  {sampling:>9}  {held_out}");
    line.trim_end().to_string()
}

/// The trace with its errors over the random vectors and over the samples, as far as they are known.
fn trace(trace: &Trace) -> String {
    let known = |se: &f64| se.is_finite();
    let (vectors, samples) = (
        Some(trace.se).filter(known),
        trace.sampling_se.filter(known),
    );
    let of = |se: Option<f64>, what: &str| {
        se.map(|se| format!(" ± {} ({what})", rounded(se, se)))
            .unwrap_or_default()
    };
    let largest = vectors.unwrap_or(0.0).max(samples.unwrap_or(0.0));
    format!(
        "trace     {}{}{}",
        rounded(trace.value, largest),
        of(vectors, "random vectors"),
        of(samples, "sampling")
    )
}

/// A number with as many digits as two of its error's; with four decimals without an error.
fn rounded(value: f64, error: f64) -> String {
    let is_error = error.is_finite() && error > 0.0;
    let decimals = if is_error {
        1.0 - error.log10().floor()
    } else {
        4.0
    };
    format!("{value:.*}", decimals.clamp(0.0, 9.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_digits_of_their_error() {
        assert_eq!(rounded(17.4914, 2.31), "17.5");
        assert_eq!(rounded(-0.7417, 0.27), "-0.74");
        assert_eq!(rounded(1234.5, 57.0), "1234");
        assert_eq!(rounded(2.0, 0.0), "2.0000");
        assert_eq!(rounded(2.0, f64::NAN), "2.0000");
    }

    #[test]
    fn a_trace_tells_its_errors_apart() {
        let of = |se, sampling_se| {
            trace(&Trace {
                value: 89.26,
                se,
                sampling_se,
            })
        };
        let both = "trace     89.3 ± 2.6 (random vectors) ± 9.1 (sampling)";
        assert_eq!(of(2.61, Some(9.07)), both);
        assert_eq!(of(f64::NAN, None), "trace     89.2600");
    }
}
