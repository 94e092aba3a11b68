//! Tensors that are taken from one model for all mixes (`--fixed PATTERN=MODEL`), such as a head
//! that the models do not share.
//!
//! They replace the origin's tensors in its network, whatever their size, and count as constants
//! from then on: they are part of no mix, norm or angle.

use std::collections::{BTreeMap, BTreeSet};

use super::matches::{MatchRule, Matches};
use super::named::computation_between;
use super::names::Names;
use super::options::{Fixed, Options, fits};
use super::origin::Origin;
use super::{by_graph, rules};
use crate::checkpoint::onnx::Model;
use crate::checkpoint::onnx::proto::TensorProto;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::graph::editor::GraphEditor;
use crate::graph::network::{Network, Place, Use};
use crate::space::decode;
use crate::space::mix::source_bytes;
use crate::space::stored_tensor::StoredTensor;

/// The flag, for messages.
const FLAG: &str = "--fixed";

/// The tensors of other models that stand in the origin's network, by place: each with its model.
type Taken<'a> = BTreeMap<Place, (&'a Fixed, StoredTensor)>;

/// Puts the fixed tensors of other models into the origin's network; `None` if that changes nothing.
///
/// # Errors
/// When a model is unknown, has no tensor for a place, or its tensor cannot stand there.
pub fn fix(
    model: &Model,
    origin_name: &str,
    checkpoints: &[Checkpoint],
    origin_weights: Option<&Checkpoint>,
    options: &Options,
) -> Result<Option<Model>> {
    if options.fixed.is_empty() {
        return Ok(None);
    }
    let network = Network::of(model);
    let origin = Origin::new(&network, origin_weights)?;
    let mut taken = Taken::new();
    for fixed in &options.fixed {
        if fixed.is_of_origin(origin_name) {
            continue;
        }
        let mut donors = checkpoints.iter().filter(|it| it.name == fixed.model);
        let (Some(donor), None) = (donors.next(), donors.next()) else {
            return Err(unknown(fixed, checkpoints));
        };
        let found = find(&origin, donor, fixed, options)?;
        if found.is_empty() {
            return Err(unused(fixed, donor));
        }
        for (place, source) in found {
            if let Some((other, _)) = taken.insert(place, (fixed, source))
                && other.model != fixed.model
            {
                let (one, two) = (&other.pattern, &fixed.pattern);
                let problem = format!("`{one}` and `{two}` match one tensor and name two models");
                return Err(Error::flag(FLAG, problem));
            }
        }
    }
    let changes = |(place, (_, source)): (&Place, &(&Fixed, StoredTensor))| {
        let r#use = network.uses.iter().find(|it| it.place == *place);
        let tensor = r#use.and_then(|it| network.tensor(&it.initializer));
        tensor.is_none_or(|tensor| !decode::equal(tensor, source))
    };
    let changed = taken.iter().any(changes);
    changed.then(|| replaced(&network, &taken)).transpose()
}

fn unknown(fixed: &Fixed, checkpoints: &[Checkpoint]) -> Error {
    let count = checkpoints
        .iter()
        .filter(|it| it.name == fixed.model)
        .count();
    let names: BTreeSet<&str> = checkpoints.iter().map(|it| it.name.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let problem = if count > 1 {
        format!("`{}` is the name of {count} models", fixed.model)
    } else {
        format!("there is no model `{}`", fixed.model)
    };
    Error::flag(FLAG, problem).help(format!(
        "name one of the models ({}) or `origin`: {FLAG} '{}=MODEL'",
        names.join(", "),
        fixed.pattern
    ))
}

fn unused(fixed: &Fixed, donor: &Checkpoint) -> Error {
    let Fixed { pattern, .. } = fixed;
    let problem = format!(
        "`{pattern}` matches no tensor of {} that the network reads",
        donor.path.display()
    );
    Error::flag(FLAG, problem).help(
        "the graph may hold it under another name; torch.onnx.export(..., dynamo=True, \
         optimize=False) keeps every name",
    )
}

/// The donor's tensors for the places that a pattern names: by the graph's name or its own.
fn find(
    origin: &Origin<'_>,
    donor: &Checkpoint,
    fixed: &Fixed,
    options: &Options,
) -> Result<BTreeMap<Place, StoredTensor>> {
    let matches = match &donor.content {
        Content::Network(model) => by_graph(origin.network, model, options)?,
        Content::StateDict(tensors) => {
            // What is fixed is needed here, not left out.
            let options = Options {
                fixed: Vec::new(),
                ..options.clone()
            };
            let names = Names::new(origin, donor, tensors, &options)?;
            let mut matches = rules::find(&names);
            of_other_shape(&names, fixed, &mut matches);
            verify(&names, donor, fixed, &matches)?;
            matches
        }
    };
    let mut found = BTreeMap::new();
    for r#use in &origin.network.uses {
        let source = matches.get(&r#use.place).map(|found| &found.source);
        let is_named =
            fixed.names(r#use) || source.is_some_and(|it| fits(&it.name, &fixed.pattern));
        match source {
            Some(source) if is_named => {
                found.insert(r#use.place, source.clone());
            }
            None if is_named && !origin.record.is_constant(&r#use.initializer) => {
                return Err(Error::input(
                    &donor.path,
                    format!(
                        "has no tensor for `{}`, which {FLAG} takes from it",
                        r#use.alias
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Matches tensors of another shape by name.
fn of_other_shape(names: &Names<'_>, fixed: &Fixed, matches: &mut Matches) {
    let uses = names.origin.network.uses.iter();
    for r#use in uses.filter(|it| fixed.names(it)) {
        let by = |name: &str| names.tensors.get(name).copied();
        let found = by(&r#use.alias).or_else(|| by(&r#use.initializer));
        let rank = names.shape(r#use).len();
        let found = found.filter(|(_, it)| it.dtype.is_float() && it.shape.len() == rank);
        if let Some((name, tensor)) = found.filter(|_| !matches.contains_key(&r#use.place)) {
            let source = StoredTensor {
                name: name.to_string(),
                tensor: tensor.clone(),
                transposed: false,
            };
            let method = MatchRule::Name;
            matches.insert(r#use.place, super::Match { source, method });
        }
    }
}

/// Refuses what the exporter computed from the parameter: the donor's cannot stand there.
fn verify(names: &Names<'_>, donor: &Checkpoint, fixed: &Fixed, matches: &Matches) -> Result<()> {
    let origin = names.origin;
    let weights = names.weights_by_stored_name();
    for r#use in &origin.network.uses {
        let Some(found) = matches.get(&r#use.place) else {
            continue;
        };
        let source = &found.source;
        if !(fixed.names(r#use) || fits(&source.name, &fixed.pattern)) {
            continue;
        }
        let own = weights.as_ref().map(|it| it.get(source.name.as_str()));
        let holds = |own: Option<&&Tensor>| {
            let pair = own.zip(origin.network.tensor(&r#use.initializer));
            pair.is_some_and(|(own, graph)| origin.holds(graph, own, source.transposed))
        };
        let holds = own.map(holds);
        let equal = || holds == Some(true);
        let computed = computation_between(
            origin,
            &r#use.initializer,
            r#use.place,
            source.transposed,
            equal,
        );
        let why = match (computed, holds) {
            (Some(computed), _) => format!("the exporter computed it ({})", computed.by.join(", ")),
            (None, Some(false)) => "θ0's state dict does not hold the graph's values".to_string(),
            _ => continue,
        };
        return Err(Error::input(
            &donor.path,
            format!(
                "`{}` cannot stand for `{}`: {why}",
                source.name, r#use.initializer
            ),
        )
        .help(
            "export the origin again with torch.onnx.export(model.eval(), args, file, \
             dynamo=True, optimize=False)",
        ));
    }
    Ok(())
}

/// The origin's model with other tensors.
fn replaced(network: &Network<'_>, taken: &Taken<'_>) -> Result<Model> {
    let mut model = network.model.clone();
    let mut editor = GraphEditor::open(std::mem::take(&mut model.proto));
    let mut names = editor.fresh_names("landscape.fixed");
    let initializers: BTreeSet<&str> = network
        .uses
        .iter()
        .filter(|it| taken.contains_key(&it.place))
        .map(|it| it.initializer.as_str())
        .collect();
    let mut reshaped = false;
    for initializer in initializers {
        let Some(old) = network.tensor(initializer) else {
            continue;
        };
        let uses: Vec<&Use> = network
            .uses
            .iter()
            .filter(|it| it.initializer == initializer)
            .collect();
        let sources: Vec<Option<&StoredTensor>> = uses
            .iter()
            .map(|it| taken.get(&it.place).map(|(_, source)| source))
            .collect();
        let whole = sources.iter().all(|it| same(*it, sources[0]));
        for (r#use, source) in uses.iter().zip(&sources) {
            let Some(source) = source else { continue };
            let tensor = in_graph(source, old, network)?;
            let other = tensor.shape != old.shape;
            reshaped |= other;
            if other && !whole {
                return Err(shared(network, initializer));
            }
            let name = if whole {
                initializer.to_string()
            } else {
                names.next_name()
            };
            let header = editor.take_initializer(&name);
            editor.add_initializers([written(header, &name, &tensor, old)]);
            model.tensors.insert(name.clone(), tensor);
            if whole {
                break;
            }
            editor.redirect(r#use.place, &name);
        }
    }
    if reshaped {
        editor.forget_shapes();
    }
    model.proto = editor.finish();
    Ok(model)
}

/// Whether two uses take one tensor.
fn same(one: Option<&StoredTensor>, two: Option<&StoredTensor>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one.name == two.name && one.transposed == two.transposed,
        _ => false,
    }
}

fn shared(network: &Network<'_>, initializer: &str) -> Error {
    Error::input(
        &network.model.path,
        format!(
            "`{initializer}` is read at several places, and {FLAG} gives one of them a tensor of \
             another size"
        ),
    )
    .help("export the origin with optimize=False, which merges no tensors, or fix all of them")
}

/// A model's tensor in the graph's orientation and type.
fn in_graph(source: &StoredTensor, old: &Tensor, network: &Network<'_>) -> Result<Tensor> {
    let mut shape = source.tensor.shape.clone();
    if source.transposed {
        shape.reverse();
    }
    let tensor = Tensor {
        dtype: old.dtype,
        shape,
        bytes: source_bytes(source, old.dtype),
    };
    let values = decode::values(&StoredTensor::nameless(&tensor, false));
    if values.iter().all(|value| value.is_finite()) {
        return Ok(tensor);
    }
    Err(Error::flag(
        FLAG,
        format!(
            "`{}` has values that are NaN or infinite in the type of {} ({})",
            source.name,
            network.model.path.display(),
            old.dtype.name()
        ),
    ))
}

/// An initializer with a tensor's elements.
fn written(header: Option<TensorProto>, name: &str, tensor: &Tensor, old: &Tensor) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        dims: tensor.shape.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(crate::checkpoint::onnx::data_type(old.dtype)),
        raw_data: Some(tensor.bytes.clone()),
        metadata_props: header.map(|it| it.metadata_props).unwrap_or_default(),
        ..TensorProto::default()
    }
}
