//! Images of other sizes, and their blocks as channels.

use landscape::graph::build::{float, int, word};

use crate::case::{Case, Input, list, moving};

const COORDINATES: [&str; 5] = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
];

fn scales(values: &[f64]) -> [Input; 2] {
    [
        Input::Absent,
        Input::Fixed(vec![values.len()], values.to_vec()),
    ]
}

fn sizes(values: &[i64]) -> [Input; 3] {
    let none = || Input::Absent;
    [
        none(),
        none(),
        Input::Ints(vec![values.len()], values.to_vec()),
    ]
}

/// A resize of an image of two channels.
fn resize(mode: &str, image: [usize; 2], to: impl IntoIterator<Item = Input>) -> Case {
    let mut inputs = vec![moving(&[1, 2, image[0], image[1]], 1)];
    inputs.extend(to);
    Case::new("Resize", inputs).with(word("mode", mode))
}

#[test]
fn images_by_the_nearest_pixel() {
    for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
        for coordinates in COORDINATES {
            for to in [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 0.6, 1.7]] {
                resize("nearest", [5, 4], scales(&to))
                    .with(word("nearest_mode", rounding))
                    .with(word("coordinate_transformation_mode", coordinates))
                    .check();
            }
        }
    }
    resize("nearest", [3, 4], sizes(&[1, 2, 7, 3])).check();
}

#[test]
fn images_by_neighbours_in_lines_and_cubes() {
    for mode in ["linear", "cubic"] {
        for coordinates in COORDINATES {
            let by = |to: &[f64]| {
                resize(mode, [5, 4], scales(to))
                    .with(word("coordinate_transformation_mode", coordinates))
            };
            by(&[1.0, 1.0, 2.0, 2.0]).check();
            by(&[1.0, 1.0, 0.6, 1.7]).check();
            by(&[1.0, 1.0, 0.25, 1.0]).check();
            resize(mode, [5, 4], sizes(&[1, 2, 7, 3]))
                .with(word("coordinate_transformation_mode", coordinates))
                .check();
        }
    }
}

#[test]
fn cubes_of_another_shape_and_without_what_lies_outside() {
    resize("cubic", [5, 4], sizes(&[1, 2, 8, 3]))
        .with(float("cubic_coeff_a", -0.5))
        .with(int("exclude_outside", 1))
        .check();
}

#[test]
fn only_some_axes_are_resized() {
    resize("linear", [5, 4], scales(&[1.5, 2.0]))
        .with(list("axes", &[-2, 3]))
        .check();
    resize("nearest", [5, 4], sizes(&[9, 3]))
        .with(list("axes", &[3, 2]))
        .check();
}

#[test]
fn older_versions_may_say_it_with_empty_lists() {
    let nothing = || Input::Fixed(vec![0], Vec::new());
    let sizes = Input::Ints(vec![4], vec![1, 2, 6, 8]);
    resize("linear", [3, 4], [nothing(), nothing(), sizes])
        .opset(13)
        .check();
}

#[test]
fn regions_antialias_and_kept_aspect_ratios_are_refused() {
    let smooth = resize("linear", [5, 4], sizes(&[1, 2, 3, 2]));
    let message = smooth.with(int("antialias", 1)).refused();
    assert!(message.contains("with antialias"), "{message}");
    let kept = resize("linear", [5, 4], sizes(&[8, 9])).with(list("axes", &[2, 3]));
    let message = kept
        .with(word("keep_aspect_ratio_policy", "not_larger"))
        .refused();
    assert!(message.contains("keep_aspect_ratio_policy"), "{message}");
    let region = Input::Fixed(vec![8], vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.8, 0.8]);
    let sizes = Input::Ints(vec![4], vec![1, 2, 3, 3]);
    let message = resize("linear", [5, 4], [region, Input::Absent, sizes])
        .with(word("coordinate_transformation_mode", "tf_crop_and_resize"))
        .refused();
    assert!(message.contains("tf_crop_and_resize"), "{message}");
}

#[test]
fn blocks_of_an_image_become_channels_and_back() {
    for mode in ["DCR", "CRD"] {
        Case::new("DepthToSpace", vec![moving(&[2, 8, 2, 3], 2)])
            .with(int("blocksize", 2))
            .with(word("mode", mode))
            .check();
    }
    let three = Case::new("DepthToSpace", vec![moving(&[1, 9, 1, 2], 3)]);
    three.with(int("blocksize", 3)).opset(13).check();
    let deep = Case::new("SpaceToDepth", vec![moving(&[2, 2, 4, 6], 4)]);
    deep.with(int("blocksize", 2)).check();
}
