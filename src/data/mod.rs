//! Reading data sets: `.npz` and `.safetensors` files with `labels` and one array per model
//! input, matched by the graph's input names.
//!
//! A [`Dataset`] holds its samples as the file stores them (images stay `u8`) and converts a
//! batch at a time into buffers the caller owns. What is refused, and why:
//!
//! - `u8` data for a floating-point input without `[preprocess]`: guessing a scale would give
//!   plausible but false numbers. Floating-point data is taken as already preprocessed, and told
//!   where its range says otherwise.
//! - Integers for a floating-point input and floats for an integer input: one of the two is a
//!   mistake. Integers for an integer input pass unchanged, if every value fits.
//! - Labels that are not integers.
//!
//! The zip checksums of an `.npz` file are verified for every array that is used; a
//! `.safetensors` file has none, so only damage to its header can be seen.

mod array;
mod as_it_is;
mod dataset;
mod fill;
mod labels;
mod npy;
mod npz;
mod preprocess;
mod safetensors;
mod spec;
mod subset;

pub use dataset::{Dataset, ReadOptions, Source};
pub use fill::BatchMut;
pub use preprocess::Preprocess;
pub use spec::{InputDtype, InputSpec};
