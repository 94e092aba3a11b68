//! Checks whether the checkpoints appear to be fine-tuned from another origin than θ0.
//!
//! Let the true origin be t and θ0 = t + r. Then all δᵢ = θᵢ − θ0 contain −r: they share an offset,
//! the angles between them are too small and their norms too large. But fine-tunes of one origin
//! share a direction, too. The position of the right angle tells the two cases apart. An offset
//! that is independent of the weights is orthogonal to t, so that ⟨δᵢ, θ0⟩ ≈ −‖r‖²: the checkpoints
//! are nearer to 0 than θ0 by all of the offset, in each tensor. What is learned from θ0 is mostly
//! orthogonal to θ0. Weight decay shortens weights without an offset, but in other proportions from
//! tensor to tensor. On the fine-tunes of `examples/digits` the mean of −⟨δᵢ, θ0⟩/‖δᵢ‖² reaches
//! 0.45 over all pairs; with a random r of ‖r‖ ≥ ‖δ‖ it is 0.5 to 1. A smaller r is not detected.

use super::chance::LabelCoverage;
use crate::result::score::{DatasetInfo, Score};
use crate::space::gram::Gram;
use crate::space::pool::Pool;

/// Minimum number of elements of a tensor that is considered.
const ELEMENTS: usize = 1000;

/// Minimum median cosine of two δ: with an offset as long as the learned part it is 0.5 if the
/// learned parts are orthogonal, and larger if they are not.
const COSINE: f64 = 0.5;

/// Minimum mean of −⟨δᵢ, θ0⟩/‖δᵢ‖²: above ½ the checkpoints are shorter than θ0.
const SHORTER: f64 = 0.5;

/// Range of the offset's fraction of the common square of a tensor.
const PART: std::ops::RangeInclusive<f64> = 0.4..=1.25;

/// Maximum number of checkpoints needed for a verdict.
pub const CHECKPOINTS: usize = 8;

/// The offset that the geometry suggests.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Offset {
    /// Median cosine of two δ.
    cosine: f64,
    /// Mean of −⟨δᵢ, θ0⟩/‖δᵢ‖².
    shorter: f64,
    /// The length of the offset, if it is one.
    length: f64,
    /// Whether every large tensor agrees.
    everywhere: bool,
}

/// Warnings about the origin, from the inner products of the checkpoints and, if θ0 and the
/// checkpoints have scores, from `scores[model][data set]`.
pub fn warnings(
    pool: &Pool,
    gram: &Gram,
    (datasets, labels): (&[DatasetInfo], &[LabelCoverage]),
    scores: &[Vec<Score>],
) -> Vec<String> {
    let Some(offset) = offset(pool, gram).filter(|offset| offset.cosine >= COSINE) else {
        return Vec::new();
    };
    let name = &pool.members[0].name;
    let shared = format!(
        "two δ have a median cosine of {:.2} (angle {:.0}°)",
        offset.cosine,
        offset.cosine.clamp(-1.0, 1.0).acos().to_degrees()
    );
    let matters = "With another origin than theirs angles come out too small and norms too large";
    let mut warnings = Vec::new();
    if offset.shorter >= SHORTER && offset.everywhere {
        warnings.push(format!(
            "were the checkpoints fine-tuned from {name}? {shared}, and ⟨δ, θ0⟩ is −{:.0} % of \
             ‖δ‖² in the mean, in all large tensors alike, as if a random offset of length {:.3} \
             had been added to the origin. {matters}; strong weight decay can look the same",
            100.0 * offset.shorter,
            offset.length
        ));
    }
    warnings.extend(
        datasets
            .iter()
            .zip(labels)
            .enumerate()
            .find_map(|(set, (data, labels))| {
                let (origin, tuned) = scores.split_first()?;
                let errors = tuned.iter().map(|sets| sets[set].error);
                let worst = errors.fold(0.0, f64::max);
                let is_lost = labels.is_chance(data.samples, origin[set].error);
                (is_lost && !tuned.is_empty() && worst <= 0.5 * labels.chance()).then(|| {
            format!(
                "were the checkpoints fine-tuned from {name}? On {} it is at chance (error {:.1} \
                 %), they are not (at most {:.1} %), and {shared}. {matters}; if the head was new, \
                 all may be well",
                data.name,
                100.0 * origin[set].error,
                100.0 * worst
            )
        })
            }),
    );
    warnings
}

/// Estimates the offset; `None` with fewer than two checkpoints that differ from θ0.
fn offset(pool: &Pool, gram: &Gram) -> Option<Offset> {
    let k = gram.total.nrows();
    let moved: Vec<usize> = (0..k).filter(|&i| gram.total[[i, i]] > 0.0).collect();
    let pairs: Vec<(usize, usize)> = moved
        .iter()
        .flat_map(|&i| moved.iter().filter(move |&&j| j > i).map(move |&j| (i, j)))
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let cosine = |&(i, j): &(usize, usize)| gram.total[[i, j]] / (gram.norm(i) * gram.norm(j));
    let mut cosines: Vec<f64> = pairs.iter().map(cosine).collect();
    cosines.sort_by(f64::total_cmp);
    let mean = |values: &dyn Fn(usize) -> f64| {
        moved.iter().map(|&i| values(i)).sum::<f64>() / moved.len() as f64
    };
    let inward = |i: usize| -gram.with_origin.iter().map(|tensor| tensor[i]).sum::<f64>();
    let part = |index: usize| {
        let products = &gram.per_parameter[index];
        let common = pairs.iter().map(|&(i, j)| products[[i, j]]).sum::<f64>();
        -mean(&|i| gram.with_origin[index][i]) / (common / pairs.len() as f64)
    };
    let large = pool.parameters.iter().enumerate().filter(|(index, it)| {
        let moves = gram.per_parameter[*index]
            .diag()
            .iter()
            .any(|&square| square > 0.0);
        it.counts() && it.len() >= ELEMENTS && moves
    });
    let mut large = large.map(|(index, _)| part(index)).peekable();
    Some(Offset {
        cosine: cosines[cosines.len() / 2],
        shorter: mean(&|i| inward(i) / gram.total[[i, i]]),
        length: mean(&inward).max(0.0).sqrt(),
        everywhere: large.peek().is_some() && large.all(|part| PART.contains(&part)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{score, test_set};
    use crate::space::testing::pool;

    const N: usize = 4000;

    /// Uniform numbers with mean square `square`.
    fn numbers(seed: u64, square: f64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (3.0 * square).sqrt() * (2.0 * (state >> 33) as f64 / f64::from(1_u32 << 31) - 1.0)
        };
        (0..N).map(|_| next()).collect()
    }

    fn sum(parts: &[(f64, &[f64])]) -> Vec<f64> {
        let at = |k: usize| parts.iter().map(|(c, values)| c * values[k]).sum();
        (0..N).map(at).collect()
    }

    /// Warnings for θ0 = t + `offset` r and three fine-tunes t − `decay` t plus a common and an
    /// individual part, all but t of length 2; `errors` are those of θ0 and the fine-tunes on 1,000
    /// samples of ten classes.
    fn told(offset: f64, decay: f64, errors: [f64; 4]) -> Vec<String> {
        let unit = 4.0 / N as f64;
        let (t, r, common) = (numbers(1, 9.0 * unit), numbers(2, unit), numbers(3, unit));
        let mut members = vec![sum(&[(1.0, &t), (offset, &r)])];
        for seed in 4..7 {
            let own = numbers(seed, unit);
            members.push(sum(&[(1.0 - decay, &t), (1.0, &common), (0.8, &own)]));
        }
        let slices: Vec<&[f64]> = members.iter().map(Vec::as_slice).collect();
        let pool = pool(&slices);
        let labels = LabelCoverage {
            classes: 10,
            named: 10,
        };
        warnings(
            &pool,
            &Gram::of(&pool),
            (&[test_set(1000)], &[labels]),
            &errors.map(|error| vec![score(1.0, error)]),
        )
    }

    const GOOD: [f64; 4] = [0.2, 0.02, 0.03, 0.04];

    #[test]
    fn a_random_offset_is_told_and_a_common_direction_is_not() {
        // The cosine of the true δ is 1/1.64.
        assert_eq!(told(0.0, 0.0, GOOD), Vec::<String>::new());
        let warnings = told(1.5, 0.0, GOOD);
        assert_eq!(warnings.len(), 1);
        // ‖r‖ = 3 up to the random products of 4,000 numbers: 2 to 3 %.
        let length = warnings[0].split("length ").nth(1).unwrap();
        let length: f64 = length.split(' ').next().unwrap().parse().unwrap();
        assert!((length - 3.0).abs() < 0.15, "{}", warnings[0]);
        // A little weight decay is no offset.
        assert_eq!(told(0.0, 0.02, GOOD), Vec::<String>::new());
        // Strong decay has other proportions: the common part is nothing but decay.
        assert_eq!(told(0.0, 0.5, GOOD), Vec::<String>::new());
    }

    #[test]
    fn an_origin_at_chance_is_told_where_its_checkpoints_are_good() {
        let text = &told(0.0, 0.0, [0.9, 0.02, 0.03, 0.04])[0];
        assert!(
            text.contains("On test it is at chance (error 90.0 %)"),
            "{text}"
        );
        assert!(text.contains("they are not (at most 4.0 %)"), "{text}");
        assert_eq!(told(0.0, 0.0, [0.9, 0.02, 0.5, 0.04]), Vec::<String>::new());
    }
}
