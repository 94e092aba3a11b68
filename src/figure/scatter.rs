//! Points on one or several pairs of axes, with one legend below.

use plotters::prelude::*;

use super::axes::Axes;
use super::legend::{Key, Legend, THICK, short};
use super::marks::Mark;
use super::outside::{self, Outside};
use super::page::{self, Anchor, Drawing, Drawn, Outcome, Page, Place, width};
use super::theme;
use super::view::{SMALL, Ticks, View, extent, ticks_width};
use crate::error::Result;
use crate::result::score::{DatasetInfo, Role};

/// What is drawn.
#[derive(Debug, Clone)]
pub struct Scatter {
    /// The panels, row by row.
    pub panels: Vec<Plot>,
    /// Panels beside each other.
    pub columns: usize,
    /// Width and height of a panel's axes in pixels of the layout.
    pub size: Place,
    /// Lines of text between the panels and the legend.
    pub captions: Vec<String>,
}

/// One pair of axes.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// Above it; may be empty.
    pub title: String,
    /// Names of the two axes.
    pub names: [String; 2],
    /// The scale of both.
    pub axes: Axes,
    /// Whether the line y = x is drawn: then both axes have one range.
    pub diagonal: bool,
    /// Whether the lines x = 0 and y = 0 are drawn.
    pub zero: [bool; 2],
    /// What the axes show, x and y; everything where there is none. Points beyond are drawn at
    /// the frame.
    pub window: Option<[(f64, f64); 2]>,
    /// Lines through points, below the series.
    pub paths: Vec<Path>,
    /// Points, the last on top.
    pub series: Vec<Series>,
}

/// A line through points.
#[derive(Debug, Clone)]
pub struct Path {
    /// In the legend.
    pub name: String,
    /// Its colour.
    pub color: RGBColor,
    /// Its points, in order.
    pub points: Vec<Place>,
}

/// Points that look alike.
#[derive(Debug, Clone)]
pub struct Series {
    /// In the legend; not listed when it is empty.
    pub name: String,
    /// Looks.
    pub mark: Mark,
    /// The points.
    pub points: Vec<Point>,
}

/// A point.
#[derive(Debug, Clone)]
pub struct Point {
    /// What is written beside it when it lies beyond the axes; may be empty.
    pub name: String,
    /// Its values.
    pub at: Place,
}

impl From<Place> for Point {
    fn from(at: Place) -> Self {
        Self {
            name: String::new(),
            at,
        }
    }
}

// Lengths in pixels of the layout.
/// Room for the numbers of the y axis and its name, unless they need more.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 40.0;
const TITLED: f64 = 72.0;
const BOTTOM: f64 = 112.0;
const CAPTION: f64 = 44.0;
const MARGIN: f64 = 20.0;
/// Half the width of a path's point.
const DOT: f64 = 5.0;

/// Draws points.
///
/// # Errors
/// When drawing fails.
pub fn draw(scatter: &Scatter) -> Result<Drawing> {
    page::drawing(scatter)
}

/// The names of axes that show test accuracy and the mean accuracy over the shifts. `None`
/// without a test set or without shifts.
pub fn accuracy_names(datasets: &[DatasetInfo]) -> Option<[String; 2]> {
    let of = |role: Role| datasets.iter().filter(move |set| set.role == role);
    of(Role::Test).next()?;
    let shift = match of(Role::Shift).count() {
        0 => return None,
        1 => format!("{} accuracy (%)", short(&of(Role::Shift).next()?.name)),
        count => format!("mean accuracy over {count} shifts (%)"),
    };
    Some(["test accuracy (%)".to_string(), shift])
}

impl Drawn for Scatter {
    fn size(&self) -> (u32, u32) {
        self.layout().size
    }

    fn draw<B: DrawingBackend>(&self, page: &Page<'_, B>) -> Outcome<B> {
        let layout = self.layout();
        for ((plot, view), outside) in self.panels.iter().zip(&layout.views).zip(&layout.outside) {
            plot.draw(page, view)?;
            outside.draw(page)?;
        }
        let (wide, tall) = layout.size;
        let lines = layout.captions.len() as f64;
        let top = f64::from(tall) - layout.legend.size().1 - CAPTION * lines;
        for (index, line) in layout.captions.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * CAPTION - 8.0;
            let middle = (f64::from(wide) / 2.0, y);
            page.write(line, middle, SMALL, Anchor::Middle)?;
        }
        layout.legend.draw(page, layout.size)
    }
}

/// Where everything stands.
struct Layout {
    size: (u32, u32),
    views: Vec<View>,
    outside: Vec<Outside>,
    captions: Vec<String>,
    legend: Legend,
}

impl Scatter {
    fn layout(&self) -> Layout {
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let rows = self.panels.len().div_ceil(columns) as f64;
        let titled = self.panels.iter().any(|plot| !plot.title.is_empty());
        let top = if titled { TITLED } else { TOP };
        let left = self.left();
        let cell = (left + self.size.0 + RIGHT, top + self.size.1 + BOTTOM);
        let panels_wide = columns as f64 * cell.0;
        let legend = self.legend(panels_wide - 2.0 * MARGIN);
        let wide = panels_wide.max(legend.size().0 + 2.0 * MARGIN);
        let view = |(index, plot): (usize, &Plot)| {
            let (column, row) = ((index % columns) as f64, (index / columns) as f64);
            let spare = (wide - panels_wide) / 2.0;
            let corner = (spare + column * cell.0 + left, row * cell.1 + top);
            plot.view(corner, self.size)
        };
        let views: Vec<View> = self.panels.iter().enumerate().map(view).collect();
        let plots = self.panels.iter().zip(&views);
        let outside: Vec<Outside> = plots.map(|(plot, view)| Outside::new(plot, view)).collect();
        let captions = self.captions.iter().cloned();
        let captions: Vec<String> = captions
            .chain(outside::caption(&self.panels, &outside))
            .flat_map(|text| wrapped(&text, panels_wide - 2.0 * MARGIN))
            .collect();
        let tall = rows * cell.1 + CAPTION * captions.len() as f64 + legend.size().1;
        Layout {
            size: (wide.ceil() as u32, tall.ceil() as u32),
            views,
            outside,
            captions,
            legend,
        }
    }

    /// Room to the left of a panel's axes.
    fn left(&self) -> f64 {
        let wide = self.panels.iter().map(|plot| {
            let view = plot.view((0.0, 0.0), self.size);
            ticks_width(&plot.ticks(&view)[1])
        });
        LEFT.max(70.0 + wide.fold(0.0, f64::max))
    }

    /// Paths, then series, each once.
    fn legend(&self, width: f64) -> Legend {
        let paths = |plot: &'_ Plot| -> Vec<(Key, String)> {
            let entry = |path: &Path| (Key::Line(path.color), path.name.clone());
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
    /// Where a point stands on the axes.
    pub fn on_axes(&self, (x, y): Place) -> Place {
        (self.axes.at(x), self.axes.at(y))
    }

    fn view(&self, corner: Place, size: Place) -> View {
        let [mut x, mut y] = self.shown();
        if self.diagonal {
            let both = extent([x, y].into_iter().flatten().flat_map(|(a, b)| [a, b]));
            (x, y) = (both, both);
        }
        let around = |range| self.axes.around(range);
        View::filling(around(x), around(y), corner, size)
    }

    /// The ranges that the axes are to show.
    fn shown(&self) -> [Option<(f64, f64)>; 2] {
        let paths = self.paths.iter().flat_map(|path| &path.points);
        let series = self.series.iter().flat_map(|series| &series.points);
        let places: Vec<Place> = paths
            .copied()
            .chain(series.map(|point| point.at))
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|point| self.on_axes(point))
            .collect();
        let of = |axis: usize| {
            let coordinate = |place: &Place| if axis == 0 { place.0 } else { place.1 };
            let zero = self.zero[axis].then_some(0.0);
            match self.window {
                Some(window) => {
                    let range = window[axis];
                    let ends = [range.0, range.1].map(|end| self.axes.at(end));
                    extent(ends.into_iter().chain(zero))
                }
                None => extent(places.iter().map(coordinate).chain(zero)),
            }
        };
        [of(0), of(1)]
    }

    fn ticks(&self, view: &View) -> [Ticks; 2] {
        let [wide, tall] = view.lengths();
        let across = self.axes.ticks(view.x, wide);
        [spaced(across, view.scale[0]), self.axes.ticks(view.y, tall)]
    }

    fn draw<B: DrawingBackend>(&self, page: &Page<'_, B>, view: &View) -> Outcome<B> {
        self.guides(page, view)?;
        let names = [self.names[0].as_str(), &self.names[1]];
        view.frame_with(page, &self.title, names, &self.ticks(view))?;
        for path in &self.paths {
            self.path(page, view, path)?;
        }
        for series in &self.series {
            for point in &series.points {
                let at = self.on_axes(point.at);
                if view.holds(at) {
                    series.mark.draw(page, view.place(at))?;
                }
            }
        }
        Ok(())
    }

    /// The lines of zeros and of equal values.
    fn guides<B: DrawingBackend>(&self, page: &Page<'_, B>, view: &View) -> Outcome<B> {
        let mut lines = Vec::new();
        if self.zero[0] && (view.x.0..=view.x.1).contains(&0.0) {
            lines.push([(0.0, view.y.0), (0.0, view.y.1)]);
        }
        if self.zero[1] && (view.y.0..=view.y.1).contains(&0.0) {
            lines.push([(view.x.0, 0.0), (view.x.1, 0.0)]);
        }
        if self.diagonal {
            lines.push([(view.x.0, view.x.0), (view.x.1, view.x.1)]);
        }
        for line in lines {
            page.line(&view.places(&line), theme::GUIDE, 2.0)?;
        }
        Ok(())
    }

    /// The pieces of a path that lie within the frame.
    fn path<B: DrawingBackend>(&self, page: &Page<'_, B>, view: &View, path: &Path) -> Outcome<B> {
        let places: Vec<Place> = path.points.iter().map(|at| self.on_axes(*at)).collect();
        for ends in places.windows(2) {
            if let Some(piece) = outside::clipped([ends[0], ends[1]], view) {
                page.line(&view.places(&piece), path.color, THICK)?;
            }
        }
        for place in places.into_iter().filter(|place| view.holds(*place)) {
            let (x, y) = view.place(place);
            let corners = [(x - DOT, y), (x, y - DOT), (x + DOT, y), (x, y + DOT)];
            page.polygon(&corners, path.color)?;
        }
        Ok(())
    }
}

/// As many of the ticks below an axis as have room for their numbers, zero among them.
pub fn spaced(ticks: Ticks, scale: f64) -> Ticks {
    let fits = |ticks: &Ticks| {
        ticks.windows(2).all(|pair| {
            let wide = f64::midpoint(width(&pair[0].1, SMALL), width(&pair[1].1, SMALL));
            (pair[1].0 - pair[0].0) * scale > wide + 30.0
        })
    };
    let zero = ticks.iter().position(|tick| tick.0 == 0.0).unwrap_or(0);
    let every = |step: usize| -> Ticks {
        let kept = ticks.iter().enumerate();
        let kept = kept.filter(|(index, _)| index.abs_diff(zero).is_multiple_of(step));
        kept.map(|(_, tick)| tick.clone()).collect()
    };
    (1..=ticks.len()).map(every).find(fits).unwrap_or_default()
}

/// Lines of at most this width, broken between words.
pub fn wrapped(text: &str, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if width(&longer, SMALL) <= most {
                *line = longer;
                continue;
            }
        }
        lines.push(word.to_string());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::marks::{Dot, Shape};

    fn plot(points: &[Place]) -> Plot {
        let path = Path {
            name: "p".to_string(),
            color: RED,
            points: points.to_vec(),
        };
        let series = Series {
            name: "m".to_string(),
            mark: Mark::Dot(Dot::new(Shape::Circle, BLUE, 6.0)),
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
        let hostile: [&[Place]; 6] = [
            &[],
            &[(0.5, 0.5)],
            &[(0.5, 0.5), (0.5, 0.5)],
            &[(f64::NAN, 0.5), (0.2, f64::INFINITY)],
            &[(0.0, 1.0), (1.0, 0.0)],
            &[(-1e9, 1e9), (1e-9, -1e-9)],
        ];
        for points in hostile {
            for (axes, diagonal) in [(Axes::Linear, true), (Axes::Logit, false)] {
                let plot = Plot {
                    axes,
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
        let view = Plot {
            diagonal: true,
            ..plot(&[(1.0, 5.0), (3.0, 9.0)])
        }
        .view((0.0, 0.0), (300.0, 300.0));
        assert_eq!(view.x, view.y);
        assert!(view.holds((1.0, 1.0)) && view.holds((9.0, 9.0)));
        let free = plot(&[(1.0, 5.0), (3.0, 9.0)]).view((0.0, 0.0), (300.0, 300.0));
        assert!(free.x.1 < 4.0 && free.y.0 > 4.0);
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

    #[test]
    fn long_captions_are_broken_between_words() {
        let text = "a caption of several words that are not long";
        let lines = wrapped(text, 200.0);
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), text);
        assert!(lines.iter().all(|line| width(line, SMALL) <= 200.0));
    }
}
