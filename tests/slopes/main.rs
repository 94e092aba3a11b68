//! Slopes and curvature from the command line: `plane --arrows`, learned soups, `spectrum`. Most run
//! on a network so small that its files are written here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arrows;
#[path = "../common/mod.rs"]
mod common;
mod half;
mod learned;
mod refused;
mod spectrum;
