//! Running models on all data: each once, what is known already not again.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::part::Part;
use super::request::Losses;
use super::worker::Worker;
use super::{Engine, Layout, Measured, layout};
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::journal::{Journal, ModelKey};
use crate::evaluate::logits::{Logits, Scratch};
use crate::evaluate::metrics::Tally;
use crate::evaluate::schedule::{Limits, Schedule, Work, ends};
use crate::evaluate::{Answers, Evaluator, Outlook, Watch};
use crate::result::score::{DatasetInfo, Score};
use crate::space::mix::Mix;

impl Engine<'_> {
    /// The layout of an earlier run, whose bytes are wanted again, or of this one's choice.
    fn lay_out(&self, journal: &mut Journal, models: usize) -> Result<(Layout, Measured)> {
        let (mut layout, measured) = match self.chosen.get() {
            Some(chosen) => *chosen,
            None => match journal.layout().and_then(Layout::parse) {
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
        journal.begin(&layout.to_string())?;
        Ok((layout, measured))
    }

    /// Logits of mixes on the first samples of each data set, as many as `samples` says, in a
    /// scratch file in `folder`.
    ///
    /// # Errors
    /// When the network cannot be run, the disk is full, or the user stopped the run.
    pub fn logits(
        &self,
        mixes: &[Mix],
        samples: &[usize],
        folder: &Path,
        watch: &dyn Watch,
    ) -> Result<Logits> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let (layout, _) = self.lay_out(&mut journal, mixes.len())?;
        let scratch = Scratch::new(folder, mixes.len(), self.classes, samples)?;
        let schedule = Schedule {
            models: mixes.iter().map(mix_key).collect(),
            ends: ends(samples, layout.chunks, layout.batch),
            workers: layout.workers,
            limits: Limits::default(),
            start: self.start,
        };
        let run = Run {
            engine: self,
            sources: mixes.iter().map(Source::Mix).collect(),
            layout,
            watch,
        };
        let writing = Writing {
            run,
            scratch: &scratch,
        };
        // What is known of these models has no logits.
        schedule.run(&writing, &Journal::default(), |_| Ok(()))?;
        let labels = self.datasets.iter().zip(samples).map(|(data, &samples)| {
            let order = data.order()[..samples].iter();
            order
                .map(|&sample| data.labels()[sample] as usize)
                .collect()
        });
        scratch.finish(labels.collect())
    }

    /// Every model that is asked for, each once: what of the files and mixes it is, by its key.
    fn models<'m>(&self, mixes: &'m [Mix]) -> (Vec<ModelKey>, Vec<Source<'m>>) {
        let files = (0..self.files.len()).map(|file| (file_key(file), Source::File(file)));
        let mixes = mixes.iter().map(|mix| (mix_key(mix), Source::Mix(mix)));
        let mut seen = HashSet::new();
        let all = files.chain(mixes);
        all.filter(|(key, _)| seen.insert(*key)).unzip()
    }

    fn outlook(
        &self,
        schedule: &Schedule,
        journal: &Journal,
        layout: &Layout,
        measured: &Measured,
    ) -> Outlook {
        let models = schedule.models.len();
        let known = schedule
            .models
            .iter()
            .filter_map(|key| journal.tallies(*key));
        let done: usize = known.flatten().map(|tally| tally.samples()).sum();
        let all = models * self.samples();
        let chunks = schedule.ends.len();
        let seconds = measured.seconds(models, self.samples(), layout) + self.once_seconds(layout);
        Outlook {
            models,
            samples: self.samples(),
            done,
            chunks,
            seconds: seconds * (all - done.min(all)) as f64 / all.max(1) as f64,
            memory: self.session_bytes(layout) + self.data_bytes() / chunks.max(1) as u64,
            layout: layout.to_string(),
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
enum Source<'m> {
    File(usize),
    Mix(&'m Mix),
}

/// Names a mix by its coefficients.
fn mix_key(mix: &Mix) -> ModelKey {
    let mut hash = Sha256::new();
    for coefficient in mix.coefficients() {
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

impl Evaluator for Engine<'_> {
    fn evaluate(&self, mixes: &[Mix], watch: &dyn Watch) -> Result<Answers> {
        let (models, sources) = self.models(mixes);
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let (layout, measured) = self.lay_out(&mut journal, models.len())?;
        let sizes: Vec<usize> = self.datasets.iter().map(Dataset::len).collect();
        let schedule = Schedule {
            models,
            ends: ends(&sizes, layout.chunks, layout.batch),
            workers: layout.workers,
            limits: Limits {
                max_time: self.request.max_time,
                tolerance: self.request.tolerance,
            },
            start: self.start,
        };
        watch.begins(&self.outlook(&schedule, &journal, &layout, &measured));
        let run = Run {
            engine: self,
            sources,
            layout,
            watch,
        };
        let models = &schedule.models;
        let tallies = schedule.run(&run, &journal, |tallies| {
            watch.sharpened(&self.answers(mixes, models, tallies))
        })?;
        Ok(self.answers(mixes, models, &tallies))
    }
}

/// One evaluation, as the schedule sees it.
struct Run<'r> {
    engine: &'r Engine<'r>,
    sources: Vec<Source<'r>>,
    layout: Layout,
    watch: &'r dyn Watch,
}

impl<'r> Work for Run<'r> {
    type Chunk = Vec<Part>;
    type Worker = Worker<'r>;

    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Vec<Part>> {
        let ranges = ranges.iter().cloned().enumerate();
        let engine = self.engine;
        let batch = self.layout.batch;
        let parts = ranges.map(|(dataset, range)| engine.part_of(dataset, range, batch));
        let mut parts = parts.collect::<Result<Vec<Part>>>()?;
        let bytes = engine.data_bytes() / self.layout.chunks.max(1) as u64;
        if engine.request.losses == Losses::Graph && bytes <= layout::SETTLED {
            for part in &mut parts {
                // Where a device's memory is too small for it, data goes there with each model.
                if part.settle(engine, self.layout.batch).is_err() {
                    engine.check_stop()?;
                }
            }
        }
        Ok(parts)
    }

    fn worker(&self) -> Result<Worker<'r>> {
        Ok(Worker::new(self.engine, &self.layout))
    }

    fn evaluate(
        &self,
        worker: &mut Worker<'r>,
        index: usize,
        chunk: &Vec<Part>,
        tallies: &mut [Tally],
    ) -> Result<()> {
        let engine = self.engine;
        engine.check_stop()?;
        let mut own;
        let (model, mix) = match self.sources[index] {
            Source::Mix(mix) => (worker.model(mix)?, Some(mix)),
            Source::File(file) => {
                own = worker.file(&engine.files[file])?;
                (&mut own, None)
            }
        };
        for (part, tally) in chunk.iter().zip(&mut *tallies) {
            let end = part.begin + part.labels.len();
            let begin = part.begin.max(tally.samples()).min(end);
            model.score(engine, mix, part, begin..end, self.layout.batch, tally)?;
            self.watch.progress(0, end - begin);
        }
        let sets = engine.datasets.iter().zip(&*tallies);
        let is_whole = sets
            .into_iter()
            .all(|(data, tally)| tally.samples() == data.len());
        self.watch.progress(usize::from(is_whole), 0);
        Ok(())
    }
}

/// An evaluation whose logits are kept.
struct Writing<'r> {
    run: Run<'r>,
    scratch: &'r Scratch,
}

impl<'r> Work for Writing<'r> {
    type Chunk = Vec<Part>;
    type Worker = Worker<'r>;

    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Vec<Part>> {
        self.run.chunk(ranges)
    }

    fn worker(&self) -> Result<Worker<'r>> {
        self.run.worker()
    }

    fn evaluate(
        &self,
        worker: &mut Worker<'r>,
        index: usize,
        chunk: &Vec<Part>,
        tallies: &mut [Tally],
    ) -> Result<()> {
        let (engine, size) = (self.run.engine, self.run.layout.batch);
        let Source::Mix(mix) = self.run.sources[index] else {
            return Ok(());
        };
        let model = worker.model(mix)?;
        for (part, tally) in chunk.iter().zip(tallies) {
            let count = part.labels.len();
            let mut rows = Vec::with_capacity(count * engine.classes);
            for from in (0..count).step_by(size) {
                engine.check_stop()?;
                let batch = (from, count.min(from + size));
                model.logits(engine, Some(mix), part, batch, |row, logits| {
                    tally.add(logits, part.labels[from + row]);
                    rows.extend_from_slice(logits);
                })?;
            }
            self.scratch.write(index, part.dataset, part.begin, &rows)?;
            self.run.watch.progress(0, count);
        }
        self.run.watch.progress(1, 0);
        Ok(())
    }
}
