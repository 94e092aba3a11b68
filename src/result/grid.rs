//! The grid of the plane: the only code that maps an index to a point.

use serde::{Deserialize, Serialize};

/// A grid of points (x_i, y_j) with i < nx and j < ny, stored row-major in j: all i of j = 0 come
/// first.
///
/// The axes are independent: nx may differ from ny.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Coordinates along u1, ascending; length nx.
    pub xs: Vec<f64>,
    /// Coordinates along u2, ascending; length ny.
    pub ys: Vec<f64>,
}

impl Grid {
    /// Number of points, nx·ny.
    pub fn len(&self) -> usize {
        self.xs.len() * self.ys.len()
    }

    /// Whether the grid has no point.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Storage index of grid point (i, j).
    pub fn index(&self, i: usize, j: usize) -> usize {
        assert!(i < self.xs.len() && j < self.ys.len());
        j * self.xs.len() + i
    }

    /// Grid point (i, j) of a storage index; inverse of [`Grid::index`].
    pub fn ij(&self, index: usize) -> (usize, usize) {
        (index % self.xs.len(), index / self.xs.len())
    }

    /// Storage indices of the points beside grid point (i, j) along either axis, at most four.
    pub fn neighbors(&self, i: usize, j: usize) -> impl Iterator<Item = usize> + '_ {
        let beside = |k: usize, n: usize| [k.checked_sub(1), Some(k + 1).filter(|&k| k < n)];
        let along_x = beside(i, self.xs.len()).into_iter().flatten();
        let along_y = beside(j, self.ys.len()).into_iter().flatten();
        let along_x = along_x.map(move |i| self.index(i, j));
        along_x.chain(along_y.map(move |j| self.index(i, j)))
    }

    /// Coordinates (x_i, y_j) of a storage index.
    pub fn point(&self, index: usize) -> (f64, f64) {
        let (i, j) = self.ij(index);
        (self.xs[i], self.ys[j])
    }

    /// All points in storage order.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        (0..self.len()).map(|index| self.point(index))
    }
}

/// `n` evenly spaced values from `min` to `max`, both ends exact (`n` = 1 gives `min`).
pub fn linspace(min: f64, max: f64, n: usize) -> Vec<f64> {
    let last = n.saturating_sub(1).max(1) as f64;
    (0..n)
        .map(|k| match k {
            0 => min,
            k if k + 1 == n => max,
            k => min + (max - min) * (k as f64 / last),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_map_is_row_major_in_j_on_a_non_square_grid() {
        let grid = Grid {
            xs: vec![0.0, 1.0, 2.0],
            ys: vec![10.0, 20.0],
        };
        let points: Vec<_> = grid.points().collect();
        assert_eq!(points[0], (0.0, 10.0));
        assert_eq!(points[2], (2.0, 10.0));
        assert_eq!(points[3], (0.0, 20.0));
        for index in 0..grid.len() {
            let (i, j) = grid.ij(index);
            assert_eq!(grid.index(i, j), index);
        }
        let neighbors: Vec<usize> = grid.neighbors(1, 0).collect();
        assert_eq!(neighbors, [0, 2, 4]);
    }

    #[test]
    fn linspace_includes_both_ends_exactly() {
        let values = linspace(-0.1, 0.3, 7);
        assert_eq!((values[0], values[6], values.len()), (-0.1, 0.3, 7));
        assert_eq!(linspace(2.0, 3.0, 1), vec![2.0]);
        assert!(linspace(2.0, 3.0, 0).is_empty());
    }
}
