//! Reading data sets: what files written by NumPy give, and what unusable files are told.
//!
//! Fixtures and expected subsets are made by `tests/data/make.py`; in them x[i, j, k] is
//! 100 i + 10 j + k, of shape [3, 2, 2].
#![allow(clippy::unwrap_used)]

mod files;
mod read;
mod refused;
