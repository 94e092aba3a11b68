//! The loss surface between fine-tuned checkpoints.
//!
//! Every model here is a *mix*: θ(c) = Σᵢ cᵢ θᵢ over an initialization θ0 and checkpoints
//! fine-tuned from it, with coefficients that sum to 1.
//!
//! The modules below stand in the order of their layers, parted by blank lines. A module uses only
//! modules of the layers above it in this list, and none beside it in its own; a test reads the
//! list and holds all code to it.

pub mod error;

pub mod base;

pub mod result;

pub mod checkpoint;
pub mod data;

pub mod graph;

pub mod space;

pub mod evaluate;

pub mod analysis;

pub mod experiment;
pub mod figure;

pub mod cli;
