//! Data sets in `.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::{Dtype, SafeTensors};

use super::array::{Container, Element, Layout, gather};
use crate::checkpoint::file;
use crate::error::{Error, Result};

/// An opened file.
pub(super) struct Tensors {
    path: PathBuf,
    arrays: BTreeMap<String, (Layout, Bytes)>,
}

impl Tensors {
    /// Opens a file and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let bytes = file::map(path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| {
            Error::input(path, format!("is not a whole .safetensors file: {error}"))
                .help("was the copy or download cut short?")
        })?;
        let arrays = file.iter().map(|(name, view)| {
            let layout = Layout {
                element: element(view.dtype()),
                shape: view.shape().to_vec(),
            };
            (name.to_string(), (layout, bytes.slice_ref(view.data())))
        });
        Ok(Self {
            path: path.to_path_buf(),
            arrays: arrays.collect(),
        })
    }

    fn array(&self, name: &str) -> Result<&(Layout, Bytes)> {
        let missing = || Error::input(&self.path, format!("has no array `{name}`"));
        self.arrays.get(name).ok_or_else(missing)
    }
}

impl Container for Tensors {
    fn names(&self) -> Vec<String> {
        self.arrays.keys().cloned().collect()
    }

    fn layout(&mut self, name: &str) -> Result<Layout> {
        Ok(self.array(name)?.0.clone())
    }

    fn read(&mut self, name: &str, rows: Option<&[usize]>) -> Result<Bytes> {
        let (layout, bytes) = self.array(name)?;
        let size = match &layout.element {
            Ok(element) => element.size(),
            Err(kind) => {
                let problem = format!("array `{name}` holds {kind}, which cannot be read");
                return Err(Error::input(&self.path, problem));
            }
        };
        Ok(match rows {
            None => bytes.clone(),
            Some(rows) => gather(
                bytes,
                layout.shape[1..].iter().product::<usize>() * size,
                rows,
            ),
        })
    }
}

fn element(dtype: Dtype) -> std::result::Result<Element, String> {
    Ok(match dtype {
        Dtype::U8 => Element::U8,
        Dtype::I8 => Element::I8,
        Dtype::U16 => Element::U16,
        Dtype::I16 => Element::I16,
        Dtype::U32 => Element::U32,
        Dtype::I32 => Element::I32,
        Dtype::U64 => Element::U64,
        Dtype::I64 => Element::I64,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::BOOL => Element::Bool,
        other => return Err(format!("elements of type {other:?}")),
    })
}
