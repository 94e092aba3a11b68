//! Inputs and machines that make a run fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod doors;
mod faults;
mod folder;
mod inputs;
mod odd;
