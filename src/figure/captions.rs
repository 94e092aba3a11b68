//! The captions that stand below every figure of a result: what holds for all its values.

use crate::result::loss::CalibratedOn;
use crate::result::provenance::Provenance;

/// The caveats of a result, and what became of batch norm's running statistics in its mixes.
pub fn of(provenance: &Provenance) -> Vec<String> {
    let caveats = provenance.caveats.iter().cloned();
    caveats.chain(batch_norm(provenance)).collect()
}

/// The captions of a result whose losses may be calibrated: how they are, and of how many models β is no
/// minimum.
pub fn with(calibration: Option<&CalibratedOn>, provenance: &Provenance) -> Vec<String> {
    let calibrated = calibration.into_iter();
    let calibrated =
        calibrated.flat_map(|on| std::iter::once(on.described()).chain(on.exceptions()));
    calibrated.chain(of(provenance)).collect()
}

/// What became of the running statistics; `None` if the network has none, or the result does not
/// say.
fn batch_norm(provenance: &Provenance) -> Option<String> {
    let policy = provenance.settings.get("bn")?;
    let text = match policy.split_once('=') {
        Some((_, plan)) => {
            let samples = plan.split(':').next().unwrap_or(plan);
            format!("re-estimated for every model from {samples} training samples")
        }
        None if policy == "origin" => "θ0's in every model".to_string(),
        None => "mixed like weights (variances outside the models' hull: as logarithms), not \
                 re-estimated"
            .to_string(),
    };
    Some(format!("Batch norm: running statistics {text}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_told_and_no_network_without_statistics() {
        for (policy, end) in [
            (
                "interpolate",
                "(variances outside the models' hull: as logarithms), not re-estimated.",
            ),
            ("origin", "θ0's in every model."),
            (
                "recalibrate=500:64",
                "every model from 500 training samples.",
            ),
        ] {
            let mut provenance = Provenance::default();
            assert!(of(&provenance).is_empty());
            provenance.settings.insert("bn".into(), policy.into());
            provenance.caveats.push("a caveat".into());
            let captions = of(&provenance);
            assert_eq!(captions[0], "a caveat");
            assert!(captions[1].ends_with(end), "{captions:?}");
        }
    }
}
