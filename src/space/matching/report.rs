//! What did not fit, told in one message, and the checks that need values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::{Matches, Method};
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::pool::Source;

/// How many names a list in a message shows.
const SHOWN: usize = 8;

/// Everything that is wrong with one checkpoint.
#[derive(Debug, Default)]
pub(super) struct Findings {
    missing: BTreeMap<String, Vec<usize>>,
    extra: BTreeMap<String, Vec<usize>>,
    misshapen: BTreeMap<String, (Vec<usize>, Vec<usize>)>,
    unlike: Vec<String>,
}

impl Findings {
    pub fn missing(&mut self, name: &str, shape: &[usize]) {
        self.missing.insert(name.to_string(), shape.to_vec());
    }

    pub fn extra(&mut self, name: &str, shape: &[usize]) {
        self.extra.insert(name.to_string(), shape.to_vec());
    }

    pub fn misshapen(&mut self, name: &str, found: &[usize], expected: &[usize]) {
        let shapes = (found.to_vec(), expected.to_vec());
        self.misshapen.insert(name.to_string(), shapes);
    }

    pub fn is_misshapen(&self, name: &str) -> bool {
        self.misshapen.contains_key(name)
    }

    /// The error that lists everything, or nothing.
    pub fn into_result(self, path: &Path, network: &Network<'_>) -> Result<()> {
        let Self {
            missing,
            extra,
            misshapen,
            unlike,
        } = &self;
        if missing.is_empty() && extra.is_empty() && misshapen.is_empty() && unlike.is_empty() {
            return Ok(());
        }
        let origin = network.model.path.display();
        let mut problem = format!("does not fit the network of {origin}");
        let plain = |(name, shape): (&String, &Vec<usize>)| format!("{name} {shape:?}");
        let both = |(name, (found, expected)): (&String, &(Vec<usize>, Vec<usize>))| {
            format!("{name} is {found:?}, the graph has {expected:?}")
        };
        list(&mut problem, "of another shape", misshapen.iter().map(both));
        list(&mut problem, "only in the graph", missing.iter().map(plain));
        list(
            &mut problem,
            "only in the checkpoint",
            extra.iter().map(plain),
        );
        list(
            &mut problem,
            "matched, but not the same tensor",
            unlike.iter().cloned(),
        );
        Err(Error::input(path, problem).help(self.advice()))
    }

    fn advice(&self) -> String {
        const EXPORT: &str =
            "torch.onnx.export(model.eval(), args, file, dynamo=True, optimize=False)";
        let norms = self.extra.keys().any(|name| name.ends_with("running_var"));
        if norms {
            format!(
                "batch norm was folded into the convolutions of the graph, under the same names, \
                 but not in the checkpoint; export the origin again with {EXPORT}, which keeps it"
            )
        } else if self.misshapen.is_empty() && !self.extra.is_empty() && self.missing.is_empty() {
            format!(
                "the exporter left these tensors out of the graph (a bias that is zero, a folded \
                 constant); export the origin again with {EXPORT}, which keeps every tensor, or \
                 leave them out on purpose with --ignore NAME"
            )
        } else {
            format!(
                "is it a checkpoint of this network? {EXPORT} keeps every tensor under its name; \
                 --origin-weights zs.safetensors matches what was renamed by its values; \
                 --ignore NAME leaves a tensor out on purpose"
            )
        }
    }
}

fn list(text: &mut String, title: &str, items: impl ExactSizeIterator<Item = String>) {
    let count = items.len();
    if count == 0 {
        return;
    }
    let _ = write!(text, "\n  {title} ({count}):");
    for item in items.take(SHOWN) {
        let _ = write!(text, "\n    {item}");
    }
    if count > SHOWN {
        let _ = write!(text, "\n    and {} more", count - SHOWN);
    }
}

/// Whether two tensors hold the same values: `Some(false)` as they are, `Some(true)` when the
/// second is the transpose of the first, `None` when they differ.
pub(super) fn equal_values(first: &Tensor, second: &Tensor) -> Option<bool> {
    let same = |transposed: bool| {
        let source = Source {
            name: String::new(),
            tensor: second.clone(),
            transposed,
        };
        decode::equal(first, &source)
    };
    if first.shape == second.shape && same(false) {
        return Some(false);
    }
    let turned = first.shape.len() == 2 && second.shape == [first.shape[1], first.shape[0]];
    (turned && same(true)).then_some(true)
}

/// With the origin's own weights at hand, every match must hold the origin's values.
pub(super) fn verify_values(
    network: &Network<'_>,
    weights: &Option<BTreeMap<&str, &Tensor>>,
    matches: &Matches,
    findings: &mut Findings,
) {
    let Some(weights) = weights else {
        return;
    };
    for r#use in &network.uses {
        let Some(found) = matches.get(&r#use.place) else {
            continue;
        };
        let source = &found.source;
        let (Some(tensor), Some(weight)) = (
            network.tensor(&r#use.initializer),
            weights.get(source.name.as_str()),
        ) else {
            continue;
        };
        let named = Source {
            name: source.name.clone(),
            tensor: (*weight).clone(),
            transposed: source.transposed,
        };
        if weight.shape != source.tensor.shape || !decode::equal(tensor, &named) {
            findings.unlike.push(format!(
                "{} is not what the graph holds as `{}` (by --origin-weights)",
                source.name, r#use.initializer
            ));
        }
    }
}

/// A square matrix that was renamed could be matched the wrong way round. A fine-tune stays
/// nearer to θ0 than to its transpose; where it does not, the match is refused.
pub(super) fn orientation(network: &Network<'_>, matches: &Matches, findings: &mut Findings) {
    for r#use in &network.uses {
        let Some(found) = matches.get(&r#use.place) else {
            continue;
        };
        let Some(tensor) = network.tensor(&r#use.initializer) else {
            continue;
        };
        let square = tensor.shape.len() == 2 && tensor.shape[0] == tensor.shape[1];
        if !square || matches!(found.method, Method::Name | Method::Values | Method::Graph) {
            continue;
        }
        let other = Source {
            transposed: !found.source.transposed,
            ..found.source.clone()
        };
        let (as_matched, turned) = (
            decode::squared_distance(tensor, &found.source),
            decode::squared_distance(tensor, &other),
        );
        if turned < 0.5 * as_matched {
            findings.unlike.push(format!(
                "{} fits `{}` better the other way round; --origin-weights settles it",
                found.source.name, r#use.initializer
            ));
        }
    }
}

/// What the reader of a figure should know about the graph itself.
pub(super) fn warnings(network: &Network<'_>, checkpoints: &[Checkpoint]) -> Vec<String> {
    let onnx = checkpoints
        .iter()
        .any(|checkpoint| matches!(checkpoint.content, Content::Onnx(_)));
    let folded: Vec<&str> = network
        .uses
        .iter()
        .map(|r#use| r#use.initializer.as_str())
        .filter(|name| name.ends_with(".weight_bias") || name.starts_with("onnx::Conv_"))
        .collect();
    if !onnx || folded.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "batch norm was folded into the convolutions of these graphs (`{}`): averaging folded \
         weights is not folding averaged weights; export with dynamo=True, optimize=False to keep it",
        folded[0]
    )]
}
