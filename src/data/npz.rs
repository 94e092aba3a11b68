//! `.npz`: a zip archive of `.npy` arrays.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zip::ZipArchive;

use super::array::{Container, Layout, gather, row_major, swap_bytes};
use super::npy::Npy;
use crate::checkpoint::file;
use crate::error::{Error, Result};

/// An opened archive.
pub(super) struct Npz {
    path: PathBuf,
    archive: ZipArchive<Cursor<Bytes>>,
    /// Size of the file; an array may claim at most [`MAX_RATIO`] times that.
    file_len: usize,
}

/// Deflate cannot compress better than about 1032 to 1, so a larger claim is false.
const MAX_RATIO: usize = 1100;

impl Npz {
    /// Opens an archive and reads its directory.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let bytes = file::map(path)?;
        let file_len = bytes.len();
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
            Error::input(path, format!("is not a whole .npz file: {error}"))
                .help("was the copy or download cut short? make one with numpy.savez_compressed(file, x=..., labels=...)")
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            archive,
            file_len,
        })
    }

    fn fault(&self, name: &str, problem: impl std::fmt::Display) -> Error {
        Error::input(&self.path, format!("array `{name}` {problem}"))
    }

    /// The array's header, and the reader at its first element when `visit` is called.
    fn with_array<T>(
        &mut self,
        name: &str,
        visit: impl FnOnce(&Npy, &mut dyn Read) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let result = match self.archive.by_name(&format!("{name}.npy")) {
            Err(error) => Err(format!("cannot be read: {error}")),
            Ok(mut entry) => Npy::read(&mut entry).and_then(|header| visit(&header, &mut entry)),
        };
        result.map_err(|problem| self.fault(name, problem))
    }
}

impl Container for Npz {
    fn names(&self) -> Vec<String> {
        let names = self.archive.file_names();
        names
            .filter_map(|name| name.strip_suffix(".npy"))
            .map(str::to_string)
            .collect()
    }

    fn layout(&mut self, name: &str) -> Result<Layout> {
        self.with_array(name, |header, _| Ok(header.layout.clone()))
    }

    fn read(&mut self, name: &str, rows: Option<&[usize]>) -> Result<Bytes> {
        let most = self.file_len.saturating_mul(MAX_RATIO);
        self.with_array(name, |header, reader| {
            let size = match &header.layout.element {
                Ok(element) => element.size(),
                Err(kind) => return Err(format!("holds {kind}, which cannot be read")),
            };
            let expected = header.layout.byte_len().filter(|&len| len <= most);
            let Some(expected) = expected else {
                return Err(format!(
                    "claims {}, more than the file can hold",
                    header.layout.describe()
                ));
            };
            let mut data = Vec::with_capacity(expected);
            // Reading to the end of the entry is what makes its checksum be verified.
            reader
                .take(expected as u64 + 1)
                .read_to_end(&mut data)
                .map_err(|error| format!("is damaged: {error}"))?;
            if data.len() != expected {
                return Err(format!(
                    "has {} bytes, its header asks for {expected}",
                    data.len()
                ));
            }
            let shape = &header.layout.shape;
            let mut data = Bytes::from(data);
            if header.fortran && shape.len() > 1 {
                data = row_major(&data, shape, size);
            }
            if header.big_endian && size > 1 {
                data = swap_bytes(&data, size);
            }
            Ok(match rows {
                None => data,
                Some(rows) => gather(&data, shape[1..].iter().product::<usize>() * size, rows),
            })
        })
    }
}
