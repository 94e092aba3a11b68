//! The space the checkpoints span: the pool, its geometry, and mixes of its members.

pub mod pool;
