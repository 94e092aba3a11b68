//! A surface refined between its grid points, and its contour lines, in data coordinates.

use contour::ContourBuilder;

use super::axes::Xy;
use crate::result::grid::Grid;

/// A closed ring or an open line of (x, y).
pub type ContourLine = Vec<Xy>;

/// Number of subdivisions between two grid points, for smooth lines.
const POINTS_PER_STEP: usize = 6;

/// A surface refined between its grid points.
pub struct RefinedSurface {
    xs: Vec<f64>,
    ys: Vec<f64>,
    values: Vec<f64>,
}

impl RefinedSurface {
    /// Refines by monotone cubic interpolation (Fritsch and Carlson 1980) along x, then y: the
    /// surface passes through the values and has no extremum that they do not have. Values above
    /// `high` count as `high`, and so does every cell that touches a value that is not finite; the
    /// caller must cover those.
    pub fn new(grid: &Grid, values: &[f64], high: f64) -> Self {
        let (nx, ny) = (grid.xs.len(), grid.ys.len());
        let finite = |v: f64| if v.is_finite() { v.min(high) } else { f64::NAN };
        let rows: Vec<Vec<f64>> = (0..ny)
            .map(|j| {
                let row: Vec<f64> = (0..nx).map(|i| finite(values[grid.index(i, j)])).collect();
                refine(&row)
            })
            .collect();
        let xs = refine_axis(&grid.xs);
        let ys = refine_axis(&grid.ys);
        let mut fine = vec![0.0; xs.len() * ys.len()];
        for i in 0..xs.len() {
            let column: Vec<f64> = rows.iter().map(|row| row[i]).collect();
            for (j, value) in refine(&column).into_iter().enumerate() {
                fine[j * xs.len() + i] = if value.is_nan() { high } else { value };
            }
        }
        Self {
            xs,
            ys,
            values: fine,
        }
    }

    /// Values at the crossings of columns and rows, row by row, linear between refined points.
    pub fn sample(&self, xs: &[f64], ys: &[f64]) -> Vec<f64> {
        let columns: Vec<(usize, f64)> = xs.iter().map(|x| position(&self.xs, *x)).collect();
        let row = |y: &f64| {
            let (j, up) = position(&self.ys, *y);
            let (low, high) = (
                &self.values[j * self.xs.len()..],
                &self.values[(j + 1) * self.xs.len()..],
            );
            columns.iter().map(move |&(i, right)| {
                let across = |row: &[f64]| row[i] + right * (row[i + 1] - row[i]);
                across(low) + up * (across(high) - across(low))
            })
        };
        ys.iter().flat_map(row).collect()
    }

    /// The lines on which the surface has the value `level`, without the segments along the frame
    /// that close them.
    pub fn lines(&self, level: f64) -> Vec<ContourLine> {
        let Ok(contours) = self.builder().contours(&self.values, &[level]) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for polygon in contours.iter().flat_map(|contour| contour.geometry()) {
            for ring in std::iter::once(polygon.exterior()).chain(polygon.interiors()) {
                self.open(&self.path(ring), &mut lines);
            }
        }
        lines
    }

    /// The contour library puts value (i, j) at (i + ½, j + ½).
    fn builder(&self) -> ContourBuilder {
        ContourBuilder::new(self.xs.len(), self.ys.len(), true)
    }

    /// Converts cell coordinates to data coordinates; points outside the frame are moved onto it.
    fn path(&self, ring: &geo_types::LineString<f64>) -> ContourLine {
        let at = |axis: &[f64], cell: f64| {
            let last = axis.len() - 1;
            let cell = (cell - 0.5).clamp(0.0, last as f64);
            let low = (cell.floor() as usize).min(last - 1);
            axis[low] + (axis[low + 1] - axis[low]) * (cell - low as f64)
        };
        ring.0
            .iter()
            .map(|point| (at(&self.xs, point.x), at(&self.ys, point.y)))
            .collect()
    }

    /// Cuts a ring where it runs along the frame.
    fn open(&self, ring: &[Xy], lines: &mut Vec<ContourLine>) {
        let (x0, x1) = (self.xs[0], self.xs[self.xs.len() - 1]);
        let (y0, y1) = (self.ys[0], self.ys[self.ys.len() - 1]);
        let on_frame = |p: &Xy| p.0 == x0 || p.0 == x1 || p.1 == y0 || p.1 == y1;
        let start = ring.iter().position(on_frame).unwrap_or(0);
        let turned = ring[start..].iter().chain(ring.iter().skip(1).take(start));
        let mut line: ContourLine = Vec::new();
        for point in turned {
            let along = on_frame(point) && line.last().is_some_and(on_frame);
            if along {
                if line.len() > 1 {
                    lines.push(std::mem::take(&mut line));
                }
                line.clear();
            }
            line.push(*point);
        }
        if line.len() > 1 {
            lines.push(line);
        }
    }
}

/// The interval of an axis that contains a value, and the fraction of it that lies before the
/// value.
fn position(axis: &[f64], value: f64) -> (usize, f64) {
    let index = axis
        .partition_point(|tick| *tick <= value)
        .clamp(1, axis.len() - 1)
        - 1;
    let part = (value - axis[index]) / (axis[index + 1] - axis[index]);
    (index, part.clamp(0.0, 1.0))
}

fn refine_axis(axis: &[f64]) -> Vec<f64> {
    let steps = |pair: &[f64]| {
        let (a, b) = (pair[0], pair[1]);
        (0..POINTS_PER_STEP).map(move |k| a + (b - a) * k as f64 / POINTS_PER_STEP as f64)
    };
    axis.windows(2)
        .flat_map(steps)
        .chain(axis.last().copied())
        .collect()
}

/// Monotone cubic interpolation of evenly spaced values.
fn refine(values: &[f64]) -> Vec<f64> {
    let slopes: Vec<f64> = (0..values.len()).map(|k| slope(values, k)).collect();
    let mut fine = Vec::with_capacity((values.len() - 1) * POINTS_PER_STEP + 1);
    for k in 0..values.len() - 1 {
        fine.push(values[k]);
        for part in 1..POINTS_PER_STEP {
            let t = part as f64 / POINTS_PER_STEP as f64;
            let (t2, t3) = (t * t, t * t * t);
            fine.push(
                (2.0 * t3 - 3.0 * t2 + 1.0) * values[k]
                    + (t3 - 2.0 * t2 + t) * slopes[k]
                    + (3.0 * t2 - 2.0 * t3) * values[k + 1]
                    + (t3 - t2) * slopes[k + 1],
            );
        }
    }
    fine.extend(values.last());
    fine
}

/// The harmonic mean of the slopes on both sides; 0 at an extremum, one-sided at the ends and
/// beside a NaN.
fn slope(values: &[f64], k: usize) -> f64 {
    let known = |difference: &f64| !difference.is_nan();
    let before = k.checked_sub(1).map(|p| values[k] - values[p]);
    let after = values.get(k + 1).map(|next| next - values[k]);
    match (before.filter(known), after.filter(known)) {
        (Some(a), Some(b)) if a * b > 0.0 => 2.0 * a * b / (a + b),
        (Some(_), Some(_)) | (None, None) => 0.0,
        (Some(one), None) | (None, Some(one)) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::grid::linspace;

    fn grid() -> Grid {
        Grid {
            xs: linspace(-1.0, 3.0, 17),
            ys: linspace(10.0, 16.0, 13),
        }
    }

    fn values(grid: &Grid, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        grid.points().map(|(x, y)| f(x, y)).collect()
    }

    #[test]
    fn lines_of_a_slope_lie_where_algebra_puts_them_and_end_at_the_frame() {
        let grid = grid();
        let surface = RefinedSurface::new(&grid, &values(&grid, |x, y| x + y), 1e9);
        let lines = surface.lines(13.0);
        assert_eq!(lines.len(), 1);
        for (x, y) in &lines[0] {
            // Within one refined cell of the frame, ends are moved onto it.
            let edge = *x == -1.0 || *x == 3.0 || *y == 10.0 || *y == 16.0;
            let tolerance = if edge { 0.09 } else { 1e-9 };
            assert!((x + y - 13.0).abs() < tolerance, "{x} {y}");
        }
    }

    #[test]
    fn lines_of_a_bowl_are_circles() {
        let grid = grid();
        let f = |x: f64, y: f64| (x - 1.0).powi(2) + (y - 13.0).powi(2);
        let surface = RefinedSurface::new(&grid, &values(&grid, f), 1e9);
        let lines = surface.lines(1.5);
        assert_eq!(lines.len(), 1);
        for (x, y) in &lines[0] {
            assert!((f(*x, *y).sqrt() - 1.5_f64.sqrt()).abs() < 0.05, "{x} {y}");
        }
    }

    #[test]
    fn interpolation_passes_through_the_values_and_invents_no_extremum() {
        let values = [3.0, 1.0, 1.0, 2.0, 8.0, 7.0];
        let fine = refine(&values);
        assert_eq!(fine.len(), 5 * POINTS_PER_STEP + 1);
        for (k, value) in values.iter().enumerate() {
            assert_eq!(fine[k * POINTS_PER_STEP], *value);
        }
        assert!(fine.iter().all(|v| (1.0..=8.0).contains(v)));
    }

    #[test]
    fn a_nan_spoils_only_the_cells_that_touch_it() {
        let fine = refine(&[4.0, 3.0, f64::NAN, 1.0, 0.0]);
        let straight = |k: usize| 4.0 - k as f64 / POINTS_PER_STEP as f64;
        for k in (0..=POINTS_PER_STEP).chain(3 * POINTS_PER_STEP..=4 * POINTS_PER_STEP) {
            assert!((fine[k] - straight(k)).abs() < 1e-12, "{k}");
        }
        let lost = fine.iter().filter(|value| value.is_nan()).count();
        assert_eq!(lost, 2 * POINTS_PER_STEP - 1);
    }

    #[test]
    fn samples_pass_through_the_values() {
        let grid = grid();
        let f = |x: f64, y: f64| 2.0 * x - y;
        let surface = RefinedSurface::new(&grid, &values(&grid, f), 1e9);
        let (xs, ys) = ([-1.0, 0.3, 3.0], [10.0, 15.99, 16.0]);
        let expected = ys.iter().flat_map(|y| xs.map(|x| f(x, *y)));
        for (value, expected) in surface.sample(&xs, &ys).iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{value} {expected}");
        }
    }
}
