//! Operators with known spectra.

use std::cell::Cell;

use nalgebra::{DMatrix, DVector};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::normals;
use crate::error::{Error, Result};
use crate::evaluate::linear_operator::LinearOperator;

/// A diagonal matrix.
pub struct Diagonal(pub Vec<f64>);

impl LinearOperator for Diagonal {
    fn dim(&self) -> usize {
        self.0.len()
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        Ok(self.0.iter().zip(v).map(|(h, v)| h * v).collect())
    }
}

/// A dense matrix.
pub struct Dense(pub DMatrix<f64>);

impl LinearOperator for Dense {
    fn dim(&self) -> usize {
        self.0.nrows()
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        let product = &self.0 * DVector::from_column_slice(v);
        Ok(product.as_slice().to_vec())
    }
}

/// An operator that fails, or returns NaN, after some products.
pub struct Broken {
    /// Number of products that succeed.
    pub left: Cell<usize>,
    /// The value that the next product returns; `None` if it fails.
    pub then: Option<f64>,
}

impl LinearOperator for Broken {
    fn dim(&self) -> usize {
        20
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        let mut product: Vec<f64> = (1_i32..).zip(v).map(|(k, v)| f64::from(k) * v).collect();
        if self.left.get() == 0 {
            let then = self.then;
            product[3] = then.ok_or_else(|| Error::runtime("network", "stopped"))?;
        }
        self.left.set(self.left.get().saturating_sub(1));
        Ok(product)
    }
}

/// Random normal entries.
pub fn random(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let entries = normals(rows * columns, &mut generator);
    DMatrix::from_iterator(rows, columns, entries)
}

/// A random symmetric matrix.
pub fn symmetric(dim: usize, seed: u64) -> DMatrix<f64> {
    let matrix = random(dim, dim, seed);
    (&matrix + matrix.transpose()) * 0.5
}

/// A symmetric matrix with these eigenvalues and random eigenvectors.
pub fn with_eigenvalues(values: &[f64], seed: u64) -> DMatrix<f64> {
    let q = random(values.len(), values.len(), seed).qr().q();
    let matrix = &q * DMatrix::from_diagonal(&values.to_vec().into()) * q.transpose();
    (&matrix + matrix.transpose()) * 0.5
}

/// The eigenvalues of a matrix, descending, by nalgebra.
pub fn eigenvalues(matrix: &DMatrix<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = matrix.symmetric_eigenvalues().iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}
