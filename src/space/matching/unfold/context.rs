//! What an explanation is looked up in: θ0's graph and its state dict.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::graph::network::{Place, Use};
use crate::graph::unfold::array::UNIT;
use crate::graph::unfold::{Array, Expression};
use crate::space::decode;
use crate::space::matching::matches::Matches;
use crate::space::matching::names::{Names, module};
use crate::space::stored_tensor::StoredTensor;

/// θ0's graph and state dict, and what is explained so far.
pub struct Context<'a> {
    /// The names on both sides; the "checkpoint" is θ0's own state dict.
    pub names: &'a Names<'a>,
    /// Its tensors by place, found by names.
    pub matches: &'a Matches,
    /// Floating-point tensors of the state dict that nothing uses yet.
    pub unused: BTreeSet<&'a str>,
    /// Places whose tensor is not explained yet.
    pub open: BTreeSet<Place>,
    /// Modules whose weights were put together in a node's weight, by node, in their order there.
    pub modules: BTreeMap<usize, Vec<String>>,
    arrays: RefCell<HashMap<String, Option<Array>>>,
}

impl<'a> Context<'a> {
    /// Nothing is explained yet.
    pub fn new(names: &'a Names<'a>, matches: &'a Matches) -> Self {
        Self {
            names,
            matches,
            unused: BTreeSet::new(),
            open: BTreeSet::new(),
            modules: BTreeMap::new(),
            arrays: RefCell::default(),
        }
    }

    /// A tensor of the state dict, by the name that the graph would use.
    pub fn raw(&self, name: &str) -> Option<Array> {
        let known = self.arrays.borrow().get(name).cloned();
        known.unwrap_or_else(|| {
            let tensor = self.tensor(name).filter(|tensor| tensor.dtype.is_float());
            let array = tensor.map(array);
            let mut arrays = self.arrays.borrow_mut();
            arrays.insert(name.to_string(), array.clone());
            array
        })
    }

    /// A tensor of the state dict as stored.
    pub fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.names.tensors.get(name).map(|(_, tensor)| *tensor)
    }

    /// Shape of a tensor of the state dict.
    pub fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.tensor(name).map(|tensor| tensor.shape.as_slice())
    }

    /// An expression's value at θ0.
    pub fn value(&self, expression: &Expression) -> Option<Array> {
        expression.value(&|name| self.raw(name))
    }

    /// The use at a place.
    pub fn use_at(&self, place: Place) -> Option<&'a Use> {
        let mut uses = self.names.origin.network.uses.iter();
        uses.find(|it| it.place == place)
    }

    /// The name that the graph would use for the tensor matched at a place.
    pub fn matched(&self, place: Place) -> Option<&'a str> {
        let stored = &self.matches.get(&place)?.source.name;
        let mut names = self.names.tensors.iter();
        names
            .find(|(_, (own, _))| own == stored)
            .map(|(name, _)| name.as_str())
    }

    /// Takes tensors of the state dict as used.
    pub fn take<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        for name in names {
            self.unused.remove(name);
        }
    }

    /// The module that a node was exported from, if the state dict has tensors of it.
    pub fn module_of(&self, node: usize) -> Option<String> {
        let path = self.names.origin.network.module_path(node)?;
        let mut names = self.names.tensors.keys();
        names.any(|name| module(name) == path).then_some(path)
    }

    /// Names of the floating-point tensors of a module.
    pub fn of_module(&self, path: &str) -> Vec<&'a str> {
        let own = self.names.tensors.iter().filter(|(name, (_, tensor))| {
            let direct = module(name) == path;
            let parametrized = name
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with(".parametrizations."));
            tensor.dtype.is_float() && (direct || parametrized)
        });
        own.map(|(name, _)| name.as_str()).collect()
    }
}

/// A tensor's elements.
pub fn array(tensor: &Tensor) -> Array {
    let values = decode::values(&StoredTensor::nameless(tensor, false));
    Array::exact(tensor.shape.clone(), values)
}

/// Relative rounding error of a stored type.
pub fn unit(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => 2f64.powi(-11),
        Dtype::Bf16 => 2f64.powi(-8),
        Dtype::F64 => 2f64.powi(-53),
        _ => UNIT,
    }
}

/// A tensor of the graph that is to be explained.
pub struct Target {
    /// Its elements.
    pub array: Array,
    /// Relative rounding error of its type.
    pub unit: f64,
}

impl Target {
    /// A tensor of the graph.
    pub fn of(tensor: &Tensor) -> Self {
        Self {
            array: array(tensor),
            unit: unit(tensor.dtype),
        }
    }

    /// Whether a value is this tensor.
    pub fn is(&self, value: &Array) -> bool {
        value.is_stored_as(&self.array, self.unit)
    }

    /// Whether an expression's value at θ0 is this tensor.
    pub fn fits(&self, context: &Context<'_>, expression: &Expression) -> bool {
        context
            .value(expression)
            .is_some_and(|value| self.is(&value))
    }
}
