//! Loss and gradient of mixes, by graphs that differentiate the network
//! ([`crate::graph::gradient`]).
//!
//! Samples are taken in batches of one size; workers take them in turn, each sums its own, and the
//! sums are added in the workers' order, so that a result depends on their number and on nothing
//! else. Weights are mixed once for all workers. A gradient in the coefficients of a mix follows
//! from that in the weights by inner products with the mapped checkpoints, so that memory does not
//! grow with their number.

mod feed;
pub mod see;
mod weights;
mod written;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::session::Session;
use ort::value::DynValue;
use rayon::ThreadPool;

use self::feed::Feeder;
pub use self::weights::Flat;
use self::weights::scalar;
pub use self::written::Precision;
use self::written::Written;
use super::layout::{Layout, budget};
use super::part::Part;
use super::request::Binding;
use super::worker::Worker;
use super::{Engine, failed, frozen};
use crate::error::{Error, Result};
use crate::evaluate::metrics::{Outcome, Tally};
use crate::evaluate::slope::{Fit, Slope, Slopes};
use crate::graph::gradient::loss;
use crate::space::mix::Mix;
use crate::space::slope::inner_products;

/// Samples a run, where nothing else is asked for.
const BATCH: usize = 32;

/// Weights of more bytes than this are not held once more for each worker.
const LARGE: u64 = 256 << 20;

/// A batch's loss and gradient over many samples.
#[derive(Debug, Clone)]
pub struct Gradient {
    /// Mean loss of β·logits, in nats.
    pub loss: f64,
    /// Samples whose largest logit is another class's.
    pub wrong: usize,
    /// ∂L/∂β.
    pub beta: f64,
    /// ∂L/∂W of each moving tensor, in the graph's order of elements.
    pub weights: Vec<Flat>,
}

/// Differentiates the network on one data set.
pub struct Gradients<'e> {
    engine: &'e Engine<'e>,
    dataset: usize,
    layout: Layout,
    precision: Precision,
    graph: Written,
    /// The data set through the frozen part, where there is one and memory allows it.
    features: Option<Part>,
    threads: ThreadPool,
    workers: Vec<Mutex<Own<'e>>>,
}

/// What one worker has.
struct Own<'e> {
    /// The gradient graph.
    session: Option<Session>,
    /// The frozen part, where its results are not kept.
    prefix: Option<Session>,
    /// The network alone.
    forward: Worker<'e>,
}

impl Engine<'_> {
    /// The network differentiated for a data set; about `samples` of it are going to be asked for at
    /// a time.
    ///
    /// # Errors
    /// When an operator between the moving tensors and the logits has no derivative, or the network
    /// cannot be run.
    pub fn gradients(
        &self,
        dataset: usize,
        samples: usize,
        precision: Precision,
    ) -> Result<Gradients<'_>> {
        let layout = self.gradient_layout(samples);
        let first: Vec<usize> = (0..layout.batch.min(self.datasets[dataset].len())).collect();
        let mix = Mix::unit(0, self.pool.members.len());
        let own = weights::mixed(self, &mix, Precision::Own);
        let own = own.map_err(|error| failed("mixing weights", &error))?;
        let mut part = Part::at(self, dataset, &first);
        if let Some(frozen) = &self.frozen {
            let mut session = self.session_of(&frozen.prefix, layout.threads)?;
            frozen::fill(self, &mut session, &mut part, layout.batch)?;
        }
        let feeder = Feeder::new(self, part, layout.batch, (1.0, 1.0), &own);
        let graph = written::gradient(self, &feeder, layout.binding, precision)?;
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(layout.workers)
            .build()
            .map_err(|error| Error::runtime("worker threads", error))?;
        let worker = |_| {
            Mutex::new(Own {
                session: None,
                prefix: None,
                forward: Worker::new(
                    self,
                    &Layout {
                        binding: Binding::Baked,
                        ..layout
                    },
                ),
            })
        };
        Ok(Gradients {
            engine: self,
            dataset,
            features: self.kept_features(dataset, &layout)?,
            layout,
            precision,
            graph,
            threads,
            workers: (0..layout.workers).map(worker).collect(),
        })
    }

    /// Workers, threads and batch for gradients over so many samples at a time: as many workers as
    /// there are cores and batches, but one where the weights are large.
    fn gradient_layout(&self, samples: usize) -> Layout {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let weights: u64 = self
            .moving
            .iter()
            .map(|(index, _)| {
                let parameter = &self.pool.parameters[*index];
                (parameter.len() * parameter.dtype.size().unwrap_or(4)) as u64
            })
            .sum();
        let batch = self.interface.fixed_batch.or(self.request.batch);
        let batch = batch.unwrap_or(BATCH).min(samples.max(1));
        let batch = self.interface.fixed_batch.unwrap_or(batch);
        let most = if weights > LARGE { 1 } else { cores };
        let workers = self
            .request
            .workers
            .unwrap_or(most.min(samples.div_ceil(batch)).max(1));
        Layout {
            workers,
            threads: self.request.threads.unwrap_or((cores / workers).max(1)),
            batch,
            binding: Binding::Inputs,
            chunks: 1,
        }
    }

    /// The data set through the frozen part, where there is one and memory allows keeping it.
    fn kept_features(&self, dataset: usize, layout: &Layout) -> Result<Option<Part>> {
        let samples = self.datasets[dataset].len();
        if self.frozen.is_none() || self.sample_bytes() * samples as u64 > budget(self) / 2 {
            return Ok(None);
        }
        self.part_of(dataset, 0..samples, layout.batch).map(Some)
    }
}

impl Gradients<'_> {
    /// The samples' numbers in the order in which places count them.
    pub fn order(&self) -> &[usize] {
        self.engine.datasets[self.dataset].order()
    }

    /// Loss and gradient at a mix, over the samples at these places of the data set's order.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    pub fn loss_and_gradient(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Gradient> {
        let weights = weights::mixed(self.engine, mix, self.precision);
        let weights = weights.map_err(|error| failed("mixing weights", &error))?;
        self.at(&weights, beta, samples)
    }

    /// The same with weights that are mixed already.
    fn at(&self, weights: &[Arc<DynValue>], beta: f64, samples: &[usize]) -> Result<Gradient> {
        let each = 1.0 / samples.len().max(1) as f64;
        let sums = self.share(samples, |own, batches| {
            let mut sum: Option<Gradient> = None;
            for places in batches {
                self.engine.check_stop()?;
                let part = self.part(own, places)?;
                let batch = self.layout.batch;
                let feeder = Feeder::new(self.engine, part, batch, (beta, each), weights);
                self.run(own, &feeder, &mut sum)?;
            }
            Ok(sum)
        })?;
        let mut sums = sums.into_iter().flatten();
        let mut total = sums
            .next()
            .ok_or_else(|| Error::runtime("gradient", "there are no samples"))?;
        for sum in sums {
            total.loss += sum.loss;
            total.wrong += sum.wrong;
            total.beta += sum.beta;
            for (total, sum) in total.weights.iter_mut().zip(&sum.weights) {
                total.merge(sum);
            }
        }
        Ok(total)
    }

    /// Runs one batch and adds what it gives.
    fn run(
        &self,
        own: &mut Own<'_>,
        feeder: &Feeder<'_>,
        sum: &mut Option<Gradient>,
    ) -> Result<()> {
        let session = match &mut own.session {
            Some(session) => session,
            empty => empty.insert(
                self.engine
                    .session_of(&self.graph.bytes, self.layout.threads)?,
            ),
        };
        let names: Vec<String> = session
            .inputs()
            .iter()
            .map(|i| i.name().to_string())
            .collect();
        let feeds = names
            .iter()
            .map(|name| Ok((Cow::from(name.as_str()), feeder.feed(name)?)));
        let added = feeds.collect::<ort::Result<Vec<_>>>().and_then(|feeds| {
            let outputs = session.run(feeds)?;
            let loss = scalar(&outputs[loss::TOTAL])?;
            let (_, correct) = outputs[loss::CORRECT].try_extract_tensor::<bool>()?;
            let right = correct[..feeder.samples()]
                .iter()
                .filter(|correct| **correct);
            let wrong = feeder.samples() - right.count();
            let beta = scalar(&outputs[self.graph.beta.as_str()])?;
            let weights = self
                .graph
                .weights
                .iter()
                .map(|name| &outputs[name.as_str()]);
            match sum {
                Some(sum) => {
                    sum.loss += loss;
                    sum.wrong += wrong;
                    sum.beta += beta;
                    let sums = sum.weights.iter_mut().zip(weights);
                    sums.map(|(sum, more)| sum.add(more)).collect()
                }
                empty => {
                    *empty = Some(Gradient {
                        loss,
                        wrong,
                        beta,
                        weights: weights.map(Flat::of).collect::<ort::Result<_>>()?,
                    });
                    Ok(())
                }
            }
        });
        added.map_err(|error| failed("computing the gradient", &error))
    }

    /// Samples at places of the data set's order, with what the frozen part makes of them.
    fn part(&self, own: &mut Own<'_>, places: &[usize]) -> Result<Part> {
        let engine = self.engine;
        let mut part = Part::at(engine, self.dataset, places);
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
    fn share<T: Send>(
        &self,
        samples: &[usize],
        work: impl Fn(&mut Own<'_>, &mut dyn Iterator<Item = &[usize]>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let made = self.threads.broadcast(|thread| {
            let mut own = lock(&self.workers[thread.index()]);
            let batches = samples.chunks(self.layout.batch).skip(thread.index());
            work(&mut own, &mut batches.step_by(self.layout.workers))
        });
        made.into_iter().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slopes for Gradients<'_> {
    fn parameters(&self) -> Vec<(usize, String)> {
        let moving = self.engine.moving.iter();
        let named =
            moving.map(|(index, _)| (*index, self.engine.pool.parameters[*index].name.clone()));
        named.collect()
    }

    fn samples(&self) -> usize {
        self.engine.datasets[self.dataset].len()
    }

    fn slope(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Slope> {
        let gradient = self.loss_and_gradient(mix, beta, samples)?;
        let pool = self.engine.pool;
        let mut rows = vec![vec![0.0; pool.members.len()]; pool.parameters.len()];
        for ((index, _), weights) in self.engine.moving.iter().zip(&gradient.weights) {
            rows[*index] = inner_products(pool, *index, |start, out| weights.read(start, out));
        }
        Ok(Slope {
            fit: Fit {
                loss: gradient.loss,
                error: gradient.wrong as f64 / samples.len().max(1) as f64,
            },
            rows,
            beta: gradient.beta,
        })
    }

    fn fit(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Fit> {
        let outcomes = self.share(samples, |own, batches| {
            let mut outcomes = Vec::new();
            for places in batches {
                self.engine.check_stop()?;
                let part = self.part(own, places)?;
                let model = own.forward.model_again(mix, outcomes.is_empty())?;
                let mut batch = Vec::with_capacity(places.len());
                model.logits(
                    self.engine,
                    Some(mix),
                    &part,
                    (0, places.len()),
                    |row, logits| {
                        let logits: Vec<f64> =
                            logits.iter().map(|&z| beta * f64::from(z)).collect();
                        batch.push(Outcome::of(&logits, part.labels[row]));
                    },
                )?;
                outcomes.push(batch);
            }
            Ok(outcomes)
        })?;
        // In the order of the samples, whoever had them.
        let mut tally = Tally::default();
        let most = outcomes.iter().map(Vec::len).max().unwrap_or(0);
        for turn in 0..most {
            let batches = outcomes.iter().filter_map(|own| own.get(turn));
            batches.flatten().for_each(|outcome| tally.add(*outcome));
        }
        let score = tally.score();
        Ok(Fit {
            loss: score.loss,
            error: score.error,
        })
    }
}
