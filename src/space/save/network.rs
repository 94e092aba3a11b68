//! A mix as an `.onnx` file: the origin's network with the mixed tensors embedded.

use std::collections::{BTreeMap, HashSet};

use prost::Message;

use super::{PREFIX, Recipe};
use crate::checkpoint::onnx::proto::{GraphProto, ModelProto, StringStringEntryProto};
use crate::error::{Error, Result};
use crate::graph::network::{Network, subgraphs};
use crate::graph::skeleton::{self, Fed, reads};
use crate::space::matching::Aligned;
use crate::space::mix::{Mix, mixed_bytes};

/// What a protobuf message may take: its lengths are signed 32-bit numbers.
const LIMIT: usize = i32::MAX as usize;

/// The origin's network with the tensors of a mix inside, as a file would hold it.
///
/// # Errors
/// When it takes more than 2 GiB, which no ONNX file can hold without others beside it.
pub fn embedded(
    network: &Network<'_>,
    aligned: &Aligned,
    mix: &Mix,
    recipe: &Recipe,
) -> Result<Vec<u8>> {
    let mut fed = empty(network, aligned);
    refuse_large(network, size(network, &fed))?;
    for (index, tensor) in fed.iter_mut().enumerate() {
        let elements = mixed_bytes(&aligned.pool, index, mix, tensor.dtype, false);
        tensor.elements = Some(elements);
    }
    let mut model = skeleton::model(network, &fed);
    sign(&mut model, recipe);
    Ok(model.encode_to_vec())
}

/// Whether the network's mixes fit into an ONNX file.
///
/// # Errors
/// When they do not.
pub fn check_size(network: &Network<'_>, aligned: &Aligned) -> Result<()> {
    refuse_large(network, size(network, &empty(network, aligned)))
}

/// Bytes of the network with its tensors.
fn size(network: &Network<'_>, fed: &[Fed]) -> usize {
    let elements = |fed: &Fed| fed.shape.iter().product::<usize>() * fed.dtype.size().unwrap_or(0);
    let elements: usize = fed.iter().map(elements).sum();
    elements + skeleton::model(network, fed).encoded_len()
}

fn refuse_large(network: &Network<'_>, size: usize) -> Result<()> {
    if size <= LIMIT {
        return Ok(());
    }
    Err(Error::input(
        &network.model.path,
        format!(
            "with all its tensors inside, this network takes {:.1} GiB, and an ONNX file 2 at most",
            size as f64 / f64::from(1 << 30)
        ),
    ))
}

/// The parameters as they are to be put into the graph, still without elements.
fn empty(network: &Network<'_>, aligned: &Aligned) -> Vec<Fed> {
    let names = names(network, aligned);
    let fed = names.iter().enumerate();
    fed.map(|(index, name)| aligned.fed(index, name, None))
        .collect()
}

/// The names of the parameters' initializers. The origin's stay, and with them what its exporter
/// says of them. Of several parameters that were one initializer each gets the name of a
/// checkpoint's tensor, when that has the graph's orientation: the reverse would be taken for it.
fn names(network: &Network<'_>, aligned: &Aligned) -> Vec<String> {
    let members = &aligned.pool.members;
    let owned = |index: usize| members[0].sources[index].name.as_str();
    let count = aligned.pool.parameters.len();
    let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
    (0..count).for_each(|index| *parts.entry(owned(index)).or_default() += 1);
    let mut taken = bound_besides(network, aligned);
    let mut names = vec![String::new(); count];
    let (whole, split): (Vec<usize>, Vec<usize>) =
        (0..count).partition(|&index| parts[owned(index)] == 1);
    for index in whole.into_iter().chain(split) {
        let own = owned(index);
        let candidates = members[1..].iter().filter_map(|member| {
            let source = &member.sources[index];
            let is_free = source.name == own || network.tensor(&source.name).is_none();
            (is_free && !source.transposed).then(|| source.name.clone())
        });
        let whole = (parts[own] == 1).then(|| own.to_string());
        let numbered = (2..).map(|number| format!("{own}.{number}"));
        let mut candidates = whole.into_iter().chain(candidates).chain(numbered);
        names[index] = candidates
            .find(|name| taken.insert(name.clone()))
            .unwrap_or_default();
    }
    names
}

/// Every name that has a meaning in the graph without the parameters.
fn bound_besides(network: &Network<'_>, aligned: &Aligned) -> HashSet<String> {
    fn collect(graph: &GraphProto, names: &mut HashSet<String>) {
        names.extend(graph.initializer.iter().map(|it| it.name().to_string()));
        names.extend(graph.input.iter().map(|it| it.name().to_string()));
        for node in &graph.node {
            names.extend(node.output.iter().cloned());
            for attribute in &node.attribute {
                subgraphs(attribute).for_each(|graph| collect(graph, names));
            }
        }
    }
    // No exporter writes such names.
    let fed = (0..aligned.places.len()).map(|k| aligned.fed(k, &format!("\0{k}"), None));
    let fed: Vec<Fed> = fed.collect();
    let graph = skeleton::model(network, &fed).graph.unwrap_or_default();
    let mut names = reads(&graph);
    collect(&graph, &mut names);
    names
}

/// Writes the recipe into the model's metadata, in place of the recipe of the origin.
fn sign(model: &mut ModelProto, recipe: &Recipe) {
    let is_other = |entry: &StringStringEntryProto| {
        let key = entry.key.as_deref().unwrap_or_default();
        !key.starts_with(PREFIX) && !recipe.contains_key(key)
    };
    model.metadata_props.retain(is_other);
    let entries = recipe.iter().map(|(key, value)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    });
    model.metadata_props.extend(entries);
}
