//! Figures, drawn from results alone, so that each can be drawn again without a model.

mod contour;
mod field;
mod labels;
mod levels;
mod marks;
mod page;
pub mod panel;
pub mod plane;
mod theme;
mod view;
