//! One pair of axes: the map from data to the canvas, with one scale for both axes or one each.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, DrawResult, Pixel, Size};
use super::text::{SMALL, TEXT, TITLE};
use super::theme;
use super::ticks::{Interval, Ticks, ticks, ticks_width};
use crate::result::grid::Grid;

/// Minimum length of an axis, so that the number of pixels per unit stays finite.
const SHORTEST_AXIS: f64 = 1e-200;

/// A data point: its x and y values.
pub type Xy = (f64, f64);

/// Axes on the canvas.
pub struct Axes {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Pixels per unit of the data, horizontally and vertically.
    pub scale: [f64; 2],
    /// Ends of the x axis.
    pub x: Interval,
    /// Ends of the y axis.
    pub y: Interval,
}

impl Axes {
    /// Axes that show a grid in a square of `side` pixels.
    pub fn of(grid: &Grid, (left, top): Pixel, side: f64) -> Self {
        let ends = |axis: &[f64]| (axis[0], axis[axis.len() - 1]);
        let (x, y) = (ends(&grid.xs), ends(&grid.ys));
        Self {
            left,
            top,
            scale: [side / (x.1 - x.0).max(y.1 - y.0).max(SHORTEST_AXIS); 2],
            x,
            y,
        }
    }

    /// Axes that fill a rectangle, each with its own scale.
    pub fn filling(x: Interval, y: Interval, (left, top): Pixel, size: Size) -> Self {
        Self {
            left,
            top,
            scale: [
                size.0 / (x.1 - x.0).max(SHORTEST_AXIS),
                size.1 / (y.1 - y.0).max(SHORTEST_AXIS),
            ],
            x,
            y,
        }
    }

    /// Lower edge.
    pub fn bottom(&self) -> f64 {
        self.top + (self.y.1 - self.y.0) * self.scale[1]
    }

    /// Right edge.
    pub fn right(&self) -> f64 {
        self.left + (self.x.1 - self.x.0) * self.scale[0]
    }

    /// Width and height.
    pub fn lengths(&self) -> [f64; 2] {
        [self.right() - self.left, self.bottom() - self.top]
    }

    /// Upper left and lower right corner.
    pub fn corners(&self) -> [Pixel; 2] {
        [(self.left, self.top), (self.right(), self.bottom())]
    }

    /// The pixel of a data point.
    pub fn place(&self, (x, y): Xy) -> Pixel {
        let across = self.left + (x - self.x.0) * self.scale[0];
        (across, self.bottom() - (y - self.y.0) * self.scale[1])
    }

    /// The pixels of a line's points.
    pub fn places(&self, path: &[Xy]) -> Vec<Pixel> {
        path.iter().map(|point| self.place(*point)).collect()
    }

    /// Whether a data point lies within the axes.
    pub fn holds(&self, (x, y): Xy) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    /// The part of a line between two data points that lies within the axes.
    pub fn clip(&self, [from, to]: [Xy; 2]) -> Option<[Xy; 2]> {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        if !(dx.is_finite() && dy.is_finite()) {
            return None;
        }
        let (mut start, mut end) = (0.0_f64, 1.0_f64);
        for (step, low, high) in [
            (dx, self.x.0 - from.0, self.x.1 - from.0),
            (dy, self.y.0 - from.1, self.y.1 - from.1),
        ] {
            if step == 0.0 {
                if low > 0.0 || high < 0.0 {
                    return None;
                }
                continue;
            }
            let (a, b) = (low / step, high / step);
            start = start.max(a.min(b));
            end = end.min(a.max(b));
        }
        let at = |t: f64| (from.0 + t * dx, from.1 + t * dy);
        (start < end).then(|| [at(start), at(end)])
    }

    /// Draws the frame, its title, the names of the axes and ticks at round values.
    pub fn frame<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        title: &str,
        names: [&str; 2],
    ) -> DrawResult<B> {
        self.frame_with(canvas, title, names, &[ticks(self.x), ticks(self.y)])
    }

    /// Draws the frame with these ticks along x and y.
    pub fn frame_with<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        title: &str,
        names: [&str; 2],
        [across, up]: &[Ticks; 2],
    ) -> DrawResult<B> {
        canvas.outline(self.corners(), 2.0)?;
        let middle = f64::midpoint(self.left, self.right());
        canvas.write(title, (middle, self.top - 30.0), TITLE, Anchor::Middle)?;
        let below = (middle, self.bottom() + 56.0);
        canvas.write(names[0], below, TEXT, Anchor::Top)?;
        let beside = (
            self.left - 44.0 - ticks_width(up),
            f64::midpoint(self.top, self.bottom()),
        );
        canvas.write(names[1], beside, TEXT, Anchor::Upwards)?;
        for (value, label) in across {
            let (x, y) = self.place((*value, self.y.0));
            canvas.line(&[(x, y), (x, y + 8.0)], theme::INK, 2.0)?;
            canvas.write(label, (x, y + 16.0), SMALL, Anchor::Top)?;
        }
        for (value, label) in up {
            let (x, y) = self.place((self.x.0, *value));
            canvas.line(&[(x - 8.0, y), (x, y)], theme::INK, 2.0)?;
            canvas.write(label, (x - 14.0, y), SMALL, Anchor::Right)?;
        }
        Ok(())
    }
}

/// The smallest and the largest of the finite values.
pub fn extent(values: impl Iterator<Item = f64>) -> Option<Interval> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |range, value| {
        let (min, max) = range.unwrap_or((value, value));
        Some((min.min(value), max.max(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_frame() {
        let axes = Axes::filling((0.0, 10.0), (0.0, 10.0), (0.0, 0.0), (600.0, 600.0));
        let cut = |from, to| axes.clip([from, to]);
        assert_eq!(cut((1.0, 1.0), (2.0, 3.0)), Some([(1.0, 1.0), (2.0, 3.0)]));
        assert_eq!(
            cut((-5.0, 5.0), (15.0, 5.0)),
            Some([(0.0, 5.0), (10.0, 5.0)])
        );
        assert_eq!(
            cut((5.0, 5.0), (25.0, 25.0)),
            Some([(5.0, 5.0), (10.0, 10.0)])
        );
        assert_eq!(cut((-1.0, 5.0), (-2.0, 6.0)), None);
        assert_eq!(cut((-1.0, 9.5), (1.0, 11.5)), None);
        assert_eq!(cut((f64::NAN, 5.0), (2.0, 6.0)), None);
    }
}
