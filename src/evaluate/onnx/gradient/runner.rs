//! Running a gradient graph over many samples, and summing what it gives. Owns the workers' sessions;
//! sees the context and the counters alone.

use std::sync::{Arc, Mutex};

use ort::session::Session;
use rayon::ThreadPool;

use super::gradient_buffer::{GradientBuffer, scalar};
use super::gradient_graph::GradientGraph;
use super::loss_batch::LossBatch;
use super::weights::Weights;
use crate::base::lock::lock;
use crate::error::{Error, Result};
use crate::evaluate::onnx::binding::Binding;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::counts::Counters;
use crate::evaluate::onnx::feed::Feeds;
use crate::evaluate::onnx::layout::Layout;
use crate::evaluate::onnx::memory;
use crate::evaluate::onnx::prefix::Prefix;
use crate::evaluate::onnx::setup::failed;
use crate::evaluate::onnx::shard::Shard;
use crate::evaluate::onnx::worker::Worker;
use crate::graph::gradient::loss;

/// A graph over one data set, and the workers that run it.
pub struct Runner<'e> {
    pub context: &'e Context<'e>,
    pub dataset: usize,
    counters: &'e Counters,
    layout: Layout,
    graph: GradientGraph,
    /// The data set through the frozen part, where there is one and memory allows it.
    features: Option<Shard>,
    threads: ThreadPool,
    workers: Vec<Mutex<WorkerState<'e>>>,
}

/// What one worker has.
pub struct WorkerState<'e> {
    /// Says which device is its own.
    number: usize,
    /// A session over the graph.
    graph: Option<GraphSession>,
    /// The frozen part, where its results are not kept.
    prefix: Option<Prefix>,
    /// The network alone.
    pub forward: Worker<'e>,
}

/// A session over a gradient graph.
struct GraphSession {
    session: Session,
    feeds: Feeds,
    /// The weights that it was built for, where they are part of it.
    weights: u64,
}

/// What a graph gives over many samples, each output summed.
pub struct Sums {
    /// Mean loss, in nats.
    pub loss: f64,
    /// Samples whose largest logit is another class's.
    pub wrong: usize,
    /// ∂L/∂β.
    pub beta: f64,
    /// `tensors[tensor]`, as the graph has them.
    pub tensors: Vec<GradientBuffer>,
}

impl<'e> Runner<'e> {
    /// Workers for a graph that was written for [`sample_batches`] of a data set.
    ///
    /// # Errors
    /// Fails when the network cannot be run.
    pub fn new(
        (context, counters): (&'e Context<'e>, &'e Counters),
        dataset: usize,
        layout: Layout,
        graph: GradientGraph,
    ) -> Result<Self> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(layout.workers)
            .build()
            .map_err(|error| Error::runtime("worker threads", error))?;
        let alone = Layout {
            binding: Binding::Baked,
            ..layout
        };
        let worker = |number| {
            Mutex::new(WorkerState {
                number,
                graph: None,
                prefix: None,
                forward: Worker::new(context, &alone, number),
            })
        };
        Ok(Self {
            context,
            dataset,
            counters,
            features: kept_features(context, dataset, &layout)?,
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
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn sums(&self, weights: &Weights, beta: f64, samples: &[usize]) -> Result<Sums> {
        let each = 1.0 / samples.len().max(1) as f64;
        let sums = self.share(samples, |own, batches| {
            let mut sums: Option<Sums> = None;
            for places in batches {
                self.context.setup.check_stop()?;
                let shard = self.shard(own, places)?;
                let batch = LossBatch::new(shard, self.layout.batch, weights).weighted(beta, each);
                let session = self.session(own, weights)?;
                self.run(session, &batch, &mut sums)?;
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
            let mut pairs = total.tensors.iter_mut().zip(&sums.tensors);
            pairs.try_for_each(|(total, sum)| total.merge(sum))?;
        }
        Ok(total)
    }

    /// The session over the graph: one for all weights where they are inputs, else one for these.
    fn session<'s>(
        &self,
        own: &'s mut WorkerState<'_>,
        weights: &Weights,
    ) -> Result<&'s mut GraphSession> {
        let is_baked = self.layout.binding == Binding::Baked;
        let known = own.graph.as_ref();
        if known.is_some_and(|known| is_baked && known.weights != weights.id) {
            // The old one's memory is given back before the new one takes as much.
            own.graph = None;
        }
        match &mut own.graph {
            Some(known) => Ok(known),
            empty => Ok(empty.insert(self.build(own.number, weights)?)),
        }
    }

    fn build(&self, worker: usize, weights: &Weights) -> Result<GraphSession> {
        let context = self.context;
        let built = context.setup.builder(self.layout.threads, worker);
        let built = built.and_then(|mut builder| {
            for (tensor, value) in context.moving.iter().zip(&weights.tensors) {
                if self.graph.stored.contains(&tensor.name) {
                    let value = Arc::clone(value);
                    builder = builder.with_external_initializer(&tensor.name, value)?;
                }
            }
            builder.commit_from_memory(&self.graph.bytes)
        });
        let session = built.map_err(|error| failed("building the session", &error))?;
        Ok(GraphSession {
            feeds: Feeds::by_name(&session, &context.input_names())?,
            session,
            weights: weights.id,
        })
    }

    /// Runs one batch and adds what it gives.
    fn run(
        &self,
        GraphSession { session, feeds, .. }: &mut GraphSession,
        batch: &LossBatch<'_>,
        sums: &mut Option<Sums>,
    ) -> Result<()> {
        let values = feeds.values(|feed| batch.value(feed));
        let added = values.and_then(|values| {
            let outputs = session.run(values)?;
            let loss = scalar(&outputs[loss::TOTAL])?;
            let (_, correct) = outputs[loss::CORRECT].try_extract_tensor::<bool>()?;
            let right = correct[..batch.samples()].iter().filter(|is| **is);
            let wrong = batch.samples() - right.count();
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
                    let tensors = tensors.map(GradientBuffer::of);
                    *empty = Some(Sums {
                        loss,
                        wrong,
                        beta,
                        tensors: tensors.collect::<ort::Result<_>>()?,
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
    /// Fails when the frozen part cannot be run.
    pub fn shard(&self, own: &mut WorkerState<'_>, places: &[usize]) -> Result<Shard> {
        let setup = &self.context.setup;
        let mut shard = Shard::gather(setup, self.dataset, places);
        let Some(frozen) = &self.context.frozen else {
            return Ok(shard);
        };
        if let Some(kept) = &self.features {
            shard.features = kept.features.iter().map(|it| it.select(places)).collect();
            return Ok(shard);
        }
        let prefix = match &mut own.prefix {
            Some(prefix) => prefix,
            empty => empty.insert(frozen.session(setup, self.layout.threads, own.number)?),
        };
        frozen.fill(setup, prefix, &mut shard, self.layout.batch)?;
        Ok(shard)
    }

    /// Gives each worker its batches, every n-th of them for n workers; returns what the workers make
    /// of them, `made[worker]`.
    ///
    /// # Errors
    /// Returns the errors of `work`.
    pub fn share<T: Send>(
        &self,
        samples: &[usize],
        work: impl Fn(&mut WorkerState<'_>, &mut dyn Iterator<Item = &[usize]>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        self.counters.add(|counts| counts.learning += samples.len());
        let made = self.threads.broadcast(|thread| {
            let mut own = lock(&self.workers[thread.index()]);
            let batches = samples.chunks(self.layout.batch).skip(thread.index());
            work(&mut own, &mut batches.step_by(self.layout.workers))
        });
        made.into_iter().collect()
    }
}

/// What a graph is written for: the first batch of a data set and, where there are more samples, as
/// many of its last.
///
/// # Errors
/// Fails when the frozen part cannot be run.
pub fn sample_batches<'w>(
    context: &Context<'_>,
    dataset: usize,
    layout: &Layout,
    weights: &'w Weights,
) -> Result<Vec<LossBatch<'w>>> {
    let setup = &context.setup;
    let samples = setup.datasets[dataset].len();
    let rows = layout.batch.min(samples);
    let mut frozen = match &context.frozen {
        Some(frozen) => Some((frozen, frozen.session(setup, layout.threads, 0)?)),
        None => None,
    };
    let starts = [Some(0), (samples > rows).then_some(samples - rows)];
    let batch = |start: usize| {
        let mut shard = Shard::range(setup, dataset, start..start + rows);
        if let Some((frozen, prefix)) = &mut frozen {
            frozen.fill(setup, prefix, &mut shard, layout.batch)?;
        }
        Ok(LossBatch::new(shard, layout.batch, weights))
    };
    starts.into_iter().flatten().map(batch).collect()
}

/// The data set through the frozen part, where there is one and memory allows keeping it.
fn kept_features(context: &Context<'_>, dataset: usize, layout: &Layout) -> Result<Option<Shard>> {
    let samples = context.setup.datasets[dataset].len();
    let bytes = memory::sample_bytes(context) * samples as u64;
    if context.frozen.is_none() || bytes > memory::budget(context) / 2 {
        return Ok(None);
    }
    let (shard, _) = context.shard(dataset, 0..samples, layout.batch)?;
    Ok(Some(shard))
}
