//! Elements taken and put by their indices.

use super::super::node::{Node, from_front};
use super::super::tape::{Part, Tape, int, word};
use super::super::values::Value;
use super::{Given, Gradients, first, one};
use crate::checkpoint::onnx::proto::DataType;
use crate::error::Result;

/// So few indices are put back one by one.
const FEW: usize = 4;

pub fn gather(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, indices) = (first(given), node.input(1));
    let shape = tape.shape(node.input(0))?;
    let axis = node.axis(0, shape.len());
    let count: usize = tape.value(indices)?.shape.iter().product();
    // The indices' axes stand in the place of the axis that they index.
    let taken: Vec<usize> = [&shape[..axis], &[count], &shape[axis + 1..]].concat();
    let dy = tape.reshape(dy, &taken)?;
    match tape.ints_of(indices).map(<[i64]>::to_vec) {
        Some(known) if known.len() <= FEW => {
            let mut sum: Option<String> = None;
            for (k, &index) in known.iter().enumerate() {
                let part = tape.slice(&dy, axis, Part::range(k, 1))?;
                let place = Part::range(from_front(index, shape[axis]), 1);
                let part = tape.unslice(&part, &[(axis, place)], &shape)?;
                sum = Some(tape.sum_with(sum, part)?);
            }
            Ok(vec![sum])
        }
        _ => one(scattered_rows(tape, &dy, indices, &shape, axis)),
    }
}

/// Rows of `dy` along an axis, added into zeros of `shape` at the indices.
fn scattered_rows(
    tape: &mut Tape,
    dy: &str,
    indices: &str,
    shape: &[usize],
    axis: usize,
) -> Result<String> {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.swap(0, axis);
    let rows = tape.transpose(dy, &order)?;
    let count = tape.value(&rows)?.shape[0];
    let places = tape.cast(indices, DataType::Int64)?;
    let places = tape.reshape(&places, &[count, 1])?;
    let target: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let zeros = tape.zeros(dy, &target)?;
    let sum = add_at(tape, "ScatterND", &[&zeros, &places, &rows], Vec::new())?;
    tape.transpose(&sum, &order)
}

/// A scatter that adds, of the first input's shape.
fn add_at(
    tape: &mut Tape,
    op_type: &str,
    inputs: &[&str],
    mut attributes: Vec<crate::checkpoint::onnx::proto::AttributeProto>,
) -> Result<String> {
    let value = tape.value(inputs[0])?;
    let value = Value::new(value.dtype, value.shape.clone());
    attributes.push(word("reduction", "add"));
    Ok(tape.op(op_type, inputs, attributes, value))
}

/// Elements at indices along an axis.
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
    let zeros = tape.zeros(dy, shape)?;
    let axis = vec![int("axis", axis)];
    add_at(tape, "ScatterElements", &[&zeros, indices, dy], axis)
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

pub fn gather_nd(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    if node.int("batch_dims", 0) != 0 {
        return Err(node.unsupported("with batch_dims"));
    }
    let shape = tape.shape(node.input(0))?;
    let zeros = tape.zeros(first(given), &shape)?;
    let inputs = [&*zeros, node.input(1), first(given)];
    one(add_at(tape, "ScatterND", &inputs, Vec::new()))
}

pub fn scatter_elements(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, indices, axis) = (first(given), node.input(1), node.int("axis", 0));
    let mut gradients = vec![None, None, None];
    if node.wants(0) {
        gradients[0] = Some(match node.word("reduction", "none").as_str() {
            "add" => dy.to_string(),
            "none" => {
                let shape = tape.shape(node.input(2))?;
                let zeros = tape.zeros(dy, &shape)?;
                let value = Value::new(tape.value(dy)?.dtype, tape.shape(dy)?);
                let axis = vec![int("axis", axis)];
                tape.op("ScatterElements", &[dy, indices, &zeros], axis, value)
            }
            other => return Err(node.unsupported(&format!("with the reduction `{other}`"))),
        });
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
        gradients[0] = Some(match node.word("reduction", "none").as_str() {
            "add" => dy.to_string(),
            "none" => {
                let shape = tape.shape(node.input(2))?;
                let zeros = tape.zeros(dy, &shape)?;
                let value = Value::new(tape.value(dy)?.dtype, tape.shape(dy)?);
                tape.op("ScatterND", &[dy, indices, &zeros], Vec::new(), value)
            }
            other => return Err(node.unsupported(&format!("with the reduction `{other}`"))),
        });
    }
    if node.wants(2) {
        let value = Value::new(tape.value(dy)?.dtype, tape.shape(node.input(2))?);
        gradients[2] = Some(tape.op("GatherND", &[dy, indices], Vec::new(), value));
    }
    Ok(gradients)
}

/// The largest or smallest elements go back to where they were.
pub fn top_k(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let Some(dy) = given[0].as_deref() else {
        return Ok(Vec::new());
    };
    let shape = tape.shape(node.input(0))?;
    let axis = node.int("axis", -1);
    one(scattered_elements(tape, dy, node.output(1), &shape, axis))
}
