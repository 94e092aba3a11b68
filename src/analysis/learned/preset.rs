//! Where the settings of learned soups come from.

use clap::ValueEnum;
use serde::Deserialize;

use crate::result::learned::{Layers, LearningSettings, Length, Optimizer};

/// Settings of AdamW. The released code is `learned_bylayer.py`: 26,000 images in batches of 256 are
/// about 102 steps an epoch. Presets count steps, so that a small validation set is not left before
/// the soup is learned.
//
// The paper's settings are quoted from memory (its appendix was not at hand); its batch size and
// weight decay are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// 306 steps (3 epochs of the released code's) at learning rate 0.1; the rest, which the paper does not say, from the released code
    Paper,
    /// 510 steps at learning rate 0.05, no weight decay, batches of 256, as in the paper's released code
    Released,
}

impl Preset {
    /// The preset's settings, with a softmax, a learned β, and no held-out samples.
    pub fn settings(self) -> LearningSettings {
        let (steps, learning_rate) = match self {
            Self::Paper => (306, 0.1),
            Self::Released => (510, 0.05),
        };
        LearningSettings {
            layers: Layers::All,
            optimizer: Optimizer::AdamW,
            length: Length::Steps(steps),
            learning_rate,
            weight_decay: 0.0,
            batch: 256,
            softmax: true,
            learns_beta: true,
            holdout: None,
            patience: 2,
            seed: 0,
        }
    }
}

/// Settings of L-BFGS: all samples in every iteration, and 200 iterations at most. With held-out
/// samples, five iterations without gain end it: single ones may lose and the next one gain.
pub fn lbfgs_settings() -> LearningSettings {
    LearningSettings {
        optimizer: Optimizer::Lbfgs,
        length: Length::Epochs(200),
        patience: 5,
        ..Preset::Released.settings()
    }
}
