//! Reverse-mode differentiation: turns a graph that ends in a loss into one that also computes the
//! gradient. It uses only standard operators, so it runs wherever the network runs.
//!
//! The walk goes backwards from the loss, along the nodes between it and the values the gradient is
//! taken with respect to. Each operator has one rule (`rules`), which writes the nodes that turn
//! the gradient with respect to the node's outputs into that with respect to its inputs. Shapes are
//! those of one batch size ([`values`]), so the rules decide broadcasting, axes and pads while the
//! graph is written, not while it runs. The resulting graph can be differentiated again in the same
//! way, for products with the Hessian.
//!
//! Not supported are: operators of other domains than the standard one, functions of the model's
//! own, `If`, `Loop`, `Scan` and recurrent networks; quantized numbers; batch normalization and
//! dropout in training mode; `Einsum` with an ellipsis or a diagonal; `Resize` with antialias, a
//! region or a kept aspect ratio; `Attention` with past keys, softcap, windows or results besides
//! the first; scatters that multiply or take extremes; bounds of `Clip` and values of `Pad` that
//! move; and axes, pads and places of slices that are computed from the data.

mod facts;
mod kernel_window;
pub mod loss;
mod node;
mod rules;
pub mod tape;
pub mod values;
pub mod widen;

use std::collections::{HashMap, HashSet};

use self::facts::Facts;
use self::node::{Node, no_derivative};
use self::rules::Derivative;
pub use self::rules::operators;
use self::tape::Tape;
use self::values::{Value, Values};
use crate::checkpoint::onnx::proto::{DataType, GraphProto, ModelProto, NodeProto};
use crate::error::{Error, Result};
use crate::graph::editor::{GraphEditor, named};
use crate::graph::names::{captured, reads};

/// The first version of the standard operators with everything that gradients are written in
/// (`ScatterND` that adds).
const OPSET: i64 = 16;

/// The oldest version whose operators mean the same in inference, so that a graph may be read as
/// one of version 16.
const OLDEST: i64 = 13;

/// A graph that also computes the gradient.
#[derive(Debug, Clone)]
pub struct Differentiated {
    /// The graph.
    pub model: ModelProto,
    /// Types and shapes of its values, including new ones.
    pub values: Values,
    /// Names of the values that hold the gradient, in the order of `wanted`.
    pub gradients: Vec<String>,
}

/// Prepares a graph: raises the operator set to one that gradients can be written in, and lets max
/// pooling output the indices of its largest elements, which its gradient needs.
///
/// # Errors
/// When the operators are too old.
pub fn prepared(model: ModelProto) -> Result<ModelProto> {
    let mut editor = GraphEditor::open(model);
    let opset = editor.opset().unwrap_or(0);
    if opset < OLDEST {
        return Err(Error::no_derivative(
            "gradient",
            format!("the network uses version {opset} of the operators; {OLDEST} is the oldest"),
        )
        .help("export it with opset_version=18"));
    }
    editor.raise_opset(OPSET);
    for index in 0..editor.graph().node.len() {
        let node = &editor.graph().node[index];
        let is_pool = node.op_type() == "MaxPool" && !rules::pool::halves(&Node::alone(node));
        if let [output] = node.output.as_slice()
            && is_pool
        {
            let mut node = node.clone();
            node.output.push(format!("{output}.indices"));
            editor.replace_node(index, node);
        }
    }
    Ok(editor.finish())
}

/// Checks that the gradient of `loss` with respect to `wanted` can be written, before anything is
/// run.
///
/// # Errors
/// When an operator on the way has no rule; the message names the operator, node and domain of the
/// first.
pub fn check(model: &ModelProto, loss: &str, wanted: &[String]) -> Result<()> {
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let wanted_inputs = path(graph, loss, wanted);
    for (node, on_path) in graph.node.iter().zip(&wanted_inputs) {
        if on_path.is_some() && rules::derivative_of(node).is_none() {
            return Err(no_derivative(
                node,
                "the gradient of this operator is not known",
            ));
        }
    }
    Ok(())
}

/// Checks that the shapes of all values between `wanted` and `loss` are the same for every batch.
/// `values` were seen in the batch that the gradient is written for, each of `others` in another
/// batch.
///
/// # Errors
/// When the shape of a value depends on the data; the message names the first node that reads or
/// computes one.
pub fn check_shapes(
    model: &ModelProto,
    loss: &str,
    wanted: &[String],
    values: &HashMap<String, Value>,
    others: &[HashMap<String, Value>],
) -> Result<()> {
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let on_path = path(graph, loss, wanted);
    let nodes = graph.node.iter().zip(&on_path);
    for (node, _) in nodes.filter(|(_, wanted)| wanted.is_some()) {
        for name in node.input.iter().chain(&node.output) {
            let Some(value) = values.get(name) else {
                continue;
            };
            let seen = others.iter().filter_map(|other| other.get(name));
            let mut different = seen.filter(|other| other.shape != value.shape);
            if let Some(other) = different.next() {
                let (one, two) = (&value.shape, &other.shape);
                return Err(no_derivative(
                    node,
                    format!(
                        "the shape of `{name}` depends on the data ({one:?} or {two:?}); the \
                         gradient is not known then"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Whether the model computes with 16-bit floats.
pub fn is_half(model: &ModelProto) -> bool {
    let half = [DataType::Float16, DataType::Bfloat16].map(|dtype| dtype as i32);
    model.graph.as_ref().is_some_and(|graph| {
        let mut tensors = graph.initializer.iter();
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        let mut types = attributes
            .filter(|attribute| attribute.name() == "to")
            .filter_map(|attribute| attribute.i);
        tensors.any(|tensor| half.contains(&tensor.data_type()))
            || types.any(|r#type| half.iter().any(|&half| i64::from(half) == r#type))
    })
}

/// Adds the gradient of the scalar `loss` with respect to the values `wanted` (inputs, initializers
/// or computed values). If the loss does not depend on one of them, its gradient is zeros. Names of
/// new values begin with `prefix`.
///
/// # Errors
/// When an operator on the way has no rule, or none for the way it is used.
pub fn differentiate(
    model: ModelProto,
    values: Values,
    loss: &str,
    wanted: &[String],
    prefix: &str,
) -> Result<Differentiated> {
    check(&model, loss, wanted)?;
    let mut editor = GraphEditor::open(model);
    let opset = editor.opset().unwrap_or(0);
    let graph = editor.graph();
    let on_path = path(graph, loss, wanted);
    let mut tape = Tape::new(values, editor.fresh_names(prefix));
    let is_on_path: Vec<bool> = on_path.iter().map(Option::is_some).collect();
    tape.facts = Facts::of(graph, &is_on_path, wanted);
    let mut parts: HashMap<String, Vec<String>> = HashMap::new();
    let shape = tape.shape(loss)?;
    let one = tape.number(loss, 1.0)?;
    let one = tape.reshape(&one, &shape)?;
    parts.insert(loss.to_string(), vec![one]);
    for (proto, wanted) in graph.node.iter().zip(on_path).rev() {
        let Some(wanted) = wanted else { continue };
        let node = Node {
            proto,
            opset,
            wanted,
        };
        pass_back(&mut tape, &node, &mut parts)?;
    }
    let gradients = wanted.iter().map(|name| {
        let shape = tape.shape(name)?;
        match total(&mut tape, &mut parts, name)? {
            Some(gradient) => Ok(gradient),
            None => tape.zeros(name, &shape),
        }
    });
    let gradients = gradients.collect::<Result<Vec<String>>>()?;
    editor.append_nodes(std::mem::take(&mut tape.nodes));
    editor.add_initializers(std::mem::take(&mut tape.constants));
    Ok(Differentiated {
        model: editor.finish(),
        values: tape.into_values(),
        gradients,
    })
}

/// Turns the gradient of a node's outputs into contributions to that of its inputs.
fn pass_back(
    tape: &mut Tape,
    node: &Node<'_>,
    parts: &mut HashMap<String, Vec<String>>,
) -> Result<()> {
    let outputs = node.proto.output.iter();
    let given: Vec<Option<String>> = outputs
        .map(|output| total(tape, parts, output))
        .collect::<Result<_>>()?;
    if given.iter().all(Option::is_none) {
        return Ok(());
    }
    let Some(Derivative::Rule(rule)) = rules::derivative_of(node.proto) else {
        return Ok(());
    };
    for (slot, gradient) in rule(tape, node, &given)?.into_iter().enumerate() {
        if let Some(gradient) = gradient.filter(|_| node.wants(slot)) {
            let parts = parts.entry(node.input(slot).to_string()).or_default();
            parts.push(gradient);
        }
    }
    Ok(())
}

/// The model with these values as its outputs and without everything else: ONNX Runtime runs every
/// node, even if nobody reads its results.
pub fn giving(model: ModelProto, outputs: &[String]) -> ModelProto {
    let mut editor = GraphEditor::open(model);
    editor.set_outputs(outputs.iter().map(|name| named(name)));
    editor.prune(&HashSet::new());
    for index in 0..editor.graph().node.len() {
        let node = &editor.graph().node[index];
        // Computing the indices takes several times as long as the pool itself.
        if let ("MaxPool", [_, places]) = (node.op_type(), &node.output[..])
            && !reads(editor.graph()).contains(places.as_str())
        {
            let mut node = node.clone();
            node.output.truncate(1);
            editor.replace_node(index, node);
        }
    }
    editor.finish()
}

/// Sums the contributions of a value's users, and remembers the sum.
fn total(
    tape: &mut Tape,
    parts: &mut HashMap<String, Vec<String>>,
    value: &str,
) -> Result<Option<String>> {
    let Some(parts) = parts.get_mut(value) else {
        return Ok(None);
    };
    let mut sum = parts[0].clone();
    for part in &parts[1..] {
        sum = tape.add(&sum, part)?;
    }
    *parts = vec![sum.clone()];
    Ok(Some(sum))
}

/// `path[node]`: which inputs depend on `wanted`, if the node lies between them and the loss.
fn path(graph: &GraphProto, loss: &str, wanted: &[String]) -> Vec<Option<Vec<bool>>> {
    let mut moving: HashSet<&str> = wanted.iter().map(String::as_str).collect();
    let mut inputs: Vec<Option<Vec<bool>>> = Vec::new();
    for node in &graph.node {
        let depends = node.input.iter().map(|input| moving.contains(&**input));
        let depends: Vec<bool> = depends.collect();
        let depends_within = captured(node).iter().any(|name| moving.contains(name));
        let passes = (depends.contains(&true) || depends_within) && has_derivative(node);
        if passes {
            moving.extend(node.output.iter().map(String::as_str));
        }
        inputs.push(passes.then_some(depends));
    }
    let mut needed: HashSet<&str> = HashSet::from([loss]);
    for (node, inputs) in graph.node.iter().zip(&mut inputs).rev() {
        let is_needed = node.output.iter().any(|output| needed.contains(&**output));
        match inputs {
            Some(depends) if is_needed => {
                let sources = node.input.iter().zip(depends.iter());
                needed.extend(sources.filter(|(_, d)| **d).map(|(input, _)| &**input));
            }
            _ => *inputs = None,
        }
    }
    inputs
}

/// Whether a node's outputs have a derivative with respect to its inputs that is not zero
/// everywhere.
fn has_derivative(node: &NodeProto) -> bool {
    if node.op_type() == "Cast" {
        let mut attributes = node.attribute.iter();
        let to = attributes.find(|attribute| attribute.name() == "to");
        let to = to.and_then(|to| to.i).unwrap_or_default();
        let floats = [
            DataType::Float,
            DataType::Double,
            DataType::Float16,
            DataType::Bfloat16,
        ];
        return floats.iter().any(|&float| float as i64 == to);
    }
    !matches!(rules::derivative_of(node), Some(Derivative::Zero))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::OperatorSetIdProto;
    use crate::error::Cause;
    use crate::graph::build::node;

    fn model(opset: i64, operator: &str) -> ModelProto {
        ModelProto {
            opset_import: vec![OperatorSetIdProto {
                version: Some(opset),
                ..OperatorSetIdProto::default()
            }],
            graph: Some(GraphProto {
                node: vec![node(operator, &["w"], "loss", &[])],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    #[test]
    fn what_cannot_be_differentiated_is_told_from_other_bad_input() {
        let wanted = ["w".to_string()];
        assert!(check(&model(18, "Exp"), "loss", &wanted).is_ok());
        let unknown = check(&model(18, "Det"), "loss", &wanted).unwrap_err();
        let old = prepared(model(11, "Exp")).unwrap_err();
        for error in [unknown, old] {
            assert!(matches!(error.cause(), Cause::NoDerivative), "{error}");
        }
    }
}
