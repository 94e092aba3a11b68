//! The eigenvalues at both ends of a spectrum, by the Lanczos process.
//!
//! Step j computes w = H·qⱼ and orthogonalizes it against all previous vectors, twice ("twice is
//! enough": Giraud, Langou and Rozložník 2005): H·Q = Q·T + β·q·eᵀ with T tridiagonal. T's
//! eigenvalues θ with eigenvectors s approximate those of H with eigenvectors v = Q·s, and ‖Hv −
//! θv‖ = β·|last element of s| (Parlett, "The Symmetric Eigenvalue Problem", chapter 13). The
//! asymmetry of an operator, which T cannot represent, is added to that.
//!
//! From one start vector each eigenvalue is found once. Copies of a multiple eigenvalue are found
//! only when the space is closed under H and the process restarts.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::Array1;
use rand::Rng;

use super::basis::Basis;
use super::{PLACE, Products, SpectrumPlan, norm, normals};
use crate::error::{Error, Result};
use crate::result::spectrum::{Eigenvalue, End};

/// The remainder of a product after orthogonalization, as a fraction of T's largest entry, that
/// counts as rounding: the space is then closed. In f64, rounding leaves about 1e-15.
const ROUNDING: f64 = 1e-12;

/// Relative difference, as a fraction of the largest |λ|, within which eigenvalues of two spaces
/// are equal.
const SAME: f64 = 100.0 * ROUNDING;

/// Computes the eigenvalues that a plan asks for, each with its vector of length 1.
pub(super) fn ends(
    products: &mut Products<'_>,
    plan: &SpectrumPlan,
    generator: &mut impl Rng,
) -> Result<Vec<(Eigenvalue, Array1<f64>)>> {
    let steps = plan.lanczos_steps(products.dim());
    if steps == 0 {
        return Ok(Vec::new());
    }
    let mut krylov = Krylov::new(normals(products.dim(), generator));
    let wanted = plan.top + plan.bottom;
    loop {
        krylov.step(products)?;
        let (done, last) = (krylov.len(), krylov.len() == steps);
        // The cost of the small eigenproblem grows as done³; this keeps the total cost small.
        let looked = done >= wanted && done.is_multiple_of(1 + done / 10);
        if last || looked || krylov.closed() {
            let ritz = krylov.ritz()?;
            if last || krylov.settled(&ritz, plan)? {
                return Ok(listed(&krylov, &ritz, plan));
            }
        }
        if krylov.closed() || !krylov.extend() {
            krylov.restart(generator);
        }
    }
}

fn listed(krylov: &Krylov, ritz: &Eigen, plan: &SpectrumPlan) -> Vec<(Eigenvalue, Array1<f64>)> {
    let count = ritz.values.len();
    let of = |(end, rank, index): (End, usize, usize)| {
        let residual = krylov.residual(ritz, index);
        let eigenvalue = Eigenvalue {
            rank,
            end,
            value: ritz.values[index],
            residual,
            converged: residual <= ritz.limit(index, plan.tolerance),
            sampling_se: None,
            held_out: None,
        };
        (eigenvalue, krylov.vector(ritz, index))
    };
    let top = (0..plan.top.min(count)).map(|k| (End::Top, k + 1, k));
    let bottom = (0..plan.bottom.min(count)).map(|k| (End::Bottom, k + 1, count - 1 - k));
    top.chain(bottom).map(of).collect()
}

/// An orthonormal basis that grows by products with its newest vector, and H in that basis.
pub(super) struct Krylov {
    basis: Basis,
    /// The newest basis vector; after a step, the component of its product outside the basis.
    newest: Array1<f64>,
    /// T's diagonal.
    alphas: Vec<f64>,
    /// T's subdiagonal; the last entry is the norm of the last product's component outside the
    /// basis.
    betas: Vec<f64>,
    /// `strays[j][i]`: qᵢ·Hqⱼ minus T's entry, for i < j.
    strays: Vec<Vec<f64>>,
    /// Number of steps before the newest space began: 0 until a space is closed.
    began: usize,
}

impl Krylov {
    /// The basis of one vector, which must not be 0.
    pub(super) fn new(start: Array1<f64>) -> Self {
        let mut basis = Basis::new(start.len());
        let mut newest = start;
        newest /= norm(&newest);
        basis.append(&mut newest);
        Self {
            basis,
            newest,
            alphas: Vec::new(),
            betas: Vec::new(),
            strays: Vec::new(),
            began: 0,
        }
    }

    /// The number of steps taken.
    pub(super) fn len(&self) -> usize {
        self.alphas.len()
    }

    /// Multiplies the newest vector with H and orthogonalizes the product.
    pub(super) fn step(&mut self, products: &mut Products<'_>) -> Result<()> {
        let mut product = products.of(&self.newest)?;
        let coefficients = self.basis.decompose(&mut product);
        let j = self.len();
        let mut strays = coefficients[..j].to_vec();
        if let (Some(stray), Some(beta)) = (strays.last_mut(), self.betas.last()) {
            *stray -= beta;
        }
        self.strays.push(strays);
        self.alphas.push(coefficients[j]);
        self.betas.push(coefficients[j + 1]);
        self.newest = product;
        if self.closed() {
            self.betas[j] = 0.0;
        }
        Ok(())
    }

    /// Whether H maps the span of the basis into itself, so that T's eigenvalues are H's.
    pub(super) fn closed(&self) -> bool {
        let entries = self.alphas.iter().chain(&self.betas);
        let largest = entries.fold(0.0_f64, |largest, entry| largest.max(entry.abs()));
        let left = self.betas.last().copied().unwrap_or(0.0);
        left <= ROUNDING * largest || self.len() == self.basis.dim()
    }

    /// Appends the last product to the basis; `false` if it adds no new direction.
    pub(super) fn extend(&mut self) -> bool {
        let left = self.betas.last().copied().unwrap_or(0.0);
        self.newest /= left;
        // The second pass.
        self.basis.append(&mut self.newest)
    }

    /// Continues with a vector outside a closed space. This finds multiple eigenvalues: each space
    /// contains an eigenvalue only once.
    fn restart(&mut self, generator: &mut impl Rng) {
        self.began = self.len();
        if let Some(last) = self.betas.last_mut() {
            *last = 0.0;
        }
        loop {
            let mut fresh = normals(self.basis.dim(), generator);
            self.basis.decompose(&mut fresh);
            fresh /= norm(&fresh);
            if self.basis.append(&mut fresh) {
                self.newest = fresh;
                return;
            }
        }
    }

    /// T's eigenvalues and eigenvectors.
    pub(super) fn ritz(&self) -> Result<Eigen> {
        Eigen::of(&self.alphas, &self.betas)
    }

    /// The residual ‖Hv − θv‖ of an eigenvalue of T.
    pub(super) fn residual(&self, ritz: &Eigen, index: usize) -> f64 {
        let s = ritz.vectors.column(index);
        let last = self.len() - 1;
        let mut stray = vec![0.0; self.len()];
        for (strays, s) in self.strays.iter().zip(s.iter()) {
            for (sum, value) in stray.iter_mut().zip(strays) {
                *sum += value * s;
            }
        }
        let squares: f64 = stray.iter().map(|value| value * value).sum();
        (self.betas[last] * s[last]).hypot(squares.sqrt())
    }

    /// The vector v = Q·s of an eigenvalue of T.
    fn vector(&self, ritz: &Eigen, index: usize) -> Array1<f64> {
        self.basis.combined(ritz.vectors.column(index).iter())
    }

    /// Whether no further step is needed.
    fn settled(&self, ritz: &Eigen, plan: &SpectrumPlan) -> Result<bool> {
        let count = ritz.values.len();
        if count < plan.top.max(plan.bottom) {
            return Ok(false);
        }
        let converged = |k: usize| self.residual(ritz, k) <= ritz.limit(k, plan.tolerance);
        if self.began == 0 && !self.closed() {
            let ends = (0..plan.top).chain(count - plan.bottom..count);
            return Ok(ends.into_iter().all(converged));
        }
        // A space from a random vector has every eigenvalue of the part outside the earlier spaces:
        // once it is closed, no eigenvalue still to be found lies beyond its own.
        if !self.closed() {
            return Ok(false);
        }
        let newest = Eigen::of(&self.alphas[self.began..], &self.betas[self.began..])?;
        let most = SAME * ritz.largest();
        let (high, low) = (newest.values[0], newest.values[newest.values.len() - 1]);
        let top = plan.top.checked_sub(1).map(|k| ritz.values[k]);
        let bottom = plan.bottom.checked_sub(1);
        let bottom = bottom.map(|k| ritz.values[count - 1 - k]);
        let above = top.is_none_or(|value| value >= high - most);
        Ok(above && bottom.is_none_or(|value| value <= low + most))
    }
}

/// Eigenvalues of a small matrix, descending, and its eigenvectors as columns, in the same order.
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    pub(super) vectors: DMatrix<f64>,
}

impl Eigen {
    /// Decomposes the symmetric tridiagonal matrix with this diagonal and the first of `betas`
    /// beside it.
    pub(super) fn of(alphas: &[f64], betas: &[f64]) -> Result<Self> {
        let n = alphas.len();
        let mut matrix = DMatrix::from_diagonal(&alphas.to_vec().into());
        for (k, &beta) in betas.iter().enumerate().take(n - 1) {
            matrix[(k, k + 1)] = beta;
            matrix[(k + 1, k)] = beta;
        }
        // The iteration takes two or three rounds per eigenvalue.
        let eigen = SymmetricEigen::try_new(matrix, f64::EPSILON, 100 * n.max(10));
        let Some(eigen) = eigen else {
            let problem = format!("the eigenvalues of a {n}×{n} matrix were not found");
            return Err(Error::runtime(PLACE, problem));
        };
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        Ok(Self {
            values: order.iter().map(|&k| eigen.eigenvalues[k]).collect(),
            vectors: eigen.eigenvectors.select_columns(&order),
        })
    }

    /// The largest residual at which an eigenvalue has converged: see [`SpectrumPlan::tolerance`].
    fn limit(&self, index: usize, tolerance: f64) -> f64 {
        let zero = (tolerance * tolerance).max(ROUNDING) * self.largest();
        zero.max(tolerance * self.values[index].abs())
    }

    /// The largest |θ|.
    fn largest(&self) -> f64 {
        let sizes = self.values.iter().map(|value| value.abs());
        sizes.fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::super::testing::Diagonal;
    use super::*;

    #[test]
    fn the_basis_stays_orthonormal_over_fourteen_decades_of_eigenvalues() {
        let diagonal: Vec<f64> = (0..400)
            .map(|k| 10_f64.powf(-f64::from(k) / 28.0))
            .collect();
        let operator = Diagonal(diagonal.clone());
        let mut products = Products {
            operator: &operator,
            progress: &mut |_| {},
            done: 0,
        };
        let start = super::super::signs(400, &mut Xoshiro256PlusPlus::seed_from_u64(1));
        let mut krylov = Krylov::new(start);
        while krylov.len() < 120 {
            krylov.step(&mut products).unwrap();
            assert!(krylov.extend());
        }
        let unit = |k: usize| {
            let mut unit = vec![0.0; krylov.len() + 1];
            unit[k] = 1.0;
            krylov.basis.combined(unit.iter())
        };
        let q: Vec<Array1<f64>> = (0..=krylov.len()).map(unit).collect();
        // A single pass leaves 2e-10 here; two leave the rounding of a sum of 400 products.
        let mut worst = 0.0_f64;
        for (j, a) in q.iter().enumerate() {
            for (k, b) in q.iter().enumerate() {
                worst = worst.max((a.dot(b) - f64::from(u8::from(j == k))).abs());
            }
        }
        assert!(worst < 1e-14, "{worst:e}");
        // Without orthogonality, copies of the largest eigenvalue would appear.
        let values = krylov.ritz().unwrap().values;
        for (found, exact) in values.iter().zip(&diagonal).take(6) {
            assert!((found - exact).abs() < 1e-13, "{found} {exact}");
        }
    }
}
