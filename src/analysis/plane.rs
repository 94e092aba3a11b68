//! The plane through θ0, θ1, θ2 (Figure 2 of "Model soups").

use super::adaptive::Refinement;
use crate::evaluate::Answers;
use crate::result::grid::Grid;
use crate::result::loss::Beta;
use crate::result::plane::{GridValue, Minimum, PlacedModel};
use crate::result::score::{DatasetInfo, NamedScore, Role, SHIFTS, Score, in_roles};
use crate::space::mix::Mix;
use crate::space::plane::PlaneBasis;

/// The surface and the named points on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Surface {
    /// `coefficients[grid index]`: (c_origin, c_a, c_b).
    pub coefficients: Vec<[f64; 3]>,
    /// `scores[data set][grid index]`.
    pub scores: Vec<Vec<Score>>,
    /// θ0, θ1, θ2 and the midpoint soup, each evaluated as a mix.
    pub checkpoints: Vec<PlacedModel>,
    /// `on_plane[model][data set]`: θ0, θ1, θ2 again, evaluated as points of the plane.
    pub on_plane: Vec<Vec<Score>>,
    /// `others[member][data set]`: further members of the pool, evaluated unchanged.
    pub others: Vec<Vec<Score>>,
    /// `betas[grid index]`, if losses are calibrated; otherwise empty.
    pub betas: Vec<Beta>,
    /// `others_betas[member]` of the further members.
    pub others_betas: Vec<Beta>,
    /// The grid minimum for each data set; `shifts` is the mean over the shift sets.
    pub minimum: Vec<Minimum>,
}

/// The mixes to evaluate for a plane, for a pool of `members`: the grid's measured points, the
/// three models, their midpoint soup (0, ½, ½), θ1 and θ2 as points of the plane, and the further
/// members.
pub fn mixes(basis: &PlaneBasis, grid: &Grid, refinement: &Refinement, members: usize) -> Vec<Mix> {
    let geometry = basis.geometry;
    let mut models = Mix::units(members);
    let others = models.split_off(3);
    // At θ0 the plane's coefficients are exact; the self-check compares it with its file.
    let on_plane = [geometry.a, geometry.b].map(|[x, y]| basis.mix(x, y, members));
    let points = refinement.points().map(|index| grid.point(index));
    points
        .map(|(x, y)| basis.mix(x, y, members))
        .chain(models)
        .chain([Mix::over(&[(1, 0.5), (2, 0.5)], members)])
        .chain(on_plane)
        .chain(others)
        .collect()
}

/// Arranges the answers to [`mixes`]; values between measured points are interpolated.
pub fn arrange(
    answers: &Answers,
    basis: &PlaneBasis,
    grid: &Grid,
    refinement: &Refinement,
    names: &[String],
) -> Surface {
    let [a, b] = [basis.geometry.a, basis.geometry.b];
    let middle = [f64::midpoint(a[0], b[0]), f64::midpoint(a[1], b[1])];
    let (on_grid, rest) = answers.scores.split_at(refinement.points().count());
    let datasets = &answers.datasets;
    let scores: Vec<Vec<Score>> = (0..datasets.len())
        .map(|dataset| spread(on_grid.iter().map(|scores| scores[dataset]), refinement))
        .collect();
    let points = [[0.0, 0.0], a, b, middle];
    let labels = names[..3].iter().map(String::as_str).chain(["soup"]);
    let checkpoints = labels.zip(points).zip(rest).enumerate();
    let checkpoints = checkpoints.map(|(model, ((name, [x, y]), scores))| PlacedModel {
        name: name.to_string(),
        x,
        y,
        beta: answers.betas.get(on_grid.len() + model).copied(),
        scores: NamedScore::all(datasets, scores),
    });
    let others_betas = answers.betas.iter().skip(on_grid.len() + 6);
    Surface {
        betas: spread_betas(&answers.betas, refinement),
        others_betas: others_betas.copied().collect(),
        coefficients: grid
            .points()
            .map(|(x, y)| basis.coefficients(x, y))
            .collect(),
        checkpoints: checkpoints.collect(),
        on_plane: vec![rest[0].clone(), rest[4].clone(), rest[5].clone()],
        others: rest[6..].to_vec(),
        minimum: minima(datasets, &scores, grid, refinement),
        scores,
    }
}

/// Puts the scores of measured points into the grid's order. Between them only loss and error are
/// known, by interpolation.
fn spread(measured: impl Iterator<Item = Score>, refinement: &Refinement) -> Vec<Score> {
    let unknown = Score {
        loss: f64::NAN,
        loss_se: f64::NAN,
        error: f64::NAN,
        error_se: f64::NAN,
        nonfinite: 0,
    };
    let mut scores = vec![unknown; refinement.measured().len()];
    for (index, score) in refinement.points().zip(measured) {
        scores[index] = score;
    }
    let filled = |value: fn(&Score) -> f64| {
        let mut values: Vec<f64> = scores.iter().map(value).collect();
        refinement.interpolate(&mut values);
        values
    };
    let (losses, errors) = (filled(|score| score.loss), filled(|score| score.error));
    for (index, score) in scores.iter_mut().enumerate() {
        if !refinement.measured()[index] {
            (score.loss, score.error) = (losses[index], errors[index]);
            score.nonfinite = usize::from(!score.loss.is_finite());
        }
    }
    scores
}

/// Puts the β of measured points into the grid's order; empty if there are none.
fn spread_betas(measured: &[Beta], refinement: &Refinement) -> Vec<Beta> {
    if measured.is_empty() {
        return Vec::new();
    }
    let mut betas = vec![Beta::UNMEASURED; refinement.measured().len()];
    for (index, beta) in refinement.points().zip(measured) {
        betas[index] = *beta;
    }
    betas
}

fn minima(
    datasets: &[DatasetInfo],
    scores: &[Vec<Score>],
    grid: &Grid,
    refinement: &Refinement,
) -> Vec<Minimum> {
    let of = |name: &str, sets: &[&Vec<Score>]| {
        let mean = |value: fn(&Score) -> f64, index: usize| {
            sets.iter().map(|scores| value(&scores[index])).sum::<f64>() / sets.len() as f64
        };
        let smallest = |value: fn(&Score) -> f64| {
            let values = refinement.points().map(|index| (index, mean(value, index)));
            let finite = values.filter(|(_, value)| value.is_finite());
            let (index, value) = finite.min_by(|a, b| a.1.total_cmp(&b.1))?;
            let ((i, j), (x, y)) = (grid.ij(index), grid.point(index));
            Some(GridValue { i, j, x, y, value })
        };
        Minimum {
            dataset: name.to_string(),
            loss: smallest(|score| score.loss),
            error: smallest(|score| score.error),
            lowest_loss: None,
            lowest_error: None,
            neighbor_loss_se: None,
            neighbor_error_se: None,
        }
    };
    let mut minima: Vec<Minimum> = datasets
        .iter()
        .zip(scores)
        .map(|(dataset, scores)| of(&dataset.name, &[scores]))
        .collect();
    let shifts = in_roles(datasets, scores, &[Role::Shift]);
    if !shifts.is_empty() {
        minima.push(of(SHIFTS, &shifts));
    }
    minima
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Evaluator;
    use crate::evaluate::quadratic::Quadratic;
    use crate::result::grid::linspace;
    use crate::space::gram::Gram;
    use crate::space::testing::pool;

    #[test]
    fn a_quadratic_surface_is_the_formula_on_a_non_square_grid() {
        let pool = pool(&[&[1.0, 0.0, -1.0], &[3.0, 1.0, 0.0], &[0.0, 2.0, 1.5]]);
        let loss = Quadratic::new(&pool, vec![1.2, 0.7, 0.1], vec![2.0, 1.0, 0.5], 0.25);
        let basis = PlaneBasis::of(&pool, &Gram::of(&pool)).unwrap();
        let grid = Grid {
            xs: linspace(-1.0, 3.0, 7),
            ys: linspace(-2.0, 2.0, 4),
        };
        let names = ["zs", "a", "b"].map(String::from);
        let whole = Refinement::whole(&grid);
        let answers = loss
            .evaluate(&mixes(&basis, &grid, &whole, 3), &())
            .unwrap();
        let surface = arrange(&answers, &basis, &grid, &whole, &names);
        // Applies the formula to coordinates only: L is a quadratic polynomial in (x, y), so it is
        // determined by the vectors u1, u2 constructed by hand.
        let d1 = [2.0, 1.0, 1.0];
        let d2 = [-1.0, 2.0, 2.5];
        let dot = |p: &[f64; 3], q: &[f64; 3]| p.iter().zip(q).map(|(p, q)| p * q).sum::<f64>();
        let n1 = dot(&d1, &d1).sqrt();
        let u1 = d1.map(|d| d / n1);
        let s = dot(&d2, &u1);
        let rest: [f64; 3] = std::array::from_fn(|k| d2[k] - s * u1[k]);
        let n2 = dot(&rest, &rest).sqrt();
        let u2 = rest.map(|d| d / n2);
        let formula = |x: f64, y: f64| {
            let theta = [1.0, 0.0, -1.0];
            let terms = (0..3).map(|k| {
                let d = theta[k] + x * u1[k] + y * u2[k] - [1.2, 0.7, 0.1][k];
                0.5 * [2.0, 1.0, 0.5][k] * d * d
            });
            terms.sum::<f64>() + 0.25
        };
        let mut best = (f64::INFINITY, 0);
        for (index, (x, y)) in grid.points().enumerate() {
            let (found, expected) = (surface.scores[0][index].loss, formula(x, y));
            assert!(
                (found - expected).abs() <= 1e-12 * expected,
                "{found} {expected}"
            );
            if expected < best.0 {
                best = (expected, index);
            }
        }
        let minimum = surface.minimum[0].loss.unwrap();
        assert_eq!((minimum.i, minimum.j), grid.ij(best.1));
        let soup = &surface.checkpoints[3];
        let expected = formula(soup.x, soup.y);
        assert!((soup.scores[0].score.loss - expected).abs() <= 1e-12 * expected);
        assert!(
            (surface.on_plane[2][0].loss - surface.checkpoints[2].scores[0].score.loss).abs()
                < 1e-12
        );
    }
}
