//! The markers of models, outlined so that they stand out on any colour.

use plotters::prelude::*;

use super::canvas::{Canvas, DrawResult, Pixel};
use super::theme;

/// Approximate half-width of a marker.
pub const SIZE: f64 = 12.0;

/// The object that a marker represents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mark {
    /// θ0.
    Origin,
    /// θ1.
    First,
    /// θ2.
    Second,
    /// The soup of two models.
    Soup,
    /// The smallest value of the panel's grid.
    Minimum,
    /// A checkpoint between θ1 and θ2 on a path.
    Via,
    /// Anything else, identified by its style.
    Dot(Dot),
}

/// The style of a marker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dot {
    /// The outline.
    pub shape: DotShape,
    /// The fill colour, or the line colour of an open marker.
    pub color: RGBColor,
    /// Approximate half-width in layout pixels.
    pub size: f64,
    /// Whether only the outline is drawn, so that things below stay visible.
    pub open: bool,
}

/// The outlines of markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum DotShape {
    Circle,
    Square,
    Diamond,
    Hexagon,
    Star,
    Up,
    Down,
    Cross,
    Plus,
    Spark,
}

impl DotShape {
    fn points(self) -> Vec<Pixel> {
        match self {
            Self::Circle => circle(),
            Self::Square => square(),
            Self::Diamond => polygon(4, 1.0),
            Self::Hexagon => polygon(6, 1.0),
            Self::Star => star(),
            Self::Up => polygon(3, 1.1),
            Self::Down => polygon(3, -1.1),
            Self::Cross => cross(),
            Self::Plus => turned(&cross()),
            Self::Spark => pointed(4, 1.3, 0.42),
        }
    }
}

impl Dot {
    /// A filled marker.
    pub fn new(shape: DotShape, color: RGBColor, size: f64) -> Self {
        Self {
            shape,
            color,
            size,
            open: false,
        }
    }

    fn draw<B: DrawingBackend>(self, canvas: &Canvas<'_, B>, at: Pixel) -> DrawResult<B> {
        // A light rim separates markers that touch; a crowd of small ones would only be darkened by
        // it.
        const RIM: f64 = 2.0;
        const SMALL: f64 = 8.0;
        const LINE: f64 = 4.0;
        let points = self.shape.points();
        let ring = |size: f64| {
            let place = |(x, y): &Pixel| (at.0 + x * size, at.1 + y * size);
            points.iter().map(place).collect::<Vec<_>>()
        };
        if self.open {
            return canvas.polygon(&frame(ring(self.size), ring(self.size - LINE)), self.color);
        }
        if self.shape == DotShape::Circle && self.size < SMALL {
            return canvas.disc(at, self.size, self.color);
        }
        canvas.polygon(&ring(self.size + RIM), WHITE)?;
        canvas.polygon(&ring(self.size), self.color)
    }
}

/// One polygon that covers the area between two outlines.
fn frame(outer: Vec<Pixel>, inner: Vec<Pixel>) -> Vec<Pixel> {
    let close = |ring: &[Pixel]| ring.first().copied();
    let (first, last) = (close(&outer), close(&inner));
    let back = last.into_iter().chain(inner.into_iter().rev());
    outer.into_iter().chain(first).chain(back).collect()
}

impl Mark {
    /// The approximate half-width in layout pixels.
    pub fn half(self) -> f64 {
        match self {
            Self::Dot(dot) if matches!(dot.shape, DotShape::Star | DotShape::Spark) => {
                1.35 * dot.size
            }
            Self::Dot(dot) => dot.size,
            _ => 1.6 * SIZE,
        }
    }

    /// The marker's main colour.
    pub fn color(self) -> RGBColor {
        match self {
            Self::Origin | Self::Minimum | Self::Via => theme::INK,
            Self::First => theme::FIRST,
            Self::Second => theme::SECOND,
            Self::Soup => theme::SOUP,
            Self::Dot(dot) => dot.color,
        }
    }

    /// Draws the marker.
    pub fn draw<B: DrawingBackend>(self, canvas: &Canvas<'_, B>, at: Pixel) -> DrawResult<B> {
        let fill = |points: &[Pixel], color: RGBColor, grow: f64| {
            let place = |(x, y): &Pixel| (at.0 + x * SIZE * grow, at.1 + y * SIZE * grow);
            canvas.polygon(&points.iter().map(place).collect::<Vec<_>>(), color)
        };
        let (points, color) = match self {
            Self::Origin => (star(), WHITE),
            Self::First => (square(), theme::FIRST),
            Self::Second => (square(), theme::SECOND),
            Self::Soup => (circle(), theme::SOUP),
            Self::Minimum | Self::Via => (cross(), WHITE),
            Self::Dot(dot) => return dot.draw(canvas, at),
        };
        let (outer, inner) = match self {
            Self::Origin | Self::Minimum | Self::Via => (theme::INK, 1.35),
            _ => (WHITE, 1.3),
        };
        fill(&points, theme::INK, inner + 0.2)?;
        fill(&points, outer, inner)?;
        fill(&points, color, 1.0)
    }
}

/// Draws a grey arrow that ends just before the marker it points to.
pub fn arrow<B: DrawingBackend>(canvas: &Canvas<'_, B>, from: Pixel, to: Pixel) -> DrawResult<B> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy);
    if length < 4.0 * SIZE {
        return Ok(());
    }
    let (ux, uy) = (dx / length, dy / length);
    let tip = (to.0 - ux * SIZE * 1.5, to.1 - uy * SIZE * 1.5);
    let along =
        |back: f64, side: f64| (tip.0 - ux * back - uy * side, tip.1 - uy * back + ux * side);
    canvas.line(&[from, along(10.0, 0.0)], theme::ARROW, 4.0)?;
    let head = [tip, along(18.0, 8.0), along(18.0, -8.0)];
    canvas.polygon(&head, theme::ARROW)
}

/// Draws a small arrow centred on a point, edged so that it stands out on any colour. `along` is
/// the vector from its start to its end.
pub fn dart<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    middle: Pixel,
    along: Pixel,
) -> DrawResult<B> {
    let length = along.0.hypot(along.1);
    if length < 6.0 {
        return Ok(());
    }
    let (ux, uy) = (along.0 / length, along.1 / length);
    let at = |forward: f64, side: f64| {
        (
            middle.0 + ux * forward - uy * side,
            middle.1 + uy * forward + ux * side,
        )
    };
    let (tip, back) = (length / 2.0, -length / 2.0);
    let head = (0.45 * length).min(13.0);
    let outline = |edge: f64| {
        [
            at(back - edge, 1.4 + edge),
            at(tip - head, 1.4 + edge),
            at(tip - head - edge, 0.42 * head + 1.6 * edge),
            at(tip + 1.8 * edge, 0.0),
            at(tip - head - edge, -0.42 * head - 1.6 * edge),
            at(tip - head, -1.4 - edge),
            at(back - edge, -1.4 - edge),
        ]
    };
    canvas.polygon(&outline(1.5), WHITE)?;
    canvas.polygon(&outline(0.0), theme::INK)
}

/// A regular polygon with a corner at the top, or at the bottom if it is flipped.
fn polygon(corners: i32, radius: f64) -> Vec<Pixel> {
    let turn = std::f64::consts::TAU / f64::from(corners);
    let corner = |k: i32| {
        let angle = f64::from(k) * turn;
        (radius * angle.sin(), -radius * angle.cos())
    };
    (0..corners).map(corner).collect()
}

fn star() -> Vec<Pixel> {
    pointed(5, 1.35, 0.56)
}

/// A star with this many points, one of them at the top.
fn pointed(points: i32, outer: f64, inner: f64) -> Vec<Pixel> {
    (0..2 * points)
        .map(|k| {
            let radius = if k % 2 == 0 { outer } else { inner };
            let angle = f64::from(k) * std::f64::consts::PI / f64::from(points);
            (radius * angle.sin(), -radius * angle.cos())
        })
        .collect()
}

/// Rotates points by an eighth of a full turn.
fn turned(points: &[Pixel]) -> Vec<Pixel> {
    let turn = |(x, y): &Pixel| {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        (half * (x - y), half * (x + y))
    };
    points.iter().map(turn).collect()
}

fn square() -> Vec<Pixel> {
    vec![(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
}

fn circle() -> Vec<Pixel> {
    (0..32)
        .map(|k| {
            let angle = f64::from(k) * std::f64::consts::PI / 16.0;
            (0.9 * angle.sin(), 0.9 * angle.cos())
        })
        .collect()
}

/// A diagonal cross.
fn cross() -> Vec<Pixel> {
    let (a, b) = (0.95, 0.3);
    let arm = [(b, 0.0), (a, a - b), (a - b, a), (0.0, b)];
    let turn = |(x, y): Pixel, quarter: usize| match quarter {
        0 => (x, y),
        1 => (-y, x),
        2 => (-x, -y),
        _ => (y, -x),
    };
    (0..4)
        .flat_map(|quarter| arm.map(|point| turn(point, quarter)))
        .collect()
}
