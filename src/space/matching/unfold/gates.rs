//! Weights of LSTM and GRU nodes: PyTorch and ONNX put the gates in different orders.

use super::context::{Context, Target};
use super::layouts::squeezed;
use crate::checkpoint::onnx::proto::NodeProto;
use crate::graph::unfold::Expression;

/// PyTorch's gates in ONNX's order: i, f, g, o as i, o, f, c; r, z, n as z, r, h.
fn gates(operator: &str) -> Option<&'static [usize]> {
    match operator {
        "LSTM" => Some(&[0, 3, 1, 2]),
        "GRU" => Some(&[1, 0, 2]),
        "RNN" => Some(&[0]),
        _ => None,
    }
}

/// The expression of the weight in an input slot of a recurrent node.
pub fn of_node(
    context: &Context<'_>,
    node: &NodeProto,
    slot: usize,
    target: &Target,
) -> Option<Expression> {
    let gates = gates(node.op_type())?;
    let kinds: &[&str] = match slot {
        1 => &["weight_ih"],
        2 => &["weight_hh"],
        3 => &["bias_ih", "bias_hh"],
        _ => return None,
    };
    let directions = *target.array.shape.first()?;
    // `lstm.weight_ih_l0` → `lstm.`, `_l0`.
    let layers = context.names.tensors.keys().filter_map(|name| {
        let (module, rest) = name.rsplit_once("weight_ih_l")?;
        (!rest.contains("reverse")).then(|| (module.to_string(), format!("_l{rest}")))
    });
    let of_layer = |(module, layer): (String, String)| {
        let ends = ["", "_reverse"].into_iter().take(directions);
        let parts = ends.map(|end| {
            let kinds = kinds
                .iter()
                .map(|kind| reordered(context, &format!("{module}{kind}{layer}{end}"), gates));
            let mut kinds = kinds.collect::<Option<Vec<_>>>()?;
            Some(if kinds.len() == 1 {
                kinds.remove(0)
            } else {
                Expression::Concat(kinds, 0)
            })
        });
        let parts = parts.collect::<Option<Vec<_>>>()?;
        let mut shape = target.array.shape.clone();
        shape[0] = 1;
        let parts: Vec<Expression> = parts.into_iter().map(|it| it.reshape(&shape)).collect();
        let whole = match parts.as_slice() {
            [one] => one.clone(),
            _ => Expression::Concat(parts, 0),
        };
        target.fits(context, &whole).then_some(whole)
    };
    let mut found = layers.filter_map(of_layer);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// A tensor with its gates in ONNX's order.
fn reordered(context: &Context<'_>, name: &str, gates: &[usize]) -> Option<Expression> {
    let rows = *context.shape(name)?.first()?;
    if rows % gates.len() != 0 || squeezed(&[rows]).is_empty() {
        return None;
    }
    let size = rows / gates.len();
    let gate = |gate: &usize| Expression::raw(name).slice(0, gate * size, (gate + 1) * size);
    Some(match gates {
        [_] => Expression::raw(name),
        _ => Expression::Concat(gates.iter().map(gate).collect(), 0),
    })
}
