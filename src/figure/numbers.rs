//! Formats numbers as a person would write them.

/// The number of decimals in a level's label.
pub fn decimals(value: f64) -> usize {
    label(value)
        .split_once('.')
        .map_or(0, |(_, digits)| digits.len())
}

/// Formats a level as a person would write it.
pub fn label(value: f64) -> String {
    if value != 0.0 && (value.abs() >= 1e6 || value.abs() < 1e-4) {
        return format!("{value:.1e}").replace('-', "−");
    }
    signed(value, format!("{}", value.abs()))
}

/// Formats a value with this many decimals and a proper minus sign.
pub fn fixed(value: f64, decimals: usize) -> String {
    if value != 0.0 && (value.abs() >= 1e6 || value.abs() < 1e-4) {
        return label(value);
    }
    signed(value, format!("{:.decimals$}", value.abs()))
}

fn signed(value: f64, digits: String) -> String {
    if value < 0.0 {
        format!("−{digits}")
    } else {
        digits
    }
}

/// Formats a number with this many significant digits, as a person would write it.
pub fn significant(value: f64, digits: i32) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{}", value + 0.0).replace('-', "−");
    }
    if !(1e-3..1e6).contains(&size) {
        let decimals = digits as usize - 1;
        return format!("{value:.decimals$e}").replace('-', "−");
    }
    let decimals = (f64::from(digits - 1) - size.log10().floor()).max(0.0) as usize;
    let text = fixed(value, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_numbers() {
        assert_eq!((fixed(1.5, 2), label(-1.5)), ("1.50".into(), "−1.5".into()));
        assert_eq!((label(2e7), fixed(-0.0, 1)), ("2.0e7".into(), "0.0".into()));
    }

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
            assert_eq!(significant(value, 4), text);
        }
        assert_eq!(significant(0.336_759, 2), "0.34");
    }
}
