//! The legend below a figure: rows of samples with their names.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, DrawResult, Size};
use super::marks::{self, Mark};
use super::text::{TEXT, width};

/// Width of lines, in the figure and in the legend.
pub const LINE_WIDTH: f64 = 4.0;

const ROW_HEIGHT: f64 = 64.0;
/// Length of a sample line.
const SAMPLE_WIDTH: f64 = 46.0;
/// Space between a sample and its name.
const NAME_GAP: f64 = 14.0;
/// Minimum space before the next entry.
const ENTRY_GAP: f64 = 50.0;

/// The sample of an entry.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// A line of this width.
    Line(RGBColor, f64),
    /// A filled area.
    Area(RGBColor),
    /// A marker.
    Mark(Mark),
    /// An arrow.
    Dart,
}

/// Rows of entries.
#[derive(Debug, Clone)]
pub struct Legend {
    /// Rows of samples with their names, from the top.
    pub rows: Vec<Vec<(Key, String)>>,
}

impl Legend {
    /// Breaks entries into as many rows as needed to stay within a width.
    pub fn wrapped(entries: Vec<(Key, String)>, width: f64) -> Self {
        let mut rows: Vec<Vec<(Key, String)>> = Vec::new();
        let mut free = 0.0;
        for entry in entries {
            let needed = entry_width(&entry.1);
            match rows.last_mut().filter(|_| needed - gap(&entry.1) <= free) {
                Some(row) => row.push(entry),
                None => {
                    rows.push(vec![entry]);
                    free = width;
                }
            }
            free -= needed;
        }
        Self { rows }
    }

    /// Width and height in layout pixels.
    pub fn size(&self) -> Size {
        let widths = self.rows.iter().map(|row| width_of(row));
        (
            widths.fold(0.0, f64::max),
            ROW_HEIGHT * self.rows.len() as f64,
        )
    }

    /// Draws the legend along the lower edge of a canvas of this size.
    pub fn draw<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        (width, height): (u32, u32),
    ) -> DrawResult<B> {
        let top = f64::from(height) - self.size().1;
        for (index, row) in self.rows.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * ROW_HEIGHT - 8.0;
            let mut x = (f64::from(width) - width_of(row)) / 2.0;
            for (key, label) in row {
                match key {
                    Key::Line(color, width) => {
                        canvas.line(&[(x, y), (x + SAMPLE_WIDTH, y)], *color, *width)?
                    }
                    Key::Area(color) => {
                        canvas.fill([(x, y - 12.0), (x + SAMPLE_WIDTH, y + 12.0)], *color)?
                    }
                    Key::Mark(mark) => mark.draw(canvas, (x + SAMPLE_WIDTH / 2.0, y))?,
                    Key::Dart => marks::dart(
                        canvas,
                        (x + SAMPLE_WIDTH / 2.0, y),
                        (0.8 * SAMPLE_WIDTH, 0.0),
                    )?,
                }
                canvas.write(label, (x + SAMPLE_WIDTH + NAME_GAP, y), TEXT, Anchor::Left)?;
                x += entry_width(label);
            }
        }
        Ok(())
    }
}

fn width_of(row: &[(Key, String)]) -> f64 {
    let widths = row.iter().map(|(_, label)| entry_width(label));
    widths.sum::<f64>() - row.last().map_or(0.0, |(_, label)| gap(label))
}

/// The space after a label; an SVG viewer may have a wider font.
fn gap(label: &str) -> f64 {
    ENTRY_GAP.max(0.2 * width(label, TEXT))
}

fn entry_width(label: &str) -> f64 {
    SAMPLE_WIDTH + NAME_GAP + width(label, TEXT) + gap(label)
}
