//! The graphs that give loss and gradient, written for one batch size.

use std::borrow::Cow;
use std::collections::HashSet;

use ort::session::SessionInputValue;
use prost::Message;

use super::feed::Feeder;
use super::see::{exposed, see};
use crate::checkpoint::onnx::proto::{DataType, ModelProto, ValueInfoProto};
use crate::error::Result;
use crate::evaluate::onnx::buffer::onnx_type;
use crate::evaluate::onnx::request::Binding;
use crate::evaluate::onnx::{Engine, failed};
use crate::graph::gradient::loss::{self, described};
use crate::graph::gradient::widen::widened;
use crate::graph::gradient::{Differentiated, differentiate, pruned};
use crate::graph::{gradient, in_graph};

/// In what the gradient is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The types of the network.
    Own,
    /// Doubles throughout.
    Double,
}

/// A graph that gives the loss, its gradient in each moving tensor, and that in β.
pub struct Written {
    /// The ONNX model.
    pub bytes: Vec<u8>,
    /// Names of the gradients in the weights, in the order of [`Engine`]'s moving tensors.
    pub weights: Vec<String>,
    /// Name of the gradient in β.
    pub beta: String,
}

/// Writes the graph for a batch of the data set that a feeder feeds.
///
/// # Errors
/// When an operator has no derivative, or the network cannot be run.
pub fn gradient(
    engine: &Engine<'_>,
    feeder: &Feeder<'_>,
    binding: Binding,
    precision: Precision,
) -> Result<Written> {
    let Differentiated {
        mut model,
        values,
        gradients,
    } = differentiated(engine, feeder, binding)?;
    let outputs = [loss::TOTAL, loss::LOSS, loss::CORRECT].into_iter();
    set_outputs(
        &mut model,
        outputs.chain(gradients.iter().map(String::as_str)),
    );
    let mut model = pruned(model);
    if precision == Precision::Double {
        model = widened(model, &values, &moving(engine))?;
    }
    let (beta, weights) = gradients
        .split_last()
        .map_or_else(Default::default, |(b, w)| (b.clone(), w.to_vec()));
    Ok(Written {
        bytes: model.encode_to_vec(),
        weights,
        beta,
    })
}

/// The network with its loss, differentiated in the moving tensors and β.
fn differentiated(
    engine: &Engine<'_>,
    feeder: &Feeder<'_>,
    binding: Binding,
) -> Result<Differentiated> {
    let with_inputs = forward(engine, feeder, Binding::Inputs)?;
    let mut wanted: Vec<String> = engine.moving.iter().map(|(_, name)| name.clone()).collect();
    wanted.push(loss::BETA.to_string());
    gradient::check(&with_inputs, loss::TOTAL, &wanted)?;
    let mut session = engine.session_of(&exposed(with_inputs).encode_to_vec(), 1)?;
    let names: Vec<String> = session
        .inputs()
        .iter()
        .map(|i| i.name().to_string())
        .collect();
    let feeds = names
        .iter()
        .map(|name| Ok((Cow::from(name.as_str()), feeder.feed(name)?)));
    let seen = feeds
        .collect::<ort::Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>>>()
        .and_then(|feeds| see(&mut session, feeds))
        .map_err(|error| failed("looking at the network's values", &error))?;
    let model = forward(engine, feeder, binding)?;
    let values = loss::values(&model, seen);
    differentiate(model, values, loss::TOTAL, &wanted, "landscape.g")
}

/// The network with its loss, for one batch size.
fn forward(engine: &Engine<'_>, feeder: &Feeder<'_>, binding: Binding) -> Result<ModelProto> {
    let mut model = engine.graphs.plain().clone();
    if binding == Binding::Inputs {
        model = in_graph::as_inputs(model, engine.graphs.fed());
    }
    let batch = feeder.batch();
    let data = &engine.datasets[feeder.dataset()];
    if let Some(graph) = model.graph.as_mut() {
        for input in &mut graph.input {
            let fixed = |dtype: i32, sample: &[usize]| {
                let dtype = DataType::try_from(dtype).unwrap_or(DataType::Undefined);
                let shape: Vec<usize> = std::iter::once(batch)
                    .chain(sample.iter().copied())
                    .collect();
                described(input.name(), dtype, &shape)
            };
            let mut inputs = engine.interface.inputs.iter();
            let mut features = engine.features().iter();
            if let Some(k) = inputs.position(|spec| spec.name == input.name()) {
                *input = fixed(onnx_type(data.dtype(k)), data.sample_shape(k));
            } else if let Some(feature) = features.find(|feature| feature.name == input.name()) {
                *input = fixed(onnx_type(feature.dtype), &feature.shape);
            }
        }
    }
    let model = gradient::prepared(model)?;
    Ok(loss::append(model, &engine.interface.output_name, batch))
}

/// Names of the moving tensors in the graph.
fn moving(engine: &Engine<'_>) -> HashSet<String> {
    engine.moving.iter().map(|(_, name)| name.clone()).collect()
}

fn set_outputs<'n>(model: &mut ModelProto, names: impl Iterator<Item = &'n str>) {
    if let Some(graph) = model.graph.as_mut() {
        graph.output = names
            .map(|name| ValueInfoProto {
                name: Some(name.to_string()),
                ..ValueInfoProto::default()
            })
            .collect();
    }
}
