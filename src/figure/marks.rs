//! The markers of models, outlined so that they read on any colour.

use plotters::prelude::*;

use super::page::{Outcome, Page, Place};
use super::theme;

/// About half the width of a marker.
pub const SIZE: f64 = 12.0;

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
    /// Draws the marker.
    pub fn draw<B: DrawingBackend>(self, page: &Page<'_, B>, at: Place) -> Outcome<B> {
        let fill = |points: &[Place], color: RGBColor, grow: f64| {
            let place = |(x, y): &Place| (at.0 + x * SIZE * grow, at.1 + y * SIZE * grow);
            page.polygon(&points.iter().map(place).collect::<Vec<_>>(), color)
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

/// A grey arrow that stops short of the marker it points to.
pub fn arrow<B: DrawingBackend>(page: &Page<'_, B>, from: Place, to: Place) -> Outcome<B> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy);
    if length < 4.0 * SIZE {
        return Ok(());
    }
    let (ux, uy) = (dx / length, dy / length);
    let tip = (to.0 - ux * SIZE * 1.5, to.1 - uy * SIZE * 1.5);
    let along =
        |back: f64, side: f64| (tip.0 - ux * back - uy * side, tip.1 - uy * back + ux * side);
    page.line(&[from, along(10.0, 0.0)], theme::ARROW, 4.0)?;
    let head = [tip, along(18.0, 8.0), along(18.0, -8.0)];
    page.polygon(&head, theme::ARROW)
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
