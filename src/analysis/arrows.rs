//! The gradient of the loss along the plane, at points of a coarse grid.

use crate::error::Result;
use crate::evaluate::differentiable_loss::DifferentiableLoss;
use crate::result::grid::{Grid, linspace};
use crate::result::plane::Arrow;
use crate::result::score::DatasetInfo;
use crate::space::mix::Mix;
use crate::space::plane::PlaneBasis;

/// Points inside the box of a grid: `steps` along its longer side, with about the same spacing
/// along the other, and none on its edge.
pub fn points(grid: &Grid, steps: usize) -> Vec<(f64, f64)> {
    let ends = |axis: &[f64]| (axis[0], axis[axis.len() - 1]);
    let ((left, right), (bottom, top)) = (ends(&grid.xs), ends(&grid.ys));
    let apart = (right - left).max(top - bottom) / steps as f64;
    let inside = |(from, to): (f64, f64)| {
        let count = ((to - from) / apart).round().max(1.0) as usize;
        let half = (to - from) / count as f64 / 2.0;
        match count {
            1 => vec![f64::midpoint(from, to)],
            _ => linspace(from + half, to - half, count),
        }
    };
    let (xs, ys) = (inside((left, right)), inside((bottom, top)));
    let rows = ys.iter();
    rows.flat_map(|&y| xs.iter().map(move |&x| (x, y)))
        .collect()
}

/// The gradient of the mean loss at points of the plane, over as many of a data set's samples as
/// `dataset` has (a limit may have stopped the plane before the others). Coordinates are linear in
/// the coefficients, so ∂L/∂x = Σᵢ ∂cᵢ/∂x · ∂L/∂cᵢ. `done` is called after each point.
///
/// # Errors
/// Fails when the network cannot be run, or the user stopped the run.
pub fn arrows(
    basis: &PlaneBasis,
    points: &[(f64, f64)],
    loss: &dyn DifferentiableLoss,
    dataset: &DatasetInfo,
    members: usize,
    done: &dyn Fn(),
) -> Result<Vec<Arrow>> {
    let samples: Vec<usize> = (0..dataset.samples).collect();
    // The derivative of the coefficients along an axis is the same everywhere.
    let at = |x: f64, y: f64| basis.coefficients(x, y);
    let (origin, along, across) = (at(0.0, 0.0), at(1.0, 0.0), at(0.0, 1.0));
    let arrow = |&(x, y): &(f64, f64)| {
        let mix: Mix = basis.mix(x, y, members);
        let slope = loss.coefficient_gradient(&mix, 1.0, &samples)?;
        let derivative = |step: [f64; 3]| -> f64 {
            let rows = slope.rows.iter();
            let terms = rows.flat_map(|row| {
                let changes = step.iter().zip(&origin).map(|(to, from)| to - from);
                changes.zip(row).map(|(change, slope)| change * slope)
            });
            terms.sum()
        };
        done();
        Ok(Arrow {
            x,
            y,
            dataset: dataset.name.clone(),
            role: dataset.role,
            samples: samples.len(),
            loss: slope.fit.loss,
            dloss_dx: derivative(along),
            dloss_dy: derivative(across),
        })
    };
    points.iter().map(arrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::quadratic::Quadratic;
    use crate::evaluate::{Evaluator, differentiable_loss::DifferentiableLoss};
    use crate::space::gram::Gram;
    use crate::space::testing::random_pool;

    #[test]
    fn on_a_quadratic_loss_slopes_are_those_of_its_values() {
        let pool = random_pool(3, &[vec![6, 4], vec![9]], 5);
        let basis = PlaneBasis::of(&pool, &Gram::of(&pool)).unwrap();
        let minimum: Vec<f64> = (0..33).map(|k| (k as f64).sin()).collect();
        let curvature: Vec<f64> = (0..33).map(|k| 0.5 + (k % 5) as f64).collect();
        let loss = Quadratic::new(&pool, minimum, curvature, 0.1);
        let set = &loss.datasets()[0];
        let grid = basis.grid(7, 0.25);
        let points = points(&grid, 4);
        let arrows = arrows(&basis, &points, &loss, set, 3, &|| {}).unwrap();
        assert!(points.len() >= 4 && arrows.len() == points.len());
        for arrow in arrows {
            // The central difference of a quadratic is exact for every step.
            let value = |x: f64, y: f64| loss.fit(&basis.mix(x, y, 3), 1.0, &[0]).unwrap().loss;
            let (x, y, h) = (arrow.x, arrow.y, 0.25);
            let dx = (value(x + h, y) - value(x - h, y)) / (2.0 * h);
            let dy = (value(x, y + h) - value(x, y - h)) / (2.0 * h);
            assert!((arrow.dloss_dx - dx).abs() < 1e-9 * dx.abs().max(1.0));
            assert!((arrow.dloss_dy - dy).abs() < 1e-9 * dy.abs().max(1.0));
        }
    }

    #[test]
    fn points_lie_inside_and_evenly_along_both_axes() {
        let grid = Grid {
            xs: linspace(-1.0, 7.0, 21),
            ys: linspace(-1.0, 3.0, 11),
        };
        let points = points(&grid, 8);
        assert_eq!(points.len(), 8 * 4);
        assert_eq!((points[0], points[31]), ((-0.5, -0.5), (6.5, 2.5)));
        let flat = Grid {
            xs: linspace(0.0, 1.0, 3),
            ys: linspace(0.0, 0.01, 3),
        };
        assert_eq!(super::points(&flat, 3).len(), 3);
    }
}
