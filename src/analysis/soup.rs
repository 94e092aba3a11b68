//! Recipes: which models go into an average, and with what weights (Wortsman et al. 2022).
//!
//! Selection looks at the validation set alone; everything else is only reported.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

use crate::error::Result;
use crate::evaluate::{Evaluator, Watch};
use crate::result::score::Score;
use crate::result::soup::Method;
use crate::space::mix::Mix;

/// What a method makes one model, or one ensemble, of.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Which method.
    pub method: Method,
    /// Its α, λ or t.
    pub setting: Option<f64>,
    /// Its seed.
    pub seed: Option<u64>,
    /// Members of the pool, in the order in which they came in.
    pub members: Vec<usize>,
    /// Weights of members of the pool, θ0's too where it has one.
    pub weights: Vec<(usize, f64)>,
}

impl Recipe {
    /// The mean of members.
    pub fn mean(method: Method, members: Vec<usize>) -> Self {
        Self {
            method,
            setting: None,
            seed: None,
            weights: mean(&members),
            members,
        }
    }
}

/// Trials of a greedy method, with its seed where it has one.
pub type Trace = (Method, Option<u64>, Vec<Trial>);

/// Makes recipes, by what models do on the validation set.
pub struct Cook<'a> {
    /// Evaluates soups.
    pub evaluator: &'a dyn Evaluator,
    /// Score of Σᵢ wᵢ·logitsᵢ over members of the pool, on a data set.
    pub ensemble: &'a dyn Fn(&[(usize, f64)], usize) -> Score,
    /// Told how evaluations go on.
    pub watch: &'a dyn Watch,
    /// Members of the pool, θ0 among them.
    pub members: usize,
    /// The validation set's index among the data sets.
    pub validation: usize,
    /// When a greedy method takes a model.
    pub rule: Rule,
    /// Seeds of the random orders.
    pub seeds: Vec<u64>,
}

impl Cook<'_> {
    /// What a method makes of members that are sorted by validation error, the best first; one
    /// recipe a seed where it has seeds, none where there are too few members.
    ///
    /// # Errors
    /// When a soup cannot be evaluated.
    pub fn recipes(&self, method: Method, ranked: &[usize]) -> Result<(Vec<Recipe>, Vec<Trace>)> {
        let all = || {
            let mut members = ranked.to_vec();
            members.sort_unstable();
            members
        };
        let plain = match method {
            Method::Best => ranked.get(..1).map(<[usize]>::to_vec),
            Method::Second => ranked.get(1..2).map(<[usize]>::to_vec),
            Method::Uniform | Method::Ensemble => Some(all()),
            _ => None,
        };
        if let Some(members) = plain {
            return Ok((vec![Recipe::mean(method, members)], Vec::new()));
        }
        let orders: Vec<(Option<u64>, Vec<usize>)> = match method {
            Method::Greedy | Method::GreedyEnsemble => vec![(None, ranked.to_vec())],
            Method::GreedyRandom => {
                let seeds = self.seeds.iter();
                seeds
                    .map(|&seed| (Some(seed), shuffled(&all(), seed)))
                    .collect()
            }
            _ => Vec::new(),
        };
        let (mut recipes, mut traces) = (Vec::new(), Vec::new());
        for (seed, order) in orders {
            let (members, trials) = greedy(&order, self.rule, |members| {
                self.validation_error(method, members)
            })?;
            recipes.push(Recipe {
                seed,
                ..Recipe::mean(method, members)
            });
            traces.push((method, seed, trials));
        }
        Ok((recipes, traces))
    }

    /// Validation error of the mean of members: of their weights or of their logits.
    fn validation_error(&self, method: Method, members: &[usize]) -> Result<f64> {
        let weights = mean(members);
        if method.is_ensemble() {
            return Ok((self.ensemble)(&weights, self.validation).error);
        }
        let sets = 0..self.evaluator.datasets().len();
        let wanted: Vec<bool> = sets.map(|set| set == self.validation).collect();
        let mix = self.mix(&weights);
        let answers = self.evaluator.evaluate_on(&[mix], &wanted, self.watch)?;
        Ok(answers.scores[0][self.validation].error)
    }

    /// Scores of recipes on every data set.
    ///
    /// # Errors
    /// When a soup cannot be evaluated.
    pub fn scores(&self, recipes: &[Recipe]) -> Result<Vec<Vec<Score>>> {
        let soups = recipes.iter().filter(|recipe| !recipe.method.is_ensemble());
        let mixes: Vec<Mix> = soups.map(|recipe| self.mix(&recipe.weights)).collect();
        let answers = self.evaluator.evaluate(&mixes, self.watch)?;
        let mut soups = answers.scores.into_iter();
        let ensemble = |recipe: &Recipe| {
            let sets = 0..answers.datasets.len();
            sets.map(|set| (self.ensemble)(&recipe.weights, set))
                .collect()
        };
        let scores = recipes
            .iter()
            .map(|recipe| match recipe.method.is_ensemble() {
                true => ensemble(recipe),
                false => soups.next().unwrap_or_default(),
            });
        Ok(scores.collect())
    }

    /// The mix of these weights over members of the pool.
    pub fn mix(&self, weights: &[(usize, f64)]) -> Mix {
        let mut coefficients = vec![0.0; self.members];
        for &(member, weight) in weights {
            coefficients[member] += weight;
        }
        Mix::new(coefficients)
    }
}

/// The same weight for each.
pub fn mean(members: &[usize]) -> Vec<(usize, f64)> {
    let weight = 1.0 / members.len() as f64;
    members.iter().map(|&member| (member, weight)).collect()
}

/// When a model is taken into a greedy soup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// When validation accuracy does not fall: Recipe 1 of the paper.
    AtLeast,
    /// When it rises: the released code.
    Above,
}

/// A greedy method tried a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// The member.
    pub member: usize,
    /// Validation error with it.
    pub error: f64,
    /// Whether it was taken.
    pub added: bool,
}

/// Goes through members in order and keeps each that does the mean good, the first in any case;
/// `error` is the validation error of the mean of members.
///
/// # Errors
/// Those of `error`.
pub fn greedy(
    order: &[usize],
    rule: Rule,
    mut error: impl FnMut(&[usize]) -> Result<f64>,
) -> Result<(Vec<usize>, Vec<Trial>)> {
    let (mut chosen, mut lowest) = (Vec::new(), f64::INFINITY);
    let mut trials = Vec::new();
    for &member in order {
        chosen.push(member);
        let error = error(&chosen)?;
        let added = match rule {
            _ if chosen.len() == 1 => true,
            Rule::AtLeast => error <= lowest,
            Rule::Above => error < lowest,
        };
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

/// Members by their validation error, the best first; of equals the one listed first.
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

    /// Errors of sets of members.
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
        // 2 changes nothing; 3 does good to {1, 2} alone.
        let errors = table(&[
            (&[1], 0.10),
            (&[1, 2], 0.10),
            (&[1, 2, 3], 0.05),
            (&[1, 3], 0.20),
        ]);
        let (members, trials) = greedy(&[1, 2, 3], Rule::AtLeast, &errors).unwrap();
        assert_eq!(members, [1, 2, 3]);
        assert!(trials.iter().all(|trial| trial.added));
        let (members, trials) = greedy(&[1, 2, 3], Rule::Above, &errors).unwrap();
        assert_eq!(members, [1]);
        let seen: Vec<_> = trials
            .iter()
            .map(|t| (t.member, t.error, t.added))
            .collect();
        assert_eq!(seen, [(1, 0.10, true), (2, 0.10, false), (3, 0.20, false)]);
    }

    #[test]
    fn equals_rank_as_they_are_listed() {
        let score = |member: usize| Score {
            loss: 0.0,
            loss_se: 0.0,
            error: [0.0, 0.2, 0.1, 0.2, 0.1][member],
            error_se: 0.0,
            nonfinite: 0,
        };
        assert_eq!(ranked(&[1, 2, 3, 4], score), [2, 4, 1, 3]);
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
        /// Whatever the errors of sets are: greedy in the order of validation never ends above
        /// the best single model, and each decision follows its rule.
        #[test]
        fn greedy_is_never_worse_than_the_best(errors in proptest::collection::vec(0_u8..20, 64)) {
            let error = |members: &[usize]| {
                let bits = members.iter().map(|member| 1 << member).sum::<usize>();
                Ok(f64::from(errors[bits % 64]) / 20.0)
            };
            let mut order: Vec<usize> = (0..6).collect();
            order.sort_by(|a, b| error(&[*a]).unwrap().total_cmp(&error(&[*b]).unwrap()));
            for rule in [Rule::AtLeast, Rule::Above] {
                let (members, trials) = greedy(&order, rule, error).unwrap();
                prop_assert!(error(&members).unwrap() <= error(&order[..1]).unwrap());
                prop_assert_eq!(trials.len(), 6);
                let added = trials.iter().filter(|trial| trial.added);
                prop_assert!(added.map(|trial| trial.member).eq(members));
            }
        }
    }
}
