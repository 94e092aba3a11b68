//! Operators that put the same elements elsewhere.

use landscape::graph::build::{int, word};
use proptest::prelude::*;

use crate::case::{Case, Input, list, moving};

fn ints(values: &[i64]) -> Input {
    Input::Ints(vec![values.len()], values.to_vec())
}

#[test]
fn other_shapes_of_the_same_elements() {
    for target in [vec![4, 6], vec![0, -1], vec![-1], vec![2, 0, 2, 2]] {
        for opset in [13, 14, 20] {
            let x = moving(&[2, 3, 4], 1);
            Case::new("Reshape", vec![x, ints(&target)])
                .opset(opset)
                .check();
        }
    }
    for axis in [0, 1, 2, 3, -1] {
        let flat = Case::new("Flatten", vec![moving(&[2, 3, 4], 2)]);
        flat.with(int("axis", axis)).check();
    }
    Case::new("Flatten", vec![moving(&[2, 3, 4], 2)]).check();
}

#[test]
fn axes_of_one_element_come_and_go() {
    for opset in [13, 20] {
        let x = || moving(&[1, 3, 1, 2], 3);
        Case::new("Squeeze", vec![x()]).opset(opset).check();
        for axes in [vec![0], vec![-2], vec![2, 0]] {
            let squeezed = Case::new("Squeeze", vec![x(), ints(&axes)]);
            squeezed.opset(opset).check();
        }
        for axes in [vec![0], vec![-1], vec![1, 3]] {
            let unsqueezed = Case::new("Unsqueeze", vec![moving(&[3, 2], 4), ints(&axes)]);
            unsqueezed.opset(opset).check();
        }
    }
}

#[test]
fn transpositions() {
    let x = || moving(&[2, 3, 4], 5);
    Case::new("Transpose", vec![x()]).check();
    for order in [[0, 2, 1], [1, 2, 0], [2, 0, 1]] {
        let turned = Case::new("Transpose", vec![x()]);
        turned.with(list("perm", &order)).check();
    }
}

#[test]
fn values_one_after_the_other() {
    for axis in [1, -2] {
        let inputs = vec![
            moving(&[2, 1, 4], 1),
            moving(&[2, 3, 4], 2),
            moving(&[2, 2, 4], 3),
        ];
        Case::new("Concat", inputs).with(int("axis", axis)).check();
    }
    let with_fixed = vec![
        Input::Fixed(vec![1, 2], vec![0.5, 0.25]),
        moving(&[3, 2], 2),
    ];
    let joined = Case::new("Concat", with_fixed);
    joined.with(int("axis", 0)).check();
}

#[test]
fn even_and_uneven_parts() {
    let x = || moving(&[2, 7], 6);
    let split = |inputs| Case::new("Split", inputs).with(int("axis", 1));
    split(vec![x(), ints(&[2, 4, 1])])
        .outputs(3)
        .opset(13)
        .check();
    split(vec![x(), ints(&[2, 4, 1])]).outputs(3).check();
    split(vec![x()])
        .with(int("num_outputs", 3))
        .outputs(3)
        .check();
    let even = Case::new("Split", vec![moving(&[6, 2], 7)]).outputs(3);
    even.clone().opset(13).check();
    even.with(int("num_outputs", 3)).check();
    let last = Case::new("Split", vec![x(), ints(&[3, 4])]).outputs(2);
    last.with(int("axis", -1)).check();
}

/// A slice of a [5, 6, 7].
fn slice(starts: &[i64], ends: &[i64], axes: Option<&[i64]>, steps: Option<&[i64]>) {
    let optional = |values: Option<&[i64]>| values.map_or(Input::Absent, ints);
    let mut inputs = vec![moving(&[5, 6, 7], 8), ints(starts), ints(ends)];
    if axes.is_some() || steps.is_some() {
        inputs.push(optional(axes));
    }
    if steps.is_some() {
        inputs.push(optional(steps));
    }
    Case::new("Slice", inputs).check();
}

#[test]
fn slices() {
    let huge = i64::MAX;
    slice(&[1], &[4], None, None);
    slice(&[1, 2, 0], &[4, 5, 7], None, None);
    slice(&[-3], &[-1], Some(&[1]), None);
    slice(&[2], &[huge], Some(&[-1]), None);
    slice(&[-100], &[100], Some(&[2]), None);
    slice(&[0], &[huge], Some(&[1]), Some(&[2]));
    slice(&[1, 2], &[huge, -1], Some(&[0, 2]), Some(&[3, 2]));
    slice(&[-1], &[i64::MIN], Some(&[1]), Some(&[-1]));
    slice(&[huge], &[-huge], Some(&[2]), Some(&[-1]));
    slice(&[5], &[0], Some(&[2]), Some(&[-2]));
    slice(
        &[-1, 3, 0],
        &[-huge, 0, huge],
        Some(&[2, 0, 1]),
        Some(&[-3, -1, 4]),
    );
    slice(&[3], &[6], None, Some(&[1]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn slices_from_anywhere_to_anywhere(start in -9_i64..9, end in -9_i64..9, step in -3_i64..4) {
        // Nothing is asked of slices that are empty: they have no elements to weigh.
        let step = if step == 0 { 1 } else { step };
        let place = |x: i64| (if x < 0 { x + 6 } else { x }).clamp(if step > 0 { 0 } else { -1 }, 6);
        let (from, to) = (place(start).clamp(0, if step > 0 { 6 } else { 5 }), place(end));
        prop_assume!(if step > 0 { from < to } else { from > to });
        slice(&[start], &[end], Some(&[1]), Some(&[step]));
    }
}

#[test]
fn copies_by_broadcasting() {
    for (shape, target) in [
        (vec![3, 1], vec![3, 4]),
        (vec![3, 1], vec![2, 1, 4]),
        (vec![1], vec![2, 3]),
        (vec![], vec![2, 3]),
        (vec![2, 3], vec![1, 1]),
    ] {
        let inputs = vec![moving(&shape, 9), ints(&target)];
        Case::new("Expand", inputs).opset(13).check();
    }
}

#[test]
fn copies_one_after_the_other() {
    for repeats in [[1, 1, 1], [2, 1, 3], [1, 2, 2]] {
        let inputs = vec![moving(&[2, 1, 3], 10), ints(&repeats)];
        Case::new("Tile", inputs).check();
    }
}

fn pad(mode: &str, shape: &[usize], pads: &[i64], axes: Option<&[i64]>) -> Case {
    let mut inputs = vec![moving(shape, 11), ints(pads)];
    if let Some(axes) = axes {
        inputs.extend([Input::Absent, ints(axes)]);
    }
    Case::new("Pad", inputs).with(word("mode", mode))
}

#[test]
fn pads_of_every_mode() {
    for mode in ["constant", "reflect", "edge", "wrap"] {
        pad(mode, &[3, 4], &[1, 2, 2, 1], None).check();
        pad(mode, &[3, 4], &[0, 2, 0, 0], None).check();
        pad(mode, &[2, 3, 4], &[1, 2], Some(&[-1])).check();
        pad(mode, &[4, 3, 4], &[2, 0, 1, 3], Some(&[2, 0])).check();
    }
    pad("reflect", &[2, 4], &[1, 3, 1, 3], None)
        .opset(13)
        .check();
}

#[test]
fn negative_pads_cut() {
    pad("constant", &[4, 5], &[-1, 2, 1, -2], None).check();
    pad("constant", &[4, 5], &[-1, -1, -2, -3], None)
        .opset(13)
        .check();
    for mode in ["edge", "wrap", "reflect"] {
        pad(mode, &[2, 6], &[0, -1, 0, 2], None).check();
        pad(mode, &[2, 6], &[0, 2, 0, -2], None).check();
    }
}

#[test]
fn a_value_to_pad_with() {
    let value = Input::Fixed(Vec::new(), vec![0.5]);
    let inputs = vec![moving(&[2, 3], 12), ints(&[1, 0, 0, 2]), value];
    Case::new("Pad", inputs).check();
    let inputs = vec![moving(&[2, 3], 12), ints(&[1, 0, 0, 2]), moving(&[], 13)];
    let message = Case::new("Pad", inputs).refused();
    assert!(
        message.contains("in the value that it pads with"),
        "{message}"
    );
}

#[test]
fn triangles() {
    for upper in [0, 1] {
        let x = || moving(&[2, 4, 5], 13);
        Case::new("Trilu", vec![x()])
            .with(int("upper", upper))
            .check();
        for k in [-2, 0, 1] {
            let diagonal = Input::Ints(Vec::new(), vec![k]);
            let triangle = Case::new("Trilu", vec![x(), diagonal]);
            triangle.with(int("upper", upper)).check();
        }
    }
}
