//! Reading and rewriting networks: where tensors are used, how two graphs correspond, and the
//! skeleton whose weights are handed over from memory.

pub mod align;
pub mod build;
pub mod casts;
pub mod epilogue;
pub mod gradient;
pub mod in_graph;
pub mod network;
pub mod record;
pub mod skeleton;
pub mod split;
pub mod suspect;
