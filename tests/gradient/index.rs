//! Elements taken and put by their indices, and operators that pass a value on.

use landscape::graph::build::{int, word};
use proptest::prelude::*;

use crate::case::{Case, Input, moving, numbers};

fn ints(shape: &[usize], values: &[i64]) -> Input {
    Input::Ints(shape.to_vec(), values.to_vec())
}

#[test]
fn rows_taken_once_or_often() {
    let gather = |axis: i64, indices: Input| {
        let case = Case::new("Gather", vec![moving(&[3, 4, 5], 1), indices]);
        case.with(int("axis", axis)).check();
    };
    gather(0, ints(&[], &[1]));
    gather(1, ints(&[], &[-1]));
    gather(-1, ints(&[2], &[0, -2]));
    gather(1, ints(&[3], &[2, 2, -2]));
    // Many, each once; many, some often; with two axes.
    gather(2, ints(&[5], &[4, -4, 0, 2, -2]));
    gather(1, ints(&[7], &[0, 3, -1, 3, 0, 3, 1]));
    gather(0, ints(&[2, 3], &[0, 2, -1, 0, 0, 1]));
    gather(2, ints(&[2, 3], &[0, 4, -1, 3, 2, 1]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn rows_taken_anyhow(axis in 0_i64..3, indices in proptest::collection::vec(-3_i64..3, 1..9)) {
        let inputs = vec![moving(&[3, 3, 3], 1), ints(&[indices.len()], &indices)];
        Case::new("Gather", inputs).with(int("axis", axis)).check();
    }
}

#[test]
fn elements_taken_along_an_axis() {
    for axis in [0, 1, -1] {
        let indices = ints(&[2, 3], &[0, 1, -1, 1, 1, 0]);
        let case = Case::new("GatherElements", vec![moving(&[2, 3], 2), indices]);
        case.with(int("axis", axis)).check();
    }
}

#[test]
fn elements_and_rows_taken_by_tuples() {
    let x = || moving(&[3, 4, 2], 3);
    let taken = |indices| Case::new("GatherND", vec![x(), indices]);
    taken(ints(&[1], &[-1])).check();
    taken(ints(&[3, 1], &[0, 2, 0])).check();
    taken(ints(&[3, 2], &[0, 1, -1, 3, 0, -3])).check();
    taken(ints(&[2, 2, 3], &[0, 1, 1, 2, 3, 0, 0, 1, 1, -1, -1, -2])).check();
    taken(ints(&[3, 2, 1], &[0, 1, -1, 3, 0, -3]))
        .with(int("batch_dims", 1))
        .check();
    taken(ints(&[3, 4, 1], &[0, 1, -1, 0, 1, 0, 0, 0, 1, 1, 1, -2]))
        .with(int("batch_dims", 2))
        .check();
}

#[test]
fn elements_put_along_an_axis() {
    let put = |indices: &[i64], reduction: &str| {
        let inputs = vec![
            moving(&[3, 4], 4),
            ints(&[2, 3], indices),
            moving(&[2, 3], 5),
        ];
        let case = Case::new("ScatterElements", inputs).with(int("axis", 1));
        case.with(word("reduction", reduction))
    };
    put(&[0, 2, -1, 3, 1, 0], "none").check();
    put(&[0, 2, -1, 3, 1, 0], "none").opset(16).check();
    put(&[0, 2, 2, -2, 1, 1], "add").check();
    let message = put(&[0, 2, -1, 3, 1, 0], "mul").refused();
    assert!(message.contains("with the reduction `mul`"), "{message}");
    let inputs = vec![
        moving(&[3, 4], 4),
        ints(&[1, 2], &[2, 0]),
        moving(&[1, 2], 5),
    ];
    Case::new("ScatterElements", inputs).opset(13).check();
}

#[test]
fn elements_and_rows_put_by_tuples() {
    let put = |shape: &[usize], indices: &[i64], rows: &[usize], reduction: &str| {
        let inputs = vec![moving(&[3, 4], 6), ints(shape, indices), moving(rows, 7)];
        Case::new("ScatterND", inputs).with(word("reduction", reduction))
    };
    put(&[2, 1], &[2, 0], &[2, 4], "none").check();
    put(&[3, 2], &[2, 0, 0, -1, 1, 2], &[3], "none").check();
    put(&[3, 1], &[2, 0, -1], &[3, 4], "add").check();
    put(&[2, 2, 2], &[2, 0, 0, -1, 2, 0, 1, 1], &[2, 2], "add").check();
    let message = put(&[2, 1], &[2, 0], &[2, 4], "max").refused();
    assert!(message.contains("with the reduction `max`"), "{message}");
    let inputs = vec![moving(&[3, 4], 6), ints(&[1, 1], &[2]), moving(&[1, 4], 7)];
    Case::new("ScatterND", inputs).opset(13).check();
}

#[test]
fn the_largest_and_smallest_of_an_axis() {
    for (axis, largest) in [(-1, 1), (0, 1), (1, 0)] {
        let case = Case::new("TopK", vec![moving(&[3, 5], 8), ints(&[1], &[2])]);
        case.with(int("axis", axis))
            .with(int("largest", largest))
            .outputs(2)
            .check();
    }
}

#[test]
fn element_types_come_and_go() {
    let x = || moving(&[2, 3], 9);
    Case::new("Cast", vec![x()]).with(int("to", 1)).check();
    Case::new("Cast", vec![x()]).with(int("to", 11)).check();
    let like = Input::Fixed(vec![1], vec![0.0]);
    Case::new("CastLike", vec![x(), like]).opset(15).check();
}

#[test]
fn dropout_passes_all_on_in_inference() {
    let x = || moving(&[2, 3], 10);
    let ratio = || Input::Fixed(Vec::new(), vec![0.4]);
    Case::new("Dropout", vec![x()]).check();
    Case::new("Dropout", vec![x(), ratio()]).opset(13).check();
    let off = Input::Bools(Vec::new(), vec![false]);
    Case::new("Dropout", vec![x(), ratio(), off])
        .outputs(2)
        .check();
    let on = Input::Bools(Vec::new(), vec![true]);
    let message = Case::new("Dropout", vec![x(), ratio(), on]).refused();
    assert!(message.contains("in training mode"), "{message}");
}

#[test]
fn the_largest_and_smallest_of_three_values() {
    for op_type in ["Max", "Min", "Sum", "Mean"] {
        let inputs = vec![moving(&[2, 3], 1), moving(&[3], 2), moving(&[2, 1], 3)];
        Case::new(op_type, inputs).check();
        let fixed = Input::Fixed(vec![3], numbers(&[3], 5));
        Case::new(op_type, vec![moving(&[2, 3], 1), fixed, moving(&[], 3)])
            .opset(13)
            .check();
    }
}
