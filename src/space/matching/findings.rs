//! Everything that did not match, for a single message.

use std::collections::BTreeMap;

use super::extra::Extra;
use crate::base::human;
use crate::graph::record::Computed;

/// Maximum number of names in a list.
pub(super) const SHOWN: usize = 8;

/// Maximum number of tensors named in a sentence.
const NAMED: usize = 3;

/// Everything that is wrong with one checkpoint.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Shapes of the graph's tensors that the checkpoint lacks.
    pub missing: BTreeMap<String, Vec<usize>>,
    /// The missing tensors that the exporter computed, and by which operators.
    pub made: BTreeMap<String, Vec<String>>,
    /// Shapes of the checkpoint's tensors that have no place in the graph.
    pub extra: BTreeMap<String, Vec<usize>>,
    /// Of these, the ones that the network does not use, with the pattern of their module.
    pub unused: BTreeMap<String, String>,
    /// Shapes in the checkpoint and in the graph, where they differ.
    pub misshapen: BTreeMap<String, (Vec<usize>, Vec<usize>)>,
    /// What the exporter computed from the checkpoint's tensors.
    pub computed: BTreeMap<String, String>,
    /// Matches whose values speak against them.
    pub unlike: Vec<String>,
}

impl Findings {
    pub fn missing(&mut self, name: &str, shape: &[usize], made: Option<Computed>) {
        self.missing.insert(name.to_string(), shape.to_vec());
        let made = made.map(|made| (name.to_string(), made.by));
        self.made.extend(made);
    }

    pub fn extra(&mut self, extra: &Extra<'_>) {
        let name = extra.name.to_string();
        self.extra.insert(name.clone(), extra.tensor.shape.clone());
        let unused = extra.unused.clone().map(|pattern| (name, pattern));
        self.unused.extend(unused);
    }

    pub fn misshapen(&mut self, name: &str, found: &[usize], expected: &[usize]) {
        let shapes = (found.to_vec(), expected.to_vec());
        self.misshapen.insert(name.to_string(), shapes);
    }

    pub fn computed(&mut self, name: &str, initializer: &str, by: &[String]) {
        let told = format!("{name} went into `{initializer}` by {}", by.join(", "));
        self.computed.insert(name.to_string(), told);
    }

    pub fn unlike(&mut self, problem: String) {
        self.unlike.push(problem);
    }

    pub fn is_misshapen(&self, name: &str) -> bool {
        self.misshapen.contains_key(name)
    }
}

/// The first few names of a list in a sentence, and how many more there are.
pub(super) fn some(items: Vec<String>) -> String {
    human::list(&items, NAMED)
}
