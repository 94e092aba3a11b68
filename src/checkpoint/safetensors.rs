//! Reading `.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use safetensors::{Dtype as StoredDtype, SafeTensors};

use super::file;
use super::tensor::{Dtype, Tensor};
use crate::error::{Error, Result};

/// The tensors of a `.safetensors` file, by name; nothing is copied.
///
/// # Errors
/// When the file is missing, truncated, or its header is not what the format asks for.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = file::map(path)?;
    tensors(&bytes).map_err(|problem| {
        Error::input(path, format!("is not a whole .safetensors file: {problem}"))
            .help("was the copy or download cut short? compare its size with the original")
    })
}

fn tensors(bytes: &Bytes) -> std::result::Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensor = |name: &str, view: safetensors::tensor::TensorView<'_>| {
        let tensor = Tensor {
            dtype: dtype(view.dtype()),
            shape: view.shape().to_vec(),
            bytes: bytes.slice_ref(view.data()),
        };
        (name.to_string(), tensor)
    };
    Ok(file.iter().map(|(name, view)| tensor(name, view)).collect())
}

fn dtype(dtype: StoredDtype) -> Dtype {
    match dtype {
        StoredDtype::F32 => Dtype::F32,
        StoredDtype::F16 => Dtype::F16,
        StoredDtype::BF16 => Dtype::Bf16,
        StoredDtype::F64 => Dtype::F64,
        StoredDtype::I64 => Dtype::Other("i64"),
        StoredDtype::I32 => Dtype::Other("i32"),
        StoredDtype::I16 => Dtype::Other("i16"),
        StoredDtype::I8 => Dtype::Other("i8"),
        StoredDtype::U64 => Dtype::Other("u64"),
        StoredDtype::U32 => Dtype::Other("u32"),
        StoredDtype::U16 => Dtype::Other("u16"),
        StoredDtype::U8 => Dtype::Other("u8"),
        StoredDtype::BOOL => Dtype::Other("bool"),
        StoredDtype::F8_E4M3 | StoredDtype::F8_E5M2 => Dtype::Other("f8"),
        _ => Dtype::Other("unknown"),
    }
}
