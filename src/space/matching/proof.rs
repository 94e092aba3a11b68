//! What values cannot prove.
//!
//! Tensors are matched and explained by their values at θ0. Some values fit anything: equal elements
//! (all ones, all zeros), elements that products and powers keep, and a matrix that equals its
//! transpose. Every rule that rests on values asks here.

use super::values::{Agreement, same_values};
use crate::checkpoint::tensor::Tensor;
use crate::graph::unfold::Array;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// How much the values of a tensor tell.
pub trait Telling {
    /// Whether all elements are the same, as of a constant that was never a parameter. A scale, a
    /// shift and any function of such a tensor are such tensors, too.
    fn is_uniform(&self) -> bool;

    /// Whether every element is 0, 1 or −1, which products with each other and powers keep.
    fn is_trivial(&self) -> bool;

    /// Whether it stays the same when two of its axes change places, as a matrix that equals its
    /// transpose does: its orientation does not show.
    fn is_symmetric(&self) -> bool;
}

/// Whether the values of a tensor would show a computation that was folded into them, as those of a
/// random tensor do: not if elements are alike, whole numbers (a rounding), often 0 or ±1 (a mask, an
/// identity), or symmetric.
pub fn is_telling(tensor: &Tensor) -> bool {
    let values = decode::values(&StoredTensor::nameless(tensor, false));
    let special = values
        .iter()
        .filter(|x| [0.0, 1.0].contains(&x.abs()))
        .count();
    let few = special as f64 <= SPECIAL * values.len() as f64;
    few && !are_whole(&values) && !tensor.is_uniform() && !tensor.is_symmetric()
}

/// Share of elements that are 0 or ±1 up to which a tensor counts as random: some are rounded to them
/// in 16 bits.
const SPECIAL: f64 = 0.005;

/// Whether all elements are whole numbers, which a rounding leaves alone.
pub fn is_whole(tensor: &Tensor) -> bool {
    are_whole(&decode::values(&StoredTensor::nameless(tensor, false)))
}

fn are_whole(values: &[f64]) -> bool {
    values.iter().all(|x| x.fract() == 0.0)
}

impl Telling for Tensor {
    fn is_uniform(&self) -> bool {
        let mut elements = self.bytes.chunks(self.dtype.size().unwrap_or(1));
        let first = elements.next();
        elements.all(|it| Some(it) == first)
    }

    fn is_trivial(&self) -> bool {
        are_trivial(&decode::values(&StoredTensor::nameless(self, false)))
    }

    fn is_symmetric(&self) -> bool {
        if let [_, _] = self.shape[..] {
            return is_square(&self.shape) && same_values(self, self, true, Agreement::Exact);
        }
        let may_be = swaps(&self.shape).next().is_some();
        may_be && {
            let data = decode::values(&StoredTensor::nameless(self, false));
            Array::exact(self.shape.clone(), data).is_symmetric()
        }
    }
}

impl Telling for Array {
    fn is_uniform(&self) -> bool {
        self.data.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn is_trivial(&self) -> bool {
        are_trivial(&self.data)
    }

    fn is_symmetric(&self) -> bool {
        swaps(&self.shape).any(|order| {
            let turned = self.transpose(&order);
            turned.is_some_and(|it| it.data == self.data)
        })
    }
}

fn are_trivial(values: &[f64]) -> bool {
    values.iter().all(|x| [0.0, 1.0].contains(&x.abs()))
}

/// Orders of the axes in which two of one size, above 1, change places.
fn swaps(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let pairs = (0..shape.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let alike = pairs.filter(|&(a, b)| shape[a] == shape[b] && shape[a] > 1);
    alike.map(|(a, b)| {
        let mut order: Vec<usize> = (0..shape.len()).collect();
        order.swap(a, b);
        order
    })
}

fn is_square(shape: &[usize]) -> bool {
    matches!(shape, [rows, columns] if rows == columns && *rows > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor::Dtype;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes());
        Tensor {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: bytes.collect::<Vec<u8>>().into(),
        }
    }

    /// What is told of a tensor and of the same values as an array.
    fn judged(shape: &[usize], values: &[f32]) -> [bool; 3] {
        let tensor = tensor(shape, values);
        let data = values.iter().map(|x| f64::from(*x)).collect();
        let array = Array::exact(shape.to_vec(), data);
        let all: [&dyn Telling; 2] = [&tensor, &array];
        let [one, other] = all.map(|it| [it.is_uniform(), it.is_trivial(), it.is_symmetric()]);
        assert_eq!(one, other, "{shape:?} {values:?}");
        one
    }

    #[test]
    fn what_a_mask_a_rounding_or_a_factor_leaves_alone_tells_nothing() {
        assert!(is_telling(&tensor(
            &[2, 3],
            &[0.1, -0.7, 1.3, 0.2, 2.5, -0.4]
        )));
        // A triangle, an identity, whole numbers, a symmetric matrix.
        assert!(!is_telling(&tensor(&[2, 2], &[0.3, 0.0, 0.7, -0.2])));
        assert!(!is_telling(&tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0])));
        assert!(!is_telling(&tensor(&[3], &[3.0, -5.0, 2.0])));
        assert!(is_whole(&tensor(&[3], &[3.0, -5.0, 2.0])));
        assert!(!is_telling(&tensor(&[2, 2], &[0.3, 0.5, 0.5, -0.2])));
    }

    #[test]
    fn tensors_and_arrays_are_judged_alike() {
        for (shape, values, expected) in [
            (vec![], vec![2.5], [true, false, false]),
            (vec![1], vec![-1.0], [true, true, false]),
            (vec![3], vec![1.0, 0.0, -1.0], [false, true, false]),
            (vec![3], vec![0.5, 0.5, 0.5], [true, false, false]),
            (vec![2, 2], vec![1.0, 3.0, 3.0, 2.0], [false, false, true]),
            (vec![2, 2], vec![1.0, 3.0, 4.0, 2.0], [false, false, false]),
            (vec![1, 4], vec![1.0; 4], [true, true, false]),
            // The last two axes of the first change places, none of the second.
            (
                vec![2, 1, 2, 2],
                vec![1.0, 3.0, 3.0, 2.0, 5.0, 7.0, 7.0, 6.0],
                [false, false, true],
            ),
            (
                vec![2, 1, 2, 2],
                vec![1.0, 3.0, 3.0, 2.0, 5.0, 7.0, 8.0, 6.0],
                [false, false, false],
            ),
        ] {
            assert_eq!(judged(&shape, &values), expected, "{shape:?} {values:?}");
        }
    }
}
