//! Random subsets and orders of samples, for `--limit` and `--seed`.

use std::collections::BTreeSet;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// Chooses `limit` of the indices 0..n without replacement, every subset equally likely, in
/// ascending order. Returns `None` if all n are wanted (`limit` absent, 0, or at least n).
///
/// The choice is part of a run's file format: for one (n, limit, seed) it is the same on every
/// platform and in every version. So the generator is named and the algorithms are written out
/// here, where no library can change them: xoshiro256++ (Blackman and Vigna 2021) whose state is
/// four outputs of SplitMix64 started at `seed`; Floyd's algorithm (Bentley and Floyd, "A sample of
/// brilliance", CACM 30(9), 1987).
pub(super) fn subset(n: usize, limit: Option<usize>, seed: u64) -> Option<Vec<usize>> {
    let limit = limit.filter(|&limit| 0 < limit && limit < n)?;
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut chosen = BTreeSet::new();
    for last in n - limit..n {
        let index = below(&mut generator, last as u64 + 1) as usize;
        if !chosen.insert(index) {
            chosen.insert(last);
        }
    }
    Some(chosen.into_iter().collect())
}

/// Chooses as many samples as [`subset`] among those that it leaves out, or all of these if there are
/// fewer, in ascending order. Returns `None` if it leaves out none.
pub(super) fn left_out(n: usize, limit: Option<usize>, seed: u64) -> Option<Vec<usize>> {
    let chosen = subset(n, limit, seed)?;
    let mut next = chosen.iter().peekable();
    let others = (0..n).filter(|index| next.next_if_eq(&index).is_none());
    let others: Vec<usize> = others.collect();
    // A different stream from the subset's.
    let seed = seed ^ 0x6c65_6674_5f6f_7574;
    match subset(others.len(), Some(chosen.len()), seed) {
        Some(places) => Some(places.into_iter().map(|place| others[place]).collect()),
        None => Some(others),
    }
}

/// Shuffles `n` samples into evaluation order, every order equally likely (Fisher and Yates), so
/// that the first of them are a fair sample of all. Like [`subset`], stable across versions.
pub(super) fn order(n: usize, seed: u64) -> Vec<usize> {
    // A different stream from the subset's.
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x6f72_6465_7200_0000);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, below(&mut generator, last as u64 + 1) as usize);
    }
    order
}

/// A uniform integer in 0..bound, without bias: the high word of a 128-bit product, rejecting
/// the few low words that would favour some values (Lemire, "Fast random integer generation in
/// an interval", TOMACS 29(1), 2019).
fn below(generator: &mut impl Rng, bound: u64) -> u64 {
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(generator.next_u64()) * u128::from(bound);
        if product as u64 >= threshold {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_the_one_written_down() {
        // By `subset` in tests/data/make.py, an independent implementation.
        let chosen = subset(100, Some(8), 0).unwrap();
        assert_eq!(chosen, [1, 2, 30, 34, 35, 48, 84, 99]);
        let chosen = subset(60_000, Some(6), u64::MAX).unwrap();
        assert_eq!(chosen, [16419, 20342, 24127, 39336, 53414, 54024]);
    }

    #[test]
    fn all_are_wanted_when_the_limit_is_absent_zero_or_large() {
        for limit in [None, Some(0), Some(5), Some(6)] {
            assert_eq!(subset(5, limit, 1), None);
        }
    }

    #[test]
    fn indices_ascend_and_differ_between_seeds() {
        let chosen = subset(1000, Some(500), 7).unwrap();
        assert_eq!(chosen.len(), 500);
        assert!(chosen.is_sorted_by(|a, b| a < b));
        assert!(chosen.iter().all(|&index| index < 1000));
        assert_ne!(subset(1000, Some(500), 8).unwrap(), chosen);
    }

    #[test]
    fn the_order_is_a_permutation_and_every_sample_is_equally_likely_to_come_first() {
        let mut first = [0u32; 6];
        for seed in 0..6000 {
            let order = order(6, seed);
            first[order[0]] += 1;
            assert!((0..6).all(|k| order.contains(&k)));
        }
        // 1000 expected each; standard deviation √(6000·5/36) ≈ 29.
        assert!(
            first.iter().all(|&count| count.abs_diff(1000) < 150),
            "{first:?}"
        );
        assert_eq!(order(8, 0), order(8, 0));
        assert_eq!((order(0, 1), order(1, 1)), (vec![], vec![0]));
    }

    #[test]
    fn every_index_is_equally_likely() {
        let mut counts = [0u32; 10];
        for seed in 0..10_000 {
            for index in subset(10, Some(3), seed).unwrap() {
                counts[index] += 1;
            }
        }
        // 3000 expected each; standard deviation √(10000·0.3·0.7) ≈ 46.
        assert!(
            counts.iter().all(|&count| count.abs_diff(3000) < 230),
            "{counts:?}"
        );
    }

    #[test]
    fn those_left_out_are_none_of_the_chosen_and_as_many_as_there_are() {
        for (n, limit, expected) in [(100, 8, 8), (10, 7, 3), (10, 9, 1), (10, 5, 5)] {
            let chosen = subset(n, Some(limit), 3).unwrap();
            let others = left_out(n, Some(limit), 3).unwrap();
            assert_eq!(others.len(), expected);
            assert!(others.is_sorted_by(|a, b| a < b) && others.iter().all(|&k| k < n));
            assert!(others.iter().all(|other| !chosen.contains(other)));
        }
        assert_eq!(left_out(5, Some(5), 1), None);
        assert_eq!(left_out(5, None, 1), None);
    }
}
