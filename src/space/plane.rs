//! The plane through θ0, θ1, θ2: its orthonormal basis and its coordinates.
//!
//! The origin is θ0, u1 = δ1/‖δ1‖, and u2 is the rest of δ2 after Gram–Schmidt. Coordinates are
//! Euclidean distances in parameter space. No basis vector is stored: everything follows from inner
//! products of the differences δ, and a point is a mix of the three models.

use super::gram::{Gram, for_each_block};
use super::mix::Mix;
use super::pool::Pool;
use crate::error::{Error, Result};
use crate::result::grid::{Grid, linspace};
use crate::result::plane::Geometry;

/// Smallest angle between δ1 and δ2, in radians, that still spans a plane. Weights stored as f32
/// determine δ to about 6e-8·‖θ‖/‖δ‖ relative; below this angle the plane would be rounding noise.
const SMALLEST_ANGLE: f64 = 1e-6;

/// Coordinates on the plane through member 0 and two checkpoints of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaneBasis {
    /// Coordinates of θ1 and θ2, lengths and angle.
    pub geometry: Geometry,
}

impl PlaneBasis {
    /// The plane through the first three members of `pool` (θ0, θ1, θ2), with its Gram matrix.
    ///
    /// ‖δ2⊥‖² = G22 − G12²/G11 would lose all digits if the differences are nearly parallel. So it
    /// is summed in a second pass over δ2 − s·δ1, which is corrected once for the error of s.
    ///
    /// # Errors
    /// When a checkpoint equals the origin, or δ1 and δ2 are parallel.
    pub fn of(pool: &Pool, gram: &Gram) -> Result<Self> {
        let name = |member: usize| pool.members[member].name.as_str();
        for k in 0..2 {
            if gram.total[[k, k]] == 0.0 {
                return Err(Error::input(
                    &pool.members[k + 1].path,
                    format!(
                        "equals the origin `{}` in every trained tensor, so there is no plane to draw",
                        name(0)
                    ),
                ));
            }
        }
        let (g11, g12, g22) = (gram.total[[0, 0]], gram.total[[0, 1]], gram.total[[1, 1]]);
        let slope = g12 / g11;
        let (leftover, squared_rest) = rest(pool, slope);
        let slope = slope + leftover / g11;
        let squared_rest = squared_rest - leftover * leftover / g11;
        let (norm_a, norm_b) = (g11.sqrt(), g22.sqrt());
        let along = slope * norm_a;
        let across = squared_rest.max(0.0).sqrt();
        // Also false when a value is NaN.
        let spans = across > SMALLEST_ANGLE * norm_b;
        if !spans {
            return Err(Error::input(
                &pool.members[2].path,
                format!(
                    "lies on the line through `{}` and `{}`, so the three span no plane (angle below {SMALLEST_ANGLE} rad)",
                    name(0),
                    name(1)
                ),
            )
            .help("name two checkpoints that were fine-tuned apart"));
        }
        Ok(Self {
            geometry: Geometry {
                norm_a,
                norm_b,
                angle_deg: across.atan2(along).to_degrees(),
                cosine: along / along.hypot(across),
                a: [norm_a, 0.0],
                b: [along, across],
            },
        })
    }

    /// Coefficients `[θ0, θ1, θ2]` of the point θ0 + x·u1 + y·u2.
    pub fn coefficients(&self, x: f64, y: f64) -> [f64; 3] {
        let [along, across] = self.geometry.b;
        let b = y / across;
        let a = (x - b * along) / self.geometry.norm_a;
        [1.0 - a - b, a, b]
    }

    /// The point as a mix of a pool with `members` models.
    pub fn mix(&self, x: f64, y: f64, members: usize) -> Mix {
        let mut coefficients = self.coefficients(x, y).to_vec();
        coefficients.resize(members, 0.0);
        Mix::new(coefficients)
    }

    /// Projects checkpoint `k` of the Gram matrix (θ1 is 0) onto the plane: coordinates x and y of
    /// the nearest point, and the distance to it.
    pub fn project(&self, gram: &Gram, k: usize) -> (f64, f64, f64) {
        let [along, across] = self.geometry.b;
        let x = gram.total[[0, k]] / self.geometry.norm_a;
        let y = (gram.total[[1, k]] - along * x) / across;
        let squared = gram.total[[k, k]] - x * x - y * y;
        (x, y, squared.max(0.0).sqrt())
    }

    /// Coordinates of a mix with these coefficients; inverse of [`PlaneBasis::coefficients`].
    #[cfg(test)]
    fn point(&self, coefficients: [f64; 3]) -> (f64, f64) {
        let [_, a, b] = coefficients;
        let [along, across] = self.geometry.b;
        (a * self.geometry.norm_a + b * along, b * across)
    }

    /// The grid over the box around θ0, θ1, θ2, widened on every side by `margin` times its longer
    /// side. It has `steps` points along the longer side. The other side has the same spacing and
    /// is widened evenly to a whole number of steps.
    pub fn grid(&self, steps: usize, margin: f64) -> Grid {
        let [ax, _] = self.geometry.a;
        let [bx, by] = self.geometry.b;
        let x = (0.0_f64.min(bx), ax.max(bx));
        let y = (0.0, by);
        let margin = margin * (x.1 - x.0).max(y.1 - y.0);
        let (x, y) = ((x.0 - margin, x.1 + margin), (y.0 - margin, y.1 + margin));
        let spacing = (x.1 - x.0).max(y.1 - y.0) / (steps - 1) as f64;
        let axis = |(min, max): (f64, f64)| {
            // Rounding must not add a step to the side that determines the spacing.
            let count = ((max - min) / spacing * (1.0 - 1e-12)).ceil();
            let overhang = (count * spacing - (max - min)) / 2.0;
            linspace(min - overhang, max + overhang, count as usize + 1)
        };
        Grid {
            xs: axis(x),
            ys: axis(y),
        }
    }
}

/// ⟨r, δ1⟩ and ‖r‖² for r = δ2 − slope·δ1, element by element in f64.
fn rest(pool: &Pool, slope: f64) -> (f64, f64) {
    let (mut inner, mut squared) = (0.0, 0.0);
    for (index, parameter) in pool.parameters.iter().enumerate() {
        if !parameter.counts() {
            continue;
        }
        for_each_block(pool, index, 0..parameter.len(), |_, blocks| {
            let (mut block_inner, mut block_squared) = (0.0, 0.0);
            let [origin, a, b] = [0, 1, 2].map(|member| blocks.row(member));
            for ((origin, a), b) in origin.iter().zip(a).zip(b) {
                let (a, b) = (a - origin, b - origin);
                let r = b - slope * a;
                block_inner += r * a;
                block_squared += r * r;
            }
            inner += block_inner;
            squared += block_squared;
        });
    }
    (inner, squared)
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;
    use ndarray_linalg::krylov::{MGS, Orthogonalizer};
    use proptest::prelude::*;

    use super::*;
    use crate::space::decode;
    use crate::space::pool::ParameterRole;
    use crate::space::testing::{pool, random_pool};

    fn basis(pool: &Pool) -> Result<PlaneBasis> {
        PlaneBasis::of(pool, &Gram::of(pool))
    }

    /// All counted elements of a member, in f64.
    fn flat(pool: &Pool, member: usize) -> Vec<f64> {
        let counted = pool.parameters.iter().enumerate();
        counted
            .filter(|(_, parameter)| parameter.counts())
            .flat_map(|(index, _)| decode::values(&pool.members[member].sources[index]))
            .collect()
    }

    fn materialize(pool: &Pool, basis: &PlaneBasis) -> (Array1<f64>, Array1<f64>) {
        let members: Vec<Array1<f64>> = (0..3).map(|m| Array1::from(flat(pool, m))).collect();
        let vector = |x, y| {
            let c = basis.coefficients(x, y);
            let point = &members[0] * c[0] + &members[1] * c[1] + &members[2] * c[2];
            point - &members[0]
        };
        (vector(1.0, 0.0), vector(0.0, 1.0))
    }

    #[test]
    fn the_basis_is_orthonormal_and_that_of_modified_gram_schmidt() {
        let pool = random_pool(3, &[vec![40, 30], vec![17], vec![8, 8]], 3);
        let basis = basis(&pool).unwrap();
        let (u1, u2) = materialize(&pool, &basis);
        assert!((u1.dot(&u1) - 1.0).abs() < 1e-10);
        assert!((u2.dot(&u2) - 1.0).abs() < 1e-10);
        assert!(u1.dot(&u2).abs() < 1e-10);
        let delta = |m: usize| {
            let delta = Array1::from(flat(&pool, m)) - Array1::from(flat(&pool, 0));
            &delta / delta.dot(&delta).sqrt()
        };
        let mut mgs: MGS<f64> = MGS::new(u1.len(), 1e-9);
        let _ = mgs.append(delta(1));
        let _ = mgs.append(delta(2));
        let q = mgs.get_q();
        let difference = |u: &Array1<f64>, column: usize| {
            (u - &q.column(column))
                .iter()
                .fold(0.0_f64, |max, d| max.max(d.abs()))
        };
        assert!(difference(&u1, 0) < 1e-10);
        assert!(difference(&u2, 1) < 1e-10);
    }

    #[test]
    fn the_checkpoints_land_on_their_coordinates() {
        let pool = pool(&[&[1.0, 1.0, 1.0], &[4.0, 1.0, 1.0], &[3.0, 1.0, 6.0]]);
        let geometry = basis(&pool).unwrap().geometry;
        assert_eq!(geometry.a, [3.0, 0.0]);
        assert_eq!(geometry.b, [2.0, 5.0]);
        assert_eq!(geometry.norm_b, 29.0_f64.sqrt());
        assert!((geometry.angle_deg - 5.0_f64.atan2(2.0).to_degrees()).abs() < 1e-12);
    }

    #[test]
    fn nearly_collinear_deltas_keep_their_digits() {
        // At an angle of 1e-4 rad, G22 − G12²/G11 would keep 8 of 16 digits of the square. With
        // the second pass the length across is right to 1e-10 relative.
        let (n, angle) = (1000, 1e-4_f64);
        let origin: Vec<f64> = (0..n).map(|k| (k as f64).sin()).collect();
        let a: Vec<f64> = origin.iter().map(|w| w + 0.125).collect();
        let tilt = 0.125 * angle.tan();
        let b: Vec<f64> = origin
            .iter()
            .enumerate()
            .map(|(k, w)| w + 0.125 + if k % 2 == 0 { tilt } else { -tilt })
            .collect();
        let pool = pool(&[&origin, &a, &b]);
        let geometry = basis(&pool).unwrap().geometry;
        let relative = geometry.angle_deg.to_radians() / angle - 1.0;
        assert!(relative.abs() < 1e-10, "{relative}");
    }

    #[test]
    fn degenerate_planes_are_refused_by_name() {
        let message = |members: [&[f64]; 3]| basis(&pool(&members)).unwrap_err().to_string();
        let (o, d) = ([1.0, 2.0], [2.0, 4.0]);
        assert!(message([&o, &o, &d]).starts_with("m1.safetensors: equals the origin `m0`"));
        assert!(message([&o, &d, &o]).starts_with("m2.safetensors: equals the origin `m0`"));
        let same = message([&o, &d, &d]);
        assert!(
            same.contains("lies on the line through `m0` and `m1`"),
            "{same}"
        );
        assert!(message([&o, &d, &[0.0, 0.0]]).contains("span no plane"));
    }

    #[test]
    fn the_grid_covers_the_box_with_square_cells() {
        let pool = pool(&[&[0.0, 0.0], &[4.0, 0.0], &[1.0, 2.0]]);
        let grid = basis(&pool).unwrap().grid(21, 0.25);
        assert_eq!(grid.xs.len(), 21);
        assert!((grid.xs[0] + 1.0).abs() < 1e-12 && (grid.xs[20] - 5.0).abs() < 1e-12);
        let (dx, dy) = (grid.xs[1] - grid.xs[0], grid.ys[1] - grid.ys[0]);
        assert!((dx - dy).abs() < 1e-12);
        assert!(grid.ys[0] <= -1.0 && grid.ys[grid.ys.len() - 1] >= 3.0);
        assert_eq!(grid.ys.len(), 15);
    }

    proptest! {
        #[test]
        fn coordinates_and_mixes_are_inverse(seed in 0_u64..1000, x in -9.0..9.0, y in -9.0..9.0) {
            let pool = random_pool(3, &[vec![6, 5], vec![9]], seed);
            let basis = basis(&pool).unwrap();
            let back = basis.point(basis.coefficients(x, y));
            prop_assert!((back.0 - x).abs() < 1e-9 && (back.1 - y).abs() < 1e-9);
        }

        #[test]
        fn the_nearest_point_is_that_of_the_basis_vectors(seed in 0_u64..1000) {
            let pool = random_pool(5, &[vec![6, 5], vec![9]], seed);
            let gram = Gram::of(&pool);
            let basis = PlaneBasis::of(&pool, &gram).unwrap();
            let (u1, u2) = materialize(&pool, &basis);
            let origin = Array1::from(flat(&pool, 0));
            for member in 1..5 {
                let delta = Array1::from(flat(&pool, member)) - &origin;
                let (x, y, distance) = basis.project(&gram, member - 1);
                prop_assert!((x - delta.dot(&u1)).abs() < 1e-9);
                prop_assert!((y - delta.dot(&u2)).abs() < 1e-9);
                let rest = &delta - &(&u1 * x) - &(&u2 * y);
                // A difference of squares of about 10 keeps half of its digits.
                prop_assert!((distance - rest.dot(&rest).sqrt()).abs() < 1e-6);
            }
        }

        #[test]
        fn transposition_and_buffers_change_no_geometry(seed in 0_u64..1000) {
            let mut pool = random_pool(3, &[vec![21, 5], vec![9], vec![4]], seed);
            pool.parameters[2].role = ParameterRole::Buffer;
            let geometry = basis(&pool).unwrap().geometry;
            let [o, a, b] = [0, 1, 2].map(|m| flat(&pool, m));
            prop_assert_eq!(o.len(), 114);
            let dot = |p: &[f64], q: &[f64]| -> f64 {
                p.iter().zip(q).zip(&o).map(|((p, q), o)| (p - o) * (q - o)).sum()
            };
            prop_assert!((geometry.norm_a - dot(&a, &a).sqrt()).abs() < 1e-12);
            let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
            prop_assert!((geometry.cosine - cosine).abs() < 1e-12);
        }
    }
}
