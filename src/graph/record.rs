//! Reads what PyTorch's exporters record about an initializer: whether it is an unchanged parameter
//! of the module, or was computed from parameters and stored in their place.
//!
//! The current exporter (`dynamo=True`) writes its record into the graph's metadata. The signature
//! of the exported program lists every parameter and buffer; unchanged initializers carry their
//! kind; folded ones name the values they were computed from, and each value is called after its
//! operator (`exp`, `mul_3`; `val_7` within one operator). The TorchScript exporter leaves only a
//! name: `onnx::Conv_35` is something that it computed.

use std::collections::BTreeSet;

use super::network::{Network, Place, Use, by_initializer};
use crate::checkpoint::onnx::proto::NodeProto;

/// Metadata key of the exported program's signature: the parameters and buffers of the module.
const SIGNATURE: &str = "pkg.torch.export.ExportedProgram.graph_signature";

/// Metadata key of a node's call in the exported program, with its arguments.
pub(super) const CALL: &str = "pkg.torch.onnx.fx_node";

/// Metadata key of a model whose folded tensors were unfolded here; the value lists what they were
/// folded from, one a line.
pub const UNFOLDED: &str = "landscape.unfolded";

/// Metadata key of the modules that a node was exported from.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// Metadata key of the rewriting rules that made a node.
const RULES: &str = "pkg.onnxscript.rewriter.rule_name";

/// Operators that change only layout or type, as the exporter names them.
pub const LAYOUT: [&str; 32] = [
    "_reshape_alias",
    "_to_copy",
    "_unsafe_view",
    "alias",
    "clone",
    "contiguous",
    "convert_element_type",
    "detach",
    "embedding",
    "expand",
    "expand_as",
    "flatten",
    "lift_fresh_copy",
    "movedim",
    "numpy_t",
    "mT",
    "permute",
    "reshape",
    "select",
    "slice",
    "slice_copy",
    "squeeze",
    "swapaxes",
    "t",
    "to",
    "transpose",
    "type_as",
    "unflatten",
    "unsafe_view",
    "unsqueeze",
    "view",
    "view_as",
];

/// Those of [`LAYOUT`] that may turn a tensor.
pub const TURNING: [&str; 7] = [
    "mT",
    "movedim",
    "numpy_t",
    "permute",
    "swapaxes",
    "t",
    "transpose",
];

/// Those of [`LAYOUT`] that may change the type.
pub const CASTING: [&str; 4] = ["_to_copy", "convert_element_type", "to", "type_as"];

/// Operators that look rows of a table up.
pub const LOOKUP: [&str; 4] = ["embedding", "gather", "index", "index_select"];

/// Operators that make constants: indices, shapes, scales.
pub(super) const CONSTANT: [&str; 13] = [
    "_tensor_constant",
    "arange",
    "full",
    "full_like",
    "lifted_tensor",
    "new_full",
    "new_ones",
    "new_zeros",
    "ones",
    "scalar_tensor",
    "scalar_tensor_default",
    "sym_size_int",
    "zeros",
];

/// Calls whose product reads a weight that is only transposed on the way.
const PRODUCTS: [&str; 5] = [
    "aten.addmm.",
    "aten.bmm.",
    "aten.linear.",
    "aten.matmul.",
    "aten.mm.",
];

/// Operators that are affine in the parameters: the average of their results is their result for
/// the average.
const LINEAR: [&str; 16] = [
    "add",
    "cat",
    "constant_pad_nd",
    "flip",
    "index",
    "index_select",
    "mean",
    "neg",
    "roll",
    "rsub",
    "scalar_tensor",
    "split",
    "split_with_sizes",
    "stack",
    "sub",
    "sum",
];

/// What happened to a parameter on its way into an initializer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// The exporter marks it as an unchanged parameter or buffer.
    Untouched,
    /// Its elements were transposed, reshaped or cast.
    Layout,
    /// Its values were replaced by computed ones.
    Computed(Computed),
    /// Nothing is recorded.
    Unknown,
}

/// How an initializer was computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    /// The evidence: operators, rewriting rules, or the name that the exporter gave.
    pub by: Vec<String>,
    /// Whether averaging commutes with the computation.
    pub linear: bool,
    /// Whether the exporter's name is the only evidence.
    pub by_name: bool,
}

/// An exporter's record of a network.
pub struct Record<'n> {
    network: &'n Network<'n>,
    /// Names of the module's parameters and persistent buffers; empty if none are recorded.
    signature: BTreeSet<&'n str>,
    /// The lines of the exported program's signature.
    lines: Vec<&'n str>,
    /// Names of the module's buffers that no state dict has (`persistent=False`).
    transient: BTreeSet<&'n str>,
    /// Whether unchanged initializers are marked.
    marks: bool,
}

impl<'n> Record<'n> {
    /// Reads the record of a network.
    pub fn of(network: &'n Network<'_>) -> Self {
        let entries = network.model.graph().metadata_props.iter();
        let signature = entries.filter(|entry| entry.key() == SIGNATURE);
        let lines: Vec<&str> = signature.flat_map(|entry| entry.value().lines()).collect();
        let mut uses = network.uses.iter();
        let signature: BTreeSet<&str> = lines.iter().copied().filter_map(target).collect();
        // Marks that unfolding wrote tell nothing about an exporter without a record.
        let is_own = !signature.is_empty() || !is_unfolded(network);
        Self {
            network,
            signature,
            transient: lines.iter().copied().filter_map(transient).collect(),
            lines,
            marks: is_own && uses.any(|it| network.input_kind(&it.initializer).is_some()),
        }
    }

    /// Names of the module's parameters and persistent buffers, each with the name that calls have for
    /// it.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = (&'n str, &'n str)> {
        let lines = self.lines.iter().copied();
        lines.filter_map(|line| Some((target(line)?, line.split(':').next()?.trim())))
    }

    /// The values of the exported program that are its results.
    pub(super) fn results(&self) -> impl Iterator<Item = &'n str> {
        let results = self
            .lines
            .iter()
            .filter(|line| line.ends_with(": USER_OUTPUT"));
        results.filter_map(|line| Some(line.split(':').next()?.trim()))
    }

    /// The network.
    pub(super) fn network(&self) -> &'n Network<'n> {
        self.network
    }

    /// Whether the exporter left every parameter unchanged: there is a record, and it mentions
    /// neither folding nor rules that fuse or drop tensors (`optimize=False`).
    pub fn is_unoptimized(&self) -> bool {
        let rewritten = |rules: &str| rules.contains("Fuse") || rules.contains("RemoveOptional");
        let untouched = |place: Place| self.rules(place.node).is_none_or(|it| !rewritten(it));
        // Other tools may fold and keep the graph's metadata; then the marks are missing.
        let marked = |it: &Use| {
            let own = self.signature.contains(it.initializer.as_str());
            !own || self.network.input_kind(&it.initializer).is_some()
        };
        // What was folded and could not be told by its values left no mark.
        self.marks
            && !is_unfolded(self.network)
            && !self.has_dropped()
            && !self.signature.is_empty()
            && self.network.uses.iter().all(marked)
            && self.network.uses.iter().all(|it| {
                self.network.folded_from(&it.initializer).is_none() && untouched(it.place)
            })
            && !self.has_merged()
    }

    /// Whether an initializer is read where the recorded call has another parameter: the exporter
    /// merged two that were equal.
    fn has_merged(&self) -> bool {
        let readers = by_initializer(&self.network.uses);
        let shared = readers.iter().filter(|(_, uses)| uses.len() > 1);
        let mut places = shared.flat_map(|(name, uses)| uses.iter().map(move |&it| (*name, it)));
        places.any(|(name, index)| {
            let place = self.network.uses[index].place;
            self.signature.contains(name) && self.calls(place, name) == Some(false)
        })
    }

    /// Names of the module's parameters and persistent buffers, if they are recorded.
    pub fn signature(&self) -> impl Iterator<Item = &'n str> {
        self.signature.iter().copied()
    }

    /// Whether a name is that of a parameter or persistent buffer of the module.
    pub(super) fn is_listed(&self, name: &str) -> bool {
        self.signature.contains(name)
    }

    /// Whether an initializer is a buffer of the module that no state dict has.
    pub fn is_transient(&self, initializer: &str) -> bool {
        self.transient.contains(initializer)
    }

    /// Whether calls mean a tensor that no state dict has by a name.
    pub(super) fn is_transient_placeholder(&self, name: &str) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| {
            let own = line.split(':').next().is_some_and(|it| it.trim() == name);
            own && transient(line).is_some()
        })
    }

    /// Whether unchanged initializers are marked as such.
    pub fn is_marked(&self) -> bool {
        self.marks
    }

    /// Whether an initializer is a constant of the network: a single element (a scale, an epsilon),
    /// or folded only from other constants and from buffers that no state dict has.
    pub fn is_constant(&self, initializer: &str) -> bool {
        let tensor = self.network.tensor(initializer);
        let of_constants = |sources: Vec<String>| {
            // Names made up by the exporter; a parameter keeps its dotted or plain name.
            let is_made = |name: &String| {
                let number = name.strip_prefix("val_");
                number.is_some_and(|number| number.bytes().all(|it| it.is_ascii_digit()))
                    || self.is_transient(name)
            };
            !sources.is_empty() && sources.iter().all(is_made)
        };
        tensor.is_some_and(|tensor| tensor.len() == 1)
            || self
                .network
                .folded_from(initializer)
                .is_some_and(of_constants)
    }

    /// What happened to the parameter behind an initializer that is read at `place`.
    pub fn history(&self, initializer: &str, place: Place) -> History {
        if self.network.input_kind(initializer).is_some() {
            return History::Untouched;
        }
        if let Some(sources) = self.network.folded_from(initializer) {
            return self.folded(initializer, &sources, place);
        }
        if let Some(operator) = initializer.strip_prefix("onnx::") {
            return self.torchscript(operator, initializer, place);
        }
        // A rule that rewrites an initializer keeps the parameter's name but loses the mark.
        let own = self.signature.contains(initializer) || initializer.ends_with("_bias");
        match self.rules(place.node) {
            Some(rules) if own && self.marks => {
                computed(rules.split(", ").map(String::from).collect(), false)
            }
            _ => History::Unknown,
        }
    }

    fn folded(&self, initializer: &str, sources: &[String], place: Place) -> History {
        let is_parameter = |name: &str| name.contains('.') || self.signature.contains(name);
        let parameters = sources.iter().filter(|name| is_parameter(name)).count();
        let values = sources.iter().filter(|name| !is_parameter(name));
        let mut operators: Vec<&str> = values.map(|name| operator(name)).collect();
        // Within a linear layer the weight is only transposed.
        let within = operator(initializer) == "val";
        if within && !(self.multiplies(place) && self.is_plain_product(place)) {
            return computed(vec![initializer.to_string()], false);
        }
        operators.push(operator(initializer));
        // What only turns the parameter may be in a product beside it: W·Wᵀ.
        let has_layout = operators.iter().any(|it| LAYOUT.contains(it));
        operators.retain(|it| *it != "val" && !LAYOUT.contains(it) && !CONSTANT.contains(it));
        operators.sort_unstable();
        if operators.is_empty() && parameters <= 1 {
            return History::Layout;
        }
        // A product of the parameter with one constant.
        let is_one = operators == ["mul"] && parameters == 1;
        let scaled = is_one && sources.len() == 2 && !has_layout;
        operators.dedup();
        let linear = operators.iter().all(|it| LINEAR.contains(it)) || scaled;
        computed(operators.into_iter().map(String::from).collect(), linear)
    }

    /// The TorchScript exporter calls a transposed weight `MatMul_213`; a name with any other
    /// operator means a computed value.
    fn torchscript(&self, operator: &str, initializer: &str, place: Place) -> History {
        let weight = operator.starts_with("MatMul") || operator.starts_with("Gemm");
        if weight && self.multiplies(place) {
            return History::Unknown;
        }
        History::Computed(Computed {
            by: vec![initializer.to_string()],
            linear: false,
            by_name: true,
        })
    }

    /// Whether the recorded call of a node, if there is one, is that of a product and nothing else, as
    /// attention is.
    fn is_plain_product(&self, place: Place) -> bool {
        let mut metadata = self.network.nodes()[place.node].metadata_props.iter();
        let call = metadata.find(|entry| entry.key() == CALL);
        let is_product = |call: &str| PRODUCTS.iter().any(|it| call.contains(it));
        call.is_none_or(|call| is_product(call.value()))
    }

    fn multiplies(&self, place: Place) -> bool {
        ["MatMul", "Gemm"].contains(&self.network.nodes()[place.node].op_type())
    }

    /// The rules that made a node, if recorded.
    pub(super) fn rules(&self, node: usize) -> Option<&str> {
        let mut metadata = self.network.nodes()[node].metadata_props.iter();
        let rules = metadata.find(|entry| entry.key() == RULES);
        rules.map(|entry| entry.value())
    }
}

/// Whether folded tensors of a network were unfolded here.
pub(super) fn is_unfolded(network: &Network<'_>) -> bool {
    let mut metadata = network.model.proto.metadata_props.iter();
    metadata.any(|entry| entry.key() == UNFOLDED)
}

/// Removes the rewriting rules from a node's record: what they did is undone.
pub fn forget_rules(node: &mut NodeProto) {
    node.metadata_props.retain(|entry| entry.key() != RULES);
}

/// Records the module that a node belongs to, in its name, and removes the exporter's record.
pub fn set_module(node: &mut NodeProto, module: &str) {
    let stale = [SCOPES, CALL];
    node.metadata_props
        .retain(|entry| !stale.contains(&entry.key()));
    node.name = Some(format!("/{module}/{}", node.op_type()));
}

fn computed(by: Vec<String>, linear: bool) -> History {
    History::Computed(Computed {
        by,
        linear,
        by_name: false,
    })
}

/// `mul_3` → `mul`: values are named after their operator, with a number.
pub(super) fn operator(value: &str) -> &str {
    match value.rsplit_once('_') {
        Some((name, number)) if number.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => value.trim_end_matches(|it: char| it.is_ascii_digit()),
    }
}

/// Extracts the target of a line of the signature (`p_c_weight: PARAMETER target='c.weight'`), if a
/// state dict contains it.
fn target(line: &str) -> Option<&str> {
    named(line).filter(|_| !line.ends_with(TRANSIENT))
}

/// Extracts the target of a line of the signature, if no state dict contains it: a buffer that is
/// not persistent, or a tensor that is a plain attribute of a module.
fn transient(line: &str) -> Option<&str> {
    let is_attribute = line.contains(": CONSTANT_TENSOR ");
    let buffer = || named(line).filter(|_| line.ends_with(TRANSIENT));
    attribute(line).filter(|_| is_attribute).or_else(buffer)
}

/// Ends the line of a buffer that no state dict has.
const TRANSIENT: &str = "persistent=False";

/// The parameter or buffer that a line of the signature is about.
fn named(line: &str) -> Option<&str> {
    let is_state = line.contains(": PARAMETER ") || line.contains(": BUFFER ");
    attribute(line).filter(|_| is_state)
}

/// The module's attribute that a line of the signature is about.
fn attribute(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("target='")?;
    rest.split('\'').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::Model;
    use std::path::Path;

    #[test]
    fn lines_of_a_signature() {
        assert_eq!(target("p_p: PARAMETER target='a.p'"), Some("a.p"));
        let buffer = "b_m: BUFFER target='bn.mean' persistent=True";
        assert_eq!(target(buffer), Some("bn.mean"));
        let rope = "b_r: BUFFER target='rope' persistent=False";
        assert_eq!((target(rope), transient(rope)), (None, Some("rope")));
        assert_eq!(transient(buffer), None);
        let mask = "c_m: CONSTANT_TENSOR target='a.m'";
        assert_eq!((target(mask), transient(mask)), (None, Some("a.m")));
        assert_eq!(target("x: USER_INPUT"), None);
    }

    #[test]
    fn values_are_called_after_operators() {
        for (value, name) in [("mul_12", "mul"), ("t", "t"), ("val_3", "val")] {
            assert_eq!(operator(value), name);
        }
        assert_eq!(operator("lifted_tensor_0"), "lifted_tensor");
        assert_eq!(operator("_tensor_constant0"), "_tensor_constant");
    }

    /// The history of each initializer of an oracle graph, at its first use. Values of `Constant`
    /// nodes have none.
    fn histories(graph: &str) -> Vec<(String, History)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
        let model = Model::read(&root.join(graph)).unwrap();
        let network = Network::of(&model);
        let record = Record::of(&network);
        let uses = network.uses.iter();
        let uses = uses.filter(|it| !model.lifted.contains(&it.initializer));
        uses.map(|it| {
            let history = record.history(&it.initializer, it.place);
            (it.initializer.clone(), history)
        })
        .collect()
    }

    #[test]
    fn what_is_left_alone_or_transposed_is_told_from_folded_batch_norm() {
        for graph in ["vit/zs_noopt.onnx", "bn/zs_noopt.onnx"] {
            for (name, history) in histories(graph) {
                assert_eq!(history, History::Untouched, "{name}");
            }
        }
        for (name, history) in histories("vit/zs_opt.onnx") {
            let expected = match name.strip_prefix("val_") {
                // 1/√2 of GELU and similar constants of one element.
                Some("35" | "85") => History::Unknown,
                Some(_) => History::Layout,
                None => History::Untouched,
            };
            assert_eq!(history, expected, "{name}");
        }
        for (name, history) in histories("bn/zs_opt.onnx") {
            let is_computed = matches!(history, History::Computed(_));
            assert_eq!(is_computed, !name.starts_with("fc."), "{name} {history:?}");
        }
        for (name, history) in histories("bn/zs_ts.onnx") {
            let is_computed = matches!(history, History::Computed(_));
            assert_eq!(is_computed, name.starts_with("onnx::Conv"), "{name}");
        }
    }
}
