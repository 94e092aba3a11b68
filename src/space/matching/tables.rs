//! Tables of the network that no checkpoint has: rotary frequencies, position tables, masks.

use std::collections::HashSet;

use super::names::Names;
use super::origin::Origin;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::Use;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// What shows that an initializer is a table of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// The exporter's record: a buffer that no state dict has.
    Transient,
    /// The exporter's record: it was folded from no parameter.
    Recorded,
    /// Its name and values: rotary frequencies.
    Frequencies,
    /// θ0's own state dict: it does not have it, and all that it has is in the graph elsewhere.
    Remainder,
}

/// An initializer that is a table by itself, whatever the checkpoints have: by the exporter's record
/// or by its name and values.
pub(super) fn by_itself(origin: &Origin<'_>, r#use: &Use) -> Option<Evidence> {
    if origin.record.is_transient(&r#use.initializer) || origin.record.is_transient(&r#use.alias) {
        return Some(Evidence::Transient);
    }
    if origin.record.is_of_no_parameter(&r#use.initializer) {
        return Some(Evidence::Recorded);
    }
    let is_parameter = origin.network.input_kind(&r#use.initializer) == Some("PARAMETER");
    let named = [&r#use.initializer, &r#use.alias]
        .into_iter()
        .any(|name| name.rsplit('.').next() == Some("inv_freq"));
    let tensor = origin.network.tensor(&r#use.initializer)?;
    (named && !is_parameter && is_frequencies(tensor)).then_some(Evidence::Frequencies)
}

/// An initializer that θ0's state dict, all of which is in the graph elsewhere, does not have. It
/// must be unmarked, and must not be computed from a weight in a way that its values show.
pub(super) fn by_remainder(names: &Names<'_>, r#use: &Use) -> Option<Evidence> {
    let network = names.origin.network;
    let tensor = network.tensor(&r#use.initializer)?;
    let unmarked = network.input_kind(&r#use.initializer).is_none()
        && network.folded_from(&r#use.initializer).is_none();
    let mut weights = names.weights.as_ref()?.values();
    (unmarked && !weights.any(|weight| is_made_from(tensor, weight))).then_some(Evidence::Remainder)
}

/// Whether values are rotary frequencies: r^i for i = 0, 1, …, with r = base^(−2/d) < 1.
pub(super) fn is_frequencies(tensor: &Tensor) -> bool {
    if tensor.shape.len() != 1 || tensor.len() < 2 || !tensor.dtype.is_float() {
        return false;
    }
    let logs = decode::values(&StoredTensor::nameless(tensor, false));
    let logs: Vec<f64> = logs.into_iter().map(f64::ln).collect();
    let step = logs[logs.len() - 1] / (logs.len() - 1) as f64;
    let precision = match tensor.dtype.size() {
        Some(2) => 1e-2,
        _ => 1e-4,
    };
    // NaN, of a number that is not positive, is in no range.
    let mut places = logs.iter().enumerate();
    step < 0.0 && places.all(|(at, log)| (log - step * at as f64).abs() < precision)
}

/// Cosine from which two tensors of one shape may be a function of one another.
const ALIKE: f64 = 0.5;

/// Maximum number of elements that are looked for in a larger tensor.
const SAMPLED: usize = 64;

/// Whether a tensor may be computed from a weight: its elements in the same order or reversed (any
/// monotone function), in another order (transposed, permuted, scaled), similar as a vector (scaled
/// by rows), or a part of them (sliced).
fn is_made_from(tensor: &Tensor, weight: &Tensor) -> bool {
    if !weight.dtype.is_float() || weight.is_empty() || tensor.len() < 2 {
        return false;
    }
    if tensor.len() != weight.len() {
        return is_part(tensor, weight);
    }
    let [ours, theirs] =
        [tensor, weight].map(|it| decode::values(&StoredTensor::nameless(it, false)));
    let product: f64 = ours.iter().zip(&theirs).map(|(a, b)| a * b).sum();
    let norm = |values: &[f64]| values.iter().map(|it| it * it).sum::<f64>().sqrt();
    let similar = product.abs() >= ALIKE * norm(&ours) * norm(&theirs);
    similar || is_same_order(&ours, &theirs) || is_scaled(&ours, &theirs)
}

/// Whether a sample of a tensor's elements is in a weight.
fn is_part(tensor: &Tensor, weight: &Tensor) -> bool {
    let bits = |value: f64| (value as f32).to_bits();
    let ours = decode::values(&StoredTensor::nameless(tensor, false));
    let sample = ours.iter().step_by(ours.len().div_ceil(SAMPLED));
    let mut sample: HashSet<u32> = sample.map(|it| bits(*it)).collect();
    let stored = StoredTensor::nameless(weight, false);
    let mut block = [0.0; decode::BLOCK];
    for start in (0..weight.len()).step_by(decode::BLOCK) {
        let len = decode::BLOCK.min(weight.len() - start);
        decode::read(&stored, start, &mut block[..len]);
        block[..len].iter().for_each(|it| {
            sample.remove(&bits(*it));
        });
        if sample.is_empty() {
            return true;
        }
    }
    false
}

/// Whether two lists rank their places alike, or in reverse.
fn is_same_order(ours: &[f64], theirs: &[f64]) -> bool {
    let ranked = |values: &[f64]| {
        let mut places: Vec<usize> = (0..values.len()).collect();
        places.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        places
    };
    let places = ranked(ours);
    let along: Vec<f64> = places.iter().map(|&at| theirs[at]).collect();
    along.is_sorted() || along.is_sorted_by(|a, b| a >= b)
}

/// Whether two lists hold the same magnitudes up to a common factor, in whatever order.
fn is_scaled(ours: &[f64], theirs: &[f64]) -> bool {
    let sorted = |values: &[f64]| {
        let mut sizes: Vec<f64> = values.iter().map(|it| it.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let largest = sizes.last().copied().unwrap_or(0.0);
        sizes.iter_mut().for_each(|it| *it /= largest);
        sizes
    };
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor::Dtype;

    fn tensor(values: &[f64]) -> Tensor {
        let bytes = values.iter().flat_map(|it| (*it as f32).to_le_bytes());
        Tensor {
            dtype: Dtype::F32,
            shape: vec![values.len()],
            bytes: bytes.collect::<Vec<u8>>().into(),
        }
    }

    #[test]
    fn rotary_frequencies_are_known_by_their_formula() {
        let made = |base: f64| {
            let values = (0..8).map(|i| base.powf(-2.0 * f64::from(i) / 16.0));
            tensor(&values.collect::<Vec<_>>())
        };
        assert!(is_frequencies(&made(10_000.0)) && is_frequencies(&made(500_000.0)));
        assert!(!is_frequencies(&tensor(&[1.0, 0.5, 0.3])));
        assert!(!is_frequencies(&tensor(&[1.0, -0.5, 0.25])));
        assert!(!is_frequencies(&tensor(&[1.0, 1.0, 1.0])));
    }

    #[test]
    fn what_a_weight_may_have_made_is_told_from_a_table() {
        let weight: Vec<f64> = (0..24).map(|i| (f64::from(i) * 1.7).sin()).collect();
        let of = |change: &dyn Fn(f64) -> f64| {
            tensor(&weight.iter().map(|it| change(*it)).collect::<Vec<_>>())
        };
        let held = tensor(&weight);
        assert!(is_made_from(&of(&|x| -x.exp()), &held));
        assert!(is_made_from(&of(&|x| 4.0 * x), &held));
        let mut reversed = weight.clone();
        reversed.reverse();
        assert!(is_made_from(&tensor(&reversed), &held));
        assert!(is_made_from(&tensor(&weight[3..9]), &held));
        // Each row divided by its norm.
        let rows = weight.chunks(6).flat_map(|row| {
            let norm = row.iter().map(|it| it * it).sum::<f64>().sqrt();
            row.iter().map(move |it| it / norm)
        });
        assert!(is_made_from(&tensor(&rows.collect::<Vec<_>>()), &held));
        let table: Vec<f64> = (0..24).map(|i| (f64::from(i) * 0.9).cos()).collect();
        assert!(!is_made_from(&tensor(&table), &held));
        assert!(!is_made_from(&tensor(&table[..10]), &held));
    }
}
