//! The caption that says what became of batch norm's running statistics in the mixes of a figure.

use crate::result::provenance::Provenance;

/// The caption; `None` if the network has no running statistics, or the result does not say.
pub fn caption(provenance: &Provenance) -> Option<String> {
    let policy = provenance.settings.get("bn")?;
    let text = match policy.split_once('=') {
        Some((_, plan)) => {
            let samples = plan.split(':').next().unwrap_or(plan);
            format!("re-estimated for every model from {samples} training samples")
        }
        None if policy == "origin" => "θ0's in every model".to_string(),
        None => "averaged, not re-estimated".to_string(),
    };
    Some(format!("Batch norm: running statistics {text}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_told_and_no_network_without_statistics() {
        for (policy, end) in [
            ("interpolate", "averaged, not re-estimated."),
            ("origin", "θ0's in every model."),
            (
                "recalibrate=500:64",
                "every model from 500 training samples.",
            ),
        ] {
            let mut provenance = Provenance::default();
            assert_eq!(caption(&provenance), None);
            provenance.settings.insert("bn".into(), policy.into());
            let text = caption(&provenance).unwrap();
            assert!(text.ends_with(end), "{text}");
        }
    }
}
