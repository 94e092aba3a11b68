//! A spectrum: the density of eigenvalues on a logarithmic axis and, above it, the eigenvalues at
//! both ends with their residuals.

mod curve;
#[cfg(test)]
mod tests;
mod words;

use plotters::prelude::*;

use self::curve::{Curve, around};
use super::axes::{Axes, Xy, extent};
use super::canvas::{self, Canvas, DrawResult, Drawable, Drawing, Pixel};
use super::captions;
use super::legend::{Key, LINE_WIDTH, Legend};
use super::marks::{Dot, DotShape, Mark};
use super::sheet::{Margins, PanelGrid, Sheet};
use super::signed_scale::{SignedScale, decades};
use super::theme;
use super::ticks::{Interval, Ticks, spaced, ticks_width};
use crate::error::Result;
use crate::result::spectrum::{Eigenvalue, End, Spectrum};

/// Draws a spectrum; `None` if there are neither eigenvalues nor a density.
///
/// The density's axis ends half a decade below the peak of a single eigenvalue. If the largest
/// eigenvalue is hundreds of times larger than the others, the x axis is logarithmic on both sides
/// of 0.
///
/// # Errors
/// Fails when drawing fails.
pub fn draw(spectrum: &Spectrum) -> Result<Option<Drawing>> {
    let figure = SpectrumFigure::of(spectrum);
    figure.map(|figure| canvas::drawing(&figure)).transpose()
}

// Lengths are in layout pixels.
const AXES_WIDTH: f64 = 1000.0;
/// Height of the density.
const DENSITY_HEIGHT: f64 = 520.0;
/// Height of the row of eigenvalues of one end, above the density.
const END_ROW_HEIGHT: f64 = 48.0;
/// Space between the frame and the longest number of the y axis, including the axis's name.
const Y_NAME_ROOM: f64 = 80.0;
/// Half-width of an eigenvalue's marker.
const MARKER_SIZE: f64 = 12.0;
/// Half-height of the caps of a residual's bar.
const RESIDUAL_CAP: f64 = 9.0;

struct SpectrumFigure<'a> {
    spectrum: &'a Spectrum,
    scale: SignedScale,
    /// Ends of the x axis, as positions.
    x: Interval,
    curve: Option<Curve>,
}

impl Drawable for SpectrumFigure<'_> {
    fn size(&self) -> (u32, u32) {
        self.sheet().size()
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let sheet = self.sheet();
        let axes = self.axes(sheet.corner(0));
        self.drops(canvas, &axes)?;
        self.density(canvas, &axes)?;
        let title = format!("Hessian of the {} loss", self.spectrum.dataset.name);
        axes.frame_with(canvas, &title, self.names(), &self.ticks(&axes))?;
        // The outermost eigenvalues, and those that have not converged, are drawn on top.
        let eigenvalues = self.spectrum.eigenvalues.iter().rev();
        let (sure, rough): (Vec<&Eigenvalue>, Vec<_>) = eigenvalues.partition(|of| of.converged);
        for of in sure.into_iter().chain(rough) {
            self.eigenvalue(canvas, &axes, of)?;
        }
        sheet.draw(canvas)
    }
}

impl<'a> SpectrumFigure<'a> {
    fn of(spectrum: &'a Spectrum) -> Option<Self> {
        let marked = || spectrum.eigenvalues.iter().map(|of| of.value);
        let scale = SignedScale::of(marked());
        let density = spectrum.density.as_ref();
        let curve = density.and_then(|of| Curve::of(of, spectrum.dimension, scale));
        let points = curve.iter().flat_map(|curve| &curve.points);
        let marks = extent(marked().map(|value| scale.at(value))).map(around);
        let marks = marks.into_iter().flat_map(|(min, max)| [min, max]);
        let x = extent(points.map(|point| point.0).chain(marks))?;
        Some(Self {
            spectrum,
            scale,
            x,
            curve,
        })
    }

    /// The ends that have a row of eigenvalues, from the top.
    fn rows(&self) -> Vec<End> {
        let there = |end: &End| self.spectrum.eigenvalues.iter().any(|of| of.end == *end);
        [End::Top, End::Bottom].into_iter().filter(there).collect()
    }

    fn height(&self) -> f64 {
        let density = if self.curve.is_some() {
            DENSITY_HEIGHT
        } else {
            0.0
        };
        END_ROW_HEIGHT * self.rows().len() as f64 + density
    }

    fn sheet(&self) -> Sheet {
        let margins = Margins::default();
        let grid = PanelGrid {
            panels: 1,
            columns: 1,
            axes: (AXES_WIDTH, self.height()),
            margins: Margins {
                left: margins.left.max(Y_NAME_ROOM + ticks_width(&self.decades())),
                ..margins
            },
        };
        let sheet = Sheet::new(grid, self.legend(grid.text_width()));
        let captions = self.captions(&self.axes(sheet.corner(0)));
        sheet.captioned(&captions)
    }

    /// The axes of the density; they continue above it, behind the rows of eigenvalues.
    fn axes(&self, corner: Pixel) -> Axes {
        let y = match &self.curve {
            Some(Curve { y: (low, high), .. }) => {
                (*low, low + (high - low) * self.height() / DENSITY_HEIGHT)
            }
            None => (0.0, 1.0),
        };
        Axes::filling(self.x, y, corner, (AXES_WIDTH, self.height()))
    }

    /// The ticks of the density's axis.
    fn decades(&self) -> Ticks {
        let curve = self.curve.as_ref();
        curve.map_or(Ticks::new(), |curve| decades(curve.y, 7))
    }

    fn ticks(&self, axes: &Axes) -> [Ticks; 2] {
        let across = self.scale.ticks(self.x);
        [spaced(across, axes.scale[0]), self.decades()]
    }

    fn names(&self) -> [&str; 2] {
        let up = match (&self.curve, self.scale) {
            (None, _) => "",
            (_, SignedScale::Linear) => "density",
            (_, SignedScale::Symlog(_)) => "density per decade",
        };
        let across = match self.scale {
            SignedScale::Linear => "eigenvalue",
            SignedScale::Symlog(_) => "eigenvalue (logarithmic on both sides of 0)",
        };
        [across, up]
    }

    /// Draws lines from the eigenvalues down to the axis.
    fn drops<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>, axes: &Axes) -> DrawResult<B> {
        for of in &self.spectrum.eigenvalues {
            let (x, y) = self.place(axes, of);
            canvas.line(&[(x, y), (x, axes.bottom())], theme::HATCHED, 2.0)?;
        }
        Ok(())
    }

    fn density<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>, axes: &Axes) -> DrawResult<B> {
        let Some(curve) = &self.curve else {
            return Ok(());
        };
        let (low, high) = curve.y;
        let pieces = curve.pieces();
        for piece in &pieces {
            let (from, to) = (piece[0].0, piece[piece.len() - 1].0);
            let ring: Vec<Xy> = piece
                .iter()
                .copied()
                .chain([(to, low), (from, low)])
                .collect();
            canvas.polygon(&axes.places(&ring), theme::UNDER)?;
        }
        if axes.holds((0.0, low)) {
            canvas.line(&axes.places(&[(0.0, low), (0.0, high)]), theme::GUIDE, 2.0)?;
        }
        for piece in &pieces {
            canvas.line(&axes.places(piece), theme::FIRST, LINE_WIDTH)?;
        }
        if !self.rows().is_empty() {
            let above = [(axes.x.0, high), (axes.x.1, high)];
            canvas.line(&axes.places(&above), theme::GUIDE, 2.0)?;
        }
        Ok(())
    }

    /// The position of an eigenvalue's marker.
    fn place(&self, axes: &Axes, of: &Eigenvalue) -> Pixel {
        let row = self.rows().iter().position(|end| *end == of.end);
        let (x, _) = axes.place((self.scale.at(of.value), 0.0));
        (
            x,
            axes.top + END_ROW_HEIGHT * (row.unwrap_or(0) as f64 + 0.5),
        )
    }

    /// The left and right end of an eigenvalue's residual bar on the canvas, within the axes.
    fn bar(&self, axes: &Axes, of: &Eigenvalue) -> [f64; 2] {
        let ends = [of.value - of.residual, of.value + of.residual];
        ends.map(|end| {
            let at = self.scale.at(end).clamp(axes.x.0, axes.x.1);
            axes.place((at, 0.0)).0
        })
    }

    fn eigenvalue<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        axes: &Axes,
        of: &Eigenvalue,
    ) -> DrawResult<B> {
        let (at, color) = (self.place(axes, of), color(of.end));
        if self.wide(axes, of) {
            let [from, to] = self.bar(axes, of);
            canvas.line(&[(from, at.1), (to, at.1)], color, 3.0)?;
            for x in [from, to] {
                canvas.line(
                    &[(x, at.1 - RESIDUAL_CAP), (x, at.1 + RESIDUAL_CAP)],
                    color,
                    3.0,
                )?;
            }
        }
        mark(color, !of.converged).draw(canvas, at)
    }

    /// Whether a residual's bar is wider than its marker.
    fn wide(&self, axes: &Axes, of: &Eigenvalue) -> bool {
        let [from, to] = self.bar(axes, of);
        to - from > 2.0 * MARKER_SIZE
    }

    /// The lines of text below the axes.
    fn captions(&self, axes: &Axes) -> Vec<String> {
        let mut lines = words::captions(self.spectrum);
        let mut eigenvalues = self.spectrum.eigenvalues.iter();
        if eigenvalues.any(|of| self.wide(axes, of)) {
            lines.push("bars: λ ± ‖Hv − λv‖, between which an eigenvalue lies".to_string());
        }
        lines.extend(captions::of(&self.spectrum.provenance));
        lines
    }

    fn legend(&self, width: f64) -> Legend {
        let mut entries = Vec::new();
        if self.curve.is_some() {
            entries.push((Key::Area(theme::UNDER), "density of all".to_string()));
        }
        for end in self.rows() {
            let key = Key::Mark(mark(color(end), false));
            entries.push((key, words::range(self.spectrum, end)));
        }
        if self.spectrum.eigenvalues.iter().any(|of| !of.converged) {
            let open = Key::Mark(mark(theme::INK, true));
            entries.push((open, "not converged".to_string()));
        }
        Legend::wrapped(entries, width)
    }
}

fn color(end: End) -> RGBColor {
    match end {
        End::Top => theme::SOUP,
        End::Bottom => theme::ENSEMBLE,
    }
}

fn mark(color: RGBColor, open: bool) -> Mark {
    Mark::Dot(Dot {
        open,
        ..Dot::new(DotShape::Down, color, MARKER_SIZE)
    })
}
