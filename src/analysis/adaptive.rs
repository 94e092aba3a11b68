//! Measures a grid where it matters: coarsely at first, more finely where contours pass. Values in
//! between are interpolated for the picture.

use crate::result::grid::Grid;
use crate::result::panels::{Panels, choose};
use crate::result::plane::Plane;

/// The points of a grid that are measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Refinement {
    size: [usize; 2],
    /// Spacing of the first points, a power of two.
    coarsest: usize,
    /// Spacing of the points where the grid was refined.
    stride: usize,
    measured: Vec<bool>,
    /// The surfaces before the latest points were measured.
    before: Vec<Vec<f64>>,
    /// The latest points.
    latest: Vec<bool>,
}

/// A surface to draw: its values at all points, and the levels of its contours.
#[derive(Debug, Clone, PartialEq)]
pub struct Contours {
    /// Values in the grid's order.
    pub values: Vec<f64>,
    /// Levels, ascending.
    pub levels: Vec<f64>,
}

/// Minimum number of cells along the shorter side of the first, coarse grid: fewer would miss the
/// basin.
const CELLS: usize = 3;

/// Maximum spacing of the first points: anything narrower than this is not found.
const COARSEST: usize = 8;

/// The surfaces that the panels of a plane show.
pub fn contours(plane: &Plane, panels: Panels) -> Vec<Contours> {
    let contours = choose(plane.into(), panels)
        .into_iter()
        .map(|panel| Contours {
            levels: panel.levels().map_or(Vec::new(), |levels| levels.values),
            values: panel.values,
        });
    contours.collect()
}

impl Contours {
    /// The distance of each level to the next one, or to the end of the values.
    fn gaps(&self) -> Vec<f64> {
        let finite = || {
            self.values
                .iter()
                .copied()
                .filter(|value| value.is_finite())
        };
        let ends = [
            finite().fold(f64::INFINITY, f64::min),
            finite().fold(f64::NEG_INFINITY, f64::max),
        ];
        let at = |k: Option<usize>| k.and_then(|k| self.levels.get(k)).copied();
        let levels = self.levels.iter().enumerate();
        let gap = |(k, level): (usize, &f64)| {
            let below = at(k.checked_sub(1)).unwrap_or(ends[0]);
            let above = at(Some(k + 1)).unwrap_or(ends[1]);
            (level - below).min(above - level)
        };
        levels.map(gap).collect()
    }
}

/// Interpolation that was off by at most this fraction of the distance between levels is good
/// enough: at half the spacing it is off by a quarter of that.
const FORESEEN: f64 = 0.5;

impl Refinement {
    /// All points of a grid.
    pub fn whole(grid: &Grid) -> Self {
        Self::every(1, grid)
    }

    /// Selects evenly spaced points of a grid, to be refined.
    pub fn coarse(grid: &Grid) -> Self {
        let shorter = grid.xs.len().min(grid.ys.len()).saturating_sub(1);
        let mut stride = 1;
        while stride < COARSEST && shorter / (2 * stride) >= CELLS {
            stride *= 2;
        }
        Self::every(stride, grid)
    }

    fn every(stride: usize, grid: &Grid) -> Self {
        let mut refinement = Self {
            size: [grid.xs.len(), grid.ys.len()],
            coarsest: stride,
            stride,
            measured: vec![false; grid.len()],
            before: Vec::new(),
            latest: vec![false; grid.len()],
        };
        let [columns, rows] = refinement.size.map(|count| lines(count, stride));
        for j in rows {
            for &i in &columns {
                let index = refinement.index(i, j);
                refinement.measured[index] = true;
            }
        }
        refinement
    }

    /// `measured[grid index]`: whether the point is measured.
    pub fn measured(&self) -> &[bool] {
        &self.measured
    }

    /// Indices of the measured points, in the grid's order.
    pub fn points(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.measured.len()).filter(|&index| self.measured[index])
    }

    /// Halves the spacing in every cell that a contour crosses, unless interpolation had predicted
    /// the latest points there well enough. Returns `false` if no point is added.
    pub fn refine(&mut self, surfaces: &[Contours]) -> bool {
        let measured = self.measured.clone();
        let gaps: Vec<Vec<f64>> = surfaces.iter().map(Contours::gaps).collect();
        while self.stride > 1 && self.measured == measured {
            let half = self.stride / 2;
            let crossed: Vec<_> = self
                .cells(self.stride)
                .filter(|cell| {
                    let mut surfaces = surfaces.iter().zip(&gaps).enumerate();
                    surfaces.any(|(k, (surface, gaps))| self.is_wanted(k, surface, gaps, *cell))
                })
                .collect();
            for (i, j) in crossed.into_iter().flat_map(|cell| halved(cell, half)) {
                let index = self.index(i, j);
                self.measured[index] = true;
            }
            self.stride = half;
        }
        let pairs = self.measured.iter().zip(&measured);
        self.latest = pairs.map(|(now, before)| now != before).collect();
        self.before = surfaces.iter().map(|s| s.values.clone()).collect();
        self.latest.contains(&true)
    }

    /// Fills in the values between measured points, by linear interpolation along each side of
    /// their cell.
    pub fn interpolate(&self, values: &mut [f64]) {
        let mut stride = self.coarsest;
        while stride > 1 {
            for cell @ [left, right, lower, upper] in self.cells(stride) {
                let corners = [(left, lower), (right, lower), (left, upper), (right, upper)];
                for (i, j) in halved(cell, stride / 2) {
                    let index = self.index(i, j);
                    if !self.measured[index] && !corners.contains(&(i, j)) {
                        values[index] = self.between(values, cell, (i, j));
                    }
                }
            }
            stride /= 2;
        }
    }

    fn between(&self, values: &[f64], cell: [usize; 4], (i, j): (usize, usize)) -> f64 {
        let [left, right, lower, upper] = cell;
        let part = |at: usize, from: usize, to: usize| match to - from {
            0 => 0.0,
            width => (at - from) as f64 / width as f64,
        };
        let (across, up) = (part(i, left, right), part(j, lower, upper));
        let corners = [
            ((1.0 - across) * (1.0 - up), left, lower),
            (across * (1.0 - up), right, lower),
            ((1.0 - across) * up, left, upper),
            (across * up, right, upper),
        ];
        // A corner with zero weight may be infinite.
        let counted = corners.into_iter().filter(|(weight, ..)| *weight > 0.0);
        counted
            .map(|(weight, i, j)| weight * values[self.index(i, j)])
            .sum()
    }

    /// Whether a contour, or the edge of the finite values, passes between the corners of a cell
    /// where the surface is not known well enough.
    fn is_wanted(&self, k: usize, surface: &Contours, gaps: &[f64], cell: [usize; 4]) -> bool {
        let [left, right, lower, upper] = cell;
        let corners = [(left, lower), (right, lower), (left, upper), (right, upper)];
        let corners = corners.map(|(i, j)| self.index(i, j));
        let values = corners.map(|index| surface.values[index]);
        let finite = values.iter().filter(|value| value.is_finite()).count();
        if finite < 4 {
            return finite > 0;
        }
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (min, max) = (min.min(value), max.max(value));
        }
        let mut levels = surface.levels.iter().zip(gaps);
        let missed = self.missed(k, surface, corners);
        levels.any(|(level, gap)| min < *level && *level <= max && missed > FORESEEN * gap)
    }

    /// The largest error of interpolation at the latest points among the corners of a cell;
    /// infinite if there was no interpolation yet.
    fn missed(&self, k: usize, surface: &Contours, corners: [usize; 4]) -> f64 {
        let Some(before) = self.before.get(k) else {
            return f64::INFINITY;
        };
        let latest = corners.into_iter().filter(|&index| self.latest[index]);
        let off = latest.map(|index| (surface.values[index] - before[index]).abs());
        off.fold(0.0, |most, off| {
            if off.is_nan() {
                f64::INFINITY
            } else {
                most.max(off)
            }
        })
    }

    /// Cells whose sides are `stride` points long (shorter at the far ends), each as (first column,
    /// last column, first row, last row).
    fn cells(&self, stride: usize) -> impl Iterator<Item = [usize; 4]> + use<> {
        let [columns, rows] = self.size.map(|count| lines(count, stride));
        let pairs = |lines: Vec<usize>| -> Vec<[usize; 2]> {
            lines.windows(2).map(|pair| [pair[0], pair[1]]).collect()
        };
        let (columns, rows) = (pairs(columns), pairs(rows));
        rows.into_iter().flat_map(move |[lower, upper]| {
            let columns = columns.clone();
            columns
                .into_iter()
                .map(move |[left, right]| [left, right, lower, upper])
        })
    }

    fn index(&self, i: usize, j: usize) -> usize {
        j * self.size[0] + i
    }
}

/// The indices 0, stride, 2·stride, …, and the last of `count`.
fn lines(count: usize, stride: usize) -> Vec<usize> {
    let mut lines: Vec<usize> = (0..count).step_by(stride).collect();
    if lines.last().is_some_and(|last| last + 1 < count) {
        lines.push(count - 1);
    }
    lines
}

/// The points of a cell at spacing `half`, including the ends of its sides.
fn halved([left, right, lower, upper]: [usize; 4], half: usize) -> Vec<(usize, usize)> {
    let along = |from: usize, to: usize| {
        let middle = (from + half < to).then_some(from + half);
        std::iter::once(from).chain(middle).chain([to])
    };
    let row = |j: usize| along(left, right).map(move |i| (i, j));
    along(lower, upper).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::grid::linspace;

    fn grid(nx: usize, ny: usize) -> Grid {
        Grid {
            xs: linspace(-1.0, 1.0, nx),
            ys: linspace(-1.0, 1.0, ny),
        }
    }

    /// Refines until no point is added; returns the values and which points were measured.
    fn run(grid: &Grid, levels: &[f64], of: impl Fn(f64, f64) -> f64) -> (Vec<f64>, Vec<bool>) {
        let mut refinement = Refinement::coarse(grid);
        loop {
            let mut values = vec![f64::NAN; grid.len()];
            for index in refinement.points() {
                let (x, y) = grid.point(index);
                values[index] = of(x, y);
            }
            refinement.interpolate(&mut values);
            let surface = Contours {
                values: values.clone(),
                levels: levels.to_vec(),
            };
            if !refinement.refine(&[surface]) {
                return (values, refinement.measured().to_vec());
            }
        }
    }

    #[test]
    fn a_cone_is_known_to_a_part_of_the_levels_and_measured_most_where_it_bends() {
        for (nx, ny) in [(65, 65), (70, 51)] {
            let grid = grid(nx, ny);
            let cone = |x: f64, y: f64| (x * x + y * y).sqrt();
            let levels: Vec<f64> = (1..7).map(|k| 0.2 * f64::from(k)).collect();
            let (values, measured) = run(&grid, &levels, cone);
            let count = measured.iter().filter(|measured| **measured).count();
            assert!(count < grid.len() / 3, "{count} of {}", grid.len());
            for (index, value) in values.iter().enumerate() {
                let (x, y) = grid.point(index);
                let off = (value - cone(x, y)).abs();
                // Below the first level no contour reveals the tip.
                assert!(off < 0.25 * 0.2 || cone(x, y) < 0.2, "({x}, {y}): {off}");
                assert!(!measured[index] || off == 0.0);
            }
        }
    }

    #[test]
    fn a_bilinear_surface_is_interpolated_exactly_up_to_the_far_ends() {
        let grid = grid(30, 23);
        let (values, measured) = run(&grid, &[], |x, y| 1.0 + 2.0 * x - y + 0.5 * x * y);
        for (index, (x, y)) in grid.points().enumerate() {
            let expected = 1.0 + 2.0 * x - y + 0.5 * x * y;
            assert!((values[index] - expected).abs() < 1e-12, "({x}, {y})");
        }
        let count = measured.iter().filter(|measured| **measured).count();
        assert!(count < 100, "{count}");
    }

    #[test]
    fn the_edge_of_what_is_finite_is_measured() {
        let grid = grid(33, 33);
        let (values, _) = run(&grid, &[], |x, _| if x > 0.3 { f64::NAN } else { 1.0 });
        for (index, (x, _)) in grid.points().enumerate() {
            assert_eq!(values[index].is_nan(), x > 0.3, "{x}");
        }
    }

    #[test]
    fn small_and_whole_grids_are_measured_at_once() {
        let small = grid(4, 3);
        let mut refinement = Refinement::coarse(&small);
        assert!(refinement.measured().iter().all(|measured| *measured));
        assert!(!refinement.refine(&[]));
        assert_eq!(Refinement::whole(&grid(40, 30)).points().count(), 1200);
    }
}
