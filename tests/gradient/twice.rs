//! Products with the second derivative: the gradient of the gradient along a direction.

use landscape::graph::build::{int, ints, word};

use crate::case::{Case, Input, moving, numbers};

fn image() -> Input {
    moving(&[2, 2, 5, 4], 1)
}

#[test]
fn of_convolutions() {
    let conv = |channels: usize, weight: &[usize]| {
        let image = moving(&[2, channels, 5, 4], 1);
        let bias = moving(&weight[..1], 3);
        // Through something that bends, lest it be the same everywhere.
        let case = Case::new("Conv", vec![image, moving(weight, 2), bias]);
        case.then("Tanh", Vec::new())
    };
    let pads = || ints("pads", &[1, 0, 1, 1]);
    conv(2, &[3, 2, 3, 2]).with(pads()).check_twice();
    conv(2, &[3, 2, 2, 2])
        .with(ints("strides", &[2, 2]))
        .check_twice();
    conv(2, &[3, 2, 1, 1]).check_twice();
    conv(8, &[2, 8, 2, 2]).with(pads()).check_twice();
    conv(2, &[2, 1, 3, 3]).with(int("group", 2)).check_twice();
    let case = Case::new("ConvTranspose", vec![image(), moving(&[2, 3, 3, 2], 2)]);
    let case = case.with(ints("strides", &[2, 1])).then("Tanh", Vec::new());
    case.check_twice();
}

#[test]
fn of_a_convolution_whose_weight_stays() {
    let weight = Input::Fixed(vec![3, 2, 3, 2], numbers(&[3, 2, 3, 2], 2));
    let case = Case::new("Conv", vec![image(), weight]);
    case.then("Tanh", Vec::new()).check_twice();
}

#[test]
fn of_pools() {
    let pool = |kernel: usize, stride: usize| {
        vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
        ]
    };
    for (kernel, stride) in [(2, 2), (3, 1), (3, 2)] {
        for operator in ["MaxPool", "AveragePool"] {
            let case = Case::new("Tanh", vec![image()]);
            case.then(operator, pool(kernel, stride)).check_twice();
        }
    }
    for operator in ["GlobalMaxPool", "GlobalAveragePool"] {
        let case = Case::new("Tanh", vec![image()]);
        case.then(operator, Vec::new()).check_twice();
    }
}

#[test]
fn of_products() {
    let case = Case::new(
        "Gemm",
        vec![moving(&[3, 4], 1), moving(&[5, 4], 2), moving(&[5], 3)],
    );
    let case = case.with(int("transB", 1)).then("Sigmoid", Vec::new());
    case.check_twice();
    for (a, b) in [
        (&[2, 3, 4][..], &[4, 5][..]),
        (&[2, 1, 3, 4], &[3, 4, 2]),
        (&[4], &[4, 3]),
    ] {
        let case = Case::new("MatMul", vec![moving(a, 1), moving(b, 2)]);
        case.then("Sigmoid", Vec::new()).check_twice();
    }
}

#[test]
fn of_functions_of_one_number() {
    let x = || moving(&[3, 7], 5);
    for operator in [
        "Gelu",
        "Mish",
        "Softplus",
        "Elu",
        "Tanh",
        "Sigmoid",
        "Erf",
        "HardSwish",
    ] {
        Case::new(operator, vec![x()]).check_twice();
    }
    Case::new("Gelu", vec![x()])
        .with(word("approximate", "tanh"))
        .check_twice();
}

#[test]
fn of_normalizations() {
    let parameters = |n: usize| vec![moving(&[n], 2), moving(&[n], 3)];
    let with = |x: Input, n: usize| [vec![x], parameters(n)].concat();
    Case::new("LayerNormalization", with(moving(&[3, 5], 1), 5)).check_twice();
    Case::new("InstanceNormalization", with(image(), 2)).check_twice();
    let grouped = Case::new("GroupNormalization", with(moving(&[2, 4, 3], 1), 2));
    grouped.with(int("num_groups", 2)).check_twice();
    let variance = numbers(&[2], 5).iter().map(|x| x.abs() + 0.3).collect();
    let statistics = vec![moving(&[2], 4), Input::Moving(vec![2], variance)];
    let inputs = [with(image(), 2), statistics].concat();
    Case::new("BatchNormalization", inputs).check_twice();
    let vectors = Case::new("LpNormalization", vec![moving(&[3, 4], 1)]);
    vectors.check_twice();
}

#[test]
fn of_softmax() {
    for operator in ["Softmax", "LogSoftmax"] {
        for axis in [-1, 0] {
            let case = Case::new(operator, vec![moving(&[3, 4], 1)]);
            case.with(int("axis", axis)).check_twice();
        }
    }
}
