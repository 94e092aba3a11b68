//! Memory-maps files; errors name the file.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

use super::files;
use crate::error::{Error, Result};

/// Maps a file into memory; slices of the result share the mapping.
///
/// # Errors
/// When the file does not exist, is empty, is not a regular file, or cannot be read.
pub fn map_file(path: &Path) -> Result<Bytes> {
    let file = files::open(path)?;
    let metadata = file.metadata().map_err(|error| Error::read(path, &error))?;
    if metadata.len() == 0 {
        return Err(Error::input(path, "the file is empty"));
    }
    map_open(&file, path)
}

/// Copies bytes into pages of their own, so that they begin at a multiple of any element's size.
///
/// # Errors
/// When memory is missing.
pub fn copy(bytes: &[u8]) -> io::Result<Bytes> {
    let mut pages = memmap2::MmapMut::map_anon(bytes.len())?;
    pages.copy_from_slice(bytes);
    Ok(Bytes::from_owner(pages.make_read_only()?))
}

/// Maps an open, non-empty file; `path` is for messages.
///
/// # Errors
/// When the system cannot map the file.
pub fn map_open(file: &File, path: &Path) -> Result<Bytes> {
    // SAFETY: the mapping is read-only. If another process truncates the file while it is
    // mapped, the program ends, as with every memory-mapping reader.
    let mapping = unsafe { memmap2::Mmap::map(file) }.map_err(|error| Error::read(path, &error))?;
    Ok(Bytes::from_owner(mapping))
}
