//! The names of a checkpoint's tensors, compared with the graph's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::known::{Known, plain};
use super::matches::{Match, MatchRule};
use super::options::Options;
use super::origin::Origin;
use super::prefix::{self, Renaming};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::error::Result;
use crate::graph::matrix;
use crate::graph::network::{Use, by_initializer};
use crate::space::stored_tensor::StoredTensor;

/// The two sides of a match: θ0 and a checkpoint.
pub struct Names<'a> {
    /// θ0's side.
    pub origin: &'a Origin<'a>,
    /// The checkpoint's tensors, by the names that the graph would use: `(stored name, tensor)`.
    pub tensors: BTreeMap<String, (&'a str, &'a Tensor)>,
    /// Tensors outside the prefix whose names belong to other tensors once the prefix is gone.
    pub outside: Vec<(&'a str, &'a Tensor)>,
    /// The origin's weights, by the names that the graph would use.
    pub weights: Option<BTreeMap<String, &'a Tensor>>,
    /// How the checkpoint's names became the graph's.
    pub renaming: Renaming,
    /// Number of places that read each initializer.
    readers: BTreeMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// Prepares a checkpoint's names. The checkpoint and the origin's weights may have a prefix
    /// each, and the graph another.
    ///
    /// # Errors
    /// When two prefixes fit equally well.
    pub fn new(
        origin: &'a Origin<'a>,
        checkpoint: &Checkpoint,
        tensors: &'a BTreeMap<String, Tensor>,
        options: &Options,
    ) -> Result<Self> {
        let readers = by_initializer(&origin.network.uses)
            .into_iter()
            .map(|(name, uses)| (name, uses.len()))
            .collect();
        let known = Known::of(origin);
        let own = Renamed::of(&checkpoint.path, &known, tensors, options)?;
        let weights = origin.weights.zip(origin.weights_path);
        let weights = weights.map(|(weights, path)| Renamed::of(path, &known, weights, options));
        let weights = weights.transpose()?.map(|renamed| {
            let tensors = renamed.tensors.into_iter();
            tensors.map(|(name, (_, tensor))| (name, tensor)).collect()
        });
        Ok(Self {
            origin,
            tensors: own.tensors,
            outside: own.outside,
            weights,
            renaming: own.renaming,
            readers,
        })
    }

    /// Shape of the graph's tensor at a use.
    pub fn shape(&self, r#use: &Use) -> &[usize] {
        self.origin
            .network
            .tensor(&r#use.initializer)
            .map_or(&[], |tensor| &tensor.shape)
    }

    /// The tensor called `name` as a match for a use, if its shape fits.
    pub fn fit(
        &self,
        r#use: &Use,
        name: &str,
        method: MatchRule,
        may_be: Orientation,
    ) -> Option<Match> {
        let (stored_name, tensor) = self.tensors.get(name)?;
        if !tensor.dtype.is_float() {
            return None;
        }
        let shape = self.shape(r#use);
        // A number was saved as a list of one before PyTorch 0.4, which still loads it.
        let is_number = shape.is_empty() && tensor.shape == [1];
        let same = tensor.shape == shape || is_number;
        let turned = shape.len() == 2 && tensor.shape == [shape[1], shape[0]];
        let transposed = match may_be {
            Orientation::Kept if same => false,
            Orientation::Linear if turned && self.reads_columns(r#use) => true,
            Orientation::Linear if same => false,
            _ => return None,
        };
        Some(Match {
            source: StoredTensor {
                name: (*stored_name).to_string(),
                tensor: Tensor {
                    shape: match is_number {
                        true => Vec::new(),
                        false => tensor.shape.clone(),
                    },
                    ..(*tensor).clone()
                },
                transposed,
            },
            method,
        })
    }

    /// Whether the graph has a tensor by this name.
    pub fn is_shown(&self, name: &str) -> bool {
        let mut uses = self.origin.network.uses.iter();
        self.readers.contains_key(name) || uses.any(|it| it.alias == name)
    }

    /// Whether several places read an initializer.
    pub fn is_shared(&self, initializer: &str) -> bool {
        let readers = self.readers.get(initializer);
        readers.is_some_and(|&readers| readers > 1)
    }

    /// The origin's weights, by the names that the checkpoint has for them.
    pub fn weights_by_stored_name(&self) -> Option<BTreeMap<&'a str, &'a Tensor>> {
        let weights = self.weights.as_ref()?;
        let stored = weights.iter().filter_map(|(name, tensor)| {
            let (stored, _) = self.tensors.get(name)?;
            Some((*stored, *tensor))
        });
        Some(stored.collect())
    }

    /// Whether the reading node takes its matrix as [in, out], which PyTorch's Linear holds as [out, in].
    fn reads_columns(&self, r#use: &Use) -> bool {
        let node = &self.origin.network.nodes()[r#use.place.node];
        r#use.place.slot == 1 && matrix::read_by(node, 1) == Some(true)
    }
}

/// Whether a stored matrix may be the transpose of the graph's.
#[derive(Clone, Copy)]
pub enum Orientation {
    /// The tensor keeps its name, so it keeps its orientation.
    Kept,
    /// The tensor was renamed: a Linear's weight that feeds a MatMul was transposed.
    Linear,
}

/// The module that owns a tensor: `fc` of `fc.weight`.
pub fn module(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(module, _)| module)
}

/// The tensors of a file by the graph's names.
struct Renamed<'a> {
    renaming: Renaming,
    tensors: BTreeMap<String, (&'a str, &'a Tensor)>,
    outside: Vec<(&'a str, &'a Tensor)>,
}

impl<'a> Renamed<'a> {
    fn of(
        path: &Path,
        known: &Known,
        stored: &'a BTreeMap<String, Tensor>,
        options: &Options,
    ) -> Result<Self> {
        let renaming = prefix::find(path, known, stored, options)?;
        let mut tensors = BTreeMap::new();
        let mut others = Vec::new();
        // Each file may be wrapped in its own way, so the prefix is that of the plain names.
        let renamed = |name: &str| {
            let plain = plain(name);
            let full = renaming.of(name).map(|it| known.spelling(&it));
            full.or_else(|| renaming.of(&plain).map(|it| known.spelling(&it)))
        };
        for (name, tensor) in stored {
            // What is left out never stands in the way of others.
            match renamed(name).filter(|it| !options.ignores(name) && !tensors.contains_key(it)) {
                Some(renamed) => {
                    tensors.insert(renamed, (name.as_str(), tensor));
                }
                None => others.push((name.as_str(), tensor)),
            }
        }
        // What lies outside the prefix may have the graph's names as it is.
        let mut outside = Vec::new();
        for (name, tensor) in others {
            let own = renamed(name).filter(|_| options.ignores(name));
            let own = own.unwrap_or_else(|| known.spelling(name));
            match tensors.entry(own) {
                Entry::Vacant(place) => {
                    place.insert((name, tensor));
                }
                Entry::Occupied(_) => outside.push((name, tensor)),
            }
        }
        Ok(Self {
            renaming,
            tensors,
            outside,
        })
    }
}
