//! Samples that are a part of a finite set.

/// The factor √(1 − n/N) of the standard error of a mean of n samples drawn without replacement from
/// N, as an estimate of the mean of the N.
///
/// It belongs to sd/√n with n−1 in the variance: (1 − n/N)·s²/n is then unbiased (Cochran, *Sampling
/// Techniques*, 3rd ed. 1977, theorem 2.2 and its corollary 2). The form √((N−n)/(N−1)) belongs to
/// the variance over the N with N in its denominator, which is not what sd estimates.
///
/// Use it where the whole data set is what is meant, as for `--limit`. For the distribution that the
/// data set itself was drawn from the factor is 1. It is 0 if all were taken, NaN for n > N or N = 0.
pub fn factor(drawn: usize, total: usize) -> f64 {
    if drawn > total || total == 0 {
        return f64::NAN;
    }
    (1.0 - drawn as f64 / total as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::inference::mean;

    #[test]
    fn the_squared_error_of_all_subsets_is_what_the_factor_says() {
        // All 10 subsets of three of five values: the mean of (1 − n/N)·s²/n over them equals the
        // mean squared distance of their means from the mean of the five.
        let all = [0.3, 2.0, -1.0, 7.0, 4.5];
        let truth = all.iter().sum::<f64>() / 5.0;
        let (mut said, mut found) = (0.0, 0.0);
        for (a, b, c) in
            (0..5).flat_map(|a| (a + 1..5).flat_map(move |b| (b + 1..5).map(move |c| (a, b, c))))
        {
            let drawn = mean([all[a], all[b], all[c]]).within(5);
            said += drawn.se.powi(2) / 10.0;
            found += (drawn.value - truth).powi(2) / 10.0;
        }
        assert!((said - found).abs() < 1e-14 * found, "{said} {found}");
    }

    #[test]
    fn a_whole_set_has_no_sampling_error_and_more_than_it_is_nonsense() {
        assert_eq!((factor(682, 682), factor(0, 5)), (0.0, 1.0));
        assert!((factor(1000, 10_000) - 0.9_f64.sqrt()).abs() < 1e-15);
        assert!(factor(6, 5).is_nan() && factor(0, 0).is_nan());
    }
}
