//! The journal keeps finished work, so that no model is evaluated twice and an interrupted run can
//! resume.
//!
//! It lives in memory and, if it is kept, in a text file in `DIR/.landscape/`. The file is named by
//! the output and by a hash of everything that the values depend on, so a run with other inputs has
//! another file and neither touches the other's. The first line is a header; each further line
//! holds the tallies of a model so far:
//!
//! ```text
//! 8f3c21aa landscape journal 4 <key> <data sets> <layout>
//! 0b77d1c4 <model's key> <words of tally 0> <words of tally 1> …
//! 5e02aa93 <model's key> beta <β> <whether it is a minimum>
//! ```
//!
//! The last kind stands only in runs whose losses are calibrated, before the model's first tallies.
//!
//! A line begins with the CRC-32 of the rest, in hexadecimal. Lines are only appended; the last
//! line of a model counts. The first line with a wrong checksum, truncated by a kill or a full
//! disk, is removed together with everything after it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::metrics::{Tally, WORDS};
use super::outcome_file::{FREE_SPACE, OutcomeFile};
pub use super::outcomes::ModelKey;
use super::outcomes::Outcomes;
use super::output_lock;
use crate::base::files;
use crate::base::lock::lock;
use crate::error::{Error, Result};
use crate::result::loss::{Beta, BetaFit};

/// The folder of journals within the output folder.
const FOLDER: &str = ".landscape";

/// Number of digits of the key that a journal's file name contains.
const KEY_IN_NAME: usize = 12;

/// Maximum time between two syncs to disk.
const SYNC: Duration = Duration::from_secs(1);

/// Whose logits a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitsOf {
    /// The members of the pool.
    Members,
    /// The soups of a table.
    Soups,
}

impl LogitsOf {
    fn extension(self) -> &'static str {
        match self {
            Self::Members => "logits",
            Self::Soups => "soup-logits",
        }
    }
}

/// Finished work: tallies by model. Every method locks for one step only, so that workers can share
/// a journal.
#[derive(Debug, Default)]
pub struct Journal {
    finished: Mutex<HashMap<ModelKey, Vec<Tally>>>,
    /// The β of models whose losses are calibrated.
    betas: Mutex<HashMap<ModelKey, Beta>>,
    /// The layout recorded in the file's header, once it is written.
    layout: OnceLock<String>,
    kept: Mutex<Option<Kept>>,
    /// The outcomes of every sample of the models; opened when the first are kept.
    outcomes: Mutex<Option<OutcomeFile>>,
}

/// The file of a journal; no other process uses it.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    lock: PathBuf,
    /// The lock, held while the journal is open.
    _locked: File,
    header: String,
    output: Output,
}

#[derive(Debug)]
struct Output {
    file: File,
    synced: Instant,
}

impl Journal {
    /// Opens the journal of output `name` for the inputs behind `key`, or creates it; `fresh`
    /// discards its content. Each model has `sets` tallies.
    ///
    /// # Errors
    /// Fails when another process uses the journal, or it cannot be written.
    pub fn open(out: &Path, name: &str, key: &str, sets: usize, fresh: bool) -> Result<Self> {
        let folder = out.join(FOLDER);
        let key_in_name = &key[..key.len().min(KEY_IN_NAME)];
        let path = folder.join(format!("{name}-{key_in_name}.journal"));
        let lock = folder.join(format!("{name}.lock"));
        let fail = |error: io::Error| Error::write(&path, &error);
        let locked = output_lock::take(out, &lock)?;
        let mut file = files::own(out, &path).map_err(fail)?;
        if fresh {
            file.set_len(0).map_err(fail)?;
        }
        let header = format!("landscape journal 4 {key} {sets} ");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let (content, good) = Content::parse(&bytes, &header, sets);
        file.set_len(good as u64).map_err(fail)?;
        file.seek(SeekFrom::Start(good as u64)).map_err(fail)?;
        let outcomes = OutcomeFile::open(out, &path.with_extension("outcomes"), fresh)?;
        Ok(Self {
            finished: Mutex::new(content.finished),
            betas: Mutex::new(content.betas),
            outcomes: Mutex::new(Some(outcomes)),
            layout: content.layout.map_or_else(OnceLock::new, OnceLock::from),
            kept: Mutex::new(Some(Kept {
                path,
                lock,
                _locked: locked,
                header,
                output: Output {
                    file,
                    synced: Instant::now(),
                },
            })),
        })
    }

    /// The layout of the run that created the file, as passed to [`Journal::begin`].
    pub fn layout(&self) -> Option<&str> {
        self.layout.get().map(String::as_str)
    }

    /// Writes the header of an empty file; later runs must use the same `layout`.
    ///
    /// # Errors
    /// Fails when the disk is full or fails.
    pub fn begin(&self, layout: &str) -> Result<()> {
        let mut kept = lock(&self.kept);
        let Some(kept) = kept.as_mut() else {
            return Ok(());
        };
        if self.layout.set(layout.to_string()).is_err() {
            return Ok(());
        }
        kept.write(&format!("{}{layout}", kept.header))
    }

    /// A model's tallies, one per data set, if any of it is finished.
    pub fn tallies(&self, model: ModelKey) -> Option<Vec<Tally>> {
        lock(&self.finished).get(&model).cloned()
    }

    /// Appends a model's tallies, one per data set.
    ///
    /// # Errors
    /// Fails when the disk is full or fails; a partly written line is removed.
    pub fn append(&self, model: ModelKey, tallies: &[Tally]) -> Result<()> {
        if let Some(kept) = lock(&self.kept).as_mut() {
            let mut text = format!("{model:032x}");
            for word in tallies.iter().flat_map(|tally| tally.to_words()) {
                text.push_str(&format!(" {word:x}"));
            }
            kept.write(&text)?;
        }
        lock(&self.finished).insert(model, tallies.to_vec());
        Ok(())
    }

    /// The β that calibrates a model, if it was found.
    pub fn beta(&self, model: ModelKey) -> Option<Beta> {
        lock(&self.betas).get(&model).copied()
    }

    /// Keeps the β that calibrates a model. Workers that share the model may all have found it.
    ///
    /// # Errors
    /// Fails when the disk is full or fails.
    pub fn keep_beta(&self, model: ModelKey, beta: Beta) -> Result<()> {
        let mut betas = lock(&self.betas);
        if betas.contains_key(&model) {
            return Ok(());
        }
        if let Some(kept) = lock(&self.kept).as_mut() {
            let bits = beta.value.to_bits();
            kept.write(&format!("{model:032x} {BETA} {bits:x} {}", beta.fit.name()))?;
        }
        betas.insert(model, beta);
        Ok(())
    }

    /// Keeps a model's outcomes on samples of a data set, from sample `begin` on.
    ///
    /// # Errors
    /// Fails when the disk is full or fails.
    pub fn keep_outcomes(
        &self,
        model: (ModelKey, usize),
        begin: usize,
        outcomes: &Outcomes,
    ) -> Result<()> {
        let mut file = lock(&self.outcomes);
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(OutcomeFile::unnamed()?),
        };
        file.append(model, begin, outcomes)
    }

    /// A model's outcomes on the first `samples` samples of a data set; `None` if some are unknown.
    ///
    /// # Errors
    /// Fails when they cannot be read.
    pub fn outcomes(
        &self,
        model: ModelKey,
        dataset: usize,
        samples: usize,
    ) -> Result<Option<Outcomes>> {
        match &mut *lock(&self.outcomes) {
            Some(file) => file.get(model, dataset, samples),
            None => Ok(None),
        }
    }

    /// Whether the outcomes behind all of a model's tallies are known.
    pub fn has_outcomes(&self, model: ModelKey, tallies: &[Tally]) -> bool {
        let file = lock(&self.outcomes);
        let mut sets = tallies.iter().enumerate();
        sets.all(|(set, tally)| {
            let known = file.as_ref().map_or(0, |file| file.samples(model, set));
            known >= tally.samples()
        })
    }

    /// Forgets a model, because some of its finished data is missing.
    pub fn doubt(&self, model: ModelKey) {
        lock(&self.finished).remove(&model);
    }

    /// The path for this run's logits, beside the journal's file; `None` if nothing is kept. Logits
    /// for other inputs of this output are deleted: they are large and may never be needed again.
    /// Those of other outputs are left alone. No other process uses this path while the journal is
    /// open.
    pub fn claim_logits(&self, whose: LogitsOf) -> Option<PathBuf> {
        let extension = whose.extension();
        let kept = lock(&self.kept);
        let kept = kept.as_ref()?;
        let own = kept.path.with_extension(extension);
        let stem = kept.lock.file_stem()?.to_string_lossy().into_owned();
        let entries = fs::read_dir(kept.path.parent()?).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let key = name.strip_prefix(&format!("{stem}-"));
            let key = key.and_then(|rest| rest.strip_suffix(&format!(".{extension}")));
            // `soup-b-KEY` belongs to an output `soup-b`.
            if key.is_some_and(|key| !key.contains('-')) && entry.path() != own {
                let _ = fs::remove_file(entry.path());
            }
        }
        Some(own)
    }

    /// Deletes the file once the results are written; the content in memory stays.
    pub fn remove(&self) {
        let Some(kept) = lock(&self.kept).take() else {
            return;
        };
        // A leftover file would only take up space.
        let _ = fs::remove_file(&kept.path);
        for whose in [LogitsOf::Members, LogitsOf::Soups] {
            let _ = fs::remove_file(kept.path.with_extension(whose.extension()));
        }
        // The outcomes stay readable until the journal is dropped.
        let _ = fs::remove_file(kept.path.with_extension("outcomes"));
        // Must be the last file to go: a process that finds no lock here may start writing.
        let _ = fs::remove_file(&kept.lock);
        let folders = kept.path.ancestors().skip(1);
        for folder in folders {
            // Fails while the folder holds another journal.
            let gone = fs::remove_dir(folder).is_ok();
            if !gone || folder.ends_with(FOLDER) {
                break;
            }
        }
    }
}

impl Kept {
    fn write(&mut self, text: &str) -> Result<()> {
        self.output
            .write(line(text).as_bytes())
            .map_err(|error| Error::write(&self.path, &error).help(FREE_SPACE))
    }
}

impl Output {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let before = self.file.stream_position()?;
        if let Err(error) = self.file.write_all(line) {
            self.file.set_len(before)?;
            self.file.seek(SeekFrom::Start(before))?;
            return Err(error);
        }
        if self.synced.elapsed() >= SYNC {
            self.file.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }
}

fn line(text: &str) -> String {
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

/// What a journal's file holds.
#[derive(Default)]
struct Content {
    layout: Option<String>,
    finished: HashMap<ModelKey, Vec<Tally>>,
    betas: HashMap<ModelKey, Beta>,
}

impl Content {
    /// Parses the bytes of a journal; also returns the number of valid bytes.
    fn parse(bytes: &[u8], header: &str, sets: usize) -> (Self, usize) {
        let mut content = Self::default();
        let mut good = 0;
        for bytes in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = checked(bytes) else { break };
            if content.layout.is_none() {
                let Some(rest) = text.strip_prefix(header) else {
                    break;
                };
                content.layout = Some(rest.to_string());
            } else if let Some((model, tallies)) = entry(text, sets) {
                content.finished.insert(model, tallies);
            } else if let Some((model, beta)) = beta(text) {
                content.betas.insert(model, beta);
            } else {
                break;
            }
            good += bytes.len();
        }
        (content, good)
    }
}

/// The word that marks a line with a β.
const BETA: &str = "beta";

/// Parses a line with a model's β.
fn beta(text: &str) -> Option<(ModelKey, Beta)> {
    let [model, BETA, bits, fit] = text.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let value = f64::from_bits(u64::from_str_radix(bits, 16).ok()?);
    let fit = BetaFit::parse(fit)?;
    let model = ModelKey::from_str_radix(model, 16).ok()?;
    Some((model, Beta { value, fit }))
}

/// The text of a complete line, if its checksum is right.
fn checked(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, text) = line.split_once(' ')?;
    let right = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(text.as_bytes());
    right.then_some(text)
}

fn entry(text: &str, sets: usize) -> Option<(ModelKey, Vec<Tally>)> {
    let (model, words) = text.split_once(' ')?;
    let words = words.split(' ').map(|word| u64::from_str_radix(word, 16));
    let words = words.collect::<std::result::Result<Vec<u64>, _>>().ok()?;
    let (tallies, []) = words.as_chunks::<WORDS>() else {
        return None;
    };
    let tallies: Vec<Tally> = tallies
        .iter()
        .map(|words| Tally::from_words(*words))
        .collect();
    let model = ModelKey::from_str_radix(model, 16).ok()?;
    (tallies.len() == sets).then_some((model, tallies))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::evaluate::metrics::Outcome;

    fn tally(samples: usize) -> Tally {
        let mut tally = Tally::default();
        (0..samples).for_each(|k| tally.add(Outcome::of(&[k as f32, 1.5], k % 2)));
        tally
    }

    fn open(folder: &Path, key: &str) -> Journal {
        let journal = Journal::open(folder, "plane", key, 2, false).unwrap();
        journal.begin("some layout").unwrap();
        journal
    }

    #[test]
    fn a_models_beta_is_found_again_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path(), "aa");
        let beta = |value, fit| Beta { value, fit };
        let minimum = beta(1.0 / 3.0, BetaFit::Minimum);
        journal.keep_beta(3, minimum).unwrap();
        // Another worker found the same.
        journal.keep_beta(3, minimum).unwrap();
        journal.append(3, &[tally(4), tally(1)]).unwrap();
        journal
            .keep_beta(5, beta(1e3, BetaFit::UpperBound))
            .unwrap();
        drop(journal);
        let path = file(folder.path(), "aa");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4);
        let journal = open(folder.path(), "aa");
        assert_eq!(journal.beta(3), Some(minimum));
        assert_eq!(journal.beta(5), Some(beta(1e3, BetaFit::UpperBound)));
        assert_eq!((journal.beta(4), journal.tallies(5)), (None, None));
        assert_eq!(journal.tallies(3).unwrap(), [tally(4), tally(1)]);
    }

    fn count(journal: &Journal) -> usize {
        lock(&journal.finished).len()
    }

    fn file(folder: &Path, key: &str) -> PathBuf {
        folder.join(format!(".landscape/plane-{key}.journal"))
    }

    #[test]
    fn what_was_appended_is_found_again_and_the_last_entry_counts() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path(), "aa");
        journal.append(3, &[tally(4), tally(1)]).unwrap();
        journal.append(0, &[tally(4), tally(2)]).unwrap();
        journal.append(3, &[tally(8), tally(2)]).unwrap();
        drop(journal);
        let journal = open(folder.path(), "aa");
        assert_eq!(journal.layout(), Some("some layout"));
        assert_eq!(count(&journal), 2);
        assert_eq!(journal.tallies(3).unwrap(), [tally(8), tally(2)]);
        drop(journal);
        assert_eq!(count(&open(folder.path(), "bb")), 0);
        drop(open(folder.path(), "aa"));
        let fresh = Journal::open(folder.path(), "plane", "aa", 2, true).unwrap();
        assert_eq!(count(&fresh), 0);
    }

    #[test]
    fn torn_and_damaged_lines_are_cut_off_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path(), "aa");
        (0..5).for_each(|model| {
            let tallies = [tally(4), tally(model)];
            journal.append(model as ModelKey, &tallies).unwrap();
        });
        drop(journal);
        let path = file(folder.path(), "aa");
        let whole = fs::read(&path).unwrap();
        let lines: Vec<usize> = (0..whole.len()).filter(|&k| whole[k] == b'\n').collect();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let journal = open(folder.path(), "aa");
            let kept = lines
                .iter()
                .filter(|&&end| end < cut)
                .count()
                .saturating_sub(1);
            assert_eq!(count(&journal), kept, "{cut}");
            journal.append(7, &[tally(2), tally(2)]).unwrap();
            drop(journal);
            assert_eq!(count(&open(folder.path(), "aa")), kept + 1, "{cut}");
        }
        let mut flipped = whole.clone();
        flipped[lines[2] - 3] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(count(&open(folder.path(), "aa")), 1);
    }

    #[cfg(unix)]
    #[test]
    fn no_link_leads_the_journal_to_another_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, file(folder.path(), "aa")).unwrap();
        let error = Journal::open(folder.path(), "plane", "aa", 2, true).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_second_run_is_told_who_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), "aa");
        let error = Journal::open(folder.path(), "plane", "bb", 2, false).unwrap_err();
        let words = format!("is locked by process {}", std::process::id());
        assert!(error.to_string().contains(&words), "{error}");
        first.remove();
        assert!(!folder.path().join(FOLDER).exists());
    }

    #[test]
    fn logits_of_earlier_inputs_are_removed_and_other_outputs_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ["aa", "bb"].map(|key| key.repeat(32));
        let named =
            |name: &str, key: &str| Journal::open(folder.path(), name, key, 1, false).unwrap();
        let written = |journal: &Journal| {
            let path = journal.claim_logits(LogitsOf::Members).unwrap();
            fs::write(&path, "logits").unwrap();
            path
        };
        // Two runs in one folder at the same time.
        let (soup, other) = (named("soup", &keys[0]), named("soup-b", &keys[0]));
        let (old, others) = (written(&soup), written(&other));
        assert_eq!(soup.claim_logits(LogitsOf::Members), Some(old.clone()));
        assert!(old.exists() && others.exists());
        drop(soup);
        let soup = named("soup", &keys[1]);
        let new = written(&soup);
        assert!(!old.exists() && new.exists() && others.exists());
        soup.remove();
        assert!(!new.exists() && others.exists());
        assert_eq!(soup.claim_logits(LogitsOf::Members), None);
    }

    #[test]
    fn runs_that_begin_and_end_in_one_folder_have_it_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = || {
            for _ in 0..50 {
                match Journal::open(folder.path(), "plane", "aa", 2, false) {
                    Ok(journal) => {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        begun.fetch_add(1, Ordering::SeqCst);
                        journal.begin("some layout").unwrap();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        journal.remove();
                    }
                    Err(error) => assert!(error.to_string().contains("locked"), "{error}"),
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
        assert!(begun.into_inner() > 0);
        assert!(!folder.path().join(FOLDER).exists());
    }
}
