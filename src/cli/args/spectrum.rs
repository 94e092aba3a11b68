//! The flags of `landscape spectrum`.

use std::path::Path;

use clap::Args;

use super::config::Config;
use super::options::SpectrumOptions;
use super::run::RunArgs;
use super::session::ignore_limits;
use crate::analysis::spectrum::{Quadrature, SpectrumPlan};
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::experiment::candidates::{Candidate, Candidates};
use crate::experiment::settings::SessionSettings;
use crate::experiment::spectrum::SpectrumSettings;
use crate::result::score::Role;

pub(super) const EXAMPLES: &str = "Examples:
  landscape spectrum --origin zs.onnx --train train.npz --limit 1000
  landscape spectrum --origin zs.onnx --at ft1:0.5 --at ft2:0.5 --on test --top 3 --trace 0

With --limit, the curvature along each eigenvector is measured on other samples, too. Eigenvalues
change if layers are rescaled, though the function stays the same (Dinh et al. 2017), and with a
factor of the logits: compare them between points of one network, on the same samples.";

/// Arguments of `landscape spectrum`.
#[derive(Debug, Args)]
pub struct SpectrumArgs {
    /// Where to compute it: a checkpoint, or several for their average, or their mix if they have
    /// weights, which must sum to 1 [default: the origin]
    #[arg(long, value_name = "[NAME=]CKPT[:WEIGHT]", help_heading = "Models")]
    at: Vec<String>,
    #[command(flatten)]
    options: SpectrumOptions,
    /// The flags that all commands share.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The quantities to compute.
fn found(options: &SpectrumOptions) -> Result<SpectrumPlan> {
    let accuracy = options.accuracy.unwrap_or(1e-3);
    if !(accuracy > 0.0 && accuracy.is_finite()) {
        let problem = format!("is {accuracy}; a number above 0 is needed");
        return Err(Error::flag("--accuracy", problem));
    }
    let (top, bottom) = (options.top.unwrap_or(10), options.bottom.unwrap_or(5));
    let (trace, probes) = (options.trace.unwrap_or(60), options.probes.unwrap_or(4));
    check_counts(&[
        ("--top", top),
        ("--bottom", bottom),
        ("--trace", trace),
        ("--probes", probes),
    ])?;
    Ok(SpectrumPlan {
        top,
        bottom,
        steps: steps("--steps", options.steps.unwrap_or(100))?,
        tolerance: accuracy,
        trace,
        density: (probes > 0).then_some(Quadrature {
            probes,
            steps: steps("--probe-steps", options.probe_steps.unwrap_or(50))?,
            ..Quadrature::default()
        }),
        seed: 0,
    })
}

/// Maximum of every count: nobody could wait for more.
const MOST: usize = 1_000_000;

/// Checks that something is asked for, and that no count is too large.
fn check_counts(counts: &[(&str, usize)]) -> Result<()> {
    if let Some((flag, count)) = counts.iter().find(|(_, count)| *count > MOST) {
        return Err(Error::flag(
            flag,
            format!("is {count}; expected at most {MOST}"),
        ));
    }
    if counts.iter().all(|(_, count)| *count == 0) {
        let flags = "--top, --bottom, --trace, --probes";
        return Err(Error::flag(flags, "are all 0: there is nothing to compute"));
    }
    Ok(())
}

/// Checks a number of Lanczos steps: clap does not check values from a configuration.
fn steps(flag: &str, steps: u64) -> Result<usize> {
    if (1..=100_000).contains(&steps) {
        return Ok(steps as usize);
    }
    let problem = format!("is {steps}; expected 1 to 100000");
    Err(Error::flag(flag, problem))
}

impl SpectrumArgs {
    /// Checks the flags and the configuration, and makes settings of them.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn plan(&self) -> Result<(SessionSettings, SpectrumSettings)> {
        // Otherwise the products would be with different Hessians.
        let why = "every Hessian-vector product needs all samples";
        self.run.refuse_limits(why, "the data set")?;
        let config = Config::load(self.run.output.config.as_deref())?;
        let options = self.options.or(&config.spectrum);
        let plan = found(&options)?;
        let parts = parts(&self.at)?;
        let (mut models, weights): (Vec<_>, Vec<f64>) = parts.into_iter().unzip();
        if models.is_empty() {
            // The origin is compared with itself: constants in its file are no part of θ.
            models.push(Candidate::file(self.run.origin(&config)?));
        }
        let models = Candidates::Files(models);
        let mut session = self.run.session(config, models, "spectrum")?;
        keep_one(&mut session, options.on.as_deref())?;
        ignore_limits(&mut session);
        session.every_tensor_moves = true;
        let double = options.double;
        let settings = SpectrumSettings {
            weights,
            plan,
            double,
        };
        Ok((session, settings))
    }
}

/// Parses checkpoints and weights from `CKPT` or `CKPT:WEIGHT`, each perhaps with a name; without
/// weights all count equally.
fn parts(at: &[String]) -> Result<Vec<(Candidate, f64)>> {
    let model = |text: &str| Candidate::parse("--at", Path::new(text));
    let part = |text: &String| {
        let exists = checkpoint::exists(Path::new(text));
        match text.rsplit_once(':') {
            Some((path, weight)) if !exists => match weight.parse::<f64>() {
                Ok(weight) if weight.abs() <= 1e6 => Ok((model(path)?, Some(weight))),
                _ => Err(Error::flag(
                    "--at",
                    format!("`{text}`: expected a number after the colon"),
                )),
            },
            _ => Ok((model(text)?, None)),
        }
    };
    let parts = at.iter().map(part).collect::<Result<Vec<_>>>()?;
    let given = parts.iter().filter(|(_, weight)| weight.is_some()).count();
    let sum: f64 = parts.iter().filter_map(|(_, weight)| *weight).sum();
    if given > 0 && (given < parts.len() || (sum - 1.0).abs() > 1e-6) {
        return Err(Error::flag(
            "--at",
            format!(
                "{given} of {} models have a weight, with the sum {sum}; give every model one, and let \
                 them sum to 1",
                parts.len()
            ),
        )
        .help("for a point between θ0 and a checkpoint, name the origin's file as one of them"));
    }
    let each = 1.0 / parts.len().max(1) as f64;
    let weight = |weight: Option<f64>| weight.map_or(each, |weight| weight / sum);
    Ok(parts
        .into_iter()
        .map(|(model, given)| (model, weight(given)))
        .collect())
}

/// Keeps only the named data set; by default train, test, val or else the first.
fn keep_one(session: &mut SessionSettings, named: Option<&str>) -> Result<()> {
    let data = &mut session.data;
    let of = |role: Role| data.iter().position(|set| set.role == role);
    let found = match named {
        Some(named) => data.iter().position(|set| set.name == named),
        None => of(Role::Train)
            .or(of(Role::Test))
            .or(of(Role::Val))
            .or(Some(0)),
    };
    let Some(found) = found.filter(|&found| found < data.len()) else {
        let names: Vec<&str> = data.iter().map(|set| set.name.as_str()).collect();
        return Err(Error::flag(
            "--on",
            format!(
                "there is no data set `{}`; there are `{}`",
                named.unwrap_or_default(),
                names.join("`, `")
            ),
        ));
    };
    *data = vec![data.swap_remove(found)];
    Ok(())
}
