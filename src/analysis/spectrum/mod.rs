//! The spectrum of a Hessian that is known only by its products with vectors: the eigenvalues at
//! both ends, the trace, and the density of all eigenvalues.
//!
//! Lanczos is implemented here because no crate fits: faer's `partial_self_adjoint_eigen` takes
//! operators that cannot fail, ranks eigenvalues by magnitude and does not return residuals;
//! `lanczos` and `eigenvalues` have neither residuals nor a seed, and depend on old versions of
//! nalgebra.

mod basis;
mod density;
mod lanczos;
mod sampling;
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
use crate::evaluate::linear_operator::{GroupCurvature, LinearOperator};
use crate::result::spectrum::{Density, Eigenvalue, Trace};

/// The parts of a spectrum to compute, and the work that each may take.
#[derive(Debug, Clone, PartialEq)]
pub struct SpectrumPlan {
    /// Number of largest eigenvalues to compute.
    pub top: usize,
    /// Number of smallest eigenvalues to compute.
    pub bottom: usize,
    /// Maximum number of Lanczos steps for both ends; each takes one product.
    pub steps: usize,
    /// An eigenvalue λ has converged when ‖Hv − λv‖ is at most this times |λ|, or the square of
    /// this times the largest |λ|. If only the largest counted, −0.04 beside 50 would pass as
    /// converged while not even its sign is known.
    pub tolerance: f64,
    /// Number of products for the trace; 0 for none.
    pub trace: usize,
    /// Settings of the density, if it is requested.
    pub density: Option<Quadrature>,
    /// Seed of the random vectors.
    pub seed: u64,
}

/// Settings of a density.
#[derive(Debug, Clone, PartialEq)]
pub struct Quadrature {
    /// Number of random vectors.
    pub probes: usize,
    /// Lanczos steps per vector; each takes one product.
    pub steps: usize,
    /// Standard deviation of the Gaussian that smooths the nodes. The default is about the mean
    /// distance between nodes that represent the eigenvalues between them, limited to between a
    /// 250th and a 25th of the nodes' range.
    pub width: Option<f64>,
    /// Minimum number of grid points; a narrow Gaussian takes more.
    pub points: usize,
}

impl Default for SpectrumPlan {
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

impl SpectrumPlan {
    /// Maximum number of products with vectors of length `dim`, with or without held-out samples.
    /// Fewer are needed if eigenvalues converge early or a space turns out to be small.
    pub fn products(&self, dim: usize, held_out: bool) -> usize {
        let density = self.density.as_ref();
        let density = density.map_or(0, |how| how.probes().saturating_mul(how.steps().min(dim)));
        let vectors = self.vectors(dim) * (1 + usize::from(held_out));
        self.lanczos_steps(dim) + vectors + self.trace.min(dim) + density
    }

    /// Peak memory of the vectors, in bytes, without the operator's own: dim × steps × 8 for the
    /// longest basis, plus two vectors and one for each eigenvalue.
    pub fn memory(&self, dim: usize) -> u64 {
        let density = self.density.as_ref();
        let density = density.map_or(0, |how| how.steps().min(dim));
        // An exact trace stores no vectors.
        let sketch = if self.trace < dim { self.trace / 3 } else { 0 };
        let ends = self.lanczos_steps(dim) + self.vectors(dim);
        let basis = ends.max(density).max(sketch);
        8 * dim as u64 * (basis as u64 + 2)
    }

    /// Maximum number of eigenvalues found: of each end no more than there are steps.
    fn vectors(&self, dim: usize) -> usize {
        let steps = self.lanczos_steps(dim);
        self.top.min(steps) + self.bottom.min(steps)
    }

    /// Maximum number of steps for the eigenvalues.
    fn lanczos_steps(&self, dim: usize) -> usize {
        match self.top + self.bottom {
            0 => 0,
            _ => self.steps.min(dim),
        }
    }
}

impl Quadrature {
    /// The number of random vectors, at least one.
    fn probes(&self) -> usize {
        self.probes.max(1)
    }

    /// The number of steps per vector, at least one.
    fn steps(&self) -> usize {
        self.steps.max(1)
    }
}

/// The computed parts of a spectrum.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpectrum {
    /// The largest eigenvalues, descending, then the smallest, ascending. There are fewer of each
    /// if there were fewer steps; where both ends meet, the same eigenvalue appears in both.
    pub eigenvalues: Vec<Eigenvalue>,
    /// The trace, if requested.
    pub trace: Option<Trace>,
    /// The density, if requested.
    pub density: Option<Density>,
    /// Number of products computed.
    pub products: usize,
    /// Warnings for the reader.
    pub warnings: Vec<String>,
}

/// Carries out a plan. `progress` is called after each product with the number done. `held_out` is
/// the Hessian on other samples: the curvature along the vectors found is measured on it, too.
///
/// The same seed gives the same result, and each of the three parts is the same whether or not the
/// others are requested.
///
/// # Errors
/// Fails when a product fails, has the wrong length, or holds a NaN or an infinity; when the
/// operator has no elements; or when the plan's tolerance or width is not a positive number.
pub fn spectrum(
    operator: &dyn LinearOperator,
    held_out: Option<&dyn LinearOperator>,
    plan: &SpectrumPlan,
    progress: &mut dyn FnMut(usize),
) -> Result<FoundSpectrum> {
    check(operator, plan)?;
    let mut products = Products {
        operator,
        progress,
        done: 0,
    };
    let mut seeds = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let mut generator = || Xoshiro256PlusPlus::seed_from_u64(seeds.next_u64());
    let mut generators = [generator(), generator(), generator()];
    let ends = lanczos::ends(&mut products, plan, &mut generators[0])?;
    let eigenvalues = ends.into_iter();
    let eigenvalues = eigenvalues.map(|(eigenvalue, v)| {
        let held_out = held_out
            .map(|other| products.along_with(other, &v))
            .transpose()?;
        Ok(Eigenvalue {
            sampling_se: sampling::mean(&products.along(&v)?).se,
            held_out: held_out.map(|groups| sampling::mean(&groups)),
            ..eigenvalue
        })
    });
    let eigenvalues = eigenvalues.collect::<Result<Vec<_>>>()?;
    let trace = match plan.trace {
        0 => None,
        budget => Some(trace::trace(&mut products, budget, &mut generators[1])?),
    };
    let density = match &plan.density {
        None => None,
        Some(how) => Some(density::density(&mut products, how, &mut generators[2])?),
    };
    Ok(FoundSpectrum {
        warnings: unconverged(&eigenvalues).into_iter().collect(),
        products: products.done,
        eigenvalues,
        trace,
        density,
    })
}

fn check(operator: &dyn LinearOperator, plan: &SpectrumPlan) -> Result<()> {
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

/// The place named in errors.
const PLACE: &str = "spectrum of the Hessian";

/// Counts and checks an operator's products.
struct Products<'a> {
    operator: &'a dyn LinearOperator,
    progress: &'a mut dyn FnMut(usize),
    done: usize,
}

impl Products<'_> {
    fn dim(&self) -> usize {
        self.operator.dim()
    }

    /// H·v. Values that are not finite are refused, as they would affect everything after them.
    fn of(&mut self, v: &Array1<f64>) -> Result<Array1<f64>> {
        let product = self.operator.apply(&v.to_vec())?;
        if product.len() != self.dim() {
            let (found, dim) = (product.len(), self.dim());
            let problem = format!("a product has {found} elements, its vector has {dim}");
            return Err(Error::runtime(PLACE, problem));
        }
        let wrong = product.iter().position(|value| !value.is_finite());
        if let Some(at) = wrong {
            return Err(self.not_finite(&format!("{} at element {at}", product[at])));
        }
        self.count();
        Ok(product.into())
    }

    /// v·Hg·v by group of samples.
    fn along(&mut self, v: &Array1<f64>) -> Result<Vec<GroupCurvature>> {
        self.along_with(self.operator, v)
    }

    /// v·Hg·v by group of samples, of another operator.
    fn along_with(
        &mut self,
        operator: &dyn LinearOperator,
        v: &Array1<f64>,
    ) -> Result<Vec<GroupCurvature>> {
        let groups = operator.along(&v.to_vec())?;
        let mut wrong = groups.iter().filter(|group| !group.value.is_finite());
        if let Some(group) = wrong.next() {
            let what = format!("{} on a group of {} samples", group.value, group.samples);
            return Err(self.not_finite(&what));
        }
        self.count();
        Ok(groups)
    }

    fn count(&mut self) {
        self.done += 1;
        (self.progress)(self.done);
    }

    fn not_finite(&self, what: &str) -> Error {
        let problem = format!("product {} with a vector is {what}", self.done + 1);
        let help = "the loss or its slope is not finite at this point or close to it";
        Error::runtime(PLACE, problem).help(help)
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
/// orthogonal to it, as can happen with signs: (1, 1) is orthogonal to (1, −1).
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
