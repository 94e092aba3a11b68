//! The dictionaries of tensors inside a file, and the choice between them.
//!
//! A training script saves more than weights: an averaged copy of them, the state of the optimizer,
//! counters. A *dictionary* here is one with names as keys of which at least half are tensors, or a
//! whole module. Those of an optimizer do not count.

use std::collections::{BTreeMap, HashSet};

use super::heap::{Heap, Object, Value};
use super::module;
use super::outcome::Outcome;

/// How deep dictionaries are searched for: `model_ema.module` is at depth 2.
const DEEPEST: usize = 4;

/// A dictionary of tensors.
#[derive(Debug)]
pub struct Dictionary {
    /// The keys that lead to it, joined by dots; empty for the file's own.
    pub key: String,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, Value>,
    /// Names of entries of unknown kinds, such as arrays of NumPy.
    pub others: Vec<String>,
    /// Number of floating-point elements.
    pub elements: u128,
}

/// What a search has found.
pub struct Search<'h> {
    heap: &'h mut Heap,
    visited: HashSet<u32>,
    /// The dictionaries, outer ones first.
    pub found: Vec<Dictionary>,
    /// Keys of optimizer states.
    pub optimizers: Vec<String>,
}

impl<'h> Search<'h> {
    /// Finds all dictionaries of tensors in what a file holds.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn of(heap: &'h mut Heap, root: Value) -> Outcome<Self> {
        let mut search = Self {
            heap,
            visited: HashSet::new(),
            found: Vec::new(),
            optimizers: Vec::new(),
        };
        search.visit(String::new(), root, 0)?;
        Ok(search)
    }

    /// Looks at a value and, if it is a dictionary, at those inside.
    fn visit(&mut self, key: String, value: Value, depth: usize) -> Outcome<()> {
        let Value::Object(index) = value else {
            return Ok(());
        };
        // One that is held twice counts once.
        if depth > DEEPEST || !self.visited.insert(index) {
            return Ok(());
        }
        if module::attributes(self.heap, value)?.is_some() {
            let tensors = module::state_dict(self.heap, value)?;
            return self.keep(key, tensors, Vec::new());
        }
        if self.heap.entries(value).is_none() {
            return Ok(());
        }
        if is_optimizer(self.heap, value) {
            self.optimizers.push(key);
            return Ok(());
        }
        let named = self.heap.named(value)?;
        let (tensors, others): (BTreeMap<_, _>, BTreeMap<_, _>) = named
            .into_iter()
            .partition(|(_, value)| self.heap.tensor(*value).is_some());
        if !tensors.is_empty() && tensors.len() >= others.len() {
            let unknown =
                |value: &Value| matches!(self.heap.get(*value), Some(Object::Instance(_)));
            let unknown = others.iter().filter(|(_, value)| unknown(value));
            let names = unknown.map(|(name, _)| name.clone()).collect();
            self.keep(key.clone(), tensors, names)?;
        }
        for (name, inner) in others {
            self.heap.charge(key.len() + name.len())?;
            let inside = if key.is_empty() {
                name
            } else {
                format!("{key}.{name}")
            };
            self.visit(inside, inner, depth + 1)?;
        }
        Ok(())
    }

    fn keep(
        &mut self,
        key: String,
        tensors: BTreeMap<String, Value>,
        others: Vec<String>,
    ) -> Outcome<()> {
        let mut elements = 0;
        for value in tensors.values() {
            if let Some(view) = self.heap.tensor(*value)
                && view.element.dtype.is_float()
            {
                elements += view.len()? as u128;
            }
        }
        if !tensors.is_empty() {
            self.found.push(Dictionary {
                key,
                tensors,
                others,
                elements,
            });
        }
        Ok(())
    }
}

/// Whether a dictionary is the state of an optimizer.
fn is_optimizer(heap: &Heap, value: Value) -> bool {
    let has = |key: &str| heap.entry(value, key).is_some();
    has("param_groups") && has("state")
}

/// Takes the one dictionary that holds the weights: the one named, or the only one of its size.
///
/// # Errors
/// When there is none, several are of about one size, or none has the name; told with what the file
/// holds.
pub fn choose(
    search: Search<'_>,
    root: Value,
    named: Option<&str>,
) -> Result<(Dictionary, Vec<String>), Choice> {
    let Search {
        heap,
        mut found,
        optimizers,
        ..
    } = search;
    if found.is_empty() {
        return Err(Choice::Nothing(described(heap, root, &optimizers)));
    }
    // A file of one dictionary that has no key is a state dict already: nothing is to be chosen.
    let only = found.len() == 1 && found[0].key.is_empty();
    let chosen = match named.filter(|_| !only) {
        Some(".") => found.iter().position(|it| it.key.is_empty()),
        Some(key) => found.iter().position(|it| it.key == key),
        None => {
            let most = found.iter().map(|it| it.tensors.len()).max().unwrap_or(0);
            let largest = found.iter().map(|it| it.elements).max().unwrap_or(0);
            let is_full = |it: &Dictionary| {
                2 * it.tensors.len() >= most || (largest > 0 && 2 * it.elements >= largest)
            };
            let mut full = (0..found.len()).filter(|&index| is_full(&found[index]));
            full.next().filter(|_| full.next().is_none())
        }
    };
    match chosen {
        Some(index) => {
            let taken = found.swap_remove(index);
            Ok((taken, found.iter().map(told).collect()))
        }
        None if named.is_some() => Err(Choice::Unknown(found.iter().map(told).collect())),
        None => {
            let last = found.last().map(|it| it.key.clone());
            Err(Choice::Several(
                found.iter().map(told).collect(),
                last.unwrap_or_default(),
            ))
        }
    }
}

/// Why no dictionary was taken.
pub enum Choice {
    /// There is none; what the file holds.
    Nothing(String),
    /// None has the name that was asked for; those that there are.
    Unknown(Vec<String>),
    /// Several are of about one size; all that there are, and the last one's key as an example.
    Several(Vec<String>, String),
}

/// A dictionary's key, and what it holds.
fn told(dictionary: &Dictionary) -> String {
    let (count, elements) = (dictionary.tensors.len(), dictionary.elements);
    let tensors = if count == 1 { "tensor" } else { "tensors" };
    let key = match dictionary.key.as_str() {
        "" => ".",
        key => key,
    };
    format!("`{key}`: {count} {tensors}, {elements} values")
}

/// What a file without a dictionary of tensors holds.
fn described(heap: &Heap, root: Value, optimizers: &[String]) -> String {
    if let Some(optimizer) = optimizers.first() {
        let place = if optimizer.is_empty() {
            String::new()
        } else {
            format!(" (`{optimizer}`)")
        };
        return format!("holds the state of an optimizer{place}, but no weights");
    }
    let what = match heap.get(root) {
        Some(Object::Tensor(_)) => "a single tensor without a name".to_string(),
        Some(Object::List(items)) => format!("a list of {} items", items.len()),
        Some(Object::Tuple(items)) => format!("a tuple of {} items", items.len()),
        Some(Object::Dict(entries)) => {
            format!("a dictionary of {} entries without tensors", entries.len())
        }
        Some(Object::Instance(it)) => match heap.global(it.class) {
            Some(class) => format!("an object of the class {class}"),
            None => "an object of an unknown class".to_string(),
        },
        _ => "no object".to_string(),
    };
    format!("holds {what}, but no dictionary of named tensors")
}
