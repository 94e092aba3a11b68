//! Saves a mix as a `.safetensors` file, with one tensor at a time in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;

use super::SaveType;
use super::recipe::RecipeMetadata;
use crate::base::atomic;
use crate::base::dtype::Dtype;
use crate::checkpoint::safetensors::{Declared, FileLayout, header, read_layout};
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::space::matching::Aligned;
use crate::space::mix::{Mix, mixed_bytes, source_bytes};
use crate::space::pool::Pool;
use crate::space::stored_tensor::StoredTensor;

/// Metadata key for the framework of the tensors; `transformers` requires it.
const FORMAT: &str = "format";

/// The source of a written tensor's elements.
enum Elements {
    /// Copied from the template.
    Copied(Bytes),
    /// Mixed at the time of writing.
    Mixed(Held),
    /// θ0's, as in the evaluated model.
    Origin(StoredTensor),
}

/// A parameter and its form in a file.
#[derive(Clone, Copy)]
struct Held {
    parameter: usize,
    transposed: bool,
}

/// The planned content of a file.
struct PlannedFile {
    tensors: Vec<(Declared, Elements)>,
    metadata: BTreeMap<String, String>,
}

/// Writes the mix; see [`super::save`].
///
/// # Errors
/// When two parameters that differ have one name, or the file cannot be written.
pub fn write(
    path: &Path,
    mix: &Mix,
    aligned: &Aligned,
    (checkpoints, types): (&[Checkpoint], SaveType),
    recipe: &RecipeMetadata,
) -> Result<()> {
    let pool = &aligned.pool;
    let template = template(checkpoints, mix);
    let names = names(path, aligned, template, mix)?;
    let checkpoint = template.checked_sub(1).map(|index| &checkpoints[index]);
    let mut plan = match checkpoint.filter(|checkpoint| has_names(checkpoint)) {
        Some(checkpoint) => like(path, checkpoint, &names)?,
        None => {
            let mut plan = from_graph(pool, template, &names);
            plan.tensors.extend(left(aligned, template));
            wide_first(&mut plan.tensors);
            plan
        }
    };
    let origin = left_to_origin(path, aligned, template, checkpoints)?;
    for (declared, elements) in &mut plan.tensors {
        if let Some(source) = origin.get(declared.name.as_str()) {
            // θ0's tensor may have another shape (a head for other classes).
            declared.shape.clone_from(&source.tensor.shape);
            if source.transposed {
                declared.shape.reverse();
            }
            *elements = Elements::Origin(source.clone());
        }
    }
    retype(&mut plan.tensors, pool, types);
    plan.metadata.extend(recipe.clone());
    let declared = plan.tensors.iter().map(|(declared, _)| declared);
    let header = header(declared, &plan.metadata).map_err(|error| Error::runtime("", error))?;
    atomic::write(path, |out| {
        out.write_all(&header)?;
        for (declared, elements) in &plan.tensors {
            match elements {
                Elements::Copied(bytes) => out.write_all(bytes)?,
                Elements::Mixed(held) => out.write_all(&mixed(pool, mix, declared, *held))?,
                Elements::Origin(source) => {
                    out.write_all(&source_bytes(
                        source,
                        Dtype::from_safetensors(declared.dtype),
                    ))?;
                }
            }
        }
        Ok(())
    })
}

/// Gives the mixed tensors other element types.
fn retype(tensors: &mut [(Declared, Elements)], pool: &Pool, types: SaveType) {
    let mut changed = false;
    for (declared, elements) in &mut *tensors {
        let dtype = match (&*elements, types) {
            (Elements::Mixed(held), SaveType::Graph) => pool.parameters[held.parameter].dtype,
            (Elements::Mixed(_), SaveType::Of(dtype)) => dtype,
            _ => continue,
        };
        if let Some(dtype) = dtype.to_safetensors() {
            changed |= dtype != declared.dtype;
            declared.dtype = dtype;
        }
    }
    if changed {
        wide_first(tensors);
    }
}

/// Checks that a file like the checkpoints' can hold the evaluated model.
///
/// # Errors
/// When a tensor was left out of the checkpoints, differs between them, and θ0's is not known; or
/// when a checkpoint has a tensor of a type that is not written.
pub fn check_content(path: &Path, aligned: &Aligned, checkpoints: &[Checkpoint]) -> Result<()> {
    let mut named = checkpoints.iter().filter(|it| has_names(it));
    named.try_for_each(|it| layout_of(path, it).map(|_| ()))?;
    let templates = 1..=checkpoints.len();
    let mut all = templates.map(|it| left_to_origin(path, aligned, it, checkpoints).map(|_| ()));
    all.try_for_each(|checked| checked)
}

/// The tensors that --ignore left out of the template, by their names there, with θ0's values as in
/// the evaluated model. Tensors that the network has no place for are kept if all checkpoints agree
/// on them, or if the network is known not to use them.
fn left_to_origin<'a>(
    path: &Path,
    aligned: &'a Aligned,
    template: usize,
    checkpoints: &[Checkpoint],
) -> Result<BTreeMap<&'a str, StoredTensor>> {
    let Some(index) = template.checked_sub(1) else {
        return Ok(BTreeMap::new());
    };
    let left = &aligned.left_out[index];
    let replaced = left.replaced.iter();
    let mut origin: BTreeMap<&str, StoredTensor> = replaced
        .map(|(name, source)| (name.as_str(), source.clone()))
        .collect();
    for (name, tensor) in &left.homeless {
        match tensor {
            Some(tensor) if left.missed.contains(name) => {
                let source = StoredTensor {
                    name: name.clone(),
                    tensor: tensor.clone(),
                    transposed: false,
                };
                origin.insert(name, source);
            }
            None if left.missed.contains(name) && differs(name, checkpoints) => {
                return Err(Error::input(
                    path,
                    format!(
                        "cannot hold the model that is judged: `{name}` was left out of it, \
                         differs between the checkpoints, and θ0's is not known"
                    ),
                )
                .help(
                    "--origin-weights FILE.safetensors names θ0's state dict; an .onnx file holds \
                     what is judged as it is",
                ));
            }
            _ => {}
        }
    }
    Ok(origin)
}

/// Whether checkpoints differ in the tensor of a name.
fn differs(name: &str, checkpoints: &[Checkpoint]) -> bool {
    let tensors = checkpoints.iter().filter_map(|it| match &it.content {
        Content::StateDict(tensors) => tensors.get(name),
        Content::Network(_) => None,
    });
    let bytes: Vec<&Bytes> = tensors.map(|tensor| &tensor.bytes).collect();
    bytes.windows(2).any(|pair| pair[0] != pair[1])
}

fn mixed(pool: &Pool, mix: &Mix, declared: &Declared, held: Held) -> Bytes {
    let dtype = Dtype::from_safetensors(declared.dtype);
    mixed_bytes(pool, held.parameter, mix, dtype, held.transposed)
}

/// The member whose names are used, and whose file if it is `.safetensors`. For its names, even a
/// checkpoint with coefficient 0 is preferred to the origin, whose exporter may have merged tensors
/// that training made different.
fn template(checkpoints: &[Checkpoint], mix: &Mix) -> usize {
    let has_part = |index: &usize| mix.has_part(index + 1);
    let is_named = |index: &usize| has_names(&checkpoints[*index]);
    let mut all = 0..checkpoints.len();
    let found = all.clone().filter(is_named).find(has_part);
    let found = found
        .or_else(|| all.clone().find(is_named))
        .or_else(|| all.clone().find(has_part))
        .or_else(|| all.next());
    found.map_or(0, |index| index + 1)
}

/// Whether a checkpoint's tensors have the names given by its modules.
fn has_names(checkpoint: &Checkpoint) -> bool {
    matches!(checkpoint.content, Content::StateDict(_))
}

/// The names of the parameters in a member's file.
///
/// # Errors
/// When one tensor of the file stands for parameters that differ in the mix: they are tied in this
/// file but not in another.
fn names<'a>(
    path: &Path,
    aligned: &'a Aligned,
    member: usize,
    mix: &Mix,
) -> Result<BTreeMap<&'a str, Held>> {
    let mut names: BTreeMap<&str, Held> = BTreeMap::new();
    for parameter in 0..aligned.pool.parameters.len() {
        for source in sources(aligned, member, parameter) {
            let held = Held {
                parameter,
                transposed: source.transposed,
            };
            let known = *names.entry(&source.name).or_insert(held);
            if known.parameter != parameter && !is_same(&aligned.pool, mix, source, [known, held]) {
                let [one, other] = [known.parameter, parameter]
                    .map(|parameter| aligned.pool.members[0].sources[parameter].name.as_str());
                return Err(Error::input(
                    path,
                    format!(
                        "cannot hold this mix: {} has one tensor `{}` for `{one}` and `{other}` \
                         of the network, which differ in another model",
                        aligned.pool.members[member].path.display(),
                        source.name
                    ),
                )
                .help("an .onnx file holds both"));
            }
        }
    }
    let copies = member.checked_sub(1).map(|index| &aligned.copies[index]);
    for (copy, of) in copies.into_iter().flatten() {
        if let Some(&held) = names.get(of.as_str()) {
            names.insert(copy, held);
        }
    }
    Ok(names)
}

/// A member's tensors for a parameter, one per place.
fn sources(aligned: &Aligned, member: usize, parameter: usize) -> Vec<&StoredTensor> {
    match member.checked_sub(1) {
        None => vec![&aligned.pool.members[0].sources[parameter]],
        Some(checkpoint) => {
            let matches = &aligned.matches[checkpoint];
            let places = aligned.places[parameter].iter();
            let found = places.filter_map(|place| matches.get(place));
            found.map(|found| &found.source).collect()
        }
    }
}

/// Whether two parameters that share one tensor are equal in the mix as well.
fn is_same(pool: &Pool, mix: &Mix, source: &StoredTensor, [one, other]: [Held; 2]) -> bool {
    if pool.parameters[other.parameter].tied_to == Some(one.parameter) {
        return true;
    }
    let bytes = |held: Held| {
        let dtype = source.tensor.dtype;
        mixed_bytes(pool, held.parameter, mix, dtype, held.transposed)
    };
    bytes(one) == bytes(other)
}

/// Plans the template's file with the parameters mixed. Of its metadata only the format is kept:
/// the rest describes a single training run.
fn like(path: &Path, template: &Checkpoint, names: &BTreeMap<&str, Held>) -> Result<PlannedFile> {
    let mut layout = layout_of(path, template)?;
    let format = layout.metadata.remove(FORMAT);
    let tensors = layout.tensors.into_iter();
    let tensors = tensors.map(
        |(declared, bytes)| match names.get(declared.name.as_str()) {
            Some(&held) => (declared, Elements::Mixed(held)),
            None => (declared, Elements::Copied(bytes)),
        },
    );
    Ok(PlannedFile {
        tensors: tensors.collect(),
        metadata: metadata(format),
    })
}

/// The tensors of a checkpoint as a `.safetensors` file declares them, and the metadata that it has.
fn layout_of(path: &Path, template: &Checkpoint) -> Result<FileLayout> {
    if template.is_safetensors() {
        return read_layout(&template.path);
    }
    Ok(FileLayout {
        tensors: declared(path, template)?,
        metadata: BTreeMap::new(),
    })
}

/// The tensors of a checkpoint of another format, as a `.safetensors` file declares them.
///
/// # Errors
/// When a tensor has a type that is not written.
fn declared(path: &Path, template: &Checkpoint) -> Result<Vec<(Declared, Bytes)>> {
    let tensors = template.state_dict().into_iter().flatten();
    let declare = |(name, tensor): (&String, &Tensor)| {
        let Some(dtype) = tensor.dtype.to_safetensors() else {
            return Err(Error::input(
                path,
                format!(
                    "cannot hold `{name}` of {}: its elements are {}",
                    template.path.display(),
                    tensor.dtype.name()
                ),
            )
            .help("an .onnx file holds what is judged without it"));
        };
        let declared = Declared {
            name: name.clone(),
            dtype,
            shape: tensor.shape.clone(),
        };
        Ok((declared, tensor.bytes.clone()))
    };
    let mut tensors = tensors.map(declare).collect::<Result<Vec<_>>>()?;
    // Wide elements first, so that all are aligned to their width.
    tensors.sort_by_key(|(declared, _)| Reverse(declared.dtype.bitsize()));
    Ok(tensors)
}

/// Plans a file of the parameters, with the names of a member's graph.
fn from_graph(pool: &Pool, member: usize, names: &BTreeMap<&str, Held>) -> PlannedFile {
    let tensor = |(name, held): (&&str, &Held)| {
        let tensor = &pool.members[member].sources[held.parameter].tensor;
        let declared = Declared {
            name: (*name).to_string(),
            dtype: tensor.dtype.to_safetensors()?,
            shape: tensor.shape.clone(),
        };
        Some((declared, Elements::Mixed(*held)))
    };
    let tensors = names.iter().filter_map(tensor);
    PlannedFile {
        tensors: tensors.collect(),
        metadata: metadata(None),
    }
}

/// Sorts wide elements first, so that all are aligned to their width.
fn wide_first(tensors: &mut [(Declared, Elements)]) {
    tensors.sort_by_key(|(declared, _)| Reverse(declared.dtype.bitsize()));
}

/// The tensors that are the same in every mix though some checkpoint has others: ignored ones and
/// fixed ones, as the network holds them.
fn left(aligned: &Aligned, template: usize) -> Vec<(Declared, Elements)> {
    let Some(index) = template.checked_sub(1) else {
        return Vec::new();
    };
    let own = aligned.matches[index].values().map(|found| &found.source);
    let own: BTreeMap<&str, &StoredTensor> = own.map(|it| (it.name.as_str(), it)).collect();
    let names = aligned
        .left_out
        .iter()
        .flat_map(|left| left.replaced.keys());
    let names: BTreeSet<&String> = names.collect();
    let tensor = |name: &String| {
        let replaced = aligned.left_out[index].replaced.get(name);
        let source = replaced.or_else(|| own.get(name.as_str()).copied())?;
        let declared = Declared {
            name: name.clone(),
            dtype: source.tensor.dtype.to_safetensors()?,
            shape: source.tensor.shape.clone(),
        };
        Some((declared, Elements::Origin(source.clone())))
    };
    names.into_iter().filter_map(tensor).collect()
}

fn metadata(format: Option<String>) -> BTreeMap<String, String> {
    let format = format.unwrap_or_else(|| "pt".to_string());
    BTreeMap::from([(FORMAT.to_string(), format)])
}
