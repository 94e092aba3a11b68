//! Many tests at once: adjusted p values, to be compared with the level as one p value would be.
//!
//! NaN is no test: it stays NaN and does not count.

/// Holm's step-down adjustment: the m p values sorted ascending become
/// max over j ≤ i of min(1, (m − j + 1)·p₍ⱼ₎).
///
/// With it the chance of any false discovery is at most the level, however the tests depend on each
/// other (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
/// Statistics 6, 1979).
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let order = ascending(ps);
    let mut adjusted = ps.to_vec();
    let mut least: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        least = least.max(((order.len() - rank) as f64 * ps[at]).min(1.0));
        adjusted[at] = least;
    }
    adjusted
}

/// Benjamini and Hochberg's step-up adjustment: the m p values sorted ascending become
/// min over j ≥ i of min(1, m·p₍ⱼ₎/j).
///
/// With it the expected share of false discoveries is at most the level, for tests that are independent
/// or positively dependent, as comparisons on the same samples mostly are (Benjamini and Hochberg,
/// "Controlling the false discovery rate", JRSS B 57, 1995; Benjamini and Yekutieli, Annals of
/// Statistics 29, 2001).
pub fn benjamini_hochberg(ps: &[f64]) -> Vec<f64> {
    let order = ascending(ps);
    let mut adjusted = ps.to_vec();
    let mut most: f64 = 1.0;
    for (rank, &at) in order.iter().enumerate().rev() {
        most = most.min(order.len() as f64 * ps[at] / (rank + 1) as f64);
        adjusted[at] = most;
    }
    adjusted
}

/// The indices of the numbers, from the smallest.
fn ascending(ps: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ps.len()).filter(|&at| !ps[at].is_nan()).collect();
    order.sort_by(|&a, &b| ps[a].total_cmp(&ps[b]));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let same = (found - expected).abs() < 1e-15 || found.is_nan() && expected.is_nan();
            assert!(same, "{found} {expected}");
        }
    }

    #[test]
    fn by_hand() {
        let ps = [0.01, 0.04, 0.03, f64::NAN, 0.02];
        near(&holm(&ps), &[0.04, 0.06, 0.06, f64::NAN, 0.06]);
        near(
            &benjamini_hochberg(&ps),
            &[0.04, 0.04, 0.04, f64::NAN, 0.04],
        );
        near(&holm(&[0.6, 0.7]), &[1.0, 1.0]);
        near(&benjamini_hochberg(&[0.6, 0.7]), &[0.7, 0.7]);
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn adjusted_are_larger_ordered_at_most_one_and_holm_is_the_stricter(
            ps in prop::collection::vec(0.0..=1.0, 1..40)
        ) {
            let (holm, bh) = (holm(&ps), benjamini_hochberg(&ps));
            let bonferroni = |p: f64| (p * ps.len() as f64).min(1.0);
            for i in 0..ps.len() {
                // Products with m and quotients by ranks round: 1e-15 relative.
                prop_assert!(ps[i] <= bh[i] + 1e-15 && bh[i] <= holm[i] + 1e-15);
                prop_assert!(holm[i] <= bonferroni(ps[i]) + 1e-15);
                for j in 0..ps.len() {
                    if ps[i] <= ps[j] {
                        prop_assert!(holm[i] <= holm[j] && bh[i] <= bh[j]);
                    }
                }
            }
        }
    }
}
