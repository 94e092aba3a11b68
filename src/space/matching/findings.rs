//! Collects everything that did not match, for a single message.

use std::collections::BTreeMap;
use std::path::Path;

use super::advice;
use super::extra::Extra;
use super::names::Names;
use crate::error::{Error, Result};
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

    /// Returns an error that lists everything wrong with the checkpoint at `path`, if anything is.
    ///
    /// `matched` is the number of places that have a tensor.
    pub fn into_result(self, path: &Path, names: &Names<'_>, matched: usize) -> Result<()> {
        let Self {
            missing,
            made,
            extra,
            unused: _,
            misshapen,
            computed,
            unlike,
        } = &self;
        let is_fine = missing.is_empty() && extra.is_empty() && misshapen.is_empty();
        if is_fine && computed.is_empty() && unlike.is_empty() {
            return Ok(());
        }
        let network = names.origin.network.model.path.display();
        let problem = format!("does not fit the network of {network}");
        let mut lines = Vec::new();
        lines.extend(names.renaming.told());
        let plain = |(name, shape): (&String, &Vec<usize>)| format!("{name} {shape:?}");
        let both = |(name, (found, expected)): (&String, &(Vec<usize>, Vec<usize>))| {
            format!("{name} is {found:?}, the graph has {expected:?}")
        };
        list(&mut lines, "of another shape", misshapen.iter().map(both));
        let in_graph = |(name, shape): (&String, &Vec<usize>)| match made.get(name) {
            Some(by) => format!("{name} {shape:?}, computed by {}", by.join(", ")),
            None => plain((name, shape)),
        };
        list(
            &mut lines,
            "only in the graph",
            missing.iter().map(in_graph),
        );
        list(
            &mut lines,
            "only in the checkpoint",
            extra.iter().map(plain),
        );
        list(
            &mut lines,
            "computed by the exporter, so that the checkpoint's tensor cannot stand there",
            computed.values().cloned(),
        );
        list(
            &mut lines,
            "matched, but not the same tensor",
            unlike.iter().cloned(),
        );
        Err(Error::input(path, problem).lines(lines).help(advice::of(
            &self,
            path,
            names.origin,
            matched,
        )))
    }
}

/// Adds a title and the first few items under it.
fn list(lines: &mut Vec<String>, title: &str, items: impl ExactSizeIterator<Item = String>) {
    let count = items.len();
    if count == 0 {
        return;
    }
    lines.push(format!("{title} ({count}):"));
    lines.extend(items.take(SHOWN).map(|item| format!("  {item}")));
    if count > SHOWN {
        lines.push(format!("  and {} more", count - SHOWN));
    }
}

/// Joins the first few of a list, and says how many more there are.
pub(super) fn some(mut items: Vec<String>) -> String {
    let more = items.len().saturating_sub(NAMED);
    items.truncate(NAMED);
    match more {
        0 => items.join(", "),
        more => format!("{} and {more} more", items.join(", ")),
    }
}
