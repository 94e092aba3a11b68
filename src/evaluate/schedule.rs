//! Orders models and chunks of data: the outer loop is over chunks, the inner one over models.
//! Reads the journal; [`Work`] does the computation.
//!
//! After the first chunk every model has a score on some samples of every data set; each further
//! chunk makes all scores more precise. Models too few to occupy all workers are shared, each
//! worker taking some batches. A tally adds the samples of a data set in one fixed order, so that
//! results depend on neither the chunks nor the workers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use super::chunk_run::{ChunkRun, State, tasks};
use super::journal::{Journal, ModelKey};
use super::metrics::Tally;
use super::remaining::{ChunkCost, Remaining};
use super::work::Work;
use crate::error::{Error, Result};

/// Limits that can end a run before all samples are done.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Start no chunk that would end later than this after the start.
    pub max_time: Option<Duration>,
    /// Stop when every standard error of the error, taken as [`Tally::cautious_error_se`], is at most
    /// this.
    pub tolerance: Option<f64>,
}

/// Models, data sets, and how these are cut.
#[derive(Debug)]
pub struct Schedule {
    /// The models, each listed once.
    pub models: Vec<ModelKey>,
    /// Ends of the chunks: `ends[chunk][data set]`, the last being all samples.
    pub ends: Vec<Vec<usize>>,
    /// Batch size.
    pub batch: usize,
    /// Number of threads.
    pub workers: usize,
    /// Limits that can end the run early.
    pub limits: Limits,
    /// The start of the run, for `max_time`.
    pub start: Instant,
}

/// Cuts data sets of these sizes into `chunks` chunks of about equal size. Cuts are at multiples of
/// `batch`, so that no batch depends on them.
pub fn ends(sizes: &[usize], chunks: usize, batch: usize) -> Vec<Vec<usize>> {
    let end = |size: usize, k: usize| {
        let share = (size as u128 * k as u128).div_ceil(chunks as u128) as usize;
        share.next_multiple_of(batch).min(size)
    };
    let mut ends: Vec<Vec<usize>> = (1..=chunks)
        .map(|k| sizes.iter().map(|&size| end(size, k)).collect())
        .collect();
    ends.dedup();
    ends
}

/// The number of samples in each of a model's tallies.
fn counts(sets: &[Tally]) -> Vec<usize> {
    sets.iter().map(Tally::samples).collect()
}

/// Restarts models that are ahead of most others. A limit stops only where all models have the same
/// samples, and would otherwise have to wait until the others catch up.
fn restart_leaders(tallies: &mut [Vec<Tally>]) {
    let mut groups: HashMap<Vec<usize>, usize> = HashMap::new();
    for sets in &*tallies {
        *groups.entry(counts(sets)).or_default() += 1;
    }
    let most = groups
        .into_iter()
        .max_by_key(|(counts, models)| (*models, counts.clone()));
    let Some((usual, _)) = most else { return };
    for sets in tallies {
        if counts(sets)
            .iter()
            .zip(&usual)
            .any(|(count, usual)| count > usual)
        {
            sets.fill(Tally::default());
        }
    }
}

impl Schedule {
    /// The total number of samples in each data set.
    pub fn whole(&self) -> Vec<usize> {
        self.ends.last().cloned().unwrap_or_default()
    }

    /// Runs the work. Passes the tallies of all models to `on_partial` after each chunk but the
    /// last, and returns them at the end, `tallies[model][data set]`. Values in the journal are not
    /// computed again.
    ///
    /// # Errors
    /// Returns the first error of any worker; finished work is in the journal.
    pub fn run<W: Work>(
        &self,
        work: &W,
        journal: &Journal,
        on_partial: impl Fn(&[Vec<Tally>]) -> Result<()>,
    ) -> Result<Vec<Vec<Tally>>> {
        let mut tallies = self.known(work, journal);
        let workers = Workers::new(self.workers)?;
        let mut begin = vec![0; self.ends.last().map_or(0, Vec::len)];
        let mut cost: Option<ChunkCost> = None;
        for (index, end) in self.ends.iter().enumerate() {
            let ranges: Vec<Range<usize>> = begin.iter().zip(end).map(|(&b, &e)| b..e).collect();
            let remaining = Remaining::of(&tallies, &ranges);
            let expected = cost.map_or(Duration::ZERO, |cost| cost.of(&remaining));
            let may_stop = index > 0 && !is_begun(&tallies, &begin);
            if may_stop && self.should_stop(&tallies, expected) {
                break;
            }
            if !remaining.models.is_empty() {
                let chunk = (ranges.as_slice(), &remaining);
                cost = Some(self.run_chunk(work, journal, &workers, chunk, &mut tallies)?);
                let is_level = tallies.iter().all(|sets| counts(sets) == *end);
                if index + 1 < self.ends.len() && is_level {
                    on_partial(&tallies)?;
                }
            }
            begin.clone_from(end);
        }
        Ok(tallies)
    }

    /// The tallies in the journal, `tallies[model][data set]`.
    fn known<W: Work>(&self, work: &W, journal: &Journal) -> Vec<Vec<Tally>> {
        let sets = self.ends.last().map_or(0, Vec::len);
        let known = self.models.iter().enumerate().map(|(index, &model)| {
            // A model that the journal lists is evaluated again if its outcomes did not reach the
            // disk.
            let known = journal.tallies(model);
            known.filter(|known| !work.keeps_outcomes(index) || journal.has_outcomes(model, known))
        });
        let mut tallies: Vec<Vec<Tally>> = known
            .map(|known| known.unwrap_or_else(|| vec![Tally::default(); sets]))
            .collect();
        if self.limits != Limits::default() {
            restart_leaders(&mut tallies);
        }
        tallies
    }

    /// Evaluates the missing part of a chunk and returns its cost.
    fn run_chunk<W: Work>(
        &self,
        work: &W,
        journal: &Journal,
        workers: &Workers<W::Worker>,
        (ranges, remaining): (&[Range<usize>], &Remaining),
        tallies: &mut Vec<Vec<Tally>>,
    ) -> Result<ChunkCost> {
        let started = Instant::now();
        let chunk = work.chunk(ranges)?;
        let ready = Instant::now();
        let run = ChunkRun {
            work,
            models: &self.models,
            chunk: &chunk,
            tasks: tasks(
                (self.workers, self.batch),
                &remaining.models,
                tallies,
                ranges,
            ),
            next: AtomicUsize::new(0),
            state: Mutex::new(State {
                tallies,
                waiting: HashMap::new(),
            }),
            journal,
        };
        let outcomes = workers.threads.broadcast(|thread| {
            let number = thread.index();
            run.run(number, &workers.slots[number])
        });
        outcomes.into_iter().collect::<Result<()>>()?;
        Ok(ChunkCost {
            per_sample: (ready - started).as_secs_f64() / remaining.samples.max(1) as f64,
            per_evaluation: ready.elapsed().as_secs_f64() / remaining.evaluations.max(1) as f64,
        })
    }

    /// Whether a limit rules out the next chunk, which is expected to take `expected`.
    fn should_stop(&self, tallies: &[Vec<Tally>], expected: Duration) -> bool {
        let late = self
            .limits
            .max_time
            .is_some_and(|most| self.start.elapsed() + expected > most);
        let sharp = self.limits.tolerance.is_some_and(|tolerance| {
            let mut all = tallies.iter().flatten();
            all.all(|tally| tally.cautious_error_se() <= tolerance)
        });
        late || sharp
    }
}

/// Threads, and a worker for each, created on first use.
struct Workers<T> {
    threads: ThreadPool,
    slots: Vec<Mutex<Option<T>>>,
}

impl<T> Workers<T> {
    fn new(count: usize) -> Result<Self> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(count).build();
        Ok(Self {
            threads: threads.map_err(|error| Error::runtime("worker threads", error))?,
            slots: (0..count).map(|_| Mutex::new(None)).collect(),
        })
    }
}

/// Whether any model has samples of the chunk that begins at `begin[data set]`.
fn is_begun(tallies: &[Vec<Tally>], begin: &[usize]) -> bool {
    let mut pairs = tallies.iter().flat_map(|sets| sets.iter().zip(begin));
    pairs.any(|(tally, begin)| tally.samples() > *begin)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::evaluate::metrics::Outcome;

    /// The logits of sample s of set d depend on model, set and sample only.
    struct Fake {
        /// Number of samples to evaluate before the user stops the run.
        patience: AtomicUsize,
    }

    impl Fake {
        fn new(patience: usize) -> Self {
            Self {
                patience: AtomicUsize::new(patience),
            }
        }
    }

    impl Work for Fake {
        type Chunk = Vec<Range<usize>>;
        type Worker = ();

        fn chunk(&self, ranges: &[Range<usize>]) -> Result<Self::Chunk> {
            Ok(ranges.to_vec())
        }

        fn worker(&self, _number: usize) -> Result<()> {
            Ok(())
        }

        fn keeps_outcomes(&self, _model: usize) -> bool {
            true
        }

        fn evaluate(
            &self,
            (): &mut (),
            model: usize,
            _chunk: &Self::Chunk,
            places: &[Range<usize>],
        ) -> Result<Vec<Vec<Outcome>>> {
            let samples: usize = places.iter().map(Range::len).sum();
            let left = self.patience.fetch_sub(samples, Ordering::Relaxed);
            if left < samples || left > usize::MAX / 2 {
                return Err(Error::interrupted());
            }
            let outcome = |set: usize, sample: usize| {
                let wave = ((model * 31 + set * 7 + sample * 13) % 101) as f32 / 17.0;
                Outcome::of(&[wave, 1.0], sample % 2)
            };
            let sets = places.iter().cloned().enumerate();
            Ok(sets
                .map(|(set, range)| range.map(|sample| outcome(set, sample)).collect())
                .collect())
        }
    }

    fn schedule(chunks: usize, workers: usize) -> Schedule {
        Schedule {
            models: (0..13).collect(),
            ends: ends(&[100, 37], chunks, 8),
            batch: 8,
            workers,
            limits: Limits::default(),
            start: Instant::now(),
        }
    }

    fn plenty() -> Fake {
        Fake::new(usize::MAX / 2)
    }

    #[test]
    fn neither_chunks_nor_workers_change_a_bit() {
        let run = |chunks, workers| {
            let schedule = schedule(chunks, workers);
            schedule
                .run(&plenty(), &Journal::default(), |_| Ok(()))
                .unwrap()
        };
        let whole = run(1, 1);
        assert_eq!(whole[0][0].samples() + whole[0][1].samples(), 137);
        for (chunks, workers) in [(2, 1), (3, 4), (50, 2), (1, 5), (2, 40)] {
            assert_eq!(run(chunks, workers), whole);
        }
    }

    #[test]
    fn a_stopped_run_goes_on_where_it_was_with_any_cut() {
        let whole = schedule(1, 1)
            .run(&plenty(), &Journal::default(), |_| Ok(()))
            .unwrap();
        for (patience, chunks) in [(137, 1), (700, 1), (1000, 3), (1700, 3)] {
            let folder = tempfile::tempdir().unwrap();
            let key = "k".repeat(64);
            let open = || {
                let journal = Journal::open(folder.path(), "plane", &key, 2, false).unwrap();
                journal.begin("").unwrap();
                journal
            };
            let first = Fake::new(patience);
            let stopped = schedule(chunks, 2).run(&first, &open(), |_| Ok(()));
            assert!(stopped.is_err());
            let journal = open();
            let known = (0..13).filter_map(|model| journal.tallies(model));
            let done: usize = known.flatten().map(|tally| tally.samples()).sum();
            assert!(done > 0 && done <= patience);
            drop(journal);
            let second = Fake::new(13 * 137 - done);
            let resumed = schedule(chunks, 2).run(&second, &open(), |_| Ok(()));
            assert_eq!(resumed.unwrap(), whole, "{patience} {chunks}");
        }
    }

    #[test]
    fn every_chunk_but_the_last_sharpens_the_map_and_limits_stop_between_chunks() {
        let seen = Mutex::new(Vec::new());
        let look = |tallies: &[Vec<Tally>]| {
            let counts: Vec<usize> = tallies.iter().map(|sets| sets[0].samples()).collect();
            assert!(counts.iter().all(|count| *count == counts[0]));
            seen.lock().unwrap().push(counts[0]);
            Ok(())
        };
        schedule(3, 2)
            .run(&plenty(), &Journal::default(), look)
            .unwrap();
        assert_eq!(*seen.lock().unwrap(), [40, 72]);
        let limited = |limits| {
            let schedule = Schedule {
                limits,
                ..schedule(3, 2)
            };
            let tallies = schedule
                .run(&plenty(), &Journal::default(), |_| Ok(()))
                .unwrap();
            tallies[0][0].samples()
        };
        let tolerance = |tolerance| Limits {
            tolerance: Some(tolerance),
            max_time: None,
        };
        assert_eq!(limited(tolerance(1.0)), 40);
        assert_eq!(limited(tolerance(1e-9)), 100);
        let no_time = Limits {
            max_time: Some(Duration::ZERO),
            tolerance: None,
        };
        assert_eq!(limited(no_time), 40);
    }

    #[test]
    fn with_a_limit_models_that_are_ahead_do_not_keep_the_others_running() {
        let folder = tempfile::tempdir().unwrap();
        let key = "k".repeat(64);
        let journal = Journal::open(folder.path(), "plane", &key, 2, false).unwrap();
        journal.begin("").unwrap();
        // Another grid got further, and two of its models belong to this one.
        let ahead = Schedule {
            models: vec![0, 5],
            ..schedule(3, 1)
        };
        ahead.run(&plenty(), &journal, |_| Ok(())).unwrap();
        let limited = Schedule {
            limits: Limits {
                tolerance: Some(1.0),
                max_time: None,
            },
            ..schedule(3, 2)
        };
        let tallies = limited.run(&plenty(), &journal, |_| Ok(())).unwrap();
        assert!(tallies.iter().all(|sets| counts(sets) == [40, 16]));
    }

    #[test]
    fn cuts_fall_between_batches() {
        assert_eq!(ends(&[100, 5], 1, 8), [[100, 5]]);
        assert_eq!(ends(&[100, 5], 3, 8), [[40, 5], [72, 5], [100, 5]]);
        assert_eq!(ends(&[10], 100, 8), [[8], [10]]);
    }
}
