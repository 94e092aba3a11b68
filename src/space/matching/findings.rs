//! Collects everything that did not match, for a single message.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::names::module;
use super::origin::Origin;
use crate::error::{Error, Result};
use crate::graph::record::Computed;

/// Maximum number of names in a list.
const SHOWN: usize = 8;

/// Maximum number of tensors named in a sentence.
const NAMED: usize = 3;

/// Everything that is wrong with one checkpoint.
#[derive(Debug, Default)]
pub(super) struct Findings {
    missing: BTreeMap<String, Vec<usize>>,
    /// The missing tensors that the exporter computed, and by which operators.
    made: BTreeMap<String, Vec<String>>,
    extra: BTreeMap<String, Vec<usize>>,
    misshapen: BTreeMap<String, (Vec<usize>, Vec<usize>)>,
    computed: BTreeMap<String, String>,
    unlike: Vec<String>,
}

impl Findings {
    pub fn missing(&mut self, name: &str, shape: &[usize], made: Option<Computed>) {
        self.missing.insert(name.to_string(), shape.to_vec());
        let made = made.map(|made| (name.to_string(), made.by));
        self.made.extend(made);
    }

    pub fn extra(&mut self, name: &str, shape: &[usize]) {
        self.extra.insert(name.to_string(), shape.to_vec());
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
    pub fn into_result(self, path: &Path, origin: &Origin<'_>) -> Result<()> {
        let Self {
            missing,
            made,
            extra,
            misshapen,
            computed,
            unlike,
        } = &self;
        let is_fine = missing.is_empty() && extra.is_empty() && misshapen.is_empty();
        if is_fine && computed.is_empty() && unlike.is_empty() {
            return Ok(());
        }
        let network = origin.network.model.path.display();
        let problem = format!("does not fit the network of {network}");
        let mut lines = Vec::new();
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
        Err(Error::input(path, problem)
            .lines(lines)
            .help(self.advice(path, origin)))
    }

    fn advice(&self, path: &Path, origin: &Origin<'_>) -> String {
        const EXPORT: &str =
            "torch.onnx.export(model.eval(), args, file, dynamo=True, optimize=False)";
        let norms = self.extra.keys().any(|name| name.ends_with("running_var"));
        if norms {
            format!(
                "batch norm was folded into the convolutions of the graph, under the same names, \
                 but not in the checkpoint; export the origin again with {EXPORT}, which keeps it"
            )
        } else if !self.computed.is_empty() || !self.made.is_empty() {
            format!(
                "export the origin again with {EXPORT}: it leaves the computation in the graph, \
                 where it is done for every mix"
            )
        } else if let (false, Some(weights)) = (self.unlike.is_empty(), origin.weights_path) {
            format!(
                "either {} is not the state dict that the origin was exported from (name the right \
                 one with --origin-weights), or the exporter folded a computation into these \
                 tensors: export the origin again with {EXPORT}",
                weights.display()
            )
        } else if let Some(advice) = self.advice_on_size(path, origin) {
            advice
        } else if self.misshapen.is_empty() && !self.extra.is_empty() && self.missing.is_empty() {
            self.advice_on_extra(origin, EXPORT)
        } else {
            format!(
                "is it a checkpoint of this network? {EXPORT} keeps every tensor under its name; \
                 --origin-weights FILE.safetensors, with θ0's own state dict, matches what was \
                 renamed by its values"
            )
        }
    }

    /// Advice about a head or a vocabulary of another size: all other tensors fit.
    fn advice_on_size(&self, path: &Path, origin: &Origin<'_>) -> Option<String> {
        let others = self.missing.is_empty() && self.extra.is_empty();
        if self.misshapen.is_empty() || !others {
            return None;
        }
        let uses = &origin.network.uses;
        let known = uses.iter().map(|it| it.alias.as_str());
        let in_graph = |stored: &&String| {
            let is_it = |name: &&str| {
                let rest = stored.strip_suffix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            known.clone().find(is_it)
        };
        let names: BTreeSet<&str> = self
            .misshapen
            .keys()
            .filter_map(|it| in_graph(&it))
            .collect();
        let pattern = |name: &&str| {
            let module = module(name);
            let mut of_module = known.clone().filter(|it| self::module(it) == module);
            let whole = !module.is_empty() && of_module.all(|it| names.contains(it));
            if whole {
                format!("{module}.*")
            } else {
                (*name).to_string()
            }
        };
        let patterns: BTreeSet<String> = names.iter().map(pattern).collect();
        // If many modules have another size, it is another network.
        if patterns.is_empty() || patterns.len() > NAMED {
            return None;
        }
        let flags = |of: &dyn Fn(&String) -> String| -> String {
            patterns.iter().map(of).collect::<Vec<_>>().join(" ")
        };
        let model = path.file_stem().unwrap_or_default().to_string_lossy();
        Some(format!(
            "if it is a head or a vocabulary of another size, either take it from one model for all \
             mixes: {}; or keep θ0's in all: {}",
            flags(&|it| format!("--fixed '{it}={model}'")),
            flags(&|it| format!("--ignore '{it}'"))
        ))
    }

    /// Advice about tensors that only the checkpoint has. If the graph contains their module, it
    /// may have used them, so leaving them out gives another model.
    fn advice_on_extra(&self, origin: &Origin<'_>, export: &str) -> String {
        let network = origin.network;
        let ignore = |names: &[&String]| {
            // If there are many, name the largest modules that have nothing in the graph.
            let many = names.len() > SHOWN;
            let in_graph = |prefix: &str| {
                let mut uses = network.uses.iter();
                uses.any(|it| it.initializer.starts_with(prefix) || it.alias.starts_with(prefix))
            };
            let pattern = |name: &String| {
                let ends = name.match_indices('.').map(|(at, _)| &name[..=at]);
                match ends.filter(|_| many).find(|prefix| !in_graph(prefix)) {
                    Some(module) => format!("--ignore '{module}*'"),
                    None => format!("--ignore '{name}'"),
                }
            };
            let flags: BTreeSet<String> = names.iter().map(|name| pattern(name)).collect();
            flags.into_iter().collect::<Vec<_>>().join(" ")
        };
        let all: Vec<&String> = self.extra.keys().collect();
        if origin.record.is_unoptimized() {
            return format!(
                "the graph was exported with every tensor, and does not use these; if that is \
                 right, leave them out: {}",
                ignore(&all)
            );
        }
        let in_graph = |name: &str| {
            let module = module(name);
            let mut uses = network.uses.iter();
            uses.any(|it| {
                [&it.initializer, &it.alias]
                    .into_iter()
                    .any(|it| self::module(it) == module)
            })
        };
        let (own, foreign): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| in_graph(name));
        let dropped = format!(
            "the exporter left these tensors out of the graph (a bias that is zero, a folded \
             constant); export the origin again with {export}, which keeps every tensor"
        );
        match (own.is_empty(), foreign.is_empty()) {
            (_, true) => dropped,
            (false, false) => format!(
                "{dropped}; then name what the network does not use: {}",
                ignore(&foreign)
            ),
            (true, false) => format!(
                "no tensor of these modules is in the graph: if the network does not use them, \
                 leave them out: {}; else {dropped}",
                ignore(&foreign)
            ),
        }
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
