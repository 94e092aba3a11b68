//! Inner products of the deltas δᵢ = θᵢ − θ0, in one streaming pass over the mapped files.

use ndarray::Array2;
use rayon::prelude::*;

use super::decode;
use super::pool::{Parameter, Pool, Source};

/// ⟨δᵢ, δⱼ⟩ for the checkpoints of a pool, in f64.
#[derive(Debug, Clone)]
pub struct Gram {
    /// k×k for each parameter (k checkpoints, the origin not counted): zero for parameters that
    /// do not count, such as running statistics and the second of two tied tensors.
    pub per_parameter: Vec<Array2<f64>>,
    /// k×k over all parameters.
    pub total: Array2<f64>,
    /// ‖θ0‖² of each parameter that counts.
    pub squared_origin: Vec<f64>,
    /// Non-finite values: `nonfinite[parameter][member]`, the origin being member 0.
    pub nonfinite: Vec<Vec<usize>>,
}

struct Part {
    gram: Array2<f64>,
    squared_origin: f64,
    nonfinite: Vec<usize>,
}

impl Gram {
    /// Streams every parameter of every member once. Sums run over blocks in a fixed order, so
    /// the result does not depend on the number of threads.
    pub fn of(pool: &Pool) -> Self {
        let parts: Vec<Part> = (0..pool.parameters.len())
            .into_par_iter()
            .map(|index| part(pool, index))
            .collect();
        let k = pool.members.len() - 1;
        let mut gram = Self {
            per_parameter: Vec::new(),
            total: Array2::zeros((k, k)),
            squared_origin: Vec::new(),
            nonfinite: Vec::new(),
        };
        for part in parts {
            gram.total += &part.gram;
            gram.per_parameter.push(part.gram);
            gram.squared_origin.push(part.squared_origin);
            gram.nonfinite.push(part.nonfinite);
        }
        gram
    }

    /// The first parameter and member that hold values that are NaN or infinite, and how many.
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

    /// ‖θ0‖ over the parameters that count.
    pub fn norm_origin(&self) -> f64 {
        self.squared_origin.iter().sum::<f64>().sqrt()
    }
}

fn part(pool: &Pool, index: usize) -> Part {
    let members = pool.members.len();
    let k = members - 1;
    let counts = pool.parameters[index].counts();
    let mut part = Part {
        gram: Array2::zeros((k, k)),
        squared_origin: 0.0,
        nonfinite: vec![0; members],
    };
    for_each_block(pool, index, |blocks| {
        for (count, block) in part.nonfinite.iter_mut().zip(&*blocks) {
            *count += block.iter().filter(|value| !value.is_finite()).count();
        }
        if !counts {
            return;
        }
        let (origin, rest) = blocks.split_at_mut(1);
        part.squared_origin += dot(&origin[0], &origin[0]);
        for block in rest.iter_mut() {
            for (value, origin) in block.iter_mut().zip(&origin[0]) {
                *value -= origin;
            }
        }
        for i in 0..k {
            for j in i..k {
                part.gram[[i, j]] += dot(&rest[i], &rest[j]);
            }
        }
    });
    for i in 0..k {
        for j in 0..i {
            part.gram[[i, j]] = part.gram[[j, i]];
        }
    }
    part
}

/// Visits a parameter block by block: one slice of f64 a member, in the graph's order.
pub fn for_each_block(pool: &Pool, index: usize, mut visit: impl FnMut(&mut [Vec<f64>])) {
    let parameter: &Parameter = &pool.parameters[index];
    let sources: Vec<&Source> = pool
        .members
        .iter()
        .map(|member| &member.sources[index])
        .collect();
    let transposed = sources.iter().any(|source| source.transposed);
    let block = decode::block_len(&parameter.shape, transposed);
    let mut blocks = vec![Vec::with_capacity(block); sources.len()];
    for start in (0..parameter.len()).step_by(block) {
        let count = block.min(parameter.len() - start);
        for (values, source) in blocks.iter_mut().zip(&sources) {
            values.clear();
            values.resize(count, 0.0);
            decode::add(source, start, 1.0, values);
        }
        visit(&mut blocks);
    }
}

/// Four partial sums, so that rounding errors stay small and the loop vectorizes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}
