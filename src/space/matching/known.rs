//! The names that the graph has for its tensors, and the shapes that belong to them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::origin::Origin;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::{Place, Use};

/// Segments that wrappers of modules add to names anywhere: `torch.compile`, fully sharded training,
/// activation checkpointing.
const WRAPPERS: [&str; 3] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];

/// Last names of counters, of batch norm and of averaging tools, which no network reads when it is
/// evaluated.
pub const COUNTERS: [&str; 2] = ["num_batches_tracked", "n_averaged"];

/// The segment that data-parallel wrappers add. At the beginning it is a prefix like any other.
const PARALLEL: &str = "module";

/// The form of a tensor behind a name.
enum Form {
    /// The exporter keeps the shape with the name.
    Shape(Vec<usize>),
    /// The tensor was renamed, and its matrix may be transposed.
    Elements(usize),
    /// Only the name is recorded.
    Any,
}

impl Form {
    /// What a tensor must be to stand behind the name.
    fn needed(&self) -> Needed<'_> {
        match self {
            Self::Shape(shape) => Needed::Shape(shape),
            Self::Elements(elements) => Needed::Elements(*elements),
            Self::Any => Needed::Nothing,
        }
    }
}

/// The graph's names, without the segments of wrappers.
pub struct Known {
    /// The form behind each name, and the graph's own spelling; `None` if two names share one.
    names: BTreeMap<String, Option<(String, Form)>>,
    /// Number of the graph's tensors of floating-point numbers.
    pub tensors: usize,
}

impl Known {
    /// Collects the names of a graph: of initializers and their aliases, of what they were folded
    /// from, of the tensors that its modules would have, and of the exporter's record.
    pub fn of(origin: &Origin<'_>) -> Self {
        let network = origin.network;
        let floats = network.uses.iter().map(|it| it.initializer.as_str());
        let floats: BTreeSet<&str> = floats
            .filter(|name| network.tensor(name).is_some_and(|it| it.dtype.is_float()))
            .collect();
        let mut known = Self {
            names: BTreeMap::new(),
            tensors: floats.len(),
        };
        for r#use in &network.uses {
            let Some(tensor) = network.tensor(&r#use.initializer) else {
                continue;
            };
            for name in [&r#use.alias, &r#use.initializer] {
                known.insert(name, Form::Shape(tensor.shape.clone()));
            }
        }
        for r#use in &network.uses {
            let elements = network.tensor(&r#use.initializer).map_or(0, Tensor::len);
            if let Some([name]) = network.folded_from(&r#use.initializer).as_deref() {
                known.insert(name, Form::Elements(elements));
            }
            if let Some(name) = by_module(origin, r#use) {
                known.insert(&name, Form::Elements(elements));
            }
        }
        for name in origin.record.signature() {
            known.insert(name, Form::Any);
        }
        known
    }

    /// Adds a name. The first form of a name is the best known.
    fn insert(&mut self, name: &str, form: Form) {
        let entry = self.names.entry(plain(name).into_owned());
        let entry = entry.or_insert_with(|| Some((name.to_string(), form)));
        if entry.as_ref().is_some_and(|(other, _)| other != name) {
            *entry = None;
        }
    }

    /// The graph's spelling of a name: `name` itself if the graph has it in two spellings, and its
    /// plain form if the graph does not have it.
    pub fn spelling(&self, name: &str) -> String {
        let plain = plain(name);
        match self.names.get(plain.as_ref()) {
            Some(Some((spelling, _))) => spelling.clone(),
            Some(None) => name.to_string(),
            None => plain.into_owned(),
        }
    }

    /// Whether a tensor may stand behind a plain name.
    pub fn fits(&self, name: &str, tensor: &Tensor) -> bool {
        let entry = self.names.get(name).and_then(Option::as_ref);
        entry.is_some_and(|(_, form)| match form {
            Form::Shape(shape) => *shape == tensor.shape,
            Form::Elements(elements) => *elements == tensor.len(),
            Form::Any => true,
        })
    }

    /// The plain names by what they end with: `a.b.c` under `a.b.c`, `b.c` and `c`.
    pub fn by_ending(&self) -> Endings<'_> {
        let mut names: HashMap<(&str, Needed<'_>), Vec<&str>> = HashMap::new();
        for (name, entry) in &self.names {
            let Some((_, form)) = entry else { continue };
            for ending in endings_of(name) {
                names.entry((ending, form.needed())).or_default().push(name);
            }
        }
        Endings { names }
    }
}

/// What a form asks of a tensor.
#[derive(PartialEq, Eq, Hash)]
enum Needed<'k> {
    Shape(&'k [usize]),
    Elements(usize),
    Nothing,
}

/// Plain names by ending and by what they ask of a tensor: of many thousand names that end alike
/// (`weight`), those that fit are found without a look at the others.
pub struct Endings<'k> {
    names: HashMap<(&'k str, Needed<'k>), Vec<&'k str>>,
}

impl Endings<'_> {
    /// The first `most` names, in their order, that end so and that a tensor fits.
    pub fn fitting(&self, ending: &str, tensor: &Tensor, most: usize) -> Vec<&str> {
        let needed = [
            Needed::Shape(&tensor.shape),
            Needed::Elements(tensor.len()),
            Needed::Nothing,
        ];
        let found = needed
            .into_iter()
            .filter_map(|needed| self.names.get(&(ending, needed)));
        let mut found: Vec<&str> = found.flat_map(|it| it.iter().take(most).copied()).collect();
        found.sort_unstable();
        found.truncate(most);
        found
    }
}

/// Maximum number of endings of a name, so that hostile names take no quadratic time.
const ENDINGS: usize = 64;

/// What a dotted name ends with, the longest first.
pub fn endings_of(name: &str) -> impl Iterator<Item = &str> {
    let dots = name.rmatch_indices('.').take(ENDINGS);
    let endings: Vec<&str> = dots.map(|(at, _)| &name[at + 1..]).collect();
    std::iter::once(name).chain(endings.into_iter().rev())
}

/// A name without the segments of wrappers.
pub fn plain(name: &str) -> Cow<'_, str> {
    let segments = || name.split('.').enumerate();
    let kept = |(index, segment): &(usize, &str)| {
        !(WRAPPERS.contains(segment) || (*index > 0 && *segment == PARALLEL))
    };
    if segments().all(|it| kept(&it)) {
        return Cow::Borrowed(name);
    }
    let kept: Vec<&str> = segments().filter(kept).map(|(_, it)| it).collect();
    Cow::Owned(kept.join("."))
}

/// The name that a use's tensor would have in the module that the reading node was exported from.
fn by_module(origin: &Origin<'_>, r#use: &Use) -> Option<String> {
    let network = origin.network;
    let path = network.module_path(r#use.place.node)?;
    let leaf = leaf(network.nodes()[r#use.place.node].op_type(), r#use.place)?;
    Some(if path.is_empty() {
        leaf.to_string()
    } else {
        format!("{path}.{leaf}")
    })
}

/// The name that modules give to the tensor in an operator's slot.
pub fn leaf(op_type: &str, place: Place) -> Option<&'static str> {
    match (op_type, place.slot) {
        ("BatchNormalization", 3) => Some("running_mean"),
        ("BatchNormalization", 4) => Some("running_var"),
        ("Add", _) => Some("bias"),
        ("MatMul", _) | ("Gather", 0) => Some("weight"),
        ("Mul", _) => None,
        (_, 1) => Some("weight"),
        (_, 2) => Some("bias"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_wrappers_go_anywhere() {
        for (name, expected) in [
            ("_orig_mod.fc.weight", "fc.weight"),
            ("module._orig_mod.fc.weight", "module.fc.weight"),
            ("a._orig_mod.b.module.fc.weight", "a.b.fc.weight"),
            ("a._fsdp_wrapped_module.fc.weight", "a.fc.weight"),
            ("fc.weight", "fc.weight"),
        ] {
            assert_eq!(plain(name), expected);
        }
        let endings: Vec<&str> = endings_of("a.b.c").collect();
        assert_eq!(endings, ["a.b.c", "b.c", "c"]);
    }
}
