//! Room for large arrays that the program makes: memory, or a temporary file that is mapped and has
//! no name, so that nothing of it stays behind.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::machine::Memory;
use super::map::map_open;
use crate::error::{Error, Result};

/// The share of the available memory that may be filled: one part in this many.
pub const SHARE: u64 = 4;

/// Arrays in the order in which they are made.
#[derive(Debug)]
pub struct Scratch {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<Bytes>),
    File {
        file: BufWriter<File>,
        folder: PathBuf,
        lengths: Vec<usize>,
    },
}

impl Scratch {
    /// Makes room for `bytes` bytes: in memory if they are at most a quarter of what is available
    /// there, else in a file in `folder`.
    ///
    /// # Errors
    /// When the file cannot be made or there is too little room for it.
    pub fn new(bytes: u64, folder: &Path) -> Result<Self> {
        let available = Memory::of_this_machine().map(|memory| memory.available);
        if available.is_none_or(|available| bytes <= available / SHARE) {
            return Ok(Self {
                place: Place::Memory(Vec::new()),
            });
        }
        Self::in_file(bytes, folder)
    }

    /// Makes room in a file.
    fn in_file(bytes: u64, folder: &Path) -> Result<Self> {
        let fail = |error: io::Error| full(folder, bytes, &error);
        let file = tempfile::tempfile_in(folder).map_err(fail)?;
        reserve(&file, bytes).map_err(fail)?;
        Ok(Self {
            place: Place::File {
                file: BufWriter::new(file),
                folder: folder.to_path_buf(),
                lengths: Vec::new(),
            },
        })
    }

    /// Whether the arrays are kept in a file.
    pub fn is_file(&self) -> bool {
        matches!(self.place, Place::File { .. })
    }

    /// Keeps an array.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, array: Vec<u8>) -> Result<()> {
        match &mut self.place {
            Place::Memory(arrays) => arrays.push(array.into()),
            Place::File {
                file,
                folder,
                lengths,
            } => {
                let written = file.write_all(&array);
                written.map_err(|error| Error::write(folder, &error))?;
                lengths.push(array.len());
            }
        }
        Ok(())
    }

    /// The arrays, in the order in which they were kept.
    ///
    /// # Errors
    /// When the file cannot be written or mapped.
    pub fn finish(self) -> Result<Vec<Bytes>> {
        match self.place {
            Place::Memory(arrays) => Ok(arrays),
            Place::File {
                file,
                folder,
                lengths,
            } => {
                let file = file
                    .into_inner()
                    .map_err(|error| Error::write(&folder, error.error()))?;
                let total: usize = lengths.iter().sum();
                if total == 0 {
                    return Ok(vec![Bytes::new(); lengths.len()]);
                }
                let mut rest = map_open(&file, &folder)?;
                Ok(lengths.into_iter().map(|len| rest.split_to(len)).collect())
            }
        }
    }
}

fn full(folder: &Path, bytes: u64, error: &io::Error) -> Error {
    // Exact: nothing has 2^53 bytes.
    #[allow(clippy::cast_precision_loss)]
    let gib = bytes as f64 / f64::from(1 << 30);
    Error::runtime(
        folder.display(),
        format!("has no room for {gib:.1} GiB of temporary data: {error}"),
    )
    .help("name a folder with more room in the environment variable TMPDIR, or use fewer models")
}

/// Takes the room on the disk at once: a file that is mapped must not run out of it later.
#[cfg(target_os = "linux")]
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let Ok(len) = libc::off_t::try_from(bytes) else {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    };
    if len == 0 {
        return Ok(());
    }
    // SAFETY: the descriptor is open for the whole call, and nothing in memory is touched.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // This file system takes room only by writing.
        Some(libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut scratch: Scratch) -> Vec<Bytes> {
        for array in [vec![1, 2, 3], vec![], vec![4; 10_000]] {
            scratch.push(array).unwrap();
        }
        scratch.finish().unwrap()
    }

    #[test]
    fn memory_and_file_give_back_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let in_file = Scratch::in_file(10_003, folder.path()).unwrap();
        assert!(in_file.is_file());
        let in_memory = Scratch::new(10_003, folder.path()).unwrap();
        assert!(!in_memory.is_file());
        let kept = filled(in_file);
        assert_eq!(kept, filled(in_memory));
        assert_eq!(kept[0], vec![1, 2, 3]);
        assert_eq!(kept[2].len(), 10_000);
        // Nothing has a name.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_has_no_room_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        // No machine has an exabyte, in memory or on disk.
        let error = Scratch::new(1 << 60, folder.path()).unwrap_err();
        assert_eq!(error.exit_status(), 1);
        let text = error.to_string();
        assert!(
            text.contains("1073741824.0 GiB") && text.contains("TMPDIR"),
            "{text}"
        );
    }
}
