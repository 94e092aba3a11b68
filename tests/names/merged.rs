//! Modules that were equal at θ0 and whose tensors the exporter merged, and buffers of integers,
//! which no model averages.

use std::fs;

use landscape::checkpoint::Checkpoint;
use landscape::checkpoint::onnx::proto::{DataType, GraphProto, TensorProto};
use landscape::graph::build::{int, node};
use landscape::space::matching::Options;
use safetensors::tensor::{Dtype, TensorView};

use crate::has;
use crate::network::{Export, Files, Net, WIDTH, holds, ignoring, matched};

/// Two layers that are equal at θ0: the second reads the first one's tensors.
fn merge(graph: &mut GraphProto) {
    graph.initializer.retain(|it| it.name().starts_with("a."));
    for input in graph.node.iter_mut().flat_map(|it| &mut it.input) {
        if let Some(leaf) = input.strip_prefix("b.") {
            *input = format!("a.{leaf}");
        }
    }
}

#[test]
fn twins_that_an_exporter_merged_get_a_tensor_each() {
    let net = Net::new(Export::TorchScript, &["a", "b"]);
    let files = Files::edited(&net, merge);
    let tuned = net.state("", "", 1);
    let aligned = files.fit(std::slice::from_ref(&tuned), &Options::default());
    let found = matched(&aligned, 0);
    assert_eq!(found.len(), 4, "{found:?}");
    for (name, _, values) in &tuned {
        let own = found.iter().filter(|(_, stored, _)| stored == name);
        let own: Vec<_> = own.collect();
        let values: Vec<f64> = values.iter().map(|it| f64::from(*it)).collect();
        assert!(
            matches!(own[..], [(_, _, held)] if *held == values),
            "{name}"
        );
        // Both stand for θ0's one tensor.
        let leaf = name.split_once('.').unwrap().1;
        assert_eq!(own[0].0, format!("a.{leaf}"));
    }
    // Twins that are still one have one parameter for both places.
    let mut tied = tuned;
    for at in [0, 1] {
        tied[2 + at].2 = tied[at].2.clone();
    }
    let aligned = files.fit(&[tied], &Options::default());
    assert_eq!(matched(&aligned, 0).len(), 2);
    assert!(aligned.places.iter().all(|places| places.len() == 2));
}

/// Adds a buffer that picks the features, before the layers.
fn pick(graph: &mut GraphProto) {
    let order = (0..WIDTH as i64).flat_map(i64::to_le_bytes);
    graph.initializer.push(TensorProto {
        name: Some("order".to_string()),
        dims: vec![WIDTH as i64],
        data_type: Some(DataType::Int64 as i32),
        raw_data: Some(order.collect::<Vec<u8>>().into()),
        ..TensorProto::default()
    });
    graph.node[0].input[0] = "picked".to_string();
    let mut gather = node("Gather", &["x", "order"], "picked", &[]);
    gather.attribute.push(int("axis", 1));
    graph.node.insert(0, gather);
}

#[test]
fn a_buffer_of_integers_must_be_that_of_the_origin() {
    let net = Net::new(Export::TorchScript, &["a", "b"]);
    let files = Files::edited(&net, pick);
    let stored = |name: &str, dtype: Dtype, numbers: Vec<u8>| {
        let path = files.folder.path().join("ft.safetensors");
        let floats = net
            .state("", "", 1)
            .into_iter()
            .map(|(name, shape, values)| {
                let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
                (name, Dtype::F32, shape, bytes)
            });
        let integers = (name.to_string(), dtype, vec![WIDTH], numbers);
        let floats = floats.filter(|(of, ..)| of != name);
        let tensors: Vec<_> = floats.chain([integers]).collect();
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        });
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        Checkpoint::open(&path).unwrap()
    };
    let checkpoint =
        |order: [i64; WIDTH]| stored("order", Dtype::I64, order.map(i64::to_le_bytes).concat());
    let same = files.pool(&[checkpoint([0, 1, 2, 3])], None, &Options::default());
    holds(&same.unwrap(), &net, 0, 1);
    let other = checkpoint([1, 0, 2, 3]);
    let refused = files.pool(std::slice::from_ref(&other), None, &Options::default());
    let message = refused.unwrap_err().to_string();
    has(
        &message,
        &["`order` (i64) differs from θ0's", "--ignore 'order'"],
    );
    let left = files.pool(&[other], None, &ignoring(&["order"])).unwrap();
    holds(&left, &net, 0, 1);
    // In another type, too; and integers are no weights.
    let short = |order: [u8; WIDTH]| stored("order", Dtype::U8, order.to_vec());
    let same = files.pool(&[short([0, 1, 2, 3])], None, &Options::default());
    holds(&same.unwrap(), &net, 0, 1);
    for (stored, words) in [
        (short([3, 1, 2, 0]), "`order` (u8) differs from θ0's"),
        (
            stored("a.bias", Dtype::I8, vec![0, 1, 2, 3]),
            "`a.bias` (i8) is of integers, where the network has floating-point numbers",
        ),
    ] {
        let refused = files.pool(&[stored], None, &Options::default());
        has(&refused.unwrap_err().to_string(), &[words]);
    }
}
