//! Greedy soups (Wortsman et al. 2022, Recipe 1): models are tried one after the other, and each
//! one that lowers the validation error is kept.

use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use serde::Deserialize;

use crate::error::Result;
use crate::result::combine::Combine;
use crate::result::method::Method;
use crate::result::score::Score;

/// The decisions of a greedy method.
#[derive(Debug, Clone, PartialEq)]
pub struct GreedyTrace {
    /// The method.
    pub method: Method,
    /// What it averages, if it is an ensemble.
    pub combine: Combine,
    /// The seed of the random order, if there is one.
    pub seed: Option<u64>,
    /// The models in the order in which they were tried.
    pub trials: Vec<Trial>,
}

/// When a greedy method adds a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum GreedyRule {
    /// If validation accuracy does not fall, as in the paper (Recipe 1)
    #[default]
    #[value(name = "ge")]
    #[serde(rename = "ge")]
    AtLeast,
    /// If validation accuracy rises, as in the paper's released code
    #[value(name = "gt")]
    #[serde(rename = "gt")]
    Above,
}

impl GreedyRule {
    /// Whether a model is added with which the error is this, and the lowest before it was that; the
    /// first model always is.
    pub fn adds(self, error: f64, lowest: f64) -> bool {
        match self {
            Self::AtLeast => error <= lowest,
            Self::Above => error < lowest,
        }
    }
}

/// A model that a greedy method tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// The member.
    pub member: usize,
    /// The validation error of the average that includes it.
    pub error: f64,
    /// Whether it was added.
    pub added: bool,
}

/// Tries members in order and keeps the first, and then each one that improves the mean according
/// to `rule`. `error` computes the validation error, a fraction, of the mean of some members.
///
/// # Errors
/// Returns the errors of `error`.
pub fn greedy(
    order: &[usize],
    rule: GreedyRule,
    mut error: impl FnMut(&[usize]) -> Result<f64>,
) -> Result<(Vec<usize>, Vec<Trial>)> {
    let (mut chosen, mut lowest) = (Vec::new(), f64::INFINITY);
    let mut trials = Vec::new();
    for &member in order {
        chosen.push(member);
        let error = error(&chosen)?;
        let added = chosen.len() == 1 || rule.adds(error, lowest);
        if added {
            lowest = error;
        } else {
            chosen.pop();
        }
        trials.push(Trial {
            member,
            error,
            added,
        });
    }
    Ok((chosen, trials))
}

/// Members by ascending validation error; of equals, the one listed first comes first.
pub fn ranked(members: &[usize], validation: impl Fn(usize) -> Score) -> Vec<usize> {
    let mut ranked = members.to_vec();
    ranked.sort_by(|&a, &b| validation(a).error.total_cmp(&validation(b).error));
    ranked
}

/// Members in a random order.
pub fn shuffled(members: &[usize], seed: u64) -> Vec<usize> {
    let mut shuffled = members.to_vec();
    shuffled.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    shuffled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::testing::score;

    /// Looks up the errors of sets of members.
    fn table(errors: &[(&[usize], f64)]) -> impl Fn(&[usize]) -> Result<f64> {
        let errors: Vec<(Vec<usize>, f64)> = errors
            .iter()
            .map(|(set, error)| (set.to_vec(), *error))
            .collect();
        move |members| {
            let mut members = members.to_vec();
            members.sort_unstable();
            let found = errors.iter().find(|(set, _)| *set == members);
            Ok(found.unwrap().1)
        }
    }

    #[test]
    fn the_two_rules_part_where_accuracy_stays_the_same() {
        // 2 changes nothing; 3 improves {1, 2} only.
        let errors = table(&[
            (&[1], 0.10),
            (&[1, 2], 0.10),
            (&[1, 2, 3], 0.05),
            (&[1, 3], 0.20),
        ]);
        let (members, trials) = greedy(&[1, 2, 3], GreedyRule::AtLeast, &errors).unwrap();
        assert_eq!(members, [1, 2, 3]);
        assert!(trials.iter().all(|trial| trial.added));
        let (members, trials) = greedy(&[1, 2, 3], GreedyRule::Above, &errors).unwrap();
        assert_eq!(members, [1]);
        let seen: Vec<_> = trials
            .iter()
            .map(|t| (t.member, t.error, t.added))
            .collect();
        assert_eq!(seen, [(1, 0.10, true), (2, 0.10, false), (3, 0.20, false)]);
    }

    #[test]
    fn equals_rank_as_they_are_listed() {
        let errors = [0.0, 0.2, 0.1, 0.2, 0.1];
        let validation = |member: usize| score(0.0, errors[member]);
        assert_eq!(ranked(&[1, 2, 3, 4], validation), [2, 4, 1, 3]);
    }

    #[test]
    fn orders_are_those_of_their_seeds() {
        let members: Vec<usize> = (1..20).collect();
        assert_eq!(shuffled(&members, 7), shuffled(&members, 7));
        assert_ne!(shuffled(&members, 7), shuffled(&members, 8));
        let mut sorted = shuffled(&members, 7);
        sorted.sort_unstable();
        assert_eq!(sorted, members);
    }

    proptest! {
        /// For any errors of sets, greedy in validation order never ends above the best single
        /// model, and each decision follows the rule.
        #[test]
        fn greedy_is_never_worse_than_the_best(errors in proptest::collection::vec(0_u8..20, 64)) {
            let error = |members: &[usize]| {
                let bits = members.iter().map(|member| 1 << member).sum::<usize>();
                Ok(f64::from(errors[bits % 64]) / 20.0)
            };
            let mut order: Vec<usize> = (0..6).collect();
            order.sort_by(|a, b| error(&[*a]).unwrap().total_cmp(&error(&[*b]).unwrap()));
            for rule in [GreedyRule::AtLeast, GreedyRule::Above] {
                let (members, trials) = greedy(&order, rule, error).unwrap();
                prop_assert!(error(&members).unwrap() <= error(&order[..1]).unwrap());
                prop_assert_eq!(trials.len(), 6);
                let added = trials.iter().filter(|trial| trial.added);
                prop_assert!(added.map(|trial| trial.member).eq(members));
            }
        }
    }
}
