//! Keeps the outcomes of every sample in a file beside the journal, about 4.1 bytes a sample, so
//! that models are compared sample by sample without another pass through the network.
//!
//! The file holds records, each appended in one piece: the outcomes of a model on consecutive
//! samples of a data set. A later record of a model and a data set replaces what was written for
//! its samples and for all behind them.
//!
//! ```text
//! record: CRC-32 of the rest (4 bytes), model (16), data set (4), first sample (8), samples (8),
//!         losses (4 a sample, f32), correctness (a bit a sample, 64 to a word)
//! ```
//!
//! All numbers are little-endian. The first record with a wrong checksum, cut off by a kill or a
//! full disk, is removed with everything behind it; the journal then forgets its models.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fixedbitset::FixedBitSet;

use super::outcomes::{ModelKey, Outcomes};
use crate::base::files;
use crate::error::{Error, Result};

/// What to do when the disk is full.
pub const FREE_SPACE: &str = "free some space and run the same command again (without --fresh): it resumes where it \
                              stopped";

/// Bytes of a record before its losses.
const HEADER: usize = 40;

/// Most bytes that the outcomes of one evaluation take on disk unless more is allowed: 10⁴ mixes on
/// 10⁵ samples.
pub const BUDGET: u64 = 4 << 30;

/// Bytes on disk of the outcomes of `models` models on `samples[data set]` samples.
pub fn bytes(models: usize, samples: &[usize]) -> u64 {
    let sets = samples
        .iter()
        .map(|&samples| (HEADER + body(samples)) as u64);
    models as u64 * sets.sum::<u64>()
}

/// A part of a model's outcomes on a data set.
#[derive(Debug, Clone, Copy)]
struct Segment {
    begin: usize,
    /// How many of its samples no later record replaced.
    count: usize,
    /// How many samples the record holds.
    written: usize,
    /// Where the losses begin in the file.
    losses: u64,
}

/// Bytes of the losses and the correctness of `count` samples.
fn body(count: usize) -> usize {
    4 * count + 8 * count.div_ceil(64)
}

/// The file and its table of contents.
#[derive(Debug)]
pub struct OutcomeFile {
    file: File,
    /// The file's path for messages, or its folder if it has no name.
    place: PathBuf,
    end: u64,
    segments: HashMap<(ModelKey, usize), Vec<Segment>>,
}

impl OutcomeFile {
    /// Opens the file of a run, or creates it; `fresh` discards its content. Neither it nor a
    /// folder between it and `root` may be a link.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(root: &Path, path: &Path, fresh: bool) -> Result<Self> {
        let fail = |error: io::Error| Error::write(path, &error);
        let file = files::own(root, path).map_err(fail)?;
        if fresh {
            file.set_len(0).map_err(fail)?;
        }
        Self::read(file, path).map_err(fail)
    }

    /// Creates an unnamed file, which vanishes with the process.
    ///
    /// # Errors
    /// When the system's folder for temporary files cannot be written.
    pub fn unnamed() -> Result<Self> {
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile_in(&folder);
        let read = file.and_then(|file| Self::read(file, &folder));
        read.map_err(|error| Error::write(&folder, &error))
    }

    /// Reads the table of contents and cuts off what is damaged.
    fn read(file: File, place: &Path) -> io::Result<Self> {
        let mut outcomes = Self {
            file,
            place: place.to_path_buf(),
            end: 0,
            segments: HashMap::new(),
        };
        let length = outcomes.file.metadata()?.len();
        outcomes.file.rewind()?;
        let mut reader = BufReader::with_capacity(1 << 20, outcomes.file.try_clone()?);
        while let Some((key, segment)) = next(&mut reader, outcomes.end, length)? {
            outcomes.end = segment.losses + body(segment.written) as u64;
            outcomes.enter(key, segment);
        }
        outcomes.file.set_len(outcomes.end)?;
        Ok(outcomes)
    }

    fn enter(&mut self, key: (ModelKey, usize), new: Segment) {
        let segments = self.segments.entry(key).or_default();
        segments.retain(|segment| segment.begin < new.begin);
        if let Some(last) = segments.last_mut() {
            last.count = last.count.min(new.begin - last.begin);
        }
        segments.push(new);
    }

    /// Appends a model's outcomes on samples of a data set, from sample `begin` on. What is known
    /// of these samples and of those behind them is replaced.
    ///
    /// # Errors
    /// When the disk is full or fails; the part of the record that was written is removed.
    pub fn append(
        &mut self,
        (model, dataset): (ModelKey, usize),
        begin: usize,
        outcomes: &Outcomes,
    ) -> Result<()> {
        let count = outcomes.len();
        let mut record = vec![0; 4];
        record.extend(model.to_le_bytes());
        record.extend((dataset as u32).to_le_bytes());
        record.extend((begin as u64).to_le_bytes());
        record.extend((count as u64).to_le_bytes());
        outcomes
            .losses()
            .iter()
            .for_each(|loss| record.extend(loss.to_le_bytes()));
        let words = (0..count).step_by(64).map(|first| {
            (first..count.min(first + 64))
                .map(|sample| u64::from(outcomes.correct().contains(sample)) << (sample - first))
                .sum::<u64>()
        });
        words.for_each(|word| record.extend(word.to_le_bytes()));
        let sum = crc32fast::hash(&record[4..]);
        record[..4].copy_from_slice(&sum.to_le_bytes());
        let at = SeekFrom::Start(self.end);
        let written = self
            .file
            .seek(at)
            .and_then(|_| self.file.write_all(&record));
        if let Err(error) = written {
            let _ = self.file.set_len(self.end);
            return Err(Error::write(&self.place, &error).help(FREE_SPACE));
        }
        let losses = self.end + HEADER as u64;
        self.end += record.len() as u64;
        let segment = Segment {
            begin,
            count,
            written: count,
            losses,
        };
        self.enter((model, dataset), segment);
        Ok(())
    }

    /// The number of samples, from the first one on, whose outcomes are known.
    pub fn samples(&self, model: ModelKey, dataset: usize) -> usize {
        let segments = self.segments.get(&(model, dataset));
        segments.into_iter().flatten().fold(0, |end, segment| {
            if segment.begin == end {
                end + segment.count
            } else {
                end
            }
        })
    }

    /// A model's outcomes on the first `samples` samples of a data set; `None` if some are unknown.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(
        &mut self,
        model: ModelKey,
        dataset: usize,
        samples: usize,
    ) -> Result<Option<Outcomes>> {
        if self.samples(model, dataset) < samples {
            return Ok(None);
        }
        let segments = self.segments.get(&(model, dataset));
        let segments = segments.cloned().unwrap_or_default();
        let (mut losses, mut correct) = (Vec::with_capacity(samples), FixedBitSet::new());
        for segment in segments {
            let mut bytes = vec![0; body(segment.written)];
            let at = SeekFrom::Start(segment.losses);
            let read = self
                .file
                .seek(at)
                .and_then(|_| self.file.read_exact(&mut bytes));
            read.map_err(|error| Error::read(&self.place, &error))?;
            let (of_losses, of_bits) = bytes.split_at(4 * segment.written);
            let count = segment.count.min(samples.saturating_sub(losses.len()));
            let (numbers, _) = of_losses.as_chunks::<4>();
            correct.grow(losses.len() + count);
            for sample in 0..count {
                let word = of_bits[sample / 8] >> (sample % 8) & 1;
                correct.set(losses.len() + sample, word == 1);
            }
            losses.extend(
                numbers[..count]
                    .iter()
                    .map(|loss| f32::from_le_bytes(*loss)),
            );
        }
        Ok(Some(Outcomes::new(losses, correct)))
    }
}

/// Reads the record at `begin` of a file of `length` bytes; `None` at the end and where it is
/// damaged.
fn next(
    reader: &mut impl Read,
    begin: u64,
    length: u64,
) -> io::Result<Option<((ModelKey, usize), Segment)>> {
    let losses = begin + HEADER as u64;
    if losses > length {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    reader.read_exact(&mut header)?;
    let number = |range: std::ops::Range<usize>| {
        let bytes = header[range].iter().rev();
        bytes.fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
    };
    let count = number(32..40);
    // Of a damaged record, the size may be anything.
    if count > u128::from(length - losses) / 4 {
        return Ok(None);
    }
    let count = count as usize;
    let mut rest = vec![0; body(count)];
    if losses + rest.len() as u64 > length {
        return Ok(None);
    }
    reader.read_exact(&mut rest)?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&header[4..]);
    sum.update(&rest);
    if u128::from(sum.finalize()) != number(0..4) {
        return Ok(None);
    }
    let segment = Segment {
        begin: number(24..32) as usize,
        count,
        written: count,
        losses,
    };
    Ok(Some(((number(4..20), number(20..24) as usize), segment)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metrics::Outcome;

    fn outcomes(samples: std::ops::Range<usize>) -> Outcomes {
        let outcome = |sample: usize| Outcome {
            loss: if sample == 70 {
                f64::NAN
            } else {
                sample as f64 / 7.0
            },
            correct: sample % 3 == 1,
        };
        samples.map(outcome).collect()
    }

    /// The bits of losses, because NaN is not equal to itself, and the correctness.
    fn parts(outcomes: &Outcomes) -> (Vec<u32>, Vec<bool>) {
        let losses = outcomes.losses().iter().map(|loss| loss.to_bits());
        (losses.collect(), outcomes.correctness().collect())
    }

    fn open(folder: &Path) -> OutcomeFile {
        OutcomeFile::open(folder, &folder.join("a.outcomes"), false).unwrap()
    }

    #[test]
    fn outcomes_written_in_parts_are_read_whole_and_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path());
        file.append((7, 1), 0, &outcomes(0..65)).unwrap();
        file.append((7, 0), 0, &outcomes(0..3)).unwrap();
        file.append((7, 1), 65, &outcomes(65..200)).unwrap();
        for _ in 0..2 {
            assert_eq!((file.samples(7, 1), file.samples(7, 0)), (200, 3));
            for samples in [0, 1, 64, 65, 66, 200] {
                let read = file.get(7, 1, samples).unwrap().unwrap();
                assert_eq!(parts(&read), parts(&outcomes(0..samples)));
            }
            assert!(file.get(7, 1, 201).unwrap().is_none());
            assert!(file.get(8, 1, 1).unwrap().is_none());
            drop(file);
            file = open(folder.path());
        }
    }

    #[test]
    fn a_model_that_starts_again_replaces_what_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path());
        file.append((7, 0), 0, &outcomes(100..200)).unwrap();
        file.append((7, 0), 100, &outcomes(300..400)).unwrap();
        file.append((7, 0), 40, &outcomes(40..50)).unwrap();
        assert_eq!(file.samples(7, 0), 50);
        let read = file.get(7, 0, 50).unwrap().unwrap();
        let expected = [outcomes(100..140), outcomes(40..50)];
        assert_eq!(
            parts(&read).0,
            [parts(&expected[0]).0, parts(&expected[1]).0].concat()
        );
        file.append((7, 0), 0, &outcomes(0..20)).unwrap();
        drop(file);
        assert_eq!(open(folder.path()).samples(7, 0), 20);
    }

    #[test]
    fn torn_and_damaged_records_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.outcomes");
        let mut file = open(folder.path());
        for model in 0..3 {
            file.append((model, 0), 0, &outcomes(0..70)).unwrap();
        }
        drop(file);
        let whole = std::fs::read(&path).unwrap();
        let record = HEADER + body(70);
        assert_eq!(whole.len(), 3 * record);
        for cut in [
            0,
            1,
            record - 1,
            record,
            record + 39,
            2 * record + 41,
            3 * record - 1,
        ] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut file = open(folder.path());
            let kept = (0..3).filter(|&model| file.samples(model, 0) == 70).count();
            assert_eq!(kept, cut / record, "{cut}");
            file.append((9, 0), 0, &outcomes(0..5)).unwrap();
            drop(file);
            assert_eq!(open(folder.path()).samples(9, 0), 5);
        }
        for place in 0..record {
            let mut flipped = whole.clone();
            flipped[record + place] ^= 0x80;
            std::fs::write(&path, &flipped).unwrap();
            let file = open(folder.path());
            assert_eq!(file.samples(0, 0), 70);
            assert_eq!(file.samples(1, 0) + file.samples(2, 0), 0, "{place}");
        }
    }
}
