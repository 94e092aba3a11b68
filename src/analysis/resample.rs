//! How much of a greedy soup is chance: the recipe is run again on resampled validation sets.
//!
//! A bootstrap sample of n images is n draws with replacement. On each, models are ranked and tried
//! as on the images themselves, by counts of what each average has right. No model is run for a
//! resample: only averages that no earlier step has seen are.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use fixedbitset::FixedBitSet;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::correlation::{below, percentile};
use super::greedy::GreedyRule;
use super::inference::Draws;
use crate::error::Result;

/// The greedy recipe on one resample, as far as it has come.
struct Course {
    seed: u64,
    /// The members from the best down.
    order: Vec<usize>,
    /// The soup, by ascending member.
    chosen: Vec<usize>,
    /// The number of draws that it has right.
    right: u64,
}

impl Course {
    /// Begins with the member that has most of the draws right; of equals, the first of the list.
    fn new(members: &[usize], alone: &[FixedBitSet], samples: usize, seed: u64) -> Self {
        let times = drawn(samples, seed);
        let right: Vec<u64> = alone.iter().map(|it| count(it, &times)).collect();
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&place| Reverse(right[place]));
        Self {
            seed,
            chosen: vec![members[order[0]]],
            right: right[order[0]],
            order: order.into_iter().map(|place| members[place]).collect(),
        }
    }

    /// The soup with the member to be tried next.
    fn tried(&self, step: usize) -> Vec<usize> {
        let mut tried = self.chosen.clone();
        tried.push(self.order[step]);
        tried.sort_unstable();
        tried
    }
}

/// The greedy soup on each of `draws.count` resamples of `samples` validation samples, its members
/// ascending. `members` are in the order of the list.
///
/// `correct` tells, for the mean of each set of members, which samples it has right. All resamples
/// take each step together, so it is called once per member, with different sets; sets may come again
/// in a later call.
///
/// # Errors
/// Returns the errors of `correct`.
///
/// # Panics
/// Panics without members.
pub fn greedy_soups(
    members: &[usize],
    rule: GreedyRule,
    samples: usize,
    draws: Draws,
    mut correct: impl FnMut(&[Vec<usize>]) -> Result<Vec<FixedBitSet>>,
) -> Result<Vec<Vec<usize>>> {
    let singles: Vec<Vec<usize>> = members.iter().map(|&member| vec![member]).collect();
    let alone = correct(&singles)?;
    let mut seeds = Xoshiro256PlusPlus::seed_from_u64(draws.seed);
    let seeds: Vec<u64> = (0..draws.count).map(|_| seeds.next_u64()).collect();
    let begin = |seed: u64| Course::new(members, &alone, samples, seed);
    let mut courses: Vec<Course> = seeds.into_par_iter().map(begin).collect();
    for step in 1..members.len() {
        let sets: BTreeSet<Vec<usize>> = courses.iter().map(|it| it.tried(step)).collect();
        let sets: Vec<Vec<usize>> = sets.into_iter().collect();
        let known = correct(&sets)?;
        let known: HashMap<Vec<usize>, FixedBitSet> = sets.into_iter().zip(known).collect();
        courses.par_iter_mut().for_each(|course| {
            let tried = course.tried(step);
            // The draws are made anew: to keep them would take n numbers per resample.
            let times = drawn(samples, course.seed);
            let right = known
                .get(&tried)
                .map_or(0, |correct| count(correct, &times));
            let wrong = |right: u64| (samples as u64 - right) as f64;
            if rule.adds(wrong(right), wrong(course.right)) {
                (course.chosen, course.right) = (tried, right);
            }
        });
    }
    Ok(courses.into_iter().map(|course| course.chosen).collect())
}

/// How often each of `samples` samples is among as many draws with replacement.
fn drawn(samples: usize, seed: u64) -> Vec<u32> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut times = vec![0; samples];
    for _ in 0..samples {
        times[below(&mut generator, samples)] += 1;
    }
    times
}

/// The number of draws of correct samples.
fn count(correct: &FixedBitSet, times: &[u32]) -> u64 {
    correct.ones().map(|sample| u64::from(times[sample])).sum()
}

/// Standard deviation (n − 1) and the range of the middle 95 % of values over resamples, linear
/// between neighbours: `[sd, low, high]`; NaN where a value is.
pub fn spread(values: &[f64]) -> [f64; 3] {
    if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
        return [f64::NAN; 3];
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let [low, high] = [0.025, 0.975].map(|p| percentile(&sorted, p));
    [(squares / (n - 1.0)).sqrt(), low, high]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::greedy::greedy;

    fn bits(samples: usize, right: impl Fn(usize) -> bool) -> FixedBitSet {
        let mut bits = FixedBitSet::with_capacity(samples);
        bits.extend((0..samples).filter(|sample| right(*sample)));
        bits
    }

    const DRAWS: Draws = Draws { count: 50, seed: 3 };

    #[test]
    fn models_that_answer_alike_all_enter_or_only_the_first() {
        let correct = |sets: &[Vec<usize>]| Ok(vec![bits(30, |sample| sample % 3 > 0); sets.len()]);
        let soups = |rule| greedy_soups(&[1, 2, 3], rule, 30, DRAWS, correct).unwrap();
        assert_eq!(soups(GreedyRule::AtLeast), vec![vec![1, 2, 3]; 50]);
        assert_eq!(soups(GreedyRule::Above), vec![vec![1]; 50]);
    }

    /// 1 has one of two samples right, 2 the other, and their soup what 1 has. A resample has the
    /// first sample twice, once or never with probability ¼, ½, ¼. Only in the last case 2 comes first,
    /// and the soup is worse.
    #[test]
    fn a_choice_between_two_models_by_hand() {
        let correct = |sets: &[Vec<usize>]| {
            let of = |set: &Vec<usize>| bits(2, |sample| sample == usize::from(set == &[2]));
            Ok(sets.iter().map(of).collect())
        };
        let draws = Draws {
            count: 4000,
            seed: 0,
        };
        let soups = greedy_soups(&[1, 2], GreedyRule::AtLeast, 2, draws, correct).unwrap();
        let alone = soups.iter().filter(|soup| **soup == [2]).count();
        assert!(soups.iter().all(|soup| *soup == [2] || *soup == [1, 2]));
        // Four standard deviations, √(4000·¼·¾) = 27.
        assert!(alone.abs_diff(1000) < 110, "{alone}");
    }

    /// Pseudo-random answers that depend on the set, as those of soups do.
    fn answers(set: &[usize], samples: usize) -> FixedBitSet {
        let seed = set
            .iter()
            .fold(17, |seed, member| seed * 31 + *member as u64);
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let right: Vec<bool> = (0..samples).map(|_| generator.next_u64() % 8 > 0).collect();
        bits(samples, |sample| right[sample])
    }

    #[test]
    fn each_resample_has_the_soup_of_the_recipe_on_its_draws() {
        let (members, samples) = ([1, 2, 3, 4, 5, 6], 200);
        for rule in [GreedyRule::AtLeast, GreedyRule::Above] {
            let correct = |sets: &[Vec<usize>]| {
                // Each set is asked for once in a step.
                let different: BTreeSet<&Vec<usize>> = sets.iter().collect();
                assert_eq!(different.len(), sets.len());
                Ok(sets.iter().map(|set| answers(set, samples)).collect())
            };
            let soups = greedy_soups(&members, rule, samples, DRAWS, correct).unwrap();
            let mut seeds = Xoshiro256PlusPlus::seed_from_u64(DRAWS.seed);
            for soup in &soups {
                let times = drawn(samples, seeds.next_u64());
                assert_eq!(times.iter().sum::<u32>(), samples as u32);
                let error = |set: &[usize]| {
                    let mut set = set.to_vec();
                    set.sort_unstable();
                    let right = count(&answers(&set, samples), &times);
                    Ok(1.0 - right as f64 / samples as f64)
                };
                let mut order = members.to_vec();
                order.sort_by(|a, b| error(&[*a]).unwrap().total_cmp(&error(&[*b]).unwrap()));
                let (mut expected, _) = greedy(&order, rule, error).unwrap();
                expected.sort_unstable();
                assert_eq!(*soup, expected);
            }
            assert!(soups.iter().collect::<BTreeSet<_>>().len() > 1);
        }
    }

    #[test]
    fn a_spread_is_over_resamples() {
        let values: Vec<f64> = (0..=40).rev().map(f64::from).collect();
        let [sd, low, high] = spread(&values);
        // Σ(k − 20)² = 2·(1 + … + 400) = 5740.
        assert!((sd - (5740.0_f64 / 40.0).sqrt()).abs() < 1e-12);
        assert!((low - 1.0).abs() < 1e-12 && (high - 39.0).abs() < 1e-12);
        assert_eq!(spread(&[0.5, 0.5]), [0.0, 0.5, 0.5]);
        assert!(spread(&[0.5, f64::NAN])[0].is_nan());
    }
}
