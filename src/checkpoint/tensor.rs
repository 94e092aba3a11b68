//! A tensor as it lies in a checkpoint file.

use bytes::Bytes;

/// Element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit brain float.
    Bf16,
    /// 64-bit float.
    F64,
    /// Anything that is not a floating-point number of these; by its name.
    Other(&'static str),
}

impl Dtype {
    /// The name used in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
            Self::Other(name) => name,
        }
    }

    /// Bytes per element of a floating-point type; `None` for [`Dtype::Other`].
    pub fn size(self) -> Option<usize> {
        match self {
            Self::F32 => Some(4),
            Self::F16 | Self::Bf16 => Some(2),
            Self::F64 => Some(8),
            Self::Other(_) => None,
        }
    }

    /// Whether this is a floating-point type that can be averaged.
    pub fn is_float(self) -> bool {
        self.size().is_some()
    }
}

/// A tensor inside a memory-mapped file: nothing is copied until it is decoded.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Little-endian elements, row-major, at no particular alignment; its length is
    /// checked against shape and element type for floating-point tensors.
    pub bytes: Bytes,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
