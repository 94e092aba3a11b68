//! Running a gradient graph over many samples, and summing what it gives.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use ort::session::Session;
use rayon::ThreadPool;

use super::feed::Feeder;
use super::gradient_graph::{GradientGraph, Precision};
use super::weights::{GradientBuffer, Weights, scalar};
use crate::error::{Error, Result};
use crate::evaluate::lock::lock;
use crate::evaluate::onnx::layout::{Layout, budget};
use crate::evaluate::onnx::options::Binding;
use crate::evaluate::onnx::shard::Shard;
use crate::evaluate::onnx::worker::Worker;
use crate::evaluate::onnx::{Engine, failed, frozen};
use crate::graph::gradient::loss;

/// Samples a run, where nothing else is asked for: on the example's network 16 take 4 % less time a
/// sample than 32, and 8 no less than 16.
const BATCH: usize = 16;

/// Runs of a worker at the same weights from which on it pays to build them into a session, so that
/// ONNX Runtime packs them: on the example's network building takes as long as two to three runs, and
/// a run a quarter less.
const BAKE_AFTER_RUNS: usize = 12;

/// Weights of more bytes than this are not held once more for each worker.
const LARGE: u64 = 256 << 20;

/// A graph over one data set, and the workers that run it.
pub struct Runner<'e> {
    pub engine: &'e Engine<'e>,
    pub dataset: usize,
    pub layout: Layout,
    graph: GradientGraph,
    /// The data set through the frozen part, where there is one and memory allows it.
    features: Option<Shard>,
    threads: ThreadPool,
    workers: Vec<Mutex<WorkerState<'e>>>,
}

/// What one worker has.
pub struct WorkerState<'e> {
    /// The graph, and the weights that it was built for where they are part of it.
    session: Option<(Session, u64)>,
    /// The frozen part, where its results are not kept.
    prefix: Option<Session>,
    /// The network alone.
    pub forward: Worker<'e>,
}

/// What a graph gives over many samples, each output summed.
pub struct Sums {
    /// Mean loss, in nats.
    pub loss: f64,
    /// Samples whose largest logit is another class's.
    pub wrong: usize,
    /// ∂L/∂β.
    pub beta: f64,
    /// The graph's tensors.
    pub tensors: Vec<GradientBuffer>,
}

impl<'e> Runner<'e> {
    /// Workers for a graph that is written for [`samples_of`] a data set.
    ///
    /// # Errors
    /// Those of `write`, and when the network cannot be run.
    pub fn new(
        engine: &'e Engine<'e>,
        dataset: usize,
        layout: Layout,
        weights: &Weights,
        write: impl FnOnce(&[Feeder<'_>]) -> Result<GradientGraph>,
    ) -> Result<Self> {
        let graph = write(&samples_of(engine, dataset, &layout, weights)?)?;
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(layout.workers)
            .build()
            .map_err(|error| Error::runtime("worker threads", error))?;
        let alone = Layout {
            binding: Binding::Baked,
            ..layout
        };
        let worker = |_| {
            Mutex::new(WorkerState {
                session: None,
                prefix: None,
                forward: Worker::new(engine, &alone),
            })
        };
        Ok(Self {
            engine,
            dataset,
            features: kept_features(engine, dataset, &layout)?,
            graph,
            threads,
            workers: (0..layout.workers).map(worker).collect(),
            layout,
        })
    }

    /// The graph over the samples at these places of the data set's order, for the mean loss of
    /// β·logits.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    pub fn sums(&self, weights: &Weights, beta: f64, samples: &[usize]) -> Result<Sums> {
        let each = 1.0 / samples.len().max(1) as f64;
        let sums = self.share(samples, |own, batches| {
            let mut sums: Option<Sums> = None;
            for places in batches {
                self.engine.check_stop()?;
                let part = self.part(own, places)?;
                let batch = self.layout.batch;
                let tensors = &weights.tensors;
                let feeder = Feeder::new(self.engine, part, batch, (beta, each), tensors);
                let session = self.session(&mut own.session, weights)?;
                self.run(session, &feeder, &mut sums)?;
            }
            Ok(sums)
        })?;
        let mut sums = sums.into_iter().flatten();
        let mut total = sums
            .next()
            .ok_or_else(|| Error::runtime("gradient", "there are no samples"))?;
        for sums in sums {
            total.loss += sums.loss;
            total.wrong += sums.wrong;
            total.beta += sums.beta;
            for (total, sum) in total.tensors.iter_mut().zip(&sums.tensors) {
                total.merge(sum);
            }
        }
        Ok(total)
    }

    /// The session over the graph: one for all weights where they are inputs, else one for these.
    fn session<'s>(
        &self,
        known: &'s mut Option<(Session, u64)>,
        weights: &Weights,
    ) -> Result<&'s mut Session> {
        let is_baked = self.layout.binding == Binding::Baked;
        if known
            .as_ref()
            .is_some_and(|(_, id)| is_baked && *id != weights.id)
        {
            // The old one's memory is given back before the new one takes as much.
            *known = None;
        }
        let (session, _) = match known {
            Some(known) => known,
            empty => {
                let built = self
                    .engine
                    .builder(self.layout.threads, 0)
                    .and_then(|builder| {
                        let mut builder = builder;
                        for (name, value) in &weights.tensors {
                            if self.graph.stored.contains(name) {
                                builder =
                                    builder.with_external_initializer(name, Arc::clone(value))?;
                            }
                        }
                        builder.commit_from_memory(&self.graph.bytes)
                    });
                let session = built.map_err(|error| failed("building the session", &error))?;
                empty.insert((session, weights.id))
            }
        };
        Ok(session)
    }

    /// Runs one batch and adds what it gives.
    fn run(
        &self,
        session: &mut Session,
        feeder: &Feeder<'_>,
        sums: &mut Option<Sums>,
    ) -> Result<()> {
        let inputs = session.inputs().iter();
        let names: Vec<String> = inputs.map(|input| input.name().to_string()).collect();
        let feeds = names
            .iter()
            .map(|name| Ok((Cow::from(name.as_str()), feeder.feed(name)?)));
        let added = feeds.collect::<ort::Result<Vec<_>>>().and_then(|feeds| {
            let outputs = session.run(feeds)?;
            let loss = scalar(&outputs[loss::TOTAL])?;
            let (_, correct) = outputs[loss::CORRECT].try_extract_tensor::<bool>()?;
            let right = correct[..feeder.samples()].iter().filter(|is| **is);
            let wrong = feeder.samples() - right.count();
            let beta = match &self.graph.beta {
                Some(name) => scalar(&outputs[name.as_str()])?,
                None => 0.0,
            };
            let tensors = self.graph.tensors.iter();
            let tensors = tensors.map(|name| &outputs[name.as_str()]);
            match sums {
                Some(sums) => {
                    sums.loss += loss;
                    sums.wrong += wrong;
                    sums.beta += beta;
                    let mut sums = sums.tensors.iter_mut().zip(tensors);
                    sums.try_for_each(|(sum, more)| sum.add(more))
                }
                empty => {
                    *empty = Some(Sums {
                        loss,
                        wrong,
                        beta,
                        tensors: tensors
                            .map(GradientBuffer::of)
                            .collect::<ort::Result<_>>()?,
                    });
                    Ok(())
                }
            }
        });
        added.map_err(|error| failed("computing the gradient", &error))
    }

    /// Samples at places of the data set's order, with what the frozen part makes of them.
    ///
    /// # Errors
    /// When the frozen part cannot be run.
    pub fn part(&self, own: &mut WorkerState<'_>, places: &[usize]) -> Result<Shard> {
        let engine = self.engine;
        let mut part = Shard::at(engine, self.dataset, places);
        let Some(frozen) = &engine.frozen else {
            return Ok(part);
        };
        if let Some(kept) = &self.features {
            let features = kept.features.iter().zip(engine.features());
            part.features = features
                .map(|(buffer, feature)| buffer.select(places, feature.shape.iter().product()))
                .collect();
            return Ok(part);
        }
        let prefix = match &mut own.prefix {
            Some(prefix) => prefix,
            empty => empty.insert(engine.session_of(&frozen.prefix, self.layout.threads)?),
        };
        frozen::fill(engine, prefix, &mut part, self.layout.batch)?;
        Ok(part)
    }

    /// Gives each worker its batches, every so manyth of them; what they make of them, in order.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn share<T: Send>(
        &self,
        samples: &[usize],
        work: impl Fn(&mut WorkerState<'_>, &mut dyn Iterator<Item = &[usize]>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        self.engine.count(|counts| counts.learning += samples.len());
        let made = self.threads.broadcast(|thread| {
            let mut own = lock(&self.workers[thread.index()]);
            let batches = samples.chunks(self.layout.batch).skip(thread.index());
            work(&mut own, &mut batches.step_by(self.layout.workers))
        });
        made.into_iter().collect()
    }
}

/// The first batch of a data set and, where there are more samples, as many of its last.
///
/// # Errors
/// When the frozen part cannot be run.
pub fn samples_of<'f>(
    engine: &'f Engine<'_>,
    dataset: usize,
    layout: &Layout,
    weights: &'f Weights,
) -> Result<Vec<Feeder<'f>>> {
    let samples = engine.datasets[dataset].len();
    let rows = layout.batch.min(samples);
    let mut prefix = match &engine.frozen {
        Some(frozen) => Some(engine.session_of(&frozen.prefix, layout.threads)?),
        None => None,
    };
    let starts = [Some(0), (samples > rows).then_some(samples - rows)];
    let feeder = |start: usize| {
        let places: Vec<usize> = (start..start + rows).collect();
        let mut part = Shard::at(engine, dataset, &places);
        if let Some(prefix) = &mut prefix {
            frozen::fill(engine, prefix, &mut part, layout.batch)?;
        }
        let (batch, tensors) = (layout.batch, &weights.tensors);
        Ok(Feeder::new(engine, part, batch, (1.0, 1.0), tensors))
    };
    starts.into_iter().flatten().map(feeder).collect()
}

/// Workers, threads, batch and binding for gradients over so many samples at a time, at weights that
/// stay for `times` times as many: as many workers as there are cores and batches, but one where the
/// weights are large; weights are built in where that is going to pay.
pub fn layout(engine: &Engine<'_>, samples: usize, times: usize, precision: Precision) -> Layout {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let moving = engine.moving.iter().map(|(index, _)| {
        let parameter = &engine.pool.parameters[*index];
        (parameter.len() * parameter.dtype.size().unwrap_or(4)) as u64
    });
    let most = if moving.sum::<u64>() > LARGE {
        1
    } else {
        cores
    };
    let request = &engine.request;
    let batch = engine.signature.fixed_batch.unwrap_or_else(|| {
        let batch = request.batch.unwrap_or(BATCH);
        batch.min(samples.div_ceil(most)).max(1)
    });
    let workers = request.workers.unwrap_or(most);
    let workers = workers.min(samples.div_ceil(batch)).max(1);
    let runs = samples.div_ceil(batch * workers).saturating_mul(times);
    let binding = match (request.binding, precision) {
        // Only the types of the network are stored in its graph.
        (Binding::Inputs, _) | (_, Precision::Double) => Binding::Inputs,
        (Binding::Baked, _) => Binding::Baked,
        _ if runs >= BAKE_AFTER_RUNS => Binding::Baked,
        _ => Binding::Inputs,
    };
    Layout {
        workers,
        threads: request.threads.unwrap_or((cores / workers).max(1)),
        batch,
        binding,
        chunks: 1,
    }
}

/// The data set through the frozen part, where there is one and memory allows keeping it.
fn kept_features(engine: &Engine<'_>, dataset: usize, layout: &Layout) -> Result<Option<Shard>> {
    let samples = engine.datasets[dataset].len();
    let bytes = engine.sample_bytes() * samples as u64;
    if engine.frozen.is_none() || bytes > budget(engine) / 2 {
        return Ok(None);
    }
    engine.part_of(dataset, 0..samples, layout.batch).map(Some)
}
