//! Arrays as stored in a data file, for all file formats.

use bytes::Bytes;

use crate::base::dtype::Dtype;
use crate::error::Result;

/// Type and shape of an array in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Element type (never [`Dtype::Other`]), or the file's own name for a type that cannot be
    /// read.
    pub(super) element: std::result::Result<Dtype, String>,
    /// Shape; empty for a scalar.
    pub(super) shape: Vec<usize>,
}

impl Layout {
    /// Size of the whole array in bytes; `None` if the type cannot be read or the size overflows.
    pub(super) fn byte_len(&self) -> Option<usize> {
        let size = self.element.as_ref().ok()?.size()?;
        let elements = self.shape.iter();
        elements.copied().try_fold(size, usize::checked_mul)
    }

    /// Formats type and shape, as in `u8 [100, 1, 28, 28]`.
    pub(super) fn describe(&self) -> String {
        let element = match &self.element {
            Ok(element) => element.name(),
            Err(name) => name,
        };
        format!("{element} {:?}", self.shape)
    }
}

/// Bytes per element of a readable type.
pub(super) fn width(element: Dtype) -> usize {
    // A layout holds no type of unknown size.
    element.size().unwrap_or(1)
}

/// A data file of named arrays.
pub(super) trait Container {
    /// Names of the arrays, in the file's order.
    fn names(&self) -> Vec<String>;

    /// Type and shape of the named array.
    fn layout(&mut self, name: &str) -> Result<Layout>;

    /// Reads the named array, little-endian and row-major: all of it, or the given rows (ascending
    /// indices along axis 0). Its element type must be readable and its rank at least 1.
    fn read(&mut self, name: &str, rows: Option<&[usize]>) -> Result<Bytes>;
}

/// Maximum number of arrays that a message lists.
const LISTED: usize = 20;

/// Lists the arrays of a file with types and shapes, as in `` `x` (u8 [100, 28]) ``; only the first
/// ones if there are many.
pub(super) fn list(container: &mut dyn Container) -> String {
    let names = container.names();
    let first = names.iter().take(LISTED);
    let arrays = first.map(|name| match container.layout(name) {
        Ok(layout) => format!("`{name}` ({})", layout.describe()),
        Err(_) => format!("`{name}` (unreadable)"),
    });
    let mut arrays: Vec<_> = arrays.collect();
    if names.len() > LISTED {
        arrays.push(format!("and {} more", names.len() - LISTED));
    }
    if arrays.is_empty() {
        "none".to_string()
    } else {
        arrays.join(", ")
    }
}

/// Copies the given rows, each of `row` bytes, out of a row-major array.
pub(super) fn gather(data: &Bytes, row: usize, rows: &[usize]) -> Bytes {
    let mut out = Vec::with_capacity(rows.len() * row);
    for &index in rows {
        out.extend_from_slice(&data[index * row..(index + 1) * row]);
    }
    out.into()
}

/// Reorders a column-major (Fortran) array of `shape` into row-major order.
pub(super) fn row_major(data: &[u8], shape: &[usize], size: usize) -> Bytes {
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..data.len() / size {
        // Column-major offset: index[0] + shape[0]·(index[1] + shape[1]·(…)).
        let axes = index.iter().zip(shape).rev();
        let offset = axes.fold(0, |offset, (&i, &extent)| offset * extent + i);
        out.extend_from_slice(&data[offset * size..(offset + 1) * size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out.into()
}

/// Reverses the bytes of every element: big-endian to little-endian.
pub(super) fn swap_bytes(data: &[u8], size: usize) -> Bytes {
    let elements = data.chunks_exact(size);
    elements
        .flat_map(|element| element.iter().rev())
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_major_becomes_row_major() {
        // The array [[1, 2, 3], [4, 5, 6]], stored column by column.
        let stored = [1, 4, 2, 5, 3, 6];
        assert_eq!(&row_major(&stored, &[2, 3], 1)[..], [1, 2, 3, 4, 5, 6]);
        let pairs = [1, 1, 4, 4, 2, 2, 5, 5, 3, 3, 6, 6];
        let expected = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6];
        assert_eq!(&row_major(&pairs, &[2, 3], 2)[..], expected);
    }

    #[test]
    fn rows_are_copied_in_order() {
        let data = Bytes::from_static(&[0, 1, 10, 11, 20, 21]);
        assert_eq!(&gather(&data, 2, &[0, 2])[..], [0, 1, 20, 21]);
    }

    #[test]
    fn bytes_are_swapped_element_by_element() {
        assert_eq!(&swap_bytes(&[1, 2, 3, 4], 2)[..], [2, 1, 4, 3]);
    }

    #[test]
    fn sizes_that_overflow_are_seen() {
        let layout = Layout {
            element: Ok(Dtype::F64),
            shape: vec![usize::MAX / 4, 3],
        };
        assert_eq!(layout.byte_len(), None);
    }
}
