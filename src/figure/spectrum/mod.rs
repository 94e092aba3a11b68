//! A spectrum: the density of eigenvalues on a logarithmic axis, and above it the eigenvalues at
//! both ends with their residuals.

mod curve;
#[cfg(test)]
mod tests;
mod words;

use plotters::prelude::*;

use self::curve::{Curve, around};
use super::legend::{Key, Legend, THICK};
use super::marks::{Dot, Mark, Shape};
use super::page::{self, Drawing, Drawn, Outcome, Page, Place};
use super::sheet::{Margins, PanelGrid, Sheet};
use super::symlog::{Scale, decades};
use super::theme;
use super::ticks::spaced;
use super::ticks::{Ticks, ticks_width};
use super::view::{View, extent};
use crate::error::Result;
use crate::result::spectrum::{Eigenvalue, End, Spectrum};

/// Draws a spectrum; `None` where there are neither eigenvalues nor a density.
///
/// The density's axis ends half a decade below where a single eigenvalue would stand. Where the
/// largest eigenvalue is hundreds of times the others the x axis is logarithmic on both sides of 0.
///
/// # Errors
/// When drawing fails.
pub fn draw(spectrum: &Spectrum) -> Result<Option<Drawing>> {
    let figure = Figure::of(spectrum);
    figure.map(|figure| page::drawing(&figure)).transpose()
}

// Lengths in pixels of the layout.
const WIDTH: f64 = 1000.0;
/// Of the density.
const HEIGHT: f64 = 520.0;
/// Of the eigenvalues of an end, above it.
const ROW: f64 = 48.0;
/// Between the frame and the longest number of the y axis, its name included.
const BESIDE: f64 = 80.0;
/// Half the width of an eigenvalue's marker.
const MARK: f64 = 12.0;
/// Half the height of a residual's ends.
const CAP: f64 = 9.0;

struct Figure<'a> {
    spectrum: &'a Spectrum,
    scale: Scale,
    /// Ends of the x axis, as places.
    x: (f64, f64),
    curve: Option<Curve>,
}

impl Drawn for Figure<'_> {
    fn size(&self) -> (u32, u32) {
        self.sheet().size()
    }

    fn draw<B: DrawingBackend>(&self, page: &Page<'_, B>) -> Outcome<B> {
        let sheet = self.sheet();
        let view = self.view(sheet.corner(0));
        self.drops(page, &view)?;
        self.density(page, &view)?;
        let title = format!("Hessian of the {} loss", self.spectrum.dataset.name);
        view.frame_with(page, &title, self.names(), &self.ticks(&view))?;
        // The outermost on top, and what has not converged.
        let eigenvalues = self.spectrum.eigenvalues.iter().rev();
        let (sure, rough): (Vec<&Eigenvalue>, Vec<_>) = eigenvalues.partition(|of| of.converged);
        for of in sure.into_iter().chain(rough) {
            self.eigenvalue(page, &view, of)?;
        }
        sheet.draw(page)
    }
}

impl<'a> Figure<'a> {
    fn of(spectrum: &'a Spectrum) -> Option<Self> {
        let marked = || spectrum.eigenvalues.iter().map(|of| of.value);
        let scale = Scale::of(marked());
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

    /// The ends that have a row of eigenvalues, from above.
    fn rows(&self) -> Vec<End> {
        let there = |end: &End| self.spectrum.eigenvalues.iter().any(|of| of.end == *end);
        [End::Top, End::Bottom].into_iter().filter(there).collect()
    }

    fn height(&self) -> f64 {
        let density = if self.curve.is_some() { HEIGHT } else { 0.0 };
        ROW * self.rows().len() as f64 + density
    }

    fn sheet(&self) -> Sheet {
        let margins = Margins::default();
        let grid = PanelGrid {
            panels: 1,
            columns: 1,
            axes: (WIDTH, self.height()),
            margins: Margins {
                left: margins.left.max(BESIDE + ticks_width(&self.decades())),
                ..margins
            },
        };
        let sheet = Sheet::new(grid, self.legend(grid.text_width()));
        let captions = self.captions(&self.view(sheet.corner(0)));
        sheet.captioned(&captions)
    }

    /// The density's axis goes on above it, behind the rows of eigenvalues.
    fn view(&self, corner: Place) -> View {
        let y = match &self.curve {
            Some(Curve { y: (low, high), .. }) => {
                (*low, low + (high - low) * self.height() / HEIGHT)
            }
            None => (0.0, 1.0),
        };
        View::filling(self.x, y, corner, (WIDTH, self.height()))
    }

    /// The numbers of the density's axis.
    fn decades(&self) -> Ticks {
        let curve = self.curve.as_ref();
        curve.map_or(Ticks::new(), |curve| decades(curve.y, 7))
    }

    fn ticks(&self, view: &View) -> [Ticks; 2] {
        let across = self.scale.ticks(self.x);
        [spaced(across, view.scale[0]), self.decades()]
    }

    fn names(&self) -> [&str; 2] {
        let up = match (&self.curve, self.scale) {
            (None, _) => "",
            (_, Scale::Linear) => "density",
            (_, Scale::Symlog(_)) => "density per decade",
        };
        let across = match self.scale {
            Scale::Linear => "eigenvalue",
            Scale::Symlog(_) => "eigenvalue (logarithmic on both sides of 0)",
        };
        [across, up]
    }

    /// Lines from the eigenvalues down to the axis.
    fn drops<B: DrawingBackend>(&self, page: &Page<'_, B>, view: &View) -> Outcome<B> {
        for of in &self.spectrum.eigenvalues {
            let (x, y) = self.place(view, of);
            page.line(&[(x, y), (x, view.bottom())], theme::HATCHED, 2.0)?;
        }
        Ok(())
    }

    fn density<B: DrawingBackend>(&self, page: &Page<'_, B>, view: &View) -> Outcome<B> {
        let Some(curve) = &self.curve else {
            return Ok(());
        };
        let (low, high) = curve.y;
        let pieces = curve.pieces();
        for piece in &pieces {
            let (from, to) = (piece[0].0, piece[piece.len() - 1].0);
            let ring: Vec<Place> = piece
                .iter()
                .copied()
                .chain([(to, low), (from, low)])
                .collect();
            page.polygon(&view.places(&ring), theme::UNDER)?;
        }
        if view.holds((0.0, low)) {
            page.line(&view.places(&[(0.0, low), (0.0, high)]), theme::GUIDE, 2.0)?;
        }
        for piece in &pieces {
            page.line(&view.places(piece), theme::FIRST, THICK)?;
        }
        if !self.rows().is_empty() {
            let above = [(view.x.0, high), (view.x.1, high)];
            page.line(&view.places(&above), theme::GUIDE, 2.0)?;
        }
        Ok(())
    }

    /// Where an eigenvalue's marker stands.
    fn place(&self, view: &View, of: &Eigenvalue) -> Place {
        let row = self.rows().iter().position(|end| *end == of.end);
        let (x, _) = view.place((self.scale.at(of.value), 0.0));
        (x, view.top + ROW * (row.unwrap_or(0) as f64 + 0.5))
    }

    /// Where its residual begins and ends on the page, within the axes.
    fn bar(&self, view: &View, of: &Eigenvalue) -> [f64; 2] {
        let ends = [of.value - of.residual, of.value + of.residual];
        ends.map(|end| {
            let at = self.scale.at(end).clamp(view.x.0, view.x.1);
            view.place((at, 0.0)).0
        })
    }

    fn eigenvalue<B: DrawingBackend>(
        &self,
        page: &Page<'_, B>,
        view: &View,
        of: &Eigenvalue,
    ) -> Outcome<B> {
        let (at, color) = (self.place(view, of), color(of.end));
        if self.wide(view, of) {
            let [from, to] = self.bar(view, of);
            page.line(&[(from, at.1), (to, at.1)], color, 3.0)?;
            for x in [from, to] {
                page.line(&[(x, at.1 - CAP), (x, at.1 + CAP)], color, 3.0)?;
            }
        }
        mark(color, !of.converged).draw(page, at)
    }

    /// Whether a residual reaches beyond its marker.
    fn wide(&self, view: &View, of: &Eigenvalue) -> bool {
        let [from, to] = self.bar(view, of);
        to - from > 2.0 * MARK
    }

    /// What stands below the axes.
    fn captions(&self, view: &View) -> Vec<String> {
        let mut lines = words::captions(self.spectrum);
        let mut eigenvalues = self.spectrum.eigenvalues.iter();
        if eigenvalues.any(|of| self.wide(view, of)) {
            lines.push("bars: λ ± ‖Hv − λv‖, between which an eigenvalue lies".to_string());
        }
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
        ..Dot::new(Shape::Down, color, MARK)
    })
}
