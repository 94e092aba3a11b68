//! Inner products of the differences δᵢ = θᵢ − θ0, in one streaming pass over the mapped files.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

use super::decode;
use super::pool::Pool;

/// Inner products ⟨δᵢ, δⱼ⟩ of the checkpoints of a pool, in f64.
#[derive(Debug, Clone)]
pub struct Gram {
    /// `per_parameter[parameter][[i, j]]`, k×k each for k checkpoints (without the origin). Zero
    /// for parameters that do not count, such as running statistics and the second of two tied
    /// tensors.
    pub per_parameter: Vec<Array2<f64>>,
    /// `total[[i, j]]` over all parameters, k×k.
    pub total: Array2<f64>,
    /// `squared_origin[parameter]`: its share of ‖θ0‖², 0 if it does not count.
    pub squared_origin: Vec<f64>,
    /// `with_origin[parameter][checkpoint]`: its share of ⟨δᵢ, θ0⟩, 0 if it does not count.
    pub with_origin: Vec<Array1<f64>>,
    /// `nonfinite[parameter][member]`: number of NaN or infinite values; member 0 is the origin.
    pub nonfinite: Vec<Vec<usize>>,
}

/// The sums over one segment of a parameter.
struct SegmentSums {
    gram: Array2<f64>,
    squared_origin: f64,
    with_origin: Array1<f64>,
    nonfinite: Vec<usize>,
}

impl Gram {
    /// Streams every parameter of every member once. Segments have a fixed length and are summed in
    /// a fixed order, so the result does not depend on the number of threads.
    pub fn of(pool: &Pool) -> Self {
        let segments: Vec<(usize, Range<usize>)> = (0..pool.parameters.len())
            .flat_map(|index| segments(pool, index))
            .collect();
        let parts: Vec<SegmentSums> = segments
            .par_iter()
            .map(|(index, range)| segment_sums(pool, *index, range.clone()))
            .collect();
        let (k, members) = (pool.members.len() - 1, pool.members.len());
        let parameters = pool.parameters.len();
        let mut gram = Self {
            per_parameter: vec![Array2::zeros((k, k)); parameters],
            total: Array2::zeros((k, k)),
            squared_origin: vec![0.0; parameters],
            with_origin: vec![Array1::zeros(k); parameters],
            nonfinite: vec![vec![0; members]; parameters],
        };
        for ((index, _), part) in segments.iter().zip(parts) {
            gram.per_parameter[*index] += &part.gram;
            gram.squared_origin[*index] += part.squared_origin;
            gram.with_origin[*index] += &part.with_origin;
            for (all, count) in gram.nonfinite[*index].iter_mut().zip(part.nonfinite) {
                *all += count;
            }
        }
        for part in &gram.per_parameter {
            gram.total += part;
        }
        gram
    }

    /// The inner products over these parameters alone, `chosen[parameter]`.
    pub fn over(&self, chosen: &[bool]) -> Self {
        let mut over = self.clone();
        over.total.fill(0.0);
        for (index, chosen) in chosen.iter().enumerate() {
            if *chosen {
                over.total += &self.per_parameter[index];
            } else {
                over.per_parameter[index].fill(0.0);
                over.with_origin[index].fill(0.0);
                over.squared_origin[index] = 0.0;
            }
        }
        over
    }

    /// The first parameter with NaN or infinite values: its index, the member, and the member's
    /// number of such values.
    pub fn first_nonfinite(&self) -> Option<(usize, usize, usize)> {
        self.nonfinite.iter().enumerate().find_map(|(p, counts)| {
            let member = counts.iter().position(|&count| count > 0)?;
            Some((p, member, counts[member]))
        })
    }

    /// ‖δ‖ of checkpoint `k` (0-based, the origin not counted).
    pub fn norm(&self, k: usize) -> f64 {
        self.total[[k, k]].sqrt()
    }

    /// The angle in degrees between δ of two checkpoints (0-based, without the origin), in [0,
    /// 180]; NaN if one of them is θ0.
    pub fn angle(&self, a: usize, b: usize) -> f64 {
        angle(&self.total, a, b)
    }

    /// The angle in degrees between δ of two checkpoints within one parameter.
    pub fn parameter_angle(&self, parameter: usize, a: usize, b: usize) -> f64 {
        angle(&self.per_parameter[parameter], a, b)
    }

    /// ‖δ‖ of checkpoint `k` within one parameter.
    pub fn parameter_norm(&self, parameter: usize, k: usize) -> f64 {
        self.per_parameter[parameter][[k, k]].sqrt()
    }

    /// ‖θ0‖ over the parameters that count.
    pub fn norm_origin(&self) -> f64 {
        self.squared_origin.iter().sum::<f64>().sqrt()
    }
}

/// The angle in degrees whose cosine is ⟨δa, δb⟩/(‖δa‖·‖δb‖), from inner products.
fn angle(products: &Array2<f64>, a: usize, b: usize) -> f64 {
    let cosine = products[[a, b]] / (products[[a, a]].sqrt() * products[[b, b]].sqrt());
    cosine.clamp(-1.0, 1.0).acos().to_degrees()
}

fn segment_sums(pool: &Pool, index: usize, range: Range<usize>) -> SegmentSums {
    let members = pool.members.len();
    let k = members - 1;
    let counts = pool.parameters[index].counts();
    let mut sums = SegmentSums {
        gram: Array2::zeros((k, k)),
        squared_origin: 0.0,
        with_origin: Array1::zeros(k),
        nonfinite: vec![0; members],
    };
    for_each_block(pool, index, range, |start, mut blocks| {
        let mut squares = Array2::zeros((k, k));
        let (origin, mut deltas) = blocks.view_mut().split_at(Axis(0), 1);
        let origin = origin.row(0);
        let squared_origin = origin.dot(&origin);
        for mut delta in deltas.rows_mut() {
            delta -= &origin;
        }
        general_mat_mul(1.0, &deltas, &deltas.t(), 0.0, &mut squares);
        let with_origin = deltas.dot(&origin);
        if !squared_origin.is_finite() || squares.diag().iter().any(|square| !square.is_finite()) {
            count_nonfinite(
                pool,
                index,
                start..start + blocks.ncols(),
                &mut sums.nonfinite,
            );
        }
        if counts {
            sums.gram += &squares;
            sums.squared_origin += squared_origin;
            sums.with_origin += &with_origin;
        }
    });
    sums
}

/// `nonfinite[member]`: the first parameter with NaN or infinite values, and their number in it.
/// One streaming pass, without products.
pub fn nonfinite(pool: &Pool) -> Vec<Option<(usize, usize)>> {
    let of = |index: usize| {
        let mut counts = vec![0; pool.members.len()];
        count_nonfinite(pool, index, 0..pool.parameters[index].len(), &mut counts);
        counts
    };
    let counts: Vec<Vec<usize>> = (0..pool.parameters.len()).into_par_iter().map(of).collect();
    let first = |member: usize| {
        let index = counts.iter().position(|counts| counts[member] > 0)?;
        Some((index, counts[index][member]))
    };
    (0..pool.members.len()).map(first).collect()
}

/// Adds each member's number of NaN or infinite values to `counts[member]`.
fn count_nonfinite(pool: &Pool, index: usize, range: Range<usize>, counts: &mut [usize]) {
    for_each_block(pool, index, range, |_, blocks| {
        for (count, row) in counts.iter_mut().zip(blocks.rows()) {
            *count += row.iter().filter(|value| !value.is_finite()).count();
        }
    });
}

/// Approximate number of elements that a thread sums at a time.
const SEGMENT: usize = 1 << 18;

/// Splits a parameter into segments of whole blocks, each with the parameter's index.
pub fn segments(pool: &Pool, index: usize) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
    let len = pool.parameters[index].len();
    let step = SEGMENT.next_multiple_of(block_len(pool, index));
    let starts = (0..len).step_by(step);
    starts.map(move |start| (index, start..len.min(start + step)))
}

fn block_len(pool: &Pool, index: usize) -> usize {
    let mut members = pool.members.iter();
    let transposed = members.any(|member| member.sources[index].transposed);
    decode::block_len(&pool.parameters[index].shape, transposed)
}

/// Visits a range of a parameter block by block. It passes the start of the block and
/// `rows[member]` in f64, in the graph's order. The range must begin at a block boundary.
pub fn for_each_block(
    pool: &Pool,
    index: usize,
    range: Range<usize>,
    mut visit: impl FnMut(usize, ArrayViewMut2<f64>),
) {
    let block = block_len(pool, index);
    let mut blocks = Array2::zeros((pool.members.len(), block.min(range.len())));
    for start in range.clone().step_by(block) {
        let count = block.min(range.end - start);
        let mut part = blocks.slice_mut(s![.., ..count]);
        for (mut row, member) in part.rows_mut().into_iter().zip(&pool.members) {
            if let Some(values) = row.as_slice_mut() {
                decode::read(&member.sources[index], start, values);
            }
        }
        visit(start, part);
    }
}
