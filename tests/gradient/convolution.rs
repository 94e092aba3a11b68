//! Convolutions and transposed convolutions.

use landscape::graph::build::{int, ints, word};
use proptest::prelude::*;

use crate::case::{Case, Input, moving, numbers};

/// A convolution in all that it can be told.
#[derive(Debug, Clone)]
struct Setting {
    /// Spatial sizes of the image that the operator reads.
    size: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Before each axis, then after each.
    pads: Vec<usize>,
    groups: usize,
    /// Channels that a group reads and makes.
    channels: [usize; 2],
}

impl Setting {
    /// One step at a time, one group of 2 channels to 3.
    fn plain(size: &[usize], kernel: &[usize]) -> Self {
        Self {
            size: size.to_vec(),
            kernel: kernel.to_vec(),
            strides: vec![1; size.len()],
            dilations: vec![1; size.len()],
            pads: vec![0; 2 * size.len()],
            groups: 1,
            channels: [2, 3],
        }
    }

    fn strides(self, strides: &[usize]) -> Self {
        let strides = strides.to_vec();
        Self { strides, ..self }
    }

    fn dilations(self, dilations: &[usize]) -> Self {
        let dilations = dilations.to_vec();
        Self { dilations, ..self }
    }

    fn pads(self, pads: &[usize]) -> Self {
        let pads = pads.to_vec();
        Self { pads, ..self }
    }

    fn groups(self, groups: usize, channels: [usize; 2]) -> Self {
        Self {
            groups,
            channels,
            ..self
        }
    }

    fn image(&self, batch: usize) -> Vec<usize> {
        [&[batch, self.groups * self.channels[0]], &self.size[..]].concat()
    }

    /// The operator without attributes, its weight of a shape.
    fn bare(&self, op_type: &'static str, weight: [usize; 2], outputs: usize) -> Case {
        let weight = [&weight, &self.kernel[..]].concat();
        let inputs = vec![
            moving(&self.image(2), 1),
            moving(&weight, 2),
            moving(&[outputs], 3),
        ];
        Case::new(op_type, inputs)
            .with(ints("strides", &self.strides))
            .with(int("group", self.groups as i64))
    }

    fn bare_conv(&self) -> Case {
        let [read, made] = self.channels;
        let outputs = self.groups * made;
        self.bare("Conv", [outputs, read], outputs)
    }

    fn bare_transposed(&self) -> Case {
        let [read, made] = self.channels;
        let weight = [self.groups * read, made];
        self.bare("ConvTranspose", weight, self.groups * made)
    }

    fn conv(&self) -> Case {
        self.bare_conv()
            .with(ints("dilations", &self.dilations))
            .with(ints("pads", &self.pads))
    }

    fn transposed(&self) -> Case {
        self.bare_transposed()
            .with(ints("dilations", &self.dilations))
            .with(ints("pads", &self.pads))
    }

    /// Whether the operators make anything, and no pad is beyond what the kernel reaches.
    fn is_sound(&self) -> bool {
        let rank = self.size.len();
        (0..rank).all(|axis| {
            let extent = self.dilations[axis] * (self.kernel[axis] - 1);
            let [before, after] = [self.pads[axis], self.pads[rank + axis]];
            let made = (self.size[axis] - 1) * self.strides[axis] + extent + 1;
            self.size[axis] + before + after > extent && made > before + after
        })
    }
}

fn setting() -> impl Strategy<Value = Setting> {
    let axis = (
        3_usize..7,
        1_usize..4,
        1_usize..4,
        1_usize..3,
        0_usize..3,
        0_usize..3,
    );
    let axes = proptest::collection::vec(axis, 1..3);
    let channels = (1_usize..4, 1_usize..3, 1_usize..4);
    (axes, channels)
        .prop_map(|(axes, (groups, read, made))| Setting {
            size: axes.iter().map(|axis| axis.0).collect(),
            kernel: axes.iter().map(|axis| axis.1).collect(),
            strides: axes.iter().map(|axis| axis.2).collect(),
            dilations: axes.iter().map(|axis| axis.3).collect(),
            pads: axes
                .iter()
                .map(|axis| axis.4)
                .chain(axes.iter().map(|axis| axis.5))
                .collect(),
            groups,
            channels: [read, made],
        })
        .prop_filter("makes nothing", Setting::is_sound)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn strides_dilations_groups_and_pads(setting in setting()) {
        setting.conv().check();
    }

    #[test]
    fn the_same_transposed(setting in setting()) {
        setting.transposed().check();
    }
}

#[test]
fn a_window_that_covers_the_image() {
    Setting::plain(&[7], &[3]).conv().check();
    Setting::plain(&[5, 6], &[3, 2]).conv().check();
    Setting::plain(&[5, 5], &[3, 3])
        .pads(&[1; 4])
        .conv()
        .check();
    Setting::plain(&[4, 4], &[1, 1]).conv().check();
}

#[test]
fn last_rows_that_no_window_sees() {
    // (8 − 3)/3 leaves two rows, (6 − 1)/2 one of a kernel of one.
    let wide = Setting::plain(&[8, 6], &[3, 1]).strides(&[3, 2]);
    wide.conv().check();
    let shortcut = Setting::plain(&[6, 6], &[1, 1]).strides(&[2, 2]);
    shortcut.conv().check();
    Setting::plain(&[6], &[2]).strides(&[4]).conv().check();
}

#[test]
fn pads_that_differ_and_pads_wider_than_the_kernel() {
    let uneven = Setting::plain(&[5, 6], &[3, 3]).pads(&[0, 2, 1, 0]);
    uneven.conv().check();
    Setting::plain(&[4, 4], &[2, 2])
        .pads(&[2, 0, 3, 1])
        .conv()
        .check();
    Setting::plain(&[4], &[1]).pads(&[1, 2]).conv().check();
}

#[test]
fn dilated_kernels() {
    let sparse = Setting::plain(&[7, 8], &[3, 2]).dilations(&[2, 3]);
    sparse.clone().pads(&[2, 1, 2, 0]).conv().check();
    sparse.strides(&[2, 1]).conv().check();
}

#[test]
fn groups_of_one_channel_and_of_several() {
    let image = Setting::plain(&[5, 5], &[3, 3]).pads(&[1; 4]);
    let depthwise = image.clone().groups(4, [1, 1]);
    depthwise.conv().check();
    depthwise.clone().strides(&[2, 2]).conv().check();
    depthwise.transposed().check();
    image.clone().groups(3, [1, 2]).conv().check();
    image.clone().groups(2, [2, 3]).conv().check();
    image.groups(2, [3, 2]).transposed().check();
    Setting::plain(&[8], &[3]).groups(3, [1, 1]).conv().check();
}

#[test]
fn many_channels() {
    let many = Setting::plain(&[4, 5], &[3, 3]).groups(1, [9, 8]);
    many.clone().pads(&[1; 4]).conv().check();
    many.clone()
        .strides(&[2, 1])
        .pads(&[1, 0, 1, 2])
        .conv()
        .check();
    many.transposed().check();
    Setting::plain(&[9], &[3]).groups(1, [8, 4]).conv().check();
    Setting::plain(&[3, 3], &[1, 1])
        .groups(1, [9, 8])
        .conv()
        .check();
}

#[test]
fn a_batch_that_is_taken_in_parts() {
    let (image, weight) = ([20, 8, 65, 64], [1, 8, 2, 1]);
    let image = Input::Fixed(image.to_vec(), numbers(&image, 1));
    let case = Case::new("Conv", vec![image, moving(&weight, 2)]);
    case.with(ints("strides", &[1, 1])).check();
}

#[test]
fn pads_that_follow_from_the_sizes() {
    for auto in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        for (size, strides) in [([5, 6], [1, 1]), ([5, 6], [2, 2]), ([7, 4], [3, 2])] {
            let setting = Setting::plain(&size, &[3, 2]).strides(&strides);
            setting.bare_conv().with(word("auto_pad", auto)).check();
            let transposed = setting.bare_transposed();
            transposed.with(word("auto_pad", auto)).check();
        }
    }
}

#[test]
fn no_bias_and_weights_that_stay() {
    let mut case = Setting::plain(&[5, 5], &[3, 3]).conv();
    case.inputs.truncate(2);
    case.check();
    let fixed = |slot: usize, mut case: Case| {
        if let Input::Moving(shape, values) = case.inputs[slot].clone() {
            case.inputs[slot] = Input::Fixed(shape, values);
        }
        case
    };
    // Weights that are tensors of the graph are turned around when the session is made.
    let dense = Setting::plain(&[5, 6], &[3, 2]).pads(&[1, 0, 1, 1]);
    for setting in [dense.clone(), dense.groups(2, [2, 3])] {
        fixed(1, setting.conv()).check();
        fixed(1, setting.transposed()).check();
        fixed(0, setting.conv()).check();
    }
    let strided = Setting::plain(&[5, 6], &[3, 2]).strides(&[2, 2]);
    fixed(1, strided.conv()).check();
}

#[test]
fn transposed_with_more_places_behind() {
    let strided = Setting::plain(&[4, 3], &[3, 3])
        .strides(&[2, 3])
        .pads(&[1, 0, 1, 1]);
    let added = strided.transposed().with(ints("output_padding", &[1, 2]));
    added.check();
    let line = Setting::plain(&[4], &[2]).strides(&[2]).transposed();
    line.with(ints("output_padding", &[1])).check();
}

#[test]
fn transposed_to_a_size_that_is_given() {
    let strided = Setting::plain(&[4, 3], &[3, 3]).strides(&[2, 2]);
    for size in [[9, 7], [8, 6], [7, 5]] {
        let case = strided.bare_transposed();
        case.with(ints("output_shape", &size)).check();
        let upper = strided
            .bare_transposed()
            .with(word("auto_pad", "SAME_UPPER"));
        upper.with(ints("output_shape", &size)).check();
    }
}
