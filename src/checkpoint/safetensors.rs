//! The `.safetensors` format: reading files, and the header of one that is written.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;

use super::tensor::{Dtype, Tensor};
use crate::base::map;
use crate::error::{Error, Result};

pub use safetensors::Dtype as StoredDtype;

/// The header's key for what is said of the file as a whole.
const METADATA: &str = "__metadata__";

/// A tensor as a header declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its element type, one of many more than can be averaged.
    pub dtype: StoredDtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Declared {
    /// Bytes of its elements.
    pub fn size(&self) -> usize {
        // Some types take less than a byte an element.
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// A file as it is laid out.
#[derive(Debug)]
pub struct FileLayout {
    /// The tensors with their elements, in the order in which they lie in the file.
    pub tensors: Vec<(Declared, Bytes)>,
    /// What the header says of the file as a whole.
    pub metadata: BTreeMap<String, String>,
}

/// How a `.safetensors` file is laid out; nothing is copied.
///
/// # Errors
/// As [`read`].
pub fn read_layout(path: &Path) -> Result<FileLayout> {
    let bytes = map::map_file(path)?;
    let (start, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| fault(path, &error.to_string()))?;
    // The length of the header stands before it, in eight bytes.
    let elements = bytes.slice(8 + start..);
    let tensor = |name: String| {
        let info = header.info(&name)?;
        let elements = elements.slice(info.data_offsets.0..info.data_offsets.1);
        let (dtype, shape) = (info.dtype, info.shape.clone());
        Some((Declared { name, dtype, shape }, elements))
    };
    let metadata = header.metadata().iter().flatten();
    Ok(FileLayout {
        tensors: header
            .offset_keys()
            .into_iter()
            .filter_map(tensor)
            .collect(),
        metadata: metadata.map(|(k, v)| (k.clone(), v.clone())).collect(),
    })
}

/// What a file begins with: all that stands before the elements of the tensors, which follow in
/// this order without gaps.
///
/// The same tensors and metadata always give the same bytes.
///
/// # Errors
/// When a name cannot be written.
pub fn header<'t>(
    tensors: impl IntoIterator<Item = &'t Declared>,
    metadata: &BTreeMap<String, String>,
) -> serde_json::Result<Vec<u8>> {
    let mut entries = BTreeMap::from([(METADATA, serde_json::to_value(metadata)?)]);
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.size();
        let info = TensorInfo {
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            data_offsets: (start, end),
        };
        entries.insert(&tensor.name, serde_json::to_value(info)?);
        start = end;
    }
    let mut json = serde_json::to_vec(&entries)?;
    // Elements begin at a multiple of eight bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    Ok(header)
}

/// The tensors of a `.safetensors` file, by name; nothing is copied.
///
/// # Errors
/// When the file is missing, truncated, or its header is not what the format asks for.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = map::map_file(path)?;
    tensors(&bytes).map_err(|problem| fault(path, &problem))
}

fn fault(path: &Path, problem: &str) -> Error {
    Error::input(path, format!("is not a whole .safetensors file: {problem}"))
        .help("was the copy or download cut short? compare its size with the original")
}

fn tensors(bytes: &Bytes) -> std::result::Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensor = |name: &str, view: safetensors::tensor::TensorView<'_>| {
        let tensor = Tensor {
            dtype: Dtype::from_safetensors(view.dtype()),
            shape: view.shape().to_vec(),
            bytes: bytes.slice_ref(view.data()),
        };
        (name.to_string(), tensor)
    };
    Ok(file.iter().map(|(name, view)| tensor(name, view)).collect())
}
