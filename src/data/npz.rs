//! `.npz` files: zip archives of `.npy` arrays, stored or deflated.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zip::read::ZipFile;
use zip::{CompressionMethod, ZipArchive};

use super::array::{Container, Layout, gather, row_major, swap_bytes, width};
use super::npy::Npy;
use crate::error::{Error, Result};

/// Maximum expansion of a deflate stream: 258 bytes from a two-bit code.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// An open `.npz` file.
pub(super) struct Npz {
    path: PathBuf,
    bytes: Bytes,
    archive: ZipArchive<Cursor<Bytes>>,
}

/// One array of the archive.
struct Member {
    npy: Npy,
    stored: bool,
    /// Offset of the elements in the file, if stored uncompressed.
    start: u64,
    /// Size of the elements in bytes.
    len: u64,
    compressed: u64,
}

impl Npz {
    /// Opens the archive in `bytes`, the content of `path`.
    ///
    /// # Errors
    /// When it is no zip archive, or its directory (at the end of the file) is missing.
    pub(super) fn open(path: &Path, bytes: Bytes) -> Result<Self> {
        let archive = ZipArchive::new(Cursor::new(bytes.clone())).map_err(|error| {
            if bytes.starts_with(b"PK") {
                Error::input(path, format!("is a damaged .npz file: {error}"))
                    .help("it may have been cut off while it was copied or written")
            } else {
                Error::input(path, "is no .npz file: its content is not a zip archive")
                    .help("write it with numpy.savez or numpy.savez_compressed")
            }
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            bytes,
            archive,
        })
    }

    fn file(&mut self, name: &str) -> Result<ZipFile<'_, Cursor<Bytes>>> {
        let opened = self.archive.by_name(&format!("{name}.npy"));
        opened.map_err(|error| damaged(&self.path, name, &error))
    }

    fn member(&mut self, name: &str) -> Result<Member> {
        let path = self.path.clone();
        let mut file = self.file(name)?;
        let npy = Npy::read(&mut file)
            .map_err(|problem| Error::input(&path, format!("array `{name}` {problem}")))?;
        let header = npy.header_len as u64;
        Ok(Member {
            stored: file.compression() == CompressionMethod::Stored,
            start: file.data_start().saturating_add(header),
            len: file.size().saturating_sub(header),
            compressed: file.compressed_size(),
            npy,
        })
    }

    /// Returns the elements of a stored array without copying; reads them once for their checksum.
    fn stored(&mut self, name: &str, member: &Member) -> Result<Bytes> {
        let path = self.path.clone();
        let mut file = self.file(name)?;
        io::copy(&mut file, &mut io::sink()).map_err(|error| damaged(&path, name, &error))?;
        drop(file);
        let end = member.start.checked_add(member.len);
        match end {
            Some(end) if end <= self.bytes.len() as u64 => {
                Ok(self.bytes.slice(member.start as usize..end as usize))
            }
            _ => Err(damaged(&path, name, &"it ends beyond the end of the file")),
        }
    }

    /// Decompresses an array: all elements, or the given rows, in file order.
    fn inflated(&mut self, name: &str, member: &Member, rows: Option<&[usize]>) -> Result<Bytes> {
        let path = self.path.clone();
        let shape = &member.npy.layout.shape;
        let total = member.len as usize;
        let row = total / shape.first().copied().unwrap_or(1).max(1);
        let mut file = self.file(name)?;
        let failed = |error: io::Error| damaged(&path, name, &error);
        io::copy(
            &mut (&mut file).take(member.npy.header_len as u64),
            &mut io::sink(),
        )
        .map_err(failed)?;
        let kept = rows.map_or(total, |rows| rows.len() * row);
        let mut out = reserve(kept).ok_or_else(|| {
            let problem = format!("array `{name}` needs {kept} bytes, more than there is memory");
            Error::runtime(path.display(), problem).help("choose fewer samples with --limit")
        })?;
        match rows {
            None => append(&mut file, total, &mut out),
            Some(rows) => append_rows(&mut file, row, rows, &mut out),
        }
        .map_err(failed)?;
        // The checksum is verified at the end of the stream.
        io::copy(&mut file, &mut io::sink()).map_err(failed)?;
        Ok(out.into())
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
        Ok(self.member(name)?.npy.layout)
    }

    fn read(&mut self, name: &str, rows: Option<&[usize]>) -> Result<Bytes> {
        let member = self.member(name)?;
        check_size(&self.path, name, &member)?;
        let Npy {
            layout, fortran, ..
        } = &member.npy;
        let size = layout.element.as_ref().map_or(1, |element| width(*element));
        let mut gathered = false;
        let mut data = if member.stored {
            self.stored(name, &member)?
        } else {
            gathered = !fortran;
            self.inflated(name, &member, rows.filter(|_| gathered))?
        };
        if *fortran {
            data = row_major(&data, &layout.shape, size);
        }
        if let (Some(rows), false) = (rows, gathered) {
            let row = data.len() / layout.shape.first().copied().unwrap_or(1).max(1);
            data = gather(&data, row, rows);
        }
        if member.npy.big_endian {
            data = swap_bytes(&data, size);
        }
        Ok(data)
    }
}

/// Compares the size declared in the header with the size of the member, and that with the maximum
/// expansion of its compressed bytes, before anything of that size is allocated.
fn check_size(path: &Path, name: &str, member: &Member) -> Result<()> {
    let layout = &member.npy.layout;
    if layout.byte_len().map(|len| len as u64) != Some(member.len) {
        let found = layout.describe();
        let needed = layout
            .byte_len()
            .map_or("more than can be addressed".to_string(), |len| {
                format!("{len} bytes")
            });
        let problem = format!(
            "array `{name}` is declared as {found}, that is {needed}, but {} bytes follow",
            member.len
        );
        return Err(Error::input(path, problem).help("the file is damaged; write it again"));
    }
    let header = member.npy.header_len as u64;
    let fits = if member.stored {
        member.compressed == header + member.len
    } else {
        member.len <= member.compressed.saturating_mul(MAX_DEFLATE_RATIO)
    };
    if !fits {
        let problem = format!(
            "array `{name}` declares {} bytes, which the {} bytes it takes in the file cannot hold",
            member.len, member.compressed
        );
        return Err(Error::input(path, problem).help("the file is damaged; write it again"));
    }
    Ok(())
}

fn damaged(path: &Path, name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::input(path, format!("array `{name}` cannot be read: {error}"))
        .help("the file is damaged or of a kind NumPy does not write; write it again")
}

/// Allocates an empty buffer for `len` bytes; `None` if there is not enough memory.
fn reserve(len: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    out.try_reserve_exact(len).ok()?;
    Some(out)
}

/// Appends exactly `len` bytes.
fn append(reader: &mut impl Read, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let found = reader.take(len as u64).read_to_end(out)?;
    if found == len {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Appends the given rows, each of `row` bytes, and skips what lies between them.
fn append_rows(
    reader: &mut impl Read,
    row: usize,
    rows: &[usize],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut next = 0;
    for &index in rows {
        let gap = ((index - next) * row) as u64;
        io::copy(&mut reader.take(gap), &mut io::sink())?;
        append(reader, row, out)?;
        next = index + 1;
    }
    Ok(())
}
