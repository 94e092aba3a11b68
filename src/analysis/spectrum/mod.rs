//! The spectrum of a Hessian of which only products with vectors are known: the eigenvalues at its
//! ends, its trace, and the density of all its eigenvalues.
//!
//! Lanczos is written here: of the crates, faer's `partial_self_adjoint_eigen` takes operators
//! that cannot fail, ranks eigenvalues by magnitude and keeps residuals to itself; `lanczos` and
//! `eigenvalues` have no residuals and no seed either, and stand on old versions of nalgebra.

mod density;
mod lanczos;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trace;

use ndarray::Array1;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

pub use density::smooth;

use crate::error::{Error, Result};
use crate::evaluate::linear_operator::LinearOperator;
use crate::result::spectrum::{Density, Eigenvalue, Trace};

/// The parts of a spectrum to compute, and the work that each may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How many of the largest eigenvalues.
    pub top: usize,
    /// How many of the smallest.
    pub bottom: usize,
    /// Most Lanczos steps for both, one product each.
    pub steps: usize,
    /// An eigenvalue λ has converged when ‖Hv − λv‖ is at most this times |λ|, or the square of
    /// this times the largest |λ|. Of the largest alone, −0.04 beside 50 would pass for converged
    /// when not even its sign is known.
    pub tolerance: f64,
    /// Products for the trace; 0 for none.
    pub trace: usize,
    /// The density, where it is wanted.
    pub density: Option<Quadrature>,
    /// Seed of the random vectors.
    pub seed: u64,
}

/// How a density is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Quadrature {
    /// Random vectors.
    pub probes: usize,
    /// Lanczos steps of each, one product each.
    pub steps: usize,
    /// Standard deviation of the Gaussian that nodes are smoothed by. Without it about the mean
    /// distance between nodes where these stand for what lies between them, and a 250th to a 25th
    /// of the nodes' range.
    pub width: Option<f64>,
    /// Points of the grid, at least; a narrow Gaussian takes more.
    pub points: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            top: 10,
            bottom: 5,
            steps: 100,
            tolerance: 1e-3,
            trace: 60,
            density: Some(Quadrature::default()),
            seed: 0,
        }
    }
}

impl Default for Quadrature {
    fn default() -> Self {
        Self {
            probes: 4,
            steps: 50,
            width: None,
            points: 1001,
        }
    }
}

impl Plan {
    /// Products that it takes with vectors of length `dim`, at most: eigenvalues that converge
    /// early, and spaces that turn out to be small, take fewer.
    pub fn products(&self, dim: usize) -> usize {
        let density = self.density.as_ref();
        let density = density.map_or(0, |how| how.probes().saturating_mul(how.steps().min(dim)));
        self.lanczos_steps(dim) + self.trace.min(dim) + density
    }

    /// Bytes of the vectors that it holds at once, at most, an operator's own aside:
    /// dim × steps × 8 of the longest basis, and two vectors besides.
    pub fn memory(&self, dim: usize) -> u64 {
        let density = self.density.as_ref();
        let density = density.map_or(0, |how| how.steps().min(dim));
        // An exact trace keeps nothing.
        let sketch = if self.trace < dim { self.trace / 3 } else { 0 };
        let basis = self.lanczos_steps(dim).max(density).max(sketch);
        8 * dim as u64 * (basis as u64 + 2)
    }

    /// Most steps for the eigenvalues.
    fn lanczos_steps(&self, dim: usize) -> usize {
        match self.top + self.bottom {
            0 => 0,
            _ => self.steps.min(dim),
        }
    }
}

impl Quadrature {
    /// One at least.
    fn probes(&self) -> usize {
        self.probes.max(1)
    }

    /// One at least.
    fn steps(&self) -> usize {
        self.steps.max(1)
    }
}

/// The parts of a spectrum that were computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The largest eigenvalues, descending, then the smallest, ascending: fewer of each where
    /// there were fewer steps, and the same one in both where they meet.
    pub eigenvalues: Vec<Eigenvalue>,
    /// The trace, where it was wanted.
    pub trace: Option<Trace>,
    /// The density, where it was wanted.
    pub density: Option<Density>,
    /// Products that it took.
    pub products: usize,
    /// Things the reader should know.
    pub warnings: Vec<String>,
}

/// Carries out a plan. `progress` is told the number of products done after each.
///
/// The same seed gives the same result, and each of the three parts the same whether or not the
/// others are wanted.
///
/// # Errors
/// When a product fails, is not of the operator's length, or holds a NaN or an infinity; when the
/// operator has no elements, or the plan's tolerance or width is no positive number.
pub fn spectrum(
    operator: &dyn LinearOperator,
    plan: &Plan,
    progress: &mut dyn FnMut(usize),
) -> Result<Found> {
    check(operator, plan)?;
    let mut products = Products {
        operator,
        progress,
        done: 0,
    };
    let mut seeds = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let mut generator = || Xoshiro256PlusPlus::seed_from_u64(seeds.next_u64());
    let mut generators = [generator(), generator(), generator()];
    let eigenvalues = lanczos::ends(&mut products, plan, &mut generators[0])?;
    let trace = match plan.trace {
        0 => None,
        budget => Some(trace::trace(&mut products, budget, &mut generators[1])?),
    };
    let density = match &plan.density {
        None => None,
        Some(how) => Some(density::density(&mut products, how, &mut generators[2])?),
    };
    Ok(Found {
        warnings: unconverged(&eigenvalues).into_iter().collect(),
        products: products.done,
        eigenvalues,
        trace,
        density,
    })
}

fn check(operator: &dyn LinearOperator, plan: &Plan) -> Result<()> {
    let width = plan.density.as_ref().and_then(|density| density.width);
    let positive = |value: f64| value.is_finite() && value > 0.0;
    let problem = match (operator.dim(), plan.tolerance, width) {
        (0, ..) => "there is no parameter to take it in".to_string(),
        (_, tolerance, _) if !positive(tolerance) => {
            format!("a tolerance of {tolerance} is no positive number")
        }
        (_, _, Some(width)) if !positive(width) => {
            format!("a width of {width} of the density is no positive number")
        }
        _ => return Ok(()),
    };
    Err(Error::runtime(PLACE, problem))
}

/// A warning about eigenvalues that have not converged.
fn unconverged(eigenvalues: &[Eigenvalue]) -> Option<String> {
    let rough = eigenvalues.iter().filter(|of| !of.converged);
    let (count, worst) = rough.fold((0, 0.0_f64), |(count, worst), of| {
        (count + 1, worst.max(of.residual))
    });
    (count > 0).then(|| {
        format!(
            "{count} of {} eigenvalues have not converged (residuals up to {worst:.1e}): more \
             steps would make them sharper",
            eigenvalues.len()
        )
    })
}

/// Where errors say they happened.
const PLACE: &str = "spectrum of the Hessian";

/// An operator's products, counted and looked at.
struct Products<'a> {
    operator: &'a dyn LinearOperator,
    progress: &'a mut dyn FnMut(usize),
    done: usize,
}

impl Products<'_> {
    fn dim(&self) -> usize {
        self.operator.dim()
    }

    /// H·v. A value that is not finite would go through everything that follows.
    fn of(&mut self, v: &Array1<f64>) -> Result<Array1<f64>> {
        let product = match v.as_slice() {
            Some(v) => self.operator.apply(v)?,
            None => self.operator.apply(&v.to_vec())?,
        };
        if product.len() != self.dim() {
            let (found, dim) = (product.len(), self.dim());
            let problem = format!("a product has {found} elements, its vector has {dim}");
            return Err(Error::runtime(PLACE, problem));
        }
        let wrong = product.iter().position(|value| !value.is_finite());
        if let Some((at, done)) = wrong.map(|at| (at, self.done + 1)) {
            let value = product[at];
            let problem = format!("product {done} with a vector is {value} at element {at}");
            let help = "the loss or its slope is not finite at this point or close to it";
            return Err(Error::runtime(PLACE, problem).help(help));
        }
        self.done += 1;
        (self.progress)(self.done);
        Ok(product.into())
    }
}

/// A vector of independent ±1 (Rademacher).
fn signs(dim: usize, generator: &mut impl Rng) -> Array1<f64> {
    let mut bits = 0;
    let sign = |k: usize| {
        if k.is_multiple_of(64) {
            bits = generator.next_u64();
        }
        if (bits >> (k % 64)) & 1 == 1 {
            1.0
        } else {
            -1.0
        }
    };
    (0..dim).map(sign).collect()
}

/// A vector of independent standard normal values, by Box and Muller. No fixed direction is
/// orthogonal to it, as one may be to signs: (1, 1) is to (1, −1).
fn normals(dim: usize, generator: &mut impl Rng) -> Array1<f64> {
    // Uniform in (0, 1], so that the logarithm is finite.
    let mut uniform = || ((generator.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let value = |_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..dim).map(value).collect()
}

/// ‖v‖.
fn norm(v: &Array1<f64>) -> f64 {
    v.dot(v).sqrt()
}
