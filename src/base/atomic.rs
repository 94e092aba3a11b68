//! Atomic file writes: nobody ever sees half a file.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;
use tempfile::NamedTempFile;

use super::lock::lock;

use crate::error::{Error, Result};

/// Writes a temporary file beside `path`, flushes it to disk and renames it to `path`.
///
/// # Errors
/// When the folder cannot be created or written, or the disk is full. Then `path` is left as it
/// was, and the temporary file is removed.
pub fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    prepare(path, content)?.publish()
}

/// A file that is written and flushed to disk, but does not have its name yet. If it is dropped,
/// nothing remains.
pub struct Prepared {
    path: PathBuf,
    file: NamedTempFile,
    _unfinished: BeingWritten<'static>,
}

/// Writes a temporary file beside `path`, which [`Prepared::publish`] renames to `path`. For files
/// that belong together: all are prepared first.
///
/// # Errors
/// When the folder cannot be created or written, or the disk is full.
pub fn prepare(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Prepared> {
    let attempt = || -> io::Result<Prepared> {
        let mut file = temporary(folder_of(path))?;
        let unfinished = UNFINISHED.add(file.path());
        let mut buffered = BufWriter::new(file.as_file_mut());
        content(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        Ok(Prepared {
            path: path.to_path_buf(),
            file,
            _unfinished: unfinished,
        })
    };
    attempt().map_err(|error| Error::write(path, &error))
}

impl Prepared {
    /// Gives the file its name.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn publish(self) -> Result<()> {
        let Self { path, file, .. } = self;
        let attempt = || -> io::Result<()> {
            file.persist(&path).map_err(|error| error.error)?;
            // Makes the rename survive a power failure as well. Not every system can open folders.
            if let Ok(folder) = fs::File::open(folder_of(&path)) {
                folder.sync_all()?;
            }
            Ok(())
        };
        attempt().map_err(|error| Error::write(&path, &error))
    }
}

/// Writes a value as indented JSON, atomically like [`write()`].
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Creates the folder of a file and checks that it is writable, so that a long run does not fail
/// when it saves its result.
///
/// # Errors
/// When the folder cannot be created or written.
pub fn probe(path: &Path) -> Result<()> {
    match temporary(folder_of(path)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::write(path, &error)),
    }
}

/// Temporary files that are being written.
static UNFINISHED: Unfinished = Unfinished(Mutex::new(BTreeSet::new()));

/// Removes the temporary files being written; called just before the program exits.
pub fn remove_unfinished() {
    UNFINISHED.remove();
}

struct Unfinished(Mutex<BTreeSet<PathBuf>>);

impl Unfinished {
    /// Registers a file until the returned guard is dropped.
    fn add(&self, path: &Path) -> BeingWritten<'_> {
        lock(&self.0).insert(path.to_path_buf());
        BeingWritten {
            all: self,
            path: path.to_path_buf(),
        }
    }

    fn remove(&self) {
        for path in lock(&self.0).iter() {
            // The file may just have been renamed.
            let _ = fs::remove_file(path);
        }
    }
}

struct BeingWritten<'u> {
    all: &'u Unfinished,
    path: PathBuf,
}

impl Drop for BeingWritten<'_> {
    fn drop(&mut self) {
        lock(&self.all.0).remove(&self.path);
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(".landscape-")
        .permissions_of(folder)
        .tempfile_in(folder)
}

/// Gives temporary files ordinary permissions instead of private ones.
trait OrdinaryPermissions {
    fn permissions_of(&mut self, folder: &Path) -> &mut Self;
}

impl OrdinaryPermissions for tempfile::Builder<'_, '_> {
    #[cfg(unix)]
    fn permissions_of(&mut self, _folder: &Path) -> &mut Self {
        use std::os::unix::fs::PermissionsExt;
        // The process's umask removes what it should.
        self.permissions(fs::Permissions::from_mode(0o666))
    }

    #[cfg(not(unix))]
    fn permissions_of(&mut self, _folder: &Path) -> &mut Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_being_written_go_when_the_program_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let [done, begun] = ["done", "begun"].map(|name| folder.path().join(name));
        let unfinished = Unfinished(Mutex::default());
        for path in [&done, &begun] {
            fs::write(path, "half").unwrap();
        }
        drop(unfinished.add(&done));
        let _guard = unfinished.add(&begun);
        unfinished.remove();
        assert!(done.exists() && !begun.exists());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.csv");
        write(&path, |out| out.write_all(b"old")).unwrap();
        let error = write(&path, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("b.csv: cannot be written: disk full")
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
