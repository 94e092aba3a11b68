//! Finds the prefix by which a state dict's names differ from the graph's.
//!
//! Wrappers add a prefix (`module.`, `model.`, `student.`), on the checkpoint's side, on the
//! graph's, or on both. The prefix that makes most tensors agree in name and shape is the right
//! one; two that do so equally well, with different tensors, are a question to the user.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::known::{Known, endings_of, plain};
use super::options::Options;
use crate::checkpoint::tensor::Tensor;
use crate::error::{Error, Result};

/// Share of the best prefix's tensors from which another prefix is a rival.
const RIVAL: f64 = 0.9;

/// Share of the graph's tensors from which those that agree are a set.
const SET: f64 = 0.25;

/// Maximum number of the graph's names that one tensor votes for, and of prefixes that are tried.
const VOTES: usize = 16;
const TRIED: usize = 64;

/// How a state dict's names become the graph's.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Renaming {
    /// Removed from the beginning of the checkpoint's names; with a dot at the end, or empty.
    pub strip: String,
    /// Put in its place; with a dot at the end, or empty.
    pub add: String,
}

impl Renaming {
    /// The graph's name for a plain name, if that begins with the prefix.
    pub fn of<'n>(&self, name: &'n str) -> Option<Cow<'n, str>> {
        let rest = name.strip_prefix(&self.strip)?;
        Some(if self.add.is_empty() {
            Cow::Borrowed(rest)
        } else {
            Cow::Owned(format!("{}{rest}", self.add))
        })
    }

    /// Tells what is done to the names, if anything is.
    pub fn told(&self) -> Option<String> {
        match (self.strip.as_str(), self.add.as_str()) {
            ("", "") => None,
            (strip, "") => Some(format!("`{strip}` is stripped from the checkpoint's names")),
            ("", add) => Some(format!("`{add}` is put before the checkpoint's names")),
            (strip, add) => Some(format!(
                "`{strip}` in the checkpoint's names stands for `{add}` in the graph's"
            )),
        }
    }
}

/// A renaming with the tensors that it fits.
struct Candidate<'a> {
    renaming: Renaming,
    /// Stored names of the tensors that agree with the graph in name and shape, sorted.
    hits: Vec<&'a str>,
}

/// Finds the renaming of a state dict; tensors that the user leaves out have no say.
///
/// # Errors
/// When two prefixes fit (nearly) equally many tensors of the graph, each with its own tensors.
pub fn find(
    path: &Path,
    known: &Known,
    tensors: &BTreeMap<String, Tensor>,
    options: &Options,
) -> Result<Renaming> {
    let counts = |(name, tensor): &(&String, &Tensor)| {
        tensor.dtype.is_float() && !tensor.is_empty() && !options.ignores(name)
    };
    let voters = tensors.iter().filter(counts);
    let voters: Vec<Voter<'_>> = voters
        .map(|(stored, tensor)| Voter {
            stored,
            name: plain(stored),
            tensor,
        })
        .collect();
    let mut candidates: Vec<Candidate<'_>> = proposals(known, &voters)
        .into_iter()
        .map(|renaming| candidate(known, &voters, renaming))
        .collect();
    // The first of equals changes least.
    candidates.sort_by_key(|it| {
        let changed = it.renaming.strip.len() + it.renaming.add.len();
        (std::cmp::Reverse(it.hits.len()), changed)
    });
    let Some(best) = candidates.first() else {
        return Ok(Renaming::default());
    };
    // What has the graph's names needs no renaming, and nothing else is taken for it. A few tensors
    // that agree are no set: they are found in other networks, too.
    let is_set = best.hits.len() as f64 >= SET * known.tensors as f64;
    if best.renaming == Renaming::default() || !is_set {
        return Ok(best.renaming.clone());
    }
    let taken: HashSet<&str> = best.hits.iter().copied().collect();
    let rival = |it: &&Candidate<'_>| {
        let is_large = it.hits.len() as f64 >= RIVAL * best.hits.len() as f64;
        is_large && !it.hits.iter().any(|name| taken.contains(name))
    };
    let rivals: Vec<&Candidate<'_>> = candidates[1..].iter().filter(rival).collect();
    if rivals.is_empty() {
        return Ok(best.renaming.clone());
    }
    Err(question(path, best, &rivals))
}

/// A tensor that says which prefix fits it.
struct Voter<'a> {
    stored: &'a str,
    name: Cow<'a, str>,
    tensor: &'a Tensor,
}

/// The renamings that make some tensor agree with the graph, the most frequent ones; and none.
fn proposals(known: &Known, voters: &[Voter<'_>]) -> BTreeSet<Renaming> {
    let endings = known.by_ending();
    let mut votes: BTreeMap<Renaming, usize> = BTreeMap::new();
    for voter in voters {
        let alike = endings_of(&voter.name).find_map(|ending| {
            let found = endings.fitting(ending, voter.tensor, VOTES);
            (!found.is_empty()).then_some((ending, found))
        });
        let Some((ending, found)) = alike else {
            continue;
        };
        for graph in found {
            let renaming = Renaming {
                strip: voter.name[..voter.name.len() - ending.len()].to_string(),
                add: graph[..graph.len() - ending.len()].to_string(),
            };
            *votes.entry(renaming).or_default() += 1;
        }
    }
    let mut votes: Vec<(Renaming, usize)> = votes.into_iter().collect();
    votes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let frequent = votes.into_iter().take(TRIED).map(|(renaming, _)| renaming);
    frequent.chain([Renaming::default()]).collect()
}

fn candidate<'a>(known: &Known, voters: &[Voter<'a>], renaming: Renaming) -> Candidate<'a> {
    let hits = voters.iter().filter(|voter| {
        let name = renaming.of(&voter.name);
        name.is_some_and(|name| known.fits(&name, voter.tensor))
    });
    Candidate {
        hits: hits.map(|voter| voter.stored).collect(),
        renaming,
    }
}

/// Asks which of several full sets of tensors is meant.
fn question(path: &Path, best: &Candidate<'_>, rivals: &[&Candidate<'_>]) -> Error {
    let all = std::iter::once(best).chain(rivals.iter().copied());
    let patterns: BTreeSet<String> = all.map(|it| pattern(&it.hits)).collect();
    let quoted = patterns.iter().map(|pattern| format!("`{pattern}`"));
    let listed = quoted.collect::<Vec<_>>().join(" and ");
    let sets = match patterns.len() {
        2 => "two full sets".to_string(),
        count => format!("{count} full sets"),
    };
    let choices = patterns.iter().filter(|it| *it != "*").map(|kept| {
        let others = patterns.iter().filter(|it| *it != kept && *it != "*");
        let flags = others.map(|it| format!("--ignore '{it}'"));
        let flags = flags.collect::<Vec<_>>().join(" ");
        format!("{flags} to take `{kept}`")
    });
    let choices = choices.collect::<Vec<_>>().join(", or ");
    Error::input(
        path,
        format!("holds {sets} of the network's tensors: {listed}"),
    )
    .help(format!("say which: {choices}"))
}

/// The pattern of the longest prefix, up to a dot, that stored names share.
fn pattern(names: &[&str]) -> String {
    let (Some(first), Some(last)) = (names.first(), names.last()) else {
        return "*".to_string();
    };
    // In sorted names, what the first and the last share is shared by all.
    let bytes = first.bytes().zip(last.bytes());
    let same = bytes.take_while(|(a, b)| a == b).count();
    let dot = first.as_bytes()[..same].iter().rposition(|it| *it == b'.');
    format!("{}*", &first[..dot.map_or(0, |at| at + 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renaming_strips_and_adds() {
        let renaming = |strip: &str, add: &str| Renaming {
            strip: strip.to_string(),
            add: add.to_string(),
        };
        let both = renaming("model.", "m.");
        assert_eq!(both.of("model.fc.weight").as_deref(), Some("m.fc.weight"));
        assert_eq!(both.of("teacher.fc.weight"), None);
        assert_eq!(renaming("", "").told(), None);
        let told = renaming("model.", "").told().unwrap();
        assert_eq!(told, "`model.` is stripped from the checkpoint's names");
    }

    #[test]
    fn what_names_share_ends_at_a_dot() {
        assert_eq!(pattern(&["a.teacher.w", "a.teacher.x.w"]), "a.teacher.*");
        assert_eq!(pattern(&["a.tea.w", "a.team.w"]), "a.*");
        assert_eq!(pattern(&["fc", "x"]), "*");
    }
}
