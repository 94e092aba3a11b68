//! The line that says of which samples standard errors speak, where a data set is a part of its file.

use std::collections::BTreeMap;

use crate::analysis::inference::finite;
use crate::base::human;
use crate::result::score::DatasetInfo;

/// Maximum number of data sets named.
const NAMED: usize = 4;

/// Says what every ± is about, and by which factor it is smaller for the mean over the file itself
/// ([`finite::factor`]); `drawn_from[data set]` is the number of samples in the file. `None` if all
/// data sets are whole.
pub fn line(datasets: &[DatasetInfo], drawn_from: &BTreeMap<String, usize>) -> Option<String> {
    let factors = datasets.iter().filter_map(|set| {
        let total = drawn_from.get(&set.name)?;
        let factor = finite::factor(set.samples, *total);
        Some(format!(
            "{factor:.2} ({}, {} of {total})",
            set.name, set.samples
        ))
    });
    let factors: Vec<String> = factors.collect();
    let factors: Vec<&str> = factors.iter().map(String::as_str).collect();
    (!factors.is_empty()).then(|| {
        format!(
            "standard errors are of new samples of the same kind; of the mean over the file's own samples they are \
             smaller by the factor {}",
            human::list(&factors, NAMED)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::score::Role;

    #[test]
    fn only_parts_of_files_are_spoken_of() {
        let set = |name: &str, role| DatasetInfo {
            name: name.to_string(),
            role,
            samples: 1000,
        };
        let sets = [set("test", Role::Test), set("mfeat", Role::Shift)];
        assert_eq!(line(&sets, &BTreeMap::new()), None);
        let said = line(&sets, &[("test".to_string(), 10_000)].into()).unwrap();
        assert!(
            said.ends_with("by the factor 0.95 (test, 1000 of 10000)"),
            "{said}"
        );
    }
}
