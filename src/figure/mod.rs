//! Figures, drawn from results alone.

pub mod plane;
