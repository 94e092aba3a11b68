//! The zip format of PyTorch 1.6 and later: a pickle and one entry for each storage.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use bytes::Bytes;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::outcome::Outcome;
use super::view::Storage;

/// Most entries of an archive: a model of 10,000 layers has fewer.
const MOST_ENTRIES: u64 = 1 << 17;

/// Sizes of the record at the end and of the locator before it, in bytes.
const END: usize = 22;
const LOCATOR: usize = 20;

/// The name of the pickle, below the folder that all entries share.
const PICKLE: &str = "data.pkl";

/// An open archive.
pub struct Archive {
    bytes: Bytes,
    zip: ZipArchive<Cursor<Bytes>>,
    /// The folder of all entries, with its slash.
    folder: String,
    /// Whether checksums were written: `torch.serialization.set_crc32_options(False)` leaves zeros.
    has_checksums: bool,
    /// Storages that were decompressed, by their keys.
    inflated: HashMap<Bytes, Bytes>,
}

impl Archive {
    /// Opens an archive.
    ///
    /// # Errors
    /// When it is damaged, is none of PyTorch's, or its numbers have the highest byte first.
    pub fn open(bytes: &Bytes, budget: &mut usize) -> Outcome<Self> {
        // Before the directory is read, which takes more memory than it has bytes.
        let declared = declared_entries(bytes).unwrap_or(0);
        if declared > MOST_ENTRIES {
            return Err(format!(
                "is a zip archive of {declared} files, too many for a model"
            ));
        }
        let zip = ZipArchive::new(Cursor::new(bytes.clone())).map_err(|error| {
            format!("is a damaged zip archive ({error}): was the copy or download cut short?")
        })?;
        let mut zip = zip;
        let folder = folder(&zip)?;
        let pickle = zip.index_for_name(&format!("{folder}{PICKLE}"));
        let pickle = pickle.and_then(|index| zip.by_index_raw(index).ok());
        let has_checksums = pickle.is_some_and(|pickle| pickle.crc32() != 0);
        let mut archive = Self {
            bytes: bytes.clone(),
            zip,
            folder,
            has_checksums,
            inflated: HashMap::new(),
        };
        let order = archive.entry("byteorder", budget)?;
        if order.is_some_and(|order| order.trim_ascii() == b"big") {
            return Err(
                "was written on a machine whose numbers have the highest byte first, which is not \
                 read; load and save it again with PyTorch on an ordinary machine"
                    .to_string(),
            );
        }
        Ok(archive)
    }

    /// The pickle.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pickle(&mut self, budget: &mut usize) -> Outcome<Bytes> {
        let pickle = self.entry(PICKLE, budget)?;
        pickle.ok_or_else(|| format!("holds no {PICKLE}"))
    }

    /// The bytes of a storage, a slice of the file if they are not compressed.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub fn storage(&mut self, storage: &Storage, budget: &mut usize) -> Outcome<Bytes> {
        if let Some(known) = self.inflated.get(&storage.key) {
            return Ok(known.clone());
        }
        let key = String::from_utf8_lossy(&storage.key).into_owned();
        let found = self.entry(&format!("data/{key}"), budget)?;
        let found = found.ok_or_else(|| format!("lacks the elements `data/{key}`"))?;
        // Slices of the file are found again as fast.
        self.inflated.insert(storage.key.clone(), found.clone());
        Ok(found)
    }

    /// An entry below the folder, decompressed at the budget's cost; `None` if there is none. Its
    /// checksum is verified.
    fn entry(&mut self, name: &str, budget: &mut usize) -> Outcome<Option<Bytes>> {
        let name = format!("{}{name}", self.folder);
        let Some(index) = self.zip.index_for_name(&name) else {
            return Ok(None);
        };
        let damaged = |error: ZipError| format!("its part `{name}` is damaged ({error})");
        let entry = self.zip.by_index_raw(index).map_err(damaged)?;
        if entry.encrypted() {
            return Err("is an encrypted zip archive: decrypt it first".to_string());
        }
        let (start, len, crc) = (entry.data_start(), entry.size(), entry.crc32());
        if entry.compression() == CompressionMethod::Stored {
            let range = start.checked_add(len);
            let range = range.filter(|end| *end <= self.bytes.len() as u64);
            let end = range.ok_or_else(|| format!("its part `{name}` reaches beyond the file"))?;
            let stored = self.bytes.slice(start as usize..end as usize);
            if self.has_checksums && crc32fast::hash(&stored) != crc {
                return Err(changed(&name));
            }
            return Ok(Some(stored));
        }
        drop(entry);
        let expected = usize::try_from(len).ok().filter(|len| *len <= *budget);
        let Some(expected) = expected else {
            return Err(format!(
                "its part `{name}` is compressed and would take {len} bytes, many times the size \
                 of the file; PyTorch compresses nothing: save it again with torch.save"
            ));
        };
        *budget -= expected;
        let mut out = Vec::with_capacity(expected);
        // One byte more than declared tells whether there are more; the checksum is verified at the
        // end of the stream.
        let entry = self.zip.by_index(index).map_err(damaged)?;
        let read = entry.take(len.saturating_add(1)).read_to_end(&mut out);
        if out.len() != expected || read.is_err() {
            return Err(changed(&name));
        }
        Ok(Some(out.into()))
    }
}

/// Says that an entry is not what was written.
fn changed(name: &str) -> String {
    format!(
        "its part `{name}` is damaged: its bytes do not fit its length and checksum; copy or download \
         the file again"
    )
}

/// Number of entries that the end of an archive declares; `None` if it has no such end.
fn declared_entries(bytes: &[u8]) -> Option<u64> {
    // After the record at the end, only a comment of at most 64 KiB may follow.
    let tail = bytes.len().saturating_sub(END + usize::from(u16::MAX));
    let mut windows = bytes[tail..].windows(4);
    let end = tail + windows.rposition(|window| window == b"PK\x05\x06")?;
    let count = u16::from_le_bytes(*bytes.get(end + 10..)?.first_chunk()?);
    if count != u16::MAX {
        return Some(u64::from(count));
    }
    // A larger number stands in a record of its own, and a locator before the end says where.
    let locator = bytes.get(end.checked_sub(LOCATOR)?..)?;
    let at = u64::from_le_bytes(*locator.get(8..)?.first_chunk()?);
    let record = bytes.get(usize::try_from(at).ok()?..)?;
    let count = record.get(32..)?.first_chunk();
    let is_large = locator.starts_with(b"PK\x06\x07") && record.starts_with(b"PK\x06\x06");
    count
        .filter(|_| is_large)
        .map(|count| u64::from_le_bytes(*count))
}

/// The folder that holds the pickle. Archives of other programs are told for what they are.
fn folder(zip: &ZipArchive<Cursor<Bytes>>) -> Outcome<String> {
    let has = |ending: &str| zip.file_names().any(|name| name.ends_with(ending));
    let pickle = zip.file_names().find_map(|name| name.strip_suffix(PICKLE));
    let folder = pickle.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    if let Some(folder) = folder {
        let scripted = ["constants.pkl", "code/"].map(|it| format!("{folder}{it}"));
        let is_scripted = |name: &str| scripted.iter().any(|it| name.starts_with(it));
        if zip.file_names().any(is_scripted) {
            return Err(
                "is a TorchScript archive, a program with its weights; take the weights out in \
                 Python: torch.save(torch.jit.load(\"FILE\").state_dict(), \"weights.pt\")"
                    .to_string(),
            );
        }
        return Ok(folder.to_string());
    }
    Err(if has(".npy") {
        "is a NumPy archive (.npz), not a checkpoint; save the weights with \
         safetensors.numpy.save_file(dict(numpy.load(\"FILE\")), \"weights.safetensors\")"
            .to_string()
    } else if has(".weights.h5") {
        "is a Keras model; only PyTorch, safetensors and ONNX files are read".to_string()
    } else {
        format!("is a zip archive without {PICKLE}: PyTorch did not write it")
    })
}
