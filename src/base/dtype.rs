//! Element types of arrays, for all file formats.

use safetensors::Dtype as Safetensors;

/// An element type.
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
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
    /// Boolean, one byte each.
    Bool,
    /// Any other type, by its name; its elements are not read.
    Other(&'static str),
}

/// The element types of `.safetensors` files.
const SAFETENSORS: [(Safetensors, Dtype); 15] = [
    (Safetensors::F32, Dtype::F32),
    (Safetensors::F16, Dtype::F16),
    (Safetensors::BF16, Dtype::Bf16),
    (Safetensors::F64, Dtype::F64),
    (Safetensors::I64, Dtype::I64),
    (Safetensors::I32, Dtype::I32),
    (Safetensors::I16, Dtype::I16),
    (Safetensors::I8, Dtype::I8),
    (Safetensors::U64, Dtype::U64),
    (Safetensors::U32, Dtype::U32),
    (Safetensors::U16, Dtype::U16),
    (Safetensors::U8, Dtype::U8),
    (Safetensors::BOOL, Dtype::Bool),
    (Safetensors::F8_E4M3, Dtype::Other("f8")),
    (Safetensors::F8_E5M2, Dtype::Other("f8")),
];

impl Dtype {
    /// The type's name in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::Other(name) => name,
        }
    }

    /// Bytes per element; `None` for [`Dtype::Other`].
    pub fn size(self) -> Option<usize> {
        match self {
            Self::F64 | Self::I64 | Self::U64 => Some(8),
            Self::F32 | Self::I32 | Self::U32 => Some(4),
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => Some(2),
            Self::I8 | Self::U8 | Self::Bool => Some(1),
            Self::Other(_) => None,
        }
    }

    /// Whether this is a floating-point type that can be averaged.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16 | Self::F64)
    }

    /// Whether this is an integer type; `bool` is not.
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool | Self::Other(_))
    }

    /// The element type of an array in a `.safetensors` file.
    pub fn from_safetensors(stored: Safetensors) -> Self {
        let mut table = SAFETENSORS.iter();
        let found = table.find(|(theirs, _)| *theirs == stored);
        found.map_or(Self::Other("unknown"), |(_, ours)| *ours)
    }

    /// The type's name in `.safetensors` files; `None` for types that are never written.
    pub fn to_safetensors(self) -> Option<Safetensors> {
        let mut table = SAFETENSORS.iter();
        let found = table.find(|(_, ours)| *ours == self && self.size().is_some());
        found.map(|(theirs, _)| *theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_safetensors_are_told_both_ways() {
        for (theirs, ours) in SAFETENSORS {
            assert_eq!(Dtype::from_safetensors(theirs), ours);
            if let Some(size) = ours.size() {
                assert_eq!(ours.to_safetensors(), Some(theirs));
                assert_eq!(8 * size, theirs.bitsize());
            }
        }
        assert_eq!(Dtype::Other("f8").to_safetensors(), None);
    }
}
