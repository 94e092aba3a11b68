//! Evaluates models on all data, each one once, and skips what is already known. Reads and writes
//! the engine's journal, cache and counts.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::calibration::Calibration;
use super::chunk_cache::Shards;
use super::engine::Engine;
use super::keys::{file_key, mix_key};
use super::layout::{Layout, Timing};
use super::memory::{self, RESIDENT_BYTES};
use super::options::Losses;
use super::original::OriginalModel;
use super::shard::Shard;
use super::tuning;
use super::worker::Worker;
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::journal::{Journal, ModelKey};
use crate::evaluate::metrics::{Outcome, Tally};
use crate::evaluate::outcome_file;
use crate::evaluate::outcomes::Outcomes;
use crate::evaluate::schedule::{Limits, Schedule, ends};
use crate::evaluate::work::Work;
use crate::evaluate::{Answers, EvaluationObserver, Evaluator, RunEstimate};
use crate::result::loss::Beta;
use crate::result::score::{DatasetInfo, Score};
use crate::space::mix::Mix;

impl Engine<'_> {
    /// The layout recorded by an interrupted run, so that results stay the same to the last bit;
    /// otherwise a newly chosen one. Its number of chunks suits `models` models.
    pub(super) fn lay_out(&self, models: usize) -> Result<(Layout, Timing)> {
        let (mut layout, timing) = match self.tuned.get() {
            Some(tuned) => *tuned,
            None => self.tune(models)?,
        };
        let _ = self.tuned.set((layout, timing));
        let models = (models, self.originals.len());
        layout.chunks = tuning::chunks(&self.context, models, &layout, &timing)?;
        self.journal.begin(&layout.to_string())?;
        Ok((layout, timing))
    }

    fn tune(&self, models: usize) -> Result<(Layout, Timing)> {
        let context = &self.context;
        let Some(layout) = self.journal.layout().and_then(Layout::parse) else {
            return tuning::choose(context, models);
        };
        let workers = context.setup.options.workers.unwrap_or(layout.workers);
        let layout = Layout { workers, ..layout };
        Ok((layout, tuning::time(context, &layout)?))
    }

    /// Scores and outcomes of original models on the first samples of the first data set, at most
    /// `samples`. Nothing is kept.
    ///
    /// # Errors
    /// Fails when ONNX Runtime refuses a model, or the user stopped the run.
    pub fn try_originals(
        &self,
        files: &[OriginalModel<'_>],
        samples: usize,
    ) -> Result<Vec<(Score, Outcomes)>> {
        let (layout, _) = self.lay_out(files.len())?;
        let datasets = self.context.setup.datasets;
        let mut sizes = vec![0; datasets.len()];
        sizes[0] = samples.min(datasets[0].len());
        let schedule = self.schedule((0..files.len()).map(file_key).collect(), &sizes, &layout);
        let nothing = Journal::default();
        let run = EvaluationRun {
            engine: self,
            sources: files.iter().map(ModelSource::Original).collect(),
            calibration: Calibration::new(&self.context, &nothing, &schedule)?,
            ends: sizes,
            layout,
            observer: &(),
            keeps: vec![true; files.len()],
        };
        let tallies = schedule.run(&run, &nothing, |_| Ok(()))?;
        let found = tallies.iter().enumerate().map(|(file, sets)| {
            let outcomes = nothing.outcomes(file_key(file), 0, sets[0].samples())?;
            Ok((sets[0].score(), outcomes.unwrap_or_default()))
        });
        found.collect()
    }

    /// The number of the first `samples` samples of a data set that one of an original model and a
    /// mix has right and the other wrong; `None` if the outcomes of either are not known.
    pub fn differing(&self, file: usize, mix: &Mix, set: usize, samples: usize) -> Option<usize> {
        let of = |key: ModelKey| self.journal.outcomes(key, set, samples).ok().flatten();
        Some(of(file_key(file))?.differing(&of(mix_key(mix))?))
    }

    /// A schedule of all models on the first samples of each data set, without limits.
    pub(super) fn schedule(
        &self,
        models: Vec<ModelKey>,
        samples: &[usize],
        layout: &Layout,
    ) -> Schedule {
        Schedule {
            models,
            ends: ends(samples, layout.chunks, layout.batch),
            batch: layout.batch,
            workers: layout.workers,
            limits: Limits::default(),
            start: self.start,
        }
    }

    /// Every requested model once: its key, and the original or mix that it stands for.
    fn models<'m>(&'m self, mixes: &'m [Mix]) -> (Vec<ModelKey>, Vec<ModelSource<'m>>) {
        let files = self.originals.iter().enumerate();
        let files = files.map(|(index, file)| (file_key(index), ModelSource::Original(file)));
        let mixes = mixes
            .iter()
            .map(|mix| (mix_key(mix), ModelSource::Mix(mix)));
        let mut seen = HashSet::new();
        let all = files.chain(mixes);
        all.filter(|(key, _)| seen.insert(*key)).unzip()
    }

    /// Estimates the size, time and memory of a run.
    pub(super) fn estimate(
        &self,
        schedule: &Schedule,
        journal: &Journal,
        (layout, timing): (&Layout, &Timing),
    ) -> RunEstimate {
        let models = schedule.models.len();
        let whole = schedule.whole();
        let samples: usize = whole.iter().sum();
        let known = schedule
            .models
            .iter()
            .filter_map(|key| journal.tallies(*key));
        let known = known.flat_map(|tallies| {
            let known = tallies.into_iter().zip(&whole);
            known.map(|(tally, &end)| tally.samples().min(end))
        });
        let done: usize = known.sum();
        let all = models * samples;
        let chunks = schedule.ends.len();
        let _ = self.first_layout.set(layout.to_string());
        let context = &self.context;
        // Of several chunks, none holds all samples that calibrate: these run once more.
        let calibrating = context.calibration.filter(|_| chunks > 1);
        let extra = context.samples_of_mix() - context.setup.samples()
            + calibrating.map_or(0, |of| of.samples);
        let seconds = timing.seconds(models, samples + extra, layout)
            + timing.frozen_seconds(context.setup.samples(), self.originals.len(), layout);
        RunEstimate {
            models,
            samples,
            done,
            chunks,
            seconds: seconds * (all - done.min(all)) as f64 / all.max(1) as f64,
            memory: memory::session_bytes(context, layout)
                + memory::statistics_bytes(context)
                + memory::calibration_bytes(context, layout)
                + memory::data_bytes(context) / chunks.max(1) as u64,
            disk: outcome_file::bytes(models, &whole).min(context.setup.options.disk),
            frozen_nodes: self.frozen_nodes(),
        }
    }

    /// The β of mixes that were evaluated; empty unless losses are calibrated.
    fn betas(&self, mixes: &[Mix]) -> Vec<Beta> {
        if self.context.calibration.is_none() {
            return Vec::new();
        }
        let beta = |mix| self.journal.beta(mix_key(mix));
        let betas = mixes
            .iter()
            .map(|mix| beta(mix).unwrap_or(Beta::UNMEASURED));
        betas.collect()
    }

    /// Looks up the scores of files and mixes in the tallies of the evaluated models.
    fn answers(&self, mixes: &[Mix], models: &[ModelKey], tallies: &[Vec<Tally>]) -> Answers {
        let datasets = self.context.setup.datasets;
        let infos = datasets.iter().enumerate().map(|(set, data)| DatasetInfo {
            samples: tallies.first().map_or(0, |sets| sets[set].samples()),
            ..data.info()
        });
        let places = models.iter().zip(tallies);
        let tallies: HashMap<&ModelKey, &Vec<Tally>> = places.collect();
        let score = |key: ModelKey| -> Vec<Score> {
            let sets = tallies.get(&key).into_iter().copied().flatten();
            sets.map(Tally::score).collect()
        };
        Answers {
            datasets: infos.collect(),
            scores: mixes.iter().map(|mix| score(mix_key(mix))).collect(),
            betas: self.betas(mixes),
            originals: (0..self.originals.len())
                .map(|file| score(file_key(file)))
                .collect(),
        }
    }
}

/// Where a model comes from.
pub enum ModelSource<'m> {
    /// A model that is run unchanged.
    Original(&'m OriginalModel<'m>),
    /// A combination of the pool's members.
    Mix(&'m Mix),
}

impl Evaluator for Engine<'_> {
    fn datasets(&self) -> Vec<DatasetInfo> {
        let datasets = self.context.setup.datasets.iter();
        datasets.map(Dataset::info).collect()
    }

    fn outcomes(&self, mix: &Mix, set: usize, samples: usize) -> Result<Option<Outcomes>> {
        self.journal.outcomes(mix_key(mix), set, samples)
    }

    fn evaluate_on(
        &self,
        mixes: &[Mix],
        wanted: &[bool],
        observer: &dyn EvaluationObserver,
    ) -> Result<Answers> {
        let (models, sources) = self.models(mixes);
        let journal = &self.journal;
        let (layout, timing) = self.lay_out(models.len())?;
        let sets = self.context.setup.datasets.iter().zip(wanted);
        let sizes: Vec<usize> = sets
            .map(|(data, wanted)| if *wanted { data.len() } else { 0 })
            .collect();
        let options = &self.context.setup.options;
        let schedule = Schedule {
            limits: Limits {
                max_time: options.max_time,
                tolerance: options.tolerance,
            },
            ..self.schedule(models, &sizes, &layout)
        };
        let models = &schedule.models;
        let keeps = kept(&sources, &sizes, options.disk);
        let is_known = |(index, model): &(usize, &ModelKey)| {
            let known = journal.tallies(**model);
            known.is_some_and(|tallies| {
                if keeps[*index] && !journal.has_outcomes(**model, &tallies) {
                    return false;
                }
                let mut pairs = tallies.iter().zip(&sizes);
                pairs.all(|(tally, size)| tally.samples() >= *size)
            })
        };
        let remembered = models.iter().enumerate().filter(is_known).count();
        self.counters.add(|counts| {
            counts.models += models.len();
            counts.remembered += remembered;
        });
        observer.begins(&self.estimate(&schedule, journal, (&layout, &timing)));
        let run = EvaluationRun {
            engine: self,
            calibration: Calibration::new(&self.context, journal, &schedule)?,
            sources,
            ends: sizes.clone(),
            layout,
            observer,
            keeps,
        };
        let tallies = schedule.run(&run, journal, |tallies| {
            observer.on_partial(&self.answers(mixes, models, tallies))
        })?;
        Ok(self.answers(mixes, models, &tallies))
    }
}

/// Which models' outcomes are kept, if each is evaluated on `sizes[data set]` samples: those of the
/// members and the untouched files, and of as many other mixes as the disk has room for. The last of
/// these come first: a plane's grid is asked for before its models.
fn kept(sources: &[ModelSource<'_>], sizes: &[usize], disk: u64) -> Vec<bool> {
    let one = outcome_file::bytes(1, sizes).max(1);
    let mut room = disk / one;
    let mut take = |always: bool| {
        let keeps = always || room > 0;
        room = room.saturating_sub(1);
        keeps
    };
    let is_member = |source: &ModelSource<'_>| match source {
        ModelSource::Original(_) => true,
        ModelSource::Mix(mix) => mix.is_unit(),
    };
    let mut keeps: Vec<bool> = sources.iter().rev().map(|it| take(is_member(it))).collect();
    keeps.reverse();
    keeps
}

/// One evaluation, as the schedule sees it.
pub struct EvaluationRun<'r> {
    pub engine: &'r Engine<'r>,
    /// What calibrates the losses, if they are calibrated.
    pub calibration: Option<Calibration<'r>>,
    /// `sources[model]`.
    pub sources: Vec<ModelSource<'r>>,
    /// How many samples of each data set to evaluate.
    pub ends: Vec<usize>,
    pub layout: Layout,
    pub observer: &'r dyn EvaluationObserver,
    /// `keeps[model]`: whether the outcomes of every sample are kept.
    pub keeps: Vec<bool>,
}

impl<'r> Work for EvaluationRun<'r> {
    type Chunk = Shards;
    type Worker = Worker<'r>;

    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Shards> {
        let cache = &self.engine.cache;
        cache.get_or_load(ranges, self.layout.batch, || self.load(ranges))
    }

    fn worker(&self, number: usize) -> Result<Worker<'r>> {
        Ok(Worker::new(&self.engine.context, &self.layout, number))
    }

    fn evaluate(
        &self,
        worker: &mut Worker<'r>,
        index: usize,
        chunk: &Shards,
        places: &[Range<usize>],
    ) -> Result<Vec<Vec<Outcome>>> {
        let context = &self.engine.context;
        context.setup.check_stop()?;
        let (mut original, settled);
        let (model, mix) = match self.sources[index] {
            ModelSource::Mix(mix) => {
                settled = worker.settled(mix)?;
                (worker.model(&settled)?, Some(&*settled))
            }
            ModelSource::Original(file) => {
                original = worker.file(file)?;
                (&mut original, None)
            }
        };
        if let Some(calibration) = &self.calibration {
            let outcomes = calibration.outcomes(index, (model, mix), chunk, places)?;
            self.evaluated(outcomes.iter().map(Vec::len).sum());
            return Ok(outcomes);
        }
        let shards = chunk.iter().zip(places);
        let outcomes = shards.map(|(shard, places)| {
            let batch = self.layout.batch;
            let outcomes = model.outcomes(context, mix, shard, places.clone(), batch)?;
            self.evaluated(outcomes.len());
            Ok(outcomes)
        });
        outcomes.collect()
    }

    fn keeps_outcomes(&self, model: usize) -> bool {
        self.keeps[model]
    }

    fn tallied(&self, tallies: &[Tally]) {
        let mut sets = self.ends.iter().zip(tallies);
        let is_whole = sets.all(|(end, tally)| tally.samples() >= *end);
        self.observer.progress(usize::from(is_whole), 0);
    }
}

impl EvaluationRun<'_> {
    /// Counts samples that went through the network and reports them to the observer.
    pub fn evaluated(&self, samples: usize) {
        self.engine.counters.add(|counts| counts.samples += samples);
        self.observer.progress(0, samples);
    }

    /// Prepares samples, and uploads them to the devices where they fit.
    fn load(&self, ranges: &[Range<usize>]) -> Result<Vec<Shard>> {
        let (context, batch) = (&self.engine.context, self.layout.batch);
        let ranges = ranges.iter().cloned().enumerate();
        let shards = ranges.map(|(dataset, range)| Ok(context.shard(dataset, range, batch)?.0));
        let mut shards = shards.collect::<Result<Vec<Shard>>>()?;
        let bytes = memory::data_bytes(context) / self.layout.chunks.max(1) as u64;
        if context.setup.options.losses == Losses::Graph && bytes <= RESIDENT_BYTES {
            for shard in &mut shards {
                // If a device has too little memory, the data is sent to it again for each model.
                if shard.upload(&context.setup, batch).is_err() {
                    context.setup.check_stop()?;
                }
            }
        }
        Ok(shards)
    }
}
