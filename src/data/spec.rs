//! The inputs of a graph, as data sets have to fill them.

use std::fmt;

use super::array::width;
use crate::base::dtype::Dtype;

/// One input of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name of the input.
    pub name: String,
    /// Element type of the input.
    pub dtype: InputDtype,
    /// `shape[axis]`, `None` if the graph leaves the size open. Axis 0 is the batch; its size is
    /// not compared with the data.
    pub shape: Vec<Option<usize>>,
}

/// The element types of inputs that a data set can fill.
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
        Dtype::from(self).name()
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        width(self.into())
    }

    /// Whether this is a floating-point type.
    pub fn is_float(self) -> bool {
        Dtype::from(self).is_float()
    }
}

impl From<InputDtype> for Dtype {
    fn from(dtype: InputDtype) -> Self {
        match dtype {
            InputDtype::F32 => Self::F32,
            InputDtype::F16 => Self::F16,
            InputDtype::Bf16 => Self::Bf16,
            InputDtype::F64 => Self::F64,
            InputDtype::I64 => Self::I64,
            InputDtype::I32 => Self::I32,
            InputDtype::U8 => Self::U8,
            InputDtype::Bool => Self::Bool,
        }
    }
}

impl InputSpec {
    /// Whether an array of this shape can feed the input: the ranks agree, and so does every axis
    /// that the graph fixes, except the first.
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
    /// Formats type and shape, as in `f32 [n, 1, 28, ?]`.
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
