//! Plain documented results: what analyses hand over and figures read.
//!
//! Nothing here computes but what figures and analyses must agree on: which surfaces of a plane
//! are shown ([`panels`]) and where their contours stand ([`contour_levels`]). [`plane_file`] writes a plane to CSV and JSON and reads it back.

pub mod contour_levels;
pub mod grid;
pub mod learned;
pub mod line;
pub mod models;
pub mod pairs;
pub mod pairs_file;
pub mod panels;
pub mod plane;
pub mod plane_file;
pub mod provenance;
pub mod score;
pub mod soup;
pub mod soup_file;
pub mod spectrum;
pub mod spectrum_file;
