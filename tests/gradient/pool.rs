//! Pools.

use landscape::graph::build::{int, ints, word};
use proptest::prelude::*;

use crate::case::{Case, Input, moving, numbers};

/// A pool with a kernel and strides over an image of 2 samples and 3 channels.
fn pool(op_type: &'static str, size: &[usize], kernel: &[usize], strides: &[usize]) -> Case {
    let image = [&[2, 3], size].concat();
    Case::new(op_type, vec![moving(&image, 7)])
        .with(ints("kernel_shape", kernel))
        .with(ints("strides", strides))
}

#[test]
fn the_largest_of_two_by_two() {
    for size in [[4, 4], [6, 8], [5, 7], [4, 5], [7, 2], [2, 2]] {
        pool("MaxPool", &size, &[2, 2], &[2, 2]).check();
    }
}

#[test]
fn equal_elements_give_it_to_the_first() {
    // All 16 patterns of who is largest in a window, as ReLU leaves them.
    let window = |pattern: usize| (0..4).map(move |k| f64::from(u8::from(pattern >> k & 1 == 1)));
    let rows =
        |part: usize| (0..16).flat_map(move |pattern| window(pattern).skip(2 * part).take(2));
    let image: Vec<f64> = rows(0).chain(rows(1)).collect();
    let x = Input::Moving(vec![1, 1, 2, 32], image);
    let case = Case::new("MaxPool", vec![x]);
    let case = case
        .with(ints("kernel_shape", &[2, 2]))
        .with(ints("strides", &[2, 2]));
    let gradient = case.gradient();
    for (pattern, weight) in case.weights(16).into_iter().enumerate() {
        // The first that is largest; of an empty window the very first.
        let hit = (0..4).find(|k| pattern >> k & 1 == 1).unwrap_or(0);
        for k in 0..4 {
            let place = (k / 2) * 32 + 2 * pattern + k % 2;
            let expected = if k == hit { weight } else { 0.0 };
            assert!(
                (gradient[0][place] - expected).abs() < 1e-6,
                "{pattern} {k}"
            );
        }
    }
}

#[test]
fn the_largest_of_other_windows() {
    pool("MaxPool", &[7, 6], &[3, 3], &[2, 2])
        .with(ints("pads", &[1; 4]))
        .check();
    pool("MaxPool", &[6, 6], &[3, 2], &[1, 1]).check();
    pool("MaxPool", &[7, 8], &[2, 3], &[2, 1])
        .with(ints("dilations", &[2, 2]))
        .check();
    pool("MaxPool", &[5, 7], &[2, 2], &[2, 2])
        .with(int("ceil_mode", 1))
        .check();
    pool("MaxPool", &[7, 7], &[3, 3], &[2, 2])
        .with(int("ceil_mode", 1))
        .check();
    pool("MaxPool", &[9], &[2], &[2]).check();
    pool("MaxPool", &[9], &[3], &[2])
        .with(ints("pads", &[1, 0]))
        .check();
    pool("MaxPool", &[5, 5], &[2, 2], &[2, 2])
        .with(word("auto_pad", "SAME_UPPER"))
        .check();
    pool("MaxPool", &[5, 5], &[2, 2], &[2, 2])
        .with(word("auto_pad", "VALID"))
        .check();
}

#[test]
fn the_largest_of_what_relu_lets_through() {
    for (kernel, stride, pad) in [(2, 2, 0), (3, 2, 1), (3, 1, 0)] {
        let pool = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[pad; 4]),
        ];
        // Moved down, so that some windows hold nothing above 0.
        let x = numbers(&[2, 3, 6, 5], 3).iter().map(|x| x - 1.0).collect();
        let x = Input::Moving(vec![2, 3, 6, 5], x);
        Case::new("Relu", vec![x.clone()])
            .then("MaxPool", pool.clone())
            .check();
        // With something between them.
        let case = Case::new("Relu", vec![x]).then("Neg", Vec::new());
        case.then("MaxPool", pool).check();
    }
}

#[test]
fn averages() {
    pool("AveragePool", &[4, 6], &[2, 2], &[2, 2]).check();
    pool("AveragePool", &[5, 6], &[3, 2], &[1, 1]).check();
    pool("AveragePool", &[9], &[3], &[2]).check();
    pool("AveragePool", &[7, 7], &[2, 2], &[3, 2]).check();
    let dilated = pool("AveragePool", &[7, 7], &[2, 3], &[1, 2]);
    dilated.with(ints("dilations", &[3, 2])).check();
}

#[test]
fn averages_with_pads_and_over_the_edge() {
    for included in [0, 1] {
        for ceil in [0, 1] {
            let case = pool("AveragePool", &[6, 7], &[3, 3], &[2, 2]);
            let case = case.with(int("count_include_pad", included));
            let case = case.with(int("ceil_mode", ceil));
            case.clone().check();
            case.with(ints("pads", &[1, 1, 0, 1])).check();
        }
        for auto in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
            let case = pool("AveragePool", &[5, 6], &[3, 2], &[2, 2]);
            let case = case.with(int("count_include_pad", included));
            case.with(word("auto_pad", auto)).check();
        }
    }
}

#[test]
fn over_the_whole_image() {
    for shape in [&[2, 3, 4, 5][..], &[2, 3, 6], &[1, 2, 2, 3, 2]] {
        for opset in [17, 20] {
            Case::new("GlobalAveragePool", vec![moving(shape, 4)])
                .opset(opset)
                .check();
            Case::new("GlobalMaxPool", vec![moving(shape, 4)])
                .opset(opset)
                .check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_window(
        axes in proptest::collection::vec((4_usize..8, 1_usize..4, 1_usize..4, 0_usize..2), 1..3),
        ceil in 0_i64..2,
        included in 0_i64..2,
        seed in 0_u64..1000,
    ) {
        let list = |of: fn(&(usize, usize, usize, usize)) -> usize| -> Vec<usize> {
            axes.iter().map(of).collect()
        };
        let (size, kernel, strides) = (list(|a| a.0), list(|a| a.1), list(|a| a.2));
        // A window may not lie in the pads alone.
        let pads: Vec<usize> = list(|a| a.3.min(a.1 - 1)).repeat(2);
        // Whether a window that begins behind the image counts, ONNX's inference of shapes and ONNX
        // Runtime do not agree.
        let behind = axes.iter().any(|&(size, kernel, stride, pad)| {
            let pad = pad.min(kernel - 1);
            (size + 2 * pad - kernel).div_ceil(stride) * stride >= size + pad
        });
        prop_assume!(ceil == 0 || !behind);
        let shape = [&[2, 2], &size[..]].concat();
        let x = Input::Moving(shape.clone(), numbers(&shape, seed));
        for op_type in ["MaxPool", "AveragePool"] {
            let mut case = Case::new(op_type, vec![x.clone()])
                .with(ints("kernel_shape", &kernel))
                .with(ints("strides", &strides))
                .with(ints("pads", &pads))
                .with(int("ceil_mode", ceil));
            if op_type == "AveragePool" {
                case = case.with(int("count_include_pad", included));
            }
            case.check();
        }
    }
}

#[test]
fn elements_that_a_pool_took_are_put_back() {
    let places = Input::Ints(vec![1, 1, 2, 2], vec![0, 3, 9, 14]);
    let case = Case::new("MaxUnpool", vec![moving(&[1, 1, 2, 2], 3), places]);
    let case = case.with(ints("kernel_shape", &[2, 2]));
    case.with(ints("strides", &[2, 2])).check();
}
