//! Reads data sets: `.npz` and `.safetensors` files with `labels` and one array per model input,
//! matched by the graph's input names.
//!
//! A [`Dataset`] holds its samples as stored in the file (images stay `u8`) and converts a batch at
//! a time into buffers the caller owns. It refuses:
//!
//! - `u8` data for a floating-point input without `[preprocess]`: guessing a scale would give
//!   plausible but wrong numbers. Floating-point data is assumed to be preprocessed, with a warning
//!   if its range says otherwise.
//! - Integers for a floating-point input and floats for an integer input: one of the two is a
//!   mistake. Integers for an integer input pass unchanged, if every value fits.
//! - Labels that are not integers.
//!
//! The zip checksums of an `.npz` file are verified for every array that is used. A `.safetensors`
//! file has no checksums, so only damage to its header can be detected.

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
