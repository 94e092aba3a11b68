//! What the graph wants of the data.

use std::fmt;

/// One input of the graph, as the data set has to fill it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name of the graph's input.
    pub name: String,
    /// Element type the graph takes.
    pub dtype: InputDtype,
    /// Size of each axis, `None` where the graph leaves it open; axis 0 is the batch and its
    /// size is not compared with the data.
    pub shape: Vec<Option<usize>>,
}

/// Element types of graph inputs that can be filled from a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputDtype {
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit brain float.
    Bf16,
    /// 64-bit float.
    F64,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit unsigned integer.
    U8,
    /// Boolean.
    Bool,
}

impl InputDtype {
    /// The name used in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether this is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16 | Self::F64)
    }
}

impl InputSpec {
    /// Whether an array of this shape can feed the input: same rank, and every axis that the
    /// graph fixes, but the first, of its size.
    pub fn accepts(&self, shape: &[usize]) -> bool {
        shape.len() == self.shape.len()
            && self
                .shape
                .iter()
                .zip(shape)
                .skip(1)
                .all(|(want, found)| want.is_none_or(|want| want == *found))
    }
}

impl fmt::Display for InputSpec {
    /// Type and shape, as in `f32 [n, 1, 28, ?]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes = self
            .shape
            .iter()
            .enumerate()
            .map(|(axis, size)| match size {
                _ if axis == 0 => "n".to_string(),
                Some(size) => size.to_string(),
                None => "?".to_string(),
            });
        let axes: Vec<_> = axes.collect();
        write!(f, "{} [{}]", self.dtype.name(), axes.join(", "))
    }
}
