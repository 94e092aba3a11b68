//! Models that are run unchanged, so that mixes can be compared with their own files.

use crate::checkpoint::onnx::Model;
use crate::checkpoint::onnx::proto::ModelProto;

/// A model that is run unchanged.
pub enum OriginalModel<'a> {
    /// A file.
    File(&'a Model),
    /// A model that is generated only when it is run, because it may be large.
    Generated(Box<dyn Fn() -> ModelProto + Sync + 'a>),
}
