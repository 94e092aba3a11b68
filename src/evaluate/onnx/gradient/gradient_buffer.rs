//! Gradients as graphs return them, and their sums, which are taken in the type of the graph and in
//! the order of the calls.

use ort::value::{DynValue, PrimitiveTensorElementType};

use crate::error::{Error, Result};

/// The gradient in one tensor, or a sum of such gradients, in the type and element order of its
/// graph.
#[derive(Debug, Clone, PartialEq)]
pub enum GradientBuffer {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
}

impl GradientBuffer {
    /// Copies a gradient that a graph returned.
    ///
    /// # Errors
    /// Fails when its type is neither f32 nor f64.
    pub fn of(value: &DynValue) -> ort::Result<Self> {
        if let Ok((_, values)) = value.try_extract_tensor::<f32>() {
            return Ok(Self::F32(values.to_vec()));
        }
        Ok(Self::F64(value.try_extract_tensor::<f64>()?.1.to_vec()))
    }

    /// Adds another gradient.
    ///
    /// # Errors
    /// Fails when type or length differ.
    pub fn add(&mut self, value: &DynValue) -> ort::Result<()> {
        match self {
            Self::F32(sum) => add_values(sum, extracted(value)?),
            Self::F64(sum) => add_values(sum, extracted(value)?),
        }
        .ok_or_else(|| ort::Error::new("a gradient changed its shape from batch to batch"))
    }

    /// Adds another sum.
    ///
    /// # Errors
    /// Fails when type or length differ; otherwise a part of the sum would be silently wrong.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let added = match (self, other) {
            (Self::F32(sum), Self::F32(values)) => add_values(sum, values),
            (Self::F64(sum), Self::F64(values)) => add_values(sum, values),
            (Self::F32(_), Self::F64(_)) | (Self::F64(_), Self::F32(_)) => None,
        };
        added.ok_or_else(|| {
            Error::runtime(
                "gradient",
                "two workers' sums are of different types or sizes",
            )
        })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes elements from `start` on, as many as `out` holds.
    pub fn read(&self, start: usize, out: &mut [f64]) {
        match self {
            Self::F32(values) => {
                let values = values[start..].iter();
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, &x)| *out = f64::from(x));
            }
            Self::F64(values) => out.copy_from_slice(&values[start..][..out.len()]),
        }
    }
}

fn extracted<T: PrimitiveTensorElementType>(value: &DynValue) -> ort::Result<&[T]> {
    Ok(value.try_extract_tensor::<T>()?.1)
}

/// Adds `values` to `sum`; `None` if their lengths differ.
fn add_values<T: Copy + std::ops::AddAssign>(sum: &mut [T], values: &[T]) -> Option<()> {
    (sum.len() == values.len()).then(|| sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += *x))
}

/// Reads a scalar that a graph returned.
///
/// # Errors
/// Fails when its type is neither f32 nor f64.
pub fn scalar(value: &DynValue) -> ort::Result<f64> {
    let (_, values) = value.try_extract_tensor::<f64>()?;
    Ok(values.first().copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_different_types_or_sizes_are_no_sum() {
        let mut sum = GradientBuffer::F32(vec![1.0, 2.0]);
        sum.merge(&GradientBuffer::F32(vec![0.5, 0.5])).unwrap();
        assert_eq!(sum, GradientBuffer::F32(vec![1.5, 2.5]));
        for other in [
            GradientBuffer::F64(vec![1.0, 1.0]),
            GradientBuffer::F32(vec![1.0]),
        ] {
            let error = sum.merge(&other).unwrap_err().to_string();
            assert!(error.contains("different types or sizes"), "{error}");
        }
        assert_eq!(sum, GradientBuffer::F32(vec![1.5, 2.5]));
        let mut sum = GradientBuffer::F64(vec![1.0]);
        assert!(sum.merge(&GradientBuffer::F32(vec![1.0])).is_err());
    }
}
