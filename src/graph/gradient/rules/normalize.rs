//! Softmax and normalizations.

use super::super::node::Node;
use super::super::tape::Tape;
use super::super::values::Value;
use super::rule::{Given, Gradients, first, one};
use crate::error::Result;
use crate::graph::build::ints;

/// y·(dy − Σ y·dy).
pub fn softmax(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, y) = (first(given), node.output(0));
    let axis = node.axis(-1, tape.value(y)?.shape.len());
    let product = tape.mul(dy, y)?;
    let sum = tape.sum(&product, &[axis], true)?;
    let centred = tape.sub(dy, &sum)?;
    one(tape.mul(y, &centred))
}

/// dy − exp(y)·Σ dy.
pub fn log_softmax(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, y) = (first(given), node.output(0));
    let axis = node.axis(-1, tape.value(y)?.shape.len());
    let sum = tape.sum(dy, &[axis], true)?;
    let share = tape.unary("Exp", y)?;
    let part = tape.mul(&share, &sum)?;
    one(tape.sub(dy, &part))
}

/// x normalized over some axes to mean square 1 and, if it is centred, mean 0.
pub struct Normal {
    axes: Vec<usize>,
    centred: bool,
    /// The normalized values.
    pub hat: String,
    /// 1/√(mean square + ε).
    rate: String,
}

impl Normal {
    /// Writes the normalization of x.
    pub fn of(
        tape: &mut Tape,
        x: &str,
        axes: Vec<usize>,
        epsilon: f64,
        centred: bool,
    ) -> Result<Self> {
        let offset = if centred {
            let mean = tape.mean(x, &axes)?;
            tape.sub(x, &mean)?
        } else {
            x.to_string()
        };
        let square = tape.mul(&offset, &offset)?;
        let square = tape.mean(&square, &axes)?;
        let square = tape.plus(&square, epsilon)?;
        let root = tape.unary("Sqrt", &square)?;
        let rate = tape.unary("Reciprocal", &root)?;
        Ok(Self {
            hat: tape.mul(&offset, &rate)?,
            axes,
            centred,
            rate,
        })
    }

    /// The gradient of x from that of the normalized values d:
    /// rate·(d − mean(d) − hat·mean(d·hat)), with the first mean only if x is centred.
    fn back(&self, tape: &mut Tape, d: &str) -> Result<String> {
        let product = tape.mul(d, &self.hat)?;
        let along = tape.mean(&product, &self.axes)?;
        let along = tape.mul(&self.hat, &along)?;
        let mut rest = tape.sub(d, &along)?;
        if self.centred {
            let mean = tape.mean(d, &self.axes)?;
            rest = tape.sub(&rest, &mean)?;
        }
        tape.mul(&rest, &self.rate)
    }
}

/// Gradients of x·scale + bias after normalization. Values are normalized in `shape`; scale and
/// bias have `parameter_shape` there.
fn scaled_normal(
    tape: &mut Tape,
    node: &Node<'_>,
    dy: &str,
    normal: &Normal,
    shape: &[usize],
    parameter_shape: &[usize],
) -> Gradients {
    let dy = tape.reshape(dy, shape)?;
    let mut gradients = vec![None, None, None];
    if node.wants(0) {
        let scale = tape.reshape(node.input(1), parameter_shape)?;
        let d = tape.mul(&dy, &scale)?;
        let gradient = normal.back(tape, &d)?;
        let own = tape.shape(node.input(0))?;
        gradients[0] = Some(tape.reshape(&gradient, &own)?);
    }
    if node.wants(1) {
        let product = tape.mul(&dy, &normal.hat)?;
        let gradient = tape.unbroadcast(&product, parameter_shape)?;
        let own = tape.shape(node.input(1))?;
        gradients[1] = Some(tape.reshape(&gradient, &own)?);
    }
    if node.wants(2) {
        let gradient = tape.unbroadcast(&dy, parameter_shape)?;
        let own = tape.shape(node.input(2))?;
        gradients[2] = Some(tape.reshape(&gradient, &own)?);
    }
    Ok(gradients)
}

/// LayerNormalization and RMSNormalization over the axes from `axis` on.
fn over_last(tape: &mut Tape, node: &Node<'_>, dy: &str, centred: bool) -> Gradients {
    let shape = tape.shape(node.input(0))?;
    let axes = (node.axis(-1, shape.len())..shape.len()).collect();
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let normal = Normal::of(tape, node.input(0), axes, epsilon, centred)?;
    let scale = tape.shape(node.input(1))?;
    scaled_normal(tape, node, dy, &normal, &shape, &scale)
}

pub fn layer(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    if given[1..].iter().any(Option::is_some) {
        return Err(node.unsupported("through the mean or deviation that it gives out"));
    }
    over_last(tape, node, first(given), true)
}

pub fn root_mean_square(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    over_last(tape, node, first(given), false)
}

/// The shape [1, channels, 1, …] of a given rank.
fn by_channel(channels: usize, rank: usize) -> Vec<usize> {
    let mut shape = vec![1; rank];
    shape[1] = channels;
    shape
}

/// Instance and group normalization, for each group of channels by itself; in instance
/// normalization each channel is a group.
pub struct Grouped {
    /// The normalized values, [batch, groups, channels per group, places].
    pub normal: Normal,
    /// Shape of the normalized values.
    pub shape: [usize; 4],
    /// The shape of scale and bias that broadcasts to them.
    pub parameters: [usize; 4],
}

impl Grouped {
    /// Writes the normalization. Scale and bias of group normalization are per group before version
    /// 21, and per channel from then on.
    pub fn of(tape: &mut Tape, node: &Node<'_>) -> Result<Self> {
        let shape = tape.shape(node.input(0))?;
        let groups = match node.proto.op_type() {
            "InstanceNormalization" => shape[1],
            _ => node.int("num_groups", 1).max(1) as usize,
        };
        let channels = shape[1] / groups;
        let split = [shape[0], groups, channels, shape[2..].iter().product()];
        let x = tape.reshape(node.input(0), &split)?;
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let by_group = tape.value(node.input(1))?.shape == [groups];
        Ok(Self {
            normal: Normal::of(tape, &x, vec![2, 3], epsilon, true)?,
            shape: split,
            parameters: [1, groups, if by_group { 1 } else { channels }, 1],
        })
    }
}

pub fn grouped(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let Grouped {
        normal,
        shape,
        parameters,
    } = Grouped::of(tape, node)?;
    scaled_normal(tape, node, first(given), &normal, &shape, &parameters)
}

/// Batch normalization in inference: (x − mean)·scale/√(variance + ε) + bias, where mean and
/// variance are tensors like any other.
pub fn batch(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    if node.int("training_mode", 0) != 0 {
        return Err(node.unsupported("in training mode; export the model after .eval()"));
    }
    let dy = first(given);
    let shape = tape.shape(node.input(0))?;
    let parameters = by_channel(shape[1], shape.len());
    let channel = |tape: &mut Tape, slot: usize| tape.reshape(node.input(slot), &parameters);
    let variance = channel(tape, 4)?;
    let variance = tape.plus(&variance, f64::from(node.float("epsilon", 1e-5)))?;
    let root = tape.unary("Sqrt", &variance)?;
    let rate = tape.unary("Reciprocal", &root)?;
    let scale = channel(tape, 1)?;
    let factor = tape.mul(&scale, &rate)?;
    let mut gradients = vec![None; 5];
    if node.wants(0) {
        gradients[0] = Some(tape.mul(dy, &factor)?);
    }
    if !(1..5).any(|slot| node.wants(slot)) {
        return Ok(gradients);
    }
    let mean = channel(tape, 3)?;
    let offset = tape.sub(node.input(0), &mean)?;
    let product = tape.mul(dy, &offset)?;
    // Σ dy and Σ dy·(x − mean) per channel.
    let sum = tape.unbroadcast(dy, &parameters)?;
    let moment = tape.unbroadcast(&product, &parameters)?;
    let scaled = tape.mul(&moment, &rate)?;
    let shift = tape.mul(&sum, &factor)?;
    let spread = tape.mul(&moment, &factor)?;
    let spread = tape.div(&spread, &variance)?;
    let by_slot = [
        scaled,
        sum.clone(),
        tape.neg(&shift)?,
        tape.scaled(&spread, -0.5)?,
    ];
    for (slot, gradient) in (1..5).zip(by_slot) {
        let own = tape.shape(node.input(slot))?;
        gradients[slot] = Some(tape.reshape(&gradient, &own)?);
    }
    Ok(gradients)
}

/// x/‖x‖ over an axis, by its first or second norm.
pub fn lp(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, x, y) = (first(given), node.input(0), node.output(0));
    let shape = tape.shape(x)?;
    let axis = node.axis(-1, shape.len());
    let (norm, slope) = match node.int("p", 2) {
        2 => ("ReduceL2", y.to_string()),
        _ => ("ReduceL1", tape.unary("Sign", x)?),
    };
    let size = norm_over(tape, norm, x, axis, node.opset)?;
    let product = tape.mul(dy, y)?;
    let along = tape.sum(&product, &[axis], true)?;
    let along = tape.mul(&slope, &along)?;
    let rest = tape.sub(dy, &along)?;
    one(tape.div(&rest, &size))
}

/// A norm along an axis, which stays with size 1. The axes are an attribute before version 18.
fn norm_over(tape: &mut Tape, norm: &str, x: &str, axis: usize, opset: i64) -> Result<String> {
    let value = tape.value(x)?;
    let mut value = Value::new(value.dtype, value.shape.clone());
    value.shape[axis] = 1;
    if opset < 18 {
        let axes = ints("axes", &[axis]);
        return Ok(tape.op(norm, &[x], vec![axes], value));
    }
    let axes = tape.list(&[axis as i64]);
    Ok(tape.op(norm, &[x, &axes], Vec::new(), value))
}
