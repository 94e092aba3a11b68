//! What is written below a spectrum.

use super::super::levels;
use super::super::text::short;
use crate::result::spectrum::{End, Spectrum};

/// Coefficients of a mix that are written out.
const WRITTEN: usize = 4;

/// The mix, its loss and the trace, a line each.
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
        number(*loss, 4),
        dataset.samples,
        plural(dataset.samples),
        number(*gradient_norm, 3),
        plural(*dimension),
    );
    let trace = trace.map(|trace| {
        let error = match trace.se {
            0.0 => " (exact)".to_string(),
            se if se.is_nan() => String::new(),
            se => format!(" ± {}", number(se, 2)),
        };
        let mean = number(trace.value / *dimension as f64, 3);
        let trace = number(trace.value, 4);
        format!("trace {trace}{error}, mean eigenvalue {mean}")
    });
    [mix(spectrum), value].into_iter().chain(trace).collect()
}

/// θ in words.
fn mix(spectrum: &Spectrum) -> String {
    let Spectrum {
        name, coefficients, ..
    } = spectrum;
    let name = short(name);
    let parts = coefficients.iter().take(WRITTEN).map(|part| {
        let tensor = part.tensor.iter().map(|tensor| format!(" ({tensor})"));
        let tensor: String = tensor.collect();
        let coefficient = number(part.coefficient, 4);
        format!("{coefficient} {}{tensor}", short(&part.model))
    });
    let sum = parts.collect::<Vec<_>>().join(" + ").replace("+ −", "− ");
    match coefficients.as_slice() {
        [] => format!("θ = {name}"),
        [one] if one.model == spectrum.name => format!("θ = {name}"),
        all if all.len() > WRITTEN => {
            let more = all.len() - WRITTEN;
            format!("θ = {name} = {sum} + … ({more} more)")
        }
        _ => format!("θ = {name} = {sum}"),
    }
}

/// The eigenvalues of an end: how many, from the first to the last. There is one at least.
pub fn range(spectrum: &Spectrum, end: End) -> String {
    let of_end = spectrum.eigenvalues.iter().filter(|of| of.end == end);
    let values: Vec<String> = of_end.map(|of| number(of.value, 4)).collect();
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

/// So many digits of a number as a person would write them.
fn number(value: f64, digits: i32) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{}", value + 0.0).replace('-', "−");
    }
    if !(1e-3..1e6).contains(&size) {
        let decimals = digits as usize - 1;
        return format!("{value:.decimals$e}").replace('-', "−");
    }
    let decimals = (f64::from(digits - 1) - size.log10().floor()).max(0.0) as usize;
    let text = levels::fixed(value, decimals);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_lose_what_says_nothing() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (50.0, "50"),
            (-0.123_456, "−0.1235"),
            (273.574, "273.6"),
            (30_223.57, "30224"),
            (1e-7, "1.000e−7"),
            (-2.5e9, "−2.500e9"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "−inf"),
        ] {
            assert_eq!(number(value, 4), text);
        }
        assert_eq!(number(0.336_759, 2), "0.34");
    }
}
