//! Converts stored samples into the buffers that a graph reads.

use std::path::Path;

use bytes::Bytes;
use half::{bf16, f16};

use super::array::width;
use super::preprocess::Table;
use super::spec::InputDtype;
use crate::base::dtype::Dtype;
use crate::error::{Error, Result};

/// A caller's buffer for a batch: row-major samples, one after the other.
#[derive(Debug)]
pub enum BatchMut<'a> {
    /// For [`InputDtype::F32`].
    F32(&'a mut [f32]),
    /// For [`InputDtype::F16`].
    F16(&'a mut [f16]),
    /// For [`InputDtype::Bf16`].
    Bf16(&'a mut [bf16]),
    /// For [`InputDtype::F64`].
    F64(&'a mut [f64]),
    /// For [`InputDtype::I64`].
    I64(&'a mut [i64]),
    /// For [`InputDtype::I32`].
    I32(&'a mut [i32]),
    /// For [`InputDtype::U8`].
    U8(&'a mut [u8]),
    /// For [`InputDtype::Bool`].
    Bool(&'a mut [bool]),
}

impl BatchMut<'_> {
    /// The element type.
    pub fn dtype(&self) -> InputDtype {
        match self {
            Self::F32(_) => InputDtype::F32,
            Self::F16(_) => InputDtype::F16,
            Self::Bf16(_) => InputDtype::Bf16,
            Self::F64(_) => InputDtype::F64,
            Self::I64(_) => InputDtype::I64,
            Self::I32(_) => InputDtype::I32,
            Self::U8(_) => InputDtype::U8,
            Self::Bool(_) => InputDtype::Bool,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(out) => out.len(),
            Self::F16(out) => out.len(),
            Self::Bf16(out) => out.len(),
            Self::F64(out) => out.len(),
            Self::I64(out) => out.len(),
            Self::I32(out) => out.len(),
            Self::U8(out) => out.len(),
            Self::Bool(out) => out.len(),
        }
    }

    /// Borrows a range of the elements.
    pub fn part(&mut self, range: std::ops::Range<usize>) -> BatchMut<'_> {
        match self {
            Self::F32(out) => BatchMut::F32(&mut out[range]),
            Self::F16(out) => BatchMut::F16(&mut out[range]),
            Self::Bf16(out) => BatchMut::Bf16(&mut out[range]),
            Self::F64(out) => BatchMut::F64(&mut out[range]),
            Self::I64(out) => BatchMut::I64(&mut out[range]),
            Self::I32(out) => BatchMut::I32(&mut out[range]),
            Self::U8(out) => BatchMut::U8(&mut out[range]),
            Self::Bool(out) => BatchMut::Bool(&mut out[range]),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The samples of one input, as stored in the file.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Element type of the graph's input.
    pub(super) dtype: InputDtype,
    /// Element type of `bytes`; [`Column::new`] checks that it can be converted to `dtype`.
    element: Dtype,
    /// Shape of one sample.
    pub(super) shape: Vec<usize>,
    /// Number of elements in one sample.
    pub(super) row_len: usize,
    /// The elements, little-endian and row-major.
    bytes: Bytes,
    /// Lookup table for u8 values that become floating-point numbers.
    table: Option<Table>,
}

impl Column {
    /// Makes a column of what was read; `table` is required if [`needs_table`] is true.
    pub(super) fn new(
        dtype: InputDtype,
        element: Dtype,
        shape: Vec<usize>,
        bytes: Bytes,
        table: Option<Table>,
    ) -> Self {
        let row_len = shape.iter().product();
        Self {
            dtype,
            element,
            shape,
            row_len,
            bytes,
            table,
        }
    }

    /// Whether the values are those of images, converted by preprocessing.
    pub(super) fn is_preprocessed(&self) -> bool {
        self.table.is_some()
    }

    /// Converts `count` samples, beginning at sample `start`, into `out`.
    pub(super) fn fill(&self, start: usize, count: usize, out: BatchMut<'_>) {
        let row = self.row_len * width(self.element);
        let bytes = &self.bytes[start * row..(start + count) * row];
        match out {
            BatchMut::F32(out) => self.floats(bytes, out, |value| value as f32),
            BatchMut::F16(out) => self.floats(bytes, out, f16::from_f64),
            BatchMut::Bf16(out) => self.floats(bytes, out, bf16::from_f64),
            BatchMut::F64(out) => self.floats(bytes, out, |value| value),
            BatchMut::I64(out) => integers(self.element, bytes, out, |value| value),
            // `check_range` has verified that every value fits.
            BatchMut::I32(out) => integers(self.element, bytes, out, |value| value as i32),
            BatchMut::U8(out) => out.copy_from_slice(bytes),
            BatchMut::Bool(out) => each(bytes, out, |[byte]| byte != 0),
        }
    }

    /// Converts floats through f64, which holds every stored value exactly.
    fn floats<U>(&self, bytes: &[u8], out: &mut [U], to: impl Fn(f64) -> U) {
        match (self.element, &self.table) {
            (Dtype::F16, _) => each(bytes, out, |b| to(f16::from_le_bytes(b).to_f64())),
            (Dtype::Bf16, _) => each(bytes, out, |b| to(bf16::from_le_bytes(b).to_f64())),
            (Dtype::F32, _) => each(bytes, out, |b| to(f32::from_le_bytes(b).into())),
            (Dtype::F64, _) => each(bytes, out, |b| to(f64::from_le_bytes(b))),
            (Dtype::U8, Some(table)) => table.apply(bytes, out, to),
            (element, _) => unreachable!("{} for a floating-point input", element.name()),
        }
    }

    /// Refuses integers that the graph's type cannot hold; `rows` are the samples' indices in the
    /// file.
    pub(super) fn check_range(
        &self,
        path: &Path,
        name: &str,
        rows: Option<&[usize]>,
    ) -> Result<()> {
        let unsigned = self.element == Dtype::U64;
        let narrow = self.dtype == InputDtype::I32;
        if !self.element.is_integer() || !(unsigned || narrow) {
            return Ok(());
        }
        let mut value = [0];
        for (index, bytes) in self.bytes.chunks_exact(width(self.element)).enumerate() {
            integers(self.element, bytes, &mut value, |value| value);
            let [value] = value;
            // A u64 beyond i64 has wrapped to a negative number.
            if (unsigned && value < 0) || (narrow && i32::try_from(value).is_err()) {
                let sample = index / self.row_len;
                let sample = rows.map_or(sample, |rows| rows[sample]);
                let problem = format!(
                    "array `{name}` holds in sample {sample} a value beyond the range of the {} \
                     that the graph takes",
                    self.dtype.name()
                );
                return Err(Error::input(path, problem));
            }
        }
        Ok(())
    }
}

/// Whether a stored type can become the type the graph takes.
pub(super) fn convertible(element: Dtype, dtype: InputDtype) -> bool {
    match dtype {
        InputDtype::F32 | InputDtype::F16 | InputDtype::Bf16 | InputDtype::F64 => {
            element.is_float() || element == Dtype::U8
        }
        InputDtype::I64 | InputDtype::I32 => element.is_integer(),
        InputDtype::U8 => element == Dtype::U8,
        InputDtype::Bool => element == Dtype::Bool,
    }
}

/// Whether the conversion is that of images, by a [`Table`].
pub(super) fn needs_table(element: Dtype, dtype: InputDtype) -> bool {
    element == Dtype::U8 && dtype.is_float()
}

/// Converts elements of N bytes each.
pub(super) fn each<const N: usize, U>(bytes: &[u8], out: &mut [U], to: impl Fn([u8; N]) -> U) {
    for (out, element) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = to(*element);
    }
}

/// Converts integers of any type; a u64 beyond i64 wraps to a negative number.
pub(super) fn integers<U>(element: Dtype, bytes: &[u8], out: &mut [U], to: impl Fn(i64) -> U) {
    match element {
        Dtype::U8 => each(bytes, out, |b| to(u8::from_le_bytes(b).into())),
        Dtype::I8 => each(bytes, out, |b| to(i8::from_le_bytes(b).into())),
        Dtype::U16 => each(bytes, out, |b| to(u16::from_le_bytes(b).into())),
        Dtype::I16 => each(bytes, out, |b| to(i16::from_le_bytes(b).into())),
        Dtype::U32 => each(bytes, out, |b| to(u32::from_le_bytes(b).into())),
        Dtype::I32 => each(bytes, out, |b| to(i32::from_le_bytes(b).into())),
        Dtype::U64 => each(bytes, out, |b| to(u64::from_le_bytes(b) as i64)),
        Dtype::I64 => each(bytes, out, |b| to(i64::from_le_bytes(b))),
        other => unreachable!("{} for an integer input", other.name()),
    }
}
