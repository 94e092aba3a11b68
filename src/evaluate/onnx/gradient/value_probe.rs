//! Runs a graph once to learn the type and shape of each of its values.

use std::borrow::Cow;

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorElementType};

use crate::checkpoint::onnx::proto::{DataType, ModelProto, ValueInfoProto};
use crate::graph::editor::{GraphEditor, named};
use crate::graph::gradient::values::{FEW, FEW_FLOATS, Value};

/// Makes every value that a node computes an output of the model.
pub fn expose_values(model: ModelProto) -> ModelProto {
    let mut editor = GraphEditor::open(model);
    let made = editor.graph().node.iter().flat_map(|node| &node.output);
    let made = made.filter(|name| !name.is_empty());
    let outputs: Vec<ValueInfoProto> = made.map(|name| named(name)).collect();
    editor.set_outputs(outputs);
    editor.finish()
}

/// Runs a session over a model of [`expose_values`] once and returns its values by name, with their
/// types and shapes.
///
/// # Errors
/// Fails when the model cannot be run.
pub fn probe_values(
    session: &mut Session,
    feeds: Vec<(Cow<'_, str>, SessionInputValue<'_>)>,
) -> ort::Result<Vec<(String, Value)>> {
    let outputs = session.run(feeds)?;
    let seen = outputs.iter();
    let known = seen.filter_map(|(name, value)| Some((name.to_string(), described(&value)?)));
    Ok(known.collect())
}

fn described(value: &DynValue) -> Option<Value> {
    let shape = value.dtype().tensor_shape()?;
    let shape: Vec<usize> = shape.iter().map(|&dim| dim.max(0) as usize).collect();
    let len: usize = shape.iter().product();
    let known = Value::new(data_type(value.dtype().tensor_type()?)?, shape);
    Some(Value {
        ints: (len <= FEW).then(|| integers(value)).flatten(),
        floats: (len <= FEW_FLOATS).then(|| floats(value)).flatten(),
        ..known
    })
}

fn integers(value: &DynValue) -> Option<Vec<i64>> {
    if let Ok((_, values)) = value.try_extract_tensor::<i64>() {
        return Some(values.to_vec());
    }
    if let Ok((_, values)) = value.try_extract_tensor::<bool>() {
        return Some(values.iter().map(|&value| i64::from(value)).collect());
    }
    let (_, values) = value.try_extract_tensor::<i32>().ok()?;
    Some(values.iter().map(|&value| i64::from(value)).collect())
}

fn floats(value: &DynValue) -> Option<Vec<f32>> {
    let (_, values) = value.try_extract_tensor::<f32>().ok()?;
    Some(values.to_vec())
}

fn data_type(r#type: TensorElementType) -> Option<DataType> {
    Some(match r#type {
        TensorElementType::Float32 => DataType::Float,
        TensorElementType::Float64 => DataType::Double,
        TensorElementType::Float16 => DataType::Float16,
        TensorElementType::Bfloat16 => DataType::Bfloat16,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::String => DataType::String,
        _ => return None,
    })
}
