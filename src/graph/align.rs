//! Aligns two exports of the same network: finds the initializer of one that corresponds to each
//! initializer of the other.
//!
//! Both graphs are walked backwards together from their outputs. Operators, attributes and wiring
//! must agree; names of nodes and values and the order of nodes do not matter.

use std::collections::{BTreeMap, HashMap};

use super::anonymous;
use super::names::captures;
use super::network::{Network, Place};
use crate::checkpoint::onnx::proto::NodeProto;
use crate::error::{Error, Result};

/// Maps each place where the origin reads a floating-point initializer to the name of the other
/// graph's initializer there.
///
/// `may_differ` says of two initializers whether they may have different shapes.
///
/// # Errors
/// When the graphs differ anywhere else; the message names the node and the difference.
pub fn align(
    origin: &Network<'_>,
    other: &Network<'_>,
    may_differ: &dyn Fn(&str, &str) -> bool,
) -> Result<BTreeMap<Place, String>> {
    let mut walk = Walk {
        origin,
        other,
        may_differ,
        partner: HashMap::new(),
        places: BTreeMap::new(),
        pending: Vec::new(),
    };
    walk.run().map_err(|problem| {
        Error::input(
            &other.model.path,
            format!(
                "is not the same network as {}: {problem}",
                origin.model.path.display()
            ),
        )
        .help(
            "export both with the same exporter and settings; the current PyTorch exporter with \
             torch.onnx.export(..., dynamo=True, optimize=False) keeps every tensor",
        )
    })
}

type Problem = String;
type Walked<T> = std::result::Result<T, Problem>;

struct Walk<'a> {
    origin: &'a Network<'a>,
    other: &'a Network<'a>,
    may_differ: &'a dyn Fn(&str, &str) -> bool,
    /// The other graph's value for each value of the origin visited so far.
    partner: HashMap<String, String>,
    places: BTreeMap<Place, String>,
    /// Pairs of nodes whose inputs are still to be compared.
    pending: Vec<(usize, usize)>,
}

impl Walk<'_> {
    fn run(&mut self) -> Walked<BTreeMap<Place, String>> {
        let outputs = |network: &Network<'_>| -> Vec<String> {
            let outputs = network.model.graph().output.iter();
            outputs.map(|output| output.name().to_string()).collect()
        };
        let (ours, theirs) = (outputs(self.origin), outputs(self.other));
        if ours.len() != theirs.len() {
            return Err(format!("{} outputs against {}", theirs.len(), ours.len()));
        }
        for (a, b) in ours.iter().zip(&theirs) {
            self.value(a, b, None)?;
        }
        while let Some((a, b)) = self.pending.pop() {
            self.node(a, b)?;
        }
        Ok(std::mem::take(&mut self.places))
    }

    /// Compares two values; `place` is where the origin reads the first.
    fn value(&mut self, a: &str, b: &str, place: Option<Place>) -> Walked<()> {
        let (a, b) = (
            self.look_through(self.origin, a)?,
            self.look_through(self.other, b)?,
        );
        let initializers = (
            self.origin.initializer_behind(&a),
            self.other.initializer_behind(&b),
        );
        match initializers {
            (Some(a), Some(b)) => return self.initializer(a, b, place),
            (None, None) => {}
            _ => return Err(self.part(place, "a computed value against a stored tensor")),
        }
        if let Some(known) = self.partner.get(&a) {
            return if *known == b {
                Ok(())
            } else {
                Err(self.part(place, "the wiring differs"))
            };
        }
        self.partner.insert(a.clone(), b.clone());
        match (self.origin.producer(&a), self.other.producer(&b)) {
            (Some(m), Some(n)) => {
                let slot = |node: &NodeProto, value: &str| {
                    node.output.iter().position(|output| output == value)
                };
                let (p, q) = (&self.origin.nodes()[m], &self.other.nodes()[n]);
                if p.op_type() != q.op_type() || p.domain() != q.domain() {
                    return Err(format!(
                        "node {} is {}, the other's is {}",
                        self.describe(m),
                        p.op_type(),
                        q.op_type()
                    ));
                }
                if slot(p, &a) != slot(q, &b) {
                    return Err(self.part(place, "the wiring differs"));
                }
                self.pending.push((m, n));
                Ok(())
            }
            (None, None) => {
                let index = |network: &Network<'_>, value: &str| {
                    network.inputs().iter().position(|input| *input == value)
                };
                if index(self.origin, &a) == index(self.other, &b) {
                    Ok(())
                } else {
                    Err(self.part(place, "different inputs of the network"))
                }
            }
            _ => Err(self.part(place, "an input of the network against a computed value")),
        }
    }

    fn initializer(&mut self, a: &str, b: &str, place: Option<Place>) -> Walked<()> {
        let (Some(ours), Some(theirs)) = (self.origin.tensor(a), self.other.tensor(b)) else {
            return Err(self.part(place, "a tensor without data"));
        };
        if ours.shape != theirs.shape && !(self.may_differ)(a, b) {
            return Err(self.part(
                place,
                &format!(
                    "`{a}` has shape {:?}, the other's `{b}` has {:?} (a head of another size? \
                     --ignore '{a}' keeps θ0's, --fixed '{a}=MODEL' takes one for all models)",
                    ours.shape, theirs.shape
                ),
            ));
        }
        if ours.dtype.is_float() != theirs.dtype.is_float()
            || (!ours.dtype.is_float() && ours.bytes != theirs.bytes)
        {
            return Err(self.part(place, &format!("constant `{a}` differs from `{b}`")));
        }
        if let Some(place) = place {
            self.places.insert(place, b.to_string());
        }
        Ok(())
    }

    fn node(&mut self, a: usize, b: usize) -> Walked<()> {
        let (p, q) = (&self.origin.nodes()[a], &self.other.nodes()[b]);
        let (ours, theirs) = (trimmed(&p.input), trimmed(&q.input));
        if ours.len() != theirs.len() {
            return Err(format!(
                "node {} ({}) has {} inputs, the other's has {} (exporters drop a bias that is zero)",
                self.describe(a),
                p.op_type(),
                ours.len(),
                theirs.len()
            ));
        }
        if let Some(name) = differing_attribute(p, q) {
            return Err(format!(
                "node {} ({}) differs in `{name}`",
                self.describe(a),
                p.op_type()
            ));
        }
        for (slot, (x, y)) in ours.iter().zip(theirs).enumerate() {
            match (x.is_empty(), y.is_empty()) {
                (true, true) => {}
                (false, false) => self.value(x, y, Some(Place { node: a, slot }))?,
                _ => return Err(self.part(Some(Place { node: a, slot }), "an input is left out")),
            }
        }
        // What the graphs inside the nodes read: they are equal up to names.
        let (ours, theirs) = (captures(p), captures(q));
        for (k, (x, y)) in ours.iter().zip(theirs).enumerate() {
            let slot = p.input.len() + k;
            self.value(x, y, Some(Place { node: a, slot }))?;
        }
        Ok(())
    }

    /// Follows Identity nodes back to the value behind them.
    fn look_through(&self, network: &Network<'_>, value: &str) -> Walked<String> {
        let mut value = value;
        for _ in network.nodes() {
            let node = network.producer(value).map(|node| &network.nodes()[node]);
            let input = node.and_then(|node| node.input.first().map(|input| (node, input)));
            match input {
                Some((node, input)) if node.op_type() == "Identity" => value = input,
                _ => return Ok(value.to_string()),
            }
        }
        // After as many steps as there are nodes, some node was visited twice.
        match network.producer(value) {
            Some(_) => Err(format!("`{value}` is made from itself by Identity nodes")),
            None => Ok(value.to_string()),
        }
    }

    fn describe(&self, node: usize) -> String {
        let name = self.origin.nodes()[node].name();
        if name.is_empty() {
            format!("{node}")
        } else {
            format!("`{name}`")
        }
    }

    fn part(&self, place: Option<Place>, problem: &str) -> Problem {
        match place {
            Some(place) => {
                let op_type = self.origin.nodes()[place.node].op_type();
                let node = self.describe(place.node);
                format!(
                    "at input {} of node {node} ({op_type}): {problem}",
                    place.slot
                )
            }
            None => format!("at the output: {problem}"),
        }
    }
}

/// The inputs without trailing omitted ones.
fn trimmed(inputs: &[String]) -> &[String] {
    let used = inputs.iter().rposition(|input| !input.is_empty());
    &inputs[..used.map_or(0, |last| last + 1)]
}

fn differing_attribute(p: &NodeProto, q: &NodeProto) -> Option<String> {
    let sorted = |node: &NodeProto| {
        let node = anonymous::node(node);
        let attributes = node.attribute.into_iter();
        let attributes = attributes.map(|attribute| (attribute.name().to_string(), attribute));
        attributes.collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (sorted(p), sorted(q));
    let differs = |name: &&String| ours.get(*name) != theirs.get(*name);
    ours.keys()
        .chain(theirs.keys())
        .find(differs)
        .map(ToString::to_string)
}
