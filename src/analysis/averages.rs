//! Averages of checkpoints other than the plain mean, as mixes: WiSE-FT, task arithmetic, Model
//! Stock and spherical interpolation.
//!
//! Below, τₘ = θₘ − θ0 is the task vector of member m. Members are numbered as in the pool: 0 is
//! θ0, whose task vector is 0, and 1..=k are the checkpoints.
//!
//! Methods based on angles have one angle per tensor, as their sources have. Tied tensors are one.
//! Running statistics have no angle: Model Stock gives them the ratio that it finds over all tensors,
//! and both spherical interpolations join them straight.

use ndarray::Array2;

use crate::space::gram::Gram;
use crate::space::mix::Mix;
use crate::space::pool::{Parameter, Pool};

/// |cos Ω| above which spherical interpolation is linear, since sin Ω is almost 0. This is
/// mergekit's threshold.
const PARALLEL: f64 = 0.9995;

/// Norm up to which mergekit's `slerp` does not normalize a tensor.
const NO_DIRECTION: f64 = 1e-8;

/// Smallest product of norms by which mergekit's `model_stock` divides an inner product.
const SMALLEST_PRODUCT: f64 = 1e-6;

/// Smallest 1 + (k−1)·cos θ that [`model_stock`] divides by. It equals ‖Σ τₘ/‖τₘ‖‖²/k, so below
/// this the task vectors cancel and only rounding is left.
const CANCELLED: f64 = 1e-9;

/// θ0 + α·(θ − θ0) = (1−α)·θ0 + α·θ: robust fine-tuning (WiSE-FT, Wortsman et al. 2022) of any mix
/// θ. `alpha` must be finite. 0 is θ0 and 1 the mix itself, also where each tensor has its own row.
pub fn wise_ft(base: &Mix, alpha: f64) -> Mix {
    if alpha == 0.0 {
        return Mix::unit(0, base.row(0).len());
    }
    if alpha == 1.0 {
        return base.clone();
    }
    let shortened = |row: &Vec<f64>| {
        let mut row: Vec<f64> = row.iter().map(|c| alpha * c).collect();
        row[0] += 1.0 - alpha;
        row
    };
    Mix::linear(base.rows().iter().map(shortened).collect())
}

/// The ray from θ0 to a mix: [`wise_ft`] of it at `count` evenly spaced α, 0 and 1 among them. `count`
/// is 2 or more.
pub fn ray(model: &Mix, count: usize) -> Vec<(f64, Mix)> {
    let steps = count.max(2) - 1;
    let alphas = (0..=steps).map(|step| step as f64 / steps as f64);
    alphas.map(|alpha| (alpha, wise_ft(model, alpha))).collect()
}

/// θ0 + s·(θ̄ − θ0), where θ̄ is the mean of `members` of a pool of `size` members: task arithmetic,
/// θ0 + λ·Σ τₘ (Ilharco et al. 2023), with s = kλ for k members. s = 1 is their mean. `scale` must
/// be finite.
///
/// # Panics
/// Panics when a member is not below `size`.
pub fn task_arithmetic(members: &[usize], scale: f64, size: usize) -> Mix {
    let each = scale / members.len().max(1) as f64;
    Mix::new(along(members.iter().map(|&member| (member, each)), size))
}

/// A Model Stock of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelStock {
    /// The model.
    pub mix: Mix,
    /// `ratios[parameter]`: t; `None` where the task vectors cancel, so that t is undefined and
    /// θ0's tensor is kept.
    pub ratios: Vec<Option<f64>>,
}

impl ModelStock {
    /// What is unusual: tensors that are θ0's because t is undefined, and extrapolated ones.
    pub fn notes(&self, pool: &Pool) -> Vec<String> {
        let tensors = pool.parameters.iter().zip(&self.ratios);
        let tensors = tensors.filter(|(parameter, _)| parameter.counts());
        let named = |what: &str, of: fn(&Option<f64>) -> bool| {
            let names = tensors.clone().filter(|(_, t)| of(t));
            let names: Vec<&str> = names.map(|(parameter, _)| &*parameter.name).collect();
            let first = names.first()?;
            let count = names.len();
            Some(format!(
                "model-stock: {what} in {count} tensors, first in `{first}`"
            ))
        };
        let cancelled = "the task vectors cancel, and θ0's tensor is kept,";
        let notes = [
            named(cancelled, Option::is_none),
            named("t is below 0, so that the soup lies beyond θ0,", |t| {
                t.is_some_and(|t| t < 0.0)
            }),
        ];
        notes.into_iter().flatten().collect()
    }
}

/// t·θ̄ + (1−t)·θ0 per tensor, where θ̄ is the mean of `members` and t = k·cos θ / ((k−1)·cos θ + 1)
/// (Model Stock, Jang et al. 2024).
///
/// Here k is the number of members and cos θ the mean cosine between two of their task vectors: the
/// paper has one angle for all pairs and does not say which to take if they differ. mergekit takes
/// this mean, and divides by the product of the two norms or 1e-6, whichever is larger; so does this.
/// If the checkpoints, θ0 among them, lie in independent directions around a centre, the result is
/// the point of their span nearest to the centre. A negative cos θ gives a negative t: a point
/// beyond θ0, on the side opposite to the mean.
///
/// `None` with fewer than two members, or if one is not finite.
///
/// # Panics
/// Panics when a member is not a checkpoint of the pool of `gram`.
pub fn model_stock(members: &[usize], pool: &Pool, gram: &Gram) -> Option<ModelStock> {
    if members.len() < 2 || !are_finite(members, gram) {
        return None;
    }
    let size = pool.members.len();
    let whole = stock_ratio(members, &gram.total);
    let ratios = pool.parameters.iter().enumerate().map(|(index, it)| {
        if it.is_buffer() {
            return whole;
        }
        stock_ratio(members, &gram.per_parameter[it.tied_to.unwrap_or(index)])
    });
    let ratios: Vec<Option<f64>> = ratios.collect();
    let row = |t: &Option<f64>| {
        let each = t.unwrap_or(0.0) / members.len() as f64;
        along(members.iter().map(|&member| (member, each)), size)
    };
    Some(ModelStock {
        mix: Mix::by_parameter(ratios.iter().map(row).collect()),
        ratios,
    })
}

/// t of Model Stock, from inner products of task vectors; `None` if these cancel.
fn stock_ratio(members: &[usize], products: &Array2<f64>) -> Option<f64> {
    let k = members.len() as f64;
    let mut sum = 0.0;
    for (place, &a) in members.iter().enumerate() {
        for &b in &members[place + 1..] {
            let (a, b) = (a - 1, b - 1);
            let norms = (products[[a, a]] * products[[b, b]]).sqrt();
            sum += (products[[a, b]] / norms.max(SMALLEST_PRODUCT)).clamp(-1.0, 1.0);
        }
    }
    let mean = sum / (k * (k - 1.0) / 2.0);
    let denominator = (k - 1.0) * mean + 1.0;
    (denominator >= CANCELLED).then(|| k * mean / denominator)
}

/// [sin((1−t)Ω)·θa + sin(tΩ)·θb] / sin Ω per tensor, where Ω is the angle between the two tensors
/// themselves: mergekit's `slerp`. θ0 has no part in it. `t` must be finite; 0 gives `a` and 1 gives
/// `b`.
///
/// If |cos Ω| is above 0.9995, the result is (1−t)·θa + t·θb. That holds for most tensors of two
/// fine-tunes of one θ0. Otherwise the coefficients sum to more than 1. A tensor whose norm is 1e-8
/// or less has no direction; Ω is then 90°, as in mergekit.
///
/// `None` if one of the two is not finite.
///
/// # Panics
/// Panics when `a` or `b` is not a checkpoint of the pool of `gram`.
pub fn slerp(a: usize, b: usize, t: f64, pool: &Pool, gram: &Gram) -> Option<Mix> {
    let cosine = |index: usize| {
        let (products, origin) = (&gram.per_parameter[index], &gram.with_origin[index]);
        let inner = |a: usize, b: usize| {
            gram.squared_origin[index] + origin[a] + origin[b] + products[[a, b]]
        };
        let length = |a: usize| match inner(a, a).max(0.0).sqrt() {
            norm if norm > NO_DIRECTION => norm,
            _ => 1.0,
        };
        inner(a - 1, b - 1) / (length(a - 1) * length(b - 1))
    };
    spherical([a, b], t, pool, gram, cosine)
}

/// θ0 + [sin((1−t)Ω)·τa + sin(tΩ)·τb] / sin Ω per tensor, where Ω is the angle between the two task
/// vectors: the spherical interpolation of WARP (Ramé et al. 2024), which preserves their length if
/// both are equally long. `t` must be finite; 0 gives `a` and 1 gives `b`.
///
/// If |cos Ω| is above 0.9995, or a task vector is 0, the result is (1−t)·θa + t·θb.
///
/// `None` if one of the two is not finite.
///
/// # Panics
/// Panics when `a` or `b` is not a checkpoint of the pool of `gram`.
pub fn slerp_tasks(a: usize, b: usize, t: f64, pool: &Pool, gram: &Gram) -> Option<Mix> {
    let cosine = |index: usize| {
        let products = &gram.per_parameter[index];
        let norms = (products[[a - 1, a - 1]] * products[[b - 1, b - 1]]).sqrt();
        products[[a - 1, b - 1]] / norms
    };
    let mix = spherical([a, b], t, pool, gram, cosine)?;
    // What the two do not have, θ0 has; of a straight line it has nothing but rounding.
    let with_origin = |row: &Vec<f64>| {
        let mut row = row.clone();
        let rest = 1.0 - row.iter().sum::<f64>();
        row[0] += if rest.abs() > f64::EPSILON { rest } else { 0.0 };
        row
    };
    Some(Mix::by_parameter(
        mix.rows().iter().map(with_origin).collect(),
    ))
}

/// Σ of the two members per tensor, weighted by their spherical interpolation at the angle of which
/// `cosine` gives the cosine for a parameter. NaN, as between opposite or parallel directions,
/// means straight interpolation.
fn spherical(
    members: [usize; 2],
    t: f64,
    pool: &Pool,
    gram: &Gram,
    cosine: impl Fn(usize) -> f64,
) -> Option<Mix> {
    if !are_finite(&members, gram) {
        return None;
    }
    let row = |(index, parameter): (usize, &Parameter)| {
        let cosine = match parameter.tied_to {
            _ if parameter.is_buffer() => f64::NAN,
            tied => cosine(tied.unwrap_or(index)),
        };
        let weights = if cosine.abs() <= PARALLEL {
            let omega = cosine.acos();
            [(1.0 - t) * omega, t * omega].map(|part| part.sin() / omega.sin())
        } else {
            [1.0 - t, t]
        };
        let mut row = vec![0.0; pool.members.len()];
        for (member, weight) in members.into_iter().zip(weights) {
            row[member] += weight;
        }
        row
    };
    let rows = pool.parameters.iter().enumerate().map(row);
    Some(Mix::linear(rows.collect()))
}

/// The coefficients of θ0 + Σ c·τ over terms (member, c), for a pool of `size` members.
fn along(terms: impl Iterator<Item = (usize, f64)>, size: usize) -> Vec<f64> {
    let mut coefficients = vec![0.0; size];
    let mut sum = 0.0;
    for (member, coefficient) in terms {
        coefficients[member] += coefficient;
        sum += coefficient;
    }
    coefficients[0] += 1.0 - sum;
    coefficients
}

/// Whether the task vectors of these checkpoints have finite norms.
fn are_finite(members: &[usize], gram: &Gram) -> bool {
    let mut norms = members.iter().map(|&member| gram.norm(member - 1));
    norms.all(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::testing::pool;

    const ORIGIN: [f64; 3] = [1.0, -2.0, 0.5];

    /// θ0 and, for each checkpoint, θ0 plus its delta.
    fn members(deltas: &[[f64; 3]]) -> Vec<[f64; 3]> {
        let add = |delta: &[f64; 3]| std::array::from_fn(|k| ORIGIN[k] + delta[k]);
        [ORIGIN].into_iter().chain(deltas.iter().map(add)).collect()
    }

    fn gram(members: &[[f64; 3]]) -> (Pool, Gram) {
        let slices: Vec<&[f64]> = members.iter().map(<[f64; 3]>::as_slice).collect();
        let pool = pool(&slices);
        let gram = Gram::of(&pool);
        (pool, gram)
    }

    /// Model Stock of a single tensor, with its t.
    fn stock(of: &[usize], (pool, gram): &(Pool, Gram)) -> Option<(Mix, f64)> {
        let made = model_stock(of, pool, gram)?;
        Some((made.mix, made.ratios[0]?))
    }

    /// The mix of these members, minus θ0.
    fn delta(mix: &Mix, members: &[[f64; 3]]) -> [f64; 3] {
        let sum: f64 = mix.row(0).iter().sum();
        assert!((sum - 1.0).abs() < 1e-12 && mix.row(0).len() == members.len());
        std::array::from_fn(|k| {
            let terms = mix.row(0).iter().zip(members);
            terms.map(|(c, member)| c * member[k]).sum::<f64>() - ORIGIN[k]
        })
    }

    fn close(found: [f64; 3], expected: [f64; 3]) {
        let near = found
            .iter()
            .zip(expected)
            .all(|(f, e)| (f - e).abs() < 1e-12);
        assert!(near, "{found:?} {expected:?}");
    }

    #[test]
    fn wise_ft_scales_what_is_away_from_the_origin() {
        let members = members(&[[2.0, 0.0, 0.0], [0.0, 4.0, 1.0]]);
        let soup = Mix::new(vec![0.0, 0.5, 0.5]);
        assert_eq!(wise_ft(&soup, 0.0), Mix::unit(0, 3));
        assert_eq!(wise_ft(&soup, 1.0), soup);
        close(delta(&wise_ft(&soup, 0.5), &members), [0.5, 1.0, 0.25]);
        close(delta(&wise_ft(&soup, 1.5), &members), [1.5, 3.0, 0.75]);
    }

    #[test]
    fn the_ends_of_a_ray_are_the_origin_and_the_model_whatever_its_rows() {
        let by_tensor = Mix::by_parameter(vec![vec![0.0, -0.5, 1.5], vec![0.0, 0.3, 0.7]]);
        for model in [Mix::new(vec![0.0, 0.3, 0.7]), by_tensor] {
            let ray = ray(&model, 11);
            assert_eq!(ray.len(), 11);
            assert_eq!((ray[0].0, &ray[0].1), (0.0, &Mix::unit(0, 3)));
            assert_eq!((ray[10].0, &ray[10].1), (1.0, &model));
            // What a sweep of WiSE-FT has is no other mix.
            for (tenths, (alpha, mix)) in ray.iter().enumerate() {
                assert_eq!(*mix, wise_ft(&model, tenths as f64 / 10.0), "{alpha}");
            }
        }
        let alphas: Vec<f64> = ray(&Mix::unit(1, 2), 3).iter().map(|it| it.0).collect();
        assert_eq!(alphas, [0.0, 0.5, 1.0]);
    }

    #[test]
    fn the_scale_of_the_mean_is_one() {
        let members = members(&[[2.0, 0.0, 0.0], [9.0, 9.0, 9.0], [0.0, 4.0, 1.0]]);
        let mix = task_arithmetic(&[1, 3], 1.0, 4);
        assert_eq!(mix.row(0), [0.0, 0.5, 0.0, 0.5]);
        close(
            delta(&task_arithmetic(&[1, 3], 0.6, 4), &members),
            [0.6, 1.2, 0.3],
        );
        assert_eq!(task_arithmetic(&[], 0.3, 4), Mix::unit(0, 4));
        // θ0's own task vector is 0.
        assert_eq!(task_arithmetic(&[0], 0.25, 2), Mix::unit(0, 2));
    }

    #[test]
    fn model_stock_of_orthogonal_models_is_the_origin_and_of_parallel_ones_the_mean() {
        let orthogonal = members(&[[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0]]);
        let (mix, t) = stock(&[1, 2, 3], &gram(&orthogonal)).unwrap();
        assert_eq!((mix, t), (Mix::unit(0, 4), 0.0));
        let parallel = members(&[[2.0, 0.0, 0.0], [5.0, 0.0, 0.0]]);
        let (mix, t) = stock(&[1, 2], &gram(&parallel)).unwrap();
        assert!((t - 1.0).abs() < 1e-12);
        close(delta(&mix, &parallel), [3.5, 0.0, 0.0]);
        // 60°: t = 2·½/(½ + 1).
        let sixty = members(&[[1.0, 0.0, 0.0], [0.5, 0.75_f64.sqrt(), 0.0]]);
        let (_, t) = stock(&[1, 2], &gram(&sixty)).unwrap();
        assert!((t - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn model_stock_is_the_point_of_the_span_nearest_to_the_centre() {
        // θ0 is at distance r from the centre, the two checkpoints at s, all in orthogonal
        // directions: the geometry from which the formula is derived. Relative to θ0 the centre is
        // (0, 0, r).
        let (r, s) = (0.75, 2.0);
        let members = members(&[[s, 0.0, r], [0.0, s, r]]);
        let (mix, t) = stock(&[1, 2], &gram(&members)).unwrap();
        assert!((t - r * r / (s * s / 2.0 + r * r)).abs() < 1e-12);
        let found = delta(&mix, &members);
        // At the nearest point, the rest is orthogonal to both task vectors.
        let left = [found[0], found[1], found[2] - r];
        for task in [[s, 0.0, r], [0.0, s, r]] {
            let inner: f64 = task.iter().zip(left).map(|(a, b)| a * b).sum();
            assert!(inner.abs() < 1e-12, "{inner}");
        }
    }

    #[test]
    fn model_stock_averages_cosines() {
        // Cosines ½√2, ½√2 and 0, whose mean is √2/3.
        let members = members(&[[1.0, 0.0, 0.0], [3.0, 3.0, 0.0], [0.0, 2.0, 0.0]]);
        let (_, t) = stock(&[1, 2, 3], &gram(&members)).unwrap();
        let mean = 2.0_f64.sqrt() / 3.0;
        assert!((t - 3.0 * mean / (2.0 * mean + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn task_vectors_are_interpolated_on_their_sphere() {
        let members = members(&[[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]);
        let (pool, gram) = gram(&members);
        let made = |t: f64| slerp_tasks(1, 2, t, &pool, &gram).unwrap();
        assert_eq!([made(0.0), made(1.0)], [1, 2].map(|m| Mix::unit(m, 3)));
        for t in [0.1, 0.25, 0.5, 0.9] {
            let angle = t * std::f64::consts::FRAC_PI_2;
            let expected = [2.0 * angle.cos(), 0.0, 2.0 * angle.sin()];
            close(delta(&made(t), &members), expected);
        }
        // At 60° and with different lengths, both are weighted by sin 30° / sin 60°.
        let tilted = self::members(&[[1.0, 0.0, 0.0], [2.0, 12.0_f64.sqrt(), 0.0]]);
        let (pool, gram) = self::gram(&tilted);
        let third = 3.0_f64.sqrt() / 3.0;
        let mix = slerp_tasks(1, 2, 0.5, &pool, &gram).unwrap();
        close(delta(&mix, &tilted), [3.0 * third, 2.0, 0.0]);
    }

    #[test]
    fn tensors_themselves_are_interpolated_on_theirs() {
        // θa = (3, 0, 0), θb = (0, 3, 0), whatever θ0 is.
        let members = [ORIGIN, [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]];
        let (pool, gram) = gram(&members);
        let mix = slerp(1, 2, 0.25, &pool, &gram).unwrap();
        let angle = std::f64::consts::PI / 8.0;
        let expected = [0.0, angle.cos(), angle.sin()];
        let near = mix.row(0).iter().zip(expected);
        near.for_each(|(c, e)| assert!((c - e).abs() < 1e-12, "{mix:?}"));
    }

    #[test]
    fn straight_where_directions_are_parallel_opposite_or_missing() {
        let straight = vec![0.0, 0.75, 0.25];
        let deltas = [
            [[1.0, 0.0, 0.0], [1.0, 0.01, 0.0]],
            [[1.0, 2.0, 0.0], [-3.0, -6.0, 0.0]],
            [[0.0; 3], [1.0, 2.0, 0.0]],
        ];
        for deltas in deltas {
            let (pool, gram) = gram(&members(&deltas));
            let made = slerp_tasks(1, 2, 0.25, &pool, &gram).unwrap();
            assert_eq!(made.row(0), straight);
        }
        let near = [ORIGIN, [1.0, 2.0, 3.0], [1.0, 2.0, 3.01]];
        let (pool, gram) = gram(&near);
        let made = slerp(1, 2, 0.25, &pool, &gram).unwrap();
        assert_eq!(made.row(0), straight);
        // A tensor of zeros has no direction: mergekit then takes 90°.
        let (pool, gram) = self::gram(&[ORIGIN, [0.0; 3], [1.0, 2.0, 3.0]]);
        let made = slerp(1, 2, 0.5, &pool, &gram).unwrap();
        assert!((made.row(0)[2] - 0.5_f64.sqrt()).abs() < 1e-12, "{made:?}");
    }

    #[test]
    fn every_tensor_has_its_own_angle_and_statistics_none() {
        use crate::space::pool::ParameterRole;
        use crate::space::testing::random_pool;
        let mut pool = random_pool(3, &[vec![4], vec![6], vec![4], vec![4]], 3);
        pool.parameters[2].role = ParameterRole::Buffer;
        pool.parameters[3].tied_to = Some(0);
        let gram = Gram::of(&pool);
        for mix in [slerp, slerp_tasks].map(|of| of(1, 2, 0.25, &pool, &gram).unwrap()) {
            assert!(mix.row(0) != mix.row(1) && mix.row(0) == mix.row(3));
            assert_eq!(mix.row(2), [0.0, 0.75, 0.25]);
        }
        let stock = model_stock(&[1, 2], &pool, &gram).unwrap();
        assert_eq!(stock.ratios[0], stock.ratios[3]);
        let whole = stock_ratio(&[1, 2], &gram.total);
        assert!(stock.ratios[2] == whole && stock.ratios[1] != whole);
    }

    #[test]
    fn what_is_not_defined_is_none() {
        let members = members(&[[0.0; 3], [1.0, 2.0, 0.0], [-3.0, -6.0, 0.0]]);
        let gram = gram(&members);
        // Where the task vectors cancel, θ0's tensor is kept.
        let cancelled = model_stock(&[2, 3], &gram.0, &gram.1).unwrap();
        assert_eq!(cancelled.ratios, [None]);
        assert_eq!(cancelled.mix, Mix::unit(0, 4));
        assert_eq!(stock(&[2], &gram), None);
        let unusable = self::members(&[[f64::NAN, 0.0, 0.0], [1.0, 0.0, 0.0]]);
        let (pool, gram) = self::gram(&unusable);
        let made = [slerp, slerp_tasks].map(|of| of(1, 2, 0.5, &pool, &gram));
        assert_eq!(made, [None, None]);
        assert_eq!(model_stock(&[1, 2], &pool, &gram), None);
    }

    #[test]
    fn opposed_models_go_beyond_the_origin() {
        // cos = −½: t = 2·(−½)/(1 − ½).
        let members = members(&[[1.0, 0.0, 0.0], [-1.0, 3.0_f64.sqrt(), 0.0]]);
        let (mix, t) = stock(&[1, 2], &gram(&members)).unwrap();
        assert!((t + 2.0).abs() < 1e-12);
        close(delta(&mix, &members), [0.0, -(3.0_f64.sqrt()), 0.0]);
    }
}
