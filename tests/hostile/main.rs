//! Inputs and machines that make a run fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod doors;
mod faults;
mod folder;
mod inputs;
mod odd;
