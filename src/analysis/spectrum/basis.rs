//! An orthonormal basis by modified Gram–Schmidt whose vectors can be combined. ndarray-linalg's
//! `MGS` gives its vectors as a copy of all of them only, which may be half of the memory.

use ndarray::Array1;

use super::norm;

/// An orthonormal basis of a subspace.
pub(super) struct Basis {
    dim: usize,
    vectors: Vec<Array1<f64>>,
}

impl Basis {
    /// The empty basis in a space of `dim` dimensions.
    pub(super) fn new(dim: usize) -> Self {
        let vectors = Vec::new();
        Self { dim, vectors }
    }

    /// The dimension of the whole space.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Leaves the component of a vector outside the subspace. Returns its coefficients in the basis,
    /// then the norm of what is left.
    pub(super) fn decompose(&self, vector: &mut Array1<f64>) -> Vec<f64> {
        let within = self.vectors.iter().map(|q| {
            let coefficient = q.dot(&*vector);
            vector.scaled_add(-coefficient, q);
            coefficient
        });
        let mut coefficients: Vec<f64> = within.collect();
        coefficients.push(norm(vector));
        coefficients
    }

    /// Makes a vector of length 1 orthogonal to the basis and adds it; `false` if that leaves less
    /// than half of it.
    pub(super) fn append(&mut self, vector: &mut Array1<f64>) -> bool {
        let left = self.decompose(vector).pop().unwrap_or(0.0);
        if left.is_nan() || left < 0.5 {
            return false;
        }
        *vector /= left;
        self.vectors.push(vector.clone());
        true
    }

    /// The vector with these coefficients in the basis.
    pub(super) fn combined<'c>(&self, coefficients: impl Iterator<Item = &'c f64>) -> Array1<f64> {
        let mut sum = Array1::zeros(self.dim);
        for (q, &coefficient) in self.vectors.iter().zip(coefficients) {
            sum.scaled_add(coefficient, q);
        }
        sum
    }
}
