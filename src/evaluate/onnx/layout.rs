//! How the work is laid out on the machine: what was asked for, and what a short measurement on
//! this network chose where nothing was.

use std::fmt;
use std::time::{Duration, Instant};

use super::Engine;
use super::options::{Binding, Device, EvaluationOptions, Losses};
use super::shard::Shard;
use super::worker::Worker;
use crate::base::human::size;
use crate::base::machine::Memory;
use crate::error::{Error, Result};
use crate::space::mix::Mix;

/// How the work is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Sessions at the same time.
    pub workers: usize,
    /// Threads within each.
    pub threads: usize,
    /// Samples a run.
    pub batch: usize,
    /// How weights are bound; not [`Binding::Auto`].
    pub binding: Binding,
    /// Parts that the data is taken in.
    pub chunks: usize,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workers,
            threads,
            batch,
            binding,
            chunks,
        } = self;
        let binding = binding.name();
        write!(
            f,
            "workers={workers} threads={threads} batch={batch} binding={binding} chunks={chunks}"
        )
    }
}

impl Layout {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let number = |key: &str| value(key)?.parse().ok().filter(|&n| n > 0);
        Some(Self {
            workers: number("workers")?,
            threads: number("threads")?,
            batch: number("batch")?,
            binding: Binding::parse(value("binding")?)?,
            chunks: number("chunks")?,
        })
    }
}

/// What a layout achieved.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Samples a second, all workers together.
    pub rate: f64,
    /// Seconds to make a worker ready.
    pub once: f64,
    /// Seconds to make each further model ready.
    pub each: f64,
}

impl Timing {
    /// Seconds for so many models of so many samples, in so many chunks.
    pub fn seconds(&self, models: usize, samples: usize, layout: &Layout) -> f64 {
        let made = (models * layout.chunks) as f64 / layout.workers as f64;
        models as f64 * samples as f64 / self.rate + self.once + self.each * made
    }
}

/// Samples a run, where nothing was asked for or measured: activations stay in the cache.
const BATCH: usize = 32;

/// The same on a GPU.
const GPU_BATCH: usize = 256;

/// Bytes of data that may stay in a GPU's memory: how much it has, this program does not know.
pub const RESIDENT_BYTES: u64 = 4 << 30;

/// Members that a graph mixes at most, unless that is asked for.
const MIXED: usize = 8;

/// How long each rival is measured before a run: six of them delay its start by under a second.
const TRIAL: Duration = Duration::from_millis(80);

/// Batches that are measured at least, however long they take.
const BATCHES: usize = 4;

/// How long each layout is measured when only that is wanted.
const LONG: Duration = Duration::from_millis(1000);

/// Seconds of a run below which measuring would cost more than it gives.
const SHORT: f64 = 20.0;

/// A layout must be so much better to take the place of the plain one: runs of one command should
/// not differ by the noise of a measurement.
const BETTER: f64 = 1.03;

/// What to measure with: at most so many samples.
const SAMPLES: usize = 512;

/// Layouts to try beside one, for a number of cores.
type LayoutCandidates = fn(&Engine<'_>, &Layout, usize) -> Vec<Layout>;

/// Chooses a layout for `models` models, with the data in one chunk; tells what it achieved.
///
/// # Errors
/// When the network cannot be run.
pub fn choose(engine: &Engine<'_>, models: usize) -> Result<(Layout, Timing)> {
    let samples = engine.samples();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut layout = default_layout(engine, cores);
    let part = engine.part_of(0, 0..engine.datasets[0].len().min(SAMPLES), layout.batch)?;
    let mut best = measure(engine, &part, &layout, Duration::from_millis(30))?;
    let seconds = best.seconds(models, samples, &layout);
    let stages: [LayoutCandidates; 3] = [batches, divisions, bindings];
    let is_open = |candidates: &LayoutCandidates| !candidates(engine, &layout, cores).is_empty();
    if seconds > SHORT && stages.iter().any(is_open) {
        best = measure(engine, &part, &layout, TRIAL)?;
        for candidates in stages {
            for other in candidates(engine, &layout, cores) {
                let measured = measure(engine, &part, &other, TRIAL)?;
                let now = best.seconds(models, samples, &layout);
                if measured.seconds(models, samples, &other) * BETTER < now {
                    (layout, best) = (other, measured);
                }
            }
        }
    }
    Ok((layout, best))
}

/// The layout where nothing is measured.
fn default_layout(engine: &Engine<'_>, cores: usize) -> Layout {
    let request = &engine.request;
    let threads = request.threads.unwrap_or(1);
    let (workers, batch) = match &request.device {
        Device::Cpu => ((cores / threads).max(1), BATCH),
        Device::Cuda(devices) => (devices.len(), GPU_BATCH),
    };
    let on_gpu = request.device != Device::Cpu;
    // A copy of every member lies on the device, and goes there with every call.
    let few = engine.pool.members.len() <= MIXED;
    let layout = Layout {
        workers: request.workers.unwrap_or(workers),
        threads,
        batch: engine
            .signature
            .fixed_batch
            .or(request.batch)
            .unwrap_or(batch),
        binding: match request.binding {
            Binding::Auto if on_gpu && engine.can_mix_in_graph() && few => Binding::InGraph,
            Binding::Auto => Binding::Baked,
            asked => asked,
        },
        chunks: 1,
    };
    if request.workers.is_some() || on_gpu {
        return layout;
    }
    // Half of the memory for sessions, half for data: large models get fewer workers, each with
    // more of the cores.
    let one = engine.session_bytes(&Layout {
        workers: 1,
        ..layout
    });
    let fitting = (budget(engine) / 2 / one.max(1)).max(1);
    let workers = layout.workers.min(fitting as usize);
    Layout {
        workers,
        threads: request.threads.unwrap_or(cores / workers),
        ..layout
    }
}

/// All layouts that the request leaves open, measured on this network.
///
/// # Errors
/// When the network cannot be run.
pub fn compare(engine: &Engine<'_>) -> Result<Vec<(Layout, Timing)>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let plain = default_layout(engine, cores);
    let part = engine.part_of(0, 0..engine.datasets[0].len().min(SAMPLES), plain.batch)?;
    let candidates = [batches, divisions, bindings];
    let candidates = candidates
        .iter()
        .flat_map(|candidates| candidates(engine, &plain, cores));
    let layouts = std::iter::once(plain).chain(candidates);
    layouts
        .map(|layout| Ok((layout, measure(engine, &part, &layout, LONG)?)))
        .collect()
}

/// Other batch sizes, where the request and the network leave them open.
fn batches(engine: &Engine<'_>, now: &Layout, _cores: usize) -> Vec<Layout> {
    if engine.request.batch.is_some() || engine.signature.fixed_batch.is_some() {
        return Vec::new();
    }
    let sizes = match engine.request.device {
        Device::Cpu => [16, 64],
        Device::Cuda(_) => [128, 512],
    };
    sizes.map(|batch| Layout { batch, ..*now }).into()
}

/// All cores within one session, where the request leaves that open.
fn divisions(engine: &Engine<'_>, now: &Layout, cores: usize) -> Vec<Layout> {
    let request = &engine.request;
    let is_open = request.threads.is_none() && request.workers.is_none();
    if !is_open || request.device != Device::Cpu || cores < 2 {
        return Vec::new();
    }
    vec![Layout {
        workers: 1,
        threads: cores,
        ..*now
    }]
}

/// The other bindings, where the request leaves that open.
fn bindings(engine: &Engine<'_>, now: &Layout, _cores: usize) -> Vec<Layout> {
    if engine.request.binding != Binding::Auto {
        return Vec::new();
    }
    // A graph that mixes does so for every batch; on a processor it is cheaper done once a mix. On
    // a GPU it spares the way of the weights from one memory to the other.
    let once = match engine.request.device {
        Device::Cuda(_) if engine.can_mix_in_graph() => Binding::InGraph,
        _ => Binding::Inputs,
    };
    let others = [Binding::Baked, once].into_iter();
    others
        .filter(|binding| *binding != now.binding)
        .map(|binding| Layout { binding, ..*now })
        .collect()
}

/// Runs θ0 on a part for about `budget`, all workers at the same time.
///
/// # Errors
/// When the network cannot be run.
pub fn measure(
    engine: &Engine<'_>,
    part: &Shard,
    layout: &Layout,
    budget: Duration,
) -> Result<Timing> {
    let mix = Mix::unit(0, engine.pool.members.len());
    let one = || -> Result<Timing> {
        let mut worker = Worker::new(engine, layout);
        let start = Instant::now();
        worker.model(&mix)?;
        let once = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let model = worker.model(&mix)?;
        let each = start.elapsed().as_secs_f64();
        let (mut done, mut batches) = (0, 0);
        let all = part.begin..part.begin + part.labels.len();
        let first = all.start..all.end.min(all.start + layout.batch);
        model.outcomes(engine, Some(&mix), part, first, layout.batch)?;
        let start = Instant::now();
        let least = if budget < TRIAL { 1 } else { BATCHES };
        let is_enough = |batches| start.elapsed() >= budget && batches >= least;
        while !is_enough(batches) {
            for from in all.clone().step_by(layout.batch) {
                let batch = from..all.end.min(from + layout.batch);
                done += batch.len();
                model.outcomes(engine, Some(&mix), part, batch, layout.batch)?;
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
        })
    };
    let outcomes: Vec<Result<Timing>> = std::thread::scope(|scope| {
        let begin = |_| std::thread::Builder::new().spawn_scoped(scope, one);
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
    let all = outcomes.into_iter().collect::<Result<Vec<Timing>>>()?;
    Ok(Timing {
        rate: all.iter().map(|one| one.rate).sum(),
        once: all.iter().map(|one| one.once).sum::<f64>() / all.len() as f64,
        each: all.iter().map(|one| one.each).sum::<f64>() / all.len() as f64,
    })
}

/// Seconds after which a long run shows the whole map anew, about.
const LOOK: f64 = 60.0;

/// The part of a run that may go into making all models ready once more.
const OVERHEAD: f64 = 0.02;

/// In how many parts the data is taken: as few as memory allows, but more on long runs, so that
/// there is something to look at, and where a limit may stop the run.
///
/// # Errors
/// When the sessions leave no room for a batch.
pub fn chunks(
    engine: &Engine<'_>,
    models: usize,
    layout: &Layout,
    measured: &Timing,
) -> Result<usize> {
    let samples = engine.samples();
    let seconds = measured.seconds(models, samples, layout) + engine.once_seconds(layout);
    let mut room = room(engine, layout)?;
    if engine.request.losses == Losses::Graph && layout.binding != Binding::Baked {
        room = room.min(RESIDENT_BYTES);
    }
    let by_memory = (engine.data_bytes() as f64 / room as f64).ceil() as usize;
    let wanted = match engine.request {
        EvaluationOptions {
            max_time: Some(time),
            ..
        } => (10.0 * seconds / time.as_secs_f64().max(1e-3)).ceil(),
        EvaluationOptions {
            tolerance: Some(_), ..
        } => 12.0,
        _ => (seconds / LOOK).floor(),
    };
    let made = models as f64 * measured.each / layout.workers as f64;
    let affordable = OVERHEAD * seconds / made.max(1e-9);
    let limited = engine.request.max_time.is_some() || engine.request.tolerance.is_some();
    let wanted = if limited {
        // A limit is worth building sessions more often.
        wanted.min(1000.0)
    } else {
        wanted.min(affordable).min(20.0)
    };
    Ok((wanted as usize).max(by_memory).max(1))
}

/// Bytes that may be taken.
pub fn budget(engine: &Engine<'_>) -> u64 {
    // Half of what is free; where the system does not tell, what any machine has.
    let usual = || Memory::of_this_machine().map_or(1 << 30, |memory| memory.available / 2);
    engine.request.memory.unwrap_or_else(usual)
}

/// Bytes that the budget leaves for samples.
fn room(engine: &Engine<'_>, layout: &Layout) -> Result<u64> {
    let budget = budget(engine);
    let sessions = engine.session_bytes(layout);
    let least = engine.sample_bytes() * layout.batch as u64;
    if budget < sessions + least {
        return Err(Error::flag(
            "--memory",
            format!(
                "{} are too little: the sessions of {} workers take about {} and a batch {}",
                size(budget),
                layout.workers,
                size(sessions),
                size(least)
            ),
        )
        .help("fewer --workers or a smaller --batch need less"));
    }
    Ok(budget - sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_read_back() {
        let layout = Layout {
            workers: 2,
            threads: 1,
            batch: 64,
            binding: Binding::Inputs,
            chunks: 7,
        };
        assert_eq!(Layout::parse(&layout.to_string()), Some(layout));
        assert_eq!(Layout::parse("workers=2 threads=0"), None);
    }
}
