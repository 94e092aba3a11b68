//! One chunk of data: all models are evaluated on it by several workers. Writes the journal;
//! [`Work`] does the computation.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::journal::{Journal, ModelKey};
use super::metrics::{Outcome, Tally};
use super::work::Work;
use crate::base::lock::lock;
use crate::error::Result;

/// The tasks of a chunk, `ranges[data set]`, for the models `todo` of `tallies[model][data set]`.
/// Most tasks are whole models; the last models, too few to occupy all workers, are divided into
/// shares of whole batches.
pub fn tasks(
    (workers, batch): (usize, usize),
    todo: &[usize],
    tallies: &[Vec<Tally>],
    ranges: &[Range<usize>],
) -> Vec<Task> {
    let rest = todo.len() % workers;
    let task = |(number, &model): (usize, &usize)| {
        let missing = ranges.iter().zip(&tallies[model]).map(|(range, tally)| {
            let begin = range.start.max(tally.samples()).min(range.end);
            begin..range.end
        });
        let missing: Vec<Range<usize>> = missing.collect();
        let parts = if number + rest >= todo.len() {
            workers.div_ceil(rest)
        } else {
            1
        };
        let shares = shares(&missing, parts, batch);
        let of = shares.len();
        let places = shares.into_iter().enumerate();
        places.map(move |(share, places)| Task {
            model,
            share,
            of,
            places,
        })
    };
    todo.iter().enumerate().flat_map(task).collect()
}

/// Divides consecutive ranges into at least one and at most `parts` shares with about equally many
/// batches.
fn shares(ranges: &[Range<usize>], parts: usize, batch: usize) -> Vec<Vec<Range<usize>>> {
    let batches = |range: &Range<usize>| range.len().div_ceil(batch);
    let all: usize = ranges.iter().map(batches).sum();
    let parts = parts.clamp(1, all.max(1));
    let share = |part: usize| {
        let (first, last) = (all * part / parts, all * (part + 1) / parts);
        let mut before = 0;
        let cut = |range: &Range<usize>| {
            let at = |batch_number: usize| {
                let inside = batch_number.saturating_sub(before) * batch;
                (range.start + inside).min(range.end)
            };
            let cut = at(first)..at(last);
            before += batches(range);
            cut
        };
        ranges.iter().map(cut).collect()
    };
    (0..parts).map(share).collect()
}

/// The samples of a model that one worker evaluates.
pub struct Task {
    model: usize,
    /// Index of this share among the `of` shares of the model's samples.
    share: usize,
    of: usize,
    places: Vec<Range<usize>>,
}

/// The results of one share of a model: its index, and the outcomes by data set.
type Share = (usize, Vec<Vec<Outcome>>);

/// The results that workers write, `tallies[model][data set]`.
pub struct State<'t> {
    pub tallies: &'t mut Vec<Vec<Tally>>,
    /// Finished shares of models whose other shares are still missing.
    pub waiting: HashMap<usize, Vec<Share>>,
}

/// One chunk, shared by the workers.
pub struct ChunkRun<'t, W: Work> {
    pub work: &'t W,
    pub models: &'t [ModelKey],
    pub chunk: &'t W::Chunk,
    pub tasks: Vec<Task>,
    pub next: AtomicUsize,
    pub state: Mutex<State<'t>>,
    pub journal: &'t Journal,
}

impl<'t, W: Work> ChunkRun<'t, W> {
    /// Runs tasks until none is left; the worker called `number` is kept in `slot`.
    ///
    /// # Errors
    /// Fails when a task fails or the journal cannot be written; the other workers then stop, too.
    pub fn run(&self, number: usize, slot: &Mutex<Option<W::Worker>>) -> Result<()> {
        let outcome = self.take_tasks(number, slot);
        if outcome.is_err() {
            // Lets no worker start another task.
            self.next.store(self.tasks.len(), Ordering::Relaxed);
        }
        outcome
    }

    fn take_tasks(&self, number: usize, slot: &Mutex<Option<W::Worker>>) -> Result<()> {
        let mut slot = lock(slot);
        let worker = match &mut *slot {
            Some(worker) => worker,
            empty => empty.insert(self.work.worker(number)?),
        };
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = self.tasks.get(index) else {
                return Ok(());
            };
            let outcomes = self
                .work
                .evaluate(worker, task.model, self.chunk, &task.places)?;
            if let Some(shares) = self.whole(task, outcomes) {
                self.tally(task.model, shares)?;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'t>> {
        lock(&self.state)
    }

    /// All shares of a model in order, if this was the last one; otherwise stores the share.
    fn whole(&self, task: &Task, outcomes: Vec<Vec<Outcome>>) -> Option<Vec<Share>> {
        let mut state = self.state();
        let shares = state.waiting.entry(task.model).or_default();
        shares.push((task.share, outcomes));
        if shares.len() < task.of {
            return None;
        }
        let mut shares = state.waiting.remove(&task.model)?;
        shares.sort_by_key(|(share, _)| *share);
        Some(shares)
    }

    fn tally(&self, model: usize, shares: Vec<Share>) -> Result<()> {
        let mut tallies = self.state().tallies[model].clone();
        let key = self.models[model];
        for (_, outcomes) in shares {
            for (set, (tally, outcomes)) in tallies.iter_mut().zip(outcomes).enumerate() {
                if self.work.keeps_outcomes(model) && !outcomes.is_empty() {
                    let new = outcomes.iter().copied().collect();
                    self.journal
                        .keep_outcomes((key, set), tally.samples(), &new)?;
                }
                outcomes.into_iter().for_each(|outcome| tally.add(outcome));
            }
        }
        // Written last: what it lists is complete.
        self.journal.append(key, &tallies)?;
        self.work.tallied(&tallies);
        self.state().tallies[model] = tallies;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_batches_that_cover_everything_once() {
        let ranges = [8..100, 0..0, 3..4, 0..37];
        for parts in [1, 2, 3, 7, 100] {
            let shares = shares(&ranges, parts, 8);
            assert_eq!(shares.len(), parts.min(12 + 1 + 5));
            for (set, range) in ranges.iter().enumerate() {
                let mut at = range.start;
                for share in &shares {
                    assert_eq!(share[set].start.max(at), at.max(share[set].start));
                    if !share[set].is_empty() {
                        assert_eq!(share[set].start, at);
                        assert_eq!((at - range.start) % 8, 0);
                        at = share[set].end;
                    }
                }
                assert_eq!(at, range.end);
            }
        }
        let nothing = std::slice::from_ref(&(0..0));
        assert_eq!(shares(nothing, 3, 8), [nothing]);
    }
}
