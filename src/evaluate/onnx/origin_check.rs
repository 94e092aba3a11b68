//! Runs θ0 on a few samples before any long computation, to check that its output is a classifier's
//! logits and that the logits of a sample do not depend on its batch.

use std::path::Path;

use super::binding::Binding;
use super::context::Context;
use super::layout::Layout;
use super::model::Model;
use super::shard::Shard;
use super::worker::Worker;
use crate::checkpoint::onnx::proto::ValueInfoProto;
use crate::checkpoint::tensor::Dtype;
use crate::error::{Cause, Error, Result};
use crate::graph::network::Network;
use crate::graph::suspect;
use crate::space::mix::Mix;

/// Number of samples of each data set that θ0 is run on.
const SELF_CHECK_SAMPLES: usize = 8;

/// Minimum number of samples needed to tell from the values that an output is not logits.
const LEAST_SAMPLES: usize = 4;

/// How far the sum of a sample's probabilities may be from 1.
const SUM: f32 = 1e-3;

/// A sigmoid's largest value is at least this.
const LEAST: f32 = 0.1;

/// The findings of the check.
pub struct OriginCheck {
    /// Number of logits per sample.
    pub classes: usize,
    /// Warnings for the reader of the results.
    pub warnings: Vec<String>,
}

/// Refuses a network whose graph shows that its output is not logits, or that it is in training
/// mode. Returns warnings.
///
/// # Errors
/// Fails for such a network; the message names the node.
pub fn check_graph(network: &Network<'_>, output: &str) -> Result<Vec<String>> {
    let path = &network.model.path;
    if let Some(found) = suspect::activation(network, output) {
        let logits = &found.logits;
        let mut outputs = network.model.graph().output.iter();
        let is_output = outputs.any(|output: &ValueInfoProto| output.name() == logits);
        let cure = if is_output {
            format!("the logits are an output, too: --output {logits}")
        } else {
            format!(
                "export the network without it: forward() should return what goes into the {}, \
                 `{logits}` in this graph",
                found.operator
            )
        };
        let problem = format!(
            "output `{output}` is that of a {} (node `{}`), but the loss is the cross-entropy of \
             logits: that of probabilities would be wrong",
            found.operator, found.node
        );
        return Err(Error::input(path, problem).help(cure));
    }
    if let Some(found) = suspect::training(network, output) {
        let does = match found.operator.as_str() {
            "Dropout" => "drops values at random",
            _ => "normalizes by the statistics of the batch",
        };
        let problem = format!(
            "is in training mode: node `{}` ({}) {does}, so that no value would be the model's own",
            found.node, found.operator
        );
        return Err(Error::input(path, problem).help(
            "export it with model.eval(), without training=torch.onnx.TrainingMode.TRAINING; a \
             batch norm with track_running_stats=False has no other mode and cannot be used",
        ));
    }
    let random = suspect::random(network, output);
    Ok(random
        .first()
        .map(|node| {
            format!(
                "{} of the nodes draw numbers at random, such as `{node}`: values may differ from \
                 run to run",
                random.len()
            )
        })
        .into_iter()
        .collect())
}

/// Runs θ0 on the first samples of each data set.
///
/// # Errors
/// Fails when ONNX Runtime refuses the network, its output is not a classifier's logits, a label is
/// out of range, or the logits of a sample depend on the rest of its batch.
pub fn check_outputs(context: &Context<'_>, path: &Path) -> Result<OriginCheck> {
    let layout = Layout {
        workers: 1,
        threads: context.setup.options.threads.unwrap_or(1),
        batch: context
            .setup
            .signature
            .fixed_batch
            .unwrap_or(SELF_CHECK_SAMPLES),
        binding: Binding::Baked,
        chunks: 1,
    };
    let mix = Mix::unit(0, context.members());
    let mut worker = Worker::new(context, &layout, 0);
    let model = worker.model(&mix)?;
    let mut all = Rows::default();
    let mut dependence: Option<Dependence> = None;
    for (index, dataset) in context.setup.datasets.iter().enumerate() {
        let rows = layout.batch.min(dataset.len());
        let (shard, _) = context.shard(index, 0..rows, layout.batch)?;
        let found = run(context, model, &mix, &shard, (0, rows))?;
        if found.classes == 1 {
            return Err(one_column(context, path));
        }
        dataset
            .check_labels(found.classes)
            .map_err(|error| error.help(format!("{} is the network", path.display())))?;
        all.classes = found.classes;
        all.values.extend_from_slice(&found.values);
        let here = batch_dependence(context, model, &mix, index, &found)?;
        dependence = dependence
            .into_iter()
            .chain(here)
            .reduce(Dependence::larger);
    }
    let probabilities = no_logits(context, path, &all)?;
    let dependence = dependence.map(|found| found.judge(context, path));
    let dependence = dependence.transpose()?.flatten();
    Ok(OriginCheck {
        classes: all.classes,
        warnings: probabilities.into_iter().chain(dependence).collect(),
    })
}

/// Logits of some samples, one after the other.
#[derive(Default)]
struct Rows {
    classes: usize,
    values: Vec<f32>,
}

fn run(
    context: &Context<'_>,
    model: &mut Model,
    mix: &Mix,
    shard: &Shard,
    rows: (usize, usize),
) -> Result<Rows> {
    let mut values = Vec::new();
    let classes = model.logits(context, Some(mix), shard, rows, |_, logits| {
        values.extend_from_slice(logits);
    })?;
    Ok(Rows { classes, values })
}

fn one_column(context: &Context<'_>, path: &Path) -> Error {
    let problem = format!(
        "output `{}` has one column, the head of a binary task or a regression: over one class \
         every cross-entropy is 0",
        context.setup.signature.output_name
    );
    Error::input(path, problem).help(
        "such tasks are not known yet. For a binary task export two columns, \
         torch.cat([torch.zeros_like(z), z], 1) of the logit z, which have the same loss; for \
         another loss L >= 0 of each sample, torch.stack([torch.zeros_like(L), \
         torch.log(torch.expm1(L))], 1), with labels of 0",
    )
}

/// Refuses values that are probabilities; returns a warning if they may be.
fn no_logits(context: &Context<'_>, path: &Path, rows: &Rows) -> Result<Option<String>> {
    let samples = rows.values.len() / rows.classes.max(1);
    let within = rows.values.iter().all(|value| (0.0..=1.0).contains(value));
    if samples < LEAST_SAMPLES || !within {
        return Ok(None);
    }
    let output = &context.setup.signature.output_name;
    let mut each = rows.values.chunks_exact(rows.classes);
    if each.all(|row| (row.iter().sum::<f32>() - 1.0).abs() <= SUM) {
        let problem = format!(
            "output `{output}` holds probabilities: on {samples} samples all values lie between 0 \
             and 1 and each sample's sum to 1. The loss is the cross-entropy of logits: that of \
             probabilities would be wrong"
        );
        return Err(Error::input(path, problem).help(
            "export the network without its softmax, or name the logits with --output NAME",
        ));
    }
    // A head initialized to 0 gives zeros.
    let most = rows.values.iter().copied().fold(0.0, f32::max);
    Ok((most >= LEAST).then(|| {
        format!(
            "every value of output `{output}` lies between 0 and 1 on {samples} samples, as a \
         sigmoid's do; the loss is right only for logits"
        )
    }))
}

/// How much the logits of samples differ between batches of two sizes.
struct Dependence {
    samples: usize,
    /// The largest difference of two logits.
    difference: f64,
    /// The range of all logits.
    spread: f64,
}

impl Dependence {
    /// The one whose difference is the larger fraction of its range.
    fn larger(self, other: Self) -> Self {
        if other.difference / other.spread > self.difference / self.spread {
            other
        } else {
            self
        }
    }

    /// A warning for the reader of the results, if one is needed.
    ///
    /// # Errors
    /// Fails when the difference is larger than rounding can explain.
    fn judge(&self, context: &Context<'_>, path: &Path) -> Result<Option<String>> {
        let Self {
            samples,
            difference,
            spread,
        } = self;
        let usual = rounding(context);
        if *difference <= usual * spread {
            return Ok(None);
        }
        let found = format!(
            "what it makes of a sample depends on the other samples of its batch: logits of {samples} \
             samples in one batch and in two differ by up to {difference:.2e}, {:.2} % of their range",
            100.0 * difference / spread
        );
        if *difference <= 10.0 * usual * spread {
            return Ok(Some(format!(
                "{}: {found}; values depend a little on --batch",
                context.setup.pool.members[0].name
            )));
        }
        Err(Error::input(
            path,
            format!("{found}; every value would depend on --batch"),
        )
        .help(
            "was it exported in training mode, with normalization over the batch, or with a node \
             that draws at random? export it with model.eval()",
        ))
    }
}

/// Compares the logits of a data set's first samples in one batch with those of the same samples in
/// two halves, each with other neighbours. `None` if the network cannot be run that way.
fn batch_dependence(
    context: &Context<'_>,
    model: &mut Model,
    mix: &Mix,
    dataset: usize,
    whole: &Rows,
) -> Result<Option<Dependence>> {
    let samples = whole.values.len() / whole.classes.max(1);
    let half = samples / 2;
    if half == 0 {
        return Ok(None);
    }
    let mut halves = || -> Result<Vec<f32>> {
        let (shard, _) = context.shard(dataset, 0..samples, half)?;
        let mut first = run(context, model, mix, &shard, (0, half))?.values;
        first.extend(run(context, model, mix, &shard, (half, samples))?.values);
        Ok(first)
    };
    let halves = match halves() {
        Err(error) if matches!(error.cause(), Cause::Interrupted) => return Err(error),
        Err(_) => return Ok(None),
        Ok(halves) => halves,
    };
    let found = difference(&whole.values, &halves);
    Ok(found.map(|(difference, spread)| Dependence {
        samples,
        difference,
        spread,
    }))
}

/// The largest difference of two rows of numbers, and the range of the first. Values that are not
/// finite are skipped.
pub fn difference(one: &[f32], other: &[f32]) -> Option<(f64, f64)> {
    let pairs = one.iter().zip(other);
    let finite = pairs.filter(|(a, b)| a.is_finite() && b.is_finite());
    let pairs: Vec<(f64, f64)> = finite.map(|(&a, &b)| (a.into(), b.into())).collect();
    let difference = pairs.iter().map(|(a, b)| (a - b).abs());
    let difference = difference.fold(0.0, f64::max);
    let least = pairs.iter().map(|(a, _)| *a).fold(f64::INFINITY, f64::min);
    let most = pairs
        .iter()
        .map(|(a, _)| *a)
        .fold(f64::NEG_INFINITY, f64::max);
    // If all values are equal, differences due to rounding must not count.
    let spread = (most - least).max(1e-3 * most.abs().max(least.abs()));
    (spread > 0.0).then_some((difference, spread))
}

/// How much another order of operations may change logits, as a fraction of their range: kernels
/// differ with the batch size.
pub fn rounding(context: &Context<'_>) -> f64 {
    let parameters = context.setup.pool.parameters.iter();
    let of = |dtype: Dtype| match dtype {
        Dtype::Bf16 => 5e-2,
        Dtype::F16 => 1e-2,
        _ if context.setup.options.tf32 => 1e-2,
        _ => 1e-3,
    };
    parameters.map(|it| of(it.dtype)).fold(1e-3, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_held_against_the_range() {
        let found = difference(&[1.0, 3.0, f32::NAN], &[1.0, 3.5, 0.0]);
        assert_eq!(found, Some((0.5, 2.0)));
        assert_eq!(difference(&[0.0, 0.0], &[0.0, 0.0]), None);
        // A constant output whose last digit is changed by rounding.
        let (difference, spread) = difference(&[100.0; 4], &[100.000_01; 4]).unwrap();
        assert!(difference < 1e-3 * spread);
    }
}
