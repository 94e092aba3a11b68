//! What was found: a checkpoint's tensor for a place of the graph.

use std::collections::BTreeMap;

use super::options::Options;
use crate::graph::network::{Place, Use};
use crate::space::stored_tensor::StoredTensor;

/// How a checkpoint's tensor was found for a place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The initializer, or an Identity behind it, has the tensor's name.
    Name,
    /// The exporter's metadata says what the initializer was folded from.
    FoldedFrom,
    /// The module that the using node was exported from owns the tensor.
    ModulePath,
    /// The bias added to the result belongs to the same module.
    Bias,
    /// The values equal those of the tensor in the origin's own named weights.
    Values,
    /// The two graphs have the same nodes and wiring.
    Graph,
}

impl Method {
    /// As tables show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::FoldedFrom => "folded from",
            Self::ModulePath => "module path",
            Self::Bias => "bias",
            Self::Values => "values",
            Self::Graph => "graph",
        }
    }
}

/// A checkpoint's tensor at a place.
#[derive(Debug, Clone)]
pub struct Match {
    /// Where the values are.
    pub source: StoredTensor,
    /// How it was found.
    pub method: Method,
}

/// One checkpoint's tensors by place.
pub type Matches = BTreeMap<Place, Match>;

/// What shows that a checkpoint's tensors stand where they belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// θ0's tensors under the same names hold the values of the graph.
    Value,
    /// Nothing but names: of tensors, of modules, or in the exporter's record.
    Name,
    /// Its graph is the origin's, node by node; the file itself can be run, too.
    Graph,
}

/// What was found in one checkpoint.
pub(super) struct Found {
    /// Its tensors by place.
    pub matches: Matches,
    /// Names of its tensors that were passed over (integers, bookkeeping).
    pub passed_over: Vec<String>,
    /// What the matches were verified by.
    pub verified: Verified,
}

/// Whether the user wants a place of the graph left as θ0 has it: by the name of the initializer,
/// or by that of a checkpoint's tensor there.
pub(super) fn is_left(r#use: &Use, matched: &[Matches], options: &Options) -> bool {
    let named = |name: &str| options.ignores(name);
    let stored = |matches: &Matches| {
        let found = matches.get(&r#use.place);
        found.is_some_and(|found| named(&found.source.name))
    };
    !options.ignore.is_empty()
        && (named(&r#use.initializer) || named(&r#use.alias) || matched.iter().any(stored))
}
