//! The density of eigenvalues, by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017; of
//! Hessians: Ghorbani, Krishnan and Xiao, "An Investigation into Neural Net Optimization via
//! Hessian Eigenvalue Density", 2019, and PyHessian, Yao et al. 2020).
//!
//! From a vector v of length 1, m steps of Lanczos give T with eigenvalues θₖ and eigenvectors sₖ.
//! With weights wₖ = (first element of sₖ)², Σ wₖ·p(θₖ) = v·p(H)v for every polynomial p of degree
//! up to 2m−1 (Gauss quadrature). For random signs v/√n, the mean of v·p(H)v is tr p(H)/n: the mean
//! of p over the eigenvalues.

use rand::Rng;

use super::lanczos::Krylov;
use super::{Products, Quadrature, signs};
use crate::error::Result;
use crate::result::spectrum::Density;

/// Minimum and maximum standard deviation of the Gaussian, as a fraction of the nodes' range. The
/// minimum is about the width of a line in a figure.
const WIDTH: (f64, f64) = (1.0 / 250.0, 1.0 / 25.0);

/// The standard deviation as a fraction of the distance between nodes that represent the
/// eigenvalues between them: evenly spaced Gaussians of 0.6 of their distance add up to a line with
/// ripples of 0.2 %, and nodes are up to 4/π times as far apart as on average.
const GAP: f64 = 0.75;

/// Margins of the grid, as a fraction of the nodes' range and in standard deviations; the larger
/// one counts.
const MARGIN: (f64, f64) = (0.05, 6.0);

/// Minimum number of grid points per standard deviation: with two, the sum over the points already
/// equals the integral to eight digits.
const POINTS: f64 = 2.0;

/// Maximum number of grid points, however narrow the Gaussian.
const MOST: usize = 20_001;

/// Computes the density of a spectrum.
pub(super) fn density(
    products: &mut Products<'_>,
    how: &Quadrature,
    generator: &mut impl Rng,
) -> Result<Density> {
    let (probes, steps) = (how.probes(), how.steps());
    let mut found: Vec<Node> = Vec::new();
    for _ in 0..probes {
        let start = signs(products.dim(), generator);
        found.extend(quadrature(products, Krylov::new(start), steps)?);
    }
    found.sort_by(|a, b| a.value.total_cmp(&b.value));
    let nodes: Vec<f64> = found.iter().map(|node| node.value).collect();
    let weight = |node: &Node| node.weight / probes as f64;
    let weights: Vec<f64> = found.iter().map(weight).collect();
    let (low, high) = (nodes[0], nodes[nodes.len() - 1]);
    let apart: f64 = found.iter().map(|node| weight(node) * node.apart).sum();
    let width = how.width.unwrap_or_else(|| width(low, high, apart));
    let grid = grid(low, high, width, how.points);
    Ok(Density {
        values: smooth(&nodes, &weights, width, &grid),
        grid,
        width,
        nodes,
        weights,
        probes,
        steps,
    })
}

/// An eigenvalue of T.
struct Node {
    value: f64,
    weight: f64,
    /// The possible distance to the eigenvalues that it represents: half the distance between its
    /// neighbours, or its residual if that is smaller, as for an isolated eigenvalue.
    apart: f64,
}

/// Nodes and weights from one vector; fewer than `steps` if its Krylov space closes earlier.
fn quadrature(products: &mut Products<'_>, mut krylov: Krylov, steps: usize) -> Result<Vec<Node>> {
    loop {
        krylov.step(products)?;
        if krylov.len() == steps || krylov.closed() || !krylov.extend() {
            break;
        }
    }
    let ritz = krylov.ritz()?;
    let count = ritz.values.len();
    let node = |k: usize| {
        let between = ritz.values[k.saturating_sub(1)] - ritz.values[(k + 1).min(count - 1)];
        Node {
            value: ritz.values[k],
            weight: ritz.vectors[(0, k)].powi(2),
            apart: krylov.residual(&ritz, k).min(between / 2.0),
        }
    };
    Ok((0..count).map(node).collect())
}

/// The default width of the Gaussian, for nodes that are `apart` on average. Nodes that are equal
/// up to rounding have no range of their own.
fn width(low: f64, high: f64, apart: f64) -> f64 {
    let (range, largest) = (high - low, low.abs().max(high.abs()));
    if range > 1e-9 * largest {
        (GAP * apart).clamp(WIDTH.0 * range, WIDTH.1 * range)
    } else if largest > 0.0 {
        WIDTH.0 * largest
    } else {
        WIDTH.0
    }
}

/// Evenly spaced points with margins at both ends.
fn grid(low: f64, high: f64, width: f64, points: usize) -> Vec<f64> {
    let margin = (MARGIN.0 * (high - low)).max(MARGIN.1 * width);
    let (from, to) = (low - margin, high + margin);
    let needed = (POINTS * (to - from) / width).ceil() as usize + 1;
    let points = points.max(needed.min(MOST)).max(2);
    let part = |k: usize| k as f64 / (points - 1) as f64;
    (0..points).map(|k| from + part(k) * (to - from)).collect()
}

/// Σ wₖ·N(x − θₖ; σ²) at every x of a grid: the nodes θ and weights w of a density, smoothed by
/// Gaussians with standard deviation σ = `width`.
pub fn smooth(nodes: &[f64], weights: &[f64], width: f64, grid: &[f64]) -> Vec<f64> {
    let height = 1.0 / (width * std::f64::consts::TAU.sqrt());
    let at = |x: &f64| {
        let pairs = nodes.iter().zip(weights);
        let terms = pairs.map(|(node, weight)| {
            let away = (x - node) / width;
            weight * (-0.5 * away * away).exp()
        });
        height * terms.sum::<f64>()
    };
    grid.iter().map(at).collect()
}
