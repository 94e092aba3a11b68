//! Tensors that exporters drop or merge because of their values: biases of zero, constants that
//! equal a parameter.

use super::context::{Context, Target};
use crate::checkpoint::tensor::Tensor;
use crate::graph::editor::is_standard;
use crate::graph::network::{Place, Use};
use crate::graph::unfold::Expression;
use crate::graph::unfold::rewrite::Plan;
use crate::space::matching::named::reads_foreign_constant;
use crate::space::matching::names::module;
use crate::space::matching::proof::Telling;

/// Biases of zero that the exporter left out of convolutions and Gemms: node, slot, name. The node's
/// weight must be the tensor of the same module, and the bias used nowhere else.
pub fn zeros(context: &mut Context<'_>, plan: &Plan) -> Vec<(usize, usize, String)> {
    let nodes = context.names.origin.network.nodes();
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let bare = node.input.get(2).is_none_or(String::is_empty);
        let is_layer = ["Conv", "ConvTranspose", "Gemm"].contains(&node.op_type());
        if !bare || !is_layer || !is_standard(node.domain()) {
            continue;
        }
        let place = Place {
            node: index,
            slot: 1,
        };
        let explained = || {
            let mut found = plan.replacements.iter();
            let found = found.find(|it| it.places.contains(&place))?;
            // Whether a bias of zero was scaled with its weight cannot be told.
            let is_scaled =
                matches!(&found.expression, Expression::Scaled(inner, _) if inner.is_layout());
            let names = found.expression.names();
            names.first().copied().filter(|_| !is_scaled)
        };
        let is_open = context.open.contains(&place);
        let matched = context.matched(place).filter(|_| !is_open);
        let Some(weight) = matched.or_else(explained) else {
            continue;
        };
        // `conv.parametrizations.weight.original1` belongs to `conv`.
        let own = weight.split(".parametrizations.").next();
        let own = own.filter(|own| *own != weight);
        let name = match own.unwrap_or_else(|| module(weight)) {
            "" => "bias".to_string(),
            module => format!("{module}.bias"),
        };
        let zero = context
            .raw(&name)
            .is_some_and(|it| !it.is_empty() && it.data.iter().all(|x| *x == 0.0));
        if zero && context.unused.contains(name.as_str()) {
            context.take([name.as_str()]);
            found.push((index, 2, name));
        }
    }
    found
}

/// A constant of equal elements that was merged with a parameter: the place belongs to a module
/// without parameters, which is no parent of the parameter's.
pub fn foreign(context: &Context<'_>, r#use: &Use, tensor: &Tensor) -> Option<Expression> {
    let (names, network) = (context.names, context.names.origin.network);
    let found = context.matches.get(&r#use.place)?;
    if !reads_foreign_constant(names, r#use, found) {
        return None;
    }
    let called = names.origin.record.calls(r#use.place, &r#use.initializer);
    let path = network.module_path(r#use.place.node)?;
    let is_parent = r#use.initializer.starts_with(&format!("{path}."));
    let sure = !path.is_empty() && !is_parent && context.of_module(&path).is_empty();
    if called.is_none() && !sure {
        return None;
    }
    if !tensor.is_uniform() {
        return None;
    }
    let value = *Target::of(tensor).array.data.first()?;
    Some(Expression::Filled(tensor.shape.clone(), value))
}
