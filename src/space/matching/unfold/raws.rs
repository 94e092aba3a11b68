//! The tensors of the state dict that an unfolded graph computes from.

use std::collections::BTreeMap;

use super::context::Context;
use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::graph::network::{Network, Place};
use crate::graph::unfold::rewrite::{Plan, RawTensor};
use crate::space::matching::names::module;
use crate::space::mix::source_bytes;
use crate::space::stored_tensor::StoredTensor;

/// The element types in which a plan needs each tensor of the state dict: those of the tensors that
/// it explains. One, if the graph has one type.
pub fn types<'p>(network: &Network<'_>, plan: &'p Plan) -> BTreeMap<&'p str, Vec<Dtype>> {
    let at = |place: Place| {
        let r#use = network.uses.iter().find(|it| it.place == place)?;
        Some(network.tensor(&r#use.initializer)?.dtype)
    };
    let weight = |node: usize| at(Place { node, slot: 1 });
    let replaced = plan.replacements.iter().flat_map(|it| {
        let dtype = it.places.first().and_then(|place| at(*place));
        it.expression
            .names()
            .into_iter()
            .map(move |name| (name, dtype))
    });
    let norms = plan.norms.iter().flat_map(|norm| {
        let dtype = weight(norm.node);
        norm.names().into_iter().map(move |name| (name, dtype))
    });
    let biases = plan.biases.iter();
    let biases = biases.map(|(node, _, name)| (name.as_str(), weight(*node)));
    let mut types: BTreeMap<&str, Vec<Dtype>> = BTreeMap::new();
    for (name, dtype) in replaced.chain(norms).chain(biases) {
        let known = types.entry(name).or_default();
        known.extend(dtype.filter(|it| !known.contains(it)));
    }
    types
}

/// Says which tensors are needed in two types: no initializer has both.
pub fn of_two_types(types: &BTreeMap<&str, Vec<Dtype>>) -> Vec<String> {
    let two = types.iter().filter(|(_, all)| all.len() > 1);
    two.map(|(name, all)| {
        let all: Vec<&str> = all.iter().map(|it| it.name()).collect();
        format!(
            "`{name}` is used as {}; export the model in one type",
            all.join(" and as ")
        )
    })
    .collect()
}

/// Whether something would be computed in 16 bits: it is rounded twice for each mix.
pub fn is_rounded(plan: &Plan, types: &BTreeMap<&str, Vec<Dtype>>) -> bool {
    let computed = plan.replacements.iter();
    let computed = computed.filter(|it| !it.expression.is_layout());
    let computed = computed.flat_map(|it| it.expression.names());
    let norms = plan.norms.iter().flat_map(|norm| norm.names());
    let is_half = |it: &Dtype| matches!(it, Dtype::F16 | Dtype::Bf16);
    let mut all = computed.chain(norms).filter_map(|name| types.get(name));
    all.any(|of| of.iter().any(is_half))
}

/// The state dict's tensors, each in its type.
pub fn of<'a>(context: &Context<'a>, types: &BTreeMap<&str, Vec<Dtype>>) -> Vec<RawTensor<'a>> {
    let tensors = &context.names.tensors;
    let raw = |(name, all): (&&str, &Vec<Dtype>)| {
        let (name, (_, tensor)) = tensors.get_key_value(*name)?;
        let dtype = *all.first()?;
        let bytes = match tensor.dtype == dtype {
            true => tensor.bytes.clone(),
            false => source_bytes(&StoredTensor::nameless(tensor, false), dtype),
        };
        Some(RawTensor {
            name,
            tensor: Tensor {
                dtype,
                shape: tensor.shape.clone(),
                bytes,
            },
            is_buffer: is_buffer(context, name),
        })
    };
    types.iter().filter_map(raw).collect()
}

/// Whether a tensor of the state dict is a buffer of its module: running statistics, and the
/// vectors of spectral norm.
fn is_buffer(context: &Context<'_>, name: &str) -> bool {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let sibling = |leaf: &str| {
        let own = module(name);
        let own = if own.is_empty() {
            leaf.to_string()
        } else {
            format!("{own}.{leaf}")
        };
        context.tensor(&own).is_some()
    };
    match leaf {
        "running_mean" | "running_var" | "_u" | "_v" => true,
        "weight_u" | "weight_v" => sibling("weight_orig"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tensor_in_two_types_is_told_with_the_cure() {
        let types = BTreeMap::from([("a", vec![Dtype::F32]), ("b", vec![Dtype::F16, Dtype::F32])]);
        assert_eq!(
            of_two_types(&types),
            ["`b` is used as f16 and as f32; export the model in one type"]
        );
    }
}
