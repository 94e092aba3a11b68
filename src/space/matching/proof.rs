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

    /// Whether it is a square matrix of several rows that equals its transpose, so that its
    /// orientation does not show.
    fn is_symmetric(&self) -> bool;
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
        is_square(&self.shape) && same_values(self, self, true, Agreement::Exact)
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
        let turned = is_square(&self.shape).then(|| self.transpose(&[1, 0]));
        turned.flatten().is_some_and(|it| it.data == self.data)
    }
}

fn are_trivial(values: &[f64]) -> bool {
    values.iter().all(|x| [0.0, 1.0].contains(&x.abs()))
}

fn is_square(shape: &[usize]) -> bool {
    matches!(shape, [rows, columns] if rows == columns && *rows > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor::Dtype;

    /// What is told of a tensor and of the same values as an array.
    fn judged(shape: &[usize], values: &[f32]) -> [bool; 3] {
        let tensor = Tensor {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
        };
        let data = values.iter().map(|x| f64::from(*x)).collect();
        let array = Array::exact(shape.to_vec(), data);
        let all: [&dyn Telling; 2] = [&tensor, &array];
        let [one, other] = all.map(|it| [it.is_uniform(), it.is_trivial(), it.is_symmetric()]);
        assert_eq!(one, other, "{shape:?} {values:?}");
        one
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
        ] {
            assert_eq!(judged(&shape, &values), expected, "{shape:?} {values:?}");
        }
    }
}
