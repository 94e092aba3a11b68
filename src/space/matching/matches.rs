//! The matches: a checkpoint's tensor for a place of the graph.

use std::collections::BTreeMap;

use super::options::Options;
use crate::graph::network::{Place, Use};
use crate::space::stored_tensor::StoredTensor;

/// How a checkpoint's tensor was found for a place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchRule {
    /// The initializer, or an Identity after it, has the tensor's name.
    Name,
    /// The exporter's metadata names the tensor from which the initializer was folded.
    FoldedFrom,
    /// The tensor belongs to the module that the reading node was exported from.
    ModulePath,
    /// The bias added to the result belongs to the same module.
    Bias,
    /// The values equal those of the tensor in the origin's named weights.
    Values,
    /// The exporter's record lists two names, of which the graph has the other: they are tied.
    Tied,
    /// The two graphs have the same nodes and wiring.
    Graph,
}

impl MatchRule {
    /// The method's name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::FoldedFrom => "folded from",
            Self::ModulePath => "module path",
            Self::Bias => "bias",
            Self::Values => "values",
            Self::Tied => "tied",
            Self::Graph => "graph",
        }
    }
}

/// A checkpoint's tensor at a place.
#[derive(Debug, Clone)]
pub struct Match {
    /// The tensor.
    pub source: StoredTensor,
    /// How it was found.
    pub method: MatchRule,
}

/// One checkpoint's tensors by place.
pub type Matches = BTreeMap<Place, Match>;

/// The evidence that a checkpoint's tensors were matched correctly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// θ0's tensors of the same names hold the values of the graph.
    Value,
    /// Only names: of tensors, of modules, or in the exporter's record.
    Name,
    /// Its graph is the origin's, node by node; the file itself can be run as well.
    Graph,
}

/// Whether the user wants a place of the graph to keep its tensor in all models: `--ignore` or
/// `--fixed` names the initializer, or a checkpoint's tensor there.
pub(super) fn is_left(r#use: &Use, matched: &[Matches], options: &Options) -> bool {
    let named = |name: &str| options.ignores(name);
    let stored = |matches: &Matches| {
        let found = matches.get(&r#use.place);
        found.is_some_and(|found| named(&found.source.name))
    };
    !options.keep_all()
        && (named(&r#use.initializer) || named(&r#use.alias) || matched.iter().any(stored))
}
