//! Whole networks against PyTorch's autograd in float64 (`tests/oracle/gradients.py`), from the
//! current exporter and the TorchScript exporter.
//!
//! Tolerances are of each tensor's gradient, ‖found − expected‖ relative to the larger of its norm
//! and a thousandth of the whole gradient's: 1e-4 in float32 (PyTorch's own float32 gradient is off
//! by up to 1.5e-6) and 1e-9 in float64. The derivatives in coefficients and β are held to the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use landscape::evaluate::differentiable_loss::DifferentiableLoss;
use landscape::evaluate::onnx::BindingChoice;
use landscape::evaluate::onnx::gradient::{GradientBuffer, Precision};
use landscape::space::mix::Mix;
use serde_json::Value;

use crate::common::engine::with_engine;
use crate::common::{example, json, numbers, oracle};

/// How weights get into the graph, and in what it computes.
const WAYS: [(BindingChoice, Precision); 3] = [
    (BindingChoice::Inputs, Precision::Own),
    (BindingChoice::Baked, Precision::Own),
    (BindingChoice::Inputs, Precision::Double),
];

/// What PyTorch says.
struct Expected {
    json: Value,
    /// Gradients by the checkpoint's names, where all elements are kept.
    tensors: BTreeMap<String, Vec<f64>>,
}

impl Expected {
    fn of(network: &str) -> Self {
        let folder = oracle(network);
        let mut tensors = BTreeMap::new();
        if let Ok(bytes) = std::fs::read(folder.join("gradients.safetensors")) {
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            for (name, view) in file.tensors() {
                let (elements, _) = view.data().as_chunks::<8>();
                let values = elements.iter().map(|&x| f64::from_le_bytes(x)).collect();
                tensors.insert(name, values);
            }
        }
        Self {
            json: json(folder.join("gradients.json")),
            tensors,
        }
    }

    fn tensor(&self, name: &str) -> &Value {
        let tensors = self.json["tensors"].as_array().unwrap();
        let found = tensors.iter().find(|tensor| tensor["name"] == name);
        found.unwrap_or_else(|| panic!("PyTorch has no `{name}`"))
    }
}

fn flat(values: &GradientBuffer) -> Vec<f64> {
    let mut all = vec![0.0; values.len()];
    values.read(0, &mut all);
    all
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Holds the gradient of a network's export against PyTorch's.
fn agrees(
    network: &str,
    files: [&Path; 3],
    data: &Path,
    config: Option<&Path>,
    (binding, precision): (BindingChoice, Precision),
) {
    let expected = Expected::of(network);
    let tolerance: f64 = match precision {
        Precision::Own => 1e-4,
        Precision::Double => 1e-9,
    };
    let number = |value: &Value| value.as_f64().unwrap();
    let c = numbers(&expected.json["c"]);
    let samples = expected.json["samples"].as_u64().unwrap() as usize;
    with_engine(
        &files,
        data,
        config,
        samples,
        binding,
        |engine, aligned, places| {
            let gradients = engine.gradients(0, samples, precision).unwrap();
            let mix = Mix::new(c);
            let what = |of: &str| {
                let origin = files[0].display();
                format!("{network} {origin} {binding:?} {precision:?}: {of}")
            };
            let whole = number(&expected.json["norm"]);
            for of_beta in expected.json["betas"].as_array().unwrap() {
                let beta = number(&of_beta["beta"]);
                let found = gradients.loss_and_gradient(&mix, beta, &places).unwrap();
                let loss = number(&of_beta["loss"]);
                assert!(
                    (found.loss / loss - 1.0).abs() < tolerance.min(1e-5),
                    "{}",
                    what("loss")
                );
                let slope = number(&of_beta["dloss_dbeta"]);
                assert!(
                    (found.beta - slope).abs() < tolerance * slope.abs().max(0.1),
                    "{}",
                    what("beta")
                );
                let dots = gradients.coefficient_gradient(&mix, beta, &places).unwrap();
                let by_member = of_beta["dloss_dc"].as_array().unwrap().iter().map(number);
                for (member, dot) in by_member.enumerate() {
                    let sum: f64 = dots.rows.iter().map(|row| row[member]).sum();
                    let off = (sum - dot).abs() / dot.abs().max(0.1);
                    assert!(off < tolerance, "{}: {sum} for {dot}", what("coefficient"));
                }
                if beta != 1.0 {
                    continue;
                }
                assert_eq!(
                    found.wrong as u64,
                    expected.json["errors"].as_u64().unwrap()
                );
                let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
                for ((index, name), gradient) in
                    gradients.parameters().into_iter().zip(&found.weights)
                {
                    let source = &aligned.pool.members[1].sources[index];
                    let mut values = flat(gradient);
                    if source.transposed {
                        let (rows, columns) = (source.tensor.shape[0], source.tensor.shape[1]);
                        values = (0..rows * columns)
                            .map(|k| values[(k % columns) * rows + k / columns])
                            .collect();
                    }
                    // Tied tensors have one gradient, the sum.
                    let sum = seen.entry(name).or_insert_with(|| vec![0.0; values.len()]);
                    sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
                }
                for (name, values) in &seen {
                    let tensor = expected.tensor(name);
                    let size = number(&tensor["norm"]).max(1e-3 * whole);
                    let off = match expected.tensors.get(name) {
                        Some(expected) => norm(values.iter().zip(expected).map(|(a, b)| a - b)),
                        None => {
                            let at = tensor["at"]
                                .as_array()
                                .unwrap()
                                .iter()
                                .map(|k| k.as_u64().unwrap());
                            let kept = tensor["values"].as_array().unwrap().iter().map(number);
                            let few = norm(at.zip(kept).map(|(k, x)| values[k as usize] - x));
                            few.max((norm(values.iter().copied()) - number(&tensor["norm"])).abs())
                        }
                    };
                    assert!(off < tolerance * size, "{}: {off} of {size}", what(name));
                }
                let all = expected.json["tensors"].as_array().unwrap().len();
                assert_eq!(seen.len(), all, "{}", what("tensors"));
            }
        },
    );
}

/// Both precisions of exports of one network.
fn exports_agree(network: &str, exports: &[&str]) {
    for export in exports {
        for way in WAYS {
            export_agrees(network, export, way);
        }
    }
}

fn export_agrees(network: &str, export: &str, way: (BindingChoice, Precision)) {
    let folder = oracle(network);
    let [a, b, data] = ["ft1.safetensors", "ft2.safetensors", "data.npz"].map(|f| folder.join(f));
    let origin = folder.join(format!("zs_{export}.onnx"));
    agrees(network, [&origin, &a, &b], &data, None, way);
}

/// Holds the product of the Hessian with a vector against PyTorch's (`tests/oracle/spectrum.py`):
/// elements sin(i) over the trained tensors in the order of their names.
fn product_agrees(network: &str, files: [&Path; 3], data: &Path, config: Option<&Path>) {
    let oracle = json(oracle("spectrum.json"));
    let mut products = oracle["products"].as_array().unwrap().iter();
    let expected = products
        .find(|product| product["network"] == network)
        .unwrap();
    let samples = expected["samples"].as_u64().unwrap() as usize;
    let mix = Mix::new(vec![0.2, 0.3, 0.5]);
    let auto = BindingChoice::Auto;
    with_engine(
        &files,
        data,
        config,
        samples,
        auto,
        |engine, aligned, places| {
            for (precision, tolerance) in [(Precision::Own, 1e-4), (Precision::Double, 1e-6)] {
                let curvature = engine
                    .curvature(0, &mix, places.clone(), precision)
                    .unwrap();
                assert_eq!(curvature.differences(), None);
                let tensors = curvature.tensors();
                let mut sorted: Vec<&(String, usize)> = tensors.iter().collect();
                sorted.sort();
                // Where each tensor begins in PyTorch's vector.
                let mut starts: BTreeMap<&str, usize> = BTreeMap::new();
                let mut start = 0;
                for (name, len) in sorted {
                    starts.insert(name, start);
                    start += len;
                }
                assert_eq!(start, curvature.dim());
                assert_eq!(start as u64, expected["parameters"].as_u64().unwrap());
                let v: Vec<f64> = tensors
                    .iter()
                    .flat_map(|(name, len)| {
                        let pool = &aligned.pool;
                        let mut parameters = pool.parameters.iter();
                        let index = parameters
                            .position(|p| p.name == *name && p.counts())
                            .unwrap();
                        let source = &pool.members[1].sources[index];
                        let start = starts[name.as_str()];
                        let place = move |k: usize| match source.transposed {
                            // Element k of the graph's [columns, rows] is one of the file's [rows, columns].
                            true => {
                                let (rows, columns) =
                                    (source.tensor.shape[0], source.tensor.shape[1]);
                                (k % rows) * columns + k / rows
                            }
                            false => k,
                        };
                        (0..*len).map(move |k| ((start + place(k)) as f64).sin())
                    })
                    .collect();
                let product = curvature.product(&v).unwrap();
                let size = norm(product.iter().copied());
                let expected_size = expected["norm"].as_f64().unwrap();
                let off = (size / expected_size - 1.0).abs();
                assert!(off < tolerance, "{network}: {size} for {expected_size}");
                let along: f64 = product.iter().zip(&v).map(|(a, b)| a * b).sum();
                let expected_along = expected["vhv"].as_f64().unwrap();
                assert!((along - expected_along).abs() < tolerance * expected_size * 10.0);
                let mut start = 0;
                for (name, len) in &tensors {
                    let own = norm(product[start..start + len].iter().copied());
                    start += len;
                    let mut all = expected["tensors"].as_array().unwrap().iter();
                    let tensor = all.find(|tensor| tensor["name"] == **name).unwrap();
                    let off = (own - tensor["norm"].as_f64().unwrap()).abs();
                    assert!(off < tolerance * expected_size, "{network}: {name} {off}");
                }
            }
        },
    );
}

fn products_agree(network: &str, export: &str) {
    let folder = oracle(network);
    let [a, b, data] = ["ft1.safetensors", "ft2.safetensors", "data.npz"].map(|f| folder.join(f));
    let origin = folder.join(format!("zs_{export}.onnx"));
    product_agrees(network, [&origin, &a, &b], &data, None);
}

#[test]
fn products_with_the_hessian() {
    products_agree("vit", "noopt");
    products_agree("tied", "ts");
    products_agree("bn", "noopt");
    products_agree("convnext", "ts");
    products_agree("resnet", "noopt");
    products_agree("mha", "ts");
}

#[test]
fn a_transformer_with_attention_gelu_and_layer_norm() {
    exports_agree("vit", &["noopt"]);
    // The TorchScript export computes the attention's scale, which PyTorch's values take as the other
    // export stores it: rounded to float32.
    export_agrees("vit", "ts", WAYS[0]);
    export_agrees("vit", "ts", WAYS[1]);
}

#[test]
fn multi_head_attention_with_embeddings() {
    exports_agree("mha", &["noopt", "ts"]);
}

#[test]
fn tied_embeddings_get_both_gradients() {
    exports_agree("tied", &["noopt", "ts"]);
}

#[test]
fn batch_norm_in_inference() {
    exports_agree("bn", &["noopt", "ts_nofold"]);
}

#[test]
fn a_small_resnet() {
    exports_agree("resnet", &["noopt", "ts_nofold"]);
}

#[test]
fn a_convnext_like_network() {
    exports_agree("convnext", &["noopt", "opt", "ts"]);
}

#[test]
fn the_digits_network() {
    let example = example();
    let [origin, a, b, data, config] = [
        "zs.onnx",
        "ft1.safetensors",
        "ft2.safetensors",
        "test.npz",
        "landscape.toml",
    ]
    .map(|file| example.join(file));
    for way in WAYS {
        agrees("digits", [&origin, &a, &b], &data, Some(&config), way);
    }
}
