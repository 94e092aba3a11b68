//! Which tensor of the base each name of an adapter means.
//!
//! A base may be saved with a prefix that the adapter's names lack (`model.`, `module.`), or
//! without one that they have. One change of prefix must bring all names of an adapter to the
//! base, so that no name is found by chance where another belongs.

use std::collections::BTreeSet;

/// A change of prefix, from an adapter's names to the base's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Naming {
    strip: String,
    add: String,
}

/// Why there is no naming.
#[derive(Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// These names are in no way the base's.
    Missing(Vec<String>),
    /// Several ways fit; an example of a name and what it could mean.
    Several(String, Vec<String>),
}

impl Naming {
    /// Finds the change of prefix. `wanted` has the names of an adapter's tensors, `base` those of
    /// the base's. Names that fit as they are need no change.
    pub fn find(wanted: &[String], base: &BTreeSet<&str>) -> Result<Self, Unnamed> {
        let unchanged = Self {
            strip: String::new(),
            add: String::new(),
        };
        let Some(first) = wanted.first() else {
            return Ok(unchanged);
        };
        let mut candidates = BTreeSet::from([unchanged.clone()]);
        candidates.extend(Self::candidates(first, base));
        let fits = |naming: &&Self| naming.missing(wanted, base).is_empty();
        let fitting: Vec<&Self> = candidates.iter().filter(fits).collect();
        match fitting.as_slice() {
            [one] => Ok((*one).clone()),
            several if several.contains(&&unchanged) => Ok(unchanged),
            [] => {
                let missing = candidates.iter().map(|it| it.missing(wanted, base));
                // The unchanged names are there, so the list is never empty.
                let fewest = missing.min_by_key(Vec::len).unwrap_or_default();
                Err(Unnamed::Missing(fewest))
            }
            several => {
                let meant = several.iter().filter_map(|it| it.resolve(first, base));
                let meant: Vec<String> = meant.map(|name| format!("`{name}`")).collect();
                Err(Unnamed::Several(first.clone(), meant))
            }
        }
    }

    /// The name in the base, if it is there.
    pub fn resolve(&self, name: &str, base: &BTreeSet<&str>) -> Option<String> {
        let rest = name.strip_prefix(&self.strip)?;
        let renamed = format!("{}{rest}", self.add);
        base.contains(renamed.as_str()).then_some(renamed)
    }

    /// The names that this change does not bring to the base.
    fn missing(&self, wanted: &[String], base: &BTreeSet<&str>) -> Vec<String> {
        let missing = wanted.iter().filter(|it| self.resolve(it, base).is_none());
        missing.cloned().collect()
    }

    /// The changes that bring one name to the base.
    fn candidates(name: &str, base: &BTreeSet<&str>) -> BTreeSet<Self> {
        let added = base.iter().filter_map(|known| {
            let prefix = known.strip_suffix(name)?;
            prefix.ends_with('.').then(|| Self {
                strip: String::new(),
                add: prefix.to_string(),
            })
        });
        let ends = name.match_indices('.').map(|(at, _)| at + 1);
        let stripped = ends.filter_map(|at| {
            base.contains(&name[at..]).then(|| Self {
                strip: name[..at].to_string(),
                add: String::new(),
            })
        });
        added.chain(stripped).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(wanted: &[&str], base: &[&str]) -> Result<Vec<String>, Unnamed> {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let base: BTreeSet<&str> = base.iter().copied().collect();
        let naming = Naming::find(&wanted, &base)?;
        Ok(wanted
            .iter()
            .filter_map(|names| naming.resolve(names, &base))
            .collect())
    }

    #[test]
    fn names_that_fit_are_kept_and_a_prefix_is_changed_for_all() {
        let base = [
            "h.q.weight",
            "h.v.weight",
            "copy.h.q.weight",
            "copy.h.v.weight",
        ];
        let wanted = ["h.q.weight", "h.v.weight"];
        assert_eq!(find(&wanted, &base).unwrap(), wanted);
        let wrapped = ["module.h.q.weight", "module.h.v.weight", "q.weight"];
        assert_eq!(find(&wanted, &wrapped).unwrap(), wrapped[..2]);
        let bare = ["q.weight", "v.weight"];
        assert_eq!(find(&wanted, &bare).unwrap(), bare);
        assert!(find(&[], &base).unwrap().is_empty());
    }

    #[test]
    fn names_that_fit_nowhere_or_in_several_ways_are_told() {
        let missing = |names: &[&str]| {
            Err(Unnamed::Missing(
                names.iter().map(ToString::to_string).collect(),
            ))
        };
        assert_eq!(find(&["q.weight"], &["xq.weight"]), missing(&["q.weight"]));
        // One name that happens to fit does not bring the others.
        let found = find(
            &["h.q.weight", "h.v.weight"],
            &["m.h.q.weight", "h.v.weight"],
        );
        assert_eq!(found, missing(&["h.v.weight"]));
        let twins = ["a.q.weight", "b.q.weight"];
        let several = vec!["`a.q.weight`".to_string(), "`b.q.weight`".to_string()];
        assert_eq!(
            find(&["q.weight"], &twins),
            Err(Unnamed::Several("q.weight".to_string(), several))
        );
        // A second name settles it.
        let found = find(
            &["q.weight", "v.weight"],
            &["a.q.weight", "b.q.weight", "b.v.weight"],
        );
        assert_eq!(found.unwrap(), ["b.q.weight", "b.v.weight"]);
    }
}
