//! The text about calibrated losses.

use crate::result::loss::{Beta, BetaFit, CalibratedOn};

/// Says what calibrated losses are, with the β of the named models; nothing for plain losses.
pub fn described<'b>(
    calibration: Option<&CalibratedOn>,
    betas: impl Iterator<Item = (&'b str, Beta)>,
) -> Vec<String> {
    let Some(on) = calibration else {
        return Vec::new();
    };
    let beta = |(name, beta): (&str, Beta)| {
        let note = match beta.fit {
            BetaFit::Minimum | BetaFit::Unmeasured => "",
            BetaFit::LowerBound => " (its lower bound)",
            BetaFit::UpperBound => " (its upper bound)",
            BetaFit::Undefined => " (undefined)",
        };
        format!("{name} {:.3}{note}", beta.value)
    };
    let betas: Vec<String> = betas.map(beta).collect();
    vec![on.described(), format!("β: {}", betas.join(", "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_is_told_with_its_beta_and_whether_it_is_a_bound() {
        let beta = |value, fit| Beta { value, fit };
        let of = [
            ("ft1", beta(1.25, BetaFit::Minimum)),
            ("ft2", beta(1e3, BetaFit::UpperBound)),
        ];
        assert!(described(None, of.into_iter()).is_empty());
        let betas: Vec<Beta> = of.iter().map(|(_, beta)| *beta).collect();
        let on = CalibratedOn::new(("val", 500), &betas);
        let lines = described(Some(&on), of.into_iter());
        assert!(lines[0].contains("on val (500 samples)"), "{lines:?}");
        assert_eq!(lines[1], "β: ft1 1.250, ft2 1000.000 (its upper bound)");
    }
}
