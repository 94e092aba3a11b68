//! Figures, drawn from results alone, so that each can be drawn again without a model.

mod contour;
mod levels;
mod marks;
pub mod plane;
mod theme;
