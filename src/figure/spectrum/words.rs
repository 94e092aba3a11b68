//! The text below a spectrum.

use super::super::numbers::significant;
use super::super::text::short;
use crate::result::spectrum::{End, Spectrum};

/// Maximum number of coefficients of a mix that are written out.
const WRITTEN_COEFFICIENTS: usize = 4;

/// The mix, its loss, the largest eigenvalue's error and the trace, one line each.
pub fn captions(spectrum: &Spectrum) -> Vec<String> {
    let Spectrum {
        dimension,
        dataset,
        loss,
        gradient_norm,
        trace,
        ..
    } = spectrum;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let value = format!(
        "{} loss {} over {} sample{}, gradient norm {}; {dimension} parameter{}",
        dataset.name,
        significant(*loss, 4),
        dataset.samples,
        plural(dataset.samples),
        significant(*gradient_norm, 3),
        plural(*dimension),
    );
    let trace = trace.map(|trace| {
        let error = match trace.se {
            0.0 => " (exact)".to_string(),
            se if se.is_nan() => String::new(),
            se => format!(" ± {}", significant(se, 2)),
        };
        let samples = trace
            .sampling_se
            .map(|se| format!(" ± {} over samples", significant(se, 2)));
        let samples = samples.unwrap_or_default();
        let mean = significant(trace.value / *dimension as f64, 3);
        let trace = significant(trace.value, 4);
        format!("trace {trace}{error}{samples}, mean eigenvalue {mean}")
    });
    let first = [mix(spectrum), value].into_iter();
    first.chain(largest(spectrum)).chain(trace).collect()
}

/// The error of the largest eigenvalue over samples, and its value on others, if these are known.
fn largest(spectrum: &Spectrum) -> Option<String> {
    let largest = spectrum
        .eigenvalues
        .first()
        .filter(|of| of.end == End::Top)?;
    let se = |se: Option<f64>| se.map_or(String::new(), |se| format!(" ± {}", significant(se, 2)));
    let held_out = largest.held_out.map(|other| {
        let value = significant(other.value, 3);
        let samples = spectrum.held_out_samples;
        format!(
            ", {value}{} along its vector on {samples} others",
            se(other.se)
        )
    });
    largest.sampling_se?;
    let value = significant(largest.value, 3);
    let own = se(largest.sampling_se);
    Some(format!(
        "largest {value}{own} over samples{}",
        held_out.unwrap_or_default()
    ))
}

/// Describes θ in words.
fn mix(spectrum: &Spectrum) -> String {
    let Spectrum {
        name, coefficients, ..
    } = spectrum;
    let name = short(name);
    let parts = coefficients.iter().take(WRITTEN_COEFFICIENTS).map(|part| {
        let tensor = part.tensor.iter().map(|tensor| format!(" ({tensor})"));
        let tensor: String = tensor.collect();
        let coefficient = significant(part.coefficient, 4);
        format!("{coefficient} {}{tensor}", short(&part.model))
    });
    let sum = parts.collect::<Vec<_>>().join(" + ").replace("+ −", "− ");
    match coefficients.as_slice() {
        [] => format!("θ = {name}"),
        [one] if one.model == spectrum.name => format!("θ = {name}"),
        all if all.len() > WRITTEN_COEFFICIENTS => {
            let more = all.len() - WRITTEN_COEFFICIENTS;
            format!("θ = {name} = {sum} + … ({more} more)")
        }
        _ => format!("θ = {name} = {sum}"),
    }
}

/// Describes the eigenvalues of an end, at least one: their number, the first and the last.
pub fn range(spectrum: &Spectrum, end: End) -> String {
    let of_end = spectrum.eigenvalues.iter().filter(|of| of.end == end);
    let values: Vec<String> = of_end.map(|of| significant(of.value, 4)).collect();
    let which = match end {
        End::Top => "largest",
        End::Bottom => "smallest",
    };
    match values.as_slice() {
        [first, .., last] if first != last => {
            format!("{} {which}: {first} to {last}", values.len())
        }
        [first, _, ..] => format!("{} {which}: {first}", values.len()),
        _ => format!("{which}: {}", values.concat()),
    }
}
