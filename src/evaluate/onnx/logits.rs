//! Computes the logits of models on all samples and writes them to a scratch file.

use std::ops::Range;
use std::path::Path;

use super::chunk_cache::Shards;
use super::engine::Engine;
use super::evaluation::{EvaluationRun, ModelSource};
use super::keys::mix_key;
use super::layout::Layout;
use super::worker::Worker;
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::EvaluationObserver;
use crate::evaluate::journal::{Journal, LogitsOf, ModelKey};
use crate::evaluate::logits::{Logits, Scratch};
use crate::evaluate::metrics::{Outcome, Tally};
use crate::evaluate::schedule::Schedule;
use crate::evaluate::work::Work;
use crate::space::mix::Mix;

impl Engine<'_> {
    /// Logits of mixes on the first `samples[data set]` samples of each data set, in an unnamed
    /// scratch file in `folder`.
    ///
    /// # Errors
    /// Fails when the network cannot be run, the disk is full, or the user stopped the run.
    pub fn logits(
        &self,
        mixes: &[Mix],
        samples: &[usize],
        folder: &Path,
        observer: &dyn EvaluationObserver,
    ) -> Result<Logits> {
        let (layout, timing) = self.lay_out(mixes.len())?;
        let scratch = Scratch::new(folder, mixes.len(), self.classes, samples)?;
        let schedule = self.schedule(mixes.iter().map(mix_key).collect(), samples, &layout);
        // The journal may know these models, but it holds no logits.
        let nothing = Journal::default();
        observer.begins(&self.estimate(&schedule, &nothing, (&layout, &timing)));
        self.write_logits(mixes, &schedule, &scratch, &nothing, layout, observer)?;
        scratch.finish(self.labels(samples))
    }

    /// Logits of mixes on all samples; later evaluations know their scores. If the engine keeps a
    /// journal, they lie beside it, and an interrupted run computes none twice; otherwise they are
    /// in an unnamed scratch file in `folder`.
    ///
    /// # Errors
    /// Fails as [`Engine::logits`] does.
    pub fn kept_logits(
        &self,
        mixes: &[Mix],
        whose: LogitsOf,
        folder: &Path,
        observer: &dyn EvaluationObserver,
    ) -> Result<Logits> {
        let journal = &self.journal;
        let (layout, timing) = self.lay_out(mixes.len())?;
        let samples: Vec<usize> = self
            .context
            .setup
            .datasets
            .iter()
            .map(Dataset::len)
            .collect();
        let models: Vec<ModelKey> = mixes.iter().map(logits_key).collect();
        let scratch = match journal.claim_logits(whose) {
            Some(path) => Scratch::open(&path, mixes.len(), self.classes, &samples)?,
            None => Scratch::new(folder, mixes.len(), self.classes, &samples)?,
        };
        for (index, model) in models.iter().enumerate() {
            // Logits that the journal lists as written may not have reached the disk.
            let Some(tallies) = journal.tallies(*model) else {
                continue;
            };
            // Compares bits, because NaN is not equal to itself.
            let words = |tallies: &[Tally]| -> Vec<_> {
                tallies.iter().map(|tally| tally.to_words()).collect()
            };
            let read = scratch.tallies(index, &tallies, &self.labels(&samples))?;
            if words(&read) != words(&tallies) {
                journal.doubt(*model);
            }
        }
        let known = models.iter().filter(|key| journal.tallies(**key).is_some());
        let known = known.count();
        if whose == LogitsOf::Soups {
            self.counters.add(|counts| {
                counts.models += mixes.len();
                counts.remembered += known;
            });
        }
        let schedule = self.schedule(models, &samples, &layout);
        observer.begins(&self.estimate(&schedule, journal, (&layout, &timing)));
        let tallies = self.write_logits(mixes, &schedule, &scratch, journal, layout, observer)?;
        let logits = scratch.finish(self.labels(&samples))?;
        for (index, (mix, tallies)) in mixes.iter().zip(&tallies).enumerate() {
            let model = mix_key(mix);
            for set in 0..tallies.len() {
                let outcomes = logits.outcomes_of(index, set);
                journal.keep_outcomes((model, set), 0, &outcomes)?;
            }
            journal.append(model, tallies)?;
        }
        Ok(logits)
    }

    fn write_logits(
        &self,
        mixes: &[Mix],
        schedule: &Schedule,
        scratch: &Scratch,
        journal: &Journal,
        layout: Layout,
        observer: &dyn EvaluationObserver,
    ) -> Result<Vec<Vec<Tally>>> {
        let writing = Writing {
            run: EvaluationRun {
                engine: self,
                // Logits are kept as they are.
                calibration: None,
                sources: mixes.iter().map(ModelSource::Mix).collect(),
                ends: schedule.whole(),
                layout,
                observer,
                // The logits say more.
                keeps: vec![false; mixes.len()],
            },
            scratch,
        };
        schedule.run(&writing, journal, |_| Ok(()))
    }

    /// The first labels of each data set, in the order of evaluation.
    fn labels(&self, samples: &[usize]) -> Vec<Vec<usize>> {
        let sets = self.context.setup.datasets.iter().zip(samples);
        let labels = sets.map(|(data, &samples)| {
            let order = data.order()[..samples].iter();
            order
                .map(|&sample| data.labels()[sample] as usize)
                .collect()
        });
        labels.collect()
    }
}

/// The key of a mix's logits.
fn logits_key(mix: &Mix) -> ModelKey {
    !mix_key(mix)
}

/// Number of logits that a worker buffers before writing.
const BUFFERED: usize = 1 << 18;

/// An evaluation that also writes logits.
struct Writing<'r> {
    run: EvaluationRun<'r>,
    scratch: &'r Scratch,
}

impl<'r> Work for Writing<'r> {
    type Chunk = Shards;
    type Worker = Worker<'r>;

    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Shards> {
        self.run.chunk(ranges)
    }

    fn worker(&self, number: usize) -> Result<Worker<'r>> {
        self.run.worker(number)
    }

    fn evaluate(
        &self,
        worker: &mut Worker<'r>,
        index: usize,
        chunk: &Shards,
        places: &[Range<usize>],
    ) -> Result<Vec<Vec<Outcome>>> {
        let (context, batch) = (&self.run.engine.context, self.run.layout.batch);
        let ModelSource::Mix(mix) = self.run.sources[index] else {
            return Ok(Vec::new());
        };
        let mix = &*worker.settled(mix)?;
        let model = worker.model(mix)?;
        let shards = chunk.iter().zip(places);
        let outcomes = shards.map(|(shard, places)| {
            let mut outcomes = Vec::with_capacity(places.len());
            let mut logits = Vec::new();
            let mut begin = places.start;
            for rows in shard.batches(places.clone(), batch) {
                context.setup.check_stop()?;
                model.logits(context, Some(mix), shard, rows, |row, values| {
                    outcomes.push(Outcome::of(values, shard.labels[rows.0 + row]));
                    logits.extend_from_slice(values);
                })?;
                if logits.len() >= BUFFERED {
                    self.scratch.write(index, shard.dataset, begin, &logits)?;
                    begin = places.start + outcomes.len();
                    logits.clear();
                }
            }
            self.scratch.write(index, shard.dataset, begin, &logits)?;
            self.run.evaluated(outcomes.len());
            Ok(outcomes)
        });
        outcomes.collect()
    }

    fn keeps_outcomes(&self, model: usize) -> bool {
        self.run.keeps[model]
    }

    fn tallied(&self, tallies: &[Tally]) {
        self.run.tallied(tallies);
    }
}
