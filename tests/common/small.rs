//! A network of two layers with its checkpoints and data, and the program run on them.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use half::f16;
use landscape::checkpoint::onnx::proto::{
    DataType, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TypeValue, ValueInfoProto,
};
use landscape::graph::build::described;
use landscape::graph::build::node;
use prost::Message;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tempfile::TempDir;

use super::{Row, json, list, program, rows};

pub const SAMPLES: usize = 37;
const INPUTS: usize = 6;
const HIDDEN: usize = 5;
const CLASSES: usize = 3;

/// Names, shapes, and how large the values are.
const TENSORS: [(&str, &[usize], f64); 4] = [
    ("w1", &[INPUTS, HIDDEN], 0.5),
    ("b1", &[HIDDEN], 0.25),
    ("w2", &[HIDDEN, CLASSES], 0.75),
    ("b2", &[CLASSES], 0.25),
];

/// x·w1 + b1 = `h`, what is between, and `a`·w2 + b2 = `logits`.
pub struct Small {
    pub dtype: DataType,
    pub opset: i64,
    pub batch: Option<usize>,
    /// From `h` to `a`.
    pub between: Vec<NodeProto>,
    /// Constants that it reads.
    pub constants: Vec<TensorProto>,
    /// Whether the fine-tunes have the origin's first layer.
    pub head_alone: bool,
}

impl Small {
    /// With tanh, which is smooth, in 32-bit floats.
    pub fn new() -> Self {
        Self {
            dtype: DataType::Float,
            opset: 17,
            batch: None,
            between: vec![node("Tanh", &["h"], "a", &[])],
            constants: Vec::new(),
            head_alone: false,
        }
    }

    pub fn between(nodes: Vec<NodeProto>) -> Self {
        Self {
            between: nodes,
            ..Self::new()
        }
    }

    fn model(&self) -> ModelProto {
        let mut nodes = vec![
            node("MatMul", &["x", "w1"], "xw", &[]),
            node("Add", &["xw", "b1"], "h", &[]),
        ];
        nodes.extend(self.between.iter().cloned());
        nodes.push(node("Gemm", &["a", "w2", "b2"], "logits", &[]));
        let initializer = TENSORS.map(|(name, shape, size)| TensorProto {
            name: Some(name.to_string()),
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(self.dtype as i32),
            raw_data: Some(bytes(self.dtype, &origin(name, shape, size)).into()),
            ..TensorProto::default()
        });
        let import = |domain: &str, version: i64| OperatorSetIdProto {
            domain: Some(domain.to_string()),
            version: Some(version),
        };
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![import("", self.opset), import("com.microsoft", 1)],
            graph: Some(GraphProto {
                name: Some("small".to_string()),
                node: nodes,
                initializer: initializer
                    .into_iter()
                    .chain(self.constants.iter().cloned())
                    .collect(),
                input: vec![self.batched("x", INPUTS)],
                output: vec![self.batched("logits", CLASSES)],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    /// An input or output of [batch, `size`].
    fn batched(&self, name: &str, size: usize) -> ValueInfoProto {
        let mut info = described(name, self.dtype, &[self.batch.unwrap_or(1), size]);
        if self.batch.is_none() {
            let Some(TypeValue::Tensor(tensor)) = &mut info.r#type.as_mut().unwrap().value else {
                panic!("a tensor");
            };
            tensor.shape.as_mut().unwrap().dim[0] = Dimension {
                value: Some(DimensionValue::DimParam("batch".to_string())),
                ..Dimension::default()
            };
        }
        info
    }

    /// Writes `zs.onnx`, `ft1` to `ft3.safetensors`, `models.csv` and `data.safetensors`.
    pub fn write(&self) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::write(folder.path("zs.onnx"), self.model().encode_to_vec()).unwrap();
        for seed in 1..=3 {
            let tuned = |(name, shape, size): (&'static str, &'static [usize], f64)| {
                let mut values = origin(name, shape, size);
                if !self.head_alone || name.ends_with('2') {
                    let change = numbers(values.len(), 10.0 * f64::from(seed) + size);
                    let pairs = values.iter_mut().zip(change);
                    pairs.for_each(|(value, change)| *value += coarse(0.4 * change));
                }
                (name, shape, values)
            };
            folder.checkpoint(&format!("ft{seed}"), self.dtype, &TENSORS.map(tuned));
        }
        folder.list(&["ft1", "ft2", "ft3"]);
        let x: Vec<f64> = numbers(SAMPLES * INPUTS, 4.0);
        let x: Vec<f64> = x.into_iter().map(|x| coarse(2.0 * x)).collect();
        let x = bytes(self.dtype, &x);
        let labels = (0..SAMPLES).map(|k| ((k * 7 + k / 3) % CLASSES) as i64);
        let labels: Vec<u8> = labels.flat_map(i64::to_le_bytes).collect();
        let data = [
            ("x", view(dtype_of(self.dtype), vec![SAMPLES, INPUTS], &x)),
            ("labels", view(Dtype::I64, vec![SAMPLES], &labels)),
        ];
        safetensors::serialize_to_file(data, None, &folder.path("data.safetensors")).unwrap();
        folder
    }
}

fn dtype_of(dtype: DataType) -> Dtype {
    match dtype {
        DataType::Float16 => Dtype::F16,
        DataType::Double => Dtype::F64,
        _ => Dtype::F32,
    }
}

fn view(dtype: Dtype, shape: Vec<usize>, data: &[u8]) -> TensorView<'_> {
    TensorView::new(dtype, shape, data).unwrap()
}

/// Numbers in [−1, 1] without a pattern.
fn numbers(count: usize, seed: f64) -> Vec<f64> {
    let number = |k: usize| (((k as f64 + 1.0) * (seed + 12.9898)).sin() * 43_758.545_3).sin();
    (0..count).map(number).collect()
}

/// A number that every float type holds.
fn coarse(value: f64) -> f64 {
    (value * 256.0).round() / 256.0
}

fn origin(name: &str, shape: &[usize], size: f64) -> Vec<f64> {
    let seed = f64::from(name.as_bytes()[0]) + f64::from(name.as_bytes()[1]);
    let values = numbers(shape.iter().product(), seed);
    values
        .into_iter()
        .map(|value| coarse(size * value))
        .collect()
}

fn bytes(dtype: DataType, values: &[f64]) -> Vec<u8> {
    let values = values.iter();
    match dtype {
        DataType::Float16 => values
            .flat_map(|&x| f16::from_f64(x).to_le_bytes())
            .collect(),
        DataType::Double => values.flat_map(|x| x.to_le_bytes()).collect(),
        _ => values.flat_map(|&x| (x as f32).to_le_bytes()).collect(),
    }
}

/// A folder with the files, and what the program writes into its `out`.
pub struct Folder(TempDir);

impl Folder {
    /// An empty one.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A list of these models.
    pub fn list(&self, names: &[&str]) {
        let models: Vec<_> = names.iter().map(|name| (*name, name)).collect();
        list(self.path("models.csv"), &models);
    }

    fn checkpoint(&self, name: &str, dtype: DataType, tensors: &[(&str, &[usize], Vec<f64>)]) {
        let tensors = tensors.iter().map(|(name, shape, values)| {
            let data = bytes(dtype, values);
            (*name, shape.to_vec(), data)
        });
        let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors.collect();
        let views = tensors
            .iter()
            .map(|(name, shape, data)| (*name, view(dtype_of(dtype), shape.clone(), data)));
        let path = self.path(&format!("{name}.safetensors"));
        safetensors::serialize_to_file(views, None, &path).unwrap();
    }

    /// A checkpoint whose values are those of the origin, times a number.
    pub fn scaled(&self, name: &str, factor: f64) {
        let tensors = TENSORS.map(|(tensor, shape, size)| {
            let values = origin(tensor, shape, size);
            (tensor, shape, values.iter().map(|x| x * factor).collect())
        });
        self.checkpoint(name, DataType::Float, &tensors);
    }

    /// The program with these words, separated by spaces.
    pub fn run(&self, words: &str) -> Command {
        let mut command = program();
        command
            .current_dir(self.0.path())
            .args(words.split_whitespace())
            .args(["--out", "out"]);
        command
    }

    pub fn plane(&self, more: &str) -> Command {
        self.run(&format!(
            "plane --origin zs.onnx --a ft1 --b ft2 --test data.safetensors {more}"
        ))
    }

    pub fn soup(&self, more: &str) -> Command {
        self.run(&format!(
            "soup --origin zs.onnx --models models.csv --val data.safetensors {more}"
        ))
    }

    pub fn spectrum(&self, more: &str) -> Command {
        self.run(&format!(
            "spectrum --origin zs.onnx --test data.safetensors {more}"
        ))
    }

    /// The rows of a file of `out/notebooks-data`.
    pub fn rows(&self, name: &str) -> Vec<Row> {
        rows(self.path("out/notebooks-data").join(name))
    }

    pub fn json(&self, name: &str) -> Value {
        json(self.path("out/notebooks-data").join(name))
    }
}
