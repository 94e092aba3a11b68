//! The frozen part of a network: everything that no moving tensor touches is split off and computed
//! once for each chunk of data. Decides where to cut, and fills shards with the frozen part's
//! output.

use std::collections::HashSet;

use super::buffer::{Buffer, SampleRows};
use super::feature::Feature;
use super::independence::keepable;
use super::light_model::LightModel;
use super::prefix::Prefix;
use super::setup::{Setup, failed};
use super::shard::Shard;
use crate::checkpoint::onnx::proto::{ModelProto, TypeProto};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::graph::gradient;
use crate::graph::split::{Dependence, exposing};

/// The frozen part.
pub struct FrozenPart {
    /// The model from the inputs to the frontier.
    prefix: LightModel,
    /// The outputs, in the order of the features of a [`Shard`].
    pub features: Vec<Feature>,
    /// The number of its nodes, and of all nodes of the network.
    pub nodes: (usize, usize),
}

/// Operators expensive enough to make splitting worthwhile.
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

/// Maximum number of times that the cut is moved: a value that cannot be kept takes one round for
/// each node back to one that can. After that everything is recomputed, which is equally correct.
const ROUNDS: usize = 64;

/// Splits a skeleton whose moving initializers are named in `moving`; returns the frozen part and
/// the rest, or `None` when nothing expensive is frozen.
///
/// # Errors
/// Fails when ONNX Runtime refuses the frozen part, or the user stopped the run.
pub fn split(
    setup: &Setup<'_>,
    skeleton: &ModelProto,
    moving: &HashSet<String>,
) -> Result<Option<(FrozenPart, ModelProto)>> {
    if !is_one_shape(setup) {
        return Ok(None);
    }
    let graph = skeleton.graph.clone().unwrap_or_default();
    let coarse = setup.options.tf32 || gradient::is_half(skeleton);
    let inputs = setup.signature.inputs.iter();
    let inputs: Vec<String> = inputs.map(|input| input.name.clone()).collect();
    let mut dependence = Dependence::of(&graph, moving, &inputs);
    for _ in 0..ROUNDS {
        let frontier = dependence.frontier(&graph);
        if frontier.is_empty() {
            return Ok(None);
        }
        let prefix = exposing(skeleton, &frontier);
        let nodes = prefix.graph.as_ref().map_or(&[][..], |graph| &graph.node);
        if !nodes.iter().any(|node| HEAVY.contains(&node.op_type())) {
            return Ok(None);
        }
        let nodes = (nodes.len(), graph.node.len());
        let found = keepable(setup, &setup.light(prefix), &frontier, coarse)?;
        if let Some(features) = found.iter().cloned().collect::<Option<Vec<Feature>>>() {
            let types = features.iter().map(|it| (it.name.clone(), it.onnx_type()));
            let types: Vec<(String, TypeProto)> = types.collect();
            let split = dependence.cut(skeleton, &types);
            let frozen = FrozenPart {
                prefix: setup.light(split.prefix),
                features,
                nodes,
            };
            return Ok(Some((frozen, split.suffix)));
        }
        for (name, found) in frontier.iter().zip(found) {
            if found.is_none() {
                dependence.recompute(name);
            }
        }
    }
    Ok(None)
}

/// Whether the samples of all data sets have one shape, so that their features do, too.
fn is_one_shape(setup: &Setup<'_>) -> bool {
    let shapes = |data: &Dataset| -> Vec<Vec<usize>> {
        let inputs = 0..setup.signature.inputs.len();
        inputs.map(|k| data.sample_shape(k).to_vec()).collect()
    };
    let mut pairs = setup.datasets.windows(2);
    pairs.all(|pair| shapes(&pair[0]) == shapes(&pair[1]))
}

impl FrozenPart {
    /// A session over the frozen part, on the device of `worker`.
    ///
    /// # Errors
    /// Fails when ONNX Runtime refuses it.
    pub fn session(&self, setup: &Setup<'_>, threads: usize, worker: usize) -> Result<Prefix> {
        Prefix::new(setup, &self.prefix, threads, worker)
    }

    /// Computes the features of a shard from its inputs. The batch size is that of the moving part,
    /// so that results do not depend on how the data is cut.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn fill(
        &self,
        setup: &Setup<'_>,
        prefix: &mut Prefix,
        shard: &mut Shard,
        batch: usize,
    ) -> Result<()> {
        let rows = shard.labels.len();
        let buffers = self.features.iter().map(|it| Buffer::new(it.dtype, 0));
        let mut buffers: Vec<Buffer> = buffers.collect();
        let fixed = setup.signature.fixed_batch;
        let step = fixed.unwrap_or(batch);
        for from in (0..rows).step_by(step) {
            setup.check_stop()?;
            let to = rows.min(from + step);
            let outputs = prefix.run(shard, (from, to), fixed.unwrap_or(to - from))?;
            for (feature, buffer) in self.features.iter().zip(&mut buffers) {
                let row = feature.shape.iter().product();
                let value = &outputs[feature.name.as_str()];
                let whole = buffer
                    .append(value, to - from, row)
                    .map_err(|error| failed("reading the frozen part", &error))?;
                if !whole {
                    return Err(Error::runtime(
                        "ONNX Runtime",
                        format!("`{}` of the frozen part changed its shape", feature.name),
                    ));
                }
            }
        }
        let features = buffers.into_iter().zip(&self.features);
        shard.features = features
            .map(|(values, feature)| SampleRows::new(values, feature.shape.clone()))
            .collect();
        Ok(())
    }
}
