//! Slopes and curvature from the command line: `plane --arrows`, learned soups, `spectrum`. Most run
//! on a network so small that its files are written here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arrows;
mod half;
mod learned;
mod refused;
mod small;
mod spectrum;
