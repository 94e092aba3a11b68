//! Products with the Hessian by differences of gradients beside the exact ones, and curvature by
//! groups of samples, on the example: ReLU and MaxPool have kinks, where a step too large is wrong.
//! With a step of 1e-6 of the weights' norm, products on these images are off by 15 % and 0.2 %,
//! with 1e-8 and no second look by 20 %. Here they are off by at most 4e-7, which is rounding.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use landscape::evaluate::linear_operator::LinearOperator;
use landscape::evaluate::onnx::BindingChoice;
use landscape::evaluate::onnx::gradient::{Curvature, Precision};
use landscape::space::mix::Mix;

use crate::common::engine::with_engine;
use crate::common::example;

/// Runs `then` with the exact Hessian at ft1 on the first test images and the one by differences.
fn with_both(samples: usize, then: impl FnOnce(&Curvature<'_>, &Curvature<'_>)) {
    let example = example();
    let files = ["zs.onnx", "ft1.safetensors", "ft2.safetensors"].map(|file| example.join(file));
    let files = [files[0].as_path(), &files[1], &files[2]];
    let (data, config) = (example.join("test.npz"), example.join("landscape.toml"));
    let auto = BindingChoice::Auto;
    with_engine(
        &files,
        &data,
        Some(&config),
        samples,
        auto,
        |engine, _, places| {
            let mix = Mix::new(vec![0.0, 1.0, 0.0]);
            let exact = engine
                .curvature(0, &mix, places.clone(), Precision::Double)
                .unwrap();
            assert_eq!(exact.differences(), None);
            let why = "a test".to_string();
            let differences = engine
                .curvature_by_differences(0, &mix, places, why)
                .unwrap();
            assert_eq!(differences.differences(), Some("a test"));
            then(&exact, &differences);
        },
    );
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

/// Images per Hessian, and products on the way to the top eigenvector.
const IMAGES: usize = 100;
const PRODUCTS: usize = 12;

#[test]
fn differences_are_the_exact_products_in_spite_of_kinks() {
    with_both(IMAGES, |exact, differences| {
        let mut v: Vec<f64> = (0..exact.dim()).map(|k| (k as f64).sin()).collect();
        for _ in 0..PRODUCTS {
            let product = exact.product(&v).unwrap();
            let found = differences.product(&v).unwrap();
            let off: Vec<f64> = found.iter().zip(&product).map(|(a, b)| a - b).collect();
            let off = norm(&off) / norm(&product);
            assert!(off < 1e-5, "{off:e}");
            let size = norm(&product);
            v = product.into_iter().map(|x| x / size).collect();
        }
        assert_eq!(differences.sides().unwrap().apart, 0);

        let found = differences.along(&v).unwrap();
        let exact = exact.along(&v).unwrap();
        for (found, exact) in found.iter().zip(&exact) {
            assert!((found.value - exact.value).abs() < 1e-4 * exact.value.abs().max(1.0));
        }
    });
}

#[test]
fn curvature_by_group_is_that_of_the_whole() {
    with_both(IMAGES, |exact, _| {
        let v: Vec<f64> = (0..exact.dim()).map(|k| (k as f64).cos()).collect();
        let groups = exact.along(&v).unwrap();
        assert_eq!(groups.len(), 8);
        assert_eq!(
            groups.iter().map(|group| group.samples).sum::<usize>(),
            IMAGES
        );
        assert!(groups.iter().all(|group| [12, 13].contains(&group.samples)));
        let weighted = groups
            .iter()
            .map(|group| group.samples as f64 * group.value);
        let whole = dot(&v, &exact.product(&v).unwrap());
        assert!((weighted.sum::<f64>() / IMAGES as f64 / whole - 1.0).abs() < 1e-9);
    });
}
