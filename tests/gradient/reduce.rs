//! Sums, means and largest elements over axes.

use landscape::graph::build::int;

use crate::case::{Case, Input, list, moving};

const ALL: [&str; 8] = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
];

/// A reduction of a [2, 3, 4] over axes, which are an input from version 18 on, of `ReduceSum` from
/// 13 on, and an attribute before.
fn reduction(op_type: &'static str, opset: i64, axes: Option<&[i64]>) -> Case {
    let mut case = Case::new(op_type, vec![moving(&[2, 3, 4], 3)]).opset(opset);
    match axes {
        Some(axes) if opset >= 18 || op_type == "ReduceSum" => {
            case.inputs
                .push(Input::Ints(vec![axes.len()], axes.to_vec()));
        }
        Some(axes) => case = case.with(list("axes", axes)),
        None => {}
    }
    case
}

#[test]
fn reductions_over_axes_of_an_attribute_or_an_input() {
    for op_type in ALL {
        for opset in [13, 14, 17, 18, 20] {
            for axes in [vec![1], vec![-1], vec![0, 2], vec![-3, 1]] {
                reduction(op_type, opset, Some(&axes)).check();
                let dropped = reduction(op_type, opset, Some(&axes));
                dropped.with(int("keepdims", 0)).check();
            }
        }
    }
}

#[test]
fn reductions_over_all_axes() {
    for op_type in ALL {
        for opset in [13, 18] {
            reduction(op_type, opset, None).check();
            let dropped = reduction(op_type, opset, None);
            dropped.with(int("keepdims", 0)).check();
            reduction("ReduceSum", opset, Some(&[])).check();
        }
    }
}

#[test]
fn no_axes_may_mean_no_reduction() {
    let nothing = |op_type, opset, axes: Option<&[i64]>| {
        reduction(op_type, opset, axes).with(int("noop_with_empty_axes", 1))
    };
    nothing("ReduceSum", 13, None).check();
    nothing("ReduceSum", 13, Some(&[])).check();
    for op_type in ALL {
        nothing(op_type, 18, None).check();
        nothing(op_type, 18, Some(&[])).check();
        nothing(op_type, 18, Some(&[1])).check();
    }
}

#[test]
fn running_sums() {
    for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for axis in [0, 1, -1] {
            let axis = Input::Ints(Vec::new(), vec![axis]);
            Case::new("CumSum", vec![moving(&[2, 3, 4], 4), axis])
                .with(int("exclusive", exclusive))
                .with(int("reverse", reverse))
                .check();
        }
    }
}

#[test]
fn the_second_norm_has_no_slope_at_the_origin() {
    let x = Input::Moving(vec![2, 2], vec![0.0, 0.0, 1.0, 2.0]);
    let axes = Input::Ints(vec![1], vec![1]);
    Case::new("ReduceL2", vec![x, axes]).check();
}
