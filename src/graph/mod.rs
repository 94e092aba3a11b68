//! Reading and rewriting networks: where tensors are used, how two graphs correspond, and the
//! skeleton whose weights are handed over from memory.

pub mod align;
pub mod build;
pub mod cast_like;
pub mod editor;
pub mod gradient;
pub mod in_graph;
pub mod loss_outputs;
pub mod names;
pub mod network;
pub mod random;
pub mod record;
pub mod skeleton;
pub mod split;
pub mod suspect;
