//! The lock of an output: two runs that write the same files must not run at the same time. Touches
//! only the lock file; the process that holds the lock removes it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::base::files;
use crate::error::{Error, Result};

/// Locks the output for this process; `lock` must lie below the output folder `out`. The lock is
/// held while the file is open.
///
/// A run removes its lock file when it ends. A process that had opened that file earlier may then
/// lock a file that no other process can find, so the name is looked up again after locking.
///
/// # Errors
/// Fails when another process has the lock, which the message names by its process number, or when
/// the file cannot be written.
pub fn take(out: &Path, lock: &Path) -> Result<File> {
    let fail = |error: io::Error| Error::write(lock, &error);
    for _ in 0..TRIES {
        let mut file = match files::own(out, lock) {
            Ok(file) => file,
            // A run that ended removed the folder: before the file was created in it, or between
            // the attempt to create the folder and the look at what is in its place.
            Err(error) if is_removal(&error) => continue,
            Err(error) => return Err(fail(error)),
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, lock) => {}
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(Error::runtime(
                    lock.display(),
                    format!("is locked by process {}", holder.trim()),
                )
                .help(
                    "another run writes the same output; wait for it, or choose another --name",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        file.set_len(0).map_err(fail)?;
        write!(file, "{}", std::process::id()).map_err(fail)?;
        return Ok(file);
    }
    Err(Error::runtime(
        lock.display(),
        "is removed as often as it is created; do other runs start and end there?",
    ))
}

/// Whether an error means that another run removed the folder at this moment.
fn is_removal(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotFound};
    matches!(error.kind(), NotFound | AlreadyExists)
}

/// Maximum number of attempts to take a lock that other runs keep removing.
const TRIES: usize = 100;

/// Whether an open file is the one that its path names.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    let (open, named) = (file.metadata().map(id), fs::symlink_metadata(path).map(id));
    matches!((open, named), (Ok(open), Ok(named)) if open == named)
}

/// On other systems an open file keeps its name.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_lock_that_was_removed_while_it_was_opened_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plane.lock");
        let first = take(folder.path(), &path).unwrap();
        assert!(take(folder.path(), &path).is_err());
        // Another process opens the file just before the run that holds the lock ends.
        let late = File::open(&path).unwrap();
        assert!(is_at(&late, &path));
        fs::remove_file(&path).unwrap();
        drop(first);
        late.try_lock().unwrap();
        assert!(!is_at(&late, &path));
        // The file that it locked blocks nobody, and the name now belongs to another file.
        let second = take(folder.path(), &path).unwrap();
        assert!(is_at(&second, &path) && !is_at(&late, &path));
        assert!(take(folder.path(), &path).is_err());
    }
}
