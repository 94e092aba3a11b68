//! Checkpoint files as people have them: each is read, or told for what it is.
//!
//! `tests/oracle/checkpoints.py` wrote the files with PyTorch, and what PyTorch reads from them.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod folders;
mod hostile;
mod pickles;
mod read;
mod run;
mod told;
