//! The tensor that an adapter makes of one of its base's: W + s·B·A, and of DoRA
//! m ⊙ (W + s·B·A) / ‖W + s·B·A‖, with the norm of the weights of each output.
//!
//! Sums are in f64 and rounded once. PEFT sums in the factors' type and rounds to the base's.

use rayon::prelude::*;

use crate::checkpoint::adapter::Update;
use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// Elements computed by one task.
const TASK: usize = 1 << 14;

/// How the base holds the matrix of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// [out, in…]: a row for each output.
    Outputs,
    /// [in, out]: a row for each input. Embeddings and GPT-2's `Conv1D` have it.
    Inputs,
}

/// The type of the result: as precise as the base, and at least f32.
pub fn dtype(base: &Tensor) -> Dtype {
    if base.dtype == Dtype::F64 {
        Dtype::F64
    } else {
        Dtype::F32
    }
}

/// A product, with its factors decoded.
struct Product<'a> {
    base: &'a StoredTensor,
    /// [rows of the base, rank], scaled.
    left: Vec<f64>,
    /// [rank, columns of the base].
    right: Vec<f64>,
    rank: usize,
    columns: usize,
}

impl Product<'_> {
    /// Computes whole rows, from `first` on.
    fn rows(&self, first: usize, out: &mut [f64]) {
        decode::read(self.base, first * self.columns, out);
        for (offset, row) in out.chunks_mut(self.columns).enumerate() {
            let left = &self.left[(first + offset) * self.rank..][..self.rank];
            for (factor, right) in left.iter().zip(self.right.chunks(self.columns)) {
                for (sum, element) in row.iter_mut().zip(right) {
                    *sum += factor * element;
                }
            }
        }
    }

    /// Rows computed by one task.
    fn height(&self) -> usize {
        (TASK / self.columns).max(1)
    }

    /// The squared norms of rows and of columns.
    fn squares(&self) -> (Vec<f64>, Vec<f64>) {
        let count = self.left.len() / self.rank;
        let starts: Vec<usize> = (0..count).step_by(self.height()).collect();
        let parts = starts.into_par_iter().map(|first| {
            let height = self.height().min(count - first);
            let mut values = vec![0.0; height * self.columns];
            self.rows(first, &mut values);
            let mut columns = vec![0.0; self.columns];
            let mut rows = Vec::with_capacity(height);
            for row in values.chunks(self.columns) {
                rows.push(row.iter().map(|x| x * x).sum::<f64>());
                for (sum, x) in columns.iter_mut().zip(row) {
                    *sum += x * x;
                }
            }
            (rows, columns)
        });
        // In the order of the rows, so that the sums are the same whoever computed them.
        let parts: Vec<(Vec<f64>, Vec<f64>)> = parts.collect();
        let mut columns = vec![0.0; self.columns];
        for (_, part) in &parts {
            for (sum, x) in columns.iter_mut().zip(part) {
                *sum += x;
            }
        }
        let rows = parts.into_iter().flat_map(|(rows, _)| rows).collect();
        (rows, columns)
    }
}

/// Computes the updated weight, little-endian, in the base's shape and of type [`dtype`].
///
/// The base's shape must be that of the product in this layout.
pub fn updated(base: &Tensor, update: &Update, layout: Layout) -> Vec<u8> {
    let stored = StoredTensor::nameless(base, false);
    let values = |tensor: &Tensor| decode::values(&StoredTensor::nameless(tensor, false));
    let (a, b, rank) = (values(&update.a), values(&update.b), update.rank());
    let (mut left, right) = match layout {
        Layout::Outputs => (b, a),
        Layout::Inputs => (transposed(&a, rank), transposed(&b, update.outputs())),
    };
    left.iter_mut().for_each(|x| *x *= update.scaling);
    let product = Product {
        base: &stored,
        columns: right.len() / rank,
        left,
        right,
        rank,
    };
    let scales = update.magnitude.as_ref().map(|magnitude| {
        let (rows, columns) = product.squares();
        let squares = match layout {
            Layout::Outputs => rows,
            Layout::Inputs => columns,
        };
        let pairs = values(magnitude).into_iter().zip(squares);
        pairs
            .map(|(wanted, square)| wanted / square.sqrt())
            .collect()
    });
    written(&product, scales, layout, dtype(base))
}

/// Computes and rounds all rows; `scales` are the outputs' factors.
fn written(
    product: &Product<'_>,
    scales: Option<Vec<f64>>,
    layout: Layout,
    dtype: Dtype,
) -> Vec<u8> {
    let size = dtype.size().unwrap_or(4);
    let mut bytes = vec![0; product.base.tensor.len() * size];
    let (columns, height) = (product.columns, product.height());
    let tasks = bytes.par_chunks_mut(height * columns * size).enumerate();
    tasks.for_each(|(task, bytes)| {
        let mut values = vec![0.0; bytes.len() / size];
        product.rows(task * height, &mut values);
        for (offset, row) in values.chunks_mut(columns).enumerate() {
            match (&scales, layout) {
                (None, _) => {}
                (Some(scales), Layout::Outputs) => {
                    row.iter_mut()
                        .for_each(|x| *x *= scales[task * height + offset]);
                }
                (Some(scales), Layout::Inputs) => {
                    row.iter_mut()
                        .zip(scales)
                        .for_each(|(x, scale)| *x *= scale);
                }
            }
        }
        write(&values, dtype, bytes);
    });
    bytes
}

/// Computes a bias with that of the second factor: b + s·β.
pub fn updated_bias(base: &Tensor, bias: &Tensor, scaling: f64) -> Vec<u8> {
    let mut values = decode::values(&StoredTensor::nameless(base, false));
    decode::add(
        &StoredTensor::nameless(bias, false),
        0,
        scaling,
        &mut values,
    );
    let dtype = dtype(base);
    let mut bytes = vec![0; values.len() * dtype.size().unwrap_or(4)];
    write(&values, dtype, &mut bytes);
    bytes
}

/// Rounds values to f32, or keeps them as f64.
fn write(values: &[f64], dtype: Dtype, bytes: &mut [u8]) {
    if dtype == Dtype::F64 {
        for (bytes, value) in bytes.chunks_exact_mut(8).zip(values) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        return;
    }
    for (bytes, value) in bytes.chunks_exact_mut(4).zip(values) {
        // What f32 cannot hold becomes infinite, which is refused with all weights that are.
        #[allow(clippy::cast_possible_truncation)]
        let rounded = *value as f32;
        bytes.copy_from_slice(&rounded.to_le_bytes());
    }
}

/// The transpose of a matrix with this many rows.
fn transposed(matrix: &[f64], rows: usize) -> Vec<f64> {
    let columns = matrix.len() / rows;
    let row = |column: usize| (0..rows).map(move |row| matrix[row * columns + column]);
    (0..columns).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: Dtype, shape: &[usize], values: &[f64]) -> Tensor {
        let bytes: Vec<u8> = match dtype {
            Dtype::F64 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Dtype::F16 => {
                let halves = values.iter().map(|&x| half::f16::from_f64(x));
                halves.flat_map(half::f16::to_le_bytes).collect()
            }
            _ => values
                .iter()
                .flat_map(|&x| (x as f32).to_le_bytes())
                .collect(),
        };
        Tensor {
            dtype,
            shape: shape.to_vec(),
            bytes: bytes.into(),
        }
    }

    /// Numbers that f16 holds exactly.
    fn numbers(count: usize, seed: usize) -> Vec<f64> {
        (0..count)
            .map(|k| ((k * 37 + seed * 11) % 23) as f64 / 8.0 - 1.0)
            .collect()
    }

    fn update(outputs: usize, inputs: usize, rank: usize) -> Update {
        Update {
            module: "q".into(),
            is_embedding: false,
            a: tensor(Dtype::F16, &[rank, inputs], &numbers(rank * inputs, 1)),
            b: tensor(Dtype::F32, &[outputs, rank], &numbers(outputs * rank, 2)),
            bias: None,
            magnitude: None,
            scaling: 0.75,
        }
    }

    fn values(bytes: Vec<u8>, dtype: Dtype, count: usize) -> Vec<f64> {
        let tensor = Tensor {
            dtype,
            shape: vec![count],
            bytes: bytes.into(),
        };
        decode::values(&StoredTensor::nameless(&tensor, false))
    }

    /// W + s·B·A, element by element as written in the definition.
    fn expected(base: &[f64], outputs: usize, inputs: usize, rank: usize) -> Vec<f64> {
        let (a, b) = (numbers(rank * inputs, 1), numbers(outputs * rank, 2));
        let element = |o: usize, i: usize| {
            let sum: f64 = (0..rank).map(|r| b[o * rank + r] * a[r * inputs + i]).sum();
            base[o * inputs + i] + 0.75 * sum
        };
        let row = |o: usize| (0..inputs).map(move |i| element(o, i));
        (0..outputs).flat_map(row).collect()
    }

    #[test]
    fn a_product_is_added_in_either_layout_and_every_type() {
        // More elements than a task has.
        let (outputs, inputs, rank) = (301, 67, 3);
        let base = numbers(outputs * inputs, 3);
        let expected = expected(&base, outputs, inputs, rank);
        let update = update(outputs, inputs, rank);
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16] {
            let result = if dtype == Dtype::F64 {
                Dtype::F64
            } else {
                Dtype::F32
            };
            let direct = tensor(dtype, &[outputs, inputs], &base);
            let made = updated(&direct, &update, Layout::Outputs);
            assert_eq!(values(made, result, expected.len()), expected);
            let turned = tensor(dtype, &[inputs, outputs], &transposed(&base, outputs));
            let made = updated(&turned, &update, Layout::Inputs);
            assert_eq!(
                values(made, result, expected.len()),
                transposed(&expected, outputs)
            );
        }
    }

    #[test]
    fn a_magnitude_is_the_norm_of_each_outputs_weights() {
        let (outputs, inputs, rank) = (40, 700, 2);
        let base = numbers(outputs * inputs, 3);
        let plain = expected(&base, outputs, inputs, rank);
        let magnitude: Vec<f64> = (0..outputs).map(|o| 1.0 + o as f64).collect();
        let update = Update {
            magnitude: Some(tensor(Dtype::F32, &[outputs], &magnitude)),
            ..update(outputs, inputs, rank)
        };
        let direct = tensor(Dtype::F64, &[outputs, inputs], &base);
        let made = values(
            updated(&direct, &update, Layout::Outputs),
            Dtype::F64,
            plain.len(),
        );
        for (o, (row, plain)) in made.chunks(inputs).zip(plain.chunks(inputs)).enumerate() {
            let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((norm(row) - magnitude[o]).abs() < 1e-10);
            let cosine: f64 = row.iter().zip(plain).map(|(a, b)| a * b).sum();
            assert!((cosine - norm(row) * norm(plain)).abs() < 1e-9);
        }
        let turned = tensor(Dtype::F64, &[inputs, outputs], &transposed(&base, outputs));
        let turned = values(
            updated(&turned, &update, Layout::Inputs),
            Dtype::F64,
            plain.len(),
        );
        for (a, b) in transposed(&made, outputs).iter().zip(&turned) {
            assert!((a - b).abs() < 1e-10);
        }
    }

    #[test]
    fn a_bias_gets_the_factors_scaled() {
        let base = tensor(Dtype::F16, &[2], &[1.0, -1.0]);
        let bias = tensor(Dtype::F32, &[2], &[0.5, 2.0]);
        let made = updated_bias(&base, &bias, 0.25);
        assert_eq!(values(made, Dtype::F32, 2), [1.125, -0.5]);
    }
}
