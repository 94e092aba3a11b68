//! The one message about a checkpoint that does not fit.

use super::advice;
use super::findings::{Findings, SHOWN};
use super::names::Names;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// Returns an error that lists everything wrong with a checkpoint, if anything is.
///
/// `matched` is the number of places that have a tensor.
pub(super) fn refuse(
    findings: &Findings,
    checkpoint: &Checkpoint,
    names: &Names<'_>,
    matched: usize,
) -> Result<()> {
    let Findings {
        missing,
        made,
        extra,
        unused: _,
        misshapen,
        computed,
        unlike,
    } = findings;
    let is_fine = missing.is_empty() && extra.is_empty() && misshapen.is_empty();
    if is_fine && computed.is_empty() && unlike.is_empty() {
        return Ok(());
    }
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
    let help = advice::of(findings, &checkpoint.name, names.origin, matched);
    let error = error_of(checkpoint, names, is_fine && computed.is_empty());
    Err(error.lines(lines).help(help))
}

/// The error about a checkpoint; about θ0's own state dict if the checkpoint fits, but that state dict
/// does not hold θ0.
fn error_of(checkpoint: &Checkpoint, names: &Names<'_>, fits: bool) -> Error {
    let network = names.origin.network.model.path.display();
    match names.origin.weights_path.filter(|_| fits) {
        Some(weights) => {
            let problem = format!("does not hold the values that the network of {network} holds");
            Error::input(weights, problem)
        }
        None => {
            let problem = format!("does not fit the network of {network}");
            Error::input(&checkpoint.path, problem)
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
