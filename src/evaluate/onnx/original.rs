//! Models that are run unchanged, so that mixes can be compared with their own files.

use crate::checkpoint::onnx::Model;
use crate::checkpoint::onnx::proto::ModelProto;
use crate::space::mix::Mix;

/// Writes a mix as an ONNX model.
pub type Write<'a> = dyn Fn(&Mix) -> ModelProto + Sync + 'a;

/// A model that is run unchanged.
pub enum OriginalModel<'a> {
    /// A file.
    File(&'a Model),
    /// A mix as an ONNX model, which is written only when it is run, because it may be large. The
    /// mix is passed with its statistics, if they are re-estimated.
    Generated(Mix, Box<Write<'a>>),
}
