//! The flags of learned soups.

use clap::Args;
use serde::Deserialize;

use super::units;
use crate::analysis::learned::{Preset, lbfgs_settings};
use crate::analysis::recipe::MethodSpec;
use crate::error::{Error, Result};
use crate::result::learned::{Layers, LearningSettings, Length, Optimizer};
use crate::result::method::Method;

/// How soups are learned.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[command(next_help_heading = "Learned soups (--methods learned,learned-by-layer)")]
pub struct LearnOptions {
    /// How coefficients are learned [default: lbfgs; adamw if a flag of AdamW is given]
    #[arg(long, value_enum)]
    pub optimizer: Option<Optimizer>,
    /// Settings of AdamW to start from [default: released]
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// What gets its own coefficients in learned-by-layer [default: tensor]
    #[arg(long, value_enum)]
    pub layers: Option<Layers>,
    /// Number of passes over the validation set, at most [default: the preset's; lbfgs: 200]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Constant learning rate of AdamW [default: the preset's]
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Batch size of AdamW [default: 256]
    #[arg(long, value_name = "N")]
    pub learn_batch: Option<usize>,
    /// Weight decay of AdamW; pulls α to the uniform soup and β to 0 [default: 0]
    #[arg(long, value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Allow negative coefficients: they sum to 1, but without a softmax
    #[arg(long)]
    pub unconstrained: bool,
    /// Keep β, the factor of the logits, at 1
    #[arg(long)]
    pub fixed_beta: bool,
    /// Fraction of the validation set held out to choose the best epoch and to stop, e.g. 20%
    #[arg(long, value_name = "FRACTION")]
    pub holdout: Option<String>,
}

impl LearnOptions {
    /// Flags, and what the configuration says where they are silent.
    pub(super) fn or(&self, config: &Self) -> Self {
        Self {
            optimizer: self.optimizer.or(config.optimizer),
            preset: self.preset.or(config.preset),
            layers: self.layers.or(config.layers),
            epochs: self.epochs.or(config.epochs),
            lr: self.lr.or(config.lr),
            learn_batch: self.learn_batch.or(config.learn_batch),
            weight_decay: self.weight_decay.or(config.weight_decay),
            unconstrained: self.unconstrained || config.unconstrained,
            fixed_beta: self.fixed_beta || config.fixed_beta,
            holdout: self.holdout.clone().or_else(|| config.holdout.clone()),
        }
    }

    /// Refuses flags that serve none of the methods.
    ///
    /// # Errors
    /// When there is such a flag.
    pub fn refuse_idle(&self, methods: &[MethodSpec]) -> Result<()> {
        let by_layer = has(methods, Method::LearnedByLayer);
        let learns = by_layer || has(methods, Method::Learned);
        let idle = match self.layers {
            _ if !learns => self.given().map(|flag| (flag, Method::Learned)),
            Some(_) if !by_layer => Some(("--layers", Method::LearnedByLayer)),
            _ => None,
        };
        match idle {
            None => Ok(()),
            Some((flag, method)) => Err(Error::flag(flag, "applies to none of the methods").help(
                format!("add --methods {}, to which it applies", method.name()),
            )),
        }
    }

    /// Returns the settings, except the seed; `None` if nothing is learned.
    ///
    /// # Errors
    /// When a value is impossible.
    pub fn settings(&self, methods: &[MethodSpec]) -> Result<Option<LearningSettings>> {
        let learns = has(methods, Method::Learned) || has(methods, Method::LearnedByLayer);
        learns.then(|| self.checked()).transpose()
    }

    /// The first of these flags that was given.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--optimizer", self.optimizer.is_some()),
            ("--preset", self.preset.is_some()),
            ("--layers", self.layers.is_some()),
            ("--epochs", self.epochs.is_some()),
            ("--lr", self.lr.is_some()),
            ("--learn-batch", self.learn_batch.is_some()),
            ("--weight-decay", self.weight_decay.is_some()),
            ("--unconstrained", self.unconstrained),
            ("--fixed-beta", self.fixed_beta),
            ("--holdout", self.holdout.is_some()),
        ];
        flags.iter().find(|(_, given)| *given).map(|flag| flag.0)
    }

    /// The optimizer that was asked for, or the one that the other flags apply to.
    ///
    /// # Errors
    /// When L-BFGS was asked for and a flag is AdamW's.
    fn optimizer(&self) -> Result<Optimizer> {
        let flags = [
            ("--preset", self.preset.is_some()),
            ("--lr", self.lr.is_some()),
            ("--learn-batch", self.learn_batch.is_some()),
            ("--weight-decay", self.weight_decay.is_some()),
        ];
        let of_adamw = flags.iter().find(|(_, given)| *given);
        match (self.optimizer, of_adamw) {
            (Some(Optimizer::Lbfgs), Some((flag, _))) => {
                Err(Error::flag(flag, "does not apply to --optimizer lbfgs")
                    .help("leave one of the two out"))
            }
            (Some(optimizer), _) => Ok(optimizer),
            (None, Some(_)) => Ok(Optimizer::AdamW),
            (None, None) => Ok(Optimizer::Lbfgs),
        }
    }

    fn checked(&self) -> Result<LearningSettings> {
        let default = match self.optimizer()? {
            Optimizer::AdamW => self.preset.unwrap_or(Preset::Released).settings(),
            Optimizer::Lbfgs => lbfgs_settings(),
        };
        Ok(LearningSettings {
            layers: match self.layers {
                // Of learned soups by layer it makes none.
                Some(Layers::All) => {
                    let problem = "is `all`; expected tensor or block";
                    return Err(Error::flag("--layers", problem));
                }
                layers => layers.unwrap_or(Layers::Tensor),
            },
            length: count("--epochs", self.epochs)?.map_or(default.length, Length::Epochs),
            learning_rate: number("--lr", self.lr, f64::MIN_POSITIVE)?
                .unwrap_or(default.learning_rate),
            weight_decay: number("--weight-decay", self.weight_decay, 0.0)?
                .unwrap_or(default.weight_decay),
            batch: count("--learn-batch", self.learn_batch)?.unwrap_or(default.batch),
            softmax: !self.unconstrained,
            learns_beta: !self.fixed_beta,
            holdout: self.holdout.as_deref().map(holdout).transpose()?,
            ..default
        })
    }
}

fn has(methods: &[MethodSpec], method: Method) -> bool {
    methods.iter().any(|wanted| wanted.involves(method))
}

fn count(flag: &str, value: Option<usize>) -> Result<Option<usize>> {
    match value {
        Some(0) => Err(Error::flag(flag, "is 0; at least 1 is needed")),
        value => Ok(value),
    }
}

fn number(flag: &str, value: Option<f64>, least: f64) -> Result<Option<f64>> {
    let what = if least > 0.0 {
        "above 0"
    } else {
        "of 0 or more"
    };
    match value {
        // Above 1000, a single step leaves nothing to choose.
        Some(value) if !(least..=1e3).contains(&value) => Err(Error::flag(
            flag,
            format!("is {value}; a number {what}, and 1000 at most, is needed"),
        )),
        value => Ok(value),
    }
}

fn holdout(text: &str) -> Result<f64> {
    let fault = |problem: &str| Error::flag("--holdout", format!("`{text}`: {problem}"));
    match units::fraction(text) {
        Ok(1.0) => Err(fault("nothing is left to learn from")),
        part => part.map_err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &LearnOptions, methods: &[Method]) -> Result<Option<LearningSettings>> {
        let wanted: Vec<MethodSpec> = methods.iter().copied().map(MethodSpec::plain).collect();
        arguments.refuse_idle(&wanted)?;
        arguments.settings(&wanted)
    }

    #[test]
    fn flags_beat_the_preset() {
        let plain = settings(&LearnOptions::default(), &[Method::LearnedByLayer]).unwrap();
        let mut expected = lbfgs_settings();
        expected.layers = Layers::Tensor;
        assert_eq!(plain.unwrap(), expected);
        let arguments = LearnOptions {
            preset: Some(Preset::Paper),
            layers: Some(Layers::Block),
            epochs: Some(7),
            weight_decay: Some(0.0),
            unconstrained: true,
            fixed_beta: true,
            holdout: Some("20%".to_string()),
            ..LearnOptions::default()
        };
        let made = settings(&arguments, &[Method::LearnedByLayer])
            .unwrap()
            .unwrap();
        assert_eq!(
            (made.length, made.learning_rate, made.batch),
            (Length::Epochs(7), 0.1, 256)
        );
        assert_eq!((made.layers, made.holdout), (Layers::Block, Some(0.2)));
        assert!(!made.softmax && !made.learns_beta);
    }

    #[test]
    fn flags_that_serve_nothing_and_impossible_values_are_told() {
        let none = LearnOptions::default();
        assert_eq!(settings(&none, &[Method::Greedy]).unwrap(), None);
        let message = |arguments: LearnOptions, methods: &[Method]| {
            settings(&arguments, methods).unwrap_err().to_string()
        };
        let epochs = |count| LearnOptions {
            epochs: Some(count),
            ..LearnOptions::default()
        };
        let text = message(epochs(3), &[Method::Greedy]);
        assert!(
            text.starts_with("--epochs: applies to none of the methods"),
            "{text}"
        );
        let layers = LearnOptions {
            layers: Some(Layers::Tensor),
            ..LearnOptions::default()
        };
        let text = message(layers, &[Method::Learned]);
        assert!(
            text.contains("--layers") && text.contains("learned-by-layer"),
            "{text}"
        );
        assert!(message(epochs(0), &[Method::Learned]).contains("at least 1"));
        let all = LearnOptions {
            layers: Some(Layers::All),
            ..LearnOptions::default()
        };
        assert!(message(all, &[Method::LearnedByLayer]).contains("expected tensor or block"));
        let mixed = LearnOptions {
            optimizer: Some(Optimizer::Lbfgs),
            lr: Some(0.1),
            ..LearnOptions::default()
        };
        let text = message(mixed, &[Method::Learned]);
        assert!(
            text.starts_with("--lr: does not apply to --optimizer lbfgs"),
            "{text}"
        );
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let lr = LearnOptions {
                lr: Some(rate),
                ..LearnOptions::default()
            };
            assert!(message(lr, &[Method::Learned]).starts_with("--lr: is"));
        }
        for part in ["0", "100%", "1", "x", "1.5"] {
            let holdout = LearnOptions {
                holdout: Some(part.to_string()),
                ..LearnOptions::default()
            };
            assert!(message(holdout, &[Method::Learned]).starts_with("--holdout: `"));
        }
    }
}
