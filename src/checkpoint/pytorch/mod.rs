//! Reads PyTorch's files (`.pt`, `.pth`, `.bin`, `.ckpt`, `.tar`) without executing anything.
//!
//! They are pickles: programs that build objects, which Python executes. Here a restricted
//! [`unpickler`] follows the program, knows tensors, containers, numbers and texts, and keeps
//! everything else as a name. A crate that reads `.pt` files exists (candle's), but it knows neither
//! the format before PyTorch 1.6 nor views with strides nor whole modules, and stops at the first
//! object that it does not know, such as the hyperparameters in a Lightning checkpoint.
//!
//! Tensors are slices of the mapped file; only views that are not contiguous are copied. What a file
//! makes us allocate is bounded by its size.

mod archive;
mod dictionaries;
mod heap;
mod legacy;
mod module;
mod outcome;
mod reader;
mod rebuild;
mod unpickler;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bytes::Bytes;

use self::archive::Archive;
use self::dictionaries::{Choice, Dictionary, Search, choose};
use self::heap::{Heap, Value};
use self::legacy::Legacy;
use self::outcome::Outcome;
use self::view::Storage;
use super::tensor::{Dtype, Tensor};
use crate::base::human;
use crate::error::{Error, Result};

/// What even the smallest file may make us allocate, in bytes.
const LEAST_BUDGET: usize = 64 << 20;

/// How much larger than a file its compressed parts may be; weights shrink by little.
const EXPANSION: usize = 4;

/// The size that even the smallest file counts as for its compressed parts, in bytes.
const LEAST_INFLATED: usize = 4 << 20;

/// The weights in a file.
#[derive(Debug)]
pub struct Weights {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The keys that lead to their dictionary, joined by dots; `None` for the file's own.
    pub dictionary: Option<String>,
    /// What else the file holds and is passed over.
    pub notes: Vec<String>,
}

/// Where the elements of the tensors are.
enum Store {
    Archive(Box<Archive>),
    Legacy(Legacy),
    /// A pickle without storages.
    None,
}

impl Store {
    fn storage(&mut self, storage: &Storage, budget: &mut usize) -> Outcome<Bytes> {
        match self {
            Self::Archive(archive) => archive.storage(storage, budget),
            Self::Legacy(legacy) => legacy.storage(storage),
            Self::None => Err("lacks the elements of its tensors".to_string()),
        }
    }
}

/// Whether a file begins as PyTorch's files do: as a zip archive or a pickle.
pub fn is_pytorch(bytes: &[u8]) -> bool {
    let is_pickle = bytes.len() > 1 && bytes[0] == 0x80 && (2..=5).contains(&bytes[1]);
    bytes.starts_with(b"PK") || is_pickle
}

/// Reads the weights in `bytes`, the content of `path`. `key` names the dictionary to take if the
/// file holds several.
///
/// # Errors
/// When the file is damaged, holds no weights, or holds several dictionaries and none was named.
pub fn read(path: &Path, bytes: &Bytes, key: Option<&str>) -> Result<Weights> {
    let budget = bytes.len().max(LEAST_BUDGET);
    let mut heap = Heap::new(budget);
    let mut inflating = bytes.len().max(LEAST_INFLATED).saturating_mul(EXPANSION);
    let fault = |problem: String| Error::input(path, problem);
    let (root, mut store) = open(bytes, &mut heap, &mut inflating).map_err(fault)?;
    let search = Search::of(&mut heap, root).map_err(fault)?;
    let (taken, left) = choose(search, root, key).map_err(|why| told(path, key, why))?;
    let tensors = tensors(&taken, &heap, &mut store, budget, &mut inflating).map_err(fault)?;
    let notes = notes(&taken, &left, key.is_some());
    Ok(Weights {
        tensors,
        dictionary: Some(taken.key).filter(|key| !key.is_empty()),
        notes,
    })
}

/// Follows the pickle of a file. Returns what was saved, and where the elements are.
fn open(bytes: &Bytes, heap: &mut Heap, inflating: &mut usize) -> Outcome<(Value, Store)> {
    if bytes.starts_with(b"PK") {
        let mut archive = Archive::open(bytes, inflating)?;
        let pickle = archive.pickle(inflating)?;
        let (root, _) = unpickler::unpickle(&pickle, 0, heap)?;
        return Ok((root, Store::Archive(Box::new(archive))));
    }
    if legacy::is_legacy(bytes) {
        let (root, legacy) = legacy::read(bytes, heap)?;
        return Ok((root, Store::Legacy(legacy)));
    }
    let (root, _) = unpickler::unpickle(bytes, 0, heap)?;
    Ok((root, Store::None))
}

/// The tensors of a dictionary. One that has two names is copied once.
fn tensors(
    taken: &Dictionary,
    heap: &Heap,
    store: &mut Store,
    mut copying: usize,
    inflating: &mut usize,
) -> Outcome<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    let mut known: HashMap<u32, Tensor> = HashMap::new();
    for (name, value) in &taken.tensors {
        let (Some(view), Value::Object(index)) = (heap.tensor(*value), *value) else {
            continue;
        };
        let within = |problem: String| format!("tensor `{name}` {problem}");
        let tensor = match (known.get(&index), &view.storage) {
            (Some(tensor), _) => tensor.clone(),
            (None, Some(storage)) => {
                let bytes = store.storage(storage, inflating).map_err(within)?;
                view.tensor(&bytes, &mut copying).map_err(within)?
            }
            (None, None) if view.element.dtype == Dtype::Other(rebuild::PICKLED) => {
                return Err(
                    "was written by pickle.dump; load it in Python and save it with torch.save"
                        .to_string(),
                );
            }
            (None, None) => Tensor {
                dtype: view.element.dtype,
                shape: view.shape.clone(),
                bytes: Bytes::new(),
            },
        };
        known.insert(index, tensor.clone());
        tensors.insert(name.clone(), tensor);
    }
    Ok(tensors)
}

/// Says what was taken, unless the user chose it, and what a file holds beside.
fn notes(taken: &Dictionary, left: &[String], is_chosen: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !left.is_empty() && !is_chosen {
        let key = if taken.key.is_empty() {
            "."
        } else {
            &taken.key
        };
        notes.push(format!(
            "the tensors of `{key}` are taken; passed over: {} (choose with --weights)",
            left.join("; ")
        ));
    }
    if !taken.others.is_empty() {
        let quoted: Vec<String> = taken.others.iter().map(|it| format!("`{it}`")).collect();
        let others = human::list(&quoted, 1);
        notes.push(format!("{others} hold no tensors and are passed over"));
    }
    notes
}

fn told(path: &Path, key: Option<&str>, why: Choice) -> Error {
    match why {
        Choice::Nothing(held) => Error::input(path, held)
            .help("save the model's weights: torch.save(model.state_dict(), \"weights.pt\")"),
        Choice::Unknown(there) => Error::input(
            path,
            format!("has no dictionary `{}`; it has", key.unwrap_or_default()),
        )
        .lines(there)
        .help("name one of them with --weights, or leave the flag out if there is only one"),
        Choice::Several(there, example) => {
            let example = if example.is_empty() { "KEY" } else { &example };
            Error::input(path, "holds several dictionaries of tensors:")
                .lines(there)
                .help(format!(
                    "choose one with --weights, e.g. --weights {example}"
                ))
        }
    }
}
