//! Analyses: which mixes to ask for, and how to arrange the answers.

pub mod check;
pub mod plane;
