//! The space the checkpoints span: the pool, its geometry, and mixes of its members, also as
//! files.

pub mod decode;
pub mod gram;
pub mod matching;
pub mod mix;
pub mod plane;
pub mod pool;
pub mod save;
pub mod slope;
pub mod stored_tensor;
#[cfg(test)]
pub mod testing;
pub mod variance;
