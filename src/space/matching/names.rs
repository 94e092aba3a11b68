//! The names of a checkpoint's tensors, compared with the graph's.

use std::collections::{BTreeMap, BTreeSet};

use super::matches::{Match, MatchRule};
use super::origin::Origin;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::{Network, Use, by_initializer};
use crate::space::stored_tensor::StoredTensor;

/// The two sides of a match: θ0 and a checkpoint.
pub struct Names<'a> {
    /// θ0's side.
    pub origin: &'a Origin<'a>,
    /// The checkpoint's tensors, by the names that the graph would use: `(stored name, tensor)`.
    pub tensors: BTreeMap<&'a str, (&'a str, &'a Tensor)>,
    /// The origin's weights, by the names that the graph would use.
    pub weights: Option<BTreeMap<&'a str, &'a Tensor>>,
    /// Number of places that read each initializer.
    readers: BTreeMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// Prepares a checkpoint's names: removes a prefix that all of them share and the graph's lack
    /// (`module.`, `_orig_mod.`, `model.`), or the reverse.
    pub fn new(origin: &'a Origin<'a>, tensors: &'a BTreeMap<String, Tensor>) -> Self {
        let network = origin.network;
        let readers = by_initializer(&network.uses)
            .into_iter()
            .map(|(name, uses)| (name, uses.len()))
            .collect();
        // Each file may have its own prefix.
        fn strip<'a>(name: &'a str, prefix: &str) -> &'a str {
            name.strip_prefix(prefix).unwrap_or(name)
        }
        let prefix = prefix_to_strip(network, tensors);
        Self {
            origin,
            tensors: tensors
                .iter()
                .map(|(name, tensor)| (strip(name, prefix), (name.as_str(), tensor)))
                .collect(),
            weights: origin.weights.map(|weights| {
                let prefix = prefix_to_strip(network, weights);
                let entries = weights.iter();
                entries
                    .map(|(name, tensor)| (strip(name, prefix), tensor))
                    .collect()
            }),
            readers,
        }
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
        let same = tensor.shape == shape;
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
                tensor: (*tensor).clone(),
                transposed,
            },
            method,
        })
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

    /// Whether the reading node takes its matrix as [in, out]: the right operand of a MatMul, or a
    /// Gemm without transB. PyTorch's Linear holds [out, in].
    fn reads_columns(&self, r#use: &Use) -> bool {
        let node = &self.origin.network.nodes()[r#use.place.node];
        match node.op_type() {
            "MatMul" => r#use.place.slot == 1,
            "Gemm" => {
                let transposed = |name: &str| {
                    let mut attributes = node.attribute.iter();
                    attributes.any(|attribute| attribute.name() == name && attribute.i() != 0)
                };
                r#use.place.slot == 1 && !transposed("transB")
            }
            _ => false,
        }
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

/// A common prefix of the checkpoint's names, if removing it makes more of them match the graph.
fn prefix_to_strip<'a>(network: &Network<'_>, tensors: &'a BTreeMap<String, Tensor>) -> &'a str {
    let known: BTreeSet<&str> = network
        .uses
        .iter()
        .flat_map(|r#use| [r#use.alias.as_str(), r#use.initializer.as_str()])
        .collect();
    let hits = |prefix: &str| {
        let names = tensors.keys();
        names
            .filter_map(|name| name.strip_prefix(prefix))
            .filter(|name| known.contains(name))
            .count()
    };
    let Some(first) = tensors.keys().next() else {
        return "";
    };
    let prefixes = first
        .match_indices('.')
        .map(|(at, _)| &first[..=at])
        .take_while(|prefix| tensors.keys().all(|name| name.starts_with(prefix)));
    let mut best = ("", hits(""));
    for prefix in prefixes {
        let count = hits(prefix);
        if count > best.1 {
            best = (prefix, count);
        }
    }
    best.0
}
