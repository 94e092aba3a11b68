//! Models that are run unchanged, so that mixes can be compared with their own files.

use std::path::Path;

use crate::error::Result;

/// A model that is run unchanged.
pub enum OriginalModel<'a> {
    /// A file.
    File(&'a Path),
    /// An ONNX model that is generated only when it is run, because it may be large.
    Generated(Box<dyn Fn() -> Result<Vec<u8>> + Sync + 'a>),
}
