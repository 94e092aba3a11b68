//! The objects of a pickle: values, and a heap that holds what does not fit into one.
//!
//! Objects refer to each other by index. So shared and circular references cost nothing, dropping
//! the heap needs no recursion, and its size is known: every object is charged to a budget.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::outcome::Outcome;
use super::view::{Storage, View};

/// What one object costs beside its content, in bytes.
const OBJECT: usize = 160;

/// What one reference costs.
const REFERENCE: usize = 16;

/// Longest name of a module or a class, in bytes.
const LONGEST_NAME: usize = 256;

/// A value of a pickle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// `None`, or something that nothing here needs.
    None,
    /// A boolean.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A number.
    Float(f64),
    /// An object on the heap.
    Object(u32),
}

/// An object on the heap.
#[derive(Debug)]
pub enum Object {
    /// A text, or bytes.
    Text(Bytes),
    /// A list, and any sequence that can be appended to.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A set.
    Set(Vec<Value>),
    /// A dictionary, ordered; of equal keys the last counts.
    Dict(Vec<(Value, Value)>),
    /// A class or a function, by module and name. It is never looked up.
    Global(Bytes, Bytes),
    /// A stretch of bytes in the file.
    Storage(Box<Storage>),
    /// A tensor.
    Tensor(Box<View>),
    /// An instance of an unknown class.
    Instance(Instance),
}

/// An instance of an unknown class. Nothing of its class is executed.
#[derive(Debug)]
pub struct Instance {
    /// Its class, or the function that would have made it.
    pub class: Value,
    /// Its state, usually a dictionary.
    pub state: Value,
    /// Its items, if it is a kind of dictionary.
    pub items: Vec<(Value, Value)>,
}

/// All objects of a file.
#[derive(Debug)]
pub struct Heap {
    objects: Vec<Object>,
    /// Bytes that may still be used.
    budget: usize,
}

impl Heap {
    /// An empty heap that may take about so many bytes.
    pub fn new(budget: usize) -> Self {
        Self {
            objects: Vec::new(),
            budget,
        }
    }

    /// Charges bytes to the budget.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn charge(&mut self, bytes: usize) -> Outcome<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or(
            "its objects would take more memory than the whole file; it was not read further",
        )?;
        Ok(())
    }

    /// Charges references to the budget.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn charge_references(&mut self, count: usize) -> Outcome<()> {
        self.charge(count.saturating_mul(REFERENCE))
    }

    /// Adds an object.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn add(&mut self, object: Object) -> Outcome<Value> {
        self.charge(OBJECT)?;
        let index = u32::try_from(self.objects.len()).map_err(|_| "it holds too many objects")?;
        self.objects.push(object);
        Ok(Value::Object(index))
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// The objects from an index on.
    pub fn objects_from(&self, first: usize) -> &[Object] {
        self.objects.get(first..).unwrap_or_default()
    }

    /// The object that a value refers to.
    pub fn get(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(index) => self.objects.get(index as usize),
            _ => None,
        }
    }

    /// The object that a value refers to, to be changed.
    pub fn get_mut(&mut self, value: Value) -> Option<&mut Object> {
        match value {
            Value::Object(index) => self.objects.get_mut(index as usize),
            _ => None,
        }
    }

    /// The text of a value.
    pub fn text(&self, value: Value) -> Option<&str> {
        match self.get(value) {
            Some(Object::Text(text)) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// Whether a value is this text.
    pub fn is_text(&self, value: Value, text: &str) -> bool {
        // Without a look at the rest of a long one.
        matches!(self.get(value), Some(Object::Text(found)) if found[..] == *text.as_bytes())
    }

    /// The items of a tuple or a list.
    pub fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.get(value) {
            Some(Object::Tuple(items) | Object::List(items) | Object::Set(items)) => Some(items),
            _ => None,
        }
    }

    /// The entries of a dictionary or of something like it.
    pub fn entries(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.get(value) {
            Some(Object::Dict(entries)) => Some(entries),
            Some(Object::Instance(it)) if !it.items.is_empty() => Some(&it.items),
            _ => None,
        }
    }

    /// The value of a key of a dictionary.
    pub fn entry(&self, dictionary: Value, key: &str) -> Option<Value> {
        let mut entries = self.entries(dictionary)?.iter().rev();
        let found = entries.find(|(name, _)| self.is_text(*name, key));
        found.map(|(_, value)| *value)
    }

    /// Module and name of a class or function, joined by a dot; `None` if they are too long to be
    /// any.
    pub fn global(&self, value: Value) -> Option<String> {
        match self.get(value) {
            Some(Object::Global(module, name)) if module.len().max(name.len()) <= LONGEST_NAME => {
                let part = |text: &Bytes| String::from_utf8_lossy(text).into_owned();
                Some(format!("{}.{}", part(module), part(name)))
            }
            _ => None,
        }
    }

    /// The tensor that a value is.
    pub fn tensor(&self, value: Value) -> Option<&View> {
        match self.get(value) {
            Some(Object::Tensor(view)) => Some(view),
            _ => None,
        }
    }

    /// The entries of a dictionary whose keys are texts, each key once, in the order of the keys.
    /// The keys are charged to the budget.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn named(&mut self, dictionary: Value) -> Outcome<BTreeMap<String, Value>> {
        // One long key may be used by many entries, so nothing looks at them before.
        let size = |(key, _): &(Value, Value)| match self.get(*key) {
            Some(Object::Text(text)) => text.len() + OBJECT,
            _ => 0,
        };
        let entries = self.entries(dictionary).unwrap_or_default().iter();
        let size = entries.map(size).fold(0_usize, usize::saturating_add);
        self.charge(size)?;
        let entries = self.entries(dictionary).unwrap_or_default().iter();
        let named = entries.filter_map(|(key, value)| Some((self.text(*key)?.into(), *value)));
        Ok(named.collect())
    }
}
