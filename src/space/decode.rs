//! Reads the elements of a stored tensor in the graph's order, as f64.
//!
//! Files are mapped, and their tensors lie at any alignment, in any of four float types, and are
//! sometimes transposed. All reading of weights goes through [`add`], block by block.

use half::{bf16, f16};

use super::stored_tensor::StoredTensor;
use crate::checkpoint::tensor::{Dtype, Tensor};

/// Elements per block: blocks of a few members fit into the L1 cache.
pub const BLOCK: usize = 2048;

/// Rows of the graph read together from a transposed matrix: one 64-byte cache line of f32.
const TILE: usize = 16;

/// The block length suited to a tensor of this shape in the graph: whole tiles of rows if some
/// member holds the matrix transposed.
pub fn block_len(shape: &[usize], any_transposed: bool) -> usize {
    match shape {
        [_, columns] if any_transposed => (TILE * columns).max(1),
        _ => BLOCK,
    }
}

/// Adds `coefficient`·θ to `sum`, for the elements from `start` on in the graph's order.
///
/// For a transposed source, `start` and the length of `sum` must be multiples of the graph's row
/// length.
pub fn add(source: &StoredTensor, start: usize, coefficient: f64, sum: &mut [f64]) {
    let tensor = &source.tensor;
    match tensor.dtype {
        Dtype::F32 => add_as(source, start, sum, |bytes: [u8; 4]| {
            coefficient * f64::from(f32::from_le_bytes(bytes))
        }),
        Dtype::F64 => add_as(source, start, sum, |bytes: [u8; 8]| {
            coefficient * f64::from_le_bytes(bytes)
        }),
        Dtype::F16 => add_as(source, start, sum, |bytes: [u8; 2]| {
            coefficient * f16::from_le_bytes(bytes).to_f64()
        }),
        Dtype::Bf16 => add_as(source, start, sum, |bytes: [u8; 2]| {
            coefficient * bf16::from_le_bytes(bytes).to_f64()
        }),
        _ => {}
    }
}

/// Writes θ to `out`, for the elements from `start` on in the graph's order; see [`add`].
pub fn read(source: &StoredTensor, start: usize, out: &mut [f64]) {
    let is_plain = !source.transposed && source.tensor.dtype == Dtype::F32;
    if !is_plain {
        out.fill(0.0);
        return add(source, start, 1.0, out);
    }
    let (elements, _) = source.tensor.bytes.as_chunks::<4>();
    for (out, &bytes) in out.iter_mut().zip(&elements[start..]) {
        *out = f64::from(f32::from_le_bytes(bytes));
    }
}

fn add_as<const N: usize>(
    source: &StoredTensor,
    start: usize,
    sum: &mut [f64],
    term: impl Fn([u8; N]) -> f64,
) {
    let (elements, _) = source.tensor.bytes.as_chunks::<N>();
    let shape = &source.tensor.shape;
    if !(source.transposed && shape.len() == 2) {
        let elements = &elements[start..start + sum.len()];
        for (sum, &bytes) in sum.iter_mut().zip(elements) {
            *sum += term(bytes);
        }
        return;
    }
    // The graph's [rows, columns] is stored [columns, rows].
    let (columns, rows) = (shape[0], shape[1]);
    let first = start / columns;
    for (tile, sums) in sum.chunks_mut(TILE * columns).enumerate() {
        let row = first + tile * TILE;
        let height = sums.len() / columns;
        for column in 0..columns {
            let stored = &elements[column * rows + row..][..height];
            for (offset, &bytes) in stored.iter().enumerate() {
                sums[offset * columns + column] += term(bytes);
            }
        }
    }
}

/// All elements in the graph's order.
pub fn values(source: &StoredTensor) -> Vec<f64> {
    let mut values = vec![0.0; source.tensor.len()];
    add(source, 0, 1.0, &mut values);
    values
}

/// Visits two sources of the same shape block by block, until `visit` returns false.
pub fn side_by_side(
    first: &StoredTensor,
    second: &StoredTensor,
    mut visit: impl FnMut(&[f64], &[f64]) -> bool,
) {
    let turned = if first.transposed { first } else { second };
    let mut shape = turned.tensor.shape.clone();
    if turned.transposed {
        shape.reverse();
    }
    let block = block_len(&shape, turned.transposed);
    let len = first.tensor.len();
    let mut buffers = (vec![0.0; block.min(len)], vec![0.0; block.min(len)]);
    for start in (0..len).step_by(block) {
        let count = block.min(len - start);
        let (a, b) = (&mut buffers.0[..count], &mut buffers.1[..count]);
        a.fill(0.0);
        b.fill(0.0);
        add(first, start, 1.0, a);
        add(second, start, 1.0, b);
        if !visit(a, b) {
            return;
        }
    }
}

/// Whether a source holds exactly the values of a tensor of the graph's shape.
pub fn equal(tensor: &Tensor, source: &StoredTensor) -> bool {
    let same_bytes = || tensor.dtype == source.tensor.dtype && tensor.bytes == source.tensor.bytes;
    if tensor.len() != source.tensor.len() {
        return false;
    }
    if !source.transposed && same_bytes() {
        return true;
    }
    let mut equal = true;
    side_by_side(&StoredTensor::nameless(tensor, false), source, |a, b| {
        equal = a == b;
        equal
    });
    equal
}

/// Whether a source holds the values of a tensor of the graph's shape, up to rounding to their
/// types: each may be the rounding of one value in higher precision. What is beyond the range of a
/// type is infinite there.
pub fn equal_to_rounding(tensor: &Tensor, source: &StoredTensor) -> bool {
    let types = [tensor.dtype, source.tensor.dtype];
    if types[0] == types[1] {
        return equal(tensor, source);
    }
    let (Some(one), Some(two)) = (Rounding::of(types[0]), Rounding::of(types[1])) else {
        return false;
    };
    if tensor.len() != source.tensor.len() {
        return false;
    }
    let (unit, step) = (one.unit + two.unit, one.step + two.step);
    let largest = one.largest.min(two.largest);
    let close = |a: f64, b: f64| match (a.is_infinite(), b.is_infinite()) {
        _ if a == b => true,
        (true, true) => false,
        (true, false) => b.abs() >= largest && a.signum() == b.signum(),
        (false, true) => a.abs() >= largest && a.signum() == b.signum(),
        (false, false) => (a - b).abs() <= (unit * a.abs().max(b.abs())).max(step),
    };
    let mut equal = true;
    side_by_side(&StoredTensor::nameless(tensor, false), source, |a, b| {
        equal = a.iter().zip(b).all(|(&a, &b)| close(a, b));
        equal
    });
    equal
}

/// How a type rounds.
struct Rounding {
    /// Maximum relative error of rounding.
    unit: f64,
    /// Maximum absolute error around 0, where numbers are equally far apart.
    step: f64,
    /// The largest number.
    largest: f64,
}

impl Rounding {
    fn of(dtype: Dtype) -> Option<Self> {
        // Half the distance of numbers above 1; of numbers around 0.
        let (unit, step, largest) = match dtype {
            Dtype::F64 => (f64::EPSILON / 2.0, 0.0, f64::MAX),
            Dtype::F32 => (
                f64::from(f32::EPSILON) / 2.0,
                2.0_f64.powi(-150),
                f64::from(f32::MAX),
            ),
            Dtype::F16 => (
                f16::EPSILON.to_f64() / 2.0,
                2.0_f64.powi(-25),
                f16::MAX.to_f64(),
            ),
            Dtype::Bf16 => (
                bf16::EPSILON.to_f64() / 2.0,
                2.0_f64.powi(-134),
                bf16::MAX.to_f64(),
            ),
            _ => return None,
        };
        Some(Self {
            unit,
            step,
            largest,
        })
    }
}

/// Computes [‖tensor‖², ⟨tensor, source⟩, ‖source‖²] for a source of the tensor's length.
pub fn products(tensor: &Tensor, source: &StoredTensor) -> [f64; 3] {
    let mut products = [0.0; 3];
    side_by_side(&StoredTensor::nameless(tensor, false), source, |a, b| {
        for (a, b) in a.iter().zip(b) {
            products[0] += a * a;
            products[1] += a * b;
            products[2] += b * b;
        }
        true
    });
    products
}

/// ‖tensor − source‖²; infinite if their lengths differ.
pub fn squared_distance(tensor: &Tensor, source: &StoredTensor) -> f64 {
    if tensor.len() != source.tensor.len() {
        return f64::INFINITY;
    }
    let mut total = 0.0;
    side_by_side(&StoredTensor::nameless(tensor, false), source, |a, b| {
        total += a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        true
    });
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dtype: Dtype, shape: &[usize], bytes: Vec<u8>, transposed: bool) -> StoredTensor {
        StoredTensor {
            name: "w".into(),
            tensor: Tensor {
                dtype,
                shape: shape.to_vec(),
                bytes: bytes.into(),
            },
            transposed,
        }
    }

    #[test]
    fn every_float_type_is_read() {
        let numbers = [1.5, -2.0, 0.25];
        let f32s = numbers
            .iter()
            .flat_map(|&x| (x as f32).to_le_bytes())
            .collect();
        let f64s = numbers
            .iter()
            .flat_map(|&x: &f64| x.to_le_bytes())
            .collect();
        let f16s = numbers
            .iter()
            .flat_map(|&x| f16::from_f64(x).to_le_bytes())
            .collect();
        let bf16s = numbers
            .iter()
            .flat_map(|&x| bf16::from_f64(x).to_le_bytes())
            .collect();
        for (dtype, bytes) in [
            (Dtype::F32, f32s),
            (Dtype::F64, f64s),
            (Dtype::F16, f16s),
            (Dtype::Bf16, bf16s),
        ] {
            assert_eq!(values(&source(dtype, &[3], bytes, false)), numbers);
        }
    }

    const FLOATS: [Dtype; 4] = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16];

    /// Numbers rounded to a type.
    fn stored(numbers: &[f64], dtype: Dtype) -> StoredTensor {
        let bytes = numbers.iter().flat_map(|&x| match dtype {
            Dtype::F64 => x.to_le_bytes().to_vec(),
            Dtype::F32 => (x as f32).to_le_bytes().to_vec(),
            Dtype::F16 => f16::from_f64(x).to_le_bytes().to_vec(),
            _ => bf16::from_f64(x).to_le_bytes().to_vec(),
        });
        source(dtype, &[numbers.len()], bytes.collect(), false)
    }

    #[test]
    fn every_two_types_hold_one_value_up_to_rounding() {
        // Ordinary numbers, signed zeros, subnormals of each type, and what overflows some.
        let numbers = [
            1.0, 0.1, -3.3, 1e-3, 0.0, -0.0, 6e-8, 3e-8, -1e-8, 1e-40, 2e-45, 1e-310, 65_504.0,
            65_519.0, 7e4, -1e6, 3.39e38, 3.403e38, -1e300,
        ];
        let negated: Vec<f64> = numbers.iter().map(|x| -x).collect();
        for graph in FLOATS {
            for weights in FLOATS {
                let tensor = stored(&numbers, graph).tensor;
                assert!(
                    equal_to_rounding(&tensor, &stored(&numbers, weights)),
                    "{graph:?} {weights:?}"
                );
                assert!(!equal_to_rounding(&tensor, &stored(&negated, weights)));
            }
        }
    }

    #[test]
    fn what_differs_by_more_than_rounding_is_another_value() {
        for graph in FLOATS {
            for weights in FLOATS.into_iter().filter(|it| *it != graph) {
                let bits = |dtype| match dtype {
                    Dtype::F64 => 53,
                    Dtype::F32 => 24,
                    Dtype::F16 => 11,
                    _ => 8,
                };
                let unit = 2.0_f64.powi(-bits(graph).min(bits(weights)));
                let tensor = stored(&[1.5], graph).tensor;
                let (near, far) = (1.5 + unit, 1.5 + 6.0 * unit);
                assert!(equal_to_rounding(&tensor, &stored(&[near], weights)));
                let far = equal_to_rounding(&tensor, &stored(&[far], weights));
                assert!(!far, "{graph:?} {weights:?}");
                // An overflow is equal to no ordinary number, and NaN to none.
                for odd in [f64::INFINITY, f64::NAN] {
                    assert!(!equal_to_rounding(&tensor, &stored(&[odd], weights)));
                    let tensor = stored(&[odd], graph).tensor;
                    assert!(!equal_to_rounding(&tensor, &stored(&[1.5], weights)));
                }
            }
            // Between equal types nothing is rounded.
            let tensor = stored(&[1.5], graph).tensor;
            let next = match graph {
                Dtype::F64 => 1.5 + f64::EPSILON,
                Dtype::F32 => 1.5 + f64::from(f32::EPSILON),
                Dtype::F16 => 1.5 + f16::EPSILON.to_f64(),
                _ => 1.5 + bf16::EPSILON.to_f64(),
            };
            assert!(!equal_to_rounding(&tensor, &stored(&[next], graph)));
        }
        let integers = source(Dtype::Other("i32"), &[1], vec![0; 4], false);
        assert!(!equal_to_rounding(
            &stored(&[0.0], Dtype::F32).tensor,
            &integers
        ));
    }

    #[test]
    fn a_transposed_matrix_is_read_in_the_graphs_order_in_tiles() {
        let (rows, columns) = (37, 5);
        let stored: Vec<u8> = (0..columns)
            .flat_map(|c| (0..rows).map(move |r| (r * columns + c) as f32))
            .flat_map(f32::to_le_bytes)
            .collect();
        let source = source(Dtype::F32, &[columns, rows], stored, true);
        let expected: Vec<f64> = (0..rows * columns).map(|k| k as f64).collect();
        assert_eq!(values(&source), expected);
        // Also from the middle, as blocks do.
        let mut part = vec![0.0; 10 * columns];
        add(&source, 16 * columns, 2.0, &mut part);
        assert_eq!(part[3], 2.0 * (16 * columns + 3) as f64);
        let tensor = Tensor {
            dtype: Dtype::F64,
            shape: vec![rows, columns],
            bytes: expected
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<_>>()
                .into(),
        };
        assert!(equal(&tensor, &source));
        assert_eq!(squared_distance(&tensor, &source), 0.0);
        let shorter = Tensor {
            shape: vec![rows - 1, columns],
            bytes: tensor.bytes.slice(..(rows - 1) * columns * 8),
            ..tensor
        };
        assert_eq!(squared_distance(&shorter, &source), f64::INFINITY);
    }
}
