//! Mixes: θ(c) = Σᵢ cᵢ θᵢ over the members of a pool.
//!
//! Two kinds of tensor are not such sums: running variances outside the hull ([`log_variance`]), and
//! statistics that were re-estimated for the mix ([`Reestimated`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};

use super::decode;
use super::log_variance;
use super::pool::{ParameterRole, Pool};
use super::stored_tensor::StoredTensor;
use crate::checkpoint::tensor::Dtype;

/// Statistics of batch norm that were re-estimated for one mix: the elements of a parameter, by its
/// index. They replace what the members hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reestimated(pub BTreeMap<usize, Vec<f64>>);

/// Coefficients of a pool's members, the origin first; they sum to 1 except in a [`Mix::linear`]
/// one. They are shared by all tensors, or each parameter of the pool has its own (in a soup learned
/// by layer).
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// `rows[parameter][member]`, or one row for all parameters.
    rows: Vec<Vec<f64>>,
    reestimated: Option<Arc<Reestimated>>,
}

impl Mix {
    /// Makes a mix with these coefficients.
    ///
    /// # Panics
    /// When they do not sum to 1 (to 1e-9 of their size): callers must compute them so that they
    /// do.
    pub fn new(coefficients: Vec<f64>) -> Self {
        Self::by_parameter(vec![coefficients])
    }

    /// Makes a mix with its own row of coefficients for each parameter of the pool, in its order.
    ///
    /// # Panics
    /// When there is no row, or a row does not sum to 1, as in [`Mix::new`].
    pub fn by_parameter(rows: Vec<Vec<f64>>) -> Self {
        for row in &rows {
            let sum: f64 = row.iter().sum();
            let size: f64 = row.iter().map(|c| c.abs()).sum();
            assert!(
                (sum - 1.0).abs() <= 1e-9 * size.max(1.0),
                "coefficients {row:?} sum to {sum}"
            );
        }
        Self::linear(rows)
    }

    /// Makes a linear combination, whose rows need not sum to 1: spherical interpolation of weights.
    ///
    /// # Panics
    /// When there is no row.
    pub fn linear(rows: Vec<Vec<f64>>) -> Self {
        assert!(!rows.is_empty(), "a mix has coefficients");
        Self {
            rows,
            reestimated: None,
        }
    }

    /// This mix with statistics that were re-estimated for it.
    #[must_use]
    pub fn with_statistics(&self, reestimated: Arc<Reestimated>) -> Self {
        Self {
            rows: self.rows.clone(),
            reestimated: Some(reestimated),
        }
    }

    /// The elements of a parameter that were re-estimated for this mix.
    fn reestimated(&self, parameter: usize) -> Option<&[f64]> {
        let all = self.reestimated.as_ref()?;
        all.0.get(&parameter).map(Vec::as_slice)
    }

    /// Makes a mix from the weights of some of `members`; the others are 0.
    ///
    /// # Panics
    /// When the weights do not sum to 1, as in [`Mix::new`].
    pub fn over(weights: &[(usize, f64)], members: usize) -> Self {
        let mut coefficients = vec![0.0; members];
        for &(member, weight) in weights {
            coefficients[member] += weight;
        }
        Self::new(coefficients)
    }

    /// The mix that equals member `index` of `members`.
    pub fn unit(index: usize, members: usize) -> Self {
        let one = |member| if member == index { 1.0 } else { 0.0 };
        Self {
            rows: vec![(0..members).map(one).collect()],
            reestimated: None,
        }
    }

    /// The mixes that equal each of `members`.
    pub fn units(members: usize) -> Vec<Self> {
        (0..members)
            .map(|member| Self::unit(member, members))
            .collect()
    }

    /// Whether the mix is a member itself.
    pub fn is_unit(&self) -> bool {
        let is_one = |row: &[f64]| row.iter().all(|c| [0.0, 1.0].contains(c));
        self.shared().is_some_and(is_one)
    }

    /// δ of member `index`. This is the only mix that is not a model; it serves as a basis vector.
    pub fn delta(index: usize, members: usize) -> Self {
        let mut mix = Self::unit(index, members);
        mix.rows[0][0] -= 1.0;
        mix
    }

    /// The coefficients shared by all parameters; `None` if each has its own.
    pub fn shared(&self) -> Option<&[f64]> {
        match self.rows.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The coefficients of a parameter.
    pub fn row(&self, parameter: usize) -> &[f64] {
        match self.rows.as_slice() {
            [one] => one,
            rows => &rows[parameter],
        }
    }

    /// All rows: a single one for all parameters, or one for each.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// Coefficients of the members, averaged over the parameters if each has its own.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.rows[0].len()];
        for row in &self.rows {
            for (mean, c) in mean.iter_mut().zip(row) {
                *mean += c / self.rows.len() as f64;
            }
        }
        mean
    }

    /// Whether a member has a nonzero coefficient.
    pub fn has_part(&self, member: usize) -> bool {
        self.rows.iter().any(|row| row[member] != 0.0)
    }

    /// The first member with a nonzero coefficient.
    pub fn lead(&self) -> usize {
        let mut members = 0..self.rows[0].len();
        members.find(|&member| self.has_part(member)).unwrap_or(0)
    }
}

/// The destination of a mixed tensor, in the graph's element type.
pub enum MixOut<'a> {
    /// 32-bit floats.
    F32(&'a mut [f32]),
    /// 64-bit floats.
    F64(&'a mut [f64]),
    /// 16-bit floats.
    F16(&'a mut [f16]),
    /// Brain floats.
    Bf16(&'a mut [bf16]),
}

/// Working space, reused between calls.
#[derive(Debug, Default)]
pub struct Scratch(Vec<f64>);

/// Writes parameter `index` of θ(c) in the graph's order.
///
/// Elements are summed in f64 and rounded once. Members with coefficient 0 are not read, so a
/// NaN in them does no harm, and a unit mix gives the member's own values bit by bit.
pub fn mix_into(pool: &Pool, index: usize, mix: &Mix, out: MixOut<'_>, scratch: &mut Scratch) {
    if let Some(values) = statistics(pool, index, mix) {
        return match out {
            MixOut::F32(out) => copy(&values, out, |x| x as f32),
            MixOut::F64(out) => copy(&values, out, |x| x),
            MixOut::F16(out) => copy(&values, out, to_f16),
            MixOut::Bf16(out) => copy(&values, out, to_bf16),
        };
    }
    let terms: Vec<(f64, &StoredTensor)> = terms(pool, index, mix).collect();
    let shape = &pool.parameters[index].shape;
    match out {
        MixOut::F32(out) => fill(&terms, shape, out, scratch, |sum| sum as f32),
        MixOut::F64(out) => fill(&terms, shape, out, scratch, |sum| sum),
        MixOut::F16(out) => fill(&terms, shape, out, scratch, to_f16),
        MixOut::Bf16(out) => fill(&terms, shape, out, scratch, to_bf16),
    }
}

/// Parameter `index` of θ(c) in the form of a file: little-endian elements of `dtype`, in the
/// graph's order or transposed. The mix must be a model, not a difference.
///
/// Values that are equal in all members are copied from one, so that rounding of the coefficients
/// does not change them.
pub fn mixed_bytes(pool: &Pool, index: usize, mix: &Mix, dtype: Dtype, transposed: bool) -> Bytes {
    if let Some(values) = statistics(pool, index, mix) {
        return match dtype {
            Dtype::F64 => to_bytes(values, f64::to_le_bytes),
            Dtype::F16 => to_bytes(values, |x| to_f16(x).to_le_bytes()),
            Dtype::Bf16 => to_bytes(values, |x| to_bf16(x).to_le_bytes()),
            _ => to_bytes(values, |x| (x as f32).to_le_bytes()),
        };
    }
    let parameter = &pool.parameters[index];
    let one = Mix::unit(mix.lead(), pool.members.len());
    let mix = if parameter.frozen { &one } else { mix };
    // Transposed once more, a source is read in the file's order.
    let turn = |(coefficient, source): (f64, &StoredTensor)| {
        let source = StoredTensor {
            transposed: source.transposed ^ transposed,
            ..source.clone()
        };
        (coefficient, source)
    };
    let turned: Vec<(f64, StoredTensor)> = terms(pool, index, mix).map(turn).collect();
    let terms: Vec<(f64, &StoredTensor)> = turned.iter().map(|(c, source)| (*c, source)).collect();
    let mut shape = parameter.shape.clone();
    if transposed {
        shape.reverse();
    }
    bytes_of(&terms, &shape, dtype)
}

/// A source's elements in the order of its file, as little-endian elements of `dtype`. The source's
/// `transposed` says that the file holds the transpose of the tensor.
pub fn source_bytes(source: &StoredTensor, dtype: Dtype) -> Bytes {
    let mut shape = source.tensor.shape.clone();
    if source.transposed {
        shape.reverse();
    }
    bytes_of(&[(1.0, source)], &shape, dtype)
}

/// Σ cᵢ θᵢ over sources of one shape, with each element rounded once to `dtype`.
fn bytes_of(terms: &[(f64, &StoredTensor)], shape: &[usize], dtype: Dtype) -> Bytes {
    let scratch = &mut Scratch::default();
    let len = shape.iter().product::<usize>();
    let mut bytes = vec![0_u8; len * dtype.size().unwrap_or(0)];
    match dtype {
        Dtype::F32 => {
            let (out, _) = bytes.as_chunks_mut::<4>();
            fill(terms, shape, out, scratch, |x| (x as f32).to_le_bytes());
        }
        Dtype::F64 => {
            let (out, _) = bytes.as_chunks_mut::<8>();
            fill(terms, shape, out, scratch, f64::to_le_bytes);
        }
        Dtype::F16 => {
            let (out, _) = bytes.as_chunks_mut::<2>();
            fill(terms, shape, out, scratch, |x| to_f16(x).to_le_bytes());
        }
        Dtype::Bf16 => {
            let (out, _) = bytes.as_chunks_mut::<2>();
            fill(terms, shape, out, scratch, |x| to_bf16(x).to_le_bytes());
        }
        _ => {}
    }
    bytes.into()
}

/// The elements of a parameter that is no sum over the members: re-estimated statistics, and
/// variances outside the hull. Both are vectors, which no file holds transposed.
fn statistics(pool: &Pool, index: usize, mix: &Mix) -> Option<Vec<f64>> {
    if let Some(values) = mix.reestimated(index) {
        return Some(values.to_vec());
    }
    let parameter = &pool.parameters[index];
    let is_plain = parameter.role != ParameterRole::Variance || parameter.frozen;
    if is_plain || !log_variance::is_beyond(mix.row(index)) {
        return None;
    }
    let terms: Vec<(f64, &StoredTensor)> = terms(pool, index, mix).collect();
    Some(log_variance::mixed(&terms))
}

fn copy<T>(values: &[f64], out: &mut [T], round: impl Fn(f64) -> T) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = round(*value);
    }
}

fn to_bytes<const N: usize>(values: Vec<f64>, bytes: impl Fn(f64) -> [u8; N]) -> Bytes {
    values.into_iter().flat_map(bytes).collect()
}

/// The nonzero coefficients and their sources for a parameter.
fn terms<'p>(
    pool: &'p Pool,
    index: usize,
    mix: &'p Mix,
) -> impl Iterator<Item = (f64, &'p StoredTensor)> {
    let members = mix.row(index).iter().zip(&pool.members);
    members
        .filter(|(coefficient, _)| **coefficient != 0.0)
        .map(move |(&coefficient, member)| (coefficient, &member.sources[index]))
}

fn fill<T>(
    terms: &[(f64, &StoredTensor)],
    shape: &[usize],
    out: &mut [T],
    scratch: &mut Scratch,
    round: impl Fn(f64) -> T,
) {
    let transposed = terms.iter().any(|(_, source)| source.transposed);
    let block = decode::block_len(shape, transposed);
    scratch.0.resize(block, 0.0);
    for (number, part) in out.chunks_mut(block).enumerate() {
        let sums = &mut scratch.0[..part.len()];
        // Unlike 0, −0 keeps the sign when −0 is added.
        sums.fill(-0.0);
        for (coefficient, source) in terms {
            decode::add(source, number * block, *coefficient, sums);
        }
        for (value, sum) in part.iter_mut().zip(sums.iter()) {
            *value = round(*sum);
        }
    }
}

fn to_f16(value: f64) -> f16 {
    f16::from_f32(to_odd(value))
}

fn to_bf16(value: f64) -> bf16 {
    bf16::from_f32(to_odd(value))
}

/// Rounds to f32 such that further rounding to 16 bits gives the same as rounding once: round to
/// odd (Boldo and Melquiond 2008), which keeps the value on its side of every tie.
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let back = f64::from(near);
    if back == value || !near.is_finite() {
        return near;
    }
    let away = back.abs() > value.abs();
    f32::from_bits((near.to_bits() - u32::from(away)) | 1)
}

#[cfg(test)]
#[path = "mix_tests.rs"]
mod tests;
