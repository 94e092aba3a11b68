//! Matching: which tensor of each checkpoint stands at each place of the origin's graph.
//!
//! Averaging tensors that do not belong together gives plausible, false pictures, so nothing is
//! matched by position, every match is exact in shape, and nothing may stay unmatched on either
//! side. The rules for named tensors are in [`named`]; ONNX checkpoints are matched by aligning
//! the two graphs ([`crate::graph::align`]).

mod group;
mod left_out;
pub mod named;
mod report;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub use self::left_out::LeftOut;
use self::named::Names;
pub use self::verify::{Verified, state_dict_beside};
use super::pool::{Member, Parameter, Pool};
use super::source::Source;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::graph::align::align;
use crate::graph::network::{Network, Place, SUBGRAPH, Use};
use crate::graph::skeleton::WeightSlot;

/// How a checkpoint's tensor was found for a place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The initializer, or an Identity behind it, has the tensor's name.
    Name,
    /// The exporter's metadata says what the initializer was folded from.
    FoldedFrom,
    /// The module that the using node was exported from owns the tensor.
    ModulePath,
    /// The bias added to the result belongs to the same module.
    Bias,
    /// The values equal those of the tensor in the origin's own named weights.
    Values,
    /// The two graphs have the same nodes and wiring.
    Graph,
}

impl Method {
    /// As tables show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::FoldedFrom => "folded from",
            Self::ModulePath => "module path",
            Self::Bias => "bias",
            Self::Values => "values",
            Self::Graph => "graph",
        }
    }
}

/// A checkpoint's tensor at a place.
#[derive(Debug, Clone)]
pub struct Match {
    /// Where the values are.
    pub source: Source,
    /// How it was found.
    pub method: Method,
}

/// One checkpoint's tensors by place.
pub type Matches = BTreeMap<Place, Match>;

/// What the user says beyond the files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names (with `*` for anything) of tensors to leave out on either side.
    pub ignore: Vec<String>,
}

/// The pool and what a user should know about how it was put together.
#[derive(Debug)]
pub struct Aligned {
    /// Origin and checkpoints over the same parameters.
    pub pool: Pool,
    /// Where each parameter is fed into the graph.
    pub places: Vec<Vec<Place>>,
    /// How each parameter was found in each checkpoint: `methods[parameter][checkpoint]`.
    pub methods: Vec<Vec<Method>>,
    /// Each checkpoint's tensor at each place; one parameter may have several names in a file.
    pub matches: Vec<Matches>,
    /// Floating-point initializers that are constants of the network.
    pub constants: Vec<String>,
    /// Tensors passed over (integers, bookkeeping), by checkpoint.
    pub passed_over: Vec<Vec<String>>,
    /// What shows that the tensors stand where they belong, by checkpoint.
    pub verified: Vec<Verified>,
    /// What --ignore took out of each checkpoint, where that changes the model.
    pub left_out: Vec<LeftOut>,
    /// What is to stand beside values between the checkpoints, where averaging the tensors is not
    /// averaging the models' parameters.
    pub caveat: Option<String>,
    /// Warnings for the reader of the results.
    pub warnings: Vec<String>,
}

impl Aligned {
    /// Where and how a parameter is put into the graph, under a name; without elements they are to
    /// be handed over.
    pub fn weight_slot(&self, index: usize, name: &str, elements: Option<Bytes>) -> WeightSlot {
        let parameter = &self.pool.parameters[index];
        WeightSlot {
            name: name.to_string(),
            dtype: parameter.dtype,
            shape: parameter.shape.clone(),
            places: self.places[index].clone(),
            elements,
        }
    }
}

/// Aligns checkpoints with the origin.
///
/// `origin_weights` are the origin's own weights under the checkpoints' names; with them every
/// match is verified by value.
///
/// # Errors
/// When a tensor stays unmatched on either side, shapes differ, two tensors claim one place, or
/// batch norm was folded into the graph but not into a checkpoint; one message lists all.
pub fn pool(
    network: &Network<'_>,
    origin_name: &str,
    checkpoints: &[Checkpoint],
    origin_weights: Option<&Checkpoint>,
    options: &Options,
) -> Result<Aligned> {
    refuse_bodies(network, options)?;
    refuse_idle(network, checkpoints, options)?;
    let weights = origin_weights.map(named_tensors).transpose()?;
    let mut matched = Vec::new();
    let mut passed_over = Vec::new();
    let mut verified = Vec::new();
    for checkpoint in checkpoints {
        let (matches, passed, by) = match &checkpoint.content {
            Content::Onnx(model) => (by_graph(network, model)?, Vec::new(), Verified::Graph),
            Content::Safetensors(tensors) => {
                let names = Names::new(network, tensors, weights);
                named::matches(&names, checkpoint, origin_weights, options)?
            }
        };
        matched.push(matches);
        passed_over.push(passed);
        verified.push(by);
    }
    let uses = group::parameters(network, checkpoints, &matched, options)?;
    refuse_subgraphs(network, &uses.places)?;
    let origin = Member {
        name: origin_name.to_string(),
        path: network.model.path.clone(),
        sources: origin_sources(network, &uses),
    };
    let members = checkpoints
        .iter()
        .enumerate()
        .map(|(k, checkpoint)| Member {
            name: checkpoint.name.clone(),
            path: checkpoint.path.clone(),
            sources: sources(&uses, &matched[k]),
        });
    let methods = uses.places.iter().map(|places| {
        let method = |matches: &Matches| matches[&places[0]].method;
        matched.iter().map(method).collect()
    });
    let left_out = left_out::find(
        network,
        checkpoints,
        &matched,
        &passed_over,
        weights,
        options,
    );
    let mut aligned = Aligned {
        methods: methods.collect(),
        pool: Pool {
            members: std::iter::once(origin).chain(members).collect(),
            parameters: uses.parameters,
        },
        places: uses.places,
        matches: matched,
        constants: uses.constants,
        passed_over,
        verified,
        caveat: None,
        warnings: left_out::warnings(&left_out, checkpoints, origin_name),
        left_out,
    };
    let (doubts, caveat) = verify::doubts(network, &aligned, checkpoints, origin_weights);
    aligned.warnings.extend(doubts);
    aligned.caveat = caveat;
    Ok(aligned)
}

/// Parameters with their places, before the members' sources are gathered.
struct Grouped {
    parameters: Vec<Parameter>,
    places: Vec<Vec<Place>>,
    constants: Vec<String>,
}

fn named_tensors(checkpoint: &Checkpoint) -> Result<&BTreeMap<String, Tensor>> {
    verify::state_dict(checkpoint).ok_or_else(|| {
        Error::flag(
            "--origin-weights",
            format!(
                "needs the origin's weights under their own names (.safetensors), not {}",
                checkpoint.path.display()
            ),
        )
    })
}

/// A pattern that fits no name is a slip, and what it was to leave out stays.
fn refuse_idle(network: &Network<'_>, checkpoints: &[Checkpoint], options: &Options) -> Result<()> {
    let uses = network.uses.iter();
    let graph = uses.flat_map(|it| [it.initializer.as_str(), it.alias.as_str()]);
    let dicts = checkpoints.iter().filter_map(verify::state_dict);
    let own = checkpoints.iter().filter_map(|it| match &it.content {
        Content::Onnx(model) => Some(model.tensors.keys()),
        Content::Safetensors(_) => None,
    });
    let names: BTreeSet<&str> = graph
        .chain(dicts.flat_map(BTreeMap::keys).map(String::as_str))
        .chain(own.flatten().map(String::as_str))
        .collect();
    let idle = |pattern: &&String| {
        let pattern = std::slice::from_ref(*pattern);
        !names.iter().any(|name| is_ignored(name, pattern))
    };
    match options.ignore.iter().find(idle) {
        Some(pattern) if !checkpoints.is_empty() => Err(Error::flag(
            "--ignore",
            format!("`{pattern}` fits no tensor of the network or of a checkpoint"),
        )
        .help("a pattern is a whole name, or has a `*` for anything: --ignore 'fc.*'; repeat the flag for more")),
        _ => Ok(()),
    }
}

/// Whether the user wants a place of the graph left as θ0 has it: by the name of the initializer,
/// or by that of a checkpoint's tensor there.
fn is_left(r#use: &Use, matched: &[Matches], options: &Options) -> bool {
    let named = |name: &str| is_ignored(name, &options.ignore);
    let stored = |matches: &Matches| {
        let found = matches.get(&r#use.place);
        found.is_some_and(|found| named(&found.source.name))
    };
    !options.ignore.is_empty()
        && (named(&r#use.initializer) || named(&r#use.alias) || matched.iter().any(stored))
}

fn by_graph(network: &Network<'_>, model: &Model) -> Result<Matches> {
    let other = Network::of(model);
    let places = align(network, &other)?;
    let matches = places.into_iter().filter_map(|(place, name)| {
        let source = Source {
            tensor: model.tensors.get(&name)?.clone(),
            name,
            transposed: false,
        };
        let method = Method::Graph;
        Some((place, Match { source, method }))
    });
    Ok(matches.collect())
}

fn origin_sources(network: &Network<'_>, grouped: &Grouped) -> Vec<Source> {
    let source = |places: &Vec<Place>| {
        let r#use = network.uses.iter().find(|r#use| r#use.place == places[0])?;
        Some(Source {
            name: r#use.initializer.clone(),
            tensor: network.tensor(&r#use.initializer)?.clone(),
            transposed: false,
        })
    };
    grouped.places.iter().filter_map(source).collect()
}

fn sources(grouped: &Grouped, matches: &Matches) -> Vec<Source> {
    let first = |places: &Vec<Place>| matches[&places[0]].source.clone();
    grouped.places.iter().map(first).collect()
}

/// Refuses parameters that are read inside a branch or loop body before anything is matched: all
/// that the bodies of a node read has one place, and nothing there is compared.
fn refuse_bodies(network: &Network<'_>, options: &Options) -> Result<()> {
    let is_parameter = |r#use: &&Use| {
        r#use.place.slot == SUBGRAPH
            && !named::is_constant(network, &r#use.initializer)
            && !is_ignored(&r#use.initializer, &options.ignore)
    };
    match network.uses.iter().find(is_parameter) {
        None => Ok(()),
        Some(r#use) => Err(Error::input(
            &network.model.path,
            format!(
                "node `{}` uses a parameter inside a branch or loop body (`{}`), which is not \
                 supported",
                network.nodes()[r#use.place.node].name(),
                r#use.initializer
            ),
        )
        .help(
            "export the network without `If`, `Loop` and `Scan`; if it is a constant, leave it \
             out with --ignore",
        )),
    }
}

fn refuse_subgraphs(network: &Network<'_>, places: &[Vec<Place>]) -> Result<()> {
    match places.iter().flatten().find(|place| place.slot == SUBGRAPH) {
        None => Ok(()),
        Some(place) => Err(Error::input(
            &network.model.path,
            format!(
                "node `{}` uses a parameter inside a branch or loop body, which is not supported",
                network.nodes()[place.node].name()
            ),
        )),
    }
}

/// Whether a name fits one of the patterns; `*` stands for anything.
fn is_ignored(name: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| fits(name, pattern))
}

fn fits(name: &str, pattern: &str) -> bool {
    let Some((head, pattern)) = pattern.split_once('*') else {
        return name == pattern;
    };
    let (middle, tail) = pattern.rsplit_once('*').unwrap_or(("", pattern));
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    // Each part where it first stands: a later place leaves no more room for the others.
    for part in middle.split('*') {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        assert!(fits("h.0.attn.bias", "h.*.attn.bias"));
        assert!(fits("inv_freq", "*"));
        assert!(!fits("h.0.attn.bias_k", "h.*.attn.bias"));
        assert!(!fits("a", "b"));
        assert!(fits("ab", "a*b") && fits("ab", "*a**b*") && !fits("a", "a*a"));
        assert!(fits("aXbXc", "a*X*c") && !fits("aXbXcd", "a*X*c"));
        assert!(fits("ä.ß", "*.*ß") && !fits("x.y.x", "*.z.*"));
        // Exponential where every place of a star is tried.
        assert!(!fits(&"a".repeat(10_000), &("*a".repeat(3_000) + "b")));
    }
}
