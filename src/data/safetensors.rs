//! `.safetensors` data files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::SafeTensors;

use super::array::{Container, Layout, gather};
use crate::base::dtype::Dtype;
use crate::error::{Error, Result};

/// An open `.safetensors` file; arrays are not copied out of the file.
pub(super) struct SafetensorsFile {
    path: PathBuf,
    arrays: BTreeMap<String, (Layout, Bytes)>,
}

impl SafetensorsFile {
    /// Opens the file whose content is `bytes`; the library checks every shape and offset
    /// against the length of the file.
    ///
    /// # Errors
    /// When the header cannot be read or does not cover the file exactly.
    pub(super) fn open(path: &Path, bytes: &Bytes) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| {
            Error::input(path, format!("is no readable .safetensors file: {error}"))
                .help("it may have been cut off while it was copied or written")
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

    fn find(&self, name: &str) -> Result<&(Layout, Bytes)> {
        let found = self.arrays.get(name);
        found.ok_or_else(|| Error::input(&self.path, format!("holds no array `{name}`")))
    }
}

impl Container for SafetensorsFile {
    fn names(&self) -> Vec<String> {
        self.arrays.keys().cloned().collect()
    }

    fn layout(&mut self, name: &str) -> Result<Layout> {
        Ok(self.find(name)?.0.clone())
    }

    fn read(&mut self, name: &str, rows: Option<&[usize]>) -> Result<Bytes> {
        let (layout, data) = self.find(name)?;
        Ok(match rows {
            None => data.clone(),
            Some(rows) => {
                let n = layout.shape.first().copied().unwrap_or(1).max(1);
                gather(data, data.len() / n, rows)
            }
        })
    }
}

fn element(stored: safetensors::Dtype) -> std::result::Result<Dtype, String> {
    match Dtype::from_safetensors(stored) {
        Dtype::Other(_) => Err(format!("{stored:?}")),
        dtype => Ok(dtype),
    }
}
