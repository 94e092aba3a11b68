//! The flags of learned soups, and where their slopes come from.

use clap::{Args, ValueEnum};

use super::stage::Stage;
use super::units;
use crate::analysis::learned::Preset;
use crate::analysis::recipe::MethodSpec;
use crate::error::{Error, Result};
use crate::evaluate::onnx::gradient::Precision;
use crate::evaluate::slope::Slopes;
use crate::result::learned::{Layers, Settings};
use crate::result::soup::Method;

/// The loss on a data set of the stage, with its slopes over about so many samples at a time.
///
/// # Errors
/// When the network has no gradients.
pub fn slopes<'e>(
    stage: &'e Stage<'_>,
    validation: usize,
    samples: usize,
) -> Result<Box<dyn Slopes + 'e>> {
    let gradients = stage
        .engine
        .gradients(validation, samples, Precision::Own)?;
    Ok(Box::new(gradients))
}

/// How soups are learned.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Learned soups (--methods learned,learned-by-layer)")]
pub struct LearnArgs {
    /// Where settings come from that are not given [default: released]
    #[arg(long, value_enum)]
    pub preset: Option<PresetArg>,
    /// What has coefficients of its own, by layer [default: tensor]
    #[arg(long, value_enum)]
    pub layers: Option<LayersArg>,
    /// Passes over the validation set
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Learning rate of AdamW, the same in all steps
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Samples a step [default: 256]
    #[arg(long, value_name = "N")]
    pub learn_batch: Option<usize>,
    /// Weight decay of AdamW: towards the uniform soup, and β towards 0 [default: 0]
    #[arg(long, value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Coefficients of any sign that sum to 1, no softmax
    #[arg(long)]
    pub unconstrained: bool,
    /// Leave β, which multiplies the logits, at 1
    #[arg(long)]
    pub fixed_beta: bool,
    /// Hold out a part of the validation set, such as 20%, to choose the best epoch by
    #[arg(long, value_name = "PART")]
    pub holdout: Option<String>,
}

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PresetArg {
    /// 3 epochs, learning rate 0.1; what is not known of the paper's is the released code's
    Paper,
    /// 5 epochs, learning rate 0.05, as in the paper's released code
    Released,
}

/// What has coefficients of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayersArg {
    /// Each tensor, as in the paper's released code
    Tensor,
    /// Each block, by the first number in the tensors' names
    Block,
}

impl LearnArgs {
    /// The settings, all but the seed; `None` where nothing is to be learned.
    ///
    /// # Errors
    /// When a value is impossible, or a flag is given that serves no method.
    pub fn settings(&self, wanted: &[MethodSpec]) -> Result<Option<Settings>> {
        let has = |method: Method| wanted.iter().any(|wanted| wanted.method == method);
        let by_layer = has(Method::LearnedByLayer);
        let learns = by_layer || has(Method::Learned);
        let idle = match self.layers {
            _ if !learns => self.given().map(|flag| (flag, Method::Learned)),
            Some(_) if !by_layer => Some(("--layers", Method::LearnedByLayer)),
            _ => None,
        };
        match idle {
            Some((flag, method)) => Err(Error::flag(flag, "serves none of the methods").help(
                format!("--methods {} makes a soup that it is for", method.name()),
            )),
            None => learns.then(|| self.checked()).transpose(),
        }
    }

    /// The first flag that is given.
    fn given(&self) -> Option<&'static str> {
        let flags = [
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

    fn checked(&self) -> Result<Settings> {
        let preset = match self.preset {
            Some(PresetArg::Paper) => Preset::Paper,
            Some(PresetArg::Released) | None => Preset::Released,
        };
        let default = preset.settings();
        Ok(Settings {
            layers: match self.layers {
                Some(LayersArg::Block) => Layers::Block,
                Some(LayersArg::Tensor) | None => Layers::Tensor,
            },
            epochs: count("--epochs", self.epochs)?.unwrap_or(default.epochs),
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
        // Beyond, a single step leaves nothing to choose.
        Some(value) if !(least..=1e3).contains(&value) => Err(Error::flag(
            flag,
            format!("is {value}; a number {what}, and 1000 at most, is needed"),
        )),
        value => Ok(value),
    }
}

fn holdout(text: &str) -> Result<f64> {
    let fault = |problem: &str| Error::flag("--holdout", format!("`{text}`: {problem}"));
    match units::part(text) {
        Ok(1.0) => Err(fault("nothing is left to learn from")),
        part => part.map_err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &LearnArgs, methods: &[Method]) -> Result<Option<Settings>> {
        let wanted: Vec<MethodSpec> = methods.iter().copied().map(MethodSpec::plain).collect();
        arguments.settings(&wanted)
    }

    #[test]
    fn flags_beat_the_preset() {
        let plain = settings(&LearnArgs::default(), &[Method::LearnedByLayer]).unwrap();
        let mut expected = Preset::Released.settings();
        expected.layers = Layers::Tensor;
        assert_eq!(plain.unwrap(), expected);
        let arguments = LearnArgs {
            preset: Some(PresetArg::Paper),
            layers: Some(LayersArg::Block),
            epochs: Some(7),
            weight_decay: Some(0.0),
            unconstrained: true,
            fixed_beta: true,
            holdout: Some("20%".to_string()),
            ..LearnArgs::default()
        };
        let made = settings(&arguments, &[Method::LearnedByLayer])
            .unwrap()
            .unwrap();
        assert_eq!((made.epochs, made.learning_rate, made.batch), (7, 0.1, 256));
        assert_eq!((made.layers, made.holdout), (Layers::Block, Some(0.2)));
        assert!(!made.softmax && !made.learns_beta);
    }

    #[test]
    fn flags_that_serve_nothing_and_impossible_values_are_told() {
        let none = LearnArgs::default();
        assert_eq!(settings(&none, &[Method::Greedy]).unwrap(), None);
        let message = |arguments: LearnArgs, methods: &[Method]| {
            settings(&arguments, methods).unwrap_err().to_string()
        };
        let epochs = |count| LearnArgs {
            epochs: Some(count),
            ..LearnArgs::default()
        };
        let text = message(epochs(3), &[Method::Greedy]);
        assert!(
            text.starts_with("--epochs: serves none of the methods"),
            "{text}"
        );
        let layers = LearnArgs {
            layers: Some(LayersArg::Tensor),
            ..LearnArgs::default()
        };
        let text = message(layers, &[Method::Learned]);
        assert!(
            text.contains("--layers") && text.contains("learned-by-layer"),
            "{text}"
        );
        assert!(message(epochs(0), &[Method::Learned]).contains("at least 1"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let lr = LearnArgs {
                lr: Some(rate),
                ..LearnArgs::default()
            };
            assert!(message(lr, &[Method::Learned]).starts_with("--lr: is"));
        }
        for part in ["0", "100%", "1", "x", "1.5"] {
            let holdout = LearnArgs {
                holdout: Some(part.to_string()),
                ..LearnArgs::default()
            };
            assert!(message(holdout, &[Method::Learned]).starts_with("--holdout: `"));
        }
    }
}
