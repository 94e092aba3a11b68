//! Points on one or several pairs of axes, with a common legend below.

use plotters::prelude::*;

use super::axes::{Axes, Xy};
use super::canvas::{self, Canvas, DrawResult, Drawable, Drawing, Size};
use super::legend::{Key, Legend};
use super::off_axes::{self, OffAxes};
use super::plot::{Path, PathStyle, Plot, Series};
use super::sheet::{Margins, PanelGrid, Sheet};
use super::text::short;
use super::theme;
use super::ticks::{AxisScale, ticks_width};
use crate::error::Result;
use crate::result::score::{DatasetInfo, Role};

/// Plots in rows and columns, with a legend below.
#[derive(Debug, Clone)]
pub struct Scatter {
    /// The panels, row by row.
    pub panels: Vec<Plot>,
    /// Number of panels per row.
    pub columns: usize,
    /// Width and height of a panel's axes in layout pixels.
    pub size: Size,
    /// Lines of text between the panels and the legend.
    pub captions: Vec<String>,
}

// Lengths are in layout pixels.
/// Space above panels without titles.
const UNTITLED_TOP: f64 = 40.0;
/// Space between the frame and the longest number of the y axis, including the axis's name.
const Y_NAME_ROOM: f64 = 70.0;
/// Half-width of the markers on a path.
const PATH_POINT: f64 = 5.0;

/// Draws the plots.
///
/// # Errors
/// Fails when drawing fails.
pub fn draw(scatter: &Scatter) -> Result<Drawing> {
    canvas::drawing(scatter)
}

/// The axis names for test accuracy and for the mean accuracy over the shifts, on this scale.
/// `None` without a test set or without shifts.
pub fn accuracy_names(datasets: &[DatasetInfo], scale: AxisScale) -> Option<[String; 2]> {
    let of = |role: Role| datasets.iter().filter(move |set| set.role == role);
    of(Role::Test).next()?;
    let shift = match of(Role::Shift).count() {
        0 => return None,
        1 => format!("{} accuracy", short(&of(Role::Shift).next()?.name)),
        count => format!("mean accuracy over {count} shifts"),
    };
    // Unevenly spaced ticks without an explanation look like a mistake.
    let unit = match scale {
        AxisScale::Linear => "%",
        AxisScale::Logit => "%, logit scale",
    };
    Some(["test accuracy", &shift].map(|name| format!("{name} ({unit})")))
}

impl Drawable for Scatter {
    fn size(&self) -> (u32, u32) {
        self.layout().sheet.size()
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let layout = self.layout();
        for ((plot, axes), off_axes) in self.panels.iter().zip(&layout.axes).zip(&layout.off_axes) {
            plot.draw(canvas, axes)?;
            off_axes.draw(canvas)?;
        }
        layout.sheet.draw(canvas)
    }
}

/// The positions of all parts of the figure, one entry per panel.
struct ScatterLayout {
    sheet: Sheet,
    axes: Vec<Axes>,
    off_axes: Vec<OffAxes>,
}

impl Scatter {
    fn layout(&self) -> ScatterLayout {
        let grid = self.grid();
        let sheet = Sheet::new(grid, self.legend(grid.text_width()));
        let panels = self.panels.iter().enumerate();
        let axes = panels.map(|(index, plot)| plot.axes(sheet.corner(index), self.size));
        let axes: Vec<Axes> = axes.collect();
        let plots = self.panels.iter().zip(&axes);
        let off_axes: Vec<OffAxes> = plots.map(|(plot, axes)| OffAxes::new(plot, axes)).collect();
        let mut captions = self.captions.clone();
        captions.extend(off_axes::captions(&self.panels, &off_axes));
        ScatterLayout {
            sheet: sheet.captioned(&captions),
            axes,
            off_axes,
        }
    }

    fn grid(&self) -> PanelGrid {
        let margins = Margins::default();
        let titled = self.panels.iter().any(|plot| !plot.title.is_empty());
        let numbers = self.panels.iter().map(|plot| {
            let axes = plot.axes((0.0, 0.0), self.size);
            ticks_width(&plot.ticks(&axes)[1])
        });
        PanelGrid {
            panels: self.panels.len(),
            columns: self.columns,
            axes: self.size,
            margins: Margins {
                left: margins.left.max(Y_NAME_ROOM + numbers.fold(0.0, f64::max)),
                top: if titled { margins.top } else { UNTITLED_TOP },
                ..margins
            },
        }
    }

    /// A legend of the paths, then the series, each listed once.
    fn legend(&self, width: f64) -> Legend {
        let paths = |plot: &'_ Plot| -> Vec<(Key, String)> {
            let key = |path: &Path| Key::Line(path.color, path.style.width());
            let entry = |path: &Path| (key(path), path.name.clone());
            plot.paths.iter().map(entry).collect()
        };
        let series = |plot: &'_ Plot| -> Vec<(Key, String)> {
            let entry = |series: &Series| (Key::Mark(series.mark), series.name.clone());
            plot.series.iter().map(entry).collect()
        };
        let mut rows = Vec::new();
        for entries in [
            self.panels.iter().flat_map(paths).collect::<Vec<_>>(),
            self.panels.iter().flat_map(series).collect(),
        ] {
            let mut once: Vec<(Key, String)> = Vec::new();
            for entry in entries {
                if !entry.1.is_empty() && !once.iter().any(|(_, name)| *name == entry.1) {
                    once.push(entry);
                }
            }
            rows.extend(Legend::wrapped(once, width).rows);
        }
        Legend { rows }
    }
}

impl Plot {
    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>, axes: &Axes) -> DrawResult<B> {
        self.guides(canvas, axes)?;
        let names = [self.names[0].as_str(), &self.names[1]];
        axes.frame_with(canvas, &self.title, names, &self.ticks(axes))?;
        for path in &self.paths {
            self.path(canvas, axes, path)?;
        }
        self.bars(canvas, axes)?;
        for series in &self.series {
            for point in &series.points {
                let at = self.on_axes(point.at);
                if axes.holds(at) {
                    series.mark.draw(canvas, axes.place(at))?;
                }
            }
        }
        Ok(())
    }

    /// Draws the errors of the points within the frame, below all points.
    fn bars<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>, axes: &Axes) -> DrawResult<B> {
        let points = self.series.iter().flat_map(|series| &series.points);
        for point in points.filter(|point| axes.holds(self.on_axes(point.at))) {
            let ((x, y), (dx, dy)) = (point.at, point.errors);
            for (dx, dy) in [(dx, 0.0), (0.0, dy)] {
                let ends = [(x - dx, y - dy), (x + dx, y + dy)].map(|end| self.on_axes(end));
                let is_bar = dx + dy > 0.0 && (dx + dy).is_finite();
                if let Some(piece) = is_bar.then(|| axes.clip(ends)).flatten() {
                    canvas.line(&axes.places(&piece), theme::GUIDE, 2.0)?;
                }
            }
        }
        Ok(())
    }

    /// Draws the lines of zeros and of equal values.
    fn guides<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>, axes: &Axes) -> DrawResult<B> {
        let mut lines = Vec::new();
        if self.zero[0] && (axes.x.0..=axes.x.1).contains(&0.0) {
            lines.push([(0.0, axes.y.0), (0.0, axes.y.1)]);
        }
        if self.zero[1] && (axes.y.0..=axes.y.1).contains(&0.0) {
            lines.push([(axes.x.0, 0.0), (axes.x.1, 0.0)]);
        }
        if self.diagonal {
            lines.push([(axes.x.0, axes.x.0), (axes.x.1, axes.x.1)]);
        }
        for line in lines {
            canvas.line(&axes.places(&line), theme::GUIDE, 2.0)?;
        }
        Ok(())
    }

    /// Draws the parts of a path that lie within the frame.
    fn path<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        axes: &Axes,
        path: &Path,
    ) -> DrawResult<B> {
        let places: Vec<Xy> = path.points.iter().map(|at| self.on_axes(*at)).collect();
        for ends in places.windows(2) {
            if let Some(piece) = axes.clip([ends[0], ends[1]]) {
                canvas.line(&axes.places(&piece), path.color, path.style.width())?;
            }
        }
        let is_marked = |place: &Xy| path.style == PathStyle::Marked && axes.holds(*place);
        for place in places.into_iter().filter(is_marked) {
            let (x, y) = axes.place(place);
            let corners = [
                (x - PATH_POINT, y),
                (x, y - PATH_POINT),
                (x + PATH_POINT, y),
                (x, y + PATH_POINT),
            ];
            canvas.polygon(&corners, path.color)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::marks::{Dot, DotShape, Mark};
    use crate::figure::plot::Point;

    fn plot(points: &[Xy]) -> Plot {
        let path = Path {
            name: "p".to_string(),
            color: RED,
            style: PathStyle::Marked,
            points: points.to_vec(),
        };
        let series = Series {
            name: "m".to_string(),
            mark: Mark::Dot(Dot::new(DotShape::Circle, BLUE, 6.0)),
            points: points.iter().map(|at| Point::from(*at)).collect(),
        };
        Plot {
            names: ["a".to_string(), "b".to_string()],
            paths: vec![path],
            series: vec![series],
            ..Plot::default()
        }
    }

    fn scatter(panels: Vec<Plot>) -> Scatter {
        Scatter {
            panels,
            columns: 2,
            size: (300.0, 300.0),
            captions: Vec::new(),
        }
    }

    #[test]
    fn odd_points_are_drawn_without_panic() {
        let hostile: [&[Xy]; 6] = [
            &[],
            &[(0.5, 0.5)],
            &[(0.5, 0.5), (0.5, 0.5)],
            &[(f64::NAN, 0.5), (0.2, f64::INFINITY)],
            &[(0.0, 1.0), (1.0, 0.0)],
            &[(-1e9, 1e9), (1e-9, -1e-9)],
        ];
        for points in hostile {
            for (scale, diagonal) in [(AxisScale::Linear, true), (AxisScale::Logit, false)] {
                let plot = Plot {
                    scale,
                    diagonal,
                    zero: [true; 2],
                    ..plot(points)
                };
                let windowed = Plot {
                    window: Some([(0.4, 0.4), (0.3, 0.6)]),
                    ..plot.clone()
                };
                let svg = draw(&scatter(vec![plot, windowed])).unwrap().svg;
                assert!(svg.contains("<svg"), "{points:?}");
            }
        }
    }

    #[test]
    fn a_diagonal_gives_both_axes_one_range() {
        let axes = Plot {
            diagonal: true,
            ..plot(&[(1.0, 5.0), (3.0, 9.0)])
        }
        .axes((0.0, 0.0), (300.0, 300.0));
        assert_eq!(axes.x, axes.y);
        assert!(axes.holds((1.0, 1.0)) && axes.holds((9.0, 9.0)));
        let free = plot(&[(1.0, 5.0), (3.0, 9.0)]).axes((0.0, 0.0), (300.0, 300.0));
        assert!(free.x.1 < 4.0 && free.y.0 > 4.0);
    }

    #[test]
    fn axes_of_accuracies_say_when_their_scale_is_not_linear() {
        let info = |name: &str, role| DatasetInfo {
            name: name.to_string(),
            role,
            samples: 10,
        };
        let sets = [info("test", Role::Test), info("v2", Role::Shift)];
        let names = |scale| accuracy_names(&sets, scale).unwrap();
        let logit = [
            "test accuracy (%, logit scale)",
            "v2 accuracy (%, logit scale)",
        ];
        assert_eq!(names(AxisScale::Logit), logit);
        let linear = ["test accuracy (%)", "v2 accuracy (%)"];
        assert_eq!(names(AxisScale::Linear), linear);
    }

    #[test]
    fn names_in_captions_keep_their_underscores() {
        let captions = vec!["ft_1: not defined".to_string()];
        let svg = draw(&Scatter {
            captions,
            ..scatter(vec![plot(&[(1.0, 2.0)])])
        });
        assert!(svg.unwrap().svg.contains("\nft_1: not defined\n"));
    }

    #[test]
    fn panels_share_one_legend_of_distinct_names() {
        let points = [(1.0, 2.0), (2.0, 1.0)];
        let rows = scatter(vec![plot(&points), plot(&points)])
            .legend(600.0)
            .rows;
        let names: Vec<&str> = rows.iter().flatten().map(|(_, name)| &**name).collect();
        assert_eq!(names, ["p", "m"]);
    }
}
