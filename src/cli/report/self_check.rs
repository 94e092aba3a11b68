//! The text about the self-check: its findings and what it covers.

use crate::result::check::Check;
use crate::result::provenance::Provenance;

/// Says how many values agree with `what`, and whose files they come from. A state dict cannot be
/// run by itself: its tensors are run in the origin's network, which does not verify their match.
pub fn described(checks: &[Check], provenance: &Provenance, what: &str) -> String {
    let agree = checks.iter().filter(|check| check.agrees).count();
    let mut names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    names.dedup();
    // The first is the origin, whose file is run unless it is listed otherwise or its statistics are
    // re-estimated.
    let policy = provenance.settings.get("bn");
    let has_others = policy.is_some_and(|policy| policy.starts_with("recalibrate"));
    let is_file = |index: usize, name: &str| {
        let by = provenance.verified.get(name);
        by.map_or(index == 0 && !has_others, |by| by == "file")
    };
    let part = |files: bool| {
        let names = names.iter().enumerate();
        let names = names.filter(|(index, name)| is_file(*index, name) == files);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let (files, dicts) = (part(true), part(false));
    let mut parts = Vec::new();
    if !files.is_empty() {
        parts.push(format!("the untouched files of {files}"));
    }
    if !dicts.is_empty() {
        parts.push(format!(
            "for {dicts}, the origin's network with these tensors inside (this checks the mixing, \
             not the matching)"
        ));
    }
    format!(
        "self-check: {agree} of {} values agree with {what}: {}",
        checks.len(),
        parts.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_run() {
        let check = |name: &str| Check {
            name: name.to_string(),
            dataset: "test".to_string(),
            loss_file: 0.0,
            loss_plane: 0.0,
            error_difference: 0,
            agrees: name != "ft2",
        };
        let mut provenance = Provenance::default();
        for (name, by) in [("ft1", "file"), ("ft2", "name")] {
            provenance.verified.insert(name.into(), by.into());
        }
        let checks = ["zs", "zs", "ft1", "ft2"].map(check);
        assert_eq!(
            described(&checks, &provenance, "the plane"),
            "self-check: 3 of 4 values agree with the plane: the untouched files of zs, ft1; for \
             ft2, the origin's network with these tensors inside (this checks the mixing, not the \
             matching)"
        );
    }
}
