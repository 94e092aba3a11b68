//! The space that the checkpoints span.
//!
//! [`matching`] finds each checkpoint's tensors and makes a [`pool`] of models over the same
//! parameters. [`gram`] and [`plane`] are its geometry, a [`mix`] is a model in it, and [`save`]
//! writes a mix to a file. [`adapter`] makes a checkpoint of a base and changes to it. [`statistics`]
//! says what becomes of batch norm's running statistics, and [`log_variance`] how their variances
//! are mixed outside the hull. [`rounding`] says what 16-bit files do to norms and angles. Only [`decode`] reads elements.

pub mod adapter;
pub mod decode;
pub mod gram;
pub mod log_variance;
pub mod matching;
pub mod mix;
pub mod plane;
pub mod pool;
pub mod rounding;
pub mod save;
pub mod slope;
pub mod statistics;
pub mod stored_tensor;
#[cfg(test)]
pub mod testing;
pub mod variance;
