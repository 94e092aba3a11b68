//! Plain documented results: what analyses hand over and figures read.
//!
//! Nothing here computes. Each result is a folder: its types, and in `file` how they are written
//! to CSV and JSON and read back.

pub mod check;
pub mod grid;
pub mod learned;
pub mod line;
pub mod method;
pub mod models;
pub mod pairs;
pub mod plane;
pub mod provenance;
pub mod score;
pub mod soup;
pub mod spectrum;
pub mod table;

#[cfg(test)]
mod tests;
