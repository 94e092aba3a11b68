//! Convolutions.
//!
//! Each gradient can be written in several ways. The fastest was determined with ONNX Runtime on
//! one core; all are equally exact.

use super::super::kernel_window::{CHANNELS_LAST, KernelWindow};
use super::super::node::Node;
use super::super::tape::{AxisRange, Tape};
use super::super::values::Value;
use super::rule::{Given, Gradients, first};
use crate::error::Result;
use crate::graph::build::ints;

/// With at least this many channels, one product per kernel element is faster than one product with
/// the columns of all windows.
const MANY: usize = 8;

/// Number of elements met by one kernel element that fit into the CPU cache (2 MB of float32); with
/// more, the batch is processed in parts.
const CACHED: usize = 1 << 19;

/// Maximum number of parts; each writes all nodes anew.
const PARTS: usize = 8;

/// A convolution from an image of [batch, channels, …] to one of [batch, outputs, …] with a weight
/// of [outputs, channels/groups, …].
struct Convolution {
    window: KernelWindow,
    groups: usize,
    /// Shape of the input image.
    large: Vec<usize>,
    /// Shape of the output image.
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

/// A transposed convolution is the image gradient of a convolution, from its output to its input.
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

/// Transposes [batch, channels, …] to [batch, …, channels].
fn channels_last(tape: &mut Tape, image: &str) -> Result<String> {
    let rank = tape.value(image)?.shape.len();
    let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    tape.transpose(image, &order)
}

impl Convolution {
    fn of(tape: &Tape, node: &Node<'_>, large: &str, small: &str) -> Result<Self> {
        let (large, small) = (tape.shape(large)?, tape.shape(small)?);
        let weight = tape.shape(node.input(1))?;
        Ok(Self {
            window: KernelWindow::of(node, &weight[2..], &large[2..], &small[2..])?,
            groups: node.int("group", 1).max(1) as usize,
            large,
            small,
            weight,
        })
    }

    /// Number of places in the output image.
    fn places(&self) -> usize {
        self.small[2..].iter().product()
    }

    /// The gradient of the input image.
    fn back(&self, tape: &mut Tape, dy: &str, w: &str) -> Result<String> {
        let window = &self.window;
        let value = Value::new(tape.value(dy)?.dtype, self.large.clone());
        let mut axes = 0..window.kernel.len();
        let fits = axes.clone().all(|axis| {
            let extent = window.extent(axis);
            window.before[axis] <= extent && window.after[axis] <= extent
        });
        // When the session is created, ONNX Runtime rearranges the weight of a convolution but not
        // that of a transposed one. For a weight not known by then, flipping does not pay.
        if window.is_dense() && fits && tape.facts.is_constant(w) {
            let flipped = self.flipped(tape, w)?;
            let attributes = self.turned_window().attributes(self.groups);
            return Ok(tape.op("Conv", &[dy, &flipped], attributes, value));
        }
        let mut missing = vec![0; axes.len()];
        for axis in &mut axes {
            let made = (self.small[axis + 2] - 1) * window.strides[axis] + window.extent(axis) + 1;
            let seen = self.large[axis + 2] + window.before[axis] + window.after[axis];
            missing[axis] = seen - made;
        }
        let mut attributes = window.attributes(self.groups);
        attributes.push(ints("output_padding", &missing));
        Ok(tape.op("ConvTranspose", &[dy, w], attributes, value))
    }

    /// The window of the convolution that computes the image gradient, if all strides are 1.
    fn turned_window(&self) -> KernelWindow {
        let pads = |pads: &[usize]| {
            let pads = pads.iter().enumerate();
            pads.map(|(axis, pad)| self.window.extent(axis) - pad)
                .collect()
        };
        KernelWindow {
            before: pads(&self.window.before),
            after: pads(&self.window.after),
            ..self.window.clone()
        }
    }

    /// The weight of that convolution: [channels, outputs/groups, …], with every kernel flipped.
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

    /// The gradient of the weight, from the input image and the gradient of the output image.
    fn weight(&self, tape: &mut Tape, x: &str, dy: &str) -> Result<String> {
        let is_depthwise = self.weight[1] == 1 && self.weight[0] == self.groups;
        let is_wide = self.groups == 1 && self.weight[1] >= MANY;
        match (is_depthwise, is_wide && self.window.len() > 1) {
            (true, _) => self.depthwise_weight(tape, x, dy),
            (_, true) => self.weight_by_element(tape, x, dy),
            _ => self.weight_by_columns(tape, x, dy),
        }
    }

    /// One product per sample, with the columns of all windows.
    fn weight_by_columns(&self, tape: &mut Tape, x: &str, dy: &str) -> Result<String> {
        let (batch, groups, places) = (self.large[0], self.groups, self.places());
        let (outputs, seen) = (self.weight[0] / groups, self.weight[1] * self.window.len());
        let columns = self.window.columns(tape, x, &self.small[2..])?;
        let columns = tape.reshape(&columns, &[batch, groups, seen, places])?;
        let dy = tape.reshape(dy, &[batch, groups, outputs, places])?;
        let dy = tape.transposed(&dy)?;
        let product = tape.matmul(&columns, &dy)?;
        let sum = tape.sum(&product, &[0], false)?;
        let transposed = tape.transposed(&sum)?;
        tape.reshape(&transposed, &self.weight)
    }

    /// One product over samples and places for each kernel element.
    fn weight_by_element(&self, tape: &mut Tape, x: &str, dy: &str) -> Result<String> {
        let batch = self.large[0];
        let met = batch * self.places() * self.weight[1];
        let parts = met.div_ceil(CACHED).clamp(1, PARTS.min(batch.max(1)));
        let step = batch.div_ceil(parts).max(1);
        let mut sum = None;
        for start in (0..batch).step_by(step) {
            let part = AxisRange::range(start, step.min(batch - start));
            let x = tape.slice(x, 0, part)?;
            let dy = tape.slice(dy, 0, part)?;
            let product = self.products(tape, &x, &dy)?;
            sum = Some(tape.sum_with(sum, product)?);
        }
        let (outputs, channels) = (self.weight[0], self.weight[1]);
        let last = [&[outputs], &self.weight[2..], &[channels]].concat();
        let sum = tape.reshape(&sum.unwrap_or_default(), &last)?;
        let rank = last.len();
        let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        tape.transpose(&sum, &order)
    }

    /// [outputs, kernel · channels] of some samples. With the channels last, the elements that a
    /// kernel element meets are the rows of a matrix.
    fn products(&self, tape: &mut Tape, x: &str, dy: &str) -> Result<String> {
        let rows = tape.value(x)?.shape[0] * self.places();
        let mut order: Vec<usize> = (0..self.small.len()).collect();
        order.swap(0, 1);
        let dy = tape.transpose(dy, &order)?;
        let dy = tape.reshape(&dy, &[self.weight[0], rows])?;
        let products = self.each_met(tape, x, |tape, met| {
            let met = tape.reshape(met, &[rows, self.weight[1]])?;
            tape.matmul(&dy, &met)
        })?;
        tape.concat(&products, 1)
    }

    /// Applies `make` to the elements that each kernel element meets, [batch, …, channels].
    fn each_met(
        &self,
        tape: &mut Tape,
        x: &str,
        mut make: impl FnMut(&mut Tape, &str) -> Result<String>,
    ) -> Result<Vec<String>> {
        let spatial = &self.small[2..];
        // Transposing before padding moves fewer elements.
        let last = channels_last(tape, x)?;
        let padded = self.window.padded(tape, &last, spatial, CHANNELS_LAST)?;
        let elements = 0..self.window.len();
        elements
            .map(|at| {
                let places = self.window.places(at, spatial, CHANNELS_LAST);
                let met = tape.slices(&padded, &places)?;
                make(tape, &met)
            })
            .collect()
    }

    /// The gradient of a depthwise weight, where each channel has its own kernel: sums of products,
    /// for each kernel element.
    fn depthwise_weight(&self, tape: &mut Tape, x: &str, dy: &str) -> Result<String> {
        let (channels, rows) = (self.weight[0], self.large[0] * self.places());
        let dy = channels_last(tape, dy)?;
        let sums = self.each_met(tape, x, |tape, met| {
            let product = tape.mul(met, &dy)?;
            let product = tape.reshape(&product, &[rows, channels])?;
            tape.sum(&product, &[0], true)
        })?;
        let all = tape.concat(&sums, 0)?;
        let all = tape.transposed(&all)?;
        tape.reshape(&all, &self.weight)
    }
}
