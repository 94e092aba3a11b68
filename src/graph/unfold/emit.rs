//! Writes expressions as nodes over initializers.

use std::collections::BTreeMap;

use super::expression::Expression;
use crate::checkpoint::onnx::proto::{AttributeProto, DataType, NodeProto, TensorProto};
use crate::graph::build::{int, ints, node};
use crate::graph::editor::FreshNames;

/// Opset from which ReduceMean takes its axes as an input.
const MEAN_AXES_INPUT: i64 = 18;

/// Writes nodes and constants; equal expressions are written once.
pub struct Emitter {
    /// The nodes, in topological order.
    pub nodes: Vec<NodeProto>,
    /// Constants of the nodes: shapes, factors.
    pub constants: Vec<TensorProto>,
    fresh: FreshNames,
    opset: i64,
    known: BTreeMap<String, String>,
}

/// The graph's element type of an expression's constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    Single,
    /// float64.
    Double,
}

impl Emitter {
    /// An emitter that takes its names from `fresh`.
    pub fn new(fresh: FreshNames, opset: i64) -> Self {
        Self {
            nodes: Vec::new(),
            constants: Vec::new(),
            fresh,
            opset,
            known: BTreeMap::new(),
        }
    }

    /// Writes an expression; returns the name of its value.
    pub fn emit(&mut self, expression: &Expression, precision: Precision) -> String {
        if let Expression::Raw(name) = expression {
            return name.clone();
        }
        let key = format!("{precision:?} {expression:?}");
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let name = self.write(expression, precision);
        self.known.insert(key, name.clone());
        name
    }

    fn write(&mut self, expression: &Expression, precision: Precision) -> String {
        let parts = expression.parts().into_iter();
        let mut inputs: Vec<String> = parts.map(|part| self.emit(part, precision)).collect();
        let mut attributes = Vec::new();
        let operator = match expression {
            Expression::Raw(_) | Expression::Filled(..) => {
                return self.filled(expression, precision);
            }
            Expression::Reshape(_, shape) => {
                inputs.push(self.integers(shape));
                "Reshape"
            }
            Expression::Transpose(_, order) => {
                attributes.push(ints("perm", order));
                "Transpose"
            }
            Expression::Slice(_, axis, start, end) => {
                for value in [*start, *end, *axis] {
                    inputs.push(self.integers(&[value]));
                }
                "Slice"
            }
            Expression::Rows(_, indices) => {
                inputs.push(self.integers(indices));
                attributes.push(int("axis", 0));
                "Gather"
            }
            Expression::Concat(_, axis) => {
                attributes.push(int("axis", *axis as i64));
                "Concat"
            }
            Expression::Expand(_, shape) => {
                inputs.push(self.integers(shape));
                "Expand"
            }
            Expression::Of(function, _) => function.operator(),
            Expression::Scaled(_, by) => {
                inputs.push(self.number(*by, precision));
                "Mul"
            }
            Expression::Shifted(_, by) => {
                inputs.push(self.number(*by, precision));
                "Add"
            }
            Expression::Sum(..) => "Add",
            Expression::Product(..) => "Mul",
            Expression::Quotient(..) => "Div",
            Expression::Mean(_) => {
                self.mean_axes(&mut inputs, &mut attributes);
                "ReduceMean"
            }
        };
        let output = self.fresh.next_name();
        let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut written = node(operator, &names, &output, &[]);
        written.attribute = attributes;
        written.name = Some(node_name(expression, operator, &output));
        self.nodes.push(written);
        output
    }

    /// The last axis of a matrix, as an input or an attribute of ReduceMean: all means are of
    /// matrices.
    fn mean_axes(&mut self, inputs: &mut Vec<String>, attributes: &mut Vec<AttributeProto>) {
        if self.opset >= MEAN_AXES_INPUT {
            inputs.push(self.integers(&[1]));
        } else {
            attributes.push(ints("axes", &[1]));
        }
        attributes.push(int("keepdims", 1));
    }

    /// A tensor of equal elements, by a node: it is no tensor of a checkpoint.
    fn filled(&mut self, expression: &Expression, precision: Precision) -> String {
        let Expression::Filled(shape, value) = expression else {
            return String::new();
        };
        let (scalar, shape) = (self.number(*value, precision), self.integers(shape));
        let output = self.fresh.next_name();
        self.nodes
            .push(node("Expand", &[&scalar, &shape], &output, &[]));
        output
    }

    fn integers(&mut self, values: &[usize]) -> String {
        let bytes = values.iter().flat_map(|&it| (it as i64).to_le_bytes());
        let bytes: Vec<u8> = bytes.collect();
        self.constant(DataType::Int64, &[values.len()], bytes)
    }

    fn number(&mut self, value: f64, precision: Precision) -> String {
        match precision {
            Precision::Single => {
                self.constant(DataType::Float, &[], (value as f32).to_le_bytes().to_vec())
            }
            Precision::Double => self.constant(DataType::Double, &[], value.to_le_bytes().to_vec()),
        }
    }

    fn constant(&mut self, dtype: DataType, dims: &[usize], bytes: Vec<u8>) -> String {
        let key = format!("{dtype:?} {dims:?} {bytes:?}");
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let name = self.fresh.next_name();
        self.constants.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(dtype as i32),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        });
        self.known.insert(key, name.clone());
        name
    }
}

/// The node's name tells its module, as the TorchScript exporter names nodes: `/b.0.qkv/Slice`.
fn node_name(expression: &Expression, operator: &str, output: &str) -> String {
    let module = expression
        .names()
        .first()
        .and_then(|name| name.rsplit_once('.').map(|(module, _)| module.to_string()));
    match module {
        Some(module) => format!("/{module}/{operator}.{output}"),
        None => format!("{output}/{operator}"),
    }
}
