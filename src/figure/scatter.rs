//! Accuracy against accuracy, on axes scaled by the logit as in Wortsman et al. 2022 (WiSE-FT):
//! h(p) = ln(p / (1 − p)).

use plotters::prelude::*;

use super::legend::{Key, Legend, THICK};
use super::marks::Mark;
use super::page::{self, Drawing, Drawn, Outcome, Page, Place};
use super::view::View;
use crate::error::Result;

/// What is drawn.
#[derive(Debug, Clone)]
pub struct Scatter {
    /// Names of the two axes.
    pub names: [String; 2],
    /// Lines through points, below the marks: accuracies, as fractions.
    pub paths: Vec<(String, RGBColor, Vec<Place>)>,
    /// Single points.
    pub marks: Vec<(String, Mark, Place)>,
}

// Lengths in pixels of the layout.
const SIDE: f64 = 640.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 112.0;
/// Between two numbers of an axis.
const APART: f64 = 74.0;
const DOT: f64 = 5.0;

/// Draws accuracies.
///
/// # Errors
/// When drawing fails.
pub fn draw(scatter: &Scatter) -> Result<Drawing> {
    page::drawing(scatter)
}

impl Drawn for Scatter {
    fn size(&self) -> (u32, u32) {
        let (wide, tall) = self.legend().size();
        let width = (LEFT + SIDE + RIGHT).max(wide + 40.0);
        (
            width.ceil() as u32,
            (TOP + SIDE + BOTTOM + tall).ceil() as u32,
        )
    }

    fn draw<B: DrawingBackend>(&self, page: &Page<'_, B>) -> Outcome<B> {
        let spare = (f64::from(self.size().0) - LEFT - SIDE - RIGHT) / 2.0;
        let corner = (spare + LEFT, TOP);
        let paths = self.paths.iter().flat_map(|(_, _, points)| points);
        let points: Vec<Place> = paths
            .chain(self.marks.iter().map(|mark| &mark.2))
            .copied()
            .collect();
        let range = |of: fn(&Place) -> f64| around(points.iter().map(of));
        let view = View::filling(range(|p| p.0), range(|p| p.1), corner, (SIDE, SIDE));
        let ticks = [ticks(view.x), ticks(view.y)];
        view.frame_with(page, "", [&self.names[0], &self.names[1]], &ticks)?;
        let place = |point: &Place| view.place((logit(point.0), logit(point.1)));
        for (_, color, points) in &self.paths {
            let places: Vec<Place> = points.iter().map(place).collect();
            page.line(&places, *color, THICK)?;
            for (x, y) in places {
                let corners = [(x - DOT, y), (x, y - DOT), (x + DOT, y), (x, y + DOT)];
                page.polygon(&corners, *color)?;
            }
        }
        for (_, mark, point) in &self.marks {
            mark.draw(page, place(point))?;
        }
        self.legend().draw(page, self.size())
    }
}

impl Scatter {
    fn legend(&self) -> Legend {
        let paths = self.paths.iter();
        let marks = self.marks.iter();
        Legend {
            rows: vec![
                paths
                    .map(|(name, color, _)| (Key::Line(*color), name.clone()))
                    .collect(),
                marks
                    .map(|(name, mark, _)| (Key::Mark(*mark), name.clone()))
                    .collect(),
            ],
        }
    }
}

/// ln(p / (1 − p)), at the ends as if one of a thousand samples were otherwise.
fn logit(accuracy: f64) -> f64 {
    let p = accuracy.clamp(1e-3, 1.0 - 1e-3);
    (p / (1.0 - p)).ln()
}

/// The range of logits, with some room.
fn around(accuracies: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in accuracies.filter(|value| value.is_finite()).map(logit) {
        (min, max) = (min.min(value), max.max(value));
    }
    if min > max {
        return (-1.0, 1.0);
    }
    let room = (0.08 * (max - min)).max(0.05);
    (min - room, max + room)
}

/// Round accuracies within a range of logits: where they stand, and in percent.
fn ticks((min, max): (f64, f64)) -> Vec<(f64, String)> {
    let part = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let steps = [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
    let of = |step: f64| -> Vec<(f64, String)> {
        let (from, to) = (
            (part(min) / step).ceil() as i64,
            (part(max) / step).floor() as i64,
        );
        let decimals = usize::from(step < 0.01);
        let mut kept: Vec<(f64, String)> = Vec::new();
        let apart = APART / SIDE * (max - min);
        for k in from.max(1)..=to {
            let value = k as f64 * step;
            if value >= 1.0 {
                break;
            }
            let at = logit(value);
            if kept.last().is_none_or(|(last, _)| at - last >= apart) {
                kept.push((at, format!("{:.decimals$}", 100.0 * value)));
            }
        }
        kept
    };
    let all = steps.map(of);
    let enough = all.iter().find(|ticks| ticks.len() >= 5);
    let most = all.iter().max_by_key(|ticks| ticks.len());
    enough.or(most).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_accuracies_that_keep_apart() {
        for (low, high) in [(0.5, 0.9), (0.93, 0.97), (0.02, 0.999), (0.701, 0.704)] {
            let (min, max) = (logit(low), logit(high));
            let ticks = ticks((min, max));
            assert!((2..12).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            for (at, label) in &ticks {
                assert!((min..=max).contains(at));
                let value: f64 = label.parse().unwrap();
                assert!((logit(value / 100.0) - at).abs() < 1e-9, "{label}");
            }
        }
    }

    #[test]
    fn all_or_nothing_right_stays_on_the_page() {
        assert!(logit(1.0).is_finite() && logit(0.0).is_finite());
        let point = (1.0, 1.0);
        let scatter = Scatter {
            names: ["a".to_string(), "b".to_string()],
            paths: vec![("p".to_string(), RED, vec![point, (0.0, 0.5)])],
            marks: vec![("m".to_string(), Mark::First, point)],
        };
        assert!(draw(&scatter).unwrap().svg.contains("<svg"));
    }
}
