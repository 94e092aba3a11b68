//! Arrays of numbers with a bound on their rounding errors.
//!
//! Exporters fold constants in float32. To tell whether a stored tensor is an expression's value,
//! the expression is evaluated in float64, and each element carries a bound on the error that
//! float32 arithmetic may have made up to there, in units of the float32 rounding unit 2⁻²⁴
//! (running error analysis, Higham 2002, *Accuracy and Stability of Numerical Algorithms*, §3.3).
//! So the tolerance suits each operation: nothing for a transpose, little for a product, more
//! where terms cancel.

use super::function::Function;

/// The rounding unit of float32.
pub const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// A dense, row-major array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f64>,
    /// Bounds on the elements' rounding errors, in units of [`UNIT`].
    pub error: Vec<f64>,
}

impl Array {
    /// An exact array. The length of `data` must be the product of `shape`.
    pub fn exact(shape: Vec<usize>, data: Vec<f64>) -> Self {
        let error = vec![0.0; data.len()];
        Self { shape, data, error }
    }

    /// An array of equal elements.
    pub fn filled(shape: &[usize], value: f64) -> Self {
        Self::exact(shape.to_vec(), vec![value; shape.iter().product()])
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Picks elements by their old index.
    fn pick(&self, shape: Vec<usize>, index: impl Fn(&[usize]) -> usize) -> Self {
        let count = shape.iter().product();
        let (mut data, mut error) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut at = vec![0; shape.len()];
        for _ in 0..count {
            let from = index(&at);
            data.push(self.data[from]);
            error.push(self.error[from]);
            advance(&mut at, &shape);
        }
        Self { shape, data, error }
    }

    /// The same elements in another shape; `None` if their number differs.
    pub fn reshape(mut self, shape: &[usize]) -> Option<Self> {
        (shape.iter().product::<usize>() == self.len()).then(|| {
            self.shape = shape.to_vec();
            self
        })
    }

    /// Axis `i` of the result is axis `order[i]`.
    pub fn transpose(&self, order: &[usize]) -> Option<Self> {
        if order.len() != self.shape.len() {
            return None;
        }
        let strides = strides(&self.shape);
        let shape = order
            .iter()
            .map(|&axis| self.shape.get(axis).copied())
            .collect::<Option<Vec<_>>>()?;
        let steps: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
        Some(self.pick(shape, |at| dot(at, &steps)))
    }

    /// Elements `start..end` along an axis.
    pub fn slice(&self, axis: usize, start: usize, end: usize) -> Option<Self> {
        if self.shape.get(axis).is_none_or(|&size| end > size) || start >= end {
            return None;
        }
        let mut shape = self.shape.clone();
        shape[axis] = end - start;
        let strides = strides(&self.shape);
        Some(self.pick(shape, |at| dot(at, &strides) + start * strides[axis]))
    }

    /// Rows of the first axis, in the order of some indices, each as often as it is named.
    pub fn rows(&self, indices: &[usize]) -> Option<Self> {
        let count = *self.shape.first()?;
        if indices.iter().any(|&index| index >= count) {
            return None;
        }
        let mut shape = self.shape.clone();
        shape[0] = indices.len();
        let strides = strides(&self.shape);
        Some(self.pick(shape, |at| {
            dot(&at[1..], &strides[1..]) + indices[at[0]] * strides[0]
        }))
    }

    /// Arrays one after the other along an axis.
    pub fn concat(parts: &[Self], axis: usize) -> Option<Self> {
        let first = parts.first()?;
        let outer: usize = first.shape.get(..axis)?.iter().product();
        let mut shape = first.shape.clone();
        *shape.get_mut(axis)? = parts
            .iter()
            .map(|part| part.shape.get(axis).copied())
            .sum::<Option<usize>>()?;
        let fits = |part: &Self| {
            part.shape.len() == shape.len()
                && (0..shape.len()).all(|it| it == axis || part.shape[it] == shape[it])
        };
        if !parts.iter().all(fits) {
            return None;
        }
        let (mut data, mut error) = (Vec::new(), Vec::new());
        for row in 0..outer {
            for part in parts {
                let width: usize = part.shape[axis..].iter().product();
                data.extend_from_slice(&part.data[row * width..(row + 1) * width]);
                error.extend_from_slice(&part.error[row * width..(row + 1) * width]);
            }
        }
        Some(Self { shape, data, error })
    }

    /// Repeats axes of size 1, as NumPy broadcasts.
    pub fn expand(&self, shape: &[usize]) -> Option<Self> {
        let steps = broadcast_steps(&self.shape, shape)?;
        Some(self.pick(shape.to_vec(), |at| dot(at, &steps)))
    }

    /// Applies a function to each element.
    pub fn map(&self, function: Function) -> Self {
        let value = |x: &f64| function.of(*x);
        let data: Vec<f64> = self.data.iter().map(value).collect();
        let bound = |((x, error), y): ((&f64, &f64), &f64)| {
            // Library functions are right to a few units in the last place.
            function.slope(*x).abs() * error + function.rounding() * y.abs()
        };
        let errors = self.data.iter().zip(&self.error).zip(&data);
        Self {
            shape: self.shape.clone(),
            error: errors.map(bound).collect(),
            data,
        }
    }

    /// Adds a constant, which may itself be rounded.
    pub fn shifted(&self, by: f64) -> Self {
        self.pairs(&Self::rounded(by), |a, b| a + b, |_, _| (1.0, 1.0))
            .unwrap_or_else(|| self.clone())
    }

    /// Multiplies by a constant, which may itself be rounded.
    pub fn scaled(&self, by: f64) -> Self {
        self.product(&Self::rounded(by))
            .unwrap_or_else(|| self.clone())
    }

    fn rounded(value: f64) -> Self {
        let mut scalar = Self::filled(&[], value);
        scalar.error[0] = if f64::from(value as f32) == value {
            0.0
        } else {
            value.abs()
        };
        scalar
    }

    /// Elementwise sum, with broadcasting.
    pub fn sum(&self, other: &Self) -> Option<Self> {
        self.pairs(other, |a, b| a + b, |_, _| (1.0, 1.0))
    }

    /// Elementwise product, with broadcasting.
    pub fn product(&self, other: &Self) -> Option<Self> {
        self.pairs(other, |a, b| a * b, |a, b| (b, a))
    }

    /// Elementwise quotient, with broadcasting.
    pub fn quotient(&self, other: &Self) -> Option<Self> {
        self.pairs(other, |a, b| a / b, |a, b| (1.0 / b, a / (b * b)))
    }

    fn pairs(
        &self,
        other: &Self,
        value: impl Fn(f64, f64) -> f64,
        slopes: impl Fn(f64, f64) -> (f64, f64),
    ) -> Option<Self> {
        let shape = broadcast(&self.shape, &other.shape)?;
        let (a, b) = (self.expand(&shape)?, other.expand(&shape)?);
        let mut out = Self::filled(&shape, 0.0);
        for index in 0..out.len() {
            let (x, y) = (a.data[index], b.data[index]);
            let (by_x, by_y) = slopes(x, y);
            out.data[index] = value(x, y);
            out.error[index] =
                by_x.abs() * a.error[index] + by_y.abs() * b.error[index] + out.data[index].abs();
        }
        Some(out)
    }

    /// Mean over the last axis, which stays with size 1.
    pub fn mean(&self) -> Option<Self> {
        let width = *self.shape.last()?;
        let mut shape = self.shape.clone();
        *shape.last_mut()? = 1;
        let rows = self.data.chunks(width.max(1));
        let data = rows.map(|row| row.iter().sum::<f64>() / width as f64);
        // Sums are made pairwise or in vectors: their error grows much slower than their length.
        let growth = 4.0 + (width as f64).sqrt();
        let error = self
            .data
            .chunks(width.max(1))
            .zip(self.error.chunks(width.max(1)));
        let error = error.map(|(row, error)| {
            let size: f64 = row.iter().map(|x| x.abs()).sum();
            (error.iter().sum::<f64>() + growth * size) / width as f64
        });
        Some(Self {
            shape,
            data: data.collect(),
            error: error.collect(),
        })
    }

    /// Whether a stored array is this value up to rounding: `unit` is the relative rounding error
    /// of the stored type.
    pub fn is_stored_as(&self, stored: &Self, unit: f64) -> bool {
        self.shape == stored.shape && self.excess(stored, unit) <= 1.0
    }

    /// The largest difference from a stored array, in tolerances.
    fn excess(&self, stored: &Self, unit: f64) -> f64 {
        let each = self.data.iter().zip(&self.error).zip(&stored.data);
        let excess = each.map(|((value, error), stored)| {
            let difference = (value - stored).abs();
            // Twice the first-order bound, and the rounding of the stored type itself.
            let allowed = UNIT * 2.0 * error + unit * value.abs().max(stored.abs());
            let excess = difference / allowed;
            match difference {
                0.0 => 0.0,
                _ if excess.is_nan() => f64::INFINITY,
                _ => excess,
            }
        });
        excess.fold(0.0, f64::max)
    }

    /// ‖self − other‖ / ‖other‖; infinite for other shapes.
    pub fn relative_distance(&self, other: &Self) -> f64 {
        if self.len() != other.len() {
            return f64::INFINITY;
        }
        let pairs = self.data.iter().zip(&other.data);
        let apart: f64 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
        let size: f64 = other.data.iter().map(|x| x * x).sum();
        (apart / size).sqrt()
    }
}

/// The shape of two arrays' elementwise result.
fn broadcast(first: &[usize], second: &[usize]) -> Option<Vec<usize>> {
    let rank = first.len().max(second.len());
    let size = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        axis.checked_sub(missing).map_or(1, |axis| shape[axis])
    };
    let axes = (0..rank).map(|axis| match (size(first, axis), size(second, axis)) {
        (a, b) if a == b => Some(a),
        (1, b) => Some(b),
        (a, 1) => Some(a),
        _ => None,
    });
    axes.collect()
}

/// How far to step in an array of shape `from` for each axis of `to`.
fn broadcast_steps(from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let missing = to.len().checked_sub(from.len())?;
    let strides = strides(from);
    let step = |axis: usize| match axis.checked_sub(missing) {
        None => Some(0),
        Some(own) if from[own] == to[axis] => Some(strides[own]),
        Some(own) if from[own] == 1 => Some(0),
        Some(_) => None,
    };
    (0..to.len()).map(step).collect()
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

fn dot(at: &[usize], steps: &[usize]) -> usize {
    at.iter().zip(steps).map(|(at, step)| at * step).sum()
}

/// Moves to the next index in row-major order.
fn advance(at: &mut [usize], shape: &[usize]) {
    for axis in (0..at.len()).rev() {
        at[axis] += 1;
        if at[axis] < shape[axis] {
            return;
        }
        at[axis] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Array {
        Array::exact(vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    }

    #[test]
    fn elements_are_rearranged() {
        let turned = matrix().transpose(&[1, 0]).unwrap();
        assert_eq!(turned.data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(matrix().slice(1, 1, 3).unwrap().data, [2.0, 3.0, 5.0, 6.0]);
        assert_eq!(matrix().slice(1, 2, 4), None);
        let parts = [
            matrix().slice(1, 2, 3).unwrap(),
            matrix().slice(1, 0, 2).unwrap(),
        ];
        let joined = Array::concat(&parts, 1).unwrap();
        assert_eq!(joined.data, [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]);
        assert_eq!(Array::concat(&parts, 0), None);
        let picked = matrix().rows(&[1, 0, 1]).unwrap();
        assert_eq!(picked.shape, [3, 3]);
        assert_eq!(picked.data[..6], [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
        assert_eq!(matrix().rows(&[2]), None);
        let row = Array::exact(vec![2, 1], vec![1.0, 2.0]);
        assert_eq!(row.expand(&[2, 2]).unwrap().data, [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(row.expand(&[3, 2]), None);
    }

    #[test]
    fn arithmetic_broadcasts() {
        let column = Array::exact(vec![2, 1], vec![10.0, 20.0]);
        let sum = matrix().sum(&column).unwrap();
        assert_eq!(sum.data, [11.0, 12.0, 13.0, 24.0, 25.0, 26.0]);
        assert_eq!(matrix().mean().unwrap().data, [2.0, 5.0]);
        assert_eq!(matrix().scaled(2.0).data[5], 12.0);
        assert_eq!(matrix().shifted(1.0).data[0], 2.0);
        let third = matrix().quotient(&column).unwrap();
        assert_eq!(third.data[4], 0.25);
        assert_eq!(matrix().map(Function::Neg).data[0], -1.0);
    }

    #[test]
    fn float32_arithmetic_is_within_the_bound_and_an_untrained_batch_norm_is_not() {
        // (a − b)·c in float32, where a and b nearly cancel.
        let (a, b, c) = (1.000_1_f32, 1.000_03_f32, 3.7_f32);
        let single = |x: f32| Array::exact(vec![1], vec![f64::from(x)]);
        let value = single(a)
            .sum(&single(-b))
            .unwrap()
            .product(&single(c))
            .unwrap();
        assert!(value.is_stored_as(&single((a - b) * c), UNIT));
        assert!(!value.is_stored_as(&single((a - b) * c * 1.000_001), UNIT));
        // γ = σ² = 1 and ε = 1e-5 change a weight by 5e-6.
        let weight = single(0.3);
        let folded = single(0.3 / (1.0_f32 + 1e-5).sqrt());
        assert!(!weight.is_stored_as(&folded, UNIT));
        assert!(weight.is_stored_as(&weight.clone(), UNIT));
    }
}
