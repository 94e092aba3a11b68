//! The tape: records the nodes of the backward pass, with the shapes of all their outputs.
//!
//! The file is long because a tape has one short method for each operator that rules use. They
//! share its private parts and are all alike, so splitting them up would only hide some.

use std::collections::HashMap;

use super::facts::Facts;
use super::values::{Value, Values};
use crate::checkpoint::onnx::proto::{AttributeProto, DataType, NodeProto, TensorProto};
use crate::error::Result;
use crate::graph::build::{int, ints};
use crate::graph::editor::FreshNames;

/// Nodes and constants to be added to a graph.
pub struct Tape {
    values: Values,
    /// The nodes, in topological order.
    pub nodes: Vec<NodeProto>,
    /// Constants that the nodes read.
    pub constants: Vec<TensorProto>,
    /// Facts about the graph that it is written for.
    pub facts: Facts,
    /// Constants by type, shape and elements, so that each is written once.
    known: HashMap<(i32, Vec<usize>, Vec<u8>), String>,
    names: FreshNames,
}

impl Tape {
    /// Makes a tape over known values; new values take their names from `names`.
    pub fn new(values: Values, names: FreshNames) -> Self {
        Self {
            values,
            nodes: Vec::new(),
            constants: Vec::new(),
            facts: Facts::default(),
            known: HashMap::new(),
            names,
        }
    }

    /// Type, shape and integers of a value.
    ///
    /// # Errors
    /// When the value is unknown.
    pub fn value(&self, name: &str) -> Result<&Value> {
        self.values.of(name)
    }

    /// Shape of a value.
    ///
    /// # Errors
    /// When the value is unknown.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.value(name)?.shape.clone())
    }

    /// The integers that a value holds, if they are known.
    pub fn ints_of(&self, name: &str) -> Option<&[i64]> {
        self.values.get(name)?.ints.as_deref()
    }

    /// All known values, including new ones.
    pub fn into_values(self) -> Values {
        self.values
    }

    /// Adds a node with one output of a type and shape.
    pub fn op(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        value: Value,
    ) -> String {
        let mut outputs = self.ops(op_type, inputs, attributes, vec![value]);
        outputs.pop().unwrap_or_default()
    }

    /// Adds a node with several outputs.
    pub fn ops(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        values: Vec<Value>,
    ) -> Vec<String> {
        let outputs: Vec<String> = values
            .into_iter()
            .map(|value| {
                let name = self.names.next_name();
                self.values.insert(name.clone(), value);
                name
            })
            .collect();
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_string()).collect(),
            name: Some(format!("{}/{op_type}", outputs.join(","))),
            output: outputs.clone(),
            op_type: Some(op_type.to_string()),
            attribute,
            ..NodeProto::default()
        });
        outputs
    }

    fn constant(&mut self, dtype: DataType, shape: Vec<usize>, bytes: Vec<u8>) -> String {
        let key = (dtype as i32, shape.clone(), bytes.clone());
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let name = self.names.next_name();
        let tensor = TensorProto {
            name: Some(name.clone()),
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(dtype as i32),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        };
        self.values.insert_tensor(&tensor);
        self.constants.push(tensor);
        self.known.insert(key, name.clone());
        name
    }

    /// Adds a list of integers, of shape `[n]`.
    pub fn list(&mut self, values: &[i64]) -> String {
        self.integers(DataType::Int64, values, vec![values.len()])
    }

    /// Adds integers of a shape, of 32 or 64 bits.
    pub fn integers(&mut self, dtype: DataType, values: &[i64], shape: Vec<usize>) -> String {
        let values = values.iter();
        let bytes = match dtype {
            DataType::Int32 => values.flat_map(|&x| (x as i32).to_le_bytes()).collect(),
            _ => values.flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.constant(dtype, shape, bytes)
    }

    /// Adds booleans of a shape.
    pub fn bools(&mut self, values: &[bool], shape: Vec<usize>) -> String {
        let bytes = values.iter().map(|&value| u8::from(value));
        self.constant(DataType::Bool, shape, bytes.collect())
    }

    /// Adds numbers of a float type and shape.
    pub fn numbers(&mut self, dtype: DataType, exact: &[f64], shape: Vec<usize>) -> String {
        let values = exact.iter();
        let bytes: Vec<u8> = match dtype {
            DataType::Double => values.flat_map(|x| x.to_le_bytes()).collect(),
            DataType::Float16 => values
                .flat_map(|&x| half::f16::from_f64(x).to_le_bytes())
                .collect(),
            DataType::Bfloat16 => values
                .flat_map(|&x| half::bf16::from_f64(x).to_le_bytes())
                .collect(),
            _ => values.flat_map(|&x| (x as f32).to_le_bytes()).collect(),
        };
        let name = self.constant(dtype, shape.clone(), bytes);
        let exact = Some(exact.to_vec());
        let value = Value::new(dtype, shape);
        self.values.insert(name.clone(), Value { exact, ..value });
        name
    }

    /// Adds a number of the same type as the value `like`.
    ///
    /// # Errors
    /// When that value is unknown.
    pub fn number(&mut self, like: &str, value: f64) -> Result<String> {
        let dtype = self.value(like)?.dtype;
        Ok(self.numbers(dtype, &[value], Vec::new()))
    }

    /// Applies an elementwise operator of one input; the result has its type and shape.
    ///
    /// # Errors
    /// When a value is unknown, here and in all methods that follow.
    pub fn unary(&mut self, op_type: &str, a: &str) -> Result<String> {
        let value = self.value(a)?;
        let value = Value::new(value.dtype, value.shape.clone());
        Ok(self.op(op_type, &[a], Vec::new(), value))
    }

    /// Applies an elementwise operator of two inputs, with broadcasting.
    pub fn binary(&mut self, op_type: &str, a: &str, b: &str) -> Result<String> {
        let (left, right) = (self.value(a)?, self.value(b)?);
        let shape = broadcast(&left.shape, &right.shape);
        let value = Value::new(left.dtype, shape);
        Ok(self.op(op_type, &[a, b], Vec::new(), value))
    }

    /// a·b.
    pub fn mul(&mut self, a: &str, b: &str) -> Result<String> {
        self.binary("Mul", a, b)
    }

    /// a + b.
    pub fn add(&mut self, a: &str, b: &str) -> Result<String> {
        self.binary("Add", a, b)
    }

    /// Adds `part` to the sum so far, if there is one.
    pub fn sum_with(&mut self, sum: Option<String>, part: String) -> Result<String> {
        match sum {
            Some(sum) => self.add(&sum, &part),
            None => Ok(part),
        }
    }

    /// a − b.
    pub fn sub(&mut self, a: &str, b: &str) -> Result<String> {
        self.binary("Sub", a, b)
    }

    /// a/b.
    pub fn div(&mut self, a: &str, b: &str) -> Result<String> {
        self.binary("Div", a, b)
    }

    /// −a.
    pub fn neg(&mut self, a: &str) -> Result<String> {
        self.unary("Neg", a)
    }

    /// a times a number.
    pub fn scaled(&mut self, a: &str, factor: f64) -> Result<String> {
        if factor == 1.0 {
            return Ok(a.to_string());
        }
        let factor = self.number(a, factor)?;
        self.mul(a, &factor)
    }

    /// a plus a number.
    pub fn plus(&mut self, a: &str, term: f64) -> Result<String> {
        let term = self.number(a, term)?;
        self.add(a, &term)
    }

    /// Compares a with b by an operator (`Greater`, `Equal`, …); the result is bool.
    pub fn compare(&mut self, op_type: &str, a: &str, b: &str) -> Result<String> {
        let shape = broadcast(&self.value(a)?.shape, &self.value(b)?.shape);
        let value = Value::new(DataType::Bool, shape);
        Ok(self.op(op_type, &[a, b], Vec::new(), value))
    }

    /// Compares a with a number; the result is bool.
    pub fn compare_number(&mut self, op_type: &str, a: &str, b: f64) -> Result<String> {
        let b = self.number(a, b)?;
        self.compare(op_type, a, &b)
    }

    /// a where `condition` holds, b elsewhere.
    pub fn select(&mut self, condition: &str, a: &str, b: &str) -> Result<String> {
        let value = self.value(a)?;
        let shape = broadcast(&value.shape, &self.value(b)?.shape);
        let shape = broadcast(&self.value(condition)?.shape, &shape);
        let value = Value::new(self.value(a)?.dtype, shape);
        Ok(self.op("Where", &[condition, a, b], Vec::new(), value))
    }

    /// a where `condition` holds, 0 elsewhere; a must be finite. It is written as a product: ONNX
    /// Runtime's Where takes five times as long on the CPU.
    pub fn masked(&mut self, condition: &str, a: &str) -> Result<String> {
        let dtype = self.value(a)?.dtype;
        let factor = self.cast(condition, dtype)?;
        self.mul(a, &factor)
    }

    /// Casts a value to another element type.
    pub fn cast(&mut self, a: &str, dtype: DataType) -> Result<String> {
        let value = self.value(a)?;
        if value.dtype == dtype {
            return Ok(a.to_string());
        }
        let value = Value::new(dtype, value.shape.clone());
        Ok(self.op("Cast", &[a], vec![int("to", dtype as i64)], value))
    }

    /// Reshapes a value.
    pub fn reshape(&mut self, a: &str, shape: &[usize]) -> Result<String> {
        self.shaped("Reshape", a, shape)
    }

    /// Applies an operator that takes the shape of its result as an input, unless the value has
    /// that shape already.
    fn shaped(&mut self, op_type: &str, a: &str, shape: &[usize]) -> Result<String> {
        let value = self.value(a)?;
        if value.shape == shape {
            return Ok(a.to_string());
        }
        let value = Value::new(value.dtype, shape.to_vec());
        let target: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let target = self.list(&target);
        Ok(self.op(op_type, &[a, &target], Vec::new(), value))
    }

    /// Permutes the axes: axis i of the result is axis `order[i]`.
    pub fn transpose(&mut self, a: &str, order: &[usize]) -> Result<String> {
        if order.iter().enumerate().all(|(i, &axis)| i == axis) {
            return Ok(a.to_string());
        }
        let value = self.value(a)?;
        let shape = order.iter().map(|&axis| value.shape[axis]).collect();
        let value = Value::new(value.dtype, shape);
        Ok(self.op("Transpose", &[a], vec![ints("perm", order)], value))
    }

    /// Swaps the last two axes.
    pub fn transposed(&mut self, a: &str) -> Result<String> {
        let rank = self.value(a)?.shape.len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.transpose(a, &order)
    }

    /// Sums over axes; with `keep`, they stay with size 1.
    pub fn sum(&mut self, a: &str, axes: &[usize], keep: bool) -> Result<String> {
        self.reduce("ReduceSum", a, axes, keep)
    }

    /// Applies a reduction that takes its axes as an input.
    fn reduce(&mut self, op_type: &str, a: &str, axes: &[usize], keep: bool) -> Result<String> {
        if axes.is_empty() {
            return Ok(a.to_string());
        }
        let value = self.value(a)?;
        let shape = reduced(&value.shape, axes, keep);
        let value = Value::new(value.dtype, shape);
        let list: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let list = self.list(&list);
        let keep = int("keepdims", i64::from(keep));
        Ok(self.op(op_type, &[a, &list], vec![keep], value))
    }

    /// Maximum over axes, which stay with size 1. The axes are an attribute before version 18.
    pub fn largest(&mut self, a: &str, axes: &[usize], opset: i64) -> Result<String> {
        if opset >= 18 {
            return self.reduce("ReduceMax", a, axes, true);
        }
        let value = self.value(a)?;
        let value = Value::new(value.dtype, reduced(&value.shape, axes, true));
        Ok(self.op("ReduceMax", &[a], vec![ints("axes", axes)], value))
    }

    /// Mean over axes, which stay with size 1.
    pub fn mean(&mut self, a: &str, axes: &[usize]) -> Result<String> {
        let shape = self.shape(a)?;
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        let sum = self.sum(a, axes, true)?;
        self.scaled(&sum, 1.0 / count.max(1) as f64)
    }

    /// The gradient of a value of `shape` that was broadcast to the shape of `a`: sums over copies.
    pub fn unbroadcast(&mut self, a: &str, shape: &[usize]) -> Result<String> {
        let from = self.shape(a)?;
        if from == shape {
            return Ok(a.to_string());
        }
        let lead = from.len() - shape.len();
        let axes: Vec<usize> = (0..from.len())
            .filter(|&axis| from[axis] != 1 && (axis < lead || shape[axis - lead] == 1))
            .collect();
        let summed = self.sum(a, &axes, true)?;
        self.reshape(&summed, shape)
    }

    /// Broadcasts a value to a shape.
    pub fn expand(&mut self, a: &str, shape: &[usize]) -> Result<String> {
        self.shaped("Expand", a, shape)
    }

    /// Zeros of the same type as the value `like`.
    pub fn zeros(&mut self, like: &str, shape: &[usize]) -> Result<String> {
        let zero = self.number(like, 0.0)?;
        self.expand(&zero, shape)
    }

    /// Matrix product over the last two axes, with the others broadcast; both have at least two
    /// axes.
    pub fn matmul(&mut self, a: &str, b: &str) -> Result<String> {
        let (left, right) = (self.value(a)?, self.value(b)?);
        let (m, n) = (left.shape.len() - 2, right.shape.len() - 2);
        let mut shape = broadcast(&left.shape[..m], &right.shape[..n]);
        shape.extend([left.shape[m], right.shape[n + 1]]);
        let value = Value::new(left.dtype, shape);
        Ok(self.op("MatMul", &[a, b], Vec::new(), value))
    }

    /// Takes the elements `part` along an axis.
    pub fn slice(&mut self, a: &str, axis: usize, part: AxisRange) -> Result<String> {
        self.slices(a, &[(axis, part)])
    }

    /// Takes elements along several axes: `parts` holds an axis and its elements each.
    pub fn slices(&mut self, a: &str, parts: &[(usize, AxisRange)]) -> Result<String> {
        let value = self.value(a)?;
        let whole = |&(axis, part): &(usize, AxisRange)| {
            (part.start, part.step, part.count) == (0, 1, value.shape[axis])
        };
        let parts: Vec<(usize, AxisRange)> =
            parts.iter().filter(|part| !whole(part)).copied().collect();
        if parts.is_empty() {
            return Ok(a.to_string());
        }
        let mut value = Value::new(value.dtype, value.shape.clone());
        for (axis, part) in &parts {
            value.shape[*axis] = part.count;
        }
        let starts: Vec<i64> = parts.iter().map(|(_, part)| part.start as i64).collect();
        let ends = parts.iter().map(|(_, part)| part.end());
        let starts = self.list(&starts);
        let ends = ends.collect::<Vec<i64>>();
        let ends = self.list(&ends);
        let axes: Vec<i64> = parts.iter().map(|(axis, _)| *axis as i64).collect();
        let axes = self.list(&axes);
        let steps: Vec<i64> = parts.iter().map(|(_, part)| part.step as i64).collect();
        let steps = self.list(&steps);
        let inputs = [a, &starts, &ends, &axes, &steps];
        Ok(self.op("Slice", &inputs, Vec::new(), value))
    }

    /// Pads each axis with zeros before and after.
    pub fn pad(&mut self, a: &str, before: &[usize], after: &[usize]) -> Result<String> {
        if before.iter().chain(after).all(|&pad| pad == 0) {
            return Ok(a.to_string());
        }
        let value = self.value(a)?;
        let pads = before.iter().zip(after);
        let shape = value.shape.iter().zip(pads).map(|(d, (b, e))| d + b + e);
        let value = Value::new(value.dtype, shape.collect());
        let pads: Vec<i64> = before.iter().chain(after).map(|&pad| pad as i64).collect();
        let pads = self.list(&pads);
        Ok(self.op("Pad", &[a, &pads], Vec::new(), value))
    }

    /// Concatenates values along an axis.
    pub fn concat(&mut self, parts: &[String], axis: usize) -> Result<String> {
        if let [one] = parts {
            return Ok(one.clone());
        }
        let value = self.value(&parts[0])?;
        let mut value = Value::new(value.dtype, value.shape.clone());
        value.shape[axis] = 0;
        for part in parts {
            value.shape[axis] += self.value(part)?.shape[axis];
        }
        let inputs: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.op("Concat", &inputs, vec![int("axis", axis as i64)], value))
    }

    /// Reverses the order of elements along an axis.
    pub fn reversed(&mut self, a: &str, axis: usize) -> Result<String> {
        let value = self.value(a)?;
        let value = Value::new(value.dtype, value.shape.clone());
        let (start, end) = (self.list(&[-1]), self.list(&[i64::MIN]));
        let (axis, step) = (self.list(&[axis as i64]), self.list(&[-1]));
        let inputs = [a, &start, &end, &axis, &step];
        Ok(self.op("Slice", &inputs, Vec::new(), value))
    }

    /// Product of an axis of length n with a matrix [n, `columns`].
    pub fn along(
        &mut self,
        a: &str,
        axis: usize,
        matrix: &[f64],
        columns: usize,
    ) -> Result<String> {
        let (rank, dtype) = (self.value(a)?.shape.len(), self.value(a)?.dtype);
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(axis, rank - 1);
        let last = self.transpose(a, &order)?;
        let matrix = self.numbers(dtype, matrix, vec![matrix.len() / columns, columns]);
        let product = self.matmul(&last, &matrix)?;
        self.transpose(&product, &order)
    }

    /// Puts zeros between the elements of an axis: element i moves to `i·step` in a length of
    /// `(n − 1)·step + 1`. Undoes a slice with a step.
    pub fn spread(&mut self, a: &str, axis: usize, step: usize) -> Result<String> {
        let shape = self.shape(a)?;
        if step == 1 || shape[axis] <= 1 {
            return Ok(a.to_string());
        }
        let mut split = shape.clone();
        split.insert(axis + 1, 1);
        let split = self.reshape(a, &split)?;
        let mut after = vec![0; shape.len() + 1];
        after[axis + 1] = step - 1;
        let padded = self.pad(&split, &vec![0; shape.len() + 1], &after)?;
        let mut whole = shape.clone();
        whole[axis] *= step;
        let whole = self.reshape(&padded, &whole)?;
        let count = (shape[axis] - 1) * step + 1;
        self.slice(&whole, axis, AxisRange::first(count))
    }

    /// Undoes [`Tape::slices`]: puts the value's elements at their places in zeros of `shape`.
    pub fn unslice(
        &mut self,
        a: &str,
        parts: &[(usize, AxisRange)],
        shape: &[usize],
    ) -> Result<String> {
        let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
        let mut spread = a.to_string();
        for &(axis, part) in parts {
            spread = self.spread(&spread, axis, part.step)?;
            let covered = self.value(&spread)?.shape[axis];
            before[axis] = part.start;
            after[axis] = shape[axis] - part.start - covered;
        }
        self.pad(&spread, &before, &after)
    }
}

/// Evenly spaced indices along an axis: `start`, `start + step`, … (`count` of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisRange {
    /// The first index.
    pub start: usize,
    /// Number of indices.
    pub count: usize,
    /// Distance between indices, at least 1.
    pub step: usize,
}

impl AxisRange {
    /// The first `count` indices.
    pub fn first(count: usize) -> Self {
        Self::range(0, count)
    }

    /// `count` consecutive indices from `start`.
    pub fn range(start: usize, count: usize) -> Self {
        Self {
            start,
            count,
            step: 1,
        }
    }

    fn end(self) -> i64 {
        match self.count {
            0 => self.start as i64,
            count => (self.start + (count - 1) * self.step + 1) as i64,
        }
    }
}

/// The common shape to which two shapes are broadcast.
pub fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => 1,
    };
    let axes = (0..rank).map(|axis| match (at(a, axis), at(b, axis)) {
        (1, dim) | (dim, _) => dim,
    });
    axes.collect()
}

/// A shape with some axes removed or, with `keep`, set to 1.
pub fn reduced(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let dims = shape.iter().enumerate();
    dims.filter_map(|(axis, &dim)| {
        if axes.contains(&axis) {
            keep.then_some(1)
        } else {
            Some(dim)
        }
    })
    .collect()
}
