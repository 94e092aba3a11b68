//! Builds nodes, attributes, inputs and outputs as protobuf messages.

use crate::checkpoint::onnx::proto::{
    AttributeProto, DataType, Dimension, DimensionValue, NodeProto, TensorShapeProto, TensorType,
    TypeProto, TypeValue, ValueInfoProto,
};

/// Numbers of `AttributeProto.AttributeType`.
const FLOAT: i32 = 1;
const INT: i32 = 2;
const STRING: i32 = 3;
const INTS: i32 = 7;

/// Makes an integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_string()),
        i: Some(value),
        r#type: Some(INT),
        ..AttributeProto::default()
    }
}

/// Makes an attribute with a list of integers.
pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_string()),
        ints: values.iter().map(|&value| value as i64).collect(),
        r#type: Some(INTS),
        ..AttributeProto::default()
    }
}

/// Makes a float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_string()),
        f: Some(value),
        r#type: Some(FLOAT),
        ..AttributeProto::default()
    }
}

/// Makes a string attribute.
pub fn word(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_string()),
        s: Some(value.as_bytes().to_vec().into()),
        r#type: Some(STRING),
        ..AttributeProto::default()
    }
}

/// Makes a node of the standard operators with one output and integer attributes.
pub fn node(op_type: &str, input: &[&str], output: &str, attributes: &[(&str, i64)]) -> NodeProto {
    let attribute = attributes.iter().map(|(name, value)| int(name, *value));
    NodeProto {
        input: input.iter().map(|name| (*name).to_string()).collect(),
        output: vec![output.to_string()],
        name: Some(format!("{output}/{op_type}")),
        op_type: Some(op_type.to_string()),
        attribute: attribute.collect(),
        ..NodeProto::default()
    }
}

/// Makes an input or output of a type and shape.
pub fn described(name: &str, dtype: DataType, shape: &[usize]) -> ValueInfoProto {
    let dim = shape.iter().map(|&size| Dimension {
        value: Some(DimensionValue::DimValue(size as i64)),
        ..Dimension::default()
    });
    ValueInfoProto {
        name: Some(name.to_string()),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(TensorType {
                elem_type: Some(dtype as i32),
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
