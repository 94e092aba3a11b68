//! Results as plain data: analyses return them and figures read them.
//!
//! Each result is a folder: its types, and in `file` how they are written to CSV and JSON and read
//! back. The only computations here are those that figures and analyses must agree on: which
//! surfaces of a plane are shown ([`panels`]) and where their contours lie ([`contour_levels`]).

pub mod calibration;
pub mod check;
pub mod combine;
pub mod comparison;
pub mod contour_levels;
pub mod grid;
pub mod kind;
pub mod learned;
pub mod line;
pub mod loss;
pub mod method;
pub mod models;
pub mod pairs;
pub mod panels;
pub mod plane;
pub mod provenance;
pub mod score;
pub mod soup;
pub mod spectrum;
pub mod table;

#[cfg(test)]
mod tests;
