//! Figures, drawn from results alone, so that each can be drawn again without a model.

mod axes;
mod contour;
mod field;
mod labels;
mod legend;
mod levels;
pub mod line;
mod marks;
mod outside;
pub mod page;
pub mod panel;
pub mod plane;
pub mod scatter;
mod theme;
mod view;
