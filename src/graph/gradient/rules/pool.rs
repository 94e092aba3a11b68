//! Pools with windows.

use super::super::node::Node;
use super::super::tape::{Tape, int, word};
use super::super::values::Value;
use super::super::window::{CHANNELS_FIRST, Window};
use super::{Given, Gradients, first, one};
use crate::error::Result;

/// The gradient goes to where the largest elements were: their places in the flattened image are
/// the node's second output.
pub fn max(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    if node.int("storage_order", 0) != 0 {
        return Err(node.unsupported("in column-major order"));
    }
    let shape = tape.shape(node.input(0))?;
    let dy = first(given);
    let count = tape.shape(dy)?.iter().product();
    let dy = tape.reshape(dy, &[count])?;
    let places = tape.reshape(node.output(1), &[count])?;
    let zeros = tape.zeros(&dy, &[shape.iter().product()])?;
    let value = Value::new(tape.value(&dy)?.dtype, tape.shape(&zeros)?);
    let add = vec![int("axis", 0), word("reduction", "add")];
    let sum = tape.op("ScatterElements", &[&zeros, &places, &dy], add, value);
    one(tape.reshape(&sum, &shape))
}

pub fn average(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let shape = tape.shape(node.input(0))?;
    let small = tape.shape(node.output(0))?;
    let window = window(tape, node)?;
    let rates = rates(tape, node, &window)?;
    let share = tape.mul(first(given), &rates)?;
    let padded = window.padded_shape(&shape, &small[2..]);
    let mut sum: Option<String> = None;
    for at in 0..window.len() {
        let part = tape.unslice(
            &share,
            &window.places(at, &small[2..], CHANNELS_FIRST),
            &padded,
        )?;
        sum = Some(tape.sum_with(sum, part)?);
    }
    one(window.cropped(tape, &sum.unwrap_or_default(), &shape[2..]))
}

/// The window of a pool.
pub fn window(tape: &Tape, node: &Node<'_>) -> Result<Window> {
    let (large, small) = (tape.shape(node.input(0))?, tape.shape(node.output(0))?);
    let Some(kernel) = node.ints("kernel_shape") else {
        return Err(node.unsupported("without a kernel"));
    };
    let kernel: Vec<usize> = kernel.iter().map(|&size| size.max(1) as usize).collect();
    Window::of(node, &kernel, &large[2..], &small[2..])
}

/// One over the elements that each window of an average averages, [1, 1, …].
pub fn rates(tape: &mut Tape, node: &Node<'_>, window: &Window) -> Result<String> {
    let (large, mut small) = (tape.shape(node.input(0))?, tape.shape(node.output(0))?);
    let with_pads = node.int("count_include_pad", 0) != 0;
    let counts = counts(window, &large[2..], &small[2..], with_pads);
    let rates: Vec<f64> = counts.iter().map(|&count| 1.0 / count as f64).collect();
    (small[0], small[1]) = (1, 1);
    let dtype = tape.value(node.input(0))?.dtype;
    Ok(tape.numbers(dtype, &rates, small))
}

/// How many elements each window averages: those of the image, or with the pads.
fn counts(window: &Window, large: &[usize], small: &[usize], with_pads: bool) -> Vec<usize> {
    let along = |axis: usize| -> Vec<usize> {
        let (before, size) = (window.before[axis], large[axis]);
        let counted = match with_pads {
            true => 0..before + size + window.after[axis],
            false => before..before + size,
        };
        let places = 0..small[axis];
        places
            .map(|place| {
                let start = place * window.strides[axis];
                let elements = (0..window.kernel[axis]).map(|k| start + k * window.dilations[axis]);
                elements.filter(|at| counted.contains(at)).count().max(1)
            })
            .collect()
    };
    (0..large.len()).fold(vec![1], |all, axis| {
        let next = along(axis);
        all.iter()
            .flat_map(|count| next.iter().map(move |more| count * more))
            .collect()
    })
}
