//! What the losses of a result are: of the logits as they are, or calibrated.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a loss is computed from: the value of `--loss`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// The logits as they are
    #[default]
    Plain,
    /// β·logits, with the β of each model that is best on the validation set
    Calibrated,
}

impl LossKind {
    /// The losses of a result that says this about their calibration.
    pub fn of(calibration: Option<&CalibratedOn>) -> Self {
        match calibration {
            Some(_) => Self::Calibrated,
            None => Self::Plain,
        }
    }

    /// The quantity's name in figures and tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Plain => "loss",
            Self::Calibrated => "calibrated loss",
        }
    }

    /// The name of a column or a JSON key that holds such a loss: `soup_loss_se`, or
    /// `soup_loss_calibrated_se`. So nothing that reads plain losses takes calibrated ones for them.
    pub fn named(self, key: &str) -> String {
        let word = |word: &str| match (self, word) {
            (Self::Calibrated, "loss") => "loss_calibrated".to_string(),
            _ => word.to_string(),
        };
        key.split('_').map(word).collect::<Vec<_>>().join("_")
    }

    /// Undoes [`LossKind::named`].
    pub fn unnamed(self, key: &str) -> String {
        match self {
            Self::Plain => key.to_string(),
            Self::Calibrated => key.replace("loss_calibrated", "loss"),
        }
    }
}

/// The β that calibrates a model: softmax(β·logits) has the least loss on the validation set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Beta {
    /// The β by which the logits are multiplied; NaN if the model was not evaluated.
    #[serde(rename = "beta", with = "crate::base::number")]
    pub value: f64,
    /// Whether it is a minimum.
    #[serde(rename = "beta_fit")]
    pub fit: BetaFit,
}

/// Whether a β is a minimum of the loss on the validation set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BetaFit {
    /// It is.
    Minimum,
    /// It is the least β that is tried: the loss falls towards β ≤ 0. The logits say nothing about the
    /// labels, or the opposite.
    LowerBound,
    /// It is the largest β that is tried: the loss falls towards β = ∞. The logits have every
    /// validation sample right.
    UpperBound,
    /// There is none, and β is 1: the loss on the validation set is not finite, or no β changes it.
    Undefined,
    /// The values were interpolated, not evaluated.
    Unmeasured,
}

impl BetaFit {
    const ALL: [Self; 5] = [
        Self::Minimum,
        Self::LowerBound,
        Self::UpperBound,
        Self::Undefined,
        Self::Unmeasured,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minimum => "minimum",
            Self::LowerBound => "lower-bound",
            Self::UpperBound => "upper-bound",
            Self::Undefined => "undefined",
            Self::Unmeasured => "unmeasured",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fit| fit.name() == name)
    }
}

impl Beta {
    /// The β of values that were interpolated.
    pub const UNMEASURED: Self = Self {
        value: f64::NAN,
        fit: BetaFit::Unmeasured,
    };
}

/// How the losses of a result were calibrated: in the JSON of a result whose losses are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibratedOn {
    /// What the losses are: `calibrated loss`.
    pub quantity: String,
    /// Name of the data set that β was fitted on. The loss on it is in-sample.
    pub dataset: String,
    /// Number of its samples; β is fitted on all of them, whatever limit ends the run.
    pub samples: usize,
    /// Number of models that were calibrated.
    pub models: usize,
    /// How many have [`BetaFit::LowerBound`].
    pub at_lower_bound: usize,
    /// How many have [`BetaFit::UpperBound`].
    pub at_upper_bound: usize,
    /// How many have [`BetaFit::Undefined`].
    pub undefined: usize,
}

impl CalibratedOn {
    /// Counts the β of a result's models, all fitted on `samples` samples of a data set.
    pub fn new<'b>(
        (dataset, samples): (&str, usize),
        betas: impl IntoIterator<Item = &'b Beta>,
    ) -> Self {
        let mut on = Self {
            quantity: LossKind::Calibrated.words().to_string(),
            dataset: dataset.to_string(),
            samples,
            models: 0,
            at_lower_bound: 0,
            at_upper_bound: 0,
            undefined: 0,
        };
        for beta in betas {
            match beta.fit {
                BetaFit::Minimum => {}
                BetaFit::LowerBound => on.at_lower_bound += 1,
                BetaFit::UpperBound => on.at_upper_bound += 1,
                BetaFit::Undefined => on.undefined += 1,
                BetaFit::Unmeasured => continue,
            }
            on.models += 1;
        }
        on
    }

    /// What the losses are, in a sentence.
    pub fn described(&self) -> String {
        format!(
            "Calibrated loss: of β·logits. Each model has the β of least loss on {} ({} samples); the loss on {} is \
             in-sample.",
            self.dataset, self.samples, self.dataset
        )
    }

    /// Says of how many models β is no minimum, and why; `None` if it is one of all.
    pub fn exceptions(&self) -> Option<String> {
        let on = &self.dataset;
        let kinds = [
            (
                self.at_lower_bound,
                format!(
                    "at its lower bound 0.001 for NUMBER (logits that say nothing about the labels of {on})"
                ),
            ),
            (
                self.at_upper_bound,
                format!(
                    "at its upper bound 1000 for NUMBER (no error on {on}: the loss on other sets depends on the bound)"
                ),
            ),
            (
                self.undefined,
                format!(
                    "undefined and set to 1 for NUMBER (the loss on {on} is not finite, or no β changes it)"
                ),
            ),
        ];
        let kinds = kinds.iter().filter(|(count, _)| *count > 0);
        let texts = kinds.map(|(count, text)| text.replace("NUMBER", &count.to_string()));
        let texts: Vec<String> = texts.collect();
        (!texts.is_empty())
            .then(|| format!("Of {} models, β is {}.", self.models, texts.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calibrated_loss_has_a_name_of_its_own_and_is_found_again() {
        let kind = LossKind::Calibrated;
        for (plain, calibrated) in [
            ("loss", "loss_calibrated"),
            ("soup_loss_se", "soup_loss_calibrated_se"),
            ("barrier_loss_low", "barrier_loss_calibrated_low"),
            ("losses", "losses"),
            ("error_se", "error_se"),
        ] {
            assert_eq!(kind.named(plain), calibrated);
            assert_eq!(kind.unnamed(calibrated), plain);
            assert_eq!(LossKind::Plain.named(plain), plain);
        }
    }

    #[test]
    fn models_whose_beta_is_no_minimum_are_counted_and_told() {
        let beta = |fit| Beta { value: 1.0, fit };
        let minimum = [beta(BetaFit::Minimum), Beta::UNMEASURED];
        let on = CalibratedOn::new(("val", 500), &minimum);
        assert_eq!((on.models, on.exceptions()), (1, None));
        let all = [
            beta(BetaFit::Minimum),
            beta(BetaFit::UpperBound),
            beta(BetaFit::LowerBound),
            beta(BetaFit::LowerBound),
            beta(BetaFit::Undefined),
        ];
        let text = CalibratedOn::new(("val", 500), &all).exceptions().unwrap();
        assert!(
            text.starts_with("Of 5 models, β is at its lower bound 0.001 for 2 "),
            "{text}"
        );
        assert!(
            text.contains("upper bound 1000 for 1 ") && text.contains("set to 1 for 1 "),
            "{text}"
        );
    }
}
