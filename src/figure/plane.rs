//! Figure 2 of "Model soups": train loss, test error and mean shift error on the plane.
//!
//! Panels, colours and levels are this program's choice: the paper's are not published.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::contour::{Path, Surface};
use super::levels::{Levels, label, nice_at_most};
use super::marks::Mark;
use super::theme::{self, Anchor, text};
use crate::error::{Error, Result};
use crate::result::grid::Grid;
use crate::result::plane::Plane;
use crate::result::score::{Role, Score};

/// Which panels are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panels {
    /// Train loss, test error, mean shift error.
    Paper,
    /// These, validation error, and one a shift set.
    All,
}

/// A figure in both formats.
pub struct Drawing {
    /// PNG, about 2500 pixels wide for three panels.
    pub png: Vec<u8>,
    /// SVG of the same layout.
    pub svg: String,
}

/// Draws the plane.
///
/// # Errors
/// When the grid has fewer than 2×2 points or drawing fails.
pub fn draw(plane: &Plane, panels: Panels) -> Result<Drawing> {
    if plane.grid.xs.len() < 2 || plane.grid.ys.len() < 2 {
        return Err(Error::flag(
            "figure",
            "a plane of at least 2×2 points is needed",
        ));
    }
    theme::register_font()?;
    let figure = Figure {
        plane,
        panels: choose(plane, panels),
    };
    let failed = |error: &dyn std::fmt::Display| Error::runtime("figure", error);
    let (width, height) = figure.size();
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        figure.draw(&canvas, 1.0).map_err(|error| failed(&error))?;
        canvas.present().map_err(|error| failed(&error))?;
    }
    // Drawn twice as large and averaged: the bitmap backend has no smooth edges of its own.
    let mut pixels = vec![0; (width * height * 4 * 3) as usize];
    {
        let canvas =
            BitMapBackend::with_buffer(&mut pixels, (2 * width, 2 * height)).into_drawing_area();
        figure.draw(&canvas, 2.0).map_err(|error| failed(&error))?;
        canvas.present().map_err(|error| failed(&error))?;
    }
    let png = encode(
        &halved(&pixels, width as usize, height as usize),
        width,
        height,
    )
    .map_err(|error| failed(&error))?;
    Ok(Drawing { png, svg })
}

/// Averages squares of 2×2 RGB pixels.
fn halved(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(width * height * 3);
    let at = |x: usize, y: usize, c: usize| u16::from(pixels[(y * 2 * width + x) * 3 + c]);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let (x, y) = (2 * x, 2 * y);
                let sum = at(x, y, c) + at(x + 1, y, c) + at(x, y + 1, c) + at(x + 1, y + 1, c);
                out.push((sum / 4) as u8);
            }
        }
    }
    out
}

fn encode(
    pixels: &[u8],
    width: u32,
    height: u32,
) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // 300 dots an inch.
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: 11_811,
        yppu: 11_811,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    drop(writer);
    Ok(bytes)
}

/// One surface of the figure.
struct Panel {
    title: String,
    unit: &'static str,
    values: Vec<f64>,
    /// Standard error at the smallest value.
    noise: f64,
}

fn choose(plane: &Plane, panels: Panels) -> Vec<Panel> {
    let of = |role: Role| {
        plane
            .datasets
            .iter()
            .position(|dataset| dataset.role == role)
    };
    let name = |index: usize| plane.datasets[index].name.as_str();
    let shifts: Vec<usize> = (0..plane.datasets.len())
        .filter(|&index| plane.datasets[index].role == Role::Shift)
        .collect();
    let mut chosen = Vec::new();
    let (train, test) = (of(Role::Train), of(Role::Test));
    let first = train.or(test).or(of(Role::Val));
    match first {
        Some(first) => chosen.push(loss(plane, first, format!("{} loss (nats)", name(first)))),
        None if shifts.len() == 1 => {
            chosen.push(loss(
                plane,
                shifts[0],
                format!("{} loss (nats)", name(shifts[0])),
            ));
        }
        None => {}
    }
    let second = test.or(of(Role::Val)).or(train);
    if let Some(second) = second {
        chosen.push(error(
            plane,
            &[second],
            format!("{} error (%)", name(second)),
        ));
    }
    match shifts.as_slice() {
        [] => {}
        [one] => chosen.push(error(plane, &[*one], format!("{} error (%)", name(*one)))),
        many => {
            let title = format!("mean error over {} shifts (%)", many.len());
            chosen.push(error(plane, many, title));
        }
    }
    if panels == Panels::All {
        let val = of(Role::Val).filter(|val| second != Some(*val));
        let several = if shifts.len() > 1 { shifts } else { Vec::new() };
        for index in val.into_iter().chain(several) {
            chosen.push(error(plane, &[index], format!("{} error (%)", name(index))));
        }
    }
    chosen
}

fn loss(plane: &Plane, dataset: usize, title: String) -> Panel {
    let scores = &plane.scores[dataset];
    let values: Vec<f64> = scores.iter().map(|score| score.loss).collect();
    let noise = lowest(&values).map_or(0.0, |index| scores[index].loss_se);
    Panel {
        title,
        unit: "nats",
        values,
        noise,
    }
}

/// Unweighted mean over data sets, in percent; its standard error is √Σse²/k.
fn error(plane: &Plane, datasets: &[usize], title: String) -> Panel {
    let k = datasets.len() as f64;
    let at = |index: usize| datasets.iter().map(move |&set| &plane.scores[set][index]);
    let values: Vec<f64> = (0..plane.grid.len())
        .map(|index| {
            // An error counted from logits that are NaN says nothing of the surface.
            let value = |score: &Score| {
                if score.nonfinite > 0 {
                    f64::NAN
                } else {
                    score.error
                }
            };
            100.0 * at(index).map(value).sum::<f64>() / k
        })
        .collect();
    let noise = lowest(&values).map_or(0.0, |index| {
        100.0
            * at(index)
                .map(|score| score.error_se.powi(2))
                .sum::<f64>()
                .sqrt()
            / k
    });
    Panel {
        title,
        unit: "%",
        values,
        noise,
    }
}

/// Index of the smallest finite value.
fn lowest(values: &[f64]) -> Option<usize> {
    let finite = values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_finite());
    finite
        .min_by(|a, b| a.1.total_cmp(b.1))
        .map(|(index, _)| index)
}

type Outcome<B> = std::result::Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;
type Canvas<B> = DrawingArea<B, Shift>;

struct Figure<'a> {
    plane: &'a Plane,
    panels: Vec<Panel>,
}

// Lengths in pixels of the SVG; three panels printed 17 cm wide have 150 pixels a centimetre.
const COLUMNS: usize = 3;
const PLOT: f64 = 560.0;
const LEFT: f64 = 104.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 96.0;
const BAR_GAP: f64 = 22.0;
const BAR: f64 = 26.0;
const BAR_LABELS: f64 = 112.0;
const CELL: f64 = LEFT + PLOT + BAR_GAP + BAR + BAR_LABELS;
const LEGEND: f64 = 64.0;
const TITLE_SIZE: f64 = 32.0;
const TEXT_SIZE: f64 = 28.0;
const SMALL_SIZE: f64 = 25.0;
const MARK: f64 = 11.0;

impl Figure<'_> {
    fn scale(&self) -> f64 {
        let (x, y) = extent(&self.plane.grid);
        PLOT / (x.1 - x.0).max(y.1 - y.0)
    }

    fn plot_height(&self) -> f64 {
        let (_, y) = extent(&self.plane.grid);
        // A very flat plane still leaves room for its colour bar.
        ((y.1 - y.0) * self.scale()).max(200.0)
    }

    fn size(&self) -> (u32, u32) {
        let columns = self.panels.len().clamp(1, COLUMNS);
        let rows = self.panels.len().div_ceil(COLUMNS).max(1);
        let width = columns as f64 * CELL;
        let width = if columns == 1 { width + 420.0 } else { width };
        let height = rows as f64 * (TOP + self.plot_height() + BOTTOM) + LEGEND;
        (width as u32, height as u32)
    }

    /// Draws everything; `unit` is the number of canvas pixels a pixel of the layout.
    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, unit: f64) -> Outcome<B> {
        canvas.fill(&WHITE)?;
        for (index, panel) in self.panels.iter().enumerate() {
            let (column, row) = (index % COLUMNS, index / COLUMNS);
            let left = column as f64 * CELL + LEFT;
            let top = row as f64 * (TOP + self.plot_height() + BOTTOM) + TOP;
            let (x, y) = extent(&self.plane.grid);
            let view = View {
                unit,
                left,
                top,
                scale: self.scale(),
                x,
                y,
                height: self.plot_height(),
            };
            self.panel(canvas, panel, &view)?;
        }
        self.legend(canvas, unit)
    }

    fn panel<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        panel: &Panel,
        view: &View,
    ) -> Outcome<B> {
        let levels = Levels::new(&panel.values, panel.noise);
        if let Some(levels) = &levels {
            let shown = levels
                .values
                .last()
                .copied()
                .unwrap_or(levels.max)
                .max(levels.min);
            // Above the last level the height of the surface does not show.
            let high = shown + (shown - levels.min).max(f64::MIN_POSITIVE);
            let surface = Surface::new(&self.plane.grid, &panel.values, high);
            fill_bands(canvas, &surface, levels, view)?;
            let decimals = levels.decimals();
            let mut labels = Labels::new(self.obstacles(panel, view));
            for level in &levels.values {
                contour_line(canvas, &surface, *level, decimals, view, &mut labels)?;
            }
            labels.draw(canvas, view)?;
            color_bar(canvas, panel, levels, view)?;
        }
        hatch(canvas, &self.plane.grid, &panel.values, view)?;
        frame(canvas, panel, view)?;
        self.marks(canvas, panel, view)
    }

    /// Pixels of the markers that labels should keep away from.
    fn obstacles(&self, panel: &Panel, view: &View) -> Vec<(f64, f64)> {
        let points = self
            .plane
            .summary
            .checkpoints
            .iter()
            .map(|point| (point.x, point.y));
        let minimum = lowest(&panel.values).map(|index| self.plane.grid.point(index));
        points
            .chain(minimum)
            .chain(self.along_arrows())
            .map(|point| view.place(point))
            .collect()
    }

    /// Points of the two arrows.
    fn along_arrows(&self) -> Vec<(f64, f64)> {
        let models = &self.plane.summary.checkpoints;
        let targets = models.iter().skip(1).take(2);
        let part = |k: i32| f64::from(k) / 12.0;
        targets
            .flat_map(|target| (1..12).map(move |k| (target.x * part(k), target.y * part(k))))
            .collect()
    }

    fn marks<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        panel: &Panel,
        view: &View,
    ) -> Outcome<B> {
        let points: Vec<(f64, f64)> = self
            .plane
            .summary
            .checkpoints
            .iter()
            .map(|point| (point.x, point.y))
            .collect();
        for target in points.iter().skip(1).take(2) {
            arrow(canvas, view.place(points[0]), view.place(*target), view)?;
        }
        let minimum = lowest(&panel.values).map(|index| self.plane.grid.point(index));
        let marks = [Mark::Origin, Mark::First, Mark::Second, Mark::Soup];
        let minimum = minimum.map(|point| (point, Mark::Minimum));
        let named = points.into_iter().zip(marks);
        // A range set by hand may leave a model outside the frame.
        for (point, mark) in named.chain(minimum).filter(|(point, _)| view.holds(*point)) {
            mark.draw(
                canvas,
                scaled(view.place(point), view.unit),
                MARK * view.unit,
            )?;
        }
        Ok(())
    }

    fn legend<B: DrawingBackend>(&self, canvas: &Canvas<B>, unit: f64) -> Outcome<B> {
        let (width, height) = self.size();
        let names: Vec<&str> = self
            .plane
            .summary
            .checkpoints
            .iter()
            .map(|checkpoint| checkpoint.name.as_str())
            .collect();
        let name = |index: usize| short(names.get(index).copied().unwrap_or(""));
        let entries = [
            (Mark::Origin, format!("θ0 {}", name(0))),
            (Mark::First, format!("θ1 {}", name(1))),
            (Mark::Second, format!("θ2 {}", name(2))),
            (Mark::Soup, "soup ½θ1 + ½θ2".to_string()),
            (Mark::Minimum, "smallest on the grid".to_string()),
        ];
        let style = text(TEXT_SIZE * unit, Anchor::Left);
        let widths: Vec<f64> = entries
            .iter()
            .map(|(_, label)| text_width(label, TEXT_SIZE) + 36.0 + 48.0)
            .collect();
        let y = f64::from(height) - LEGEND / 2.0 - 4.0;
        let mut x = ((f64::from(width) - widths.iter().sum::<f64>()) / 2.0).max(8.0) + 16.0;
        for ((mark, label), width) in entries.iter().zip(widths) {
            mark.draw(canvas, scaled((x, y), unit), MARK * unit)?;
            canvas.draw(&Text::new(
                label.clone(),
                pixel((x + 24.0, y), unit),
                style.clone(),
            ))?;
            x += width;
        }
        Ok(())
    }
}

/// Names of ordinary length in full, others by their two ends.
fn short(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= 28 {
        return name.to_string();
    }
    let (head, tail) = (&letters[..14], &letters[letters.len() - 12..]);
    format!(
        "{}…{}",
        head.iter().collect::<String>(),
        tail.iter().collect::<String>()
    )
}

/// About the width of a text in pixels.
fn text_width(label: &str, size: f64) -> f64 {
    let measured = ("sans-serif", size).into_font().box_size(label);
    measured.map_or(0.5 * size * label.chars().count() as f64, |(width, _)| {
        f64::from(width)
    })
}

fn extent(grid: &Grid) -> ((f64, f64), (f64, f64)) {
    let ends = |axis: &[f64]| (axis[0], axis[axis.len() - 1]);
    (ends(&grid.xs), ends(&grid.ys))
}

/// From data to pixels, one scale on both axes.
struct View {
    unit: f64,
    left: f64,
    top: f64,
    scale: f64,
    x: (f64, f64),
    y: (f64, f64),
    height: f64,
}

impl View {
    fn bottom(&self) -> f64 {
        self.top + (self.y.1 - self.y.0) * self.scale
    }

    fn right(&self) -> f64 {
        self.left + (self.x.1 - self.x.0) * self.scale
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = self.left + (x - self.x.0) * self.scale;
        (across, self.bottom() - (y - self.y.0) * self.scale)
    }

    fn holds(&self, (x, y): (f64, f64)) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    fn pixels(&self, path: &[(f64, f64)]) -> Vec<(i32, i32)> {
        path.iter()
            .map(|point| pixel(self.place(*point), self.unit))
            .collect()
    }
}

fn scaled((x, y): (f64, f64), unit: f64) -> (f64, f64) {
    (x * unit, y * unit)
}

fn pixel((x, y): (f64, f64), unit: f64) -> (i32, i32) {
    ((x * unit).round() as i32, (y * unit).round() as i32)
}

fn stroke(color: RGBColor, width: f64, view: &View) -> ShapeStyle {
    color.stroke_width((width * view.unit).round().max(1.0) as u32)
}

fn fill_bands<B: DrawingBackend>(
    canvas: &Canvas<B>,
    surface: &Surface,
    levels: &Levels,
    view: &View,
) -> Outcome<B> {
    let count = levels.values.len() + 1;
    // The lowest colour lies under everything, so that no seam shows white.
    let corners = [
        pixel((view.left, view.top), view.unit),
        pixel((view.right(), view.bottom()), view.unit),
    ];
    canvas.draw(&Rectangle::new(corners, theme::band(0, count).filled()))?;
    for index in 1..count {
        let low = levels.values[index - 1];
        let high = levels.values.get(index).copied().unwrap_or(f64::MAX);
        for ring in surface.band(low, high) {
            canvas.draw(&Polygon::new(
                view.pixels(&ring),
                theme::band(index, count).filled(),
            ))?;
        }
    }
    Ok(())
}

fn contour_line<B: DrawingBackend>(
    canvas: &Canvas<B>,
    surface: &Surface,
    level: f64,
    decimals: usize,
    view: &View,
    labels: &mut Labels,
) -> Outcome<B> {
    let lines = surface.lines(level);
    for line in &lines {
        canvas.draw(&PathElement::new(
            view.pixels(line),
            stroke(theme::INK, 1.5, view),
        ))?;
    }
    let longest = lines.iter().max_by_key(|line| line.len());
    if let Some(line) = longest {
        labels.place(line, &label(level, decimals), view);
    }
    Ok(())
}

/// Labels on contour lines, kept apart from each other, the markers and the frame.
struct Labels {
    taken: Vec<(f64, f64)>,
    placed: Vec<(f64, f64, String)>,
}

impl Labels {
    fn new(taken: Vec<(f64, f64)>) -> Self {
        Self {
            taken,
            placed: Vec::new(),
        }
    }

    /// Takes the point of the line that is farthest from everything else, if there is room.
    fn place(&mut self, line: &Path, text: &str, view: &View) {
        let (half, tall) = (text_width(text, SMALL_SIZE) / 2.0 + 6.0, 18.0);
        let clearance = |(x, y): (f64, f64)| {
            let sides = [
                x - view.left - half,
                view.right() - x - half,
                y - view.top - tall,
                view.bottom() - y - tall,
            ];
            let frame = sides.into_iter().fold(f64::INFINITY, f64::min);
            let others = self
                .taken
                .iter()
                .map(|(a, b)| ((a - x) / 1.6).hypot(b - y) - tall);
            others.fold(frame * 1.5, f64::min)
        };
        let points = line.iter().map(|point| view.place(*point));
        let best = points.max_by(|a, b| clearance(*a).total_cmp(&clearance(*b)));
        if let Some((x, y)) = best.filter(|point| clearance(*point) > 14.0) {
            self.taken.push((x, y));
            self.placed.push((x, y, text.to_string()));
        }
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, view: &View) -> Outcome<B> {
        for (x, y, label) in &self.placed {
            let half = text_width(label, SMALL_SIZE) / 2.0 + 4.0;
            let corners = [
                pixel((x - half, y - 14.0), view.unit),
                pixel((x + half, y + 14.0), view.unit),
            ];
            canvas.draw(&Rectangle::new(corners, WHITE.mix(0.72).filled()))?;
            let style = text(SMALL_SIZE * view.unit, Anchor::Middle);
            canvas.draw(&Text::new(label.clone(), pixel((*x, *y), view.unit), style))?;
        }
        Ok(())
    }
}

/// One box a band, the levels written at the boundaries.
fn color_bar<B: DrawingBackend>(
    canvas: &Canvas<B>,
    panel: &Panel,
    levels: &Levels,
    view: &View,
) -> Outcome<B> {
    let count = levels.values.len() + 1;
    let (left, height) = (view.left + PLOT + BAR_GAP, view.height);
    let at = |index: usize| view.top + height - height * index as f64 / count as f64;
    for index in 0..count {
        let corners = [
            pixel((left, at(index + 1)), view.unit),
            pixel((left + BAR, at(index)), view.unit),
        ];
        canvas.draw(&Rectangle::new(corners, theme::band(index, count).filled()))?;
        canvas.draw(&Rectangle::new(corners, stroke(theme::INK, 1.0, view)))?;
    }
    let decimals = levels.decimals();
    let style = text(SMALL_SIZE * view.unit, Anchor::Left);
    let write = |index: usize, label: String| {
        canvas.draw(&Text::new(
            label,
            pixel((left + BAR + 8.0, at(index)), view.unit),
            style.clone(),
        ))
    };
    for (index, level) in levels.values.iter().enumerate() {
        write(index + 1, label(*level, decimals))?;
    }
    let fine = if levels.values.is_empty() {
        4
    } else {
        decimals + 1
    };
    write(0, label(levels.min, fine))?;
    if levels.values.is_empty() {
        return Ok(());
    }
    let last = levels.values[levels.values.len() - 1];
    if levels.max > last + 3.0 * (last - levels.min) {
        write(count, format!("≥ {}", label(last, decimals)))?;
    } else {
        write(count, label(levels.max, decimals))?;
    }
    let unit = text(SMALL_SIZE * view.unit, Anchor::Middle);
    canvas.draw(&Text::new(
        panel.unit,
        pixel((left + BAR / 2.0, view.top - 22.0), view.unit),
        unit,
    ))
}

/// Grey with diagonal lines over every cell that touches a value that is not finite.
fn hatch<B: DrawingBackend>(
    canvas: &Canvas<B>,
    grid: &Grid,
    values: &[f64],
    view: &View,
) -> Outcome<B> {
    for j in 0..grid.ys.len() - 1 {
        for i in 0..grid.xs.len() - 1 {
            let corners = [(i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)];
            if corners
                .iter()
                .all(|&(i, j)| values[grid.index(i, j)].is_finite())
            {
                continue;
            }
            let (x0, y0) = view.place((grid.xs[i], grid.ys[j + 1]));
            let (x1, y1) = view.place((grid.xs[i + 1], grid.ys[j]));
            let ends = [pixel((x0, y0), view.unit), pixel((x1, y1), view.unit)];
            canvas.draw(&Rectangle::new(ends, theme::HATCHED.filled()))?;
            for (from, to) in diagonals((x0, y0), (x1, y1)) {
                let line = vec![pixel(from, view.unit), pixel(to, view.unit)];
                canvas.draw(&PathElement::new(line, stroke(theme::ARROW, 1.0, view)))?;
            }
        }
    }
    Ok(())
}

/// Lines x + y = c within a box, on one lattice for the whole figure.
fn diagonals((x0, y0): (f64, f64), (x1, y1): (f64, f64)) -> Vec<((f64, f64), (f64, f64))> {
    const STEP: f64 = 12.0;
    let first = ((x0 + y0) / STEP).ceil() as i64;
    let last = ((x1 + y1) / STEP).floor() as i64;
    (first..=last)
        .map(|k| {
            let c = k as f64 * STEP;
            let (a, b) = ((c - y1).max(x0), (c - y0).min(x1));
            ((a, c - a), (b, c - b))
        })
        .collect()
}

fn arrow<B: DrawingBackend>(
    canvas: &Canvas<B>,
    from: (f64, f64),
    to: (f64, f64),
    view: &View,
) -> Outcome<B> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy);
    if length < 4.0 * MARK {
        return Ok(());
    }
    let (ux, uy) = (dx / length, dy / length);
    let tip = (to.0 - ux * MARK * 1.5, to.1 - uy * MARK * 1.5);
    let along =
        |back: f64, side: f64| (tip.0 - ux * back - uy * side, tip.1 - uy * back + ux * side);
    let shaft = vec![pixel(from, view.unit), pixel(along(10.0, 0.0), view.unit)];
    canvas.draw(&PathElement::new(shaft, stroke(theme::ARROW, 4.0, view)))?;
    let head = [tip, along(18.0, 8.0), along(18.0, -8.0)].map(|point| pixel(point, view.unit));
    canvas.draw(&Polygon::new(head.to_vec(), theme::ARROW.filled()))
}

fn frame<B: DrawingBackend>(canvas: &Canvas<B>, panel: &Panel, view: &View) -> Outcome<B> {
    let corners = [
        pixel((view.left, view.top), view.unit),
        pixel((view.right(), view.bottom()), view.unit),
    ];
    canvas.draw(&Rectangle::new(corners, stroke(theme::INK, 2.0, view)))?;
    let middle = (view.left + view.right()) / 2.0;
    let write = |label: &str, at: (f64, f64), size: f64, anchor: Anchor| {
        let style = text(size * view.unit, anchor);
        canvas.draw(&Text::new(label.to_string(), pixel(at, view.unit), style))
    };
    write(
        &panel.title,
        (middle, view.top - 26.0),
        TITLE_SIZE,
        Anchor::Middle,
    )?;
    write(
        "distance along u1",
        (middle, view.bottom() + 52.0),
        TEXT_SIZE,
        Anchor::Top,
    )?;
    let upright = (view.left - 72.0, (view.top + view.bottom()) / 2.0);
    write("distance along u2", upright, TEXT_SIZE, Anchor::Upwards)?;
    for (value, label) in ticks(view.x) {
        let (x, y) = view.place((value, view.y.0));
        let line = vec![pixel((x, y), view.unit), pixel((x, y + 8.0), view.unit)];
        canvas.draw(&PathElement::new(line, stroke(theme::INK, 2.0, view)))?;
        write(&label, (x, y + 16.0), SMALL_SIZE, Anchor::Top)?;
    }
    for (value, label) in ticks(view.y) {
        let (x, y) = view.place((view.x.0, value));
        let line = vec![pixel((x - 8.0, y), view.unit), pixel((x, y), view.unit)];
        canvas.draw(&PathElement::new(line, stroke(theme::INK, 2.0, view)))?;
        write(&label, (x - 14.0, y), SMALL_SIZE, Anchor::Right)?;
    }
    Ok(())
}

/// Three to seven round values within a range.
fn ticks((min, max): (f64, f64)) -> Vec<(f64, String)> {
    let step = nice_at_most((max - min) / 3.0);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (min / step).ceil() as i64;
    let last = (max / step).floor() as i64;
    (first..=last.min(first + 20))
        .map(|k| {
            let value = k as f64 * step;
            (value, label(value, decimals))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::grid::linspace;
    use crate::result::plane::{Checkpoint, Geometry, Summary};
    use crate::result::provenance::Provenance;
    use crate::result::score::DatasetInfo;

    fn plane(nx: usize, ny: usize, loss: impl Fn(f64, f64) -> f64) -> Plane {
        let grid = Grid {
            xs: linspace(-1.5, 6.5, nx),
            ys: linspace(-1.5, 4.5, ny),
        };
        let roles = [Role::Train, Role::Test, Role::Shift, Role::Shift];
        let datasets = ["train", "test", "sketch", "rendition"].iter().zip(roles);
        let score = |(x, y): (f64, f64)| {
            let loss = loss(x, y);
            Score {
                loss,
                loss_se: 0.01,
                error: (loss / (1.0 + loss)).clamp(0.0, 1.0),
                error_se: 0.003,
                nonfinite: usize::from(!loss.is_finite()),
            }
        };
        let scores: Vec<Score> = grid.points().map(score).collect();
        let point = |name: &str, x, y| Checkpoint {
            name: name.into(),
            x,
            y,
            scores: Vec::new(),
        };
        Plane {
            coefficients: vec![[0.0; 3]; grid.len()],
            datasets: datasets
                .map(|(name, role)| DatasetInfo {
                    name: (*name).into(),
                    role,
                    samples: 1000,
                })
                .collect(),
            scores: vec![scores; 4],
            summary: Summary {
                geometry: Geometry {
                    norm_a: 5.0,
                    norm_b: 5.0,
                    angle_deg: 37.0,
                    cosine: 0.8,
                    a: [5.0, 0.0],
                    b: [4.0, 3.0],
                },
                checkpoints: vec![
                    point("zs", 0.0, 0.0),
                    point("ft1", 5.0, 0.0),
                    point("ft2 with a name that goes on and on and on", 4.0, 3.0),
                    point("soup", 4.5, 1.5),
                ],
                minimum: Vec::new(),
                checks: Vec::new(),
                warnings: Vec::new(),
                provenance: Provenance {
                    command: Vec::new(),
                    version: String::new(),
                    files: Default::default(),
                    settings: Default::default(),
                    onnxruntime: String::new(),
                    provider: String::new(),
                    wall_seconds: 0.0,
                },
            },
            grid,
        }
    }

    fn bowl(x: f64, y: f64) -> f64 {
        0.1 + 0.05 * ((x - 4.0).powi(2) + (y - 1.0).powi(2))
    }

    #[test]
    fn the_paper_s_panels_carry_their_titles_axes_and_names() {
        let drawing = draw(&plane(21, 16, bowl), Panels::Paper).unwrap();
        let svg = &drawing.svg;
        for words in [
            "train loss (nats)",
            "test error (%)",
            "mean error over 2 shifts (%)",
            "θ0 zs",
            "θ1 ft1",
            "soup ½θ1 + ½θ2",
            "smallest on the grid",
        ] {
            assert_eq!(svg.matches(words).count(), 1, "{words}");
        }
        assert_eq!(svg.matches("distance along u1").count(), 3);
        assert_eq!(svg.matches("distance along u2").count(), 3);
        assert!(svg.len() < 1_500_000);
        assert!(drawing.png.starts_with(b"\x89PNG"));
    }

    #[test]
    fn all_panels_add_one_a_shift_set() {
        let svg = draw(&plane(9, 7, bowl), Panels::All).unwrap().svg;
        assert_eq!(svg.matches("distance along u1").count(), 5);
        assert!(svg.contains("sketch error (%)") && svg.contains("rendition error (%)"));
    }

    #[test]
    fn one_scale_serves_both_axes_and_markers_lie_inside() {
        let plane = plane(21, 16, bowl);
        let figure = Figure {
            panels: choose(&plane, Panels::Paper),
            plane: &plane,
        };
        let (x, y) = extent(&plane.grid);
        let view = View {
            unit: 1.0,
            left: 10.0,
            top: 20.0,
            scale: figure.scale(),
            x,
            y,
            height: figure.plot_height(),
        };
        let (origin, across, up) = (
            view.place((0.0, 0.0)),
            view.place((1.0, 0.0)),
            view.place((0.0, 1.0)),
        );
        assert!((across.0 - origin.0 - (origin.1 - up.1)).abs() < 1e-9);
        for point in &plane.summary.checkpoints {
            let (px, py) = view.place((point.x, point.y));
            assert!(px > view.left && px < view.right() && py > view.top && py < view.bottom());
        }
    }

    #[test]
    fn cells_that_are_not_finite_are_hatched() {
        let hatched = |svg: &str| svg.to_lowercase().matches("#d7d7d7").count();
        assert_eq!(
            hatched(&draw(&plane(9, 7, bowl), Panels::Paper).unwrap().svg),
            0
        );
        let corner = |x: f64, y: f64| {
            if x > 6.0 && y > 4.0 {
                f64::NAN
            } else {
                bowl(x, y)
            }
        };
        // One grid point, one cell a panel.
        assert_eq!(
            hatched(&draw(&plane(9, 7, corner), Panels::Paper).unwrap().svg),
            3
        );
    }

    #[test]
    fn odd_surfaces_are_drawn_without_panic() {
        let surfaces: [fn(f64, f64) -> f64; 5] = [
            |_, _| 2.0,
            |_, _| f64::NAN,
            |x, _| if x > 5.0 { f64::INFINITY } else { 1e-9 * x },
            |x, y| 1e12 * (x * x + y * y),
            |x, y| (x * y).sin(),
        ];
        for surface in surfaces {
            for (nx, ny) in [(2, 2), (7, 5)] {
                draw(&plane(nx, ny, surface), Panels::Paper).unwrap();
            }
        }
        assert!(draw(&plane(1, 5, bowl), Panels::Paper).is_err());
    }
}
