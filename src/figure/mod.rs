//! Figures, drawn from results alone, so that each can be drawn again without a model.

mod contour;
mod field;
mod heat;
mod labels;
pub mod layers;
pub mod learned;
mod legend;
pub mod line;
mod marks;
mod numbers;
mod outside;
pub mod page;
pub mod pairs;
mod panel;
pub mod plane;
pub mod plot;
#[cfg(test)]
mod samples;
pub mod scatter;
mod sheet;
pub mod soup;
pub mod spectrum;
mod symlog;
mod text;
mod theme;
pub mod theory;
mod ticks;
mod view;
