//! Operators that gather and scatter elements by index.

use std::collections::HashSet;

use super::super::node::{Node, from_front};
use super::super::tape::{AxisRange, Tape};
use super::super::values::Value;
use super::rule::{Given, Gradients, first, one};
use crate::checkpoint::onnx::proto::{AttributeProto, DataType};
use crate::error::Result;
use crate::graph::build::{int, word};

/// Up to this many indices are put back one by one.
const FEW: usize = 4;

pub fn gather(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, indices) = (first(given), node.input(1));
    let shape = tape.shape(node.input(0))?;
    let axis = node.axis(0, shape.len());
    let count: usize = tape.value(indices)?.shape.iter().product();
    // The axes of the indices replace the axis that they index.
    let taken: Vec<usize> = [&shape[..axis], &[count], &shape[axis + 1..]].concat();
    let dy = tape.reshape(dy, &taken)?;
    match tape.ints_of(indices).map(<[i64]>::to_vec) {
        Some(known) if known.len() <= FEW => {
            let mut sum: Option<String> = None;
            for (k, &index) in known.iter().enumerate() {
                let part = tape.slice(&dy, axis, AxisRange::range(k, 1))?;
                let place = AxisRange::range(from_front(index, shape[axis]), 1);
                let part = tape.unslice(&part, &[(axis, place)], &shape)?;
                sum = Some(tape.sum_with(sum, part)?);
            }
            Ok(vec![sum])
        }
        known => {
            let each_once = known.is_some_and(|known| are_distinct(&known, shape[axis]));
            one(put_rows(tape, &dy, indices, (&shape, axis), each_once))
        }
    }
}

fn are_distinct(indices: &[i64], size: usize) -> bool {
    let places = indices.iter().map(|&index| from_front(index, size));
    places.collect::<HashSet<usize>>().len() == indices.len()
}

/// Puts rows of `dy` along an axis into zeros of a shape, at the indices; rows with the same index
/// are summed.
fn put_rows(
    tape: &mut Tape,
    dy: &str,
    indices: &str,
    (shape, axis): (&[usize], usize),
    each_once: bool,
) -> Result<String> {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.swap(0, axis);
    let rows = tape.transpose(dy, &order)?;
    let count = tape.value(&rows)?.shape[0];
    let places = tape.cast(indices, DataType::Int64)?;
    let places = tape.reshape(&places, &[count, 1])?;
    let target: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let put = if each_once {
        let zeros = tape.zeros(dy, &target)?;
        let value = Value::new(tape.value(dy)?.dtype, target);
        let inputs = [&*zeros, &places, &rows];
        tape.op("ScatterND", &inputs, Vec::new(), value)
    } else {
        let width = tape.list(&[target[1..].iter().product::<usize>() as i64]);
        let places = tape.mul(&places, &width)?;
        added(tape, &rows, &places, &target)?
    };
    tape.transpose(&put, &order)
}

/// Adds rows into zeros of a shape; `places` [rows, 1] holds where each begins in the flat shape.
///
/// A `ScatterND` that adds would do the same, but with several threads ONNX Runtime 1.32 loses some
/// of its sums. `ScatterElements` keeps them, and is fast along a single axis.
fn added(tape: &mut Tape, rows: &str, places: &str, shape: &[usize]) -> Result<String> {
    let len: usize = shape.iter().product();
    let count = tape.value(places)?.shape[0];
    let all: usize = tape.value(rows)?.shape.iter().product();
    let within: Vec<i64> = (0..(all / count.max(1)) as i64).collect();
    let within = tape.list(&within);
    let places = tape.add(places, &within)?;
    let places = tape.reshape(&places, &[all])?;
    let flat = tape.reshape(rows, &[all])?;
    let sum = scattered_elements(tape, &flat, &places, &[len], 0)?;
    tape.reshape(&sum, shape)
}

/// Takes elements at indices along an axis.
fn elements_at(tape: &mut Tape, a: &str, indices: &str, axis: i64) -> Result<String> {
    let value = Value::new(tape.value(a)?.dtype, tape.shape(indices)?);
    let axis = vec![int("axis", axis)];
    Ok(tape.op("GatherElements", &[a, indices], axis, value))
}

/// Adds elements into zeros of a shape at indices along an axis.
fn scattered_elements(
    tape: &mut Tape,
    dy: &str,
    indices: &str,
    shape: &[usize],
    axis: i64,
) -> Result<String> {
    // There is no kernel that adds 16-bit floats.
    let dtype = tape.value(dy)?.dtype;
    let wide = match dtype {
        DataType::Float16 | DataType::Bfloat16 => DataType::Float,
        dtype => dtype,
    };
    let dy = tape.cast(dy, wide)?;
    let zeros = tape.zeros(&dy, shape)?;
    let value = Value::new(wide, shape.to_vec());
    let attributes = vec![int("axis", axis), word("reduction", "add")];
    let inputs = [&*zeros, indices, &dy];
    let sum = tape.op("ScatterElements", &inputs, attributes, value);
    tape.cast(&sum, dtype)
}

pub fn gather_elements(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let shape = tape.shape(node.input(0))?;
    let axis = node.int("axis", 0);
    one(scattered_elements(
        tape,
        first(given),
        node.input(1),
        &shape,
        axis,
    ))
}

/// Converts tuples of indices along the first axes, after `batch_dims` that both share, to
/// positions in the flat shape.
pub fn gather_nd(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (shape, tuples) = (tape.shape(node.input(0))?, tape.shape(node.input(1))?);
    let batch = node.int("batch_dims", 0).max(0) as usize;
    let Some((&indexed, lead)) = tuples.split_last() else {
        return Err(node.unsupported("without indices"));
    };
    let count: usize = lead.iter().product();
    let axes = batch..batch + indexed;
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>() as i64;
    let sizes: Vec<i64> = axes.clone().map(|axis| shape[axis] as i64).collect();
    let strides: Vec<i64> = axes.map(stride).collect();
    let (sizes, strides) = (tape.list(&sizes), tape.list(&strides));
    let tuples = tape.reshape(node.input(1), &[count, indexed])?;
    // Negative indices count from the back.
    let tuples = tape.binary("Mod", &tuples, &sizes)?;
    let places = tape.mul(&tuples, &strides)?;
    let mut places = tape.sum(&places, &[1], true)?;
    if batch > 0 {
        let batches: usize = shape[..batch].iter().product();
        let (each, size) = (count / batches.max(1), stride(batch - 1));
        let starts: Vec<i64> = (0..count).map(|k| (k / each) as i64 * size).collect();
        let starts = tape.list(&starts);
        let starts = tape.reshape(&starts, &[count, 1])?;
        places = tape.add(&places, &starts)?;
    }
    one(added(tape, first(given), &places, &shape))
}

/// The gradient of a scatter's target: zero where the scatter overwrote it.
fn scattered_onto(
    tape: &mut Tape,
    node: &Node<'_>,
    dy: &str,
    attributes: Vec<AttributeProto>,
) -> Result<String> {
    match node.word("reduction", "none").as_str() {
        "add" => Ok(dy.to_string()),
        "none" => {
            let shape = tape.shape(node.input(2))?;
            let zeros = tape.zeros(dy, &shape)?;
            let value = Value::new(tape.value(dy)?.dtype, tape.shape(dy)?);
            let inputs = [dy, node.input(1), &zeros];
            Ok(tape.op(node.proto.op_type(), &inputs, attributes, value))
        }
        other => Err(node.unsupported(&format!("with the reduction `{other}`"))),
    }
}

pub fn scatter_elements(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, indices, axis) = (first(given), node.input(1), node.int("axis", 0));
    let mut gradients = vec![None, None, None];
    if node.wants(0) {
        let axis = vec![int("axis", axis)];
        gradients[0] = Some(scattered_onto(tape, node, dy, axis)?);
    }
    if node.wants(2) {
        gradients[2] = Some(elements_at(tape, dy, indices, axis)?);
    }
    Ok(gradients)
}

pub fn scatter_nd(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, indices) = (first(given), node.input(1));
    let mut gradients = vec![None, None, None];
    if node.wants(0) {
        gradients[0] = Some(scattered_onto(tape, node, dy, Vec::new())?);
    }
    if node.wants(2) {
        let value = Value::new(tape.value(dy)?.dtype, tape.shape(node.input(2))?);
        gradients[2] = Some(tape.op("GatherND", &[dy, indices], Vec::new(), value));
    }
    Ok(gradients)
}

/// The largest or smallest elements' gradients go back to where they came from.
pub fn top_k(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let Some(dy) = given[0].as_deref() else {
        return Ok(Vec::new());
    };
    let shape = tape.shape(node.input(0))?;
    let axis = node.int("axis", -1);
    one(scattered_elements(tape, dy, node.output(1), &shape, axis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::NodeProto;
    use crate::graph::editor::FreshNames;
    use crate::graph::gradient::values::Values;

    /// The nodes of the gradient of the rows of an [8, 3].
    fn written(op_type: &str, indices: Value) -> Vec<NodeProto> {
        let mut values = Values::default();
        let float = |shape: &[usize]| Value::new(DataType::Float, shape.to_vec());
        values.insert("dy", float(&[6, 3]));
        values.insert("x", float(&[8, 3]));
        values.insert("y", float(&[6, 3]));
        values.insert("indices", indices);
        let proto = NodeProto {
            op_type: Some(op_type.to_string()),
            input: vec!["x".to_string(), "indices".to_string()],
            output: vec!["y".to_string()],
            ..NodeProto::default()
        };
        let node = Node {
            proto: &proto,
            opset: 18,
            wanted: vec![true, false],
        };
        let mut tape = Tape::new(values, FreshNames::default());
        let rule = match op_type {
            "Gather" => gather,
            _ => gather_nd,
        };
        rule(&mut tape, &node, &[Some("dy".to_string())]).unwrap();
        tape.nodes
    }

    fn indices(shape: &[usize], known: Option<&[i64]>) -> Value {
        Value {
            ints: known.map(<[i64]>::to_vec),
            ..Value::new(DataType::Int64, shape.to_vec())
        }
    }

    #[test]
    fn rows_that_may_meet_are_not_added_by_a_scatter_that_loses_some() {
        for nodes in [
            written("Gather", indices(&[6], None)),
            written("Gather", indices(&[6], Some(&[0, 1, 1, 0, 2, -8]))),
            written("GatherND", indices(&[6, 1], None)),
        ] {
            assert!(nodes.iter().all(|node| node.op_type() != "ScatterND"));
        }
    }

    #[test]
    fn rows_taken_once_are_put_without_adding() {
        let nodes = written("Gather", indices(&[6], Some(&[7, 1, -3, 0, 2, 3])));
        let put = nodes.iter().find(|node| node.op_type() == "ScatterND");
        assert!(put.unwrap().attribute.is_empty());
    }
}
