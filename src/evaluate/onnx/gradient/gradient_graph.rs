//! Writes the graphs of loss and gradient, and of Hessian-vector products, for one batch size. Runs
//! the network once to learn the shapes and types of its values.

use std::collections::{HashMap, HashSet};

use ort::session::Session;

use super::loss_batch::LossBatch;
use super::precision::Precision;
use super::value_probe::{expose_values, probe_values};
use crate::checkpoint::onnx::proto::{DataLocation, DataType, ModelProto, ValueInfoProto};
use crate::error::{Cause, Error, Result};
use crate::evaluate::onnx::binding::Binding;
use crate::evaluate::onnx::buffer::onnx_type;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::feed::{Feeds, direction};
use crate::evaluate::onnx::light_model::LightModel;
use crate::evaluate::onnx::moving::MovingTensor;
use crate::evaluate::onnx::setup::failed;
use crate::graph::build::described;
use crate::graph::build::node;
use crate::graph::editor::GraphEditor;
use crate::graph::gradient::loss;
use crate::graph::gradient::values::{Value, Values};
use crate::graph::gradient::widen::widened;
use crate::graph::gradient::{Differentiated, differentiate, giving};
use crate::graph::{gradient, in_graph};

/// A graph that returns the loss and some tensors, each summed over the samples.
pub struct GradientGraph {
    /// The model.
    pub model: LightModel,
    /// Names of these tensors.
    pub tensors: Vec<String>,
    /// Name of the gradient in β, if the graph computes it.
    pub beta: Option<String>,
    /// Moving tensors that are stored in a session when it is built; the others are inputs.
    pub stored: HashSet<String>,
}

/// The graph of the gradient in β and in each moving tensor, in their order, for batches of the
/// first one's size. The other batches show which shapes depend on the data.
///
/// # Errors
/// Fails when an operator has no derivative, or the network cannot be run.
pub fn gradient(
    context: &Context<'_>,
    batches: &[LossBatch<'_>],
    binding: Binding,
    precision: Precision,
) -> Result<GradientGraph> {
    let Differentiated {
        model,
        values,
        mut gradients,
    } = differentiated(context, batches, binding)?;
    let beta = gradients.pop();
    finished(context, (model, &values), gradients, beta, precision)
}

/// The graph of the Hessian-vector product in the moving tensors called `names`: the gradient of
/// ⟨∇L, v⟩. The direction v is one input per tensor ([`direction`]).
///
/// # Errors
/// Fails as [`gradient()`] does.
pub fn product(
    context: &Context<'_>,
    batches: &[LossBatch<'_>],
    names: &[String],
    binding: Binding,
    precision: Precision,
) -> Result<GradientGraph> {
    let Differentiated {
        model,
        mut values,
        gradients,
    } = differentiated(context, batches, binding)?;
    let mut editor = GraphEditor::open(model);
    let all = context.moving.iter().zip(&gradients);
    let mut parts = Vec::new();
    for (MovingTensor { name, .. }, gradient) in all.filter(|(it, _)| names.contains(&it.name)) {
        let value = values.of(name)?.clone();
        let (product, part, along) = (
            format!("{name}.product"),
            format!("{name}.part"),
            direction(name),
        );
        editor.add_inputs([described(&along, value.dtype, &value.shape)]);
        editor.append_nodes([
            node("Mul", &[gradient, &along], &product, &[]),
            node("ReduceSum", &[&product], &part, &[("keepdims", 0)]),
        ]);
        let scalar = Value::new(value.dtype, Vec::new());
        for (name, value) in [
            (along, value.clone()),
            (product, value),
            (part.clone(), scalar),
        ] {
            values.insert(name, value);
        }
        parts.push(part);
    }
    let inputs: Vec<&str> = parts.iter().map(String::as_str).collect();
    editor.append_nodes([node("Sum", &inputs, ALONG, &[])]);
    let dtype = values.of(inputs[0])?.dtype;
    values.insert(ALONG, Value::new(dtype, Vec::new()));
    let Differentiated {
        model,
        values,
        gradients,
    } = differentiate(editor.finish(), values, ALONG, names, "landscape.h")?;
    finished(context, (model, &values), gradients, None, precision)
}

/// The name of ⟨∇L, v⟩.
const ALONG: &str = "landscape.along";

/// Sets the outputs of a graph and removes everything that they do not need.
fn finished(
    context: &Context<'_>,
    (model, values): (ModelProto, &Values),
    tensors: Vec<String>,
    beta: Option<String>,
    precision: Precision,
) -> Result<GradientGraph> {
    let mut outputs = [loss::TOTAL, loss::CORRECT].map(String::from).to_vec();
    outputs.extend(tensors.iter().chain(&beta).cloned());
    let mut model = giving(model, &outputs);
    if precision == Precision::Double {
        let moving = context.moving.iter().map(|it| &it.name);
        let wide = moving
            .flat_map(|name| [name.clone(), direction(name)])
            .collect();
        model = widened(model, values, &wide)?;
    }
    let stored = model.graph.iter().flat_map(|graph| &graph.initializer);
    let stored = stored.filter(|tensor| tensor.data_location() == DataLocation::External);
    Ok(GradientGraph {
        stored: stored.map(|tensor| tensor.name().to_string()).collect(),
        model: context.setup.light(model),
        tensors,
        beta,
    })
}

/// Whether a graph could not be written because an operator has no derivative, so that another
/// method may still work. Only this function asks.
pub fn lacks_derivative(error: &Error) -> bool {
    matches!(error.cause(), Cause::NoDerivative)
}

/// The network with its loss, differentiated in the moving tensors and in β.
fn differentiated(
    context: &Context<'_>,
    batches: &[LossBatch<'_>],
    binding: Binding,
) -> Result<Differentiated> {
    let Some(batch) = batches.first() else {
        return Err(Error::runtime("gradient", "there are no samples"));
    };
    if context.statistics.is_some() {
        return Err(Error::no_derivative(
            "--bn",
            "recalibrate: statistics that are re-estimated from the samples depend on all weights, \
             and their gradient is not computed",
        )
        .help("use --bn interpolate or --bn origin where a gradient is needed"));
    }
    let with_inputs = forward(context, batch, Binding::Inputs)?;
    let mut wanted: Vec<String> = context.moving.iter().map(|it| it.name.clone()).collect();
    wanted.push(loss::BETA.to_string());
    gradient::check(&with_inputs, loss::TOTAL, &wanted)?;
    let mut session =
        context
            .setup
            .session(&context.setup.light(expose_values(with_inputs)), 1, 0)?;
    let feeds = Feeds::by_name(&session, &context.input_names())?;
    let seen = batches
        .iter()
        .map(|batch| probe(&mut session, &feeds, batch));
    let mut seen = seen.collect::<Result<Vec<_>>>()?;
    let others = seen.split_off(1);
    let seen = seen.pop().unwrap_or_default();
    let model = forward(context, batch, binding)?;
    gradient::check_shapes(&model, loss::TOTAL, &wanted, &seen, &others)?;
    let values = loss::values(&model, seen);
    differentiate(model, values, loss::TOTAL, &wanted, "landscape.g")
}

/// Runs a batch and returns the types and shapes of an exposed model's values.
pub(super) fn probe(
    session: &mut Session,
    feeds: &Feeds,
    batch: &LossBatch<'_>,
) -> Result<HashMap<String, Value>> {
    feeds
        .values(|feed| batch.value(feed))
        .and_then(|values| probe_values(session, values))
        .map(HashMap::from_iter)
        .map_err(|error| failed("looking at the network's values", &error))
}

/// The network with its loss, for one batch size.
pub(super) fn forward(
    context: &Context<'_>,
    batch: &LossBatch<'_>,
    binding: Binding,
) -> Result<ModelProto> {
    let mut model = context.graphs.plain().clone();
    if binding == Binding::Inputs {
        model = in_graph::as_inputs(model, context.graphs.fed().iter());
    }
    let data = &context.setup.datasets[batch.dataset()];
    let batch = batch.rows();
    let fixed = |name: &str, dtype: i32, sample: &[usize]| {
        let dtype = DataType::try_from(dtype).unwrap_or(DataType::Undefined);
        let shape: Vec<usize> = std::iter::once(batch)
            .chain(sample.iter().copied())
            .collect();
        described(name, dtype, &shape)
    };
    let mut editor = GraphEditor::open(model);
    let inputs = editor.take_inputs().into_iter().map(|input| {
        let mut specs = context.setup.signature.inputs.iter();
        let mut features = context.features().iter();
        if let Some(k) = specs.position(|spec| spec.name == input.name()) {
            fixed(input.name(), onnx_type(data.dtype(k)), data.sample_shape(k))
        } else if let Some(feature) = features.find(|feature| feature.name == input.name()) {
            fixed(input.name(), onnx_type(feature.dtype), &feature.shape)
        } else {
            input
        }
    });
    let inputs: Vec<ValueInfoProto> = inputs.collect();
    editor.add_inputs(inputs);
    let model = gradient::prepared(editor.finish())?;
    Ok(loss::append(
        model,
        &context.setup.signature.output_name,
        batch,
    ))
}
