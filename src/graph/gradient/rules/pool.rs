//! Pools with windows.

use super::super::kernel_window::{CHANNELS_FIRST, KernelWindow};
use super::super::node::Node;
use super::super::tape::{AxisRange, Tape};
use super::super::values::Value;
use super::rule::{Given, Gradients, first, one};
use crate::checkpoint::onnx::proto::DataType;
use crate::error::{Error, Result};
use crate::graph::build::{int, ints, word};

/// The gradient goes to the position of each largest element.
pub fn max(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    if node.int("storage_order", 0) != 0 {
        return Err(node.unsupported("in column-major order"));
    }
    let (x, y) = (node.input(0), node.output(0));
    let shape = tape.shape(x)?;
    let mut dy = first(given).to_string();
    if tape.facts.is_pooled(x) {
        let positive = tape.compare_number("Greater", y, 0.0)?;
        dy = tape.masked(&positive, &dy)?;
    }
    if node.output(1).is_empty() {
        let places = halved_places(tape, x, y)?;
        return one(unpooled(tape, &dy, &places, &shape));
    }
    let count = tape.shape(&dy)?.iter().product();
    let dy = tape.reshape(&dy, &[count])?;
    let places = tape.reshape(node.output(1), &[count])?;
    let zeros = tape.zeros(&dy, &[shape.iter().product()])?;
    let value = Value::new(tape.value(&dy)?.dtype, tape.shape(&zeros)?);
    let add = vec![int("axis", 0), word("reduction", "add")];
    let sum = tape.op("ScatterElements", &[&zeros, &places, &dy], add, value);
    one(tape.reshape(&sum, &shape))
}

/// Whether a max pool halves an image: adjacent windows of two by two, without pads. The positions
/// of the largest elements are then found faster by comparisons than by the pool.
pub fn halves(node: &Node<'_>) -> bool {
    let twos = |name: &str| node.ints(name) == Some(&[2, 2]);
    let all = |name: &str, what: i64| {
        let list = node.ints(name);
        list.is_none_or(|list| list.iter().all(|&x| x == what))
    };
    let auto = node.word("auto_pad", "NOTSET");
    twos("kernel_shape")
        && twos("strides")
        && all("dilations", 1)
        && all("pads", 0)
        && ["NOTSET", "VALID"].contains(&auto.as_str())
        && node.int("ceil_mode", 0) == 0
        && node.int("storage_order", 0) == 0
}

/// Positions of the largest elements y of windows of two by two in the flattened image, the first
/// among equals: the start of the window, plus 0 or 1 to the right and 0 or a row's length down.
fn halved_places(tape: &mut Tape, x: &str, y: &str) -> Result<String> {
    let [batch, channels, height, width] = tape.shape(x)?[..] else {
        return Err(unknown_image(x));
    };
    let [.., rows, columns] = tape.shape(y)?[..] else {
        return Err(unknown_image(y));
    };
    let corner = largest_of(tape, x, [1, 1], [rows, columns])?;
    let top = largest_of(tape, x, [1, 2], [rows, columns])?;
    let left = largest_of(tape, x, [2, 1], [rows, columns])?;
    let not_corner = tape.compare("Less", &corner, y)?;
    let not_left = tape.compare("Less", &left, y)?;
    let is_top = tape.compare("Equal", &top, y)?;
    // In the upper row, it is the right one if it is not the corner. In the lower row, where it
    // is not the corner anyway, it is the right one if it is not the left.
    let is_right = tape.compare("Or", &not_left, &is_top)?;
    let is_right = tape.compare("And", &not_corner, &is_right)?;
    // 32-bit integers take half the memory of MaxUnpool's indices, and are large enough.
    let image = height * width;
    let dtype = match i32::try_from(batch * channels * image) {
        Ok(_) => DataType::Int32,
        Err(_) => DataType::Int64,
    };
    let right = tape.cast(&is_right, dtype)?;
    let up = tape.cast(&is_top, dtype)?;
    let row = tape.integers(dtype, &[width as i64], Vec::new());
    let up = tape.mul(&up, &row)?;
    let offset = tape.sub(&right, &up)?;
    // Offsets from the lower left element. The sum of constants is computed with the session.
    let windows = (0..rows * columns).map(|at| 2 * (at / columns * width + at % columns) + width);
    let windows: Vec<i64> = windows.map(|at| at as i64).collect();
    let images: Vec<i64> = (0..batch * channels).map(|k| (k * image) as i64).collect();
    let windows = tape.integers(dtype, &windows, vec![rows, columns]);
    let images = tape.integers(dtype, &images, vec![batch, channels, 1, 1]);
    let starts = tape.add(&images, &windows)?;
    let places = tape.add(&offset, &starts)?;
    tape.cast(&places, DataType::Int64)
}

fn unknown_image(name: &str) -> Error {
    Error::runtime("gradient", format!("`{name}` is no image"))
}

/// The maximum over the part of each window of two by two that a kernel covers from the upper left
/// element on.
fn largest_of(tape: &mut Tape, x: &str, kernel: [usize; 2], places: [usize; 2]) -> Result<String> {
    let value = tape.value(x)?;
    let mut value = Value::new(value.dtype, value.shape.clone());
    for (size, kernel) in value.shape[2..].iter_mut().zip(kernel) {
        *size = (*size - kernel) / 2 + 1;
    }
    let attributes = vec![ints("kernel_shape", &kernel), ints("strides", &[2, 2])];
    let all = tape.op("MaxPool", &[x], attributes, value);
    // A smaller kernel also fits into a leftover row or column.
    let parts = [0, 1].map(|axis| (axis + 2, AxisRange::first(places[axis])));
    tape.slices(&all, &parts)
}

/// Puts the elements of dy at distinct positions of a flattened image of zeros.
fn unpooled(tape: &mut Tape, dy: &str, places: &str, shape: &[usize]) -> Result<String> {
    if tape.value(dy)?.dtype != DataType::Float {
        return scattered(tape, dy, places, shape);
    }
    let target: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    let target = tape.list(&target);
    let twice = |name: &str| ints(name, &[2, 2]);
    Ok(tape.op(
        "MaxUnpool",
        &[dy, places, &target],
        vec![twice("kernel_shape"), twice("strides")],
        Value::new(DataType::Float, shape.to_vec()),
    ))
}

/// Does the same as `unpooled` with an operator that supports every float type.
pub fn scattered(tape: &mut Tape, dy: &str, places: &str, shape: &[usize]) -> Result<String> {
    let count = tape.shape(dy)?.iter().product();
    let dy = tape.reshape(dy, &[count])?;
    let places = tape.reshape(places, &[count])?;
    let zeros = tape.zeros(&dy, &[shape.iter().product()])?;
    let value = Value::new(tape.value(&dy)?.dtype, tape.shape(&zeros)?);
    let inputs = [&*zeros, &places, &dy];
    let image = tape.op("ScatterElements", &inputs, vec![int("axis", 0)], value);
    tape.reshape(&image, shape)
}

/// Takes the elements of the gradient at the positions where elements were put.
pub fn unpool(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let shape = tape.shape(node.input(0))?;
    let dy = first(given);
    let count = tape.shape(dy)?.iter().product();
    let flat = tape.reshape(dy, &[count])?;
    let value = Value::new(tape.value(dy)?.dtype, shape);
    let inputs = [&*flat, node.input(1)];
    one(Ok(tape.op("Gather", &inputs, vec![int("axis", 0)], value)))
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
pub fn window(tape: &Tape, node: &Node<'_>) -> Result<KernelWindow> {
    let (large, small) = (tape.shape(node.input(0))?, tape.shape(node.output(0))?);
    let Some(kernel) = node.ints("kernel_shape") else {
        return Err(node.unsupported("without a kernel"));
    };
    let kernel: Vec<usize> = kernel.iter().map(|&size| size.max(1) as usize).collect();
    KernelWindow::of(node, &kernel, &large[2..], &small[2..])
}

/// Reciprocal of the number of elements that each window averages, [1, 1, …].
pub fn rates(tape: &mut Tape, node: &Node<'_>, window: &KernelWindow) -> Result<String> {
    let (large, mut small) = (tape.shape(node.input(0))?, tape.shape(node.output(0))?);
    let with_pads = node.int("count_include_pad", 0) != 0;
    let counts = counts(window, &large[2..], &small[2..], with_pads);
    let rates: Vec<f64> = counts.iter().map(|&count| 1.0 / count as f64).collect();
    (small[0], small[1]) = (1, 1);
    let dtype = tape.value(node.input(0))?.dtype;
    Ok(tape.numbers(dtype, &rates, small))
}

/// Number of elements that each window averages: those of the image, with or without pads.
fn counts(window: &KernelWindow, large: &[usize], small: &[usize], with_pads: bool) -> Vec<usize> {
    let along = |axis: usize| -> Vec<usize> {
        let (before, size) = (window.before[axis], large[axis]);
        let counted = if with_pads {
            0..before + size + window.after[axis]
        } else {
            before..before + size
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
