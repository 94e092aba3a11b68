//! Rewrites a graph in float64: every float value becomes a double, and operators without a double
//! kernel in ONNX Runtime on the CPU are replaced by others.

mod lowered;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::node::Node;
use super::tape::Tape;
use super::values::{Value, Values};
use crate::checkpoint::onnx::proto::{
    AttributeProto, DataType, ModelProto, NodeProto, TensorProto, TypeValue, ValueInfoProto,
};
use crate::checkpoint::onnx::{self};
use crate::error::Result;
use crate::graph::build::int;
use crate::graph::editor::{GraphEditor, named};

/// Rewrites a graph whose values are known. Inputs named in `wide` become doubles; other float
/// inputs keep their type and are cast in the graph.
///
/// # Errors
/// When an operator cannot be rewritten.
pub fn widened(model: ModelProto, values: &Values, wide: &HashSet<String>) -> Result<ModelProto> {
    let mut editor = GraphEditor::open(model);
    let opset = editor.opset().unwrap_or(0);
    let mut tape = Tape::new(values.in_double(), editor.fresh_names("landscape.w"));
    let renamed = widen_inputs(&mut editor, &mut tape, values, wide)?;
    for tensor in editor.take_initializers() {
        let known = values.get(tensor.name());
        let exact = known.and_then(|value| value.exact.as_ref());
        editor.add_initializers([match exact {
            Some(exact) => TensorProto {
                raw_data: Some(little_endian(exact)),
                data_type: Some(DataType::Double as i32),
                ..tensor
            },
            None => doubled(&tensor),
        }]);
    }
    for mut node in editor.take_nodes() {
        for input in &mut node.input {
            if let Some(name) = renamed.get(input) {
                input.clone_from(name);
            }
        }
        lower(&mut tape, node, opset)?;
    }
    editor.append_nodes(tape.nodes);
    editor.add_initializers(tape.constants);
    editor.retain_notes(|_| false);
    let outputs = editor.graph().output.iter();
    let outputs: Vec<ValueInfoProto> = outputs.map(|output| named(output.name())).collect();
    editor.set_outputs(outputs);
    Ok(editor.finish())
}

/// Makes the inputs named in `wide` doubles and casts the other float inputs. Returns the names of
/// the casts' outputs by input.
fn widen_inputs(
    editor: &mut GraphEditor,
    tape: &mut Tape,
    values: &Values,
    wide: &HashSet<String>,
) -> Result<HashMap<String, String>> {
    let mut renamed = HashMap::new();
    for mut input in editor.take_inputs() {
        let name = input.name().to_string();
        let is_narrow = values.get(&name).is_some_and(is_narrow);
        if is_narrow && wide.contains(&name) {
            let r#type = input.r#type.as_mut();
            if let Some(TypeValue::Tensor(tensor)) = r#type.and_then(|it| it.value.as_mut()) {
                tensor.elem_type = Some(DataType::Double as i32);
            }
        } else if is_narrow {
            let value = tape.value(&name)?.clone();
            let to = vec![int("to", DataType::Double as i64)];
            renamed.insert(name.clone(), tape.op("Cast", &[&name], to, value));
        }
        editor.add_inputs([input]);
    }
    Ok(renamed)
}

fn is_narrow(value: &Value) -> bool {
    value.is_float() && value.dtype != DataType::Double
}

impl Values {
    /// The same values, with float types as doubles.
    fn in_double(&self) -> Self {
        let mut wide = Self::default();
        for (name, value) in self.iter() {
            let dtype = if value.is_float() {
                DataType::Double
            } else {
                value.dtype
            };
            wide.insert(
                name,
                Value {
                    dtype,
                    ..value.clone()
                },
            );
        }
        wide
    }
}

fn little_endian(values: &[f64]) -> Bytes {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes());
    bytes.collect::<Vec<u8>>().into()
}

/// Converts a float tensor to doubles.
fn doubled(tensor: &TensorProto) -> TensorProto {
    let bytes = onnx::elements(tensor);
    let doubles: Vec<f64> = match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Float) => {
            let (elements, _) = bytes.as_chunks::<4>();
            elements
                .iter()
                .map(|&x| f64::from(f32::from_le_bytes(x)))
                .collect()
        }
        Ok(DataType::Float16) => {
            let (elements, _) = bytes.as_chunks::<2>();
            elements
                .iter()
                .map(|&x| half::f16::from_le_bytes(x).to_f64())
                .collect()
        }
        Ok(DataType::Bfloat16) => {
            let (elements, _) = bytes.as_chunks::<2>();
            elements
                .iter()
                .map(|&x| half::bf16::from_le_bytes(x).to_f64())
                .collect()
        }
        _ => return tensor.clone(),
    };
    TensorProto {
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        data_type: Some(DataType::Double as i32),
        raw_data: Some(little_endian(&doubles)),
        ..TensorProto::default()
    }
}

/// Rewrites a node in doubles.
fn lower(tape: &mut Tape, mut proto: NodeProto, opset: i64) -> Result<()> {
    let mut operators = lowered::OPERATORS.iter();
    let found = operators.find(|(name, _)| *name == proto.op_type());
    let is_wide = proto.output.iter().all(|output| {
        let value = tape.value(output);
        value.is_ok_and(|value| value.dtype == DataType::Double)
    });
    let Some((_, lowering)) = found.filter(|_| is_wide) else {
        proto.attribute.iter_mut().for_each(retype);
        tape.nodes.push(proto);
        return Ok(());
    };
    let node = Node {
        proto: &proto,
        opset,
        wanted: Vec::new(),
    };
    let result = lowering(tape, &node)?;
    tape.nodes.push(NodeProto {
        input: vec![result],
        output: vec![node.output(0).to_string()],
        name: proto.name.clone(),
        op_type: Some("Identity".to_string()),
        ..NodeProto::default()
    });
    Ok(())
}

/// Converts attributes that are tensors or that name an element type.
fn retype(attribute: &mut AttributeProto) {
    if let Some(tensor) = attribute.t.as_mut() {
        *tensor = doubled(tensor);
    }
    // A Constant may hold floats without being a tensor.
    if attribute.name() == "value_float" || attribute.name() == "value_floats" {
        let scalar = attribute.name() == "value_float";
        let values: Vec<f64> = match attribute.f {
            Some(value) if scalar => vec![f64::from(value)],
            _ => attribute
                .floats
                .iter()
                .map(|&value| f64::from(value))
                .collect(),
        };
        *attribute = AttributeProto {
            name: Some("value".to_string()),
            t: Some(TensorProto {
                dims: if scalar {
                    Vec::new()
                } else {
                    vec![values.len() as i64]
                },
                data_type: Some(DataType::Double as i32),
                raw_data: Some(little_endian(&values)),
                ..TensorProto::default()
            }),
            r#type: Some(4),
            ..AttributeProto::default()
        };
        return;
    }
    let narrow = [DataType::Float, DataType::Float16, DataType::Bfloat16];
    let names_a_type = ["to", "dtype"].contains(&attribute.name());
    if names_a_type && narrow.iter().any(|&t| attribute.i == Some(t as i64)) {
        attribute.i = Some(DataType::Double as i64);
    }
}
