//! A model in a session, whatever its binding, and how it is run on the samples of a shard.

use std::collections::HashMap;
use std::ops::Range;

use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions, SessionInputValue, SessionOutputs,
};
use ort::value::{DynValue, Tensor};

use super::buffer::to_f32;
use super::context::Context;
use super::feed::{Feed, Feeds};
use super::light_model::LightSession;
use super::setup::{failed, failed_batch};
use super::shard::Shard;
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::evaluate::metrics::Outcome;
use crate::graph::loss_outputs;
use crate::space::mix::Mix;

/// A session that holds a model, or that forms one from coefficients.
pub struct Model {
    session: LightSession,
    feeds: Feeds,
    output: String,
    /// The number of its worker, which determines its device.
    worker: usize,
    /// Run options that request the logits only.
    logits: RunOptions<HasSelectedOutputs>,
    /// Run options that request the losses only, if the graph computes them.
    losses: Option<RunOptions<HasSelectedOutputs>>,
    /// Mixed weights by the index of the moving tensor, those that are inputs.
    pub weights: HashMap<usize, DynValue>,
}

impl Model {
    /// A model over a graph written here, whose inputs are known by name.
    ///
    /// # Errors
    /// Fails when the graph has an unknown input.
    pub fn new(context: &Context<'_>, session: LightSession, worker: usize) -> Result<Self> {
        let feeds = Feeds::by_name(&session, &context.input_names())?;
        let losses = feeds.contains(Feed::Labels);
        let output = context.setup.signature.output_name.clone();
        Self::with(session, feeds, output, losses, worker)
    }

    /// A model over a file. Another export may name its inputs and outputs differently, so they are
    /// matched by order.
    ///
    /// # Errors
    /// Fails when ONNX Runtime has no memory.
    pub fn of_file(context: &Context<'_>, session: LightSession, worker: usize) -> Result<Self> {
        let feeds = Feeds::by_order(&session);
        let output = session.outputs()[context.setup.signature.output].name();
        let output = output.to_string();
        Self::with(session, feeds, output, false, worker)
    }

    fn with(
        session: LightSession,
        feeds: Feeds,
        output: String,
        losses: bool,
        worker: usize,
    ) -> Result<Self> {
        let fail = |error: ort::Error| failed("building the session", &error);
        let losses = losses.then(|| only(&[loss_outputs::LOSS, loss_outputs::CORRECT]));
        Ok(Self {
            logits: only(&[&output]).map_err(fail)?,
            losses: losses.transpose().map_err(fail)?,
            feeds,
            output,
            worker,
            weights: HashMap::new(),
            session,
        })
    }

    /// Evaluates the samples at `places` of the data set's order, which must lie in `shard`.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn outcomes(
        &mut self,
        context: &Context<'_>,
        mix: Option<&Mix>,
        shard: &Shard,
        places: Range<usize>,
        batch: usize,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(places.len());
        for rows in shard.batches(places, batch) {
            context.setup.check_stop()?;
            if let Some(computed) = self.losses(context, mix, shard, rows)? {
                outcomes.extend(computed);
                continue;
            }
            self.logits(context, mix, shard, rows, |row, logits| {
                outcomes.push(Outcome::of(logits, shard.labels[rows.0 + row]));
            })?;
        }
        Ok(outcomes)
    }

    /// The losses that the graph computed for rows `from..to`. `None` if the graph computes none or
    /// a loss is not finite; only the code that reads logits decides what that means.
    fn losses(
        &mut self,
        context: &Context<'_>,
        mix: Option<&Mix>,
        shard: &Shard,
        rows: (usize, usize),
    ) -> Result<Option<Vec<Outcome>>> {
        if self.losses.is_none() {
            return Ok(None);
        }
        let reading = |error: ort::Error| failed("reading the losses", &error);
        let outputs = self.run(context, mix, shard, rows, true)?;
        let losses = outputs[loss_outputs::LOSS].try_extract_tensor::<f64>();
        let correct = outputs[loss_outputs::CORRECT].try_extract_tensor::<bool>();
        let (losses, correct) = (losses.map_err(reading)?.1, correct.map_err(reading)?.1);
        let count = rows.1 - rows.0;
        let outcomes = losses.iter().zip(correct).take(count);
        let outcomes: Vec<Outcome> = outcomes
            .map(|(&loss, &correct)| Outcome { loss, correct })
            .collect();
        let is_plain =
            outcomes.len() == count && outcomes.iter().all(|outcome| outcome.loss.is_finite());
        Ok(is_plain.then_some(outcomes))
    }

    /// Runs rows `from..to` of a shard, passes each row of logits to `visit`, and returns the
    /// number of classes. If the graph fixes its batch size, the batch is padded with copies of the
    /// first sample, whose logits are skipped.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or its output is not [batch, classes].
    pub fn logits(
        &mut self,
        context: &Context<'_>,
        mix: Option<&Mix>,
        shard: &Shard,
        rows: (usize, usize),
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<usize> {
        let count = rows.1 - rows.0;
        let batch = context.setup.signature.fixed_batch.unwrap_or(count);
        let output = self.output.clone();
        let outputs = self.run(context, mix, shard, rows, false)?;
        let logits = &outputs[output.as_str()];
        let (shape, values) =
            to_f32(logits).map_err(|error| failed("reading the logits", &error))?;
        match shape.as_slice() {
            [rows, classes] if *rows == batch as i64 && *classes > 0 => {
                let classes = *classes as usize;
                for (row, logits) in values.chunks_exact(classes).take(count).enumerate() {
                    visit(row, logits);
                }
                Ok(classes)
            }
            _ => Err(Error::input(
                &context.setup.pool.members[0].path,
                format!(
                    "output `{output}` has shape {shape:?} for {batch} samples; a classifier's \
                     logits, [batch, classes], are needed"
                ),
            )
            .help("another output can be named with --output NAME")),
        }
    }

    /// Runs rows `from..to` of a shard, for the losses or for the logits.
    fn run(
        &mut self,
        context: &Context<'_>,
        mix: Option<&Mix>,
        shard: &Shard,
        rows: (usize, usize),
        losses: bool,
    ) -> Result<SessionOutputs<'_>> {
        let (weights, worker) = (&self.weights, self.worker);
        let value = |feed: Feed| -> ort::Result<SessionInputValue<'_>> {
            match feed {
                Feed::Input(k) => shard.input(k, rows, worker),
                Feed::Feature(k) => shard.feature(k, rows, worker),
                Feed::Labels => shard.classes(rows, worker),
                Feed::Weight(k) => match weights.get(&k) {
                    Some(value) => Ok(value.into()),
                    None => Err(feed.missing()),
                },
                Feed::Coefficient(member, dtype) => {
                    let c = mix.map_or(0.0, |mix| mix.row(0)[member]);
                    let shape = Vec::<i64>::new();
                    Ok(match dtype {
                        Dtype::F64 => Tensor::from_array((shape, vec![c]))?.into(),
                        _ => Tensor::from_array((shape, vec![c as f32]))?.into(),
                    })
                }
                Feed::SampleWeights | Feed::Beta | Feed::Direction(_) => Err(feed.missing()),
            }
        };
        let options = match &self.losses {
            Some(options) if losses => options,
            _ => &self.logits,
        };
        self.feeds
            .values(value)
            .and_then(|feeds| self.session.run_with_options(feeds, options))
            .map_err(|error| {
                let data = context.setup.datasets[shard.dataset].path();
                failed_batch(
                    &format!("running {}", data.display()),
                    &error,
                    rows.1 - rows.0,
                )
            })
    }
}

/// Run options that request these outputs and no others.
fn only(names: &[&str]) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let outputs = names
        .iter()
        .fold(OutputSelector::no_default(), |all, name| all.with(*name));
    Ok(RunOptions::new()?.with_outputs(outputs))
}
