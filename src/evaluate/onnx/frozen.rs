//! The frozen part of a network, run once for each chunk of data.

use std::borrow::Cow;
use std::collections::HashSet;

use ort::session::Session;
use prost::Message;

use super::buffer::{Buffer, dtype_of, onnx_type};
use super::part::Part;
use super::{Engine, failed};
use crate::checkpoint::onnx::proto::{
    Dimension, DimensionValue, ModelProto, TensorShapeProto, TensorType, TypeProto, TypeValue,
};
use crate::data::{Dataset, InputDtype};
use crate::error::Result;
use crate::graph::split::{Dependence, exposing};

/// A value that the frozen part hands to the moving part.
#[derive(Debug, Clone)]
pub struct Feature {
    /// Its name in the graph.
    pub name: String,
    /// Its type.
    pub dtype: InputDtype,
    /// Shape of one sample.
    pub shape: Vec<usize>,
}

/// The frozen part.
pub struct Frozen {
    /// The ONNX model from the inputs to the frontier.
    pub prefix: Vec<u8>,
    /// What it gives.
    pub features: Vec<Feature>,
    /// Its share of the network's nodes.
    pub nodes: (usize, usize),
}

/// Operators that make it worth while to hand values over.
const HEAVY: [&str; 10] = [
    "Conv",
    "ConvTranspose",
    "MatMul",
    "Gemm",
    "Einsum",
    "Attention",
    "LSTM",
    "GRU",
    "LayerNormalization",
    "Gather",
];

/// Cuts a skeleton whose moving initializers are called `moving`; returns the frozen part and
/// what is left, or `None` when nothing heavy is frozen.
///
/// # Errors
/// When ONNX Runtime refuses the frozen part.
pub fn split(
    engine: &Engine<'_>,
    skeleton: &ModelProto,
    moving: &HashSet<String>,
) -> Result<Option<(Frozen, ModelProto)>> {
    if !alike(engine) {
        return Ok(None);
    }
    let graph = skeleton.graph.clone().unwrap_or_default();
    let inputs = engine.interface.inputs.iter();
    let inputs: Vec<String> = inputs.map(|input| input.name.clone()).collect();
    let mut dependence = Dependence::of(&graph, moving, &inputs);
    loop {
        let frontier = dependence.frontier(&graph);
        if frontier.is_empty() {
            return Ok(None);
        }
        let prefix = exposing(skeleton, &frontier);
        let nodes = prefix.graph.as_ref().map_or(&[][..], |graph| &graph.node);
        if !nodes.iter().any(|node| HEAVY.contains(&node.op_type())) {
            return Ok(None);
        }
        let size = (nodes.len(), graph.node.len());
        let bytes = prefix.encode_to_vec();
        let found = look(engine, &bytes, &frontier)?;
        if let Some(features) = found.iter().cloned().collect::<Option<Vec<Feature>>>() {
            let types: Vec<(String, TypeProto)> = features.iter().map(type_of).collect();
            let split = dependence.cut(skeleton, &types);
            let frozen = Frozen {
                prefix: split.prefix.encode_to_vec(),
                features,
                nodes: size,
            };
            return Ok(Some((frozen, split.suffix)));
        }
        for (name, found) in frontier.iter().zip(found) {
            if found.is_none() {
                dependence.recompute(name);
            }
        }
    }
}

/// Whether the samples of all data sets have one shape: then the features have one, too.
fn alike(engine: &Engine<'_>) -> bool {
    let shapes = |data: &Dataset| -> Vec<Vec<usize>> {
        let inputs = 0..engine.interface.inputs.len();
        inputs.map(|k| data.sample_shape(k).to_vec()).collect()
    };
    let mut pairs = engine.datasets.windows(2);
    pairs.all(|pair| shapes(&pair[0]) == shapes(&pair[1]))
}

/// Runs a prefix on two small batches; gives the values whose first axis is the batch. With a
/// batch size of the network's own, an axis that is as long by chance makes a value doubtful.
fn look(engine: &Engine<'_>, prefix: &[u8], names: &[String]) -> Result<Vec<Option<Feature>>> {
    let mut session = engine.session_of(prefix, engine.request.threads.unwrap_or(1))?;
    let fixed = engine.interface.fixed_batch;
    let part = Part::new(engine, 0, 0..engine.datasets[0].len().min(3));
    let mut found: Vec<Option<Feature>> = Vec::new();
    for size in [3, 2] {
        let batch = fixed.unwrap_or(size);
        let rows = batch.min(part.labels.len());
        let outputs = run(engine, &mut session, &part, (0, rows), batch)?;
        let features = names.iter().map(|name| {
            let value = &outputs[name.as_str()];
            let shape = value.dtype().tensor_shape()?;
            let dtype = dtype_of(value.dtype())?;
            let (first, rest) = shape.split_first()?;
            let shape: Vec<usize> = rest.iter().map(|&dim| dim as usize).collect();
            let is_doubtful = fixed.is_some_and(|batch| shape.contains(&batch));
            (*first == batch as i64 && !shape.contains(&0) && !is_doubtful).then(|| Feature {
                name: name.clone(),
                dtype,
                shape,
            })
        });
        let features: Vec<Option<Feature>> = features.collect();
        found = if found.is_empty() {
            features
        } else {
            let same = |(a, b): (Option<Feature>, Option<Feature>)| match (a, b) {
                (Some(a), Some(b)) if a.shape == b.shape => Some(a),
                _ => None,
            };
            found.into_iter().zip(features).map(same).collect()
        };
    }
    Ok(found)
}

/// Computes the features of a part from its inputs.
///
/// # Errors
/// When the network cannot be run, or the user stopped the run.
pub fn fill(
    engine: &Engine<'_>,
    session: &mut Session,
    part: &mut Part,
    batch: usize,
) -> Result<()> {
    let rows = part.labels.len();
    let features = engine.features();
    let mut buffers: Vec<Buffer> = features
        .iter()
        .map(|feature| Buffer::new(feature.dtype, 0))
        .collect();
    // In the batches of the moving part, so that no cut of the data changes a bit.
    let step = engine.interface.fixed_batch.unwrap_or(batch);
    for from in (0..rows).step_by(step) {
        engine.check_stop()?;
        let to = rows.min(from + step);
        let batch = engine.interface.fixed_batch.unwrap_or(to - from);
        let outputs = run(engine, session, part, (from, to), batch)?;
        for (feature, buffer) in features.iter().zip(&mut buffers) {
            let row = feature.shape.iter().product();
            let value = &outputs[feature.name.as_str()];
            let whole = buffer
                .append(value, to - from, row)
                .map_err(|error| failed("reading the frozen part", &error))?;
            if !whole {
                return Err(crate::error::Error::runtime(
                    "ONNX Runtime",
                    format!("`{}` of the frozen part changed its shape", feature.name),
                ));
            }
        }
    }
    part.features = buffers;
    Ok(())
}

fn run<'s>(
    engine: &Engine<'_>,
    session: &'s mut Session,
    part: &Part,
    rows: (usize, usize),
    batch: usize,
) -> Result<ort::session::SessionOutputs<'s>> {
    let names: Vec<String> = session
        .inputs()
        .iter()
        .map(|input| input.name().to_string())
        .collect();
    let data = &engine.datasets[part.dataset];
    let feed = names.into_iter().filter_map(|name| {
        let inputs = &engine.interface.inputs;
        let k = inputs.iter().position(|input| input.name == name)?;
        let value = part.inputs[k].rows(rows, data.sample_shape(k), batch);
        Some(value.map(|value| (Cow::from(name), value)))
    });
    feed.collect::<ort::Result<Vec<_>>>()
        .and_then(|feed| session.run(feed))
        .map_err(|error| failed("running the frozen part", &error))
}

/// The ONNX type of a feature, its batch axis free.
fn type_of(feature: &Feature) -> (String, TypeProto) {
    let fixed = feature
        .shape
        .iter()
        .map(|&dim| DimensionValue::DimValue(dim as i64));
    let dims = std::iter::once(DimensionValue::DimParam("landscape.batch".to_string()))
        .chain(fixed)
        .map(|value| Dimension {
            value: Some(value),
            ..Dimension::default()
        });
    let tensor = TensorType {
        elem_type: Some(onnx_type(feature.dtype)),
        shape: Some(TensorShapeProto {
            dim: dims.collect(),
        }),
    };
    let r#type = TypeProto {
        value: Some(TypeValue::Tensor(tensor)),
        ..TypeProto::default()
    };
    (feature.name.clone(), r#type)
}
