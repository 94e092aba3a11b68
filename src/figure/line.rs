//! A path between checkpoints: soup and ensemble at every point, the straight line between the
//! ends, and the barrier above it.

use plotters::prelude::*;

use super::axes::{Axes, Xy, extent};
use super::canvas::{self, Canvas, DrawResult, Drawable, Drawing, Pixel, Size};
use super::captions;
use super::legend::{Key, LINE_WIDTH, Legend};
use super::marks::Mark;
use super::panel::title;
use super::plot::{Path, PathStyle, Plot, Series};
use super::scatter::{Scatter, accuracy_names};
use super::sheet::{COLUMNS, Margins, PanelGrid, Sheet};
use super::text::short;
use super::theme;
use super::ticks::{AxisScale, Interval};
use crate::error::Result;
use crate::result::line::Line;
use crate::result::models::Accuracies;
use crate::result::panels::{Panel, Panels, Quantity, Scored, choose};
use crate::result::score::Score;

/// Draws the path.
///
/// # Errors
/// Fails when drawing fails.
pub fn draw(line: &Line, panels: Panels) -> Result<Drawing> {
    let of = |scores: &[Vec<Score>]| {
        let datasets = &line.datasets;
        choose(
            Scored {
                datasets,
                scores,
                measured: &[],
                minima: &[],
                loss: line.summary.loss(),
            },
            panels,
        )
    };
    let panels = of(&line.soup).into_iter().zip(of(&line.ensemble));
    let figure = LineFigure {
        line,
        panels: panels.collect(),
    };
    canvas::drawing(&figure)
}

/// Test accuracy against the mean over the shifts along the path: the figure of WiSE-FT. `None`
/// without a test set or without shifts.
pub fn scatter(line: &Line) -> Option<Scatter> {
    let names = accuracy_names(&line.datasets, AxisScale::Logit)?;
    let points = |scores: &[Vec<Score>]| -> Vec<Xy> {
        let point = |k: usize| {
            let scores: Vec<Score> = scores.iter().map(|set| set[k]).collect();
            let accuracies = Accuracies::of(&line.datasets, &scores);
            (accuracies.test, accuracies.shift)
        };
        (0..line.alphas.len()).map(point).collect()
    };
    let (soup, ensemble) = (points(&line.soup), points(&line.ensemble));
    let nodes = line.summary.checkpoints.iter().enumerate();
    let series = nodes.filter_map(|(index, node)| {
        let at = line.alphas.iter().position(|alpha| *alpha == node.alpha)?;
        Some(Series {
            name: short(&node.name),
            mark: mark(line, index),
            points: vec![soup[at].into()],
        })
    });
    let series = series.collect();
    let path = |name: &str, color, points| Path {
        name: name.to_string(),
        color,
        style: PathStyle::Marked,
        points,
    };
    Some(Scatter {
        panels: vec![Plot {
            names,
            scale: AxisScale::Logit,
            paths: vec![
                path("ensemble of logits", theme::ENSEMBLE, ensemble),
                path("soup", theme::SOUP, soup),
            ],
            series,
            ..Plot::default()
        }],
        columns: 1,
        size: (640.0, 640.0),
        captions: Vec::new(),
    })
}

struct LineFigure<'a> {
    line: &'a Line,
    /// Pairs of panels: the soup's and the ensemble's.
    panels: Vec<(Panel, Panel)>,
}

// Lengths are in layout pixels.
const AXES_SIZE: Size = (560.0, 430.0);
const RIGHT_MARGIN: f64 = 34.0;
/// Maximum number of checkpoints in the legend.
const MOST_LISTED: usize = 24;

impl Drawable for LineFigure<'_> {
    fn size(&self) -> (u32, u32) {
        self.sheet().size()
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let sheet = self.sheet();
        for (index, (soup, ensemble)) in self.panels.iter().enumerate() {
            self.panel(canvas, soup, ensemble, sheet.corner(index))?;
        }
        sheet.draw(canvas)
    }
}

impl LineFigure<'_> {
    fn sheet(&self) -> Sheet {
        let grid = PanelGrid {
            panels: self.panels.len(),
            columns: COLUMNS,
            axes: AXES_SIZE,
            margins: Margins {
                right: RIGHT_MARGIN,
                ..Margins::default()
            },
        };
        let summary = &self.line.summary;
        let captions = captions::with(summary.calibration.as_ref(), &summary.provenance);
        Sheet::new(grid, self.legend(grid.width())).captioned(&captions)
    }

    fn panel<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        soup: &Panel,
        ensemble: &Panel,
        corner: Pixel,
    ) -> DrawResult<B> {
        let alphas = &self.line.alphas;
        let x = (alphas[0], alphas[alphas.len() - 1]);
        let values = soup.values.iter().chain(&ensemble.values);
        let axes = Axes::filling(x, around(values), corner, AXES_SIZE);
        let chord = self.chord(soup);
        self.shade(canvas, &axes, soup, &chord)?;
        let ends = self.nodes(soup);
        canvas.line(&axes.places(&ends), theme::ARROW, 2.5)?;
        for (values, color) in [
            (&ensemble.values, theme::ENSEMBLE),
            (&soup.values, theme::SOUP),
        ] {
            let points: Vec<Xy> = alphas.iter().copied().zip(values.iter().copied()).collect();
            for piece in points.split(|(_, value)| !value.is_finite()) {
                if piece.len() > 1 {
                    canvas.line(&axes.places(piece), color, LINE_WIDTH)?;
                }
            }
        }
        let axis = soup.axis();
        let names = ["position α on the path", axis.as_str()];
        axes.frame(canvas, &title(soup, &self.line.datasets), names)?;
        for (index, point) in ends.iter().enumerate() {
            if axes.holds(*point) {
                mark(self.line, index).draw(canvas, axes.place(*point))?;
            }
        }
        Ok(())
    }

    /// The checkpoints: their position on the path, and their value.
    fn nodes(&self, soup: &Panel) -> Vec<Xy> {
        let nodes = self.line.summary.checkpoints.iter();
        let value = |alpha: f64| {
            let at = self.line.alphas.iter().position(|other| *other == alpha)?;
            Some((alpha, soup.values[at])).filter(|(_, value)| value.is_finite())
        };
        nodes.filter_map(|node| value(node.alpha)).collect()
    }

    /// The straight line between the checkpoints at every α; NaN outside.
    fn chord(&self, soup: &Panel) -> Vec<f64> {
        let nodes = self.nodes(soup);
        let at = |alpha: &f64| {
            let mut pairs = nodes.windows(2);
            let piece = pairs.find(|pair| (pair[0].0..=pair[1].0).contains(alpha));
            piece.map_or(f64::NAN, |pair| {
                let t = (alpha - pair[0].0) / (pair[1].0 - pair[0].0);
                pair[0].1 * (1.0 - t) + pair[1].1 * t
            })
        };
        self.line.alphas.iter().map(at).collect()
    }

    /// The lower end of the rise's band at every α: above 0 where the rise is more than noise, 0
    /// at the checkpoints, NaN where it is unknown.
    fn excess(&self, soup: &Panel) -> Vec<f64> {
        let rises = match soup.quantity {
            Quantity::Loss => &self.line.rise_loss,
            Quantity::Error => &self.line.rise_error,
        };
        let nodes = &self.line.summary.checkpoints;
        let is_node = |alpha: f64| nodes.iter().any(|node| node.alpha == alpha);
        // Data sets are independent: the half widths of their bands add up as squares.
        let sets = soup.datasets.len() as f64;
        let low = |k: usize| {
            let of_sets = || soup.datasets.iter().map(|&set| rises[set][k]);
            let value: f64 = of_sets().map(|rise| rise.value).sum();
            let widths = of_sets().map(|rise| (rise.value - rise.low).powi(2));
            (value - widths.sum::<f64>().sqrt()) / sets
        };
        let points = self.line.alphas.iter().enumerate();
        points
            .map(|(k, alpha)| if is_node(*alpha) { 0.0 } else { low(k) })
            .collect()
    }

    /// Shades the area between the straight line and a soup above it, where the rise is more than
    /// noise.
    fn shade<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        axes: &Axes,
        soup: &Panel,
        lines: &[f64],
    ) -> DrawResult<B> {
        let excess = self.excess(soup);
        for (k, pair) in self.line.alphas.windows(2).enumerate() {
            let rise = [excess[k], excess[k + 1]];
            if !rise.iter().all(|rise| rise.is_finite()) || rise.iter().all(|rise| *rise <= 0.0) {
                continue;
            }
            // If one end is not high enough, shading starts where the rise becomes so.
            let cross = (rise[0] / (rise[0] - rise[1])).clamp(0.0, 1.0);
            let part = match (rise[0] > 0.0, rise[1] > 0.0) {
                (true, true) => (0.0, 1.0),
                (true, false) => (0.0, cross),
                _ => (cross, 1.0),
            };
            let at = |values: &[f64], t: f64| {
                let alpha = pair[0] + t * (pair[1] - pair[0]);
                axes.place((alpha, values[k] + t * (values[k + 1] - values[k])))
            };
            let ring = [
                at(&soup.values, part.0),
                at(&soup.values, part.1),
                at(lines, part.1),
                at(lines, part.0),
            ];
            canvas.polygon(&ring, theme::SHADE)?;
        }
        Ok(())
    }

    /// Whether any panel has an area to shade.
    fn has_barrier(&self) -> bool {
        let rises =
            |(soup, _): &(Panel, Panel)| self.excess(soup).iter().any(|excess| *excess > 0.0);
        self.panels.iter().any(rises)
    }

    fn legend(&self, width: f64) -> Legend {
        let mut lines = vec![
            (Key::Line(theme::SOUP, LINE_WIDTH), "soup".to_string()),
            (
                Key::Line(theme::ENSEMBLE, LINE_WIDTH),
                "ensemble of logits".to_string(),
            ),
            (
                Key::Line(theme::ARROW, LINE_WIDTH),
                "straight line between the ends".to_string(),
            ),
        ];
        if self.has_barrier() {
            let label = "barrier: above the straight line at 95 %, paired";
            lines.push((Key::Area(theme::SHADE), label.to_string()));
        }
        let nodes = self.line.summary.checkpoints.iter().enumerate();
        let marks = nodes.map(|(index, node)| {
            let label = format!("{} (α = {})", short(&node.name), node.alpha);
            (Key::Mark(mark(self.line, index)), label)
        });
        let mut marks: Vec<_> = marks.collect();
        if marks.len() > MOST_LISTED {
            let more = format!("and {} more", marks.len() - MOST_LISTED + 1);
            let last = marks.split_off(MOST_LISTED - 1).pop();
            marks.extend(last.map(|(key, _)| (key, more)));
        }
        let mut legend = Legend { rows: vec![lines] };
        let width = width.max(legend.size().0);
        legend.rows.extend(Legend::wrapped(marks, width).rows);
        legend
    }
}

/// The marker of a checkpoint, by its index on the path.
fn mark(line: &Line, index: usize) -> Mark {
    let nodes = &line.summary.checkpoints;
    match index {
        _ if nodes[index].origin => Mark::Origin,
        0 => Mark::First,
        _ if index + 1 == nodes.len() => Mark::Second,
        _ => Mark::Via,
    }
}

/// The range of the finite values, with margins.
fn around<'a>(values: impl Iterator<Item = &'a f64>) -> Interval {
    let Some((min, max)) = extent(values.copied()) else {
        return (0.0, 1.0);
    };
    let room = match max - min {
        0.0 => max.abs().max(1.0) * 0.05,
        height => 0.07 * height,
    };
    (min - room, max + room)
}
