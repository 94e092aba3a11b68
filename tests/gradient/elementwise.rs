//! Operators that go element by element.

use landscape::graph::build::{float, word};
use proptest::prelude::*;

use crate::case::{Case, Input, moving, numbers};

/// Two shapes that are broadcast to each other.
fn broadcast_pair() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let axis = (1_usize..4, 0_u8..4);
    (
        proptest::collection::vec(axis, 1..4),
        0_usize..3,
        any::<bool>(),
    )
        .prop_map(|(axes, cut, swap)| {
            let whole: Vec<usize> = axes.iter().map(|(size, _)| *size).collect();
            let part = axes
                .iter()
                .map(|&(size, one)| if one == 0 { 1 } else { size });
            let part: Vec<usize> = part.skip(cut.min(axes.len() - 1)).collect();
            if swap { (part, whole) } else { (whole, part) }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn sums_and_products_with_broadcasting((a, b) in broadcast_pair(), seed in 0_u64..1000) {
        for op_type in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum"] {
            Case::new(op_type, vec![moving(&a, seed), moving(&b, seed + 1)]).check();
        }
    }

    #[test]
    fn powers((a, b) in broadcast_pair(), seed in 0_u64..1000) {
        let positive = numbers(&a, seed).iter().map(|x| x.abs() + 0.3).collect();
        let base = Input::Moving(a, positive);
        Case::new("Pow", vec![base, moving(&b, seed)]).check();
    }

    #[test]
    fn choices((a, b) in broadcast_pair(), seed in 0_u64..1000) {
        let condition = numbers(&a, seed + 2).iter().map(|x| *x > 0.0).collect();
        let condition = Input::Bools(a.clone(), condition);
        Case::new("Where", vec![condition, moving(&a, seed), moving(&b, seed)]).check();
    }
}

#[test]
fn functions_of_one_number() {
    let shape = [3, 7];
    for op_type in [
        "Neg",
        "Abs",
        "Exp",
        "Sin",
        "Cos",
        "Erf",
        "Tanh",
        "Sigmoid",
        "Relu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "HardSigmoid",
        "HardSwish",
        "Gelu",
        "Softplus",
        "Softsign",
        "Mish",
        "Identity",
    ] {
        Case::new(op_type, vec![moving(&shape, 5)]).check();
    }
    for op_type in ["Sqrt", "Log", "Reciprocal"] {
        let positive = numbers(&shape, 5).iter().map(|x| x.abs() + 0.2).collect();
        Case::new(op_type, vec![Input::Moving(shape.to_vec(), positive)]).check();
    }
}

#[test]
fn their_attributes() {
    let wide = |factor: f64| {
        let numbers = numbers(&[4, 9], 3).iter().map(|x| factor * x).collect();
        Input::Moving(vec![4, 9], numbers)
    };
    Case::new("Gelu", vec![wide(2.0)])
        .with(word("approximate", "tanh"))
        .check();
    Case::new("LeakyRelu", vec![wide(1.0)])
        .with(float("alpha", 0.3))
        .check();
    for op_type in ["Elu", "Celu", "Selu"] {
        Case::new(op_type, vec![wide(1.0)])
            .with(float("alpha", 0.7))
            .check();
    }
    let ramp = Case::new("HardSigmoid", vec![wide(2.0)]);
    ramp.with(float("alpha", 0.37))
        .with(float("beta", 0.4))
        .check();
    Case::new("HardSwish", vec![wide(2.5)]).check();
    Case::new("ThresholdedRelu", vec![wide(1.0)]).check();
    Case::new("ThresholdedRelu", vec![wide(1.0)])
        .with(float("alpha", 0.3))
        .check();
    Case::new("Erf", vec![wide(3.0)]).check();
    let steep = Case::new("Swish", vec![wide(1.0)]).opset(24);
    steep.clone().check();
    steep.with(float("alpha", 1.7)).check();
}

#[test]
fn clipping_with_one_bound_or_two() {
    let bound = |x: f64| Input::Fixed(Vec::new(), vec![x]);
    let x = || moving(&[5, 6], 9);
    Case::new("Clip", vec![x(), bound(-0.777), bound(1.111)]).check();
    Case::new("Clip", vec![x(), Input::Absent, bound(0.333)]).check();
    Case::new("Clip", vec![x(), bound(0.111)]).check();
    Case::new("Clip", vec![x()]).check();
}

#[test]
fn a_slope_for_each_channel() {
    Case::new("PRelu", vec![moving(&[2, 3, 4], 1), moving(&[3, 1], 2)]).check();
    Case::new("PRelu", vec![moving(&[2, 3, 4], 1), moving(&[1], 2)]).check();
}

#[test]
fn whole_powers_at_zero_and_below() {
    let x = Input::Moving(vec![4], vec![-1.5, 0.0, 0.5, 2.0]);
    for power in [1.0, 2.0, 3.0] {
        Case::new(
            "Pow",
            vec![x.clone(), Input::Fixed(Vec::new(), vec![power])],
        )
        .check();
    }
}
