//! Flags that can also be set in the command's section of `landscape.toml`. One struct reads both.

use clap::Args;
use serde::Deserialize;

use super::learn::LearnOptions;
use crate::analysis::greedy::GreedyRule;
use crate::result::combine::Combine;
use crate::result::loss::LossKind;
use crate::result::panels::Panels;

/// Section `[plane]` and flags of `landscape plane`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Plane")]
pub struct PlaneOptions {
    /// Number of grid points along the longer side [default: 21]
    #[arg(long, value_name = "N", conflicts_with_all = ["x", "y"])]
    pub(super) steps: Option<usize>,
    /// Margin around the three models, as a fraction of the longer side of their box [default: 0.25]
    #[arg(long, value_name = "FRACTION", conflicts_with_all = ["x", "y"])]
    pub(super) margin: Option<f64>,
    /// Grid along u1, both ends included; needs --y
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        requires = "y",
        allow_hyphen_values = true
    )]
    pub(super) x: Option<String>,
    /// Grid along u2, both ends included; needs --x
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        requires = "x",
        allow_hyphen_values = true
    )]
    pub(super) y: Option<String>,
    /// Evaluate a coarse grid, refine it where contours pass, and interpolate the rest
    #[arg(long, conflicts_with_all = ["max_time", "tolerance"])]
    pub(super) adaptive: bool,
    /// Draw descent arrows on a grid with N points along the longer side [N defaults to 7]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "7", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(super) arrows: Option<u64>,
    /// What losses are computed from: the logits, or β·logits with the β of each model that is best on
    /// --val [default: plain]
    #[arg(long, value_enum)]
    pub(super) loss: Option<LossKind>,
    /// Which panels the figure shows [default: paper]
    #[arg(long, value_enum, help_heading = "Figure")]
    pub(super) panels: Option<Panels>,
}

impl PlaneOptions {
    /// The flags, completed from the configuration.
    pub(super) fn or(&self, config: &Self) -> Self {
        // A box on the command line replaces coordinates in the configuration.
        let boxed = self.steps.is_some() || self.margin.is_some();
        let configured = |value: &Option<String>| value.clone().filter(|_| !boxed);
        Self {
            steps: self.steps.or(config.steps),
            margin: self.margin.or(config.margin),
            x: self.x.clone().or_else(|| configured(&config.x)),
            y: self.y.clone().or_else(|| configured(&config.y)),
            adaptive: self.adaptive || config.adaptive,
            arrows: self.arrows.or(config.arrows),
            loss: self.loss.or(config.loss),
            panels: self.panels.or(config.panels),
        }
    }
}

/// Section `[line]` and flags of `landscape line`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Line")]
pub struct LineOptions {
    /// Number of points between neighbouring checkpoints, both included [default: 21]
    #[arg(long, value_name = "N")]
    pub(super) steps: Option<usize>,
    /// Points on the path, both ends included: 0 is --a, 1 the next checkpoint; may extend beyond
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        conflicts_with = "steps",
        allow_hyphen_values = true
    )]
    pub(super) alpha: Option<String>,
    /// What losses are computed from: the logits, or β·logits with the β of each model that is best on
    /// --val [default: plain]
    #[arg(long, value_enum)]
    pub(super) loss: Option<LossKind>,
    /// Which panels the figure shows [default: paper]
    #[arg(long, value_enum, help_heading = "Figure")]
    pub(super) panels: Option<Panels>,
}

/// Section `[soup]` and flags of `landscape soup`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[command(next_help_heading = "Soups")]
pub struct SoupOptions {
    /// Methods, separated by commas; NAME:NUMBER sets α, s or t, and wise-ft(NAME):α shortens what
    /// another method makes. slerp is mergekit's, slerp-tasks WARP's [default: those of the paper's
    /// table, and wise-ft]
    #[arg(long, value_name = "LIST")]
    pub(super) methods: Option<String>,
    /// When a greedy soup adds a model [default: ge]
    #[arg(long, value_enum)]
    pub(super) rule: Option<GreedyRule>,
    /// Number of random orders for greedy-random [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) orders: Option<u64>,
    /// What ensembles average; both make a row each [default: logits]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub(super) ensemble: Vec<Combine>,
    /// Number of mixes between θ0 and the best model, and between θ0 and each soup, both ends included
    /// [default: 11, or 6 where these would be most of the run]
    #[arg(long, value_name = "N", conflicts_with = "no_rays")]
    pub(super) rays: Option<usize>,
    /// Leave out the mixes between θ0 and each soup
    #[arg(long)]
    pub(super) no_rays: bool,
    /// Repeat the choices of the greedy soup on this many resamples of the validation set: how much of
    /// them is chance [default: off]
    #[arg(long, value_name = "N")]
    pub(super) resample: Option<usize>,
    /// `[soup.learn]`.
    #[command(flatten)]
    pub(super) learn: LearnOptions,
}

/// Section `[pairs]` and flags of `landscape pairs`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[command(next_help_heading = "Pairs")]
pub struct PairsOptions {
    /// Which pairs to evaluate: a number (drawn with --seed), or a CSV with columns a,b [default: all]
    #[arg(long, value_name = "N|FILE.csv")]
    pub(super) pairs: Option<String>,
    /// Colour pairs by which of these columns differ, separated by commas [default: all columns]
    #[arg(long, value_name = "LIST")]
    pub(super) hyperparameters: Option<String>,
    /// Take norms and angles of tensors with this name only (`*` matches anything); repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(super) angle_of: Vec<String>,
    /// Leave tensors with this name out of norms and angles: 'fc.*'; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(super) angle_not: Vec<String>,
    /// Also report the angle within each tensor (as a CSV file and a heat map) and within head,
    /// embedding, normalizations and body
    #[arg(long)]
    pub(super) by_layer: bool,
    /// Compare soup and ensemble by the paper's section 4 at α = ¼, ½, ¾; nine more models per pair
    #[arg(long)]
    pub(super) theory: bool,
    /// Steps in α of --theory's derivatives, separated by commas, such as 1/2,1/8,1/32; 1 takes the
    /// chord between the two models. The figure shows the first [default: 1/32]
    #[arg(long, value_name = "LIST")]
    pub(super) theory_step: Option<String>,
}

/// Section `[spectrum]` and flags of `landscape spectrum`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[command(next_help_heading = "Spectrum")]
pub struct SpectrumOptions {
    /// Data set whose mean loss is differentiated [default: train; without one test, val or the first]
    #[arg(long, value_name = "NAME")]
    pub(super) on: Option<String>,
    /// Number of largest eigenvalues [default: 10]
    #[arg(long, value_name = "N")]
    pub(super) top: Option<usize>,
    /// Number of smallest eigenvalues [default: 5]
    #[arg(long, value_name = "N")]
    pub(super) bottom: Option<usize>,
    /// Maximum number of Lanczos steps; each costs one Hessian-vector product [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(super) steps: Option<u64>,
    /// Residual ‖Hv − λv‖/|λ| at which an eigenvalue counts as converged [default: 0.001]
    #[arg(long, value_name = "FRACTION")]
    pub(super) accuracy: Option<f64>,
    /// Number of Hessian-vector products for the trace; 0 skips it [default: 60]
    #[arg(long, value_name = "N")]
    pub(super) trace: Option<usize>,
    /// Number of random vectors for the spectral density; 0 skips it [default: 4]
    #[arg(long, value_name = "N")]
    pub(super) probes: Option<usize>,
    /// Lanczos steps per random vector; each costs one Hessian-vector product [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(super) probe_steps: Option<u64>,
    /// Compute derivatives in float64 (slower)
    #[arg(long)]
    pub(super) double: bool,
}

impl SpectrumOptions {
    /// The flags, completed from the configuration.
    pub(super) fn or(&self, config: &Self) -> Self {
        Self {
            on: self.on.clone().or_else(|| config.on.clone()),
            top: self.top.or(config.top),
            bottom: self.bottom.or(config.bottom),
            steps: self.steps.or(config.steps),
            accuracy: self.accuracy.or(config.accuracy),
            trace: self.trace.or(config.trace),
            probes: self.probes.or(config.probes),
            probe_steps: self.probe_steps.or(config.probe_steps),
            double: self.double || config.double,
        }
    }
}
