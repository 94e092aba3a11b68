//! A tensor as stored in a checkpoint file.

use bytes::Bytes;

pub use crate::base::dtype::Dtype;

/// A tensor inside a memory-mapped file; nothing is copied until it is decoded.
///
/// Two tensors are equal if type, shape and bytes are: −0 is not 0, and a NaN equals itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, little-endian and row-major, with no particular alignment. For floating-point
    /// tensors the length is checked against shape and element type.
    pub bytes: Bytes,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        // Shapes of tensors that are not read may be anything.
        let axes = self.shape.iter();
        axes.fold(1, |len: usize, &axis| len.saturating_mul(axis))
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they are integers or truth values.
    pub fn whole_numbers(&self) -> Option<Vec<i128>> {
        let bytes = &self.bytes;
        Some(match self.dtype {
            Dtype::I64 => each(bytes, |it| i64::from_le_bytes(it).into()),
            Dtype::I32 => each(bytes, |it| i32::from_le_bytes(it).into()),
            Dtype::I16 => each(bytes, |it| i16::from_le_bytes(it).into()),
            Dtype::I8 => each(bytes, |it| i8::from_le_bytes(it).into()),
            Dtype::U64 => each(bytes, |it| u64::from_le_bytes(it).into()),
            Dtype::U32 => each(bytes, |it| u32::from_le_bytes(it).into()),
            Dtype::U16 => each(bytes, |it| u16::from_le_bytes(it).into()),
            Dtype::U8 => each(bytes, |it| u8::from_le_bytes(it).into()),
            Dtype::Bool => each(bytes, |it: [u8; 1]| (it[0] != 0).into()),
            _ => return None,
        })
    }
}

/// Decodes elements of N bytes each.
fn each<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> i128) -> Vec<i128> {
    let elements = bytes.as_chunks::<N>().0.iter();
    elements.map(|element| decode(*element)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_the_same_in_every_type() {
        let of = |dtype, bytes: Vec<u8>| {
            let tensor = Tensor {
                dtype,
                shape: vec![2],
                bytes: bytes.into(),
            };
            tensor.whole_numbers()
        };
        let expected = Some(vec![1, 0]);
        let i64s = [1_i64, 0].iter().flat_map(|it| it.to_le_bytes()).collect();
        assert_eq!(of(Dtype::I64, i64s), expected);
        assert_eq!(of(Dtype::U16, vec![1, 0, 0, 0]), expected);
        assert_eq!(of(Dtype::Bool, vec![255, 0]), expected);
        assert_eq!(of(Dtype::I8, vec![255, 0]), Some(vec![-1, 0]));
        let u64s = [u64::MAX, 0].iter().flat_map(|it| it.to_le_bytes());
        assert_eq!(
            of(Dtype::U64, u64s.collect()),
            Some(vec![u64::MAX.into(), 0])
        );
        assert_eq!(of(Dtype::F16, vec![0; 4]), None);
    }
}
