//! Quantities formatted for people.

/// Formats a number of bytes in the largest unit that leaves at least 1, such as `1.5 KiB`.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 10.0);
    format!("{value:.decimals$} {}", units[unit])
}

/// Formats a number of seconds, at least 1, as seconds, minutes or hours: `90 s`, `2.5 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "1 s".to_string(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// The largest of 1, 2, 5 × 10ᵏ that is at most `x`.
pub fn nice_at_most(x: f64) -> f64 {
    let power = 10_f64.powf(x.log10().floor());
    let factor = [5.0, 2.0]
        .into_iter()
        .find(|factor| factor * power <= x * (1.0 + 1e-12));
    factor.unwrap_or(1.0) * power
}

/// Joins the first `most` items, and says how many more there are: `a, b and 3 more`.
pub fn list<T: AsRef<str>>(items: &[T], most: usize) -> String {
    joined(items, ", ", most)
}

/// Joins the first `most` items by a separator, and says how many more there are.
pub fn joined<T: AsRef<str>>(items: &[T], separator: &str, most: usize) -> String {
    let (shown, rest) = items.split_at(most.min(items.len()));
    let shown: Vec<&str> = shown.iter().map(T::as_ref).collect();
    let shown = shown.join(separator);
    match rest.len() {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_counted() {
        let items = ["a", "b", "c"];
        let lists = [1, 2, 3, 4].map(|most| list(&items, most));
        assert_eq!(
            lists,
            ["a and 2 more", "a, b and 1 more", "a, b, c", "a, b, c"]
        );
        assert_eq!(joined(&items, " ", 2), "a b and 1 more");
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!((size(512), size(1536)), ("512 B".into(), "1.5 KiB".into()));
        assert_eq!(size(3 << 30), "3.0 GiB");
    }

    #[test]
    fn nice_numbers() {
        assert_eq!(nice_at_most(0.07), 0.05);
        assert_eq!(nice_at_most(2.0), 2.0);
        assert_eq!(nice_at_most(19.0), 10.0);
    }

    #[test]
    fn durations_are_readable() {
        let texts = [0.01, 90.0, 150.0, 9000.0].map(duration);
        assert_eq!(texts, ["1 s", "90 s", "2 min", "2.5 h"]);
    }
}
