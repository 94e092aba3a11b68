//! A surface on its axes: heat map, filled contours, contour lines, hatching, colour bar.

use plotters::prelude::*;

use super::axes::Axes;
use super::canvas::{Anchor, Canvas, DrawResult, Pixel};
use super::numbers::{decimals, fixed, label};
use super::placed_labels::{Obstacle, PlacedLabels};
use super::refined_surface::RefinedSurface;
use super::text::SMALL;
use super::theme;
use crate::result::contour_levels::ContourLevels;
use crate::result::grid::Grid;

/// Fraction of the way to the next band's colour that the heat map covers within a band; the rest
/// is the step at the contour line.
const SHADING: f64 = 0.45;

/// Contour lines smaller than this, in layout pixels, are left out.
const SMALLEST_CONTOUR: f64 = 10.0;

/// Width of the colour bar.
pub const BAR_WIDTH: f64 = 26.0;
/// Space between the axes and the colour bar.
pub const BAR_GAP: f64 = 20.0;

/// Draws the surface. Labels stay away from `marks`.
pub fn draw<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    grid: &Grid,
    values: &[f64],
    levels: &ContourLevels,
    axes: &Axes,
    marks: Vec<Obstacle>,
) -> DrawResult<B> {
    let surface = RefinedSurface::new(grid, values, ceiling(levels));
    let scale = BandColors::new(levels);
    canvas.raster(axes.corners(), |across, down| {
        let xs: Vec<f64> = across
            .iter()
            .map(|dx| axes.x.0 + dx / axes.scale[0])
            .collect();
        let ys: Vec<f64> = down
            .iter()
            .map(|dy| axes.y.1 - dy / axes.scale[1])
            .collect();
        let values = surface.sample(&xs, &ys);
        values.into_iter().map(|value| scale.color(value)).collect()
    })?;
    let mut labels = PlacedLabels::new(marks);
    for level in &levels.values {
        let lines = surface.lines(*level);
        let lines = lines.iter().map(|line| axes.places(line));
        let lines: Vec<Vec<Pixel>> = lines.filter(|line| !is_speck(line)).collect();
        for line in &lines {
            canvas.line(line, theme::INK, 1.5)?;
        }
        labels.place(&lines, &label(*level), axes);
    }
    hatch(canvas, grid, values, axes)?;
    labels.draw(canvas)
}

/// Whether a line is too small to be recognized as a line.
fn is_speck(line: &[Pixel]) -> bool {
    let far = |place: &Pixel| (place.0 - line[0].0).hypot(place.1 - line[0].1) > SMALLEST_CONTOUR;
    !line.iter().any(far)
}

/// The value above which colours no longer change: the last level plus the range below it.
fn ceiling(levels: &ContourLevels) -> f64 {
    let shown = levels.values.last().copied().unwrap_or(levels.max);
    shown + (shown - levels.min).max(f64::MIN_POSITIVE)
}

/// The colours of values: a heat map that steps at each level.
struct BandColors {
    /// Ends of the bands, from the smallest value to the largest one with a colour of its own.
    ends: Vec<f64>,
}

impl BandColors {
    fn new(levels: &ContourLevels) -> Self {
        let top = levels.max.min(ceiling(levels));
        let ends = std::iter::once(levels.min).chain(levels.values.iter().copied());
        Self {
            ends: ends.chain([top]).collect(),
        }
    }

    fn bands(&self) -> usize {
        self.ends.len() - 1
    }

    fn color(&self, value: f64) -> RGBColor {
        let above = self.ends.partition_point(|end| *end <= value);
        let band = above.clamp(1, self.bands()) - 1;
        let width = self.ends[band + 1] - self.ends[band];
        let part = (value - self.ends[band]) / width;
        self.shade(
            band,
            if part.is_nan() {
                0.0
            } else {
                part.clamp(0.0, 1.0)
            },
        )
    }

    /// The colour at a fraction of a band.
    fn shade(&self, band: usize, part: f64) -> RGBColor {
        let within = SHADING * (part - 0.5);
        theme::shade((band as f64 + 0.5 + within) / self.bands() as f64)
    }
}

/// Covers every cell that touches a value that is not finite with grey and diagonal lines.
pub fn hatch<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    grid: &Grid,
    values: &[f64],
    axes: &Axes,
) -> DrawResult<B> {
    for j in 0..grid.ys.len() - 1 {
        for i in 0..grid.xs.len() - 1 {
            let corners = [(i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)];
            if corners
                .iter()
                .all(|&(i, j)| values[grid.index(i, j)].is_finite())
            {
                continue;
            }
            let ends = [
                axes.place((grid.xs[i], grid.ys[j + 1])),
                axes.place((grid.xs[i + 1], grid.ys[j])),
            ];
            canvas.fill(ends, theme::HATCHED)?;
            for line in diagonals(ends) {
                canvas.line(&line, theme::ARROW, 1.0)?;
            }
        }
    }
    Ok(())
}

/// Lines x + y = c within a box, on one lattice for the whole figure.
fn diagonals([(x0, y0), (x1, y1)]: [Pixel; 2]) -> Vec<[Pixel; 2]> {
    const HATCH_STEP: f64 = 12.0;
    let first = ((x0 + y0) / HATCH_STEP).ceil() as i64;
    let last = ((x1 + y1) / HATCH_STEP).floor() as i64;
    (first..=last)
        .map(|k| {
            let c = k as f64 * HATCH_STEP;
            let (a, b) = ((c - y1).max(x0), (c - y0).min(x1));
            [(a, c - a), (b, c - b)]
        })
        .collect()
}

/// Draws the colour bar: one box per band, with the levels written at the boundaries.
pub fn color_bar<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    levels: &ContourLevels,
    unit: &str,
    (left, top): Pixel,
    height: f64,
) -> DrawResult<B> {
    let scale = BandColors::new(levels);
    let count = scale.bands() as f64;
    let at = |bands: f64| top + height - height * bands / count;
    canvas.raster(
        [(left, top), (left + BAR_WIDTH, top + height)],
        |across, down| {
            let shade = |dy: &f64| {
                let bands = count * (1.0 - dy / height);
                let band = (bands as usize).min(scale.bands() - 1);
                scale.shade(band, bands - band as f64)
            };
            let rows = down.iter().map(shade);
            rows.flat_map(|color| across.iter().map(move |_| color))
                .collect()
        },
    )?;
    for band in 0..scale.bands() {
        let edges = [band as f64 + 1.0, band as f64].map(at);
        canvas.outline([(left, edges[0]), (left + BAR_WIDTH, edges[1])], 1.0)?;
    }
    // A low bar has no room for a number at every boundary.
    let every = (1.1 * SMALL * count / height).ceil().max(1.0) as usize;
    for (index, text) in bar_labels(levels).iter().enumerate() {
        if index % every == 0 {
            let place = (left + BAR_WIDTH + 8.0, at(index as f64));
            canvas.write(text, place, SMALL, Anchor::Left)?;
        }
    }
    let above = (left + BAR_WIDTH / 2.0, top - 26.0);
    canvas.write(unit, above, SMALL, Anchor::Middle)
}

/// The smallest value, the levels, and the largest value unless it is far off the scale.
fn bar_labels(levels: &ContourLevels) -> Vec<String> {
    let Some((first, last)) = levels.values.first().zip(levels.values.last()) else {
        return unlevelled_labels(levels.min, levels.max);
    };
    let top = if levels.max > last + 3.0 * (last - levels.min) {
        format!("≥ {}", label(*last))
    } else {
        fixed(levels.max, three_digits(levels.max))
    };
    let min = fixed(levels.min, three_digits(levels.min).max(decimals(*first)));
    std::iter::once(min)
        .chain(levels.values.iter().map(|level| label(*level)))
        .chain([top])
        .collect()
}

/// Labels for the ends of a surface that no level crosses, with enough digits to tell them apart; a
/// single label if the ends are equal up to rounding.
fn unlevelled_labels(min: f64, max: f64) -> Vec<String> {
    let least = three_digits(min.abs().max(max.abs()));
    let labels = |decimals: usize| [min, max].map(|value| fixed(value, decimals));
    let apart = (least..least + 4).map(labels).find(|[a, b]| a != b);
    apart.map_or_else(|| vec![fixed(min, least)], Vec::from)
}

/// The number of decimals that shows three digits of a value.
fn three_digits(value: f64) -> usize {
    if value == 0.0 {
        return 0;
    }
    (2.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_without_levels_has_one_rounded_number_or_two_that_differ() {
        for (min, max, expected) in [
            (122.0 / 3.0, 122.0 / 3.0, vec!["40.7"]),
            (122.0 / 3.0, 122.0 / 3.0 + 1e-12, vec!["40.7"]),
            (40.66, 40.68, vec!["40.66", "40.68"]),
            (0.0, 0.0, vec!["0"]),
            (-0.125, 0.5, vec!["−0.125", "0.500"]),
        ] {
            let levels = ContourLevels {
                values: Vec::new(),
                min,
                max,
            };
            assert_eq!(bar_labels(&levels), expected);
        }
    }
}
