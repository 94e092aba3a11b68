//! What speaks for an expression of a tensor, before values are looked at: names, modules, and the
//! exporter's record.

use super::computed;
use super::context::Context;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::Use;
use crate::graph::record::{Computed, History};
use crate::graph::unfold::{Expression, Function};

/// Operators of the exporter's record, besides functions, that the expressions here are made of.
const KNOWN: [&str; 33] = [
    "add",
    "batch_norm",
    "broadcast_in_dim",
    "cat",
    "div",
    "dot",
    "einsum",
    "getitem",
    "linalg_vector_norm",
    "matmul",
    "mean",
    "mul",
    "mv",
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "norm",
    "pow",
    "rsqrt",
    "rsub",
    "split",
    "split_with_sizes",
    "square",
    "stack",
    "std",
    "std_mean",
    "sub",
    "sum",
    "unbind",
    "unsafe_split",
    "var",
    "var_mean",
    "vdot",
];

/// Operators of which a normalized weight has at least one: its length or its spread is measured.
pub const MEASURES: [&str; 19] = [
    "batch_norm",
    "dot",
    "einsum",
    "getitem",
    "linalg_vector_norm",
    "matmul",
    "mv",
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "norm",
    "rsqrt",
    "sqrt",
    "std",
    "std_mean",
    "square",
    "var",
    "var_mean",
    "vdot",
];

/// Operators that tensors are put together with, some of them times a constant.
pub const JOINING: [&str; 9] = [
    "broadcast_in_dim",
    "cat",
    "getitem",
    "mul",
    "split",
    "split_with_sizes",
    "stack",
    "unbind",
    "unsafe_split",
];

/// Whether expressions are made of an operator of the record that is no function.
pub fn is_known(operator: &str) -> bool {
    KNOWN.contains(&operator)
}

/// What speaks for an expression of a tensor, before values are looked at.
pub struct Evidence<'a> {
    /// Tensors that it is made of, by the record, the names or the module.
    pub names: Vec<&'a str>,
    /// Other tensors that nothing uses.
    pub others: Vec<&'a str>,
    /// The operators of the exporter's record.
    pub operators: Option<Vec<String>>,
    /// Tensors of the state dict that the record lists, of the tensor itself or of one it was merged
    /// with.
    recorded: Vec<&'a str>,
    /// Whether the record lists a tensor that no state dict has.
    has_transient: bool,
}

impl<'a> Evidence<'a> {
    /// The functions among the recorded operators.
    pub fn functions(&self) -> Vec<Function> {
        let recorded = self.operators.iter().flatten();
        recorded.filter_map(|it| computed::function(it)).collect()
    }

    pub fn has(&self, operators: &[&str]) -> bool {
        let recorded = self.operators.as_ref();
        recorded.is_none_or(|all| all.iter().any(|it| operators.contains(&it.as_str())))
    }

    /// Whether the record, if there is one, has these operators alone.
    pub fn only_has(&self, operators: &[&str]) -> bool {
        let mut recorded = self.operators.iter().flatten();
        recorded.all(|it| operators.contains(&it.as_str()))
    }

    /// The tensors that hold numbers, not indices.
    pub fn floats<'c>(&'c self, context: &'c Context<'_>) -> impl Iterator<Item = &'c Tensor> {
        let tensors = self.names.iter().filter_map(|it| context.tensor(it));
        tensors.filter(|it| it.dtype.is_float())
    }

    /// Whether an expression leaves out a tensor of numbers that the record has: one that was 0 or 1 at
    /// θ0, perhaps.
    pub fn has_more(&self, context: &Context<'_>, expression: &Expression) -> bool {
        let used = expression.names();
        let is_float = |name: &str| context.tensor(name).is_some_and(|it| it.dtype.is_float());
        let mut names = self.recorded.iter();
        // A merged tensor has the record of another, whose tensors are others.
        let is_own = used.iter().any(|name| self.recorded.contains(name));
        is_own && names.any(|name| is_float(name) && !used.contains(name))
    }

    /// Whether a tensor that no state dict has may be in a sum or a product with the parameters. It is in
    /// none of the expressions here but the look-ups, whose indices it may be.
    pub fn mixes_transient(&self) -> bool {
        let arithmetic = ["add", "div", "mul", "pow", "rsub", "sub"];
        let mut recorded = self.operators.iter().flatten();
        self.has_transient && recorded.any(|it| arithmetic.contains(&it.as_str()))
    }

    /// Whether the record has an operator that no expression here is made of.
    pub fn is_beyond(&self) -> bool {
        let known = |operator: &String| {
            KNOWN.contains(&operator.as_str()) || computed::function(operator).is_some()
        };
        self.operators.iter().flatten().any(|it| !known(it))
    }

    pub fn is_empty(&self) -> bool {
        self.operators.as_ref().is_none_or(Vec::is_empty)
    }

    /// What speaks for the tensor at a place.
    pub fn of(context: &Context<'a>, r#use: &Use) -> Self {
        let origin = context.names.origin;
        let network = origin.network;
        let folded = network.folded_from(&r#use.initializer);
        let tensors = &context.names.tensors;
        let recorded = folded.iter().flatten().filter_map(|name| {
            let (name, _) = tensors.get_key_value(name.as_str())?;
            Some(name.as_str())
        });
        let recorded: Vec<&str> = recorded.collect();
        let node = r#use.place.node;
        let module = context.module_of(node);
        let of_module = module.map_or_else(Vec::new, |path| context.of_module(&path));
        if recorded.is_empty() {
            let mut names: Vec<&str> = context.matched(r#use.place).into_iter().collect();
            let more = of_module.iter().filter(|name| !names.contains(*name));
            names.extend(more.copied().collect::<Vec<_>>());
            let unused = context.unused.iter().copied();
            return Self {
                others: unused.filter(|name| !names.contains(name)).collect(),
                names,
                operators: None,
                recorded,
                has_transient: false,
            };
        }
        let made = |it: &String| {
            it.strip_prefix("val_")
                .is_none_or(|it| it.parse::<u64>().is_err())
        };
        // Indices of embeddings.
        let counts = |it: &String| made(it) && !["zeros_like", "ones_like"].contains(&it.as_str());
        let operators = match origin.record.history(&r#use.initializer, r#use.place) {
            History::Computed(Computed { by, .. }) if by.iter().any(counts) => {
                let all = origin.record.operators(&r#use.initializer).into_iter();
                all.filter(|it| counts(it) && it != "embedding").collect()
            }
            _ => Vec::new(),
        };
        // Merged tensors have the record of the first of them.
        let shared = context.names.is_shared(&r#use.initializer) && !of_module.is_empty();
        Self {
            names: if shared { of_module } else { recorded.clone() },
            others: Vec::new(),
            operators: Some(operators),
            has_transient: origin.record.has_transient(&r#use.initializer),
            recorded,
        }
    }
}
