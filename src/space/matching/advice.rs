//! What to do about a checkpoint that does not fit: the cure that the findings speak for, with flags
//! to paste.

use std::collections::BTreeSet;

use super::findings::{Findings, SHOWN, some};
use super::names::module;
use super::origin::Origin;
use crate::base::human;
use crate::checkpoint::onnx::EXPORT;

/// Share of the graph's tensors below which a checkpoint looks like that of another network.
const FOREIGN: f64 = 0.25;

/// Returns advice about what was found; `name` is the checkpoint's, and `matched` the
/// number of places that have a tensor.
pub(super) fn of(findings: &Findings, name: &str, origin: &Origin<'_>, matched: usize) -> String {
    // An exporter that keeps everything has folded and dropped nothing.
    let keeps_all = origin.record.is_unoptimized();
    let places = origin.network.uses.iter();
    let places = places.filter(|it| !origin.record.is_constant(&it.initializer));
    let agreeing = (matched, places.count());
    let is_foreign = (matched as f64) < FOREIGN * agreeing.1 as f64;
    if is_foreign && !findings.missing.is_empty() && !findings.extra.is_empty() {
        let is_named = keeps_all || origin.weights.is_some();
        return on_another_network(findings, agreeing, is_named);
    }
    let norms = findings
        .extra
        .keys()
        .any(|name| name.ends_with("running_var"));
    let dropped = findings.extra.len() > findings.unused.len();
    if norms && dropped && !keeps_all {
        return format!(
            "batch norm was folded into the convolutions of the graph, under the same names, but \
             not in the checkpoint; {}export the origin again with {EXPORT}, which keeps it",
            own_weights(origin)
        );
    }
    if !findings.computed.is_empty() || !findings.made.is_empty() {
        return format!(
            "{}export the origin again with {EXPORT}: it leaves the computation in the graph, where \
             it is done for every mix",
            own_weights(origin)
        );
    }
    if let (false, Some(weights)) = (findings.unlike.is_empty(), origin.weights_path) {
        let weights = weights.display();
        let other = format!(
            "{weights} is not the state dict that the origin was exported from (name the right one \
             with --origin-weights)"
        );
        return match keeps_all {
            true => other,
            false => format!(
                "either {other}, or the exporter folded a computation into these tensors: export \
                 the origin again with {EXPORT}"
            ),
        };
    }
    let mut advice = Vec::new();
    advice.extend(on_misshapen(findings, name));
    advice.extend(on_missing(findings, origin, keeps_all));
    advice.extend(on_extra(findings, keeps_all));
    match advice.is_empty() {
        true => "--origin-weights FILE, with θ0's own state dict, settles it".to_string(),
        false => advice.join("; "),
    }
}

/// The quicker cure of a folded graph, if it was not tried.
fn own_weights(origin: &Origin<'_>) -> &'static str {
    match origin.weights {
        Some(_) => "",
        None => {
            "give θ0's own state dict with --origin-weights FILE: it tells what was folded, which is \
             then computed for every mix; or "
        }
    }
}

/// Advice about a checkpoint of which (almost) nothing is in the graph.
fn on_another_network(
    findings: &Findings,
    (agreeing, all): (usize, usize),
    is_named: bool,
) -> String {
    let graph = some(findings.missing.keys().cloned().collect());
    let own = some(findings.extra.keys().cloned().collect());
    let named = match is_named {
        true => String::new(),
        false => format!(
            "; if it is one of this network, {EXPORT} keeps every tensor under its name, and \
             --origin-weights FILE, with θ0's own state dict, matches what was renamed"
        ),
    };
    format!(
        "{agreeing} of the network's {all} tensors agree in name and shape, so this looks like a \
         checkpoint of another network: the graph has {graph}, and the checkpoint {own}; is --origin \
         the right one?{named}"
    )
}

/// Advice about tensors of another shape: a head for other classes, another vocabulary.
fn on_misshapen(findings: &Findings, model: &str) -> Option<String> {
    let names: Vec<&String> = findings.misshapen.keys().collect();
    let modules: BTreeSet<&str> = names.iter().map(|name| module(name)).collect();
    let patterns = modules.iter().map(|module| {
        let mut own = names.iter().filter(|name| self::module(name) == *module);
        match (own.next(), own.next()) {
            (Some(only), None) => (*only).clone(),
            _ => format!("{module}.*"),
        }
    });
    let patterns: Vec<String> = patterns.collect();
    let flags = |of: &dyn Fn(&String) -> String| {
        let flags: Vec<String> = patterns.iter().map(of).collect();
        human::joined(&flags, " ", SHOWN)
    };
    (!patterns.is_empty()).then(|| {
        format!(
            "if it is a head or a vocabulary of another size, either take it from one model for all \
             mixes: {}; or keep θ0's in all: {}",
            flags(&|it| format!("--fixed '{it}={model}'")),
            flags(&|it| format!("--ignore '{it}'"))
        )
    })
}

/// What the names of batch norm's statistics end with.
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// Advice about tensors that only the graph has.
fn on_missing(findings: &Findings, origin: &Origin<'_>, keeps_all: bool) -> Option<String> {
    if findings.missing.is_empty() {
        return None;
    }
    let is_marked = |name: &&String| origin.network.input_kind(name) == Some("PARAMETER");
    let (parameters, others): (Vec<&String>, Vec<&String>) =
        findings.missing.keys().partition(is_marked);
    let renamed = (!others.is_empty() && origin.weights.is_none()).then(|| {
        "--origin-weights FILE, with θ0's own state dict, matches what was renamed by its values"
            .to_string()
    });
    // If the checkpoint has tensors without a place, these may have been computed from them.
    let is_theirs = !findings.extra.is_empty() && !keeps_all;
    let is_statistic = |name: &&&String| STATISTICS.iter().any(|of| name.ends_with(of));
    let tables: Vec<&&String> = others.iter().filter(|it| !is_statistic(it)).collect();
    let statistics = (tables.len() < others.len()).then(|| {
        "the checkpoint lacks batch norm's running statistics, which training changes: save \
         model.state_dict() whole"
            .to_string()
    });
    let tables = (!tables.is_empty() && !is_theirs).then(|| {
        let flags = tables.iter().map(|name| format!("--ignore '{name}'"));
        format!(
            "tables and masks of the network, which no training changes, are kept as they are by {}",
            human::joined(&flags.collect::<Vec<_>>(), " ", SHOWN)
        )
    });
    let lacking = (!parameters.is_empty()).then(|| {
        let names = some(parameters.iter().map(|it| format!("`{it}`")).collect());
        format!(
            "the checkpoint lacks parameters of the network ({names}): is it one of this network?"
        )
    });
    let export = (!keeps_all).then(|| format!("{EXPORT} keeps every tensor under its name"));
    let all = lacking
        .into_iter()
        .chain(statistics)
        .chain(renamed)
        .chain(tables)
        .chain(export);
    Some(all.collect::<Vec<_>>().join("; "))
}

/// Advice about tensors that only the checkpoint has. Where the exporter may have used them, leaving
/// them out gives another model.
fn on_extra(findings: &Findings, keeps_all: bool) -> Option<String> {
    let patterns: BTreeSet<&String> = findings.unused.values().collect();
    let flags: Vec<String> = patterns
        .iter()
        .map(|pattern| format!("--ignore '{pattern}'"))
        .collect();
    let unused = (!flags.is_empty()).then(|| {
        let why = match keeps_all {
            true => "the graph was exported with every tensor, and does not use these",
            false => "nothing of these is in the graph, so the network does not use them",
        };
        format!(
            "{why}: leave them out with --ignore-unused, or with {}",
            human::joined(&flags, " ", SHOWN)
        )
    });
    let dropped = findings.extra.keys();
    let dropped: Vec<String> = dropped
        .filter(|name| !findings.unused.contains_key(*name))
        .map(|name| format!("`{name}`"))
        .collect();
    // With other problems, names are the likely reason.
    let is_alone = findings.missing.is_empty() && findings.misshapen.is_empty();
    let dropped = (!dropped.is_empty() && is_alone).then(|| {
        format!(
            "the exporter left {} out of the graph (a bias that is zero, a folded constant), or \
             the network does not use it; export the origin again with {EXPORT}, which \
             keeps every tensor",
            some(dropped)
        )
    });
    let all: Vec<String> = dropped.into_iter().chain(unused).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
