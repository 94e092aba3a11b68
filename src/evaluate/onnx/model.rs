//! A model in a session, whichever way its weights came in, and running it on samples.

use std::borrow::Cow;
use std::ops::Range;

use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue, SessionOutputs,
};
use ort::value::{DynValue, Tensor};

use super::buffer::to_f32;
use super::shard::Shard;
use super::{Engine, failed};
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::evaluate::metrics::Outcome;
use crate::graph::{in_graph, loss_outputs};
use crate::space::mix::Mix;

/// What an input of a session is fed with.
#[derive(Debug, Clone, Copy)]
enum Feed {
    Input(usize),
    Feature(usize),
    Labels,
    Coefficient(usize, Dtype),
    Weight(usize),
}

/// A session that is a model, or that becomes one by coefficients.
pub struct Model {
    session: Session,
    feeds: Vec<(String, Feed)>,
    output: String,
    /// Which of the engine's devices it is on.
    device: usize,
    /// Asks for logits alone.
    logits: RunOptions<HasSelectedOutputs>,
    /// Asks for losses alone, where the graph computes them.
    losses: Option<RunOptions<HasSelectedOutputs>>,
    /// Mixed weights, in the engine's order, where they are inputs.
    pub weights: Vec<DynValue>,
}

impl Model {
    /// A session over a graph written here: inputs are known by name.
    pub fn new(engine: &Engine<'_>, session: Session, device: usize) -> ort::Result<Self> {
        let inputs = session.inputs().iter();
        let feeds: Vec<(String, Feed)> = inputs
            .map(|input| (input.name().to_string(), feed(engine, input.name())))
            .collect();
        let mut inputs = feeds.iter();
        let losses = inputs
            .any(|(_, feed)| matches!(feed, Feed::Labels))
            .then(|| only(&[loss_outputs::LOSS, loss_outputs::CORRECT]));
        let output = engine.signature.output_name.clone();
        Ok(Self {
            logits: only(&[&output])?,
            losses: losses.transpose()?,
            feeds,
            output,
            device,
            weights: Vec::new(),
            session,
        })
    }

    /// A session over a file: another export may call its inputs and outputs otherwise; they
    /// correspond in order.
    pub fn of_file(engine: &Engine<'_>, session: Session, device: usize) -> ort::Result<Self> {
        let inputs = session.inputs().iter().enumerate();
        let output = session.outputs()[engine.signature.output].name();
        let output = output.to_string();
        Ok(Self {
            feeds: inputs
                .map(|(k, input)| (input.name().to_string(), Feed::Input(k)))
                .collect(),
            logits: only(&[&output])?,
            losses: None,
            output,
            device,
            weights: Vec::new(),
            session,
        })
    }

    /// What it makes of the samples at `places` of the data set's order, which lie in `part`.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    pub fn outcomes(
        &mut self,
        engine: &Engine<'_>,
        mix: Option<&Mix>,
        part: &Shard,
        places: Range<usize>,
        batch: usize,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(places.len());
        for rows in part.batches(places, batch) {
            engine.check_stop()?;
            if let Some(computed) = self.losses(engine, mix, part, rows)? {
                outcomes.extend(computed);
                continue;
            }
            self.logits(engine, mix, part, rows, |row, logits| {
                outcomes.push(Outcome::of(logits, part.labels[rows.0 + row]));
            })?;
        }
        Ok(outcomes)
    }

    /// What the graph computed of rows `from..to`; `None` where it does not, or where a loss is
    /// not finite: what that means is decided from the logits, in one place.
    fn losses(
        &mut self,
        engine: &Engine<'_>,
        mix: Option<&Mix>,
        part: &Shard,
        rows: (usize, usize),
    ) -> Result<Option<Vec<Outcome>>> {
        if self.losses.is_none() {
            return Ok(None);
        }
        let reading = |error: ort::Error| failed("reading the losses", &error);
        let outputs = self.run(engine, mix, part, rows, true)?;
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

    /// Runs rows `from..to` of a part; gives each row of logits to `visit` and returns the number
    /// of classes. A graph with a batch size of its own gets its batch filled up with copies of
    /// the first sample, whose logits are left out.
    ///
    /// # Errors
    /// When the network cannot be run, or gives something else than [batch, classes].
    pub fn logits(
        &mut self,
        engine: &Engine<'_>,
        mix: Option<&Mix>,
        part: &Shard,
        rows: (usize, usize),
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<usize> {
        let count = rows.1 - rows.0;
        let batch = engine.signature.fixed_batch.unwrap_or(count);
        let output = self.output.clone();
        let outputs = self.run(engine, mix, part, rows, false)?;
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
                &engine.pool.members[0].path,
                format!(
                    "output `{output}` has shape {shape:?} for {batch} samples; a classifier's \
                     logits, [batch, classes], are needed"
                ),
            )
            .help("another output can be named with --output NAME")),
        }
    }

    /// Runs rows `from..to` of a part, for the losses or for the logits.
    fn run(
        &mut self,
        engine: &Engine<'_>,
        mix: Option<&Mix>,
        part: &Shard,
        rows: (usize, usize),
        losses: bool,
    ) -> Result<SessionOutputs<'_>> {
        let weights = &self.weights;
        let value = |feed: Feed| -> ort::Result<SessionInputValue<'_>> {
            match feed {
                Feed::Input(k) => part.input(engine, k, rows, self.device),
                Feed::Feature(k) => part.feature(engine, k, rows, self.device),
                Feed::Labels => part.classes(engine, rows, self.device),
                Feed::Weight(k) => Ok((&weights[k]).into()),
                Feed::Coefficient(member, dtype) => {
                    let c = mix.map_or(0.0, |mix| mix.row(0)[member]);
                    let shape = Vec::<i64>::new();
                    Ok(match dtype {
                        Dtype::F64 => Tensor::from_array((shape, vec![c]))?.into(),
                        _ => Tensor::from_array((shape, vec![c as f32]))?.into(),
                    })
                }
            }
        };
        let feeds = self.feeds.iter();
        let feeds = feeds.map(|(name, feed)| Ok((Cow::from(name.as_str()), value(*feed)?)));
        let options = match &self.losses {
            Some(options) if losses => options,
            _ => &self.logits,
        };
        feeds
            .collect::<ort::Result<Vec<_>>>()
            .and_then(|feeds| self.session.run_with_options(feeds, options))
            .map_err(|error| {
                let data = engine.datasets[part.dataset].path();
                failed(&format!("running {}", data.display()), &error)
            })
    }
}

/// What an input of a graph written here is fed with.
fn feed(engine: &Engine<'_>, name: &str) -> Feed {
    let same = |other: &str| other == name;
    let inputs = &engine.signature.inputs;
    if let Some(index) = inputs.iter().position(|input| same(&input.name)) {
        return Feed::Input(index);
    }
    let features = engine.features();
    if let Some(index) = features.iter().position(|feature| same(&feature.name)) {
        return Feed::Feature(index);
    }
    if same(loss_outputs::LABELS) {
        return Feed::Labels;
    }
    if let Some(index) = engine.moving.iter().position(|(_, weight)| same(weight)) {
        return Feed::Weight(index);
    }
    let members = 1..engine.pool.members.len();
    let dtypes = [Dtype::F32, Dtype::F64];
    let mut coefficients = members.flat_map(|member| dtypes.map(|dtype| (member, dtype)));
    let coefficient =
        coefficients.find(|&(member, dtype)| same(&in_graph::coefficient(member, dtype)));
    let (member, dtype) = coefficient.unwrap_or((1, Dtype::F32));
    Feed::Coefficient(member, dtype)
}

/// Asks for these outputs and no others.
fn only(names: &[&str]) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let outputs = names
        .iter()
        .fold(OutputSelector::no_default(), |all, name| all.with(*name));
    Ok(RunOptions::new()?.with_outputs(outputs))
}
