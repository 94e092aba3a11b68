//! What an ensemble averages.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What an ensemble averages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// The logits, as in "Model soups": a member with larger logits weighs more
    #[default]
    Logits,
    /// The probabilities, as in deep ensembles (Lakshminarayanan et al. 2017)
    Probabilities,
}

impl Combine {
    /// Whether it is the default.
    pub fn is_logits(&self) -> bool {
        *self == Self::Logits
    }
}
