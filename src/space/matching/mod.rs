//! Matching: finds the tensor of each checkpoint that belongs to each place of the origin's graph.
//!
//! Averaging tensors that do not belong together gives plausible but wrong results. So nothing is
//! matched by position, every match is exact in shape, and nothing may stay unmatched on either
//! side. The rules for named tensors are in `named`; ONNX checkpoints are matched by aligning the
//! two graphs ([`crate::graph::align`]).

mod advice;
mod aligned;
mod evidence;
mod extra;
mod factors;
mod findings;
mod fixed;
mod found;
mod group;
mod known;
mod left_out;
mod matches;
mod named;
mod names;
mod notes;
mod options;
mod origin;
mod prefix;
mod proof;
mod refusal;
mod rules;
mod tables;
pub mod unfold;
pub mod unproven;
mod unused;
mod values;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

pub use self::aligned::Aligned;
use self::extra::PassedOver;
pub use self::fixed::fix;
use self::found::Found;
use self::group::Grouped;
pub use self::left_out::LeftOut;
pub use self::matches::{Match, MatchRule, Matches, Verified};
pub use self::options::{Fixed, Options, fits};
use self::origin::Origin;
pub use self::prefix::Renaming;
use super::pool::{Member, Pool};
use super::stored_tensor::StoredTensor;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::graph::align::align;
use crate::graph::network::{Network, Place, Use};
use crate::graph::suspect;

/// Aligns checkpoints with the origin.
///
/// `origin_weights` are the origin's weights under the checkpoints' names; with them every match is
/// verified by value.
///
/// # Errors
/// When a network is quantized, a tensor stays unmatched on either side, shapes differ, two tensors claim one place, or
/// batch norm was folded into the graph but not into a checkpoint. One message lists all problems.
pub fn pool(
    network: &Network<'_>,
    origin_name: &str,
    checkpoints: &[Checkpoint],
    origin_weights: Option<&Checkpoint>,
    options: &Options,
) -> Result<Aligned> {
    refuse_quantized(network, checkpoints)?;
    let origin = Origin::new(network, origin_weights)?;
    refuse_idle(network, checkpoints, options)?;
    let found = checkpoints.iter().map(|it| find(&origin, it, options));
    let found = found.collect::<Result<Vec<Found>>>()?;
    let notes = notes::of(&found, checkpoints);
    let remainder = notes::warning(&found);
    let renamed = found.iter().map(|it| it.renaming.clone()).collect();
    let verified = found.iter().map(|it| it.verified).collect();
    let found = found.into_iter().map(|it| (it.matches, it.passed_over));
    let (matches, passed_over): (Vec<Matches>, Vec<Vec<PassedOver>>) = found.unzip();
    let grouped = group::parameters(&origin, checkpoints, &matches, options)?;
    let methods = grouped.places.iter().map(|places| {
        let method = |matches: &Matches| matches[&places[0]].method;
        matches.iter().map(method).collect()
    });
    let left_out = left_out::find(&origin, checkpoints, &matches, &passed_over, options);
    let mut aligned = Aligned {
        methods: methods.collect(),
        pool: Pool {
            members: members(network, origin_name, checkpoints, &grouped, &matches),
            parameters: grouped.parameters,
        },
        places: grouped.places,
        matches,
        constants: grouped.constants,
        copies: passed_over.iter().map(|it| notes::copies(it)).collect(),
        unused: notes::unused(&passed_over),
        passed_over: passed_over.iter().map(|it| names_of(it)).collect(),
        renamed,
        verified,
        caveats: Vec::new(),
        averages: None,
        notes,
        warnings: left_out::warnings(&left_out, checkpoints, origin_name),
        left_out,
    };
    let doubts = verify::doubts(&origin, &aligned, checkpoints);
    aligned.warnings.extend(remainder);
    aligned.warnings.extend(doubts.warnings);
    aligned.caveats = doubts.caveats;
    aligned.averages = doubts.averages;
    aligned.notes.extend(unproven::note(&origin));
    factors::tell(&mut aligned);
    Ok(aligned)
}

/// Refuses quantized networks: their weights lie on grids, each on another, and an average of
/// numbers of grids is no average of weights.
fn refuse_quantized(network: &Network<'_>, checkpoints: &[Checkpoint]) -> Result<()> {
    if checkpoints.is_empty() {
        return Ok(());
    }
    let refuse = |network: &Network<'_>| match suspect::quantized(network) {
        None => Ok(()),
        Some(found) => Err(Error::input(
            &network.model.path,
            format!(
                "its weights are quantized (node `{}`, {}), and averages of quantized weights are \
                 not those of the models",
                found.node, found.operator
            ),
        )
        .help(
            "average the float models, then quantize the average: name the files from before \
             quantization",
        )),
    };
    refuse(network)?;
    checkpoints
        .iter()
        .try_for_each(|checkpoint| match &checkpoint.content {
            Content::Network(model) => refuse(&Network::of(model)),
            Content::StateDict(_) => Ok(()),
        })
}

/// Finds the tensors of a checkpoint.
fn find(origin: &Origin<'_>, checkpoint: &Checkpoint, options: &Options) -> Result<Found> {
    match &checkpoint.content {
        Content::StateDict(tensors) => named::match_named(origin, checkpoint, tensors, options),
        Content::Network(model) => Ok(Found {
            matches: by_graph(origin.network, model, options)?,
            passed_over: Vec::new(),
            verified: Verified::Graph,
            renaming: Renaming::default(),
            tables: BTreeMap::new(),
        }),
    }
}

/// Names of the tensors that are passed over.
fn names_of(passed_over: &[PassedOver]) -> Vec<String> {
    passed_over.iter().map(|it| it.name.clone()).collect()
}

/// Makes the origin and the checkpoints members over the same parameters.
fn members(
    network: &Network<'_>,
    origin_name: &str,
    checkpoints: &[Checkpoint],
    grouped: &Grouped,
    matches: &[Matches],
) -> Vec<Member> {
    let origin = Member {
        name: origin_name.to_string(),
        path: network.model.path.clone(),
        sources: origin_sources(network, grouped),
    };
    let member = |(checkpoint, matches): (&Checkpoint, &Matches)| Member {
        name: checkpoint.name.clone(),
        path: checkpoint.path.clone(),
        sources: sources(grouped, matches),
    };
    let checkpoints = checkpoints.iter().zip(matches).map(member);
    std::iter::once(origin).chain(checkpoints).collect()
}

/// Refuses patterns that match no name: they are typos, and leave nothing out.
fn refuse_idle(network: &Network<'_>, checkpoints: &[Checkpoint], options: &Options) -> Result<()> {
    if options.may_be_idle {
        return Ok(());
    }
    let uses = network.uses.iter();
    let graph = uses.flat_map(|it| [it.initializer.as_str(), it.alias.as_str()]);
    let dicts = checkpoints.iter().filter_map(Checkpoint::state_dict);
    let own = checkpoints.iter().filter_map(|it| match &it.content {
        Content::Network(model) => Some(model.tensors.keys()),
        Content::StateDict(_) => None,
    });
    let names: BTreeSet<&str> = graph
        .chain(dicts.flat_map(BTreeMap::keys).map(String::as_str))
        .chain(own.flatten().map(String::as_str))
        .collect();
    let idle = |pattern: &str| !names.iter().any(|name| options::fits(name, pattern));
    let ignored = options.ignore.iter().map(|it| ("--ignore", it, ""));
    let fixed = options
        .fixed
        .iter()
        .map(|it| ("--fixed", &it.pattern, "=MODEL"));
    match ignored.chain(fixed).find(|(_, pattern, _)| idle(pattern)) {
        None => Ok(()),
        Some((flag, pattern, model)) => Err(Error::flag(
            flag,
            format!("`{pattern}` matches no tensor of the network or of a checkpoint"),
        )
        .help(format!(
            "a pattern is a whole name, or has a `*` for anything: {flag} 'fc.*{model}'; repeat the \
             flag for more"
        ))),
    }
}

fn by_graph(network: &Network<'_>, model: &Model, options: &Options) -> Result<Matches> {
    let other = Network::of(model);
    // A tensor that is left out may have another size.
    let may_differ = |ours: &str, theirs: &str| options.ignores(ours) || options.ignores(theirs);
    let places = align(network, &other, &may_differ)?;
    let matches = places.into_iter().filter_map(|(place, name)| {
        let source = StoredTensor {
            tensor: model.tensors.get(&name)?.clone(),
            name,
            transposed: false,
        };
        let method = MatchRule::Graph;
        Some((place, Match { source, method }))
    });
    Ok(matches.collect())
}

fn origin_sources(network: &Network<'_>, grouped: &Grouped) -> Vec<StoredTensor> {
    let uses = network.uses.iter().map(|it| (it.place, it));
    let uses: BTreeMap<Place, &Use> = uses.collect();
    let source = |places: &Vec<Place>| {
        let r#use = uses.get(&places[0])?;
        Some(StoredTensor {
            name: r#use.initializer.clone(),
            tensor: network.tensor(&r#use.initializer)?.clone(),
            transposed: false,
        })
    };
    grouped.places.iter().filter_map(source).collect()
}

fn sources(grouped: &Grouped, matches: &Matches) -> Vec<StoredTensor> {
    let first = |places: &Vec<Place>| matches[&places[0]].source.clone();
    grouped.places.iter().map(first).collect()
}
