//! Saves a mix as an `.onnx` file: the origin's network with the mixed tensors embedded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::recipe::{PREFIX, RecipeMetadata};
use crate::base::atomic;
use crate::checkpoint::onnx::MESSAGE;
use crate::checkpoint::onnx::proto::{ModelProto, StringStringEntryProto, TensorProto};
use crate::error::{Error, Result};
use crate::graph::apart;
use crate::graph::editor::GraphEditor;
use crate::graph::names::{defined, reads};
use crate::graph::network::{Network, Place};
use crate::graph::skeleton::{self, WeightSlot};
use crate::space::matching::Aligned;
use crate::space::mix::{Mix, mixed_bytes};

/// Embeds the tensors of a mix in the origin's network.
pub fn embedded(
    network: &Network<'_>,
    aligned: &Aligned,
    mix: &Mix,
    recipe: &RecipeMetadata,
) -> ModelProto {
    let mut fed = empty(network, aligned);
    for (index, tensor) in fed.iter_mut().enumerate() {
        let elements = mixed_bytes(&aligned.pool, index, mix, tensor.dtype, false);
        tensor.elements = Some(elements);
    }
    sign(skeleton::model(network, &fed), recipe)
}

/// Whether a mix's large tensors are written to a file of their own: the origin's are, or they
/// would exceed a protobuf message.
pub fn has_data_file(network: &Network<'_>, aligned: &Aligned) -> bool {
    !network.model.external.is_empty() || size(network, &empty(network, aligned)) > MESSAGE
}

/// The file of an ONNX file's large tensors.
pub fn data_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".data");
    name.into()
}

/// Writes a mix as an ONNX file and a file of its large tensors, one tensor at a time.
///
/// Both files are complete before the first one gets its name. A model that had the name is removed
/// before that, so that no model is ever beside the tensors of another.
///
/// # Errors
/// When a file cannot be written.
pub fn write_two_files(
    path: &Path,
    network: &Network<'_>,
    aligned: &Aligned,
    mix: &Mix,
    recipe: &RecipeMetadata,
) -> Result<()> {
    let fed = empty(network, aligned);
    let names = fed.iter().enumerate();
    let slots: HashMap<&str, usize> = names.map(|(k, fed)| (fed.name.as_str(), k)).collect();
    let model = sign(skeleton::model(network, &fed), recipe);
    let (model, constants) = apart::kept_apart(model, apart::INSIDE);
    let mut constants: HashMap<String, Bytes> = constants
        .into_iter()
        .map(|(name, tensor)| (name, tensor.bytes))
        .collect();
    let mut elements = |name: &str| match slots.get(name) {
        Some(&index) => Some(mixed_bytes(
            &aligned.pool,
            index,
            mix,
            fed[index].dtype,
            false,
        )),
        None => constants.remove(name),
    };
    let data_path = data_file(path);
    let location = data_path.file_name().unwrap_or_default();
    let location = location.to_string_lossy().into_owned();
    let mut editor = GraphEditor::open(model);
    let mut written = Vec::new();
    let data = atomic::prepare(&data_path, |out| {
        let mut offset = 0;
        for proto in editor.take_initializers() {
            written.push(match elements(proto.name()) {
                Some(bytes) if bytes.len() > apart::INSIDE => {
                    offset += pad(out, offset)?;
                    out.write_all(&bytes)?;
                    let proto = apart::located(&proto, &location, offset, bytes.len());
                    offset += bytes.len() as u64;
                    proto
                }
                Some(bytes) => TensorProto {
                    raw_data: Some(bytes),
                    external_data: Vec::new(),
                    data_location: None,
                    ..proto
                },
                None => proto,
            });
        }
        Ok(())
    })?;
    editor.add_initializers(written);
    let model = editor.finish().encode_to_vec();
    let model = atomic::prepare(path, |out| out.write_all(&model))?;
    remove(path)?;
    data.publish()?;
    model.publish()
}

/// Removes a file, if it exists.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path, &error)),
        _ => Ok(()),
    }
}

/// Writes zeros up to the next multiple of a page, from where other programs can map a tensor.
/// Returns their number.
fn pad(out: &mut dyn Write, offset: u64) -> io::Result<u64> {
    const PAGE: u64 = 4096;
    let more = offset.next_multiple_of(PAGE) - offset;
    out.write_all(&[0; PAGE as usize][..more as usize])?;
    Ok(more)
}

/// Size of the network with its tensors, in bytes.
fn size(network: &Network<'_>, fed: &[WeightSlot]) -> usize {
    let elements =
        |fed: &WeightSlot| fed.shape.iter().product::<usize>() * fed.dtype.size().unwrap_or(0);
    let elements: usize = fed.iter().map(elements).sum();
    elements + skeleton::model(network, fed).encoded_len()
}

/// The slots of the parameters, without elements.
fn empty(network: &Network<'_>, aligned: &Aligned) -> Vec<WeightSlot> {
    fed(network, aligned, &names(network, aligned))
}

/// The slots of the parameters with these names. Nodes that read only an initializer's shape get it
/// from the mixed tensor as well: otherwise θ0's would stay in the file, under its own name.
fn fed(network: &Network<'_>, aligned: &Aligned, names: &[String]) -> Vec<WeightSlot> {
    let mut shapes: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
    for (index, node) in network.nodes().iter().enumerate() {
        let place = Place {
            node: index,
            slot: 0,
        };
        if node.op_type() == "Shape"
            && let Some(input) = node.input.first()
            && let Some(initializer) = network.initializer_behind(input)
        {
            shapes.entry(initializer).or_default().push(place);
        }
    }
    let fed = names.iter().enumerate().map(|(index, name)| {
        let mut fed = aligned.weight_slot(index, name, None);
        let initializer = aligned.pool.members[0].sources[index].name.as_str();
        fed.places
            .extend(shapes.remove(initializer).unwrap_or_default());
        fed
    });
    fed.collect()
}

/// Names for the parameters' initializers. The origin's names are kept, and with them the
/// exporter's metadata. If several parameters were one initializer, each gets the name of the
/// Identity through which it was read, or that of a checkpoint's tensor if that has the graph's
/// orientation: otherwise it would be taken for the transpose.
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
        let candidates = alias(network, aligned, index).into_iter().chain(candidates);
        let mut candidates = whole.into_iter().chain(candidates).chain(numbered);
        names[index] = candidates
            .find(|name| taken.insert(name.clone()))
            .unwrap_or_default();
    }
    names
}

/// The name of the Identity through which a parameter is read.
fn alias(network: &Network<'_>, aligned: &Aligned, index: usize) -> Option<String> {
    let first = aligned.places[index].first()?;
    let r#use = network.uses.iter().find(|r#use| r#use.place == *first)?;
    (r#use.alias != r#use.initializer).then(|| r#use.alias.clone())
}

/// All names used in the graph, not counting the parameters.
fn bound_besides(network: &Network<'_>, aligned: &Aligned) -> HashSet<String> {
    // No exporter writes such names.
    let placeholders = (0..aligned.places.len()).map(|index| format!("\0{index}"));
    let fed = fed(network, aligned, &placeholders.collect::<Vec<_>>());
    let graph = skeleton::model(network, &fed).graph.unwrap_or_default();
    let names = reads(&graph).into_iter().chain(defined(&graph));
    names.map(String::from).collect()
}

/// Writes the recipe into the model's metadata and removes the origin's.
fn sign(model: ModelProto, recipe: &RecipeMetadata) -> ModelProto {
    let is_stale = |key: &str| key.starts_with(PREFIX) || recipe.contains_key(key);
    let entries = recipe.iter().map(|(key, value)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    });
    let mut editor = GraphEditor::open(model);
    editor.replace_metadata(is_stale, entries);
    editor.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::Model;
    use crate::space::matching::{self, Options};

    #[test]
    fn names_stay_and_what_was_merged_gets_one_of_its_own() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
        // One reads shapes of convolutions, the other merges and transposes.
        for (origin, other) in [
            ("bn/zs_noopt", "bn/ft1.safetensors"),
            ("vit/zs_ts", "vit/ft1.safetensors"),
        ] {
            let model = Model::read(&root.join(origin).with_extension("onnx")).unwrap();
            let network = Network::of(&model);
            let checkpoint = crate::checkpoint::Checkpoint::open(&root.join(other)).unwrap();
            let options = Options::default();
            let aligned = matching::pool(&network, "zs", &[checkpoint], None, &options).unwrap();
            let sources = aligned.pool.members[1].sources.iter();
            for (name, source) in names(&network, &aligned).iter().zip(sources) {
                assert!(*name == source.name || source.transposed, "{name}");
                assert!(!source.transposed || name.starts_with("onnx::MatMul_"));
            }
        }
    }
}
