//! Analyses: which mixes to ask for, and how to arrange the answers.

pub mod adaptive;
pub mod check;
pub mod line;
pub mod plane;
pub mod soup;
