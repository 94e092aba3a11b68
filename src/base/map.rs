//! Memory-mapped files, with errors that name the file.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

use super::files;
use crate::error::{Error, Result};

/// Maps a file into memory; slices of the result share the mapping.
///
/// # Errors
/// When there is no such file, it is no regular file or an empty one, or it may not be read.
pub fn map_file(path: &Path) -> Result<Bytes> {
    let file = files::open(path)?;
    let metadata = file.metadata().map_err(|error| Error::read(path, &error))?;
    if metadata.len() == 0 {
        return Err(Error::input(path, "the file is empty"));
    }
    map_open(&file, path)
}

/// Maps a file that is open and not empty; `path` is for messages.
///
/// # Errors
/// When the system refuses.
pub fn map_open(file: &File, path: &Path) -> Result<Bytes> {
    // SAFETY: the mapping is read-only; a file that another process truncates while it is
    // mapped ends the program, as with every memory-mapping reader.
    let mapping = unsafe { memmap2::Mmap::map(file) }.map_err(|error| Error::read(path, &error))?;
    Ok(Bytes::from_owner(mapping))
}
