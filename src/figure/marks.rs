//! The markers of models, outlined so that they read on any colour.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::theme;

/// What a marker stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// θ0.
    Origin,
    /// θ1.
    First,
    /// θ2.
    Second,
    /// The two-model soup.
    Soup,
    /// The smallest value of the panel's grid.
    Minimum,
}

impl Mark {
    /// Draws the marker at a pixel; `size` is about half its width.
    pub fn draw<B: DrawingBackend>(
        self,
        canvas: &DrawingArea<B, Shift>,
        at: (f64, f64),
        size: f64,
    ) -> std::result::Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let fill = |points: &[(f64, f64)], color: RGBColor, grow: f64| {
            let place = |(x, y): &(f64, f64)| {
                let (x, y) = (at.0 + x * size * grow, at.1 + y * size * grow);
                (x.round() as i32, y.round() as i32)
            };
            let points: Vec<(i32, i32)> = points.iter().map(place).collect();
            canvas.draw(&Polygon::new(points, color.filled()))
        };
        let (points, color) = match self {
            Self::Origin => (star(), WHITE),
            Self::First => (square(), theme::FIRST),
            Self::Second => (square(), theme::SECOND),
            Self::Soup => (circle(), theme::SOUP),
            Self::Minimum => (cross(), WHITE),
        };
        let (outer, inner) = match self {
            Self::Origin | Self::Minimum => (theme::INK, 1.35),
            _ => (WHITE, 1.3),
        };
        fill(&points, theme::INK, inner + 0.2)?;
        fill(&points, outer, inner)?;
        fill(&points, color, 1.0)
    }
}

fn star() -> Vec<(f64, f64)> {
    (0..10)
        .map(|k| {
            let radius = if k % 2 == 0 { 1.35 } else { 0.56 };
            let angle = f64::from(k) * std::f64::consts::PI / 5.0;
            (radius * angle.sin(), -radius * angle.cos())
        })
        .collect()
}

fn square() -> Vec<(f64, f64)> {
    vec![(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
}

fn circle() -> Vec<(f64, f64)> {
    (0..32)
        .map(|k| {
            let angle = f64::from(k) * std::f64::consts::PI / 16.0;
            (0.9 * angle.sin(), 0.9 * angle.cos())
        })
        .collect()
}

/// A diagonal cross.
fn cross() -> Vec<(f64, f64)> {
    let (a, b) = (0.95, 0.3);
    let arm = [(b, 0.0), (a, a - b), (a - b, a), (0.0, b)];
    let turn = |(x, y): (f64, f64), quarter: usize| match quarter {
        0 => (x, y),
        1 => (-y, x),
        2 => (-x, -y),
        _ => (y, -x),
    };
    (0..4)
        .flat_map(|quarter| arm.map(|point| turn(point, quarter)))
        .collect()
}
