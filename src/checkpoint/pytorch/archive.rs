//! The zip format of PyTorch 1.6 and later: a pickle and one entry for each storage.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use bytes::Bytes;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::outcome::Outcome;
use super::view::Storage;

/// Most entries of an archive: a model of 10,000 layers has fewer.
const MOST_ENTRIES: usize = 1 << 17;

/// The name of the pickle, below the folder that all entries share.
const PICKLE: &str = "data.pkl";

/// An open archive.
pub struct Archive {
    bytes: Bytes,
    zip: ZipArchive<Cursor<Bytes>>,
    /// The folder of all entries, with its slash.
    folder: String,
    /// Storages that were decompressed, by their keys.
    inflated: HashMap<Bytes, Bytes>,
}

impl Archive {
    /// Opens an archive.
    ///
    /// # Errors
    /// When it is damaged, is none of PyTorch's, or its numbers have the highest byte first.
    pub fn open(bytes: &Bytes, budget: &mut usize) -> Outcome<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes.clone())).map_err(|error| {
            format!("is a damaged zip archive ({error}): was the copy or download cut short?")
        })?;
        if zip.len() > MOST_ENTRIES {
            return Err(format!(
                "is a zip archive of {} files, too many for a model",
                zip.len()
            ));
        }
        let folder = folder(&zip)?;
        let mut archive = Self {
            bytes: bytes.clone(),
            zip,
            folder,
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

    /// An entry below the folder, decompressed at the budget's cost; `None` if there is none.
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
        let (start, len) = (entry.data_start(), entry.size());
        if entry.compression() == CompressionMethod::Stored {
            let range = start.checked_add(len);
            let range = range.filter(|end| *end <= self.bytes.len() as u64);
            let end = range.ok_or_else(|| format!("its part `{name}` reaches beyond the file"))?;
            return Ok(Some(self.bytes.slice(start as usize..end as usize)));
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
        let mut entry = self.zip.by_index(index).map_err(damaged)?.take(len);
        entry
            .read_to_end(&mut out)
            .map_err(|error| damaged(error.into()))?;
        Ok(Some(out.into()))
    }
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
