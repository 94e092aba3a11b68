//! Sums, means and maxima over axes.

use super::super::node::{Node, from_front};
use super::super::tape::{Tape, reduced};
use super::super::values::Value;
use super::rule::{Given, Gradients, first, one};
use crate::error::Result;
use crate::graph::build::int;

/// The axes that a node reduces, from its attribute or its second input.
fn axes(tape: &Tape, node: &Node<'_>) -> Result<Vec<usize>> {
    let rank = tape.value(node.input(0))?.shape.len();
    let given: Vec<i64> = match (node.ints("axes"), node.optional(1)) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(input)) => match tape.ints_of(input) {
            Some(axes) => axes.to_vec(),
            None => return Err(node.unsupported("over axes that are computed")),
        },
        (None, None) => Vec::new(),
    };
    if given.is_empty() && node.int("noop_with_empty_axes", 0) == 0 {
        return Ok((0..rank).collect());
    }
    Ok(given.iter().map(|&axis| from_front(axis, rank)).collect())
}

/// Reshapes a reduced value so that the reduced axes have size 1.
fn kept(tape: &mut Tape, node: &Node<'_>, value: &str, axes: &[usize]) -> Result<String> {
    let shape = tape.shape(node.input(0))?;
    tape.reshape(value, &reduced(&shape, axes, true))
}

/// Broadcasts the gradient over the reduced axes.
fn spread(tape: &mut Tape, node: &Node<'_>, dy: &str, axes: &[usize]) -> Result<String> {
    let shape = tape.shape(node.input(0))?;
    let dy = kept(tape, node, dy, axes)?;
    tape.expand(&dy, &shape)
}

pub fn sum(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = axes(tape, node)?;
    one(spread(tape, node, first(given), &axes))
}

pub fn mean(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = axes(tape, node)?;
    one(mean_over(tape, node, first(given), &axes))
}

fn mean_over(tape: &mut Tape, node: &Node<'_>, dy: &str, axes: &[usize]) -> Result<String> {
    let shape = tape.shape(node.input(0))?;
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    let part = tape.scaled(dy, 1.0 / count.max(1) as f64)?;
    spread(tape, node, &part, axes)
}

/// Maxima or minima; equal ones share the gradient.
pub fn extreme(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = axes(tape, node)?;
    one(extreme_over(tape, node, first(given), &axes))
}

fn extreme_over(tape: &mut Tape, node: &Node<'_>, dy: &str, axes: &[usize]) -> Result<String> {
    let (x, y) = (node.input(0), kept(tape, node, node.output(0), axes)?);
    let dtype = tape.value(x)?.dtype;
    let hits = tape.compare("Equal", x, &y)?;
    let hits = tape.cast(&hits, dtype)?;
    let count = tape.sum(&hits, axes, true)?;
    let dy = kept(tape, node, dy, axes)?;
    let share = tape.div(&dy, &count)?;
    tape.mul(&hits, &share)
}

pub fn l1(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = axes(tape, node)?;
    let sign = tape.unary("Sign", node.input(0))?;
    let dy = kept(tape, node, first(given), &axes)?;
    one(tape.mul(&sign, &dy))
}

/// x/‖x‖, 0 at the origin.
pub fn l2(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = axes(tape, node)?;
    let y = kept(tape, node, node.output(0), &axes)?;
    let dy = kept(tape, node, first(given), &axes)?;
    // At the origin divide by 1: dividing by 0 would leave a trace in the second derivative.
    let is_some = tape.compare_number("Greater", &y, 0.0)?;
    let one_ = tape.number(&y, 1.0)?;
    let y = tape.select(&is_some, &y, &one_)?;
    let part = tape.div(&dy, &y)?;
    one(tape.mul(node.input(0), &part))
}

pub fn sum_square(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = axes(tape, node)?;
    let dy = kept(tape, node, first(given), &axes)?;
    let dy = tape.scaled(&dy, 2.0)?;
    one(tape.mul(node.input(0), &dy))
}

pub fn log_sum_exp(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = axes(tape, node)?;
    let y = kept(tape, node, node.output(0), &axes)?;
    let below = tape.sub(node.input(0), &y)?;
    let share = tape.unary("Exp", &below)?;
    let dy = kept(tape, node, first(given), &axes)?;
    one(tape.mul(&share, &dy))
}

/// The gradient of a cumulative sum is one from the other end.
pub fn cumulative(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let value = tape.value(node.input(0))?;
    let value = Value::new(value.dtype, value.shape.clone());
    let attributes = vec![
        int("exclusive", node.int("exclusive", 0)),
        int("reverse", 1 - node.int("reverse", 0)),
    ];
    let inputs = [first(given), node.input(1)];
    Ok(vec![Some(tape.op("CumSum", &inputs, attributes, value))])
}

/// All axes after batch and channels.
fn places(tape: &Tape, node: &Node<'_>) -> Result<Vec<usize>> {
    Ok((2..tape.value(node.input(0))?.shape.len()).collect())
}

pub fn global_average(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = places(tape, node)?;
    one(mean_over(tape, node, first(given), &axes))
}

pub fn global_max(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let axes = places(tape, node)?;
    one(extreme_over(tape, node, first(given), &axes))
}
