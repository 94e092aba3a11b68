//! The experiment that chooses a layout when the user asked for none: it briefly times candidates
//! on the actual network and data. Builds workers and discards them.

use std::time::{Duration, Instant};

use super::binding::Binding;
use super::context::Context;
use super::layout::{Layout, Timing};
use super::memory::{self, RESIDENT_BYTES};
use super::options::{Device, EvaluationOptions, Losses};
use super::shard::Shard;
use super::worker::Worker;
use crate::error::{Error, Result};
use crate::space::mix::Mix;

/// Batch size if none was requested or measured: activations stay in the cache.
const BATCH: usize = 32;

/// Batch size on a GPU if none was requested or measured.
const GPU_BATCH: usize = 256;

/// Maximum number of members for in-graph mixing, unless it was requested.
const MIXED: usize = 8;

/// How long to time a layout in order to estimate the time of a run.
const BRIEF: Duration = Duration::from_millis(30);

/// How long to time each candidate before a run: six of them delay its start by less than a second.
const TRIAL: Duration = Duration::from_millis(80);

/// Minimum number of batches to time.
const BATCHES: usize = 4;

/// How long to time each layout when timing is the purpose of the command.
const LONG: Duration = Duration::from_millis(1000);

/// Runs shorter than this, in seconds, are not tuned: measuring would cost more than it gains.
const SHORT: f64 = 20.0;

/// A layout must be faster by this factor to replace the default, so that noise in the measurements
/// does not make runs of one command differ.
const BETTER: f64 = 1.03;

/// Maximum number of samples to time with.
const SAMPLES: usize = 512;

/// The layouts to try in place of the given one, on a machine with this number of cores.
type LayoutCandidates = fn(&Context<'_>, &Layout, usize) -> Vec<Layout>;

/// Chooses a layout for `models` models, with the data in one chunk, and returns its timing.
///
/// # Errors
/// Fails when the network cannot be run.
pub fn choose(context: &Context<'_>, models: usize) -> Result<(Layout, Timing)> {
    let samples = context.samples_of_mix();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut layout = default_layout(context, cores);
    let trial = Trial::new(context, SAMPLES, layout.batch)?;
    let mut best = trial.time(&layout, BRIEF)?;
    let seconds = best.seconds(models, samples, &layout);
    let stages: [LayoutCandidates; 3] = [batches, divisions, bindings];
    let is_open = |candidates: &LayoutCandidates| !candidates(context, &layout, cores).is_empty();
    if seconds > SHORT && stages.iter().any(is_open) {
        best = trial.time(&layout, TRIAL)?;
        for candidates in stages {
            for other in candidates(context, &layout, cores) {
                let timing = trial.time(&other, TRIAL)?;
                let now = best.seconds(models, samples, &layout);
                if timing.seconds(models, samples, &other) * BETTER < now {
                    (layout, best) = (other, timing);
                }
            }
        }
    }
    Ok((layout, best))
}

/// Times a layout that is already decided.
///
/// # Errors
/// Fails when the network cannot be run.
pub fn time(context: &Context<'_>, layout: &Layout) -> Result<Timing> {
    Trial::new(context, layout.batch, layout.batch)?.time(layout, BRIEF)
}

/// Samples per second with constant weights in this layout, on at most `samples` of the first data
/// set.
///
/// # Errors
/// Fails when the network cannot be run.
pub fn forward_rate(
    context: &Context<'_>,
    layout: &Layout,
    samples: usize,
    budget: Duration,
) -> Result<f64> {
    let trial = Trial::new(context, samples, layout.batch)?;
    Ok(trial.time(layout, budget)?.rate)
}

/// All layouts that the options leave open, each with its timing on this network.
///
/// # Errors
/// Fails when the network cannot be run.
pub fn compare(context: &Context<'_>) -> Result<Vec<(Layout, Timing)>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let first = default_layout(context, cores);
    let trial = Trial::new(context, SAMPLES, first.batch)?;
    let stages: [LayoutCandidates; 3] = [batches, divisions, bindings];
    let others = stages
        .iter()
        .flat_map(|candidates| candidates(context, &first, cores));
    let layouts = std::iter::once(first).chain(others);
    layouts
        .map(|layout| Ok((layout, trial.time(&layout, LONG)?)))
        .collect()
}

/// The layout to use without any measurement.
fn default_layout(context: &Context<'_>, cores: usize) -> Layout {
    let options = &context.setup.options;
    let threads = options.threads.unwrap_or(1);
    let (workers, batch) = match &options.device {
        Device::Cpu => ((cores / threads).max(1), BATCH),
        Device::Cuda(devices) => (devices.len(), GPU_BATCH),
    };
    let on_gpu = options.device != Device::Cpu;
    // Every member is copied to the device, once per call.
    let few = context.members() <= MIXED;
    let layout = Layout {
        workers: options.workers.unwrap_or(workers),
        threads,
        batch: context
            .setup
            .signature
            .fixed_batch
            .or(options.batch)
            .unwrap_or(batch),
        binding: match options.binding.fixed() {
            Some(binding) => binding,
            None if on_gpu && context.can_mix_in_graph() && few => Binding::InGraph,
            None => Binding::Baked,
        },
        chunks: 1,
    };
    if options.workers.is_some() || on_gpu {
        return layout;
    }
    // Half of the memory is for sessions, half for data: large models get fewer workers, each with
    // more cores.
    let alone = Layout {
        workers: 1,
        ..layout
    };
    let one = memory::session_bytes(context, &alone);
    let fitting = (memory::budget(context) / 2 / one.max(1)).max(1);
    let workers = layout.workers.min(fitting as usize);
    Layout {
        workers,
        threads: options.threads.unwrap_or(cores / workers),
        ..layout
    }
}

/// Other batch sizes, if the options and the network leave them open.
fn batches(context: &Context<'_>, now: &Layout, _cores: usize) -> Vec<Layout> {
    if context.setup.options.batch.is_some() || context.setup.signature.fixed_batch.is_some() {
        return Vec::new();
    }
    let sizes = match context.setup.options.device {
        Device::Cpu => [16, 64],
        Device::Cuda(_) => [128, 512],
    };
    sizes.map(|batch| Layout { batch, ..*now }).into()
}

/// One session with all cores, if the options leave that open.
fn divisions(context: &Context<'_>, now: &Layout, cores: usize) -> Vec<Layout> {
    let options = &context.setup.options;
    let is_open = options.threads.is_none() && options.workers.is_none();
    if !is_open || options.device != Device::Cpu || cores < 2 {
        return Vec::new();
    }
    vec![Layout {
        workers: 1,
        threads: cores,
        ..*now
    }]
}

/// The other bindings, if the options leave them open.
fn bindings(context: &Context<'_>, now: &Layout, _cores: usize) -> Vec<Layout> {
    if context.setup.options.binding.fixed().is_some() {
        return Vec::new();
    }
    // In-graph mixing repeats the work for every batch, so on a CPU mixing once per mix is cheaper.
    // On a GPU it avoids copying the weights from main memory to the device.
    let once = match context.setup.options.device {
        Device::Cuda(_) if context.can_mix_in_graph() => Binding::InGraph,
        _ => Binding::Inputs,
    };
    let others = [Binding::Baked, once].into_iter();
    others
        .filter(|binding| *binding != now.binding)
        .map(|binding| Layout { binding, ..*now })
        .collect()
}

/// The samples that layouts are timed on: the first of the first data set.
struct Trial<'t> {
    context: &'t Context<'t>,
    shard: Shard,
    /// Seconds per sample in the frozen part.
    frozen: f64,
}

impl<'t> Trial<'t> {
    /// Prepares at most `samples` samples, and runs the frozen part on them in batches of `batch`.
    fn new(context: &'t Context<'_>, samples: usize, batch: usize) -> Result<Self> {
        let samples = context.setup.datasets[0].len().min(samples);
        let (shard, took) = context.shard(0, 0..samples, batch)?;
        Ok(Self {
            context,
            frozen: took.as_secs_f64() / samples.max(1) as f64,
            shard,
        })
    }

    /// Runs θ0 for about `budget` on all workers in parallel.
    fn time(&self, layout: &Layout, budget: Duration) -> Result<Timing> {
        let one = |number| move || self.time_worker(number, layout, budget);
        let timings: Vec<Result<Timing>> = std::thread::scope(|scope| {
            let begin = |number| std::thread::Builder::new().spawn_scoped(scope, one(number));
            let threads: Vec<_> = (0..layout.workers).map(begin).collect();
            let end = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| {
                let lost = |_| Err(Error::runtime("measuring", "a thread was lost"));
                match thread {
                    Ok(thread) => thread.join().unwrap_or_else(lost),
                    Err(error) => Err(Error::runtime("worker threads", error)),
                }
            };
            threads.into_iter().map(end).collect()
        });
        let all = timings.into_iter().collect::<Result<Vec<Timing>>>()?;
        Ok(Timing {
            rate: all.iter().map(|one| one.rate).sum(),
            once: all.iter().map(|one| one.once).sum::<f64>() / all.len() as f64,
            each: all.iter().map(|one| one.each).sum::<f64>() / all.len() as f64,
            frozen: self.frozen,
        })
    }

    /// The timing of one of the workers.
    fn time_worker(&self, number: usize, layout: &Layout, budget: Duration) -> Result<Timing> {
        let (context, shard) = (self.context, &self.shard);
        let mix = Mix::unit(0, context.members());
        let mut worker = Worker::new(context, layout, number);
        let start = Instant::now();
        worker.model(&mix)?;
        let once = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let model = worker.model(&mix)?;
        let each = start.elapsed().as_secs_f64();
        let (mut done, mut batches) = (0, 0);
        let all = shard.begin..shard.begin + shard.labels.len();
        let first = all.start..all.end.min(all.start + layout.batch);
        model.outcomes(context, Some(&mix), shard, first, layout.batch)?;
        let start = Instant::now();
        let least = if budget < TRIAL { 1 } else { BATCHES };
        let is_enough = |batches| start.elapsed() >= budget && batches >= least;
        while !is_enough(batches) {
            for from in all.clone().step_by(layout.batch) {
                let batch = from..all.end.min(from + layout.batch);
                done += batch.len();
                model.outcomes(context, Some(&mix), shard, batch, layout.batch)?;
                batches += 1;
                if is_enough(batches) {
                    break;
                }
            }
        }
        Ok(Timing {
            rate: done as f64 / start.elapsed().as_secs_f64(),
            once,
            each,
            frozen: self.frozen,
        })
    }
}

/// A long run shows a new version of the whole map about this often, in seconds.
const SHOW_AFTER: f64 = 60.0;

/// The fraction of a run that may be spent on preparing all models once more.
const OVERHEAD: f64 = 0.02;

/// The number of chunks to divide the data into for `models` models, of which `originals` are
/// original. Memory sets the minimum; long runs take more, so that there are partial results to
/// look at and places where a limit can stop the run.
///
/// # Errors
/// Fails when the sessions leave no room for a batch.
pub fn chunks(
    context: &Context<'_>,
    (models, originals): (usize, usize),
    layout: &Layout,
    timing: &Timing,
) -> Result<usize> {
    let samples = context.setup.samples();
    let options = &context.setup.options;
    let seconds = timing.seconds(models, context.samples_of_mix(), layout)
        + timing.frozen_seconds(samples, originals, layout);
    let mut room = memory::room(context, layout)?;
    if options.losses == Losses::Graph && layout.binding != Binding::Baked {
        room = room.min(RESIDENT_BYTES);
    }
    let by_memory = (memory::data_bytes(context) as f64 / room as f64).ceil() as usize;
    let wanted = match options {
        EvaluationOptions {
            max_time: Some(time),
            ..
        } => (10.0 * seconds / time.as_secs_f64().max(1e-3)).ceil(),
        EvaluationOptions {
            tolerance: Some(_), ..
        } => 12.0,
        _ => (seconds / SHOW_AFTER).floor(),
    };
    let made = models as f64 * timing.each / layout.workers as f64;
    let affordable = OVERHEAD * seconds / made.max(1e-9);
    let limited = options.max_time.is_some() || options.tolerance.is_some();
    let wanted = if limited {
        // With a limit, it is worth building sessions more often.
        wanted.min(1000.0)
    } else {
        wanted.min(affordable).min(20.0)
    };
    Ok((wanted as usize).max(by_memory).max(1))
}
