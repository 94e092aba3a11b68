//! Figures, drawn from results only, so that each can be redrawn without a model.

mod axes;
pub mod canvas;
pub mod captions;
mod field;
#[cfg(test)]
mod fixtures;
mod heat;
pub mod layers;
pub mod learned;
mod legend;
pub mod line;
mod marks;
mod numbers;
mod off_axes;
pub mod pairs;
mod panel;
mod placed_labels;
pub mod plane;
pub mod plot;
mod refined_surface;
pub mod scatter;
mod sheet;
mod signed_scale;
pub mod soup;
pub mod spectrum;
mod text;
mod theme;
pub mod theory;
mod ticks;
