//! Batch norm's running statistics: which parameters they are, and what becomes of them in a mix.

use std::fmt;

use super::matching::{Aligned, MatchRule};
use super::pool::ParameterRole;
use crate::error::{Error, Result};
use crate::graph::network::{Network, Place};

/// What becomes of batch norm's running statistics in a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchNorm {
    /// They are averaged with the mix's coefficients, as state dicts are.
    #[default]
    Interpolate,
    /// They are re-estimated for every model from training samples, as a pass in training mode does.
    Recalibrate {
        /// Number of training samples.
        samples: usize,
        /// Number of samples in a batch.
        batch: usize,
    },
    /// θ0's are kept in every model.
    Origin,
}

/// Samples in a batch of a re-estimation, unless another number is asked for.
const BATCH: usize = 256;

impl BatchNorm {
    /// Parses `interpolate`, `recalibrate=N`, `recalibrate=N:BATCH` or `origin`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "interpolate" => return Some(Self::Interpolate),
            "origin" => return Some(Self::Origin),
            _ => {}
        }
        let numbers = text.strip_prefix("recalibrate=")?;
        let (samples, batch) = match numbers.split_once(':') {
            Some((samples, batch)) => (samples, Some(batch.parse().ok()?)),
            None => (numbers, None),
        };
        let samples: usize = samples.parse().ok()?;
        let batch = batch.unwrap_or(BATCH).min(samples);
        (batch > 0).then_some(Self::Recalibrate { samples, batch })
    }

    /// Whether statistics are re-estimated.
    pub fn is_recalibrated(self) -> bool {
        matches!(self, Self::Recalibrate { .. })
    }
}

/// Formats a policy as on the command line, with the batch size.
impl fmt::Display for BatchNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interpolate => f.write_str("interpolate"),
            Self::Recalibrate { samples, batch } => write!(f, "recalibrate={samples}:{batch}"),
            Self::Origin => f.write_str("origin"),
        }
    }
}

/// Applies a policy to aligned checkpoints: `origin` gives all models θ0's statistics, and
/// `recalibrate` lets all statistics move, even those that the checkpoints agree on.
///
/// # Errors
/// When there is nothing to apply it to, or a statistic cannot be re-estimated.
pub fn apply(policy: BatchNorm, network: &Network<'_>, aligned: &mut Aligned) -> Result<()> {
    if policy == BatchNorm::Interpolate {
        return Ok(());
    }
    let of = |index: &usize| is_statistic(network, aligned, *index);
    let found: Vec<usize> = (0..aligned.pool.parameters.len()).filter(of).collect();
    if found.is_empty() {
        return Err(nothing(policy, network));
    }
    if policy.is_recalibrated() {
        for &index in &found {
            check(network, aligned, index)?;
        }
    }
    let pool = &mut aligned.pool;
    for index in found {
        pool.parameters[index].frozen = policy == BatchNorm::Origin;
        if policy == BatchNorm::Origin {
            let origin = pool.members[0].sources[index].clone();
            for member in &mut pool.members {
                member.sources[index] = origin.clone();
            }
        }
    }
    Ok(())
}

/// Whether a policy makes a difference: some tensors of the checkpoints are running statistics, and
/// for `interpolate` some differ between the models.
pub fn matters(policy: BatchNorm, network: &Network<'_>, aligned: &Aligned) -> bool {
    let mut all = 0..aligned.pool.parameters.len();
    let moves =
        |index: usize| policy != BatchNorm::Interpolate || !aligned.pool.parameters[index].frozen;
    all.any(|index| is_statistic(network, aligned, index) && moves(index))
}

fn nothing(policy: BatchNorm, network: &Network<'_>) -> Error {
    let path = network.model.path.display();
    let problem = format!(
        "is `{policy}`, but {path} has no batch norm whose running statistics are tensors of the \
         checkpoints"
    );
    Error::flag("--bn", problem).help(
        "if the exporter folded batch norm into the weights before it, export again with \
         optimize=False; otherwise leave the flag out",
    )
}

/// Whether a parameter is a running statistic of batch norm, by its place or its name.
fn is_statistic(network: &Network<'_>, aligned: &Aligned, index: usize) -> bool {
    let parameter = &aligned.pool.parameters[index];
    let named = ["running_mean", "running_var"].map(|end| parameter.name.ends_with(end));
    let mut places = aligned.places[index].iter();
    parameter.role == ParameterRole::Variance
        || named.contains(&true)
        || places.any(|place| slot(network, *place).is_some())
}

/// The slot of a statistic (3 for the mean, 4 for the variance), if that is what a place reads.
fn slot(network: &Network<'_>, place: Place) -> Option<usize> {
    let is_norm = network.nodes()[place.node].op_type() == "BatchNormalization";
    (is_norm && [3, 4].contains(&place.slot)).then_some(place.slot)
}

/// Checks that a statistic can be re-estimated: every place reads it as the same statistic of one
/// module.
fn check(network: &Network<'_>, aligned: &Aligned, index: usize) -> Result<()> {
    let places = &aligned.places[index];
    let name = &aligned.pool.parameters[index].name;
    let slots: Vec<Option<usize>> = places.iter().map(|it| slot(network, *it)).collect();
    let fault = |problem: &str| {
        let problem = format!("recalibrate: `{name}` {problem}");
        let help = "export the network with torch.onnx.export(..., dynamo=True, optimize=False), \
                    which keeps every batch norm and its own statistics";
        Error::flag("--bn", problem).help(help)
    };
    if slots.contains(&None) {
        return Err(fault(
            "is not read by a BatchNormalization node alone, so that its layer's statistics cannot \
             be told",
        ));
    }
    if slots.iter().any(|slot| *slot != slots[0]) {
        return Err(fault("is both a mean and a variance"));
    }
    if !is_one_module(network, aligned, places) {
        return Err(fault(
            "stands for several layers, which were merged because their values were equal",
        ));
    }
    Ok(())
}

/// Whether places read a statistic of one module: if it has one name in the state dicts, or without
/// any, if the exporter says so of the nodes. Exporters merge what is equal, and its layers may have
/// different statistics all the same.
fn is_one_module(network: &Network<'_>, aligned: &Aligned, places: &[Place]) -> bool {
    let names = |place: &Place| -> Vec<&str> {
        let found = aligned.matches.iter();
        let found = found.filter_map(|matches| matches.get(place));
        let named = found.filter(|it| it.method != MatchRule::Graph);
        named.map(|it| it.source.name.as_str()).collect()
    };
    let first = names(&places[0]);
    if !first.is_empty() {
        return places.iter().all(|place| names(place) == first);
    }
    let module = |place: &Place| network.module_path(place.node);
    let first = module(&places[0]);
    places.len() == 1 || first.is_some() && places.iter().all(|place| module(place) == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written() {
        for (text, written) in [
            ("interpolate", "interpolate"),
            ("origin", "origin"),
            ("recalibrate=1000", "recalibrate=1000:256"),
            ("recalibrate=100", "recalibrate=100:100"),
            ("recalibrate=1000:64", "recalibrate=1000:64"),
        ] {
            let policy = BatchNorm::parse(text).unwrap();
            assert_eq!(policy.to_string(), written);
            assert_eq!(BatchNorm::parse(written), Some(policy));
        }
        for text in [
            "",
            "recalibrate",
            "recalibrate=",
            "recalibrate=0",
            "recalibrate=5:0",
            "x",
        ] {
            assert_eq!(BatchNorm::parse(text), None, "{text}");
        }
    }
}
