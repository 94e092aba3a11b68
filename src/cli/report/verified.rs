//! The line that says how each checkpoint's tensors were verified.

use crate::base::human;
use crate::result::provenance::Provenance;

/// Maximum number of checkpoints named in a group.
const NAMED: usize = 4;

/// Each kind of verification, and its words.
const KINDS: [(&str, &str); 5] = [
    ("value", "verified by value"),
    ("file", "verified by running the untouched file"),
    ("graph", "same graph as the origin, file not run"),
    ("name", "matched by name only, NOT verified"),
    ("fixed", "not the file, by --fixed"),
];

/// Says how the checkpoints were verified, grouped by kind; `None` without checkpoints.
pub fn line(provenance: &Provenance) -> Option<String> {
    let groups = KINDS.iter().filter_map(|(kind, words)| {
        let of_kind = provenance.verified.iter().filter(|(_, by)| by == kind);
        let names: Vec<&str> = of_kind.map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{}: {words}", human::list(&names, NAMED)))
    });
    let groups: Vec<String> = groups.collect();
    (!groups.is_empty()).then(|| groups.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_grouped_by_how_they_were_verified() {
        let mut provenance = Provenance::default();
        assert_eq!(line(&provenance), None);
        let mut add = |names: &[&str], by: &str| {
            let entries = names.iter().map(|name| ((*name).into(), by.into()));
            provenance.verified.extend(entries);
        };
        add(&["a", "b", "c", "d", "e", "f"], "name");
        add(&["ft1", "ft2"], "value");
        add(&["net"], "file");
        assert_eq!(
            line(&provenance).unwrap(),
            "ft1, ft2: verified by value; net: verified by running the untouched file; \
             a, b, c, d and 2 more: matched by name only, NOT verified"
        );
    }
}
