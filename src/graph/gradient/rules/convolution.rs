//! Convolutions.

use super::super::node::Node;
use super::super::tape::{Tape, ints};
use super::super::values::Value;
use super::super::window::{CHANNELS_FIRST, Window};
use super::{Given, Gradients, first};
use crate::error::Result;

/// A convolution from an image of [batch, channels, …] to one of [batch, outputs, …] with a weight
/// of [outputs, channels/groups, …].
struct Convolution {
    window: Window,
    groups: usize,
    /// Shape of the image that it starts from.
    large: Vec<usize>,
    /// Shape of the image that it makes.
    small: Vec<usize>,
    weight: Vec<usize>,
}

pub fn conv(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, x, w) = (first(given), node.input(0), node.input(1));
    let convolution = Convolution::of(tape, node, x, node.output(0))?;
    let mut gradients = vec![None, None, None];
    if node.wants(0) {
        gradients[0] = Some(convolution.back(tape, dy, w)?);
    }
    if node.wants(1) {
        gradients[1] = Some(convolution.weight(tape, x, dy)?);
    }
    if node.wants(2) {
        gradients[2] = Some(bias(tape, dy)?);
    }
    Ok(gradients)
}

/// What a convolution's gradient in its image is: it goes from its output to its input.
pub fn conv_transpose(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, x, w) = (first(given), node.input(0), node.input(1));
    let convolution = Convolution::of(tape, node, node.output(0), x)?;
    let mut gradients = vec![None, None, None];
    if node.wants(0) {
        let value = Value::new(tape.value(x)?.dtype, convolution.small.clone());
        let attributes = convolution.window.attributes(convolution.groups);
        gradients[0] = Some(tape.op("Conv", &[dy, w], attributes, value));
    }
    if node.wants(1) {
        gradients[1] = Some(convolution.weight(tape, dy, x)?);
    }
    if node.wants(2) {
        gradients[2] = Some(bias(tape, dy)?);
    }
    Ok(gradients)
}

/// Sums by channel.
fn bias(tape: &mut Tape, dy: &str) -> Result<String> {
    let rank = tape.value(dy)?.shape.len();
    let axes: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
    tape.sum(dy, &axes, false)
}

impl Convolution {
    fn of(tape: &Tape, node: &Node<'_>, large: &str, small: &str) -> Result<Self> {
        let (large, small) = (tape.shape(large)?, tape.shape(small)?);
        let weight = tape.shape(node.input(1))?;
        Ok(Self {
            window: Window::of(node, &weight[2..], &large[2..], &small[2..])?,
            groups: node.int("group", 1).max(1) as usize,
            large,
            small,
            weight,
        })
    }

    /// The gradient in the image that it starts from.
    fn back(&self, tape: &mut Tape, dy: &str, w: &str) -> Result<String> {
        let value = Value::new(tape.value(dy)?.dtype, self.large.clone());
        let axes = 0..self.window.kernel.len();
        let fits = axes.clone().all(|axis| {
            let extent = self.window.extent(axis);
            self.window.before[axis] <= extent && self.window.after[axis] <= extent
        });
        if self.window.is_dense() && fits {
            let flipped = self.flipped(tape, w)?;
            let pads = |pads: &[usize]| {
                let pads = pads.iter().enumerate();
                pads.map(|(axis, pad)| self.window.extent(axis) - pad)
                    .collect()
            };
            let window = Window {
                before: pads(&self.window.before),
                after: pads(&self.window.after),
                ..self.window.clone()
            };
            return Ok(tape.op(
                "Conv",
                &[dy, &flipped],
                window.attributes(self.groups),
                value,
            ));
        }
        let missing = axes.map(|axis| {
            let window = &self.window;
            let made = (self.small[axis + 2] - 1) * window.strides[axis] + window.extent(axis) + 1;
            self.large[axis + 2] + window.before[axis] + window.after[axis] - made
        });
        let mut attributes = self.window.attributes(self.groups);
        attributes.push(ints("output_padding", &missing.collect::<Vec<usize>>()));
        Ok(tape.op("ConvTranspose", &[dy, w], attributes, value))
    }

    /// The weight of the convolution back: [channels, outputs/groups, …], every kernel turned
    /// around.
    fn flipped(&self, tape: &mut Tape, w: &str) -> Result<String> {
        let mut turned = w.to_string();
        for axis in 0..self.window.kernel.len() {
            if self.window.kernel[axis] > 1 {
                turned = tape.reversed(&turned, axis + 2)?;
            }
        }
        let [outputs, channels] = [self.weight[0] / self.groups, self.weight[1]];
        let kernel = &self.weight[2..];
        let split = [&[self.groups, outputs, channels], kernel].concat();
        let split = tape.reshape(&turned, &split)?;
        let mut order: Vec<usize> = (0..kernel.len() + 3).collect();
        order.swap(1, 2);
        let exchanged = tape.transpose(&split, &order)?;
        let whole = [&[self.groups * channels, outputs], kernel].concat();
        tape.reshape(&exchanged, &whole)
    }

    /// The gradient in the weight, from the image that it starts from and the gradient in the one
    /// that it makes.
    fn weight(&self, tape: &mut Tape, x: &str, dy: &str) -> Result<String> {
        if self.weight[1] == 1 && self.weight[0] == self.groups {
            return self.depthwise_weight(tape, x, dy);
        }
        let (batch, groups) = (self.large[0], self.groups);
        let places: usize = self.small[2..].iter().product();
        let columns = self.window.columns(tape, x, &self.small[2..])?;
        let seen = self.weight[1] * self.window.len();
        let columns = tape.reshape(&columns, &[batch, groups, seen, places])?;
        let dy = tape.reshape(dy, &[batch, groups, self.weight[0] / groups, places])?;
        let columns = tape.turned(&columns)?;
        let product = tape.matmul(&dy, &columns)?;
        let sum = tape.sum(&product, &[0], false)?;
        tape.reshape(&sum, &self.weight)
    }

    /// The same where each channel has a kernel of its own.
    fn depthwise_weight(&self, tape: &mut Tape, x: &str, dy: &str) -> Result<String> {
        let spatial = &self.small[2..];
        let padded = self.window.padded(tape, x, spatial, CHANNELS_FIRST)?;
        let axes: Vec<usize> = (0..self.small.len()).filter(|&axis| axis != 1).collect();
        let parts = (0..self.window.len()).map(|at| {
            let part = tape.slices(&padded, &self.window.places(at, spatial, CHANNELS_FIRST))?;
            let product = tape.mul(&part, dy)?;
            let sum = tape.sum(&product, &axes, false)?;
            tape.reshape(&sum, &[self.weight[0], 1])
        });
        let parts = parts.collect::<Result<Vec<String>>>()?;
        let all = tape.concat(&parts, 1)?;
        tape.reshape(&all, &self.weight)
    }
}
