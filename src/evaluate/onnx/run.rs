//! Running models on all data: each once, what is known already not again.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::options::Losses;
use super::shard::Shard;
use super::worker::Worker;
use super::{Engine, Layout, OriginalModel, Timing, layout};
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::journal::{Journal, ModelKey};
use crate::evaluate::lock::lock;
use crate::evaluate::metrics::{Outcome, Tally};
use crate::evaluate::schedule::{Limits, Schedule, ends};
use crate::evaluate::work::Work;
use crate::evaluate::{Answers, EvaluationObserver, Evaluator, RunEstimate};
use crate::result::score::{DatasetInfo, Score};
use crate::space::mix::Mix;

impl Engine<'_> {
    /// The layout of an earlier run, whose bytes are wanted again, or of this one's choice.
    pub(super) fn lay_out(&self, models: usize) -> Result<(Layout, Timing)> {
        let (mut layout, measured) = match self.chosen.get() {
            Some(chosen) => *chosen,
            None => match self.journal.layout().and_then(Layout::parse) {
                Some(mut layout) => {
                    layout.workers = self.request.workers.unwrap_or(layout.workers);
                    let part =
                        self.part_of(0, 0..self.datasets[0].len().min(layout.batch), layout.batch)?;
                    let budget = Duration::from_millis(30);
                    (layout, layout::measure(self, &part, &layout, budget)?)
                }
                None => layout::choose(self, models)?,
            },
        };
        let _ = self.chosen.set((layout, measured));
        layout.chunks = layout::chunks(self, models, &layout, &measured)?;
        self.journal.begin(&layout.to_string())?;
        Ok((layout, measured))
    }

    /// Scores of files as they are on the first samples of the first data set, at most so many;
    /// nothing of it is kept.
    ///
    /// # Errors
    /// When ONNX Runtime refuses one, or the user stopped the run.
    pub fn try_files(
        &self,
        files: &[OriginalModel<'_>],
        samples: usize,
    ) -> Result<Vec<Vec<Score>>> {
        let (layout, _) = self.lay_out(files.len())?;
        let mut sizes = vec![0; self.datasets.len()];
        sizes[0] = samples.min(self.datasets[0].len());
        let schedule = self.schedule((0..files.len()).map(file_key).collect(), &sizes, &layout);
        let run = Run {
            engine: self,
            sources: files.iter().map(Source::File).collect(),
            ends: sizes,
            layout,
            observer: &(),
        };
        let tallies = schedule.run(&run, &Journal::default(), |_| Ok(()))?;
        Ok(tallies.iter().map(|sets| vec![sets[0].score()]).collect())
    }

    /// All models on the first samples of each data set, without limits.
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

    /// What it took so far.
    pub fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    /// Adds to what it took.
    pub fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut lock(&self.counts));
    }

    /// Every model that is asked for, each once: what of the files and mixes it is, by its key.
    fn models<'m>(&'m self, mixes: &'m [Mix]) -> (Vec<ModelKey>, Vec<Source<'m>>) {
        let files = self.files.iter().enumerate();
        let files = files.map(|(index, file)| (file_key(index), Source::File(file)));
        let mixes = mixes.iter().map(|mix| (mix_key(mix), Source::Mix(mix)));
        let mut seen = HashSet::new();
        let all = files.chain(mixes);
        all.filter(|(key, _)| seen.insert(*key)).unzip()
    }

    pub(super) fn estimate(
        &self,
        schedule: &Schedule,
        journal: &Journal,
        layout: &Layout,
        measured: &Timing,
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
        let seconds = measured.seconds(models, samples, layout) + self.once_seconds(layout);
        let _ = self.layout.set(layout.to_string());
        RunEstimate {
            models,
            samples,
            done,
            chunks,
            seconds: seconds * (all - done.min(all)) as f64 / all.max(1) as f64,
            memory: self.session_bytes(layout) + self.data_bytes() / chunks.max(1) as u64,
            frozen_nodes: self.frozen_nodes(),
        }
    }

    /// Scores of files and mixes from the tallies of the models that they are.
    fn answers(&self, mixes: &[Mix], models: &[ModelKey], tallies: &[Vec<Tally>]) -> Answers {
        let infos = self
            .datasets
            .iter()
            .enumerate()
            .map(|(set, data)| DatasetInfo {
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
            files: (0..self.files.len())
                .map(|file| score(file_key(file)))
                .collect(),
        }
    }
}

/// What a model is made of.
pub enum Source<'m> {
    File(&'m OriginalModel<'m>),
    Mix(&'m Mix),
}

/// Names a mix by its coefficients.
pub fn mix_key(mix: &Mix) -> ModelKey {
    let mut hash = Sha256::new();
    for coefficient in mix.rows().iter().flatten() {
        hash.update(coefficient.to_le_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (half, _) = digest.split_at(16);
    half.iter()
        .fold(0, |key, byte| key << 8 | ModelKey::from(*byte))
}

/// Names an untouched file; no mix's hash is so small.
fn file_key(file: usize) -> ModelKey {
    file as ModelKey
}

/// What it took to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Models that were asked for.
    pub models: usize,
    /// Those of them of which everything was known.
    pub remembered: usize,
    /// Samples that went through the network, over all models.
    pub samples: usize,
    /// Samples of which gradients were taken, or losses beside them.
    pub learning: usize,
}

impl Evaluator for Engine<'_> {
    fn datasets(&self) -> Vec<DatasetInfo> {
        self.datasets.iter().map(Dataset::info).collect()
    }

    fn evaluate_on(
        &self,
        mixes: &[Mix],
        wanted: &[bool],
        observer: &dyn EvaluationObserver,
    ) -> Result<Answers> {
        let (models, sources) = self.models(mixes);
        let journal = &self.journal;
        let (layout, measured) = self.lay_out(models.len())?;
        let sets = self.datasets.iter().zip(wanted);
        let sizes: Vec<usize> = sets
            .map(|(data, wanted)| if *wanted { data.len() } else { 0 })
            .collect();
        let schedule = Schedule {
            limits: Limits {
                max_time: self.request.max_time,
                tolerance: self.request.tolerance,
            },
            ..self.schedule(models, &sizes, &layout)
        };
        let models = &schedule.models;
        let is_known = |model: &&ModelKey| {
            let known = journal.tallies(**model);
            known.is_some_and(|tallies| {
                let mut pairs = tallies.iter().zip(&sizes);
                pairs.all(|(tally, size)| tally.samples() >= *size)
            })
        };
        let remembered = models.iter().filter(is_known).count();
        self.count(|counts| {
            counts.models += models.len();
            counts.remembered += remembered;
        });
        observer.begins(&self.estimate(&schedule, journal, &layout, &measured));
        let run = Run {
            engine: self,
            sources,
            ends: sizes.clone(),
            layout,
            observer,
        };
        let tallies = schedule.run(&run, journal, |tallies| {
            observer.on_partial(&self.answers(mixes, models, tallies))
        })?;
        Ok(self.answers(mixes, models, &tallies))
    }
}

/// Samples that were made ready last.
pub struct Held {
    ranges: Vec<Range<usize>>,
    batch: usize,
    parts: Arc<Vec<Shard>>,
}

/// One evaluation, as the schedule sees it.
pub struct Run<'r> {
    pub engine: &'r Engine<'r>,
    pub sources: Vec<Source<'r>>,
    /// Samples of each data set that are wanted.
    pub ends: Vec<usize>,
    pub layout: Layout,
    pub observer: &'r dyn EvaluationObserver,
}

impl<'r> Work for Run<'r> {
    type Chunk = Arc<Vec<Shard>>;
    type Worker = Worker<'r>;

    /// The same as of the call before, where it is: a greedy soup asks for the same samples again
    /// and again.
    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Arc<Vec<Shard>>> {
        let engine = self.engine;
        let batch = self.layout.batch;
        let mut held = lock(&engine.held);
        if let Some(held) = held
            .as_ref()
            .filter(|held| held.ranges == ranges && held.batch == batch)
        {
            return Ok(Arc::clone(&held.parts));
        }
        // Before others take as much memory.
        *held = None;
        let wanted = ranges.to_vec();
        let ranges = ranges.iter().cloned().enumerate();
        let parts = ranges.map(|(dataset, range)| engine.part_of(dataset, range, batch));
        let mut parts = parts.collect::<Result<Vec<Shard>>>()?;
        let bytes = engine.data_bytes() / self.layout.chunks.max(1) as u64;
        if engine.request.losses == Losses::Graph && bytes <= layout::RESIDENT_BYTES {
            for part in &mut parts {
                // Where a device's memory is too small for it, data goes there with each model.
                if part.settle(engine, self.layout.batch).is_err() {
                    engine.check_stop()?;
                }
            }
        }
        let parts = Arc::new(parts);
        *held = Some(Held {
            ranges: wanted,
            batch,
            parts: Arc::clone(&parts),
        });
        Ok(parts)
    }

    fn worker(&self, _number: usize) -> Result<Worker<'r>> {
        Ok(Worker::new(self.engine, &self.layout))
    }

    fn evaluate(
        &self,
        worker: &mut Worker<'r>,
        index: usize,
        chunk: &Arc<Vec<Shard>>,
        places: &[Range<usize>],
    ) -> Result<Vec<Vec<Outcome>>> {
        let engine = self.engine;
        engine.check_stop()?;
        let mut own;
        let (model, mix) = match self.sources[index] {
            Source::Mix(mix) => (worker.model(mix)?, Some(mix)),
            Source::File(file) => {
                own = worker.file(file)?;
                (&mut own, None)
            }
        };
        let parts = chunk.iter().zip(places);
        let outcomes = parts.map(|(part, places)| {
            let batch = self.layout.batch;
            let outcomes = model.outcomes(engine, mix, part, places.clone(), batch)?;
            self.evaluated(outcomes.len());
            Ok(outcomes)
        });
        outcomes.collect()
    }

    fn tallied(&self, tallies: &[Tally]) {
        let mut sets = self.ends.iter().zip(tallies);
        let is_whole = sets.all(|(end, tally)| tally.samples() >= *end);
        self.observer.progress(usize::from(is_whole), 0);
    }
}

impl Run<'_> {
    /// Tells that samples went through the network.
    pub fn evaluated(&self, samples: usize) {
        self.engine.count(|counts| counts.samples += samples);
        self.observer.progress(0, samples);
    }
}
