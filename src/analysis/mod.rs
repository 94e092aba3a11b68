//! Analyses: they choose the mixes to evaluate and arrange the scores into results.

pub mod adaptive;
pub mod arrows;
pub mod averages;
pub mod calibration;
pub mod chance;
pub mod common_start;
pub mod comparison;
pub mod correlation;
pub mod diversity;
pub mod greedy;
pub mod inference;
pub mod learned;
pub mod line;
pub mod lowest;
pub mod origin;
pub mod pairs;
pub mod plane;
mod quantities;
pub mod recipe;
pub mod resample;
pub mod self_check;
pub mod soup;
pub mod spectrum;
#[cfg(test)]
mod testing;
pub mod theory;
pub mod twins;
