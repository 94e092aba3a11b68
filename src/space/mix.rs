//! Mixes: θ(c) = Σᵢ cᵢ θᵢ over the members of a pool.

use bytes::Bytes;
use half::{bf16, f16};

use super::decode;
use super::pool::Pool;
use super::stored_tensor::StoredTensor;
use crate::checkpoint::tensor::Dtype;

/// Coefficients of a pool's members, the origin first; they sum to 1. They are shared by all
/// tensors, or each parameter of the pool has its own (in a soup learned by layer).
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// `rows[parameter][member]`, or one row for all parameters.
    rows: Vec<Vec<f64>>,
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
        assert!(!rows.is_empty(), "a mix has coefficients");
        for row in &rows {
            let sum: f64 = row.iter().sum();
            let size: f64 = row.iter().map(|c| c.abs()).sum();
            assert!(
                (sum - 1.0).abs() <= 1e-9 * size.max(1.0),
                "coefficients {row:?} sum to {sum}"
            );
        }
        Self { rows }
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
        }
    }

    /// The mixes that equal each of `members`.
    pub fn units(members: usize) -> Vec<Self> {
        (0..members)
            .map(|member| Self::unit(member, members))
            .collect()
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
/// graph's order or transposed. The mix must be a model: its coefficients sum to 1.
///
/// Values that are equal in all members are copied from one, so that rounding of the coefficients
/// does not change them.
pub fn mixed_bytes(pool: &Pool, index: usize, mix: &Mix, dtype: Dtype, transposed: bool) -> Bytes {
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
mod tests {
    use super::*;
    use crate::space::testing::{pool, random_pool};

    #[test]
    fn a_unit_mix_is_the_member_to_the_bit_even_beside_nan() {
        let pool = pool(&[&[f64::NAN, f64::NAN], &[0.1, -0.0], &[f64::INFINITY, 1.0]]);
        let mut out = [0.0_f32; 2];
        let mut scratch = Scratch::default();
        let mix = Mix::unit(1, 3);
        mix_into(&pool, 0, &mix, MixOut::F32(&mut out), &mut scratch);
        assert_eq!(out[0].to_bits(), 0.1_f32.to_bits());
        assert_eq!(out[1].to_bits(), (-0.0_f32).to_bits());
    }

    #[test]
    fn bytes_are_those_of_the_member_that_is_alone() {
        // Odd members hold the matrix transposed.
        let pool = random_pool(3, &[vec![40, 33], vec![7]], 3);
        for member in 0..3 {
            let mix = Mix::unit(member, 3);
            for index in 0..2 {
                let source = &pool.members[member].sources[index];
                let (dtype, turned) = (source.tensor.dtype, source.transposed);
                let bytes = mixed_bytes(&pool, index, &mix, dtype, turned);
                assert_eq!(bytes, source.tensor.bytes);
            }
        }
    }

    #[test]
    fn what_is_equal_in_all_members_stays_as_it_is() {
        let mut pool = pool(&[&[0.1], &[0.1], &[0.1]]);
        pool.parameters[0].frozen = true;
        let mix = Mix::new(vec![0.0, 0.7, 0.3 + 1e-12]);
        let bytes = mixed_bytes(&pool, 0, &mix, Dtype::F64, false);
        assert_eq!(bytes, 0.1_f64.to_le_bytes().to_vec());
    }

    #[test]
    fn a_mix_is_the_sum_rounded_once() {
        let pool = random_pool(3, &[vec![70, 33], vec![5000]], 7);
        let mix = Mix::new(vec![-0.3, 0.6, 0.7]);
        let mut scratch = Scratch::default();
        for (index, parameter) in pool.parameters.iter().enumerate() {
            let mut out = vec![0.0_f32; parameter.len()];
            mix_into(&pool, index, &mix, MixOut::F32(&mut out), &mut scratch);
            let member = |m: usize| decode::values(&pool.members[m].sources[index]);
            let (a, b, c) = (member(0), member(1), member(2));
            for k in 0..parameter.len() {
                let sum = -0.3 * a[k] + 0.6 * b[k] + 0.7 * c[k];
                assert_eq!(out[k], sum as f32);
            }
        }
    }

    #[test]
    fn each_parameter_may_have_coefficients_of_its_own() {
        let pool = random_pool(3, &[vec![5], vec![4]], 7);
        let rows = vec![vec![0.0, 0.25, 0.75], vec![0.0, 1.0, 0.0]];
        let mix = Mix::by_parameter(rows.clone());
        assert_eq!((mix.shared(), mix.lead()), (None, 1));
        assert_eq!(mix.mean(), [0.0, 0.625, 0.375]);
        let mut scratch = Scratch::default();
        for (index, row) in rows.into_iter().enumerate() {
            let len = pool.parameters[index].len();
            let (mut own, mut alone) = (vec![0.0; len], vec![0.0; len]);
            mix_into(&pool, index, &mix, MixOut::F64(&mut own), &mut scratch);
            let row = Mix::new(row);
            mix_into(&pool, index, &row, MixOut::F64(&mut alone), &mut scratch);
            assert_eq!(own, alone);
        }
    }

    #[test]
    fn halves_are_rounded_once() {
        // Just above the tie between 1 and the next half: f32 would make it the tie.
        let tie = 1.0 + 2.0_f64.powi(-11);
        let above = tie + 2.0_f64.powi(-40);
        assert_eq!(above as f32, tie as f32);
        assert_eq!(f16::from_f32(to_odd(tie)), f16::ONE);
        assert_eq!(
            f16::from_f32(to_odd(above)),
            f16::from_f32(1.0 + 2.0_f32.powi(-10))
        );
        assert_eq!(
            f16::from_f32(to_odd(-above)),
            f16::from_f32(-1.0 - 2.0_f32.powi(-10))
        );
        let brain = 1.0 + 2.0_f64.powi(-8) - 2.0_f64.powi(-40);
        assert_eq!(bf16::from_f32(to_odd(brain)), bf16::ONE);
        assert_eq!((to_odd(0.0), to_odd(0.1_f32.into())), (0.0, 0.1));
        assert!(to_odd(1e-60) > 0.0 && to_odd(1e-60) < 1e-40);
    }

    #[test]
    #[should_panic(expected = "sum to")]
    fn coefficients_sum_to_one() {
        let _ = Mix::new(vec![0.5, 0.6]);
    }
}
