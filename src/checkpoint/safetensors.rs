//! The `.safetensors` format: reads files, and makes the header of a file to be written.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;

use super::tensor::{Dtype, Tensor};
use crate::base::map;
use crate::error::{Error, Result};

pub use safetensors::Dtype as StoredDtype;

/// Key of the header's metadata.
const METADATA: &str = "__metadata__";

/// A tensor as declared in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Name of the tensor.
    pub name: String,
    /// Element type; many of them cannot be averaged.
    pub dtype: StoredDtype,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
}

impl Declared {
    /// Size of the elements in bytes.
    pub fn size(&self) -> usize {
        // Some types take less than a byte per element.
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// The layout of a file.
#[derive(Debug)]
pub struct FileLayout {
    /// The tensors and their elements, in file order.
    pub tensors: Vec<(Declared, Bytes)>,
    /// The metadata of the header.
    pub metadata: BTreeMap<String, String>,
}

impl FileLayout {
    /// The layout of a file for tensors that were read from `path`: wide elements first, so that
    /// all are aligned to their width.
    ///
    /// # Errors
    /// When a tensor is of a type that is never written.
    pub fn of(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let declared = tensors.iter().map(|(name, tensor)| {
            let Some(dtype) = tensor.dtype.to_safetensors() else {
                let dtype = tensor.dtype.name();
                let problem = format!("holds `{name}` of type {dtype}, which is not written");
                return Err(Error::input(path, problem).help("an .onnx file needs no such tensors"));
            };
            let (name, shape) = (name.clone(), tensor.shape.clone());
            let declared = Declared { name, dtype, shape };
            Ok((declared, tensor.bytes.clone()))
        });
        let mut tensors: Vec<(Declared, Bytes)> = declared.collect::<Result<_>>()?;
        tensors.sort_by_key(|(declared, _)| Reverse(declared.dtype.bitsize()));
        Ok(Self {
            tensors,
            metadata: BTreeMap::new(),
        })
    }
}

/// Reads the layout of a `.safetensors` file without copying.
///
/// # Errors
/// When the file is missing, truncated, or its header is invalid.
pub fn read_layout(path: &Path) -> Result<FileLayout> {
    let bytes = map::map_file(path)?;
    let (start, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| fault(path, &error.to_string()))?;
    // The file begins with the length of the header, in eight bytes.
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

/// Makes the beginning of a file: everything before the elements of the tensors, which must follow
/// in this order without gaps.
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

/// Reads the tensors of a `.safetensors` file by name, without copying.
///
/// # Errors
/// When the file is missing, truncated, or its header is invalid.
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
