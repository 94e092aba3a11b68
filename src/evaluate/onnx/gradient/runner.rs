//! Runs a gradient graph over many samples and sums its outputs. Owns the workers' sessions; sees
//! only the context and the counters.

use std::sync::{Arc, Mutex};

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
use crate::evaluate::onnx::light_model::LightSession;
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
    /// The features of the whole data set, if there is a frozen part and memory allows.
    features: Option<Shard>,
    threads: ThreadPool,
    workers: Vec<Mutex<WorkerState<'e>>>,
}

/// The state of one worker.
pub struct WorkerState<'e> {
    /// The worker's number, which determines its device.
    number: usize,
    /// A session over the graph.
    graph: Option<GraphSession>,
    /// A session over the frozen part, if the features are not kept.
    prefix: Option<Prefix>,
    /// A worker for the forward pass only.
    pub forward: Worker<'e>,
}

/// A session over a gradient graph.
struct GraphSession {
    session: LightSession,
    feeds: Feeds,
    /// Identifies the weights stored in the session; used only if they are baked.
    weights: u64,
}

/// The outputs of a graph, summed over many samples.
pub struct Sums {
    /// Mean loss, in nats.
    pub loss: f64,
    /// Number of samples that are classified wrongly.
    pub wrong: usize,
    /// ∂L/∂β.
    pub beta: f64,
    /// `tensors[tensor]`, in the order of the graph's outputs.
    pub tensors: Vec<GradientBuffer>,
}

impl<'e> Runner<'e> {
    /// Creates the workers for a graph that was written for [`sample_batches`] of a data set.
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

    /// Runs the graph over the samples at these places of the data set's order, for the mean loss
    /// of β·logits.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn sums(&self, weights: &Weights, beta: f64, samples: &[usize]) -> Result<Sums> {
        let each = 1.0 / samples.len().max(1) as f64;
        let sums = self.share(samples, |own, batches| {
            self.own_sums(own, batches, weights, beta, each)
        })?;
        let mut sums = sums.into_iter().flatten();
        let mut total = sums.next().ok_or_else(no_samples)?;
        for sums in sums {
            total.loss += sums.loss;
            total.wrong += sums.wrong;
            total.beta += sums.beta;
            let mut pairs = total.tensors.iter_mut().zip(&sums.tensors);
            pairs.try_for_each(|(total, sum)| total.merge(sum))?;
        }
        Ok(total)
    }

    /// Sums the outputs over each of several groups of samples, with the mean loss over the group, and
    /// returns `of` each group's sums. A group is summed by one worker.
    ///
    /// # Errors
    /// Fails when the network cannot be run, a group is empty, or the user stopped the run.
    pub fn by_group<T: Send>(
        &self,
        weights: &Weights,
        groups: &[&[usize]],
        of: impl Fn(&Sums) -> T + Sync,
    ) -> Result<Vec<T>> {
        let samples = groups.iter().map(|group| group.len()).sum::<usize>();
        self.counters.add(|counts| counts.learning += samples);
        let made = self.threads.broadcast(|thread| {
            let mut own = lock(&self.workers[thread.index()]);
            let groups = groups.iter().skip(thread.index());
            let groups = groups.step_by(self.layout.workers).map(|group| {
                let mut batches = group.chunks(self.layout.batch);
                let each = 1.0 / group.len().max(1) as f64;
                let sums = self.own_sums(&mut own, &mut batches, weights, 1.0, each)?;
                sums.map(|sums| of(&sums)).ok_or_else(no_samples)
            });
            groups.collect::<Result<Vec<T>>>()
        });
        let made = made.into_iter().collect::<Result<Vec<_>>>()?;
        let mut made: Vec<_> = made.into_iter().map(Vec::into_iter).collect();
        let workers = made.len();
        let in_turn = (0..groups.len()).filter_map(|group| made[group % workers].next());
        Ok(in_turn.collect())
    }

    /// One worker's sums over its batches, with a weight in the loss of `each` for every sample; `None`
    /// without a batch.
    fn own_sums(
        &self,
        own: &mut WorkerState<'_>,
        batches: &mut dyn Iterator<Item = &[usize]>,
        weights: &Weights,
        beta: f64,
        each: f64,
    ) -> Result<Option<Sums>> {
        let mut sums: Option<Sums> = None;
        for places in batches {
            self.context.setup.check_stop()?;
            let shard = self.shard(own, places)?;
            let batch = LossBatch::new(shard, self.layout.batch, weights).weighted(beta, each);
            let session = self.session(own, weights)?;
            self.run(session, &batch, &mut sums)?;
        }
        Ok(sums)
    }

    /// The session over the graph: one for all weights if they are inputs, otherwise one for these.
    fn session<'s>(
        &self,
        own: &'s mut WorkerState<'_>,
        weights: &Weights,
    ) -> Result<&'s mut GraphSession> {
        let is_baked = self.layout.binding == Binding::Baked;
        let known = own.graph.as_ref();
        if known.is_some_and(|known| is_baked && known.weights != weights.id) {
            // Frees the old session before the new one takes as much memory.
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
            self.graph.model.commit(builder)
        });
        let session = built.map_err(|error| failed("building the session", &error))?;
        Ok(GraphSession {
            feeds: Feeds::by_name(&session, &context.input_names())?,
            session,
            weights: weights.id,
        })
    }

    /// Runs one batch and adds its outputs to `sums`.
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

    /// The samples at these places of the data set's order, with their features.
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

    /// Gives each of n workers every n-th batch and returns the workers' results, `made[worker]`.
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

fn no_samples() -> Error {
    Error::runtime("gradient", "there are no samples")
}

/// The batches that a graph is written for: the first of a data set and, if there are more samples,
/// an equally large one at the end.
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

/// The features of the whole data set, if there is a frozen part and memory allows keeping them.
fn kept_features(context: &Context<'_>, dataset: usize, layout: &Layout) -> Result<Option<Shard>> {
    let samples = context.setup.datasets[dataset].len();
    let bytes = memory::sample_bytes(context) * samples as u64;
    if context.frozen.is_none() || bytes > memory::budget(context) / 2 {
        return Ok(None);
    }
    let (shard, _) = context.shard(dataset, 0..samples, layout.batch)?;
    Ok(Some(shard))
}
