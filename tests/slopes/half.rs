//! Networks that compute in 16 bits: gradients are taken of the same network in doubles.

use landscape::checkpoint::onnx::proto::DataType;
use landscape::graph::build::node;

use crate::common::number;
use crate::common::small::{Folder, Small};

fn of(dtype: DataType) -> Folder {
    // ReLU, and weights and data that float16 holds: nothing is left of 16 bits but the network's own
    // rounding.
    Small {
        dtype,
        between: vec![node("Relu", &["h"], "a", &[])],
        ..Small::new()
    }
    .write()
}

#[test]
fn arrows_of_a_network_of_16_bits_are_those_of_its_double() {
    let [half, single] = [DataType::Float16, DataType::Float].map(|dtype| {
        let folder = of(dtype);
        folder.plane("--steps 3 --arrows 2").assert().success();
        folder.rows("plane.arrows.csv")
    });
    assert!(half.len() >= 2 && half.len() == single.len());
    for (half, single) in half.iter().zip(&single) {
        for column in ["x", "y", "loss", "dloss_dx", "dloss_dy"] {
            let (found, expected) = (number(half, column), number(single, column));
            assert!(
                (found - expected).abs() < 1e-5,
                "{column}: {found} {expected}"
            );
        }
    }
}

#[test]
fn so_are_its_eigenvalues_and_the_result_says_what_they_are_of() {
    let [half, single] = [DataType::Float16, DataType::Float].map(|dtype| {
        let folder = of(dtype);
        let command = "--at ft1 --top 4 --bottom 2 --trace 100 --probes 0";
        folder.spectrum(command).assert().success();
        (folder.rows("spectrum.csv"), folder.json("spectrum.json"))
    });
    assert_eq!(half.1["method"], "graph in float64");
    assert_eq!(single.1["method"], "graph");
    assert_eq!(half.0.len(), 6);
    for (half, single) in half.0.iter().zip(&single.0) {
        let (found, expected) = (number(half, "eigenvalue"), number(single, "eigenvalue"));
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
}

#[test]
fn soups_of_16_bits_are_learned() {
    let [half, single] = [DataType::Float16, DataType::Float].map(|dtype| {
        let folder = of(dtype);
        let methods = "--methods uniform,learned,learned-by-layer";
        folder.soup(methods).assert().success();
        folder.rows("soup.csv")
    });
    for (half, single) in half.iter().zip(&single) {
        let (found, expected) = (number(half, "val_loss"), number(single, "val_loss"));
        // The forward passes are the network's own.
        assert!((found - expected).abs() < 2e-3, "{found} {expected}");
    }
    let calibrated = |row| number(row, "val_loss_calibrated");
    assert!(calibrated(&half[1]) < calibrated(&half[0]));
}
