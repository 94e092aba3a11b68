//! Reads and rewrites networks.
//!
//! [`network`] tells where each tensor is used, [`record`] what the exporter did to it, [`align`]
//! how two graphs correspond, [`groups`] what each tensor is for, and [`suspect`] which parts of a
//! graph make its values doubtful.
//! Every change of a graph goes through [`editor`]: [`skeleton`] leaves the moving weights out,
//! [`unfold`] computes folded tensors from a state dict's, [`in_graph`] mixes them inside the graph,
//! [`loss_outputs`] adds the loss, [`split`] cuts off the frozen part, [`batch_statistics`] computes
//! what batch norm sees in training mode, and [`gradient`] writes the backward pass.

pub mod align;
mod anonymous;
pub mod apart;
pub mod batch_statistics;
pub mod build;
pub mod cast_like;
pub mod editor;
pub mod gradient;
pub mod groups;
pub mod in_graph;
mod lineage;
pub mod loss_outputs;
pub mod matrix;
pub mod names;
pub mod network;
pub mod random;
pub mod record;
pub mod skeleton;
pub mod split;
pub mod suspect;
pub mod unfold;
