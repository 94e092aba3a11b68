//! The trace, by Hutch++ (Meyer, Musco, Musco and Woodruff, "Hutch++: Optimal Stochastic Trace
//! Estimation", 2021, algorithm 1).

use ndarray::Array1;
use ndarray_linalg::krylov::{AppendResult, MGS, Orthogonalizer};
use rand::Rng;

use super::{Products, norm, sampling, signs};
use crate::error::Result;
use crate::result::spectrum::Trace;

/// If less than this is left of a vector of length 1 after orthogonalization, it adds no new
/// direction.
const DEPENDENT: f64 = 1e-10;

/// tr(H) from at most `budget` products, a third of them each for H·S with random signs S; for Q =
/// orth(H·S), whose part Σ q·Hq is exact; and for random signs g made orthogonal to Q, where the
/// mean of g·Hg is the rest of the trace. The standard error is that of this mean.
///
/// Every q·Hq and g·Hg is taken by group of samples, so that the same sum for each group tells how
/// much the trace varies between samples, at no further cost.
///
/// If `budget` suffices for the diagonal, the trace is exact; below three products there is no Q
/// (Hutchinson's estimate).
pub(super) fn trace(
    products: &mut Products<'_>,
    budget: usize,
    generator: &mut impl Rng,
) -> Result<Trace> {
    if products.dim() <= budget {
        return exact(products);
    }
    let sketched = budget / 3;
    let mut basis: MGS<f64> = MGS::new(products.dim(), 0.5);
    let mut whole = Vec::new();
    for _ in 0..sketched {
        let image = products.of(&signs(products.dim(), generator))?;
        if let Some(q) = appended(&mut basis, image) {
            sampling::add(&mut whole, 1.0, products.along(&q)?);
        }
    }
    let mut rest = Vec::new();
    let probes = budget - 2 * sketched;
    for _ in 0..probes {
        let mut g = signs(products.dim(), generator);
        basis.decompose(&mut g);
        let groups = products.along(&g)?;
        rest.push(sampling::mean(&groups).value);
        sampling::add(&mut whole, 1.0 / probes as f64, groups);
    }
    let whole = sampling::mean(&whole);
    Ok(Trace {
        value: whole.value,
        se: standard_error(&rest),
        sampling_se: whole.se,
    })
}

/// The exact trace, Σ eᵢ·Heᵢ.
fn exact(products: &mut Products<'_>) -> Result<Trace> {
    let mut unit = Array1::zeros(products.dim());
    let mut whole = Vec::new();
    for k in 0..products.dim() {
        unit[k] = 1.0;
        sampling::add(&mut whole, 1.0, products.along(&unit)?);
        unit[k] = 0.0;
    }
    let whole = sampling::mean(&whole);
    Ok(Trace {
        value: whole.value,
        se: 0.0,
        sampling_se: whole.se,
    })
}

/// Appends a vector to an orthonormal basis and returns the new basis vector; `None` if it adds no
/// new direction.
fn appended(basis: &mut MGS<f64>, mut vector: Array1<f64>) -> Option<Array1<f64>> {
    let length = norm(&vector);
    if length == 0.0 {
        return None;
    }
    vector /= length;
    basis.decompose(&mut vector);
    let left = norm(&vector);
    if left < DEPENDENT {
        return None;
    }
    vector /= left;
    match basis.div_append(&mut vector) {
        AppendResult::Added(_) => Some(vector),
        AppendResult::Dependent(_) => None,
    }
}

/// The standard error of the mean of at least one value: sample standard deviation / √n, NaN for a
/// single value.
fn standard_error(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (n - 1.0) / n).sqrt()
}
