//! Softmax and normalizations.

use landscape::graph::build::{float, int};

use crate::case::{Case, Input, moving, numbers};

/// Numbers above 0.
fn positive(shape: &[usize], seed: u64) -> Input {
    let numbers = numbers(shape, seed).iter().map(|x| x.abs() + 0.3).collect();
    Input::Moving(shape.to_vec(), numbers)
}

#[test]
fn softmax_over_any_axis() {
    for op_type in ["Softmax", "LogSoftmax"] {
        for axis in [-1, 0, 1, 2, -2] {
            let case = Case::new(op_type, vec![moving(&[3, 4, 5], 1)]);
            case.with(int("axis", axis)).check();
        }
        Case::new(op_type, vec![moving(&[3, 6], 1)])
            .opset(13)
            .check();
    }
}

#[test]
fn layer_normalization_over_the_last_axes() {
    let x = || moving(&[3, 4, 5], 1);
    let layer = |inputs| Case::new("LayerNormalization", inputs);
    layer(vec![x(), moving(&[5], 2), moving(&[5], 3)]).check();
    layer(vec![x(), moving(&[5], 2)]).check();
    let eager = layer(vec![x(), moving(&[5], 2), moving(&[5], 3)]);
    eager.with(float("epsilon", 0.1)).check();
    for (axis, shape) in [(1, &[4, 5][..]), (-2, &[4, 5]), (0, &[3, 4, 5])] {
        let case = layer(vec![x(), moving(shape, 2), moving(shape, 3)]);
        case.with(int("axis", axis)).opset(17).check();
    }
    // Scale and bias may be broadcast to the axes that are normalized.
    let case = layer(vec![x(), moving(&[5], 2), moving(&[5], 3)]);
    case.with(int("axis", 1)).check();
}

#[test]
fn root_mean_square_normalization() {
    for (axis, shape) in [(-1, &[5][..]), (1, &[4, 5])] {
        let inputs = vec![moving(&[3, 4, 5], 1), moving(shape, 2)];
        let case = Case::new("RMSNormalization", inputs).with(int("axis", axis));
        case.opset(23).check();
    }
}

#[test]
fn group_normalization_by_group_and_by_channel() {
    for shape in [&[2, 6, 3, 2][..], &[2, 6, 5]] {
        for (opset, parameters) in [(18, 3), (20, 3), (21, 6)] {
            let inputs = vec![
                moving(shape, 1),
                moving(&[parameters], 2),
                moving(&[parameters], 3),
            ];
            let case = Case::new("GroupNormalization", inputs);
            case.with(int("num_groups", 3)).opset(opset).check();
        }
    }
}

#[test]
fn groups_of_one_channel_and_one_group() {
    for (opset, groups) in [(18, 4), (18, 1), (21, 4), (21, 1)] {
        let parameters = if opset < 21 { groups } else { 4 };
        let inputs = vec![
            moving(&[2, 4, 3], 1),
            moving(&[parameters], 2),
            moving(&[parameters], 3),
        ];
        let case = Case::new("GroupNormalization", inputs);
        case.with(int("num_groups", groups as i64))
            .opset(opset)
            .check();
    }
}

#[test]
fn instance_normalization() {
    for shape in [&[2, 3, 4, 3][..], &[2, 3, 6]] {
        let inputs = vec![moving(shape, 1), moving(&[3], 2), moving(&[3], 3)];
        let case = Case::new("InstanceNormalization", inputs);
        case.with(float("epsilon", 1e-3)).check();
    }
}

#[test]
fn batch_normalization_in_all_that_it_reads() {
    for shape in [&[3, 4][..], &[2, 4, 5], &[2, 4, 3, 2]] {
        for opset in [13, 14, 15, 20] {
            let inputs = vec![
                moving(shape, 1),
                moving(&[4], 2),
                moving(&[4], 3),
                moving(&[4], 4),
                positive(&[4], 5),
            ];
            let case = Case::new("BatchNormalization", inputs).opset(opset);
            case.with(float("epsilon", 1e-3)).check();
        }
    }
}

#[test]
fn batch_normalization_in_training_is_refused() {
    let inputs = vec![
        moving(&[3, 4], 1),
        moving(&[4], 2),
        moving(&[4], 3),
        moving(&[4], 4),
        positive(&[4], 5),
    ];
    let case = Case::new("BatchNormalization", inputs).outputs(3);
    let case = case.with(int("training_mode", 1));
    let message = case.refused();
    assert!(message.contains("training mode"), "{message}");
    assert!(message.contains(".eval()"), "{message}");
}

#[test]
fn vectors_of_length_one() {
    for p in [1, 2] {
        for axis in [-1, 0, 1] {
            for opset in [17, 20] {
                let case = Case::new("LpNormalization", vec![moving(&[3, 4, 2], 1)]);
                case.with(int("p", p))
                    .with(int("axis", axis))
                    .opset(opset)
                    .check();
            }
        }
    }
}
