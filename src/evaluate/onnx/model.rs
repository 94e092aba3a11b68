//! A model in a session, whichever way its weights came in, and running it on samples.

use std::borrow::Cow;
use std::ops::Range;

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

use super::buffer::{Buffer, to_f32};
use super::{Engine, failed};
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::evaluate::metrics::Tally;
use crate::graph::in_graph;
use crate::space::mix::Mix;

/// Samples of one data set made ready for every model.
pub struct Part {
    /// Place of the first sample in the data set's order.
    pub begin: usize,
    /// Classes.
    pub labels: Vec<usize>,
    /// What the network takes: one buffer an input.
    pub inputs: Vec<Buffer>,
    /// What the frozen part of the network made of it: one buffer a value of the frontier.
    pub features: Vec<Buffer>,
    /// Index of the data set.
    pub dataset: usize,
}

/// What an input of a session is fed with.
#[derive(Debug, Clone, Copy)]
enum Feed {
    Input(usize),
    Feature(usize),
    Coefficient(usize, Dtype),
    Weight(usize),
}

/// A session that is a model, or that becomes one by coefficients.
pub struct Model {
    session: Session,
    feeds: Vec<(String, Feed)>,
    output: String,
    /// Mixed weights, in the engine's order, where they are inputs.
    pub weights: Vec<DynValue>,
}

impl Model {
    /// A session over a graph written here: inputs are known by name.
    pub fn new(engine: &Engine<'_>, session: Session) -> Self {
        let dtypes = [Dtype::F32, Dtype::F64];
        let members = engine.pool.members.len();
        let feed = |name: &str| {
            let same = |other: &str| other == name;
            let inputs = &engine.interface.inputs;
            if let Some(index) = inputs.iter().position(|input| same(&input.name)) {
                return Feed::Input(index);
            }
            let features = engine.features();
            if let Some(index) = features.iter().position(|feature| same(&feature.name)) {
                return Feed::Feature(index);
            }
            if let Some(index) = engine.moving.iter().position(|(_, weight)| same(weight)) {
                return Feed::Weight(index);
            }
            let coefficients = (1..members).flat_map(|m| dtypes.map(|dtype| (m, dtype)));
            let mut coefficients =
                coefficients.filter(|&(m, dtype)| same(&in_graph::coefficient(m, dtype)));
            let (member, dtype) = coefficients.next().unwrap_or((1, Dtype::F32));
            Feed::Coefficient(member, dtype)
        };
        let feeds = session
            .inputs()
            .iter()
            .map(|input| (input.name().to_string(), feed(input.name())));
        Self {
            feeds: feeds.collect(),
            output: engine.interface.output_name.clone(),
            weights: Vec::new(),
            session,
        }
    }

    /// A session over a file: another export may call its inputs and outputs otherwise; they
    /// correspond in order.
    pub fn of_file(engine: &Engine<'_>, session: Session) -> Self {
        let names = session
            .inputs()
            .iter()
            .map(|input| input.name().to_string());
        Self {
            feeds: names
                .enumerate()
                .map(|(k, name)| (name, Feed::Input(k)))
                .collect(),
            output: session.outputs()[engine.interface.output]
                .name()
                .to_string(),
            weights: Vec::new(),
            session,
        }
    }

    /// Adds the samples at `places` of the data set's order, which lie in `part`, to a tally.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    pub fn score(
        &mut self,
        engine: &Engine<'_>,
        mix: Option<&Mix>,
        part: &Part,
        places: Range<usize>,
        batch: usize,
        tally: &mut Tally,
    ) -> Result<()> {
        let end = places.end;
        for from in places.step_by(batch) {
            engine.check_stop()?;
            let rows = (from - part.begin, end.min(from + batch) - part.begin);
            self.run(engine, mix, part, rows, |row, logits| {
                tally.add(logits, part.labels[rows.0 + row]);
            })?;
        }
        Ok(())
    }

    /// Runs rows `from..to` of a part; gives each row of logits to `visit` and returns the number
    /// of classes. A graph with a batch size of its own gets its batch filled up with copies of
    /// the first sample, whose logits are left out.
    pub fn run(
        &mut self,
        engine: &Engine<'_>,
        mix: Option<&Mix>,
        part: &Part,
        (from, to): (usize, usize),
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<usize> {
        let rows = to - from;
        let batch = engine.interface.fixed_batch.unwrap_or(rows);
        let data = &engine.datasets[part.dataset];
        let Self {
            session,
            feeds,
            output,
            weights,
        } = self;
        let value = |feed: Feed| -> ort::Result<SessionInputValue<'_>> {
            match feed {
                Feed::Input(k) => part.inputs[k].rows((from, to), data.sample_shape(k), batch),
                Feed::Feature(k) => {
                    part.features[k].rows((from, to), &engine.features()[k].shape, batch)
                }
                Feed::Weight(k) => Ok((&weights[k]).into()),
                Feed::Coefficient(member, dtype) => {
                    let c = mix.map_or(0.0, |mix| mix.coefficients()[member]);
                    let shape = Vec::<i64>::new();
                    Ok(match dtype {
                        Dtype::F64 => Tensor::from_array((shape, vec![c]))?.into(),
                        _ => Tensor::from_array((shape, vec![c as f32]))?.into(),
                    })
                }
            }
        };
        let feed = feeds.iter().map(|(name, feed)| {
            let value = value(*feed)?;
            Ok((Cow::from(name.as_str()), value))
        });
        let outputs = feed
            .collect::<ort::Result<Vec<_>>>()
            .and_then(|feed| session.run(feed))
            .map_err(|error| failed(&format!("running {}", data.path().display()), &error))?;
        let logits = &outputs[output.as_str()];
        let (shape, values) =
            to_f32(logits).map_err(|error| failed("reading the logits", &error))?;
        match shape.as_slice() {
            [count, classes] if *count == batch as i64 && *classes > 0 => {
                let classes = *classes as usize;
                for (row, logits) in values.chunks_exact(classes).take(rows).enumerate() {
                    visit(row, logits);
                }
                Ok(classes)
            }
            _ => Err(Error::input(
                &engine.pool.members[0].path,
                format!(
                    "output `{}` has shape {shape:?} for {batch} samples; a classifier's logits, \
                     [batch, classes], are needed",
                    output
                ),
            )
            .help("another output can be named with --output NAME")),
        }
    }
}
