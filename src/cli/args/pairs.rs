//! The flags of `landscape pairs`.

use std::path::PathBuf;

use clap::Args;

use super::config::Config;
use super::options::PairsOptions;
use super::run::RunArgs;
use crate::analysis::theory::STEP;
use crate::error::{Error, Result};
use crate::experiment::angle_tensors::AngleTensors;
use crate::experiment::pair_selection::PairSelection;
use crate::experiment::pairs::PairsSettings;
use crate::experiment::settings::SessionSettings;

pub(super) const EXAMPLES: &str = "Examples:
  landscape pairs --origin zs.onnx --models models.csv --test test.npz
  landscape pairs --origin zs.onnx --models models.csv --pairs 50 --hyperparameters lr,seed";

/// Arguments of `landscape pairs`.
#[derive(Debug, Args)]
pub struct PairsArgs {
    /// List of checkpoints: a CSV with the columns name,path, then hyperparameters; or checkpoints,
    /// or patterns in quotation marks such as 'runs/*/model.safetensors'
    #[arg(long, value_name = "FILE.csv|[NAME=]CKPT", num_args = 1.., help_heading = "Models")]
    models: Vec<PathBuf>,
    #[command(flatten)]
    options: PairsOptions,
    /// The flags that all commands share.
    #[command(flatten)]
    pub run: RunArgs,
}

impl PairsArgs {
    /// Checks the flags and the configuration, and makes settings of them.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn plan(&self) -> Result<(SessionSettings, PairsSettings)> {
        let config = Config::load(self.run.output.config.as_deref())?;
        let (typed, configured) = (&self.options, &config.pairs);
        let pairs = typed.pairs.as_ref().or(configured.pairs.as_ref());
        let columns = typed.hyperparameters.as_ref();
        let columns = columns.or(configured.hyperparameters.as_ref());
        let split = |list: &String| list.split(',').map(|it| it.trim().to_string()).collect();
        let theory_step = typed.theory_step.as_ref();
        if theory_step.is_some() && !(typed.theory || configured.theory) {
            let problem = "is of a comparison that is not made: give --theory, too";
            return Err(Error::flag("--theory-step", problem));
        }
        let theory_step = theory_step.or(configured.theory_step.as_ref());
        let settings = PairsSettings {
            selection: selection(pairs.map(String::as_str))?,
            hyperparameters: columns.map(split),
            angles: AngleTensors {
                of: [configured.angle_of.as_slice(), &typed.angle_of].concat(),
                not: [configured.angle_not.as_slice(), &typed.angle_not].concat(),
            },
            by_layer: typed.by_layer || configured.by_layer,
            theory: if typed.theory || configured.theory {
                steps(theory_step.map_or("", String::as_str))?
            } else {
                Vec::new()
            },
        };
        let session = self.run.pool(config, &self.models, "pairs")?;
        Ok((session, settings))
    }
}

/// Parses a number of pairs, or the path of a file.
///
/// # Errors
/// When the number is 0.
fn selection(text: Option<&str>) -> Result<PairSelection> {
    match (text, text.map(str::parse::<usize>)) {
        (None, _) => Ok(PairSelection::All),
        (_, Some(Ok(0))) => Err(Error::flag("--pairs", "is 0; at least one pair is needed")),
        (_, Some(Ok(count))) => Ok(PairSelection::Drawn(count)),
        (Some(path), _) => Ok(PairSelection::Listed(path.into())),
    }
}

/// Parses steps in α, such as `1/8` or `0.125`; the default if there is none.
///
/// # Errors
/// When a step is not above 0 and at most 1.
fn steps(list: &str) -> Result<Vec<f64>> {
    if list.is_empty() {
        return Ok(vec![STEP]);
    }
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let step = |text: &str| {
        let step = match text.split_once('/') {
            Some((above, below)) => number(above).zip(number(below)).map(|(a, b)| a / b),
            None => number(text),
        };
        step.filter(|step| *step > 0.0 && *step <= 1.0)
            .ok_or_else(|| {
                let problem =
                    format!("`{text}`: expected a number above 0 and at most 1, such as 1/8");
                Error::flag("--theory-step", problem)
            })
    };
    list.split(',').map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_a_file_or_all() {
        assert_eq!(selection(None).unwrap(), PairSelection::All);
        assert_eq!(selection(Some("12")).unwrap(), PairSelection::Drawn(12));
        assert_eq!(
            selection(Some("p.csv")).unwrap(),
            PairSelection::Listed("p.csv".into())
        );
        assert!(selection(Some("0")).is_err());
    }

    #[test]
    fn steps_are_fractions_or_decimals() {
        assert_eq!(steps("").unwrap(), [STEP]);
        assert_eq!(steps("1/2, 0.125,1").unwrap(), [0.5, 0.125, 1.0]);
        for wrong in ["0", "2", "1/0", "a", "1/2,", "-1/8", "nan"] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
    }
}
