//! Quantities with units, as users type them.

use std::time::Duration;

/// Parses `512M`, `8G`, `1.5GiB`, or a number of bytes.
pub fn bytes(text: &str) -> Result<u64, &'static str> {
    let possible = "a number with K, M, G or T is needed, such as 8G";
    let units = [
        ("", 0),
        ("b", 0),
        ("k", 10),
        ("m", 20),
        ("g", 30),
        ("t", 40),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&lower).ok_or(possible)?;
    let unit = unit.trim_end_matches("ib").trim_end_matches('b');
    let power = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(possible)?
        .1;
    let value = number * (1_u64 << power) as f64;
    // Beyond any machine's memory a number is meaningless.
    if (1.0..1e18).contains(&value) {
        Ok(value as u64)
    } else {
        Err(possible)
    }
}

/// Parses `90s`, `10m`, `1.5h`, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    let possible = "a number with s, m, h or d is needed, such as 10m";
    let units = [
        ("", 1.0),
        ("s", 1.0),
        ("m", 60.0),
        ("min", 60.0),
        ("h", 3600.0),
        ("d", 86400.0),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&lower).ok_or(possible)?;
    let unit = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(possible)?
        .1;
    let seconds = number * unit;
    if seconds > 0.0 && seconds < 1e9 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(possible)
    }
}

/// Parses `0.2%` or `0.002`.
pub fn fraction(text: &str) -> Result<f64, &'static str> {
    let possible = "a fraction such as 0.2% or 0.002 is needed";
    let (number, unit) = split(text.trim()).ok_or(possible)?;
    let value = match unit {
        "" => number,
        "%" => number / 100.0,
        _ => return Err(possible),
    };
    if value > 0.0 && value <= 1.0 {
        Ok(value)
    } else {
        Err(possible)
    }
}

/// Splits a number from what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !digits(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        assert_eq!(bytes("8G"), Ok(8 << 30));
        assert_eq!(bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(bytes("512mb"), Ok(512 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(fraction("0.2%"), Ok(0.002));
        assert_eq!(fraction("0.002"), Ok(0.002));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in ["", "x", "-1G", "0", "8Q", "1e9T", "NaN"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["", "0s", "10 weeks", "m"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "0", "200%", "2", "1h"] {
            assert!(fraction(text).is_err(), "{text}");
        }
    }
}
