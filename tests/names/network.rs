//! Networks of linear layers, and state dicts of any tensors.

use std::fs;

use landscape::checkpoint::Checkpoint;
use landscape::checkpoint::onnx::Model;
use landscape::checkpoint::onnx::proto::{
    DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, ValueInfoProto,
};
use landscape::error::Result;
use landscape::graph::build::node;
use landscape::graph::network::Network;
use landscape::space::decode;
use landscape::space::matching::{self, Aligned, Options};
use prost::Message;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

/// Features of every layer.
pub const WIDTH: usize = 4;

/// A tensor of a state dict: name, shape, values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// How the network was exported.
#[derive(Clone, Copy, PartialEq)]
pub enum Export {
    /// The current exporter without optimization: every tensor is marked, a signature lists all.
    Unoptimized,
    /// The TorchScript exporter: nodes are called after their modules.
    TorchScript,
}

/// A chain of layers `x·Wᵀ + b`.
pub struct Net {
    pub export: Export,
    /// Paths of the linear layers.
    pub layers: Vec<String>,
    /// Tensors that are added to what the layers give, by name.
    pub added: Vec<Named>,
    /// Lines of the signature in addition to those of the layers.
    pub signature: Vec<String>,
}

impl Net {
    pub fn new(export: Export, layers: &[&str]) -> Self {
        Self {
            export,
            layers: layers.iter().map(|it| (*it).to_string()).collect(),
            added: Vec::new(),
            signature: Vec::new(),
        }
    }

    /// The layers' tensors under a prefix that takes the place of another.
    pub fn state(&self, strip: &str, add: &str, seed: usize) -> Vec<Named> {
        let names = self.layers.iter().flat_map(|path| {
            let shapes = [("weight", vec![WIDTH, WIDTH]), ("bias", vec![WIDTH])];
            shapes.map(|(leaf, shape)| (format!("{path}.{leaf}"), shape))
        });
        names
            .map(|(name, shape)| {
                let values = values(&name, shape.iter().product(), seed);
                let name = format!("{add}{}", name.strip_prefix(strip).unwrap());
                (name, shape, values)
            })
            .collect()
    }

    fn model(&self) -> ModelProto {
        let mut nodes = Vec::new();
        let mut value = "x".to_string();
        for (index, path) in self.layers.iter().enumerate() {
            let next = format!("h{index}");
            let (weight, bias) = (format!("{path}.weight"), format!("{path}.bias"));
            let mut layer = node("Gemm", &[&value, &weight, &bias], &next, &[("transB", 1)]);
            layer.name = Some(format!("/{}/Gemm", path.replace('.', "/")));
            nodes.push(layer);
            value = next;
        }
        for (index, (name, ..)) in self.added.iter().enumerate() {
            let next = format!("a{index}");
            nodes.push(node("Add", &[&value, name], &next, &[]));
            value = next;
        }
        nodes.push(node("Identity", &[&value], "logits", &[]));
        if self.export == Export::Unoptimized {
            // The current exporter has other names for nodes.
            nodes.iter_mut().for_each(|it| it.name = None);
        }
        let tensors: Vec<Named> = self
            .state("", "", 0)
            .into_iter()
            .chain(self.added.clone())
            .collect();
        let io = |name: &str| ValueInfoProto {
            name: Some(name.to_string()),
            ..ValueInfoProto::default()
        };
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(17),
            }],
            graph: Some(GraphProto {
                node: nodes,
                initializer: tensors.iter().map(tensor).collect(),
                input: vec![io("x")],
                output: vec![io("logits")],
                value_info: self.marks(),
                metadata_props: self.record(),
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    /// The kinds of the layers' tensors, as the current exporter marks them.
    fn marks(&self) -> Vec<ValueInfoProto> {
        if self.export != Export::Unoptimized {
            return Vec::new();
        }
        let mark = |(name, ..): Named| ValueInfoProto {
            name: Some(name),
            metadata_props: vec![entry(
                "pkg.torch.export.graph_signature.InputSpec.kind",
                "PARAMETER",
            )],
            ..ValueInfoProto::default()
        };
        self.state("", "", 0).into_iter().map(mark).collect()
    }

    fn record(&self) -> Vec<StringStringEntryProto> {
        if self.export != Export::Unoptimized {
            return Vec::new();
        }
        let state = self.state("", "", 0).into_iter();
        let lines = state.map(|(name, ..)| format!("p: PARAMETER target='{name}'"));
        let lines: Vec<String> = lines.chain(self.signature.clone()).collect();
        vec![entry(
            "pkg.torch.export.ExportedProgram.graph_signature",
            &lines.join("\n"),
        )]
    }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.to_string()),
        value: Some(value.to_string()),
    }
}

/// Values without a pattern; those of one name and different seeds differ a little.
pub fn values(name: &str, count: usize, seed: usize) -> Vec<f32> {
    let start: usize = name.bytes().map(usize::from).sum();
    let value = |k: usize| ((start * 31 + k * 7919) as f32 * 0.37).sin();
    let change = |k: usize| 0.01 * ((seed * 101 + k * 13) as f32).sin() * seed as f32;
    (0..count).map(|k| value(k) + change(k)).collect()
}

pub fn named(name: &str, shape: &[usize], values: &[f32]) -> Named {
    (name.to_string(), shape.to_vec(), values.to_vec())
}

/// A tensor without a pattern.
pub fn some(name: &str, shape: &[usize]) -> Named {
    let values = values(name, shape.iter().product(), 1);
    (name.to_string(), shape.to_vec(), values)
}

fn tensor((name, shape, values): &Named) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
    TensorProto {
        name: Some(name.clone()),
        dims: shape.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

/// A `Constant` node that holds a tensor.
pub fn constant(of: &Named, output: &str) -> NodeProto {
    let mut made = node("Constant", &[], output, &[]);
    made.attribute
        .push(landscape::checkpoint::onnx::proto::AttributeProto {
            name: Some("value".to_string()),
            t: Some(TensorProto {
                name: None,
                ..tensor(of)
            }),
            r#type: Some(4),
            ..Default::default()
        });
    made
}

/// Files of a test.
pub struct Files {
    pub folder: TempDir,
    pub model: Model,
}

impl Files {
    pub fn of(net: &Net) -> Self {
        Self::edited(net, |_| ())
    }

    /// Writes the network after a change of its graph.
    pub fn edited(net: &Net, change: impl FnOnce(&mut GraphProto)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zs.onnx");
        let mut proto = net.model();
        change(proto.graph.as_mut().unwrap());
        fs::write(&path, proto.encode_to_vec()).unwrap();
        let model = Model::read(&path).unwrap();
        Self { folder, model }
    }

    /// Writes a state dict.
    pub fn checkpoint(&self, name: &str, tensors: &[Named]) -> Checkpoint {
        let path = self.folder.path().join(format!("{name}.safetensors"));
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, shape, values)| {
                let bytes = values.iter().flat_map(|it| it.to_le_bytes()).collect();
                (name.clone(), shape.clone(), bytes)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        safetensors::serialize_to_file(views, None, &path).unwrap();
        Checkpoint::open(&path).unwrap()
    }

    /// Matches checkpoints, with θ0's own state dict if one is given.
    pub fn pool(
        &self,
        checkpoints: &[Checkpoint],
        weights: Option<&Checkpoint>,
        options: &Options,
    ) -> Result<Aligned> {
        let network = Network::of(&self.model);
        matching::pool(&network, "zs", checkpoints, weights, options)
    }

    /// Matches state dicts that must fit.
    pub fn fit(&self, states: &[Vec<Named>], options: &Options) -> Aligned {
        self.pool(&self.checkpoints(states), None, options).unwrap()
    }

    /// The message for state dicts that must not fit.
    pub fn refused(&self, states: &[Vec<Named>], options: &Options) -> String {
        let error = self.pool(&self.checkpoints(states), None, options);
        error.unwrap_err().to_string()
    }

    pub fn checkpoints(&self, states: &[Vec<Named>]) -> Vec<Checkpoint> {
        let named = states.iter().enumerate();
        named
            .map(|(index, state)| self.checkpoint(&format!("ft{}", index + 1), state))
            .collect()
    }
}

/// Options with these patterns.
pub fn ignoring(patterns: &[&str]) -> Options {
    Options {
        ignore: patterns.iter().map(|it| (*it).to_string()).collect(),
        ..Options::default()
    }
}

/// Options that leave out what is unused.
pub fn unused() -> Options {
    Options {
        ignore_unused: true,
        ..Options::default()
    }
}

/// The values of a checkpoint's tensors, by the graph's names.
pub fn matched(aligned: &Aligned, checkpoint: usize) -> Vec<(String, String, Vec<f64>)> {
    let pool = &aligned.pool;
    let found = pool.members[0]
        .sources
        .iter()
        .zip(&pool.members[checkpoint + 1].sources);
    found
        .map(|(origin, source)| {
            (
                origin.name.clone(),
                source.name.clone(),
                decode::values(source),
            )
        })
        .collect()
}

/// Holds every matched tensor against the layers' values for a seed.
pub fn holds(aligned: &Aligned, net: &Net, checkpoint: usize, seed: usize) {
    let found = matched(aligned, checkpoint);
    assert_eq!(found.len(), 2 * net.layers.len());
    for (name, _, held) in found {
        let expected = values(&name, held.len(), seed);
        let same = held.iter().zip(&expected).all(|(a, b)| *a == f64::from(*b));
        assert!(same, "{name}: {held:?} for {expected:?}");
    }
}
