//! Logits of several models on every sample, computed once and kept in a scratch file, and the
//! ensembles formed from them. Reads and writes only that file.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rayon::prelude::*;

use super::beta::calibrate;
use super::metrics::{Outcome, Tally, arg_max};
use super::outcomes::Outcomes;
use crate::base::files;
use crate::base::lock::lock;
use crate::base::map;
use crate::error::{Error, Result};
use crate::result::combine::Combine;
use crate::result::loss::Beta;
use crate::result::score::Score;

/// A scratch file that is being filled. It holds f32 rows [models, samples, classes]; the data sets
/// follow each other, each in its order of evaluation.
pub struct Scratch {
    file: Mutex<File>,
    /// The file's path for messages, or its folder if it has no name.
    place: PathBuf,
    shape: Shape,
}

/// Models, samples and classes.
#[derive(Debug, Clone)]
struct Shape {
    models: usize,
    classes: usize,
    /// The first row of each data set, and the number of all rows.
    starts: Vec<usize>,
}

impl Scratch {
    /// Creates an unnamed file in `folder`, which vanishes with the process, for logits of `models`
    /// models on `samples[data set]` samples.
    ///
    /// # Errors
    /// Fails when the folder cannot be written.
    pub fn new(folder: &Path, models: usize, classes: usize, samples: &[usize]) -> Result<Self> {
        let fail = |error: std::io::Error| Error::write(folder, &error);
        std::fs::create_dir_all(folder).map_err(fail)?;
        let file = tempfile::tempfile_in(folder).map_err(fail)?;
        Ok(Self {
            file: Mutex::new(file),
            place: folder.to_path_buf(),
            shape: Shape::new(models, classes, samples),
        })
    }

    /// Opens a named file for such logits and keeps its content.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn open(path: &Path, models: usize, classes: usize, samples: &[usize]) -> Result<Self> {
        let shape = Shape::new(models, classes, samples);
        let file = files::own(path.parent().unwrap_or(Path::new("")), path);
        // On most disks, unwritten parts take no space.
        let sized = file.and_then(|file| file.set_len(shape.bytes()).map(|()| file));
        Ok(Self {
            file: Mutex::new(sized.map_err(|error| Error::write(path, &error))?),
            place: path.to_path_buf(),
            shape,
        })
    }

    /// Recomputes a model's tallies from the logits in the file, over as many samples as `tallies`
    /// have.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn tallies(
        &self,
        model: usize,
        tallies: &[Tally],
        labels: &[Vec<usize>],
    ) -> Result<Vec<Tally>> {
        let file = lock(&self.file);
        let logits = Logits {
            bytes: map::map_open(&file, &self.place)?,
            shape: self.shape.clone(),
            labels: labels.to_vec(),
        };
        let sets = tallies.iter().enumerate();
        let tally = |(set, tally): (usize, &Tally)| {
            logits.tally(Ensemble::of_logits(&[(model, 1.0)]), set, tally.samples())
        };
        Ok(sets.map(tally).collect())
    }

    /// Writes a model's logits on consecutive samples of a data set, from sample `begin` on.
    ///
    /// # Errors
    /// Fails when the disk is full.
    pub fn write(&self, model: usize, dataset: usize, begin: usize, rows: &[f32]) -> Result<()> {
        let first = self.shape.row(model, dataset) + begin;
        let bytes: Vec<u8> = rows.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        let mut file = lock(&self.file);
        let at = SeekFrom::Start((first * self.shape.classes * 4) as u64);
        let written = file.seek(at).and_then(|_| file.write_all(&bytes));
        written.map_err(|error| Error::write(&self.place, &error))
    }

    /// Turns the filled file into readable logits; `labels[data set][sample]` are in the order of
    /// evaluation.
    ///
    /// # Errors
    /// Fails when it cannot be mapped.
    pub fn finish(self, labels: Vec<Vec<usize>>) -> Result<Logits> {
        let file = self
            .file
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Logits {
            bytes: map::map_open(&file, &self.place)?,
            shape: self.shape,
            labels,
        })
    }
}

impl Shape {
    fn new(models: usize, classes: usize, samples: &[usize]) -> Self {
        let mut starts = vec![0];
        for samples in samples {
            starts.push(starts[starts.len() - 1] + samples);
        }
        Self {
            models,
            classes,
            starts,
        }
    }

    /// The size of the file, in bytes.
    fn bytes(&self) -> u64 {
        4 * (self.models * self.starts[self.starts.len() - 1] * self.classes) as u64
    }

    fn row(&self, model: usize, dataset: usize) -> usize {
        let samples = self.starts[self.starts.len() - 1];
        model * samples + self.starts[dataset]
    }
}

/// Models, and how they are combined into one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ensemble<'w> {
    /// What is averaged.
    pub combine: Combine,
    /// Models and their weights; of probabilities, none is negative.
    pub weights: &'w [(usize, f64)],
}

impl<'w> Ensemble<'w> {
    /// The weighted sum of logits.
    pub fn of_logits(weights: &'w [(usize, f64)]) -> Self {
        Self {
            combine: Combine::Logits,
            weights,
        }
    }
}

/// log(exp a + exp b) without overflow.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        return high;
    }
    high + (low - high).exp().ln_1p()
}

/// Adds outcomes in the order of the samples, whichever thread computed them.
fn tally(blocks: Vec<Vec<Outcome>>) -> Tally {
    let mut tally = Tally::default();
    let outcomes = blocks.into_iter().flatten();
    outcomes.for_each(|outcome| tally.add(outcome));
    tally
}

/// Number of samples that one thread processes at a time.
const BLOCK: usize = 1024;

/// Logits of every model on every sample.
pub struct Logits {
    bytes: Bytes,
    shape: Shape,
    labels: Vec<Vec<usize>>,
}

impl Logits {
    /// Loss and error of an ensemble on a data set.
    ///
    /// # Panics
    /// Panics when there is no such model or data set.
    pub fn score(&self, ensemble: Ensemble<'_>, dataset: usize) -> Score {
        self.tally(ensemble, dataset, usize::MAX).score()
    }

    /// Loss and error of Σᵢ wᵢ·logitsᵢ on a data set: a logit ensemble.
    ///
    /// # Panics
    /// Panics when there is no such model or data set.
    pub fn ensemble(&self, weights: &[(usize, f64)], dataset: usize) -> Score {
        self.score(Ensemble::of_logits(weights), dataset)
    }

    /// Loss and error of a model on the first `samples` samples of a data set.
    ///
    /// # Panics
    /// Panics when there is no such model or data set.
    pub fn first(&self, model: usize, dataset: usize, samples: usize) -> Score {
        let alone = [(model, 1.0)];
        self.tally(Ensemble::of_logits(&alone), dataset, samples)
            .score()
    }

    /// The β that calibrates an ensemble on all samples of the data set at index `validation`, and the
    /// scores of β·logits on the first `samples[data set]` samples of each.
    ///
    /// # Panics
    /// Panics when there is no such model or data set.
    pub fn calibrated(
        &self,
        ensemble: Ensemble<'_>,
        validation: usize,
        samples: &[usize],
    ) -> (Beta, Vec<Score>) {
        let read = self.reader(ensemble, validation);
        let beta = calibrate(self.labels(validation), self.classes(), read);
        let sets = samples.iter().enumerate();
        let scores = sets.map(|(set, &samples)| {
            let outcomes = self.of_samples(ensemble, set, samples, |logits, label| {
                Outcome::calibrated(logits, beta.value, label)
            });
            tally(outcomes).score()
        });
        (beta, scores.collect())
    }

    /// Outcomes of one model on every sample of a data set.
    ///
    /// # Panics
    /// Panics when there is no such model or data set.
    pub fn outcomes_of(&self, model: usize, dataset: usize) -> Outcomes {
        let alone = [(model, 1.0)];
        self.outcomes(Ensemble::of_logits(&alone), dataset)
    }

    /// Outcomes of an ensemble on every sample of a data set.
    ///
    /// # Panics
    /// Panics when there is no such model or data set.
    pub fn outcomes(&self, ensemble: Ensemble<'_>, dataset: usize) -> Outcomes {
        let outcomes = self.of_samples(ensemble, dataset, usize::MAX, Outcome::of);
        outcomes.into_iter().flatten().collect()
    }

    /// A tally over the first samples, at most `samples`.
    fn tally(&self, ensemble: Ensemble<'_>, dataset: usize, samples: usize) -> Tally {
        tally(self.of_samples(ensemble, dataset, samples, Outcome::of))
    }

    /// Outcomes on the first samples, at most `samples`, in consecutive blocks; `judge` makes them from
    /// logits and a label.
    fn of_samples(
        &self,
        ensemble: Ensemble<'_>,
        dataset: usize,
        samples: usize,
        judge: impl Fn(&[f64], usize) -> Outcome + Sync,
    ) -> Vec<Vec<Outcome>> {
        let labels = &self.labels[dataset];
        let labels = &labels[..samples.min(labels.len())];
        let read = self.reader(ensemble, dataset);
        let outcomes = |(block, labels): (usize, &[usize])| -> Vec<Outcome> {
            let mut logits = vec![0.0; self.shape.classes];
            let outcome = |(row, &label): (usize, &usize)| {
                read(block * BLOCK + row, &mut logits);
                judge(&logits, label)
            };
            labels.iter().enumerate().map(outcome).collect()
        };
        let blocks = labels.par_chunks(BLOCK).enumerate();
        blocks.map(outcomes).collect()
    }

    /// Reads an ensemble's logits on a sample of a data set into a row of as many values as there
    /// are classes.
    ///
    /// Of logits, they are sums in doubles, rounded to f32 as one model's are. Of probabilities,
    /// they are the logarithms of Σᵢ wᵢ·softmax(logitsᵢ), whose softmax is that mean.
    ///
    /// # Panics
    /// Panics when there is no such model, data set or sample.
    pub fn reader<'s>(
        &'s self,
        ensemble: Ensemble<'s>,
        dataset: usize,
    ) -> impl Fn(usize, &mut [f64]) + Sync + 's {
        let Ensemble { combine, weights } = ensemble;
        let members = weights.iter();
        let members: Vec<_> = members
            .map(|&(model, weight)| (self.rows(model, dataset), weight))
            .collect();
        let classes = self.shape.classes;
        move |sample, row| {
            let logits = |rows: &'s [[u8; 4]]| {
                let row = &rows[sample * classes..(sample + 1) * classes];
                row.iter()
                    .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
            };
            match combine {
                Combine::Logits => {
                    row.fill(0.0);
                    for (rows, weight) in &members {
                        let sums = row.iter_mut().zip(logits(rows));
                        sums.for_each(|(sum, logit)| *sum += weight * logit);
                    }
                    row.iter_mut().for_each(|sum| *sum = f64::from(*sum as f32));
                }
                Combine::Probabilities => {
                    row.fill(f64::NEG_INFINITY);
                    for (rows, weight) in &members {
                        let total = logits(rows).fold(f64::NEG_INFINITY, log_add);
                        let sums = row.iter_mut().zip(logits(rows));
                        sums.for_each(|(sum, logit)| {
                            *sum = log_add(*sum, weight.ln() + logit - total);
                        });
                    }
                }
            }
        }
    }

    /// The class with the largest logit of a model for each sample of a data set; `None` where a
    /// logit is NaN.
    ///
    /// # Panics
    /// Panics when there is no such model or data set.
    pub fn predictions(&self, model: usize, dataset: usize) -> Vec<Option<u32>> {
        let samples = 0..self.labels[dataset].len();
        let predict = |sample: usize| {
            let row: Vec<f32> = self.row(model, dataset, sample).collect();
            arg_max(&row).and_then(|class| u32::try_from(class).ok())
        };
        samples.into_par_iter().map(predict).collect()
    }

    /// The number of data sets.
    pub fn datasets(&self) -> usize {
        self.labels.len()
    }

    /// Labels of a data set's samples, in the order of evaluation.
    ///
    /// # Panics
    /// Panics when there is no such data set.
    pub fn labels(&self, dataset: usize) -> &[usize] {
        &self.labels[dataset]
    }

    /// The number of logits per sample.
    pub fn classes(&self) -> usize {
        self.shape.classes
    }

    /// A model's logits on a sample of a data set, one per class.
    ///
    /// # Panics
    /// Panics when there is no such model, data set or sample.
    pub fn row(
        &self,
        model: usize,
        dataset: usize,
        sample: usize,
    ) -> impl ExactSizeIterator<Item = f32> {
        let classes = self.shape.classes;
        let row = &self.rows(model, dataset)[sample * classes..(sample + 1) * classes];
        row.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// A model's logits on a data set, one row of classes per sample.
    fn rows(&self, model: usize, dataset: usize) -> &[[u8; 4]] {
        assert!(model < self.shape.models);
        let (all, _) = self.bytes.as_chunks::<4>();
        let first = self.shape.row(model, dataset);
        let classes = self.shape.classes;
        &all[first * classes..(first + self.labels[dataset].len()) * classes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two models, data sets of 3 and 2 samples, 2 classes.
    fn logits() -> Logits {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(folder.path(), 2, 2, &[3, 2]).unwrap();
        // Written in any order and in pieces.
        scratch.write(1, 1, 0, &[0.0, 4.0, 1.0, 1.0]).unwrap();
        scratch.write(0, 0, 1, &[2.0, 0.0, 0.0, 3.0]).unwrap();
        scratch.write(0, 0, 0, &[1.0, 0.0]).unwrap();
        scratch
            .write(1, 0, 0, &[0.0, 3.0, 0.0, 1.0, 0.0, 5.0])
            .unwrap();
        scratch.write(0, 1, 0, &[2.0, 0.0, 0.0, 0.0]).unwrap();
        scratch.finish(vec![vec![0, 0, 1], vec![1, 0]]).unwrap()
    }

    #[test]
    fn a_row_is_what_was_written_for_its_sample() {
        let logits = logits();
        let row = |model, dataset, sample| logits.row(model, dataset, sample).collect::<Vec<_>>();
        assert_eq!(row(0, 0, 2), [0.0, 3.0]);
        assert_eq!(row(1, 1, 0), [0.0, 4.0]);
    }

    #[cfg(unix)]
    #[test]
    fn no_link_leads_the_logits_to_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let link = folder.path().join("soup-aa.logits");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let opened = Scratch::open(&link, 2, 2, &[3]).map(|_| ());
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn an_ensemble_is_the_weighted_sum_of_logits() {
        let logits = logits();
        let cross_entropy = |[right, wrong]: [f64; 2]| (1.0 + (wrong - right).exp()).ln();
        let score = logits.ensemble(&[(0, 0.25), (1, 0.75)], 0);
        let rows = [[0.25, 2.25], [0.5, 0.75], [4.5, 0.0]];
        let loss = rows.map(cross_entropy).iter().sum::<f64>() / 3.0;
        assert!((score.loss - loss).abs() < 1e-7);
        assert!((score.error - 2.0 / 3.0).abs() < 1e-15);
        let alone = logits.ensemble(&[(1, 1.0)], 1);
        let loss = [[4.0, 0.0], [1.0, 1.0]].map(cross_entropy);
        assert!((alone.loss - f64::midpoint(loss[0], loss[1])).abs() < 1e-7);
    }

    #[test]
    fn an_ensemble_of_probabilities_is_their_weighted_mean() {
        let logits = logits();
        let weights = [(0, 0.25), (1, 0.75)];
        let ensemble = Ensemble {
            combine: Combine::Probabilities,
            weights: &weights,
        };
        let right = |of: [f64; 2]| 1.0 / (1.0 + (of[1] - of[0]).exp());
        // The margins of both models on each sample, the label's logit first.
        let samples = [
            [[1.0, 0.0], [0.0, 3.0]],
            [[2.0, 0.0], [0.0, 1.0]],
            [[3.0, 0.0], [5.0, 0.0]],
        ];
        let mean = samples.map(|[a, b]| 0.25 * right(a) + 0.75 * right(b));
        let loss = -mean.map(f64::ln).iter().sum::<f64>() / 3.0;
        let score = logits.score(ensemble, 0);
        assert!((score.loss - loss).abs() < 1e-12, "{} {loss}", score.loss);
        let wrong = mean.iter().filter(|p| **p < 0.5).count();
        assert_eq!(score.error, wrong as f64 / 3.0);
        // Of one model, they are its own.
        let alone = [(1, 1.0)];
        let ensemble = Ensemble {
            combine: Combine::Probabilities,
            weights: &alone,
        };
        let own = logits.ensemble(&alone, 1);
        assert!((logits.score(ensemble, 1).loss - own.loss).abs() < 1e-12);
    }

    #[test]
    fn certain_and_masked_logits_have_probabilities_too() {
        assert_eq!(
            log_add(f64::NEG_INFINITY, f64::NEG_INFINITY),
            f64::NEG_INFINITY
        );
        assert_eq!(log_add(f64::NEG_INFINITY, -2.0), -2.0);
        assert!((log_add(1e4, 1e4) - (1e4 + 2.0_f64.ln())).abs() < 1e-9);
        assert!(log_add(f64::NAN, 0.0).is_nan() && log_add(0.0, f64::NAN).is_nan());
    }

    #[test]
    fn a_prediction_is_the_class_of_the_largest_logit() {
        assert_eq!(logits().predictions(0, 0), [Some(0), Some(0), Some(1)]);
    }
}
