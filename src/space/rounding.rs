//! What rounding to 16 bits does to norms and angles.
//!
//! Rounding to nearest moves an element by up to half a step (ulp), uniformly if what it stores is
//! many steps wide: ε² = Σₖ ulp(θₖ)²/12. A fine-tune that moved its weights by 1e-3 of their size is
//! below the steps of bfloat16 (2⁻⁸ to 2⁻⁷ of an element), and its norm and angles are then those of
//! rounding errors.

use std::collections::BTreeMap;

use ndarray::Array2;
use rayon::prelude::*;

use super::gram::{for_each_block, segments};
use super::pool::Pool;
use crate::base::dtype::Dtype;

/// ‖δ‖/ε below which norms and angles carry a warning.
pub const FEW_FLOORS: f64 = 10.0;

/// Smallest root mean square of δ, in steps, at which the rounding errors of two models are
/// independent of δ and of each other. For a normal distribution the correlation falls as
/// exp(−2π²·r²), which is 8e-4 here (Widrow and Kollár, *Quantization Noise*, 2008).
const RESOLVED: f64 = 0.6;

/// The rounding of the checkpoints of a pool that are stored in 16 bits.
#[derive(Debug, Clone)]
pub struct Rounding {
    /// `floors[parameter][checkpoint]`: ε² of δ, from the types of the checkpoint and of θ0; 0 for
    /// parameters that do not count.
    pub floors: Vec<Vec<f64>>,
    /// `steps[parameter]`: sums over the elements whose rounding step has the same size, by the
    /// step's exponent. Weights of a tensor have some ten different steps.
    steps: Vec<BTreeMap<i32, Sums>>,
}

/// Sums over elements.
#[derive(Debug, Clone)]
struct Sums {
    elements: usize,
    /// ⟨δᵢ, δⱼ⟩.
    products: Array2<f64>,
    /// `own[checkpoint]`: Σ ulp²/12 of the checkpoint's own rounding. θ0 is taken as it is stored.
    own: Vec<f64>,
}

/// Norms and the angle of a pair with the checkpoints' own rounding taken out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unrounded {
    /// Angle in degrees; NaN if no element is resolved.
    pub angle_deg: f64,
    /// The fraction of elements that the rounding steps resolve: the angle is known from these.
    pub share: f64,
}

impl Rounding {
    /// Streams every parameter that counts once. `None` if all members are stored in 32 bits or
    /// more.
    pub fn of(pool: &Pool) -> Option<Self> {
        Self::over(pool, |_| true)
    }

    /// The same over chosen parameters.
    pub fn over(pool: &Pool, chosen: impl Fn(usize) -> bool) -> Option<Self> {
        let is_half = |dtype: Dtype| matches!(dtype, Dtype::F16 | Dtype::Bf16);
        let counted = |index: &usize| pool.parameters[*index].counts() && chosen(*index);
        let indices: Vec<usize> = (0..pool.parameters.len()).filter(counted).collect();
        let mut stored = indices.iter().flat_map(|&index| {
            let members = pool.members.iter();
            members.map(move |member| member.sources[index].tensor.dtype)
        });
        if !stored.any(is_half) {
            return None;
        }
        let segments: Vec<_> = indices
            .iter()
            .flat_map(|&index| segments(pool, index))
            .collect();
        let parts: Vec<BTreeMap<i32, (Sums, f64)>> = segments
            .par_iter()
            .map(|(index, range)| sums(pool, *index, range.clone()))
            .collect();
        let k = pool.members.len() - 1;
        let mut rounding = Self {
            floors: vec![vec![0.0; k]; pool.parameters.len()],
            steps: vec![BTreeMap::new(); pool.parameters.len()],
        };
        for ((index, _), part) in segments.iter().zip(parts) {
            for (step, (sums, origin)) in part {
                for (floor, own) in rounding.floors[*index].iter_mut().zip(&sums.own) {
                    *floor += own + origin;
                }
                let all = rounding.steps[*index].entry(step);
                all.or_insert_with(|| Sums::zero(k)).add(&sums);
            }
        }
        Some(rounding)
    }

    /// ε of δ of checkpoint `k` (0-based), for the two roundings in it.
    pub fn floor(&self, k: usize) -> f64 {
        self.floors.iter().map(|of| of[k]).sum::<f64>().sqrt()
    }

    /// ‖δ‖/ε of checkpoint `k`; infinite if neither it nor θ0 is rounded.
    pub fn ratio(&self, k: usize) -> f64 {
        let square = self.all().map(|sums| sums.products[[k, k]]);
        square.sum::<f64>().sqrt() / self.floor(k)
    }

    /// Warns of checkpoints that moved by few rounding errors.
    pub fn warning(&self, pool: &Pool) -> Option<String> {
        let checkpoints = pool.members.iter().skip(1).enumerate();
        let mut low: Vec<(f64, &str)> = checkpoints
            .map(|(k, member)| (self.ratio(k), member.name.as_str()))
            .filter(|(ratio, _)| *ratio < FEW_FLOORS)
            .collect();
        low.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (lowest, name) = low.first()?;
        let others = match low.len() - 1 {
            0 => String::new(),
            count => format!(" (and {count} others have few)"),
        };
        Some(format!(
            "16-bit files: ‖δ‖ of {name} is only {lowest:.1} rounding errors ε{others}. Below {FEW_FLOORS} \
             norms and angles are partly those of rounding, and an average saved in 16 bits is \
             another model; use 32-bit checkpoints if there are any"
        ))
    }

    /// ‖δ‖ of checkpoint `k` without its own rounding: √(⟨δ, δ⟩ − ε²), 0 if ε is larger.
    pub fn norm(&self, k: usize) -> f64 {
        let square: f64 = self.all().map(|sums| sums.square(k)).sum();
        square.max(0.0).sqrt()
    }

    /// The angle between δ of two checkpoints without their own rounding.
    ///
    /// In each tensor the cosine is that of the elements which the rounding steps resolve, with ε²
    /// subtracted from both squared norms. Elements whose steps are wider than the models'
    /// differences are left out, since their rounding errors depend on one another: large weights
    /// have wide steps. The tensors' cosines count as their norms do, again without ε². A tensor
    /// without resolved elements has the cosine of all others.
    pub fn angle(&self, a: usize, b: usize) -> Unrounded {
        let (mut resolved, mut elements, mut all) = ([0.0; 3], 0, 0);
        let (mut inner, mut unknown) = (0.0, 0.0);
        for steps in &self.steps {
            let mut sums = [0.0; 3];
            let (mut square_a, mut square_b) = (0.0, 0.0);
            for (step, of) in steps {
                all += of.elements;
                square_a += of.square(a);
                square_b += of.square(b);
                if of.is_resolved(*step, a, b) {
                    elements += of.elements;
                    let values = [of.products[[a, b]], of.square(a), of.square(b)];
                    sums.iter_mut().zip(values).for_each(|(sum, it)| *sum += it);
                }
            }
            let norms = (square_a.max(0.0) * square_b.max(0.0)).sqrt();
            match cosine(sums) {
                Some(cosine) => inner += cosine * norms,
                None => unknown += norms,
            }
            resolved
                .iter_mut()
                .zip(sums)
                .for_each(|(all, it)| *all += it);
        }
        inner += cosine(resolved).map_or(f64::NAN, |cosine| cosine * unknown);
        let cosine = inner / (self.norm(a) * self.norm(b));
        Unrounded {
            angle_deg: cosine.clamp(-1.0, 1.0).acos().to_degrees(),
            share: elements as f64 / all.max(1) as f64,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Sums> {
        self.steps.iter().flat_map(BTreeMap::values)
    }
}

/// The cosine from an inner product and two squared norms, if these are above 0.
fn cosine([inner, square_a, square_b]: [f64; 3]) -> Option<f64> {
    let is_known = square_a > 0.0 && square_b > 0.0;
    is_known.then(|| (inner / (square_a * square_b).sqrt()).clamp(-1.0, 1.0))
}

/// The exponent of steps where no checkpoint is rounded to 16 bits.
const FINE: i32 = i32::MIN;

impl Sums {
    fn zero(k: usize) -> Self {
        Self {
            elements: 0,
            products: Array2::zeros((k, k)),
            own: vec![0.0; k],
        }
    }

    fn add(&mut self, other: &Self) {
        self.elements += other.elements;
        self.products += &other.products;
        for (sum, own) in self.own.iter_mut().zip(&other.own) {
            *sum += own;
        }
    }

    /// Whether two models and their difference are wide enough for steps of this size.
    fn is_resolved(&self, step: i32, a: usize, b: usize) -> bool {
        let (square_a, square_b) = (self.square(a), self.square(b));
        let apart = square_a + square_b - 2.0 * self.products[[a, b]];
        let smallest = square_a.min(square_b).min(apart).max(0.0);
        let width = (smallest / self.elements as f64).sqrt();
        step == FINE || width >= RESOLVED * f64::from(step).exp2()
    }

    /// ‖δ‖² of a checkpoint without its own rounding; noise may make it negative.
    fn square(&self, k: usize) -> f64 {
        self.products[[k, k]] - self.own[k]
    }
}

/// The sums over one segment, by step, each with θ0's Σ ulp²/12.
fn sums(pool: &Pool, index: usize, range: std::ops::Range<usize>) -> BTreeMap<i32, (Sums, f64)> {
    let k = pool.members.len() - 1;
    let frozen = pool.parameters[index].frozen;
    let members = pool.members.iter();
    let types: Vec<Dtype> = members
        .map(|member| member.sources[index].tensor.dtype)
        .collect();
    let mut found: BTreeMap<i32, (Sums, f64)> = BTreeMap::new();
    for_each_block(pool, index, range, |_, block| {
        for element in block.columns() {
            let steps: Vec<Option<i32>> = types
                .iter()
                .zip(element)
                .map(|(dtype, value)| step(*dtype, *value))
                .collect();
            let widest = steps.iter().flatten().max().copied().unwrap_or(FINE);
            let (sums, origin) = found.entry(widest).or_insert_with(|| (Sums::zero(k), 0.0));
            sums.elements += 1;
            if frozen {
                // Nothing moved: δ is 0, whatever was rounded.
                continue;
            }
            let variance =
                |step: Option<i32>| step.map_or(0.0, |step| (2.0 * f64::from(step)).exp2() / 12.0);
            *origin += variance(steps[0]);
            for i in 0..k {
                sums.own[i] += variance(steps[i + 1]);
                let delta = element[i + 1] - element[0];
                for j in 0..=i {
                    sums.products[[i, j]] += delta * (element[j + 1] - element[0]);
                }
            }
        }
    });
    for (sums, _) in found.values_mut() {
        for i in 0..k {
            for j in 0..i {
                sums.products[[j, i]] = sums.products[[i, j]];
            }
        }
    }
    found
}

/// The exponent of the distance between neighbouring numbers of a 16-bit type at a value; `None`
/// for wider types and for 0, which rounding leaves where it is.
fn step(dtype: Dtype, value: f64) -> Option<i32> {
    let (digits, smallest) = match dtype {
        Dtype::Bf16 => (7, -126),
        Dtype::F16 => (10, -14),
        _ => return None,
    };
    if value == 0.0 || !value.is_finite() {
        return None;
    }
    // The exponent of a finite, nonzero float64.
    let exponent = ((value.abs().to_bits() >> 52) as i32) - 1023;
    Some(exponent.max(smallest) - digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::gram::Gram;
    use crate::space::testing::{halves, normal, pool};

    #[test]
    fn steps_are_those_of_the_types() {
        for value in [1.0, -1.5, 0.3, 300.0, 1e-3] {
            let next = |up: f64, dtype| (2.0_f64).powi(step(dtype, up).unwrap());
            let half = half::f16::from_f64(value);
            let above = half::f16::from_bits(half.to_bits() + 1);
            let apart = (above.to_f64() - half.to_f64()).abs();
            assert_eq!(next(half.to_f64(), Dtype::F16), apart);
            let brain = half::bf16::from_f64(value);
            let above = half::bf16::from_bits(brain.to_bits() + 1);
            let apart = (above.to_f64() - brain.to_f64()).abs();
            assert_eq!(next(brain.to_f64(), Dtype::Bf16), apart);
        }
        assert_eq!(step(Dtype::F32, 1.0), None);
        assert_eq!(step(Dtype::Bf16, 0.0), None);
        assert!(Rounding::of(&pool(&[&[1.0], &[2.0]])).is_none());
    }

    /// 200,000 normal weights, δ of a given size at 40°. The cosine of a sample has a standard
    /// error of 0.0013 (0.1°), its rounded form about three times that.
    #[test]
    fn the_angle_of_rounded_checkpoints_is_that_before_rounding() {
        let n = 200_000;
        let origin = normal(n, 1);
        let (u, v) = (normal(n, 2), normal(n, 3));
        let (sin, cos) = 40.0_f64.to_radians().sin_cos();
        // bfloat16 at θ0 in float32 and in bfloat16, and float16.
        for (size, dtype, rounded) in [
            (1e-2, Dtype::Bf16, false),
            (3e-3, Dtype::Bf16, false),
            (3e-3, Dtype::Bf16, true),
            (3e-3, Dtype::F16, false),
        ] {
            let moved = |k: usize| origin[k] + size * u[k];
            let other = |k: usize| origin[k] + size * (cos * u[k] + sin * v[k]);
            let a: Vec<f64> = (0..n).map(moved).collect();
            let b: Vec<f64> = (0..n).map(other).collect();
            let first = if rounded { dtype } else { Dtype::F32 };
            let pool = halves(&[(&origin, first), (&a, dtype), (&b, dtype)]);
            let (rounding, gram) = (Rounding::of(&pool).unwrap(), Gram::of(&pool));
            let found = rounding.angle(0, 1);
            assert!(
                (found.angle_deg - 40.0).abs() < 1.0,
                "{size} {dtype:?}: {found:?}"
            );
            let ratio = gram.norm(0) / rounding.floor(0);
            assert_eq!(ratio < FEW_FLOORS, dtype == Dtype::Bf16, "{ratio}");
            if dtype == Dtype::Bf16 && size < 1e-2 {
                assert!((gram.angle(0, 1) - 40.0).abs() > 5.0);
            }
            if !rounded {
                let truth = size * u.iter().map(|x| x * x).sum::<f64>().sqrt();
                let norm = rounding.norm(0);
                assert!(
                    (norm / truth - 1.0).abs() < 0.02,
                    "{size} {dtype:?}: {norm} {truth}"
                );
            }
        }
    }
}
