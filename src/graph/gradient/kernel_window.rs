//! The windows of convolutions and pools along each spatial axis.

use super::node::Node;
use super::tape::{AxisRange, Tape};
use crate::checkpoint::onnx::proto::AttributeProto;
use crate::error::Result;
use crate::graph::build::{int, ints};

/// First spatial axis of [batch, channels, …].
pub const CHANNELS_FIRST: usize = 2;

/// First spatial axis of [batch, …, channels].
pub const CHANNELS_LAST: usize = 1;

/// Kernel, strides, dilations and pads, one entry per spatial axis.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelWindow {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub before: Vec<usize>,
    pub after: Vec<usize>,
}

impl KernelWindow {
    /// The window by which a node maps the larger side's spatial sizes to the smaller's (for a
    /// transposed convolution: its output to its input).
    ///
    /// # Errors
    /// When pads are negative.
    pub fn of(node: &Node<'_>, kernel: &[usize], large: &[usize], small: &[usize]) -> Result<Self> {
        let rank = kernel.len();
        let list = |name: &str| match node.ints(name) {
            Some(list) if list.len() == rank => list.iter().map(|&x| x.max(1) as usize).collect(),
            _ => vec![1; rank],
        };
        let (strides, dilations): (Vec<usize>, Vec<usize>) = (list("strides"), list("dilations"));
        let reach = |axis: usize| {
            (small[axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
        };
        // Elements that a transposed convolution adds after its last window.
        let added = |axis: usize| match node.ints("output_padding") {
            Some(list) if list.len() == rank => list[axis].max(0) as usize,
            _ => 0,
        };
        let same = |axis: usize| (reach(axis) + added(axis)).saturating_sub(large[axis]);
        let mut auto = node.word("auto_pad", "NOTSET");
        // If a transposed convolution is given its output's shape, the pads follow from it.
        if node.ints("output_shape").is_some() && auto != "SAME_UPPER" {
            auto = "SAME_LOWER".to_string();
        }
        let (before, after): (Vec<usize>, Vec<usize>) = match (auto.as_str(), node.ints("pads")) {
            ("SAME_UPPER", _) => (0..rank)
                .map(|axis| (same(axis) / 2, same(axis).div_ceil(2)))
                .unzip(),
            ("SAME_LOWER", _) => (0..rank)
                .map(|axis| (same(axis).div_ceil(2), same(axis) / 2))
                .unzip(),
            ("NOTSET", Some(pads)) if pads.len() == 2 * rank => {
                if pads.iter().any(|&pad| pad < 0) {
                    return Err(node.unsupported("with negative pads"));
                }
                let (before, after) = pads.split_at(rank);
                let sizes = |pads: &[i64]| pads.iter().map(|&pad| pad as usize).collect();
                (sizes(before), sizes(after))
            }
            _ => (vec![0; rank], vec![0; rank]),
        };
        Ok(Self {
            kernel: kernel.to_vec(),
            strides,
            dilations,
            before,
            after,
        })
    }

    /// Number of elements in the kernel.
    pub fn len(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Whether all strides are 1.
    pub fn is_dense(&self) -> bool {
        self.strides.iter().all(|&stride| stride == 1)
    }

    /// Distance from a kernel's first element to its last along an axis.
    pub fn extent(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis] - 1)
    }

    /// The window as attributes of Conv or ConvTranspose.
    pub fn attributes(&self, group: usize) -> Vec<AttributeProto> {
        let pads = [self.before.as_slice(), &self.after].concat();
        vec![
            ints("kernel_shape", &self.kernel),
            ints("strides", &self.strides),
            ints("dilations", &self.dilations),
            ints("pads", &pads),
            int("group", group as i64),
        ]
    }

    /// Length of the padded axis that `small` windows cover.
    fn reach(&self, axis: usize, small: usize) -> usize {
        (small - 1) * self.strides[axis] + self.extent(axis) + 1
    }

    /// The elements that element `at` of the kernel meets, one per window of `small`, in a padded
    /// image whose spatial axes begin with `lead`.
    pub fn places(&self, at: usize, small: &[usize], lead: usize) -> Vec<(usize, AxisRange)> {
        let mut rest = at;
        let mut parts = Vec::new();
        for axis in (0..self.kernel.len()).rev() {
            let offset = rest % self.kernel[axis];
            rest /= self.kernel[axis];
            let part = AxisRange {
                start: offset * self.dilations[axis],
                count: small[axis],
                step: self.strides[axis],
            };
            parts.push((axis + lead, part));
        }
        parts.reverse();
        parts
    }

    /// Pads an image whose spatial axes begin with `lead` with zeros, as far as windows at `small`
    /// places reach.
    pub fn padded(&self, tape: &mut Tape, x: &str, small: &[usize], lead: usize) -> Result<String> {
        let (before, after) = self.pads(&tape.shape(x)?, small, lead);
        tape.pad(x, &before, &after)
    }

    /// Undoes [`KernelWindow::padded`] for an image [batch, channels, …] of spatial sizes `large`.
    pub fn cropped(&self, tape: &mut Tape, padded: &str, large: &[usize]) -> Result<String> {
        let sizes = large.iter().enumerate();
        let parts: Vec<(usize, AxisRange)> = sizes
            .map(|(axis, &size)| {
                (
                    axis + CHANNELS_FIRST,
                    AxisRange::range(self.before[axis], size),
                )
            })
            .collect();
        tape.slices(padded, &parts)
    }

    /// Shape of a padded image [batch, channels, …].
    pub fn padded_shape(&self, shape: &[usize], small: &[usize]) -> Vec<usize> {
        let (before, after) = self.pads(shape, small, CHANNELS_FIRST);
        let pads = before.iter().zip(after);
        let sizes = shape.iter().zip(pads);
        sizes
            .map(|(size, (before, after))| size + before + after)
            .collect()
    }

    fn pads(&self, shape: &[usize], small: &[usize], lead: usize) -> (Vec<usize>, Vec<usize>) {
        let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
        for axis in 0..self.kernel.len() {
            before[axis + lead] = self.before[axis];
            let reach = self.reach(axis, small[axis]);
            // The last windows may leave pads unused, or reach beyond them (ceil_mode).
            let seen = reach.saturating_sub(self.before[axis] + shape[axis + lead]);
            after[axis + lead] = seen.max(self.after[axis]);
        }
        (before, after)
    }

    /// The elements that each window covers, as [batch, channels, kernel, places].
    pub fn columns(&self, tape: &mut Tape, x: &str, small: &[usize]) -> Result<String> {
        let shape = tape.shape(x)?;
        let places = small.iter().product();
        let flat = [shape[0], shape[1], 1, places];
        let padded = self.padded(tape, x, small, CHANNELS_FIRST)?;
        let parts = (0..self.len()).map(|at| {
            let part = tape.slices(&padded, &self.places(at, small, CHANNELS_FIRST))?;
            tape.reshape(&part, &flat)
        });
        let parts = parts.collect::<Result<Vec<String>>>()?;
        tape.concat(&parts, 2)
    }
}
