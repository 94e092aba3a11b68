//! Tensors as PyTorch stores them: a stretch of a storage, with strides.

use bytes::Bytes;

use super::outcome::Outcome;
use crate::base::dtype::Dtype;
use crate::checkpoint::tensor::Tensor;

/// Most axes of a tensor in PyTorch.
const MOST_AXES: usize = 64;

/// An element type and the size of its elements in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// The type.
    pub dtype: Dtype,
    /// Bytes per element.
    pub size: usize,
}

/// Types by the name of PyTorch's storage class and of its dtype.
const ELEMENTS: [(&str, &str, Dtype, usize); 26] = [
    ("FloatStorage", "float32", Dtype::F32, 4),
    ("HalfStorage", "float16", Dtype::F16, 2),
    ("BFloat16Storage", "bfloat16", Dtype::Bf16, 2),
    ("DoubleStorage", "float64", Dtype::F64, 8),
    ("LongStorage", "int64", Dtype::I64, 8),
    ("IntStorage", "int32", Dtype::I32, 4),
    ("ShortStorage", "int16", Dtype::I16, 2),
    ("CharStorage", "int8", Dtype::I8, 1),
    ("ByteStorage", "uint8", Dtype::U8, 1),
    ("BoolStorage", "bool", Dtype::Bool, 1),
    ("UntypedStorage", "", Dtype::U8, 1),
    ("", "uint16", Dtype::U16, 2),
    ("", "uint32", Dtype::U32, 4),
    ("", "uint64", Dtype::U64, 8),
    ("", "complex32", Dtype::Other("complex32"), 4),
    (
        "ComplexFloatStorage",
        "complex64",
        Dtype::Other("complex64"),
        8,
    ),
    (
        "ComplexDoubleStorage",
        "complex128",
        Dtype::Other("complex128"),
        16,
    ),
    ("QInt8Storage", "qint8", Dtype::Other("qint8"), 1),
    ("QUInt8Storage", "quint8", Dtype::Other("quint8"), 1),
    ("QInt32Storage", "qint32", Dtype::Other("qint32"), 4),
    ("QUInt4x2Storage", "quint4x2", Dtype::Other("quint4x2"), 1),
    ("QUInt2x4Storage", "quint2x4", Dtype::Other("quint2x4"), 1),
    (
        "Float8_e4m3fnStorage",
        "float8_e4m3fn",
        Dtype::Other("f8"),
        1,
    ),
    ("Float8_e5m2Storage", "float8_e5m2", Dtype::Other("f8"), 1),
    (
        "Float8_e4m3fnuzStorage",
        "float8_e4m3fnuz",
        Dtype::Other("f8"),
        1,
    ),
    (
        "Float8_e5m2fnuzStorage",
        "float8_e5m2fnuz",
        Dtype::Other("f8"),
        1,
    ),
];

impl Element {
    /// The type of a storage class, such as `FloatStorage`.
    pub fn of_storage(class: &str) -> Option<Self> {
        Self::find(|(storage, _)| storage == class && !class.is_empty())
    }

    /// The type with a name, such as `float32`.
    pub fn of_dtype(name: &str) -> Option<Self> {
        Self::find(|(_, dtype)| dtype == name && !name.is_empty())
    }

    /// An element that is not read.
    pub fn unreadable(what: &'static str) -> Self {
        Self {
            dtype: Dtype::Other(what),
            size: 1,
        }
    }

    fn find(is_it: impl Fn((&str, &str)) -> bool) -> Option<Self> {
        let mut table = ELEMENTS.iter();
        let found = table.find(|(storage, name, _, _)| is_it((storage, name)));
        found.map(|&(_, _, dtype, size)| Self { dtype, size })
    }
}

/// A stretch of bytes in the file.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Its key in the file.
    pub key: Bytes,
    /// Its elements' type.
    pub element: Element,
    /// Number of elements in the whole storage with this key.
    pub len: u64,
    /// The part of it that is meant, if not all of it: first element and number of elements.
    pub part: Option<(u64, u64)>,
}

/// A tensor: a view of a storage.
#[derive(Debug, Clone)]
pub struct View {
    /// The storage; `None` if the elements are not read (sparse, quantized).
    pub storage: Option<Storage>,
    /// Its elements' type.
    pub element: Element,
    /// Index of its first element in the storage.
    pub offset: u64,
    /// Shape.
    pub shape: Vec<usize>,
    /// Steps in elements from one index to the next, per axis.
    pub strides: Vec<u64>,
}

impl View {
    /// Number of elements.
    ///
    /// # Errors
    /// When it exceeds what a computer can count.
    pub fn len(&self) -> Outcome<usize> {
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let mut axes = self.shape.iter();
        let len = axes.try_fold(1_usize, |product, &axis| product.checked_mul(axis));
        len.ok_or_else(|| format!("has the impossible shape {:?}", self.shape))
    }

    /// The tensor, given the bytes of its storage: a slice of them, or a gathered copy, which is
    /// charged to `budget`.
    ///
    /// # Errors
    /// When the view exceeds its storage, or the copy exceeds the budget.
    pub fn tensor(&self, storage: &Bytes, budget: &mut usize) -> Outcome<Tensor> {
        let bytes = self.elements(storage, budget)?;
        Ok(Tensor {
            dtype: self.element.dtype,
            shape: self.shape.clone(),
            bytes,
        })
    }

    fn elements(&self, storage: &Bytes, budget: &mut usize) -> Outcome<Bytes> {
        if self.strides.len() != self.shape.len() || self.shape.len() > MOST_AXES {
            let (axes, strides) = (self.shape.len(), self.strides.len());
            return Err(format!("has {axes} axes and {strides} strides"));
        }
        let (len, size) = (self.len()?, self.element.size);
        if len == 0 {
            return Ok(Bytes::new());
        }
        let (start, stop) = self.reach().ok_or("has impossible strides")?;
        let end = stop.checked_mul(size).filter(|end| *end <= storage.len());
        let Some(end) = end else {
            return Err(format!(
                "reaches element {stop} of a storage of {} elements: the file is cut short or damaged",
                storage.len() / size
            ));
        };
        if self.is_contiguous() {
            return Ok(storage.slice(start * size..end));
        }
        let bytes = len.checked_mul(size).filter(|bytes| bytes <= budget);
        let Some(bytes) = bytes else {
            let shape = &self.shape;
            return Err(format!(
                "repeats its elements: its shape {shape:?} holds more than the whole file"
            ));
        };
        *budget -= bytes;
        Ok(self.gather(storage, start, bytes))
    }

    /// Indices of the first element and after the last, in elements of the storage.
    fn reach(&self) -> Option<(usize, usize)> {
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps
            .map(|(&axis, &stride)| (axis as u64 - 1).checked_mul(stride))
            .try_fold(self.offset, |sum, step| sum.checked_add(step?))?;
        let stop = usize::try_from(last.checked_add(1)?).ok()?;
        Some((self.offset as usize, stop))
    }

    /// Whether the elements lie row by row without gaps.
    fn is_contiguous(&self) -> bool {
        let mut step = 1;
        let axes = self.shape.iter().zip(&self.strides).rev();
        axes.filter(|&(&axis, _)| axis > 1).all(|(&axis, &stride)| {
            let fits = stride == step;
            step *= axis as u64;
            fits
        })
    }

    /// Copies the elements row by row. All lie within the storage.
    fn gather(&self, storage: &[u8], start: usize, bytes: usize) -> Bytes {
        let size = self.element.size;
        let mut out = Vec::with_capacity(bytes);
        let mut index = vec![0; self.shape.len()];
        let mut at = start;
        while out.len() < bytes {
            out.extend_from_slice(&storage[at * size..(at + 1) * size]);
            for axis in (0..index.len()).rev() {
                let stride = self.strides[axis] as usize;
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    at += stride;
                    break;
                }
                at -= stride * (index[axis] - 1);
                index[axis] = 0;
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: u64, shape: &[usize], strides: &[u64]) -> View {
        View {
            storage: None,
            element: Element {
                dtype: Dtype::U8,
                size: 1,
            },
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    fn read(view: &View) -> Outcome<Vec<u8>> {
        let storage = Bytes::from_static(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        Ok(view.tensor(&storage, &mut 12)?.bytes.to_vec())
    }

    #[test]
    fn rows_columns_blocks_and_repeats() {
        for (offset, shape, strides, expected) in [
            (0, vec![2, 2], vec![4, 1], vec![0, 1, 4, 5]),
            (1, vec![2, 3], vec![1, 4], vec![1, 5, 9, 2, 6, 10]),
            (4, vec![2, 4], vec![4, 1], vec![4, 5, 6, 7, 8, 9, 10, 11]),
            (7, vec![3], vec![0], vec![7, 7, 7]),
            (11, vec![], vec![], vec![11]),
            (99, vec![3, 0], vec![1, 1], vec![]),
            (10, vec![1, 2], vec![77, 1], vec![10, 11]),
            (0, vec![2, 1, 3], vec![1, 9, 2], vec![0, 2, 4, 1, 3, 5]),
        ] {
            assert_eq!(read(&view(offset, &shape, &strides)).unwrap(), expected);
        }
    }

    #[test]
    fn views_that_exceed_their_storage() {
        for (offset, shape, strides, words) in [
            (12, vec![], vec![], "reaches element 13 of a storage of 12"),
            (0, vec![3, 5], vec![4, 1], "reaches element 13"),
            (u64::MAX, vec![2], vec![1], "impossible strides"),
            (0, vec![3], vec![u64::MAX], "impossible strides"),
            (0, vec![1 << 40, 1 << 40], vec![0, 0], "impossible shape"),
            (0, vec![13], vec![0], "more than the whole file"),
            (0, vec![2, 2], vec![1], "2 axes and 1 strides"),
        ] {
            let message = read(&view(offset, &shape, &strides)).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn types_by_both_names() {
        assert_eq!(
            Element::of_storage("HalfStorage"),
            Element::of_dtype("float16")
        );
        assert_eq!(Element::of_storage("None"), None);
        // Some types have one name only.
        assert_eq!(
            (Element::of_storage(""), Element::of_dtype("")),
            (None, None)
        );
        for (_, _, dtype, size) in ELEMENTS {
            assert!(dtype.size().is_none_or(|known| known == size));
        }
    }
}
