//! The content of one pair of axes: lines through points, and points in one style.

use plotters::prelude::*;

use super::axes::{Axes, Xy, extent};
use super::canvas::{Pixel, Size};
use super::legend::LINE_WIDTH;
use super::marks::Mark;
use super::ticks::{AxisScale, Interval, Ticks, spaced};

/// One pair of axes.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// The title above the axes; may be empty.
    pub title: String,
    /// Names of the x and the y axis.
    pub names: [String; 2],
    /// The scale of both axes.
    pub scale: AxisScale,
    /// Whether to draw the line y = x; both axes then have one range.
    pub diagonal: bool,
    /// Whether to draw the lines x = 0 and y = 0.
    pub zero: [bool; 2],
    /// The ranges of x and y that the axes show; `None` for all points. Points beyond are drawn at
    /// the frame.
    pub window: Option<[Interval; 2]>,
    /// Lines through points, drawn below the series.
    pub paths: Vec<Path>,
    /// Series of points, the last one on top.
    pub series: Vec<Series>,
}

/// A line through points.
#[derive(Debug, Clone)]
pub struct Path {
    /// The name in the legend.
    pub name: String,
    /// The colour.
    pub color: RGBColor,
    /// How it is drawn.
    pub style: PathStyle,
    /// The points, in order.
    pub points: Vec<Xy>,
}

/// How a path is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStyle {
    /// A line with a marker at each point. A caption counts the points beyond the axes.
    Marked,
    /// A line.
    Plain,
    /// A thin line.
    Thin,
}

impl PathStyle {
    /// The line's width, in the legend, too.
    pub fn width(self) -> f64 {
        match self {
            Self::Marked | Self::Plain => LINE_WIDTH,
            Self::Thin => LINE_WIDTH / 2.0,
        }
    }
}

/// Points in one style.
#[derive(Debug, Clone)]
pub struct Series {
    /// The name in the legend; not listed if empty.
    pub name: String,
    /// The marker.
    pub mark: Mark,
    /// The points.
    pub points: Vec<Point>,
}

/// A point.
#[derive(Debug, Clone)]
pub struct Point {
    /// The label written beside it if it lies beyond the axes; may be empty.
    pub name: String,
    /// The values.
    pub at: Xy,
    /// Their standard errors, drawn as bars of this length on each side; 0 or NaN draws none.
    pub errors: Xy,
}

impl From<Xy> for Point {
    fn from(at: Xy) -> Self {
        Self {
            name: String::new(),
            at,
            errors: (0.0, 0.0),
        }
    }
}

impl Plot {
    /// The position of a point on the axes.
    pub fn on_axes(&self, (x, y): Xy) -> Xy {
        (self.scale.at(x), self.scale.at(y))
    }

    /// The axes with this upper left corner, width and height.
    pub fn axes(&self, corner: Pixel, size: Size) -> Axes {
        let [mut x, mut y] = self.shown();
        if self.diagonal {
            let both = extent([x, y].into_iter().flatten().flat_map(|(a, b)| [a, b]));
            (x, y) = (both, both);
        }
        let around = |range| self.scale.around(range);
        Axes::filling(around(x), around(y), corner, size)
    }

    /// The ranges that the axes must show; `None` without points.
    fn shown(&self) -> [Option<Interval>; 2] {
        let paths = self.paths.iter().flat_map(|path| &path.points);
        let series = self.series.iter().flat_map(|series| &series.points);
        let places: Vec<Xy> = paths
            .copied()
            .chain(series.map(|point| point.at))
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|point| self.on_axes(point))
            .collect();
        let of = |axis: usize| {
            let coordinate = |place: &Xy| if axis == 0 { place.0 } else { place.1 };
            let zero = self.zero[axis].then_some(0.0);
            match self.window {
                Some(window) => {
                    let range = window[axis];
                    let ends = [range.0, range.1].map(|end| self.scale.at(end));
                    extent(ends.into_iter().chain(zero))
                }
                None => extent(places.iter().map(coordinate).chain(zero)),
            }
        };
        [of(0), of(1)]
    }

    /// The ticks of the two axes, as many as have room for their numbers.
    pub fn ticks(&self, axes: &Axes) -> [Ticks; 2] {
        let [wide, tall] = axes.lengths();
        let across = self.scale.ticks(axes.x, wide);
        [
            spaced(across, axes.scale[0]),
            self.scale.ticks(axes.y, tall),
        ]
    }
}
