//! Models that are run as they are, to hold what is evaluated against their own files.

use std::path::Path;

use crate::error::Result;

/// A model to be run as it is.
pub enum OriginalModel<'a> {
    /// A file.
    File(&'a Path),
    /// An ONNX model that is written when its turn comes: it may be large.
    Generated(Box<dyn Fn() -> Result<Vec<u8>> + Sync + 'a>),
}
