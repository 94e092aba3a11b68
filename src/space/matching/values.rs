//! Compares the values of tensors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;

use crate::checkpoint::tensor::Tensor;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// How closely values must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Agreement {
    /// Every element is equal.
    Exact,
    /// Elements are equal up to rounding to the narrower of the two types.
    Rounded,
}

/// Whether `other` holds the values of `tensor`; if `transposed`, with the rows and columns of a
/// matrix exchanged.
pub fn same_values(
    tensor: &Tensor,
    other: &Tensor,
    transposed: bool,
    agreement: Agreement,
) -> bool {
    let fits = match (transposed, tensor.shape.as_slice(), other.shape.as_slice()) {
        (true, [a, b], [c, d]) => a == d && b == c,
        (true, ..) => false,
        (false, ours, theirs) => ours == theirs,
    };
    if !fits || !other.dtype.is_float() {
        return false;
    }
    let other = StoredTensor::nameless(other, transposed);
    match agreement {
        Agreement::Exact => decode::equal(tensor, &other),
        Agreement::Rounded => decode::equal_to_rounding(tensor, &other),
    }
}

/// Whether two tensors hold the same values: `Some(false)` directly, `Some(true)` if the second is
/// the transpose of the first, `None` if they differ.
pub fn orientation(first: &Tensor, second: &Tensor, agreement: Agreement) -> Option<bool> {
    let same = |transposed: &bool| same_values(first, second, *transposed, agreement);
    [false, true].into_iter().find(same)
}

/// Caches comparisons of tensors, which must not move.
#[derive(Debug, Default)]
pub struct Comparisons<'a> {
    known: RefCell<HashMap<Question, bool>>,
    tensors: PhantomData<&'a Tensor>,
}

/// A comparison: the addresses of two tensors, whether the second is transposed, and the agreement.
type Question = (*const Tensor, *const Tensor, bool, Agreement);

impl<'a> Comparisons<'a> {
    /// Like [`same_values`], but cached.
    pub fn same_values(
        &self,
        tensor: &'a Tensor,
        other: &'a Tensor,
        transposed: bool,
        agreement: Agreement,
    ) -> bool {
        let question: Question = (tensor, other, transposed, agreement);
        let known = self.known.borrow().get(&question).copied();
        known.unwrap_or_else(|| {
            let same = same_values(tensor, other, transposed, agreement);
            self.known.borrow_mut().insert(question, same);
            same
        })
    }

    /// Like [`orientation`], but cached.
    pub fn orientation(
        &self,
        first: &'a Tensor,
        second: &'a Tensor,
        agreement: Agreement,
    ) -> Option<bool> {
        let same = |transposed: &bool| self.same_values(first, second, *transposed, agreement);
        [false, true].into_iter().find(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor::Dtype;

    fn matrix(dtype: Dtype, shape: [usize; 2], bytes: Vec<u8>) -> Tensor {
        Tensor {
            dtype,
            shape: shape.to_vec(),
            bytes: bytes.into(),
        }
    }

    fn floats(shape: [usize; 2], values: &[f32]) -> Tensor {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        matrix(Dtype::F32, shape, bytes)
    }

    #[test]
    fn equal_tensors_have_an_orientation() {
        let wide = floats([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let tall = floats([3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let comparisons = Comparisons::default();
        for agreement in [Agreement::Exact, Agreement::Rounded] {
            for (first, second, expected) in [
                (&wide, &wide, Some(false)),
                (&wide, &tall, Some(true)),
                (&floats([2, 3], &[1.0; 6]), &wide, None),
            ] {
                assert_eq!(orientation(first, second, agreement), expected);
            }
            // The second answer comes from the cache.
            for _ in 0..2 {
                let found = comparisons.orientation(&wide, &tall, agreement);
                assert_eq!(found, Some(true));
            }
        }
    }

    #[test]
    fn rounding_is_forgiven_where_it_is_said_to_be() {
        let full = floats([1, 2], &[0.1, 1.0]);
        let halves = [0.1_f32, 1.0].map(|x| half::f16::from_f32(x).to_le_bytes());
        let half = matrix(Dtype::F16, [1, 2], halves.concat());
        assert!(same_values(&full, &half, false, Agreement::Rounded));
        assert!(!same_values(&full, &half, false, Agreement::Exact));
        // Integers hold no weights, not even zeros.
        let zeros = floats([1, 2], &[0.0, 0.0]);
        let integers = matrix(Dtype::Other("i32"), [1, 2], vec![0; 8]);
        assert!(!same_values(&zeros, &integers, false, Agreement::Exact));
    }
}
