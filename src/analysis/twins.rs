//! Models that are equal, and data that is counted twice.

use crate::base::human;
use crate::space::pool::Pool;
use crate::space::stored_tensor::StoredTensor;

/// Most names in a sentence.
const NAMED: usize = 4;

/// Warnings about checkpoints that are equal to θ0 or to another one: they count twice in averages.
pub fn equal_models(pool: &Pool) -> Vec<String> {
    let members = &pool.members;
    let mut warnings = Vec::new();
    for (at, member) in members.iter().enumerate().skip(1) {
        let twin = members[..at].iter().position(|other| {
            let both = member.sources.iter().zip(&other.sources);
            member.sources.len() == other.sources.len() && both.into_iter().all(same)
        });
        match twin {
            Some(0) => warnings.push(format!("{} is equal to θ0", member.name)),
            Some(twin) => {
                let twin = &members[twin].name;
                warnings.push(format!("{twin} and {} are equal", member.name));
            }
            None => {}
        }
    }
    warnings
}

fn same((one, other): (&StoredTensor, &StoredTensor)) -> bool {
    one.transposed == other.transposed && one.tensor == other.tensor
}

/// Warnings about data sets with the same content: `sets` are names and hashes. What is chosen on one is
/// in-sample on the other, and a mean over both counts each sample twice.
pub fn same_data(sets: &[(&str, &str)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for (_, hash) in sets {
        let alike = sets.iter().filter(|(_, other)| other == hash);
        let alike: Vec<&str> = alike.map(|(name, _)| *name).collect();
        if alike.len() > 1 && !told.contains(hash) {
            told.push(hash);
            warnings.push(format!(
                "{} are the same data: what is chosen on one of them is too good on the others, and means over \
                 them count every sample more than once, with standard errors that are too small",
                human::list(&alike, NAMED)
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_stands_under_several_names_is_told_once() {
        assert!(same_data(&[("val", "a"), ("test", "b")]).is_empty());
        let told = same_data(&[("val", "a"), ("test", "a"), ("r", "b"), ("v2", "a")]);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("val, test, v2 are the same data"),
            "{told:?}"
        );
    }
}
