//! The buckets of relative positions of T5 (Raffel et al. 2020, *Exploring the Limits of Transfer
//! Learning with a Unified Text-to-Text Transformer*, §2.1): near positions have a bucket each, far
//! ones share buckets that grow with the logarithm of the distance.
//!
//! Their indices are made with magnitudes, minima and choices, which could as well have changed the
//! biases. The record has each operator as often as it was applied: if the indices are buckets and
//! take all of them, none is left for the biases.

/// Operators of the indices besides sums and products, and how often they are applied at most. In a
/// decoder a minimum takes the place of the magnitude.
const OPERATORS: [(&str, usize); 6] = [
    ("abs", 1),
    ("gt", 1),
    ("log", 1),
    ("lt", 1),
    ("minimum", 2),
    ("where", 1),
];

/// Whether indices are buckets of relative positions that take all of the operators. `count` is the
/// number of buckets; `moved` the shape of the biases, whose axes before the last are queries
/// and keys.
pub fn explain(operators: &[&str], indices: &[usize], count: usize, moved: &[usize]) -> bool {
    let applied = |name: &str| operators.iter().filter(|it| **it == name).count();
    let known = |name: &&str| OPERATORS.iter().any(|(it, _)| it == name);
    let is_within = OPERATORS.iter().all(|(name, most)| applied(name) <= *most);
    let axes: Vec<usize> = moved.iter().copied().filter(|&size| size > 1).collect();
    let (queries, keys) = match axes[..] {
        [queries, keys, _] => (queries, keys),
        // One head: its axis has size 1.
        [queries, keys] if moved.last() == Some(&1) => (queries, keys),
        _ => return false,
    };
    if !operators.iter().all(known) || !is_within || queries * keys != indices.len() {
        return false;
    }
    match (applied("abs"), applied("gt"), applied("minimum")) {
        (1, 1, 1) => is_encoder(indices, keys, count),
        (0, 0, 2) => is_one_sided(indices, keys, count, |query, key| query.saturating_sub(key)),
        _ => false,
    }
}

/// Buckets of both directions: keys after the query have the second half.
fn is_encoder(indices: &[usize], keys: usize, count: usize) -> bool {
    let half = count / 2;
    let is_after = |at: usize| at % keys > at / keys;
    let mut all = indices.iter().enumerate();
    let sides = all.all(|(at, &index)| (index >= half) == is_after(at));
    let folded = indices.iter().map(|index| index % half.max(1));
    let folded: Vec<usize> = folded.collect();
    sides && is_one_sided(&folded, keys, half, |query, key| query.abs_diff(key))
}

/// Whether the first half of the buckets are distances, and the second ones grow with them.
fn is_one_sided(
    indices: &[usize],
    keys: usize,
    count: usize,
    distance: impl Fn(usize, usize) -> usize,
) -> bool {
    let exact = count / 2;
    let mut by_distance: Vec<(usize, usize)> = indices
        .iter()
        .enumerate()
        .map(|(at, &index)| (distance(at / keys, at % keys), index))
        .collect();
    by_distance.sort_unstable();
    by_distance.dedup();
    let is_bucket = |&(distance, index): &(usize, usize)| match distance < exact {
        true => index == distance,
        false => index >= exact && index <= distance && index < count,
    };
    let grows = |pair: &[(usize, usize)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
    exact > 1 && by_distance.iter().all(is_bucket) && by_distance.windows(2).all(grows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T5's buckets in float64.
    fn buckets(queries: usize, keys: usize, count: usize, both: bool) -> Vec<usize> {
        let side = if both { count / 2 } else { count };
        let exact = side / 2;
        let bucket = |distance: usize| {
            if distance < exact {
                return distance;
            }
            let log = (distance as f64 / exact as f64).ln() / (128.0 / exact as f64).ln();
            (exact + (log * (side - exact) as f64) as usize).min(side - 1)
        };
        let all = (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key)));
        all.map(|(query, key)| match both {
            true => usize::from(key > query) * side + bucket(query.abs_diff(key)),
            false => bucket(query.saturating_sub(key)),
        })
        .collect()
    }

    const ENCODER: [&str; 6] = ["abs", "gt", "log", "lt", "minimum", "where"];
    const DECODER: [&str; 5] = ["log", "lt", "minimum", "minimum", "where"];

    #[test]
    fn t5_s_buckets_take_their_operators_and_no_more() {
        for length in [3, 10, 40, 300] {
            let both = buckets(length, length, 32, true);
            assert!(explain(&ENCODER, &both, 32, &[1, length, length, 2]));
            assert!(explain(&ENCODER, &both, 32, &[1, length, length, 1]));
            assert!(!explain(&DECODER, &both, 32, &[1, length, length, 2]));
            let one = buckets(length, length, 32, false);
            assert!(explain(&DECODER, &one, 32, &[1, length, length, 2]));
            assert!(!explain(&ENCODER, &one, 32, &[1, length, length, 2]));
        }
        let both = buckets(10, 10, 32, true);
        let with = |more: &[&'static str]| [&ENCODER[..], more].concat();
        for more in [["minimum"], ["abs"], ["where"], ["clamp"]] {
            assert!(
                !explain(&with(&more), &both, 32, &[1, 10, 10, 2]),
                "{more:?}"
            );
        }
        let mut other = both;
        other[7] = 3;
        assert!(!explain(&ENCODER, &other, 32, &[1, 10, 10, 2]));
    }
}
