//! Checks whether all checkpoints began at θ0: signs that they share a start other than θ0, or that
//! they have two.
//!
//! [`super::origin`] recognizes a random offset of θ0 by its direction. Here are the signs that need
//! no direction: tensors that all checkpoints share and θ0 lacks, two groups of checkpoints that
//! each share a part of δ, and δ that are nearly parallel.

use crate::base::human;
use crate::space::decode;
use crate::space::gram::Gram;
use crate::space::pool::{Parameter, Pool};
use crate::space::stored_tensor::StoredTensor;

/// Minimum number of elements that count: with fewer, large cosines are common by chance.
const ELEMENTS: usize = 1000;

/// Minimum median cosine of two δ that is called nearly parallel, and minimum of all: fine-tunes of
/// one origin have angles of 50° to 90° (cosines up to 0.64) in "Model soups" and in
/// `examples/digits`, also if they share the task; 0.9 is 26°.
const PARALLEL: f64 = 0.9;
const ALL_PARALLEL: f64 = 0.85;

/// Minimum part of ‖δ‖² that a group shares and the others lack. Training alike (the same task, the
/// same hyperparameters) gives cosines up to about 0.5 within a group; with an offset as long as
/// 1.3 times what was learned the shared part is 0.6.
const SHARED: f64 = 0.6;

/// Maximum part of ‖δ‖² that the others may share among themselves and not with the group: they must be ordinary
/// fine-tunes of θ0. Two families of checkpoints, each of one training run, share much.
const LOOSE: f64 = 0.4;

/// Minimum of what each of the group learned beyond the shared part, relative to the same of the
/// others, whose hyperparameters may have been others. Checkpoints of one training run differ little
/// from each other: with cosines of 0.95, by a tenth of that.
const LEARNED: f64 = 0.25;

/// Maximum number of names in a sentence.
const NAMED: usize = 3;

/// Warnings about the start of the checkpoints.
pub fn warnings(pool: &Pool, gram: &Gram) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(shared_tensors(pool, gram));
    let counted = pool.parameters.iter().filter(|it| it.counts());
    if counted.map(Parameter::len).sum::<usize>() >= ELEMENTS {
        warnings.extend(groups(pool, gram).or_else(|| parallel(pool, gram)));
    }
    warnings
}

/// Warns about tensors that are equal in all checkpoints, and other than θ0's: they were frozen in
/// training, and the checkpoints began elsewhere.
fn shared_tensors(pool: &Pool, gram: &Gram) -> Option<String> {
    let [origin, first, others @ ..] = pool.members.as_slice() else {
        return None;
    };
    let is_shared = |index: usize| {
        let of = &gram.per_parameter[index];
        let moved = of[[0, 0]];
        // The exact comparison is for those that may be equal.
        let near = |k: usize| (of[[k, k]] - of[[0, k]]).abs() <= 1e-9 * moved;
        !others.is_empty()
            && moved > 0.0
            && (1..=others.len()).all(near)
            && others
                .iter()
                .all(|it| equal(&first.sources[index], &it.sources[index]))
    };
    let counted = |index: &usize| pool.parameters[*index].counts();
    let differs = |index: usize| {
        let products = gram.per_parameter[index].diag();
        products.iter().any(|&square| square > 0.0) && !is_shared(index)
    };
    let all = 0..pool.parameters.len();
    // Copies of one model share everything.
    if !all.clone().filter(counted).any(differs) {
        return None;
    }
    let rounded = |index: usize| {
        decode::equal_to_rounding(&origin.sources[index].tensor, &first.sources[index])
    };
    let shared = all
        .filter(counted)
        .filter(|&it| is_shared(it) && !rounded(it));
    let shared: Vec<usize> = shared.collect();
    let one = pool.parameters.get(*shared.first()?)?;
    let part: f64 = shared
        .iter()
        .map(|&it| gram.per_parameter[it][[0, 0]])
        .sum();
    let names: Vec<String> = shared
        .iter()
        .map(|&index| format!("`{}`", pool.parameters[index].name))
        .collect();
    let name = &origin.name;
    Some(format!(
        "were the checkpoints fine-tuned from {name}? {} of {} tensors are equal in all checkpoints \
         and differ from {name}'s ({}; they are {:.1} % of ‖δ‖² of {}): they were frozen in \
         training, from another start. If only a head is meant, give it to all models: \
         --fixed '{}={}'",
        shared.len(),
        pool.parameters.len(),
        human::list(&names, NAMED),
        100.0 * part / gram.total[[0, 0]],
        first.name,
        one.name,
        first.name
    ))
}

fn equal(one: &StoredTensor, other: &StoredTensor) -> bool {
    one.transposed == other.transposed && one.tensor == other.tensor
}

/// Warns about a group of checkpoints that share a part of δ which the others lack.
fn groups(pool: &Pool, gram: &Gram) -> Option<String> {
    let k = gram.total.nrows();
    let cosine = |i: usize, j: usize| gram.total[[i, j]] / (gram.norm(i) * gram.norm(j));
    let moved: Vec<usize> = (0..k).filter(|&i| gram.norm(i) > 0.0).collect();
    let mut best: Option<(f64, Vec<usize>, Vec<usize>)> = None;
    for &seed in &moved {
        let (group, rest): (Vec<usize>, Vec<usize>) = moved
            .iter()
            .partition(|&&i| i == seed || cosine(seed, i) >= SHARED);
        if group.len() < 2 || rest.len() < 2 {
            continue;
        }
        let within = pairs(&group).map(|(i, j)| cosine(i, j));
        let within = within.fold(f64::INFINITY, f64::min);
        let between = across(&group, &rest).map(|(i, j)| cosine(i, j));
        let between = between.fold(f64::NEG_INFINITY, f64::max);
        let shared = within - between;
        // What the others share with the group as well is a common direction of all.
        let common = mean(gram, pairs(&rest)) - mean(gram, across(&group, &rest));
        let square = rest.iter().map(|&i| gram.total[[i, i]]).sum::<f64>() / rest.len() as f64;
        let is_origin =
            common <= LOOSE * square && learned(gram, &group) >= LEARNED * learned(gram, &rest);
        if is_origin && shared >= SHARED && best.as_ref().is_none_or(|(best, ..)| shared > *best) {
            best = Some((shared, group, rest));
        }
    }
    let (_, group, rest) = best?;
    let range = |pairs: &mut dyn Iterator<Item = (usize, usize)>| {
        let cosines: Vec<f64> = pairs.map(|(i, j)| cosine(i, j)).collect();
        let low = cosines.iter().copied().fold(f64::INFINITY, f64::min);
        let high = cosines.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{low:.2} to {high:.2}")
    };
    let length = (mean(gram, pairs(&group)) - mean(gram, across(&group, &rest))).max(0.0);
    let names = |of: &[usize]| {
        let names = of.iter().map(|&i| pool.members[i + 1].name.clone());
        human::list(&names.collect::<Vec<_>>(), NAMED)
    };
    Some(format!(
        "do all checkpoints have the origin {}? They fall into two groups: {} (cosines of two δ {}) \
         and {} ({}), with {} across. It is as if the first group had begun about {:.3} away from \
         where the second did. Averages across two origins are rarely good; groups that were \
         trained on other data can look the same",
        pool.members[0].name,
        names(&group),
        range(&mut pairs(&group)),
        names(&rest),
        range(&mut pairs(&rest)),
        range(&mut across(&group, &rest)),
        length.sqrt()
    ))
}

/// The mean square of what each of a group has beyond what they share.
fn learned(gram: &Gram, group: &[usize]) -> f64 {
    let squares = group.iter().map(|&i| gram.total[[i, i]]).sum::<f64>();
    squares / group.len() as f64 - mean(gram, pairs(group))
}

/// The mean inner product of these pairs.
fn mean(gram: &Gram, pairs: impl Iterator<Item = (usize, usize)>) -> f64 {
    let products: Vec<f64> = pairs.map(|(i, j)| gram.total[[i, j]]).collect();
    products.iter().sum::<f64>() / products.len() as f64
}

/// Warns if all δ are nearly parallel.
fn parallel(pool: &Pool, gram: &Gram) -> Option<String> {
    let k = gram.total.nrows();
    let moved: Vec<usize> = (0..k).filter(|&i| gram.norm(i) > 0.0).collect();
    let cosine = |(i, j): (usize, usize)| gram.total[[i, j]] / (gram.norm(i) * gram.norm(j));
    let mut cosines: Vec<f64> = pairs(&moved).map(cosine).collect();
    cosines.sort_by(f64::total_cmp);
    let median = *cosines.get(cosines.len() / 2)?;
    if median < PARALLEL || cosines[0] < ALL_PARALLEL {
        return None;
    }
    let common = mean(gram, pairs(&moved));
    let name = &pool.members[0].name;
    Some(format!(
        "all δ are nearly parallel (cosines {:.2} to {:.2}, median angle {:.0}°). That is as it should be \
         for checkpoints of one training run, and for short runs on the same data. If they were \
         fine-tuned from something else than {name}, about {:.3} away, angles and norms are wrong: \
         then export what they began from, and name it as --origin",
        cosines[0],
        cosines[cosines.len() - 1],
        median.clamp(-1.0, 1.0).acos().to_degrees(),
        common.max(0.0).sqrt()
    ))
}

/// All pairs of a group.
fn pairs(group: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let numbered = group.iter().enumerate();
    numbered.flat_map(|(at, &i)| group[at + 1..].iter().map(move |&j| (i, j)))
}

/// All pairs of a member of each group.
fn across<'g>(one: &'g [usize], other: &'g [usize]) -> impl Iterator<Item = (usize, usize)> + 'g {
    one.iter().flat_map(|&i| other.iter().map(move |&j| (i, j)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::dtype::Dtype;
    use crate::space::testing::{pool, source};

    const N: usize = 4000;

    /// Numbers of length 1, nearly orthogonal for different seeds.
    fn unit(seed: u64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (3.0 / N as f64).sqrt() * (2.0 * (state >> 33) as f64 / f64::from(1_u32 << 31) - 1.0)
        };
        (0..N).map(|_| next()).collect()
    }

    /// Warnings for θ0 of length 10 and fine-tunes `parts`, each a sum of directions.
    fn told(parts: &[&[(f64, u64)]]) -> Vec<String> {
        let theta: Vec<f64> = unit(1).iter().map(|x| 10.0 * x).collect();
        let mut members = vec![theta.clone()];
        members.extend(parts.iter().map(|parts| {
            let mut sum = theta.clone();
            for &(length, seed) in *parts {
                for (sum, x) in sum.iter_mut().zip(unit(seed)) {
                    *sum += length * x;
                }
            }
            sum
        }));
        let slices: Vec<&[f64]> = members.iter().map(Vec::as_slice).collect();
        let pool = pool(&slices);
        warnings(&pool, &Gram::of(&pool))
    }

    #[test]
    fn ordinary_pools_are_left_alone() {
        // Seeds 100 and up are of one model alone; 50 to 52 are common.
        let alone: Vec<Vec<(f64, u64)>> = (0..6).map(|k| vec![(1.0, 100 + k)]).collect();
        // One task: cosine 0.5 throughout.
        let task = |seed: u64, k: u64| vec![(1.0, seed), (1.0, 100 + k)];
        let one_task: Vec<_> = (0..6).map(|k| task(50, k)).collect();
        // Two groups of hyperparameters: 0.3 within one, 0.15 within the other and across; the
        // second moved twice as far.
        let rates: Vec<Vec<(f64, u64)>> = (0..6)
            .map(|k| match k % 2 {
                0 => vec![(0.39, 50), (0.39, 51), (0.83, 100 + k)],
                _ => vec![(0.77, 50), (1.84, 100 + k)],
            })
            .collect();
        // Two tasks: 0.5 within each, 0 across.
        let two_tasks: Vec<_> = (0..6).map(|k| task(50 + k % 2, k)).collect();
        // Checkpoints of two training runs; of one run beside others.
        let run = |seed: u64, k: u64| vec![(1.0, seed), (0.3, 100 + k)];
        let two_runs: Vec<_> = (0..6).map(|k| run(50 + k % 2, k)).collect();
        let one_run: Vec<Vec<(f64, u64)>> = (0..6)
            .map(|k| match k % 2 {
                0 => run(50, k),
                _ => vec![(1.0, 100 + k)],
            })
            .collect();
        for models in [alone, one_task, rates, two_tasks, two_runs, one_run] {
            let models: Vec<&[(f64, u64)]> = models.iter().map(Vec::as_slice).collect();
            assert_eq!(told(&models), Vec::<String>::new());
            assert_eq!(told(&models[..2]), Vec::<String>::new());
        }
    }

    #[test]
    fn two_origins_are_told_with_both_sets_and_their_distance() {
        // m2, m4 and m6 began 3 away from θ0. What was learned has a cosine of 0.61.
        let learned = |k: u64| [(1.0, 51), (0.8, 100 + k)];
        let models: Vec<Vec<(f64, u64)>> = (1..=6)
            .map(|k| match k % 2 {
                0 => [&[(3.0, 50)][..], &learned(k)].concat(),
                _ => learned(k).to_vec(),
            })
            .collect();
        let models: Vec<&[(f64, u64)]> = models.iter().map(Vec::as_slice).collect();
        let warnings = told(&models);
        let [text] = warnings.as_slice() else {
            panic!("{warnings:?}")
        };
        assert!(text.contains("two groups: m2, m4, m6 (cosines"), "{text}");
        assert!(text.contains("and m1, m3, m5 ("), "{text}");
        let length = text.split("about ").nth(1).unwrap();
        let length: f64 = length.split(' ').next().unwrap().parse().unwrap();
        assert!((length - 3.0).abs() < 0.1, "{text}");
    }

    #[test]
    fn nearly_parallel_differences_are_told_also_of_a_pair() {
        let [a, b, c] = [101, 102, 103].map(|own| [(4.0, 50), (1.0, own)]);
        for models in [&[&a[..], &b][..], &[&a, &b, &c]] {
            let warnings = told(models);
            assert!(warnings[0].contains("nearly parallel"), "{warnings:?}");
            let length = warnings[0].split("about ").nth(1).unwrap();
            let length: f64 = length.split(' ').next().unwrap().parse().unwrap();
            assert!((length - 4.0).abs() < 0.1, "{warnings:?}");
        }
    }

    #[test]
    fn a_tensor_that_only_the_checkpoints_share_is_told() {
        // `w` is trained, `e` frozen; θ0 has another one.
        let with = |frozen: [&[f64]; 3], dtype: Dtype| {
            let trained = [&[0.0, 1.0, 2.0][..], &[0.1, 1.0, 2.0], &[0.0, 1.1, 2.0]];
            let mut pool = pool(&trained);
            let mut parameter = pool.parameters[0].clone();
            parameter.name = "e".to_string();
            pool.parameters.push(parameter);
            for (member, (own, values)) in pool.members.iter_mut().zip(frozen).enumerate() {
                let dtype = if member == 0 { Dtype::F64 } else { dtype };
                own.sources.push(source(values, &[3], dtype, false));
            }
            warnings(&pool, &Gram::of(&pool))
        };
        let (own, other) = ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5]);
        let warnings = with([&own, &other, &other], Dtype::F64);
        assert!(
            warnings[0]
                .contains("1 of 2 tensors are equal in all checkpoints and differ from m0's (`e`;"),
            "{warnings:?}"
        );
        assert!(warnings[0].contains("--fixed 'e=m1'"), "{warnings:?}");
        // Frozen and right; right but stored in fewer bits; trained in one of them.
        assert_eq!(with([&own, &own, &own], Dtype::F64), Vec::<String>::new());
        assert_eq!(with([&own, &own, &own], Dtype::F32), Vec::<String>::new());
        assert_eq!(with([&own, &other, &own], Dtype::F64), Vec::<String>::new());
    }
}
