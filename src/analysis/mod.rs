//! Analyses: which mixes to ask for, and how to arrange the answers.

pub mod adaptive;
pub mod arrows;
pub mod averages;
pub mod chance;
pub mod check;
pub mod correlation;
pub mod learned;
pub mod line;
pub mod origin;
pub mod pairs;
pub mod plane;
pub mod soup;
pub mod spectrum;
pub mod theory;
