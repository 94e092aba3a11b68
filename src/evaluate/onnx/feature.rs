//! A value that the frozen part of the network hands to the moving part: its name, type and shape.

use crate::checkpoint::onnx::proto::{
    Dimension, DimensionValue, TensorShapeProto, TensorType, TypeProto, TypeValue,
};
use crate::data::InputDtype;

use super::buffer::onnx_type;

/// A value that the frozen part hands to the moving part.
#[derive(Debug, Clone)]
pub struct Feature {
    /// The name in the graph.
    pub name: String,
    /// The type.
    pub dtype: InputDtype,
    /// Shape of one sample.
    pub shape: Vec<usize>,
}

impl Feature {
    /// The ONNX type, with a free batch axis.
    pub fn onnx_type(&self) -> TypeProto {
        let fixed = self
            .shape
            .iter()
            .map(|&dim| DimensionValue::DimValue(dim as i64));
        let dims = std::iter::once(DimensionValue::DimParam("landscape.batch".to_string()))
            .chain(fixed)
            .map(|value| Dimension {
                value: Some(value),
                ..Dimension::default()
            });
        let tensor = TensorType {
            elem_type: Some(onnx_type(self.dtype)),
            shape: Some(TensorShapeProto {
                dim: dims.collect(),
            }),
        };
        TypeProto {
            value: Some(TypeValue::Tensor(tensor)),
            ..TypeProto::default()
        }
    }
}
