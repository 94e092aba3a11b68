//! The layout of a figure: panels in rows and columns, lines of text below them, and a legend at
//! the lower edge.
//!
//! Lengths are in layout pixels.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, DrawResult, Pixel, Size};
use super::legend::Legend;
use super::text::{SMALL, wrapped};

/// Maximum number of panels per row, unless a figure wants fewer.
pub const COLUMNS: usize = 3;

/// Height of a line of text.
const CAPTION_HEIGHT: f64 = 44.0;

/// Free space at the left and right edge of the sheet, beside texts and legends.
const EDGE: f64 = 20.0;

/// Space around the axes of each panel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margins {
    /// Space for the numbers of the y axis and its name.
    pub left: f64,
    /// Space for half a number of the x axis, or for a colour bar.
    pub right: f64,
    /// Space for a title.
    pub top: f64,
    /// Space for the numbers of the x axis and its name.
    pub bottom: f64,
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            left: 150.0,
            right: 40.0,
            top: 72.0,
            bottom: 112.0,
        }
    }
}

/// Panels in rows and columns, all of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PanelGrid {
    /// Number of panels.
    pub panels: usize,
    /// Maximum number of panels per row.
    pub columns: usize,
    /// Width and height of a panel's axes.
    pub axes: Size,
    /// Space around the axes.
    pub margins: Margins,
}

impl PanelGrid {
    fn columns(&self) -> usize {
        self.panels.clamp(1, self.columns.max(1))
    }

    fn rows(&self) -> usize {
        self.panels.div_ceil(self.columns()).max(1)
    }

    /// Width and height of a panel with its margins.
    fn cell(&self) -> Size {
        let Margins {
            left,
            right,
            top,
            bottom,
        } = self.margins;
        (left + self.axes.0 + right, top + self.axes.1 + bottom)
    }

    /// The total width of the panels.
    pub fn width(&self) -> f64 {
        self.columns() as f64 * self.cell().0
    }

    /// The maximum width of texts and legends below the panels.
    pub fn text_width(&self) -> f64 {
        self.width() - 2.0 * EDGE
    }
}

/// The positions of panels, captions and legend.
pub struct Sheet {
    grid: PanelGrid,
    /// Lines of text between the panels and the legend.
    captions: Vec<String>,
    legend: Legend,
}

impl Sheet {
    /// A sheet without captions.
    pub fn new(grid: PanelGrid, legend: Legend) -> Self {
        Self {
            grid,
            captions: Vec::new(),
            legend,
        }
    }

    /// Adds captions; those that are too long are broken between words.
    #[must_use]
    pub fn captioned(mut self, captions: &[String]) -> Self {
        let width = self.grid.text_width();
        let lines = captions.iter().flat_map(|text| wrapped(text, width));
        self.captions = lines.collect();
        self
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        let (wide, tall) = self.legend.size();
        let width = self.grid.width().max(wide + 2.0 * EDGE);
        let panels = self.grid.rows() as f64 * self.grid.cell().1;
        let height = panels + CAPTION_HEIGHT * self.captions.len() as f64 + tall;
        (width.ceil() as u32, height.ceil() as u32)
    }

    /// The upper left corner of a panel's axes. Panels are placed row by row, and centred if the
    /// legend is wider.
    pub fn corner(&self, panel: usize) -> Pixel {
        let PanelGrid { margins, .. } = self.grid;
        let columns = self.grid.columns();
        let (column, row) = ((panel % columns) as f64, (panel / columns) as f64);
        let (wide, tall) = self.grid.cell();
        let spare = (f64::from(self.size().0) - self.grid.width()) / 2.0;
        (
            spare + column * wide + margins.left,
            row * tall + margins.top,
        )
    }

    /// Draws the captions and the legend.
    ///
    /// # Errors
    /// Fails when the canvas fails.
    pub fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let (wide, tall) = self.size();
        let lines = self.captions.len() as f64;
        let top = f64::from(tall) - self.legend.size().1 - CAPTION_HEIGHT * lines;
        for (index, line) in self.captions.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * CAPTION_HEIGHT - 8.0;
            // Captions contain names, in which `_1` is not a subscript.
            canvas.word(line, (f64::from(wide) / 2.0, y), SMALL, Anchor::Middle)?;
        }
        self.legend.draw(canvas, (wide, tall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::legend::Key;

    fn sheet(panels: usize, label: &str) -> Sheet {
        let grid = PanelGrid {
            panels,
            columns: 3,
            axes: (500.0, 400.0),
            margins: Margins::default(),
        };
        let legend = Legend {
            rows: vec![vec![(Key::Dart, label.to_string())]],
        };
        Sheet::new(grid, legend)
    }

    #[test]
    fn panels_stand_row_by_row_and_the_sheet_grows_with_its_captions() {
        let four = sheet(4, "a");
        assert_eq!(four.size(), (2070, 1232));
        let corners = [0, 1, 3].map(|panel| four.corner(panel));
        assert_eq!(corners, [(150.0, 72.0), (840.0, 72.0), (150.0, 656.0)]);
        let captions = ["one".to_string(), "word ".repeat(25)];
        let tall = sheet(1, "a").captioned(&captions).size().1;
        assert!(tall >= 648 + 3 * CAPTION_HEIGHT as u32, "{tall}");
    }

    #[test]
    fn a_legend_wider_than_the_panels_leaves_them_in_the_middle() {
        let wide = sheet(1, &"word ".repeat(20));
        let (width, _) = wide.size();
        assert!(width > 690);
        let (left, _) = wide.corner(0);
        assert_eq!(left - 150.0, (f64::from(width) - 690.0) / 2.0);
    }
}
