//! Points beyond the axes: each is drawn at the frame with an arrow, with its values beside it.

use plotters::prelude::*;

use super::axes::{Axes, Xy};
use super::canvas::{Canvas, DrawResult, Pixel};
use super::marks::Mark;
use super::placed_labels::{Obstacle, PlacedLabels};
use super::plot::{Path, PathStyle, Plot};
use super::text::{SMALL, word_width};
use super::theme;
use super::ticks::Interval;

/// Distance from the frame to the centre of a named point, in layout pixels.
const INSET: f64 = 54.0;
/// Distance between two such points.
const SPACING: f64 = 50.0;
/// Distance between a point and its name.
const NAME_GAP: f64 = 8.0;
/// Length of an arrow's head, and of the triangle that represents a point without a name.
const HEAD_LENGTH: f64 = 14.0;

/// The points of a panel that lie beyond its axes.
pub struct OffAxes {
    /// Points with a name.
    named: Vec<FrameMark>,
    nameless: Vec<NamelessPoint>,
    labels: PlacedLabels,
    paths: Vec<LeavingPath>,
    /// Names and values that found no room.
    unplaced: Vec<String>,
}

/// A point without a name, drawn as a triangle at the frame.
struct NamelessPoint {
    tip: Pixel,
    direction: Direction,
    color: RGBColor,
}

/// A path with points beyond the axes.
struct LeavingPath {
    name: String,
    beyond: usize,
    points: usize,
}

/// The direction from the frame to a point, across and down the canvas: −1, 0 or 1 each.
type Direction = (f64, f64);

impl OffAxes {
    /// Finds the points beyond the axes, and room for their labels.
    pub fn new(plot: &Plot, axes: &Axes) -> Self {
        let mut off_axes = Self {
            named: Vec::new(),
            nameless: Vec::new(),
            labels: PlacedLabels::new(Vec::new()),
            paths: leaving_paths(plot, axes),
            unplaced: Vec::new(),
        };
        let points = plot.series.iter().flat_map(|series| {
            let points = series.points.iter();
            points.map(|point| (point, plot.on_axes(point.at), series.mark))
        });
        let finite = points.filter(|(_, at, _)| at.0.is_finite() && at.1.is_finite());
        let (inside, beyond): (Vec<_>, Vec<_>) = finite.partition(|(_, at, _)| axes.holds(*at));
        let mut taken: Vec<Pixel> = inside.iter().map(|(_, at, _)| axes.place(*at)).collect();
        let inside = inside.iter();
        let mut obstacles: Vec<Obstacle> = inside
            .map(|(_, at, mark)| square(axes.place(*at), *mark))
            .collect();
        let mut texts = Vec::new();
        for (point, at, mark) in beyond {
            if point.name.is_empty() {
                off_axes.nameless.push(NamelessPoint {
                    tip: inset(at, axes, 2.0),
                    direction: direction(at, axes),
                    color: mark.color(),
                });
                continue;
            }
            let named = FrameMark::new(mark, at, axes, &taken);
            taken.push(named.at);
            off_axes.named.push(named);
            let [x, y] = [point.at.0, point.at.1].map(|value| plot.scale.label(value));
            texts.push(format!("{} ({x}, {y})", point.name));
        }
        obstacles.extend(boxes_along_paths(plot, axes));
        let named = off_axes.named.iter();
        obstacles.extend(named.map(|point| square(point.at, point.mark)));
        off_axes.labels = PlacedLabels::new(obstacles);
        off_axes.place_labels(texts, axes);
        off_axes
    }

    /// Places the names around their points where there is room.
    fn place_labels(&mut self, texts: Vec<String>, axes: &Axes) {
        for (FrameMark { mark, at, .. }, text) in self.named.iter().zip(texts) {
            // An SVG viewer may have a wider font.
            let wide = 1.15 * word_width(&text, SMALL);
            let half = (wide / 2.0 + 4.0, SMALL / 2.0 + 1.0);
            // A label placed diagonally could be mistaken for a neighbour's name.
            let sides = [(1, 0), (-1, 0), (0, 1), (0, -1)];
            let step = mark.half() + NAME_GAP;
            let placed = sides.into_iter().any(|(across, down)| {
                let dx = f64::from(across) * (step + half.0);
                let dy = f64::from(down) * (step + half.1);
                let place = (at.0 + dx, at.1 + dy);
                self.labels.place(&[vec![place]], &text, axes)
            });
            if !placed {
                self.unplaced.push(text);
            }
        }
    }

    /// Draws the points and their labels.
    ///
    /// # Errors
    /// Fails when the canvas fails.
    pub fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        for point in &self.nameless {
            draw_head(canvas, point.tip, point.direction, point.color)?;
        }
        for point in &self.named {
            point.draw(canvas)?;
        }
        self.labels.draw(canvas)
    }
}

/// A marker near the frame, with an arrow towards a point beyond the axes.
pub struct FrameMark {
    mark: Mark,
    at: Pixel,
    direction: Direction,
}

impl FrameMark {
    /// Places the marker of a point along the frame: as near to the point as possible, without
    /// covering the markers at the positions `taken`.
    pub fn new(mark: Mark, point: Xy, axes: &Axes, taken: &[Pixel]) -> Self {
        let direction = direction(point, axes);
        let (x, y) = inset(point, axes, INSET);
        let [(left, top), (right, bottom)] = axes.corners();
        let (across, down) = (left + INSET..=right - INSET, top + INSET..=bottom - INSET);
        let steps = (0..40).flat_map(|k| [SPACING, -SPACING].map(|step| step * f64::from(k)));
        let mut places = steps.map(|step| match direction.0 {
            0.0 => (x + step, y),
            _ => (x, y + step),
        });
        let is_clear = |(x, y): &Pixel| {
            let mut others = taken.iter();
            let is_inside = across.contains(x) && down.contains(y);
            is_inside && others.all(|other| (other.0 - x).hypot(other.1 - y) >= SPACING)
        };
        Self {
            mark,
            at: places.find(is_clear).unwrap_or((x, y)),
            direction,
        }
    }

    /// The marker's position.
    pub fn at(&self) -> Pixel {
        self.at
    }

    /// Draws the marker and its arrow.
    ///
    /// # Errors
    /// Fails when the canvas fails.
    pub fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let (at, direction) = (self.at, self.direction);
        let far = INSET - 4.0;
        let tip = (at.0 + far * direction.0, at.1 + far * direction.1);
        canvas.line(&[at, back(tip, direction, HEAD_LENGTH)], theme::ARROW, 3.0)?;
        draw_head(canvas, tip, direction, theme::ARROW)?;
        self.mark.draw(canvas, at)
    }
}

/// Boxes along the paths, to be kept free of labels.
fn boxes_along_paths(plot: &Plot, axes: &Axes) -> Vec<Obstacle> {
    const STEPS: i32 = 24;
    let mut obstacles = Vec::new();
    for path in &plot.paths {
        let places: Vec<Xy> = path.points.iter().map(|at| plot.on_axes(*at)).collect();
        for ends in places.windows(2) {
            let Some(piece) = axes.clip([ends[0], ends[1]]) else {
                continue;
            };
            let [from, to] = piece.map(|end| axes.place(end));
            obstacles.extend((0..=STEPS).map(|k| {
                let t = f64::from(k) / f64::from(STEPS);
                let at = (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1));
                Obstacle {
                    at,
                    half: (3.0, 3.0),
                }
            }));
        }
    }
    obstacles
}

fn leaving_paths(plot: &Plot, axes: &Axes) -> Vec<LeavingPath> {
    let marked = |path: &&Path| path.style == PathStyle::Marked;
    let counted = plot.paths.iter().filter(marked).map(|path| {
        let places = path.points.iter().map(|at| plot.on_axes(*at));
        let finite = places.filter(|(x, y)| x.is_finite() && y.is_finite());
        let finite: Vec<Xy> = finite.collect();
        LeavingPath {
            name: path.name.clone(),
            beyond: finite.iter().filter(|at| !axes.holds(**at)).count(),
            points: finite.len(),
        }
    });
    counted.filter(|path| path.beyond > 0).collect()
}

/// Lines below the panels that describe the points beyond their axes.
pub fn captions(plots: &[Plot], off_axes: &[OffAxes]) -> Vec<String> {
    let mut lines = Vec::new();
    if off_axes.iter().any(|panel| !panel.nameless.is_empty()) {
        let part = |(plot, off_axes): (&Plot, &OffAxes)| {
            let all = plot.series.iter().map(|series| series.points.len());
            format!("{} of {}", off_axes.nameless.len(), all.sum::<usize>())
        };
        let parts: Vec<String> = plots.iter().zip(off_axes).map(part).collect();
        lines.push(format!(
            "Points beyond the axes, triangles at the frame: {}",
            parts.join(", ")
        ));
    }
    for path in off_axes.iter().flat_map(|panel| &panel.paths) {
        lines.push(format!(
            "{}: {} of {} points lie beyond the axes",
            path.name, path.beyond, path.points
        ));
    }
    let unplaced: Vec<&str> = off_axes
        .iter()
        .flat_map(|panel| &panel.unplaced)
        .map(String::as_str)
        .collect();
    if !unplaced.is_empty() {
        lines.push(format!("Beyond the axes: {}", unplaced.join(", ")));
    }
    lines
}

fn direction((x, y): Xy, axes: &Axes) -> Direction {
    let beyond = |value: f64, (low, high): Interval| {
        if value < low {
            -1.0
        } else if value > high {
            1.0
        } else {
            0.0
        }
    };
    (beyond(x, axes.x), -beyond(y, axes.y))
}

/// The position nearest to a point that keeps this distance from the frame.
fn inset(at: Xy, axes: &Axes, distance: f64) -> Xy {
    let [(left, top), (right, bottom)] = axes.corners();
    let (x, y) = axes.place(at);
    (
        x.clamp(left + distance, (right - distance).max(left + distance)),
        y.clamp(top + distance, (bottom - distance).max(top + distance)),
    )
}

/// The bounding box of a marker.
fn square(at: Pixel, mark: Mark) -> Obstacle {
    Obstacle {
        at,
        half: (mark.half(), mark.half()),
    }
}

/// The position at a distance `far` behind a tip.
fn back(tip: Pixel, direction: Direction, far: f64) -> Pixel {
    let length = direction.0.hypot(direction.1).max(1.0);
    (
        tip.0 - far * direction.0 / length,
        tip.1 - far * direction.1 / length,
    )
}

/// Draws the head of an arrow.
fn draw_head<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    tip: Pixel,
    direction: Direction,
    color: RGBColor,
) -> DrawResult<B> {
    let foot = back(tip, direction, HEAD_LENGTH);
    let side = ((tip.1 - foot.1) / 2.0, (foot.0 - tip.0) / 2.0);
    let corners = [
        tip,
        (foot.0 + side.0, foot.1 + side.1),
        (foot.0 - side.0, foot.1 - side.1),
    ];
    canvas.polygon(&corners, color)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::marks::{Dot, DotShape};
    use crate::figure::plot::{Point, Series};

    fn axes() -> Axes {
        Axes::filling((0.0, 10.0), (0.0, 10.0), (0.0, 0.0), (600.0, 600.0))
    }

    #[test]
    fn no_point_is_lost_and_labels_keep_apart() {
        let names = [
            "one",
            "two",
            "three",
            "four",
            "a name that needs its room",
            "six",
        ];
        let points = |at: fn(f64) -> Xy| -> Vec<Point> {
            let point = |(k, name): (usize, &&str)| Point {
                name: (*name).to_string(),
                ..Point::from(at(k as f64))
            };
            names.iter().enumerate().map(point).collect()
        };
        let at: [fn(f64) -> Xy; 3] = [
            |k| (-5.0 - k, -5.0),
            |k| (5.0, 20.0 + k),
            |k| (99.0, 2.0 * k),
        ];
        for at in at {
            let plot = Plot {
                series: vec![Series {
                    name: "s".to_string(),
                    mark: Mark::Dot(Dot::new(DotShape::Square, BLUE, 12.0)),
                    points: points(at),
                }],
                ..Plot::default()
            };
            let off_axes = OffAxes::new(&plot, &axes());
            assert_eq!(off_axes.named.len(), names.len());
            assert_eq!(off_axes.labels.len() + off_axes.unplaced.len(), names.len());
            assert!(!off_axes.labels.is_empty());
            for (index, point) in off_axes.named.iter().enumerate() {
                let a = point.at;
                assert!((INSET..=600.0 - INSET).contains(&a.0));
                assert!((INSET..=600.0 - INSET).contains(&a.1));
                for other in &off_axes.named[..index] {
                    let b = other.at;
                    assert!((a.0 - b.0).hypot(a.1 - b.1) >= SPACING - 1e-9);
                }
            }
        }
    }

    #[test]
    fn a_marker_at_the_frame_covers_no_point_within_the_axes() {
        let mark = Mark::Dot(Dot::new(DotShape::Square, BLUE, 12.0));
        let at_frame = |taken: &[Pixel]| FrameMark::new(mark, (-5.0, 5.0), &axes(), taken).at;
        assert_eq!(at_frame(&[]), (INSET, 300.0));
        let inside = [(60.0, 310.0), (50.0, 340.0)];
        let (x, y) = at_frame(&inside);
        assert_eq!(x, INSET);
        for other in inside {
            assert!((other.0 - x).hypot(other.1 - y) >= SPACING);
        }
    }

    #[test]
    fn nameless_points_are_counted() {
        let series = Series {
            name: "s".to_string(),
            mark: Mark::Dot(Dot::new(DotShape::Circle, BLUE, 6.0)),
            points: [(-1.0, 5.0), (5.0, 5.0), (11.0, 11.0), (f64::NAN, 1.0)]
                .map(Point::from)
                .to_vec(),
        };
        let plot = Plot {
            series: vec![series],
            ..Plot::default()
        };
        let off_axes = OffAxes::new(&plot, &axes());
        let lines = captions(&[plot], &[off_axes]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with(": 2 of 4"), "{lines:?}");
    }
}
