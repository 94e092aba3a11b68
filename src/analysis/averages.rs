//! Averages of checkpoints other than the plain mean, as mixes: WiSE-FT, task arithmetic, Model
//! Stock and spherical interpolation.
//!
//! Below, τₘ = θₘ − θ0 is the task vector of member m. Members are numbered as in the pool: 0 is
//! θ0, whose task vector is 0, and 1..=k are the checkpoints.

use crate::space::gram::Gram;
use crate::space::mix::Mix;

/// Cosine above which [`slerp`] interpolates linearly, since arc and chord then coincide and sin Ω
/// is almost 0. This is mergekit's threshold.
const PARALLEL: f64 = 0.9995;

/// Smallest 1 + (k−1)·cos θ that [`model_stock`] divides by. It equals ‖Σ τₘ/‖τₘ‖‖²/k, so below
/// this the task vectors cancel and only rounding is left.
const CANCELLED: f64 = 1e-9;

/// θ0 + α·(θ − θ0) = (1−α)·θ0 + α·θ: robust fine-tuning (WiSE-FT, Wortsman et al. 2022) of any mix
/// θ. `alpha` must be finite.
pub fn wise_ft(base: &Mix, alpha: f64) -> Mix {
    let mut coefficients: Vec<f64> = base.row(0).iter().map(|c| alpha * c).collect();
    coefficients[0] += 1.0 - alpha;
    Mix::new(coefficients)
}

/// θ0 + λ·Σ τₘ over `members` of a pool of `size` members (Ilharco et al. 2023). With n members, λ
/// = 1/n gives their mean. `lambda` must be finite.
///
/// # Panics
/// Panics when a member is not below `size`.
pub fn task_arithmetic(members: &[usize], lambda: f64, size: usize) -> Mix {
    along(members.iter().map(|&member| (member, lambda)), size)
}

/// Returns t·θ̄ + (1−t)·θ0 and t, where θ̄ is the mean of `members` and t = k·cos θ / ((k−1)·cos θ
/// + 1) (Model Stock, Jang et al. 2024).
///
/// Here k is the number of members and cos θ the mean cosine between two of their task vectors: the
/// paper has one angle for all pairs and does not say which to take if they differ; mergekit takes
/// this mean too. If the checkpoints, θ0 among them, lie in independent directions around a centre,
/// the result is the point of their span nearest to the centre. A negative cos θ gives a negative
/// t: a point beyond θ0, on the side opposite to the mean.
///
/// The paper has one t per tensor. Here one angle between whole models gives one t, so that the
/// result is a mix with one coefficient per model.
///
/// `None` if there is no such point: with fewer than two members, if a task vector is 0 or not
/// finite, or if the task vectors cancel, so that the denominator is 0.
///
/// # Panics
/// Panics when a member is not in the pool of `gram`.
pub fn model_stock(members: &[usize], gram: &Gram) -> Option<(Mix, f64)> {
    let k = members.len() as f64;
    let mut cosines = Vec::new();
    for (place, &a) in members.iter().enumerate() {
        for &b in &members[place + 1..] {
            cosines.push(cosine(a, b, gram)?);
        }
    }
    if cosines.is_empty() {
        return None;
    }
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let denominator = (k - 1.0) * mean + 1.0;
    if denominator < CANCELLED {
        return None;
    }
    let t = k * mean / denominator;
    let terms = members.iter().map(|&member| (member, t / k));
    Some((along(terms, gram.total.nrows() + 1), t))
}

/// θ0 + [sin((1−t)Ω)·τa + sin(tΩ)·τb] / sin Ω, where Ω is the angle between the two task vectors:
/// their spherical interpolation, which preserves their length if both are equally long (WARP, Ramé
/// et al. 2024). `t` must be finite; 0 gives `a` and 1 gives `b`.
///
/// WARP has one angle per layer. Here one angle between whole models makes the result a mix, which
/// lies in the plane of θ0, `a` and `b`. If cos Ω is above 0.9995, the result is (1−t)·θa + t·θb,
/// as in mergekit.
///
/// `None` if a task vector is 0 or not finite, or if cos Ω is below −0.9995: between opposite
/// directions no arc is the shortest. (mergekit then interpolates linearly, through θ0.)
///
/// # Panics
/// Panics when a member is not in the pool of `gram`.
pub fn slerp(a: usize, b: usize, t: f64, gram: &Gram) -> Option<Mix> {
    let cosine = cosine(a, b, gram)?;
    let weights = match cosine {
        _ if cosine > PARALLEL => [1.0 - t, t],
        _ if cosine < -PARALLEL => return None,
        _ => {
            let omega = cosine.acos();
            [(1.0 - t) * omega, t * omega].map(|part| part.sin() / omega.sin())
        }
    };
    let terms = [a, b].into_iter().zip(weights);
    Some(along(terms, gram.total.nrows() + 1))
}

/// θ0 + Σ c·τ over terms (member, c), for a pool of `size` members.
fn along(terms: impl Iterator<Item = (usize, f64)>, size: usize) -> Mix {
    let mut coefficients = vec![0.0; size];
    let mut sum = 0.0;
    for (member, coefficient) in terms {
        coefficients[member] += coefficient;
        sum += coefficient;
    }
    coefficients[0] += 1.0 - sum;
    Mix::new(coefficients)
}

/// The cosine between the task vectors of two members; `None` if one of them is 0 or not finite.
fn cosine(a: usize, b: usize, gram: &Gram) -> Option<f64> {
    let (a, b) = (a.checked_sub(1)?, b.checked_sub(1)?);
    let cosine = gram.total[[a, b]] / (gram.norm(a) * gram.norm(b));
    cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0))
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

    fn gram(members: &[[f64; 3]]) -> Gram {
        let slices: Vec<&[f64]> = members.iter().map(<[f64; 3]>::as_slice).collect();
        Gram::of(&pool(&slices))
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
    fn half_of_two_tasks_is_the_midpoint() {
        let members = members(&[[2.0, 0.0, 0.0], [9.0, 9.0, 9.0], [0.0, 4.0, 1.0]]);
        let mix = task_arithmetic(&[1, 3], 0.5, 4);
        assert_eq!(mix.row(0), [0.0, 0.5, 0.0, 0.5]);
        close(
            delta(&task_arithmetic(&[1, 3], 0.3, 4), &members),
            [0.6, 1.2, 0.3],
        );
        assert_eq!(task_arithmetic(&[], 0.3, 4), Mix::unit(0, 4));
        // θ0's own task vector is 0.
        assert_eq!(task_arithmetic(&[0], 0.25, 2), Mix::unit(0, 2));
    }

    #[test]
    fn model_stock_of_orthogonal_models_is_the_origin_and_of_parallel_ones_the_mean() {
        let orthogonal = members(&[[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0]]);
        let (mix, t) = model_stock(&[1, 2, 3], &gram(&orthogonal)).unwrap();
        assert_eq!((mix, t), (Mix::unit(0, 4), 0.0));
        let parallel = members(&[[2.0, 0.0, 0.0], [5.0, 0.0, 0.0]]);
        let (mix, t) = model_stock(&[1, 2], &gram(&parallel)).unwrap();
        assert!((t - 1.0).abs() < 1e-12);
        close(delta(&mix, &parallel), [3.5, 0.0, 0.0]);
        // 60°: t = 2·½/(½ + 1).
        let sixty = members(&[[1.0, 0.0, 0.0], [0.5, 0.75_f64.sqrt(), 0.0]]);
        let (_, t) = model_stock(&[1, 2], &gram(&sixty)).unwrap();
        assert!((t - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn model_stock_is_the_point_of_the_span_nearest_to_the_centre() {
        // θ0 is at distance r from the centre, the two checkpoints at s, all in orthogonal
        // directions: the geometry from which the formula is derived. Relative to θ0 the centre is
        // (0, 0, r).
        let (r, s) = (0.75, 2.0);
        let members = members(&[[s, 0.0, r], [0.0, s, r]]);
        let (mix, t) = model_stock(&[1, 2], &gram(&members)).unwrap();
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
        let (_, t) = model_stock(&[1, 2, 3], &gram(&members)).unwrap();
        let mean = 2.0_f64.sqrt() / 3.0;
        assert!((t - 3.0 * mean / (2.0 * mean + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn spherical_interpolation_keeps_the_length_and_ends_at_its_ends() {
        let members = members(&[[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]);
        let gram = gram(&members);
        assert_eq!(slerp(1, 2, 0.0, &gram), Some(Mix::unit(1, 3)));
        assert_eq!(slerp(1, 2, 1.0, &gram), Some(Mix::unit(2, 3)));
        for t in [0.1, 0.25, 0.5, 0.9] {
            let found = delta(&slerp(1, 2, t, &gram).unwrap(), &members);
            let angle = t * std::f64::consts::FRAC_PI_2;
            close(found, [2.0 * angle.cos(), 0.0, 2.0 * angle.sin()]);
        }
        // At 60° and with different lengths, both are weighted by sin 30° / sin 60°.
        let tilted = self::members(&[[1.0, 0.0, 0.0], [2.0, 12.0_f64.sqrt(), 0.0]]);
        let mix = slerp(1, 2, 0.5, &self::gram(&tilted)).unwrap();
        let third = 3.0_f64.sqrt() / 3.0;
        close(delta(&mix, &tilted), [3.0 * third, 2.0, 0.0]);
    }

    #[test]
    fn nearly_parallel_task_vectors_are_joined_straight() {
        let members = members(&[[1.0, 0.0, 0.0], [1.0, 0.01, 0.0]]);
        let mix = slerp(1, 2, 0.25, &gram(&members)).unwrap();
        assert_eq!(mix.row(0), [0.0, 0.75, 0.25]);
        let same = slerp(1, 1, 0.25, &gram(&members));
        assert_eq!(same, Some(Mix::unit(1, 3)));
    }

    #[test]
    fn what_is_not_defined_is_none() {
        let members = members(&[[0.0; 3], [1.0, 2.0, 0.0], [-3.0, -6.0, 0.0]]);
        let gram = gram(&members);
        assert_eq!(slerp(1, 2, 0.5, &gram), None);
        assert_eq!(slerp(0, 2, 0.5, &gram), None);
        assert_eq!(slerp(2, 3, 0.5, &gram), None);
        assert_eq!(model_stock(&[1, 2], &gram), None);
        assert_eq!(model_stock(&[2, 3], &gram), None);
        assert_eq!(model_stock(&[2], &gram), None);
        let unusable = self::members(&[[f64::NAN, 0.0, 0.0], [1.0, 0.0, 0.0]]);
        let gram = self::gram(&unusable);
        assert_eq!(
            (slerp(1, 2, 0.5, &gram), model_stock(&[1, 2], &gram)),
            (None, None)
        );
    }

    #[test]
    fn opposed_models_go_beyond_the_origin() {
        // cos = −½: t = 2·(−½)/(1 − ½).
        let members = members(&[[1.0, 0.0, 0.0], [-1.0, 3.0_f64.sqrt(), 0.0]]);
        let (mix, t) = model_stock(&[1, 2], &gram(&members)).unwrap();
        assert!((t + 2.0).abs() < 1e-12);
        close(delta(&mix, &members), [0.0, -(3.0_f64.sqrt()), 0.0]);
    }
}
