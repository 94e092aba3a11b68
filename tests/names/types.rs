//! A graph of two element types that is unfolded.

use landscape::checkpoint::onnx::proto::{DataType, TensorProto};
use landscape::checkpoint::tensor::Dtype;
use landscape::graph::build::{int, node};
use landscape::space::matching::Options;
use landscape::space::matching::unfold::unfold;

use crate::network::{Export, Files, Net, WIDTH, named};

/// An initializer of one axis.
fn initializer(name: &str, dtype: DataType, bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        dims: vec![WIDTH as i64],
        data_type: Some(dtype as i32),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

#[test]
fn what_is_computed_has_the_type_of_the_tensor_that_it_explains() {
    let scale = [0.5_f32, 1.5, -2.0, 0.25];
    let logs = [0.1_f32, -0.7, 0.4, 1.1];
    // The first tensor of the graph is in 16 bits; the gate, exp of a parameter, is in 32.
    let files = Files::edited(&Net::new(Export::TorchScript, &[]), |graph| {
        let halves = scale
            .iter()
            .flat_map(|it| half::f16::from_f32(*it).to_le_bytes());
        let gate = logs.iter().flat_map(|it| it.exp().to_le_bytes());
        graph.initializer = vec![
            initializer("s.scale", DataType::Float16, halves.collect()),
            initializer("onnx::Mul_9", DataType::Float, gate.collect()),
        ];
        let mut cast = node("Cast", &["s.scale"], "wide", &[]);
        cast.attribute.push(int("to", DataType::Float as i64));
        let mut gated = node("Mul", &["scaled", "onnx::Mul_9"], "logits", &[]);
        gated.name = Some("/gate/Mul".to_string());
        graph.node = vec![cast, node("Mul", &["x", "wide"], "scaled", &[]), gated];
    });
    let state = [
        named("s.scale", &[WIDTH], &scale),
        named("gate.log", &[WIDTH], &logs),
    ];
    let weights = files.checkpoint("zs", &state);
    let found = unfold(&files.model, &weights, &Options::default()).unwrap();
    assert_eq!(found.unexplained, Vec::<String>::new());
    let tensors = found.model.expect("it is unfolded").tensors;
    assert_eq!(tensors["gate.log"].dtype, Dtype::F32);
    let bytes: Vec<u8> = logs.iter().flat_map(|it| it.to_le_bytes()).collect();
    assert_eq!(tensors["gate.log"].bytes, bytes);
    assert_eq!(tensors["s.scale"].dtype, Dtype::F16);
}
