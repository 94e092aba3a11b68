//! The commands and their flags, and how they become settings.
//!
//! Flags are grouped as `--help` shows them. If a group's flags may also stand in `landscape.toml`,
//! one struct reads both; [`config`] explains how they combine. Each command's settings are made
//! here: no code behind this module sees a flag.

pub mod config;
mod grid;
mod learn;
mod line;
mod methods;
mod options;
mod pairs;
mod plane;
pub mod run;
mod session;
mod soup;
mod spectrum;
mod units;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::line::LineArgs;
pub use self::pairs::PairsArgs;
pub use self::plane::PlaneArgs;
pub use self::session::fixed_tensors;
pub use self::soup::{SoupArgs, TableFormat};
pub use self::spectrum::SpectrumArgs;
use crate::result::panels::Panels;

/// Draw the loss surface between fine-tuned checkpoints: can they be averaged, and what is the best
/// average?
#[derive(Debug, Parser)]
#[command(name = "landscape", version, max_term_width = 100)]
pub struct Arguments {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draw loss and error on the plane through θ0, θ1 and θ2 (Figure 2 of "Model soups")
    #[command(after_help = plane::EXAMPLES)]
    Plane(Box<PlaneArgs>),
    /// Evaluate soups and ensembles along the path between two checkpoints, and the barriers
    #[command(after_help = line::EXAMPLES)]
    Line(Box<LineArgs>),
    /// Average many checkpoints: uniform, greedy and learned soups, ensembles, and the paper's table
    #[command(after_help = soup::EXAMPLES)]
    Soup(Box<SoupArgs>),
    /// Compare every two checkpoints: angle, midpoint soup, ensemble (Figures 3, 4 and 5)
    #[command(after_help = pairs::EXAMPLES)]
    Pairs(Box<PairsArgs>),
    /// Compute the Hessian's spectrum at a mix: extreme eigenvalues, trace, spectral density
    #[command(after_help = spectrum::EXAMPLES)]
    Spectrum(Box<SpectrumArgs>),
    /// Time batch sizes, threads and bindings for a plane on this machine
    Bench(Box<PlaneArgs>),
    /// Redraw a figure from its CSV and JSON files, without the models
    #[command(after_help = DRAW_EXAMPLES)]
    Draw(DrawArgs),
    /// List a network's parameters and show how checkpoints match them
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Show which ONNX Runtime is used and what the machine offers
    Doctor(DoctorArgs),
}

const DRAW_EXAMPLES: &str = "Example:
  landscape draw notebooks-data/plane.csv --panels all";

const INSPECT_EXAMPLES: &str = "Examples:
  landscape inspect zs.onnx
  landscape inspect zs.onnx ft1.safetensors ft2.safetensors";

/// Arguments of `landscape draw`.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// CSV file of a plane, line, soup, pairs or spectrum; its JSON file must be beside it
    pub csv: PathBuf,
    /// Which panels the figure shows
    #[arg(long, value_enum, default_value = "paper")]
    pub panels: Panels,
    /// Folder for the figures [default: plots/ next to the CSV's folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `landscape inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The network (.onnx), then any checkpoints
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// State dict of θ0, to match and verify tensors by value [default: the one beside the network]
    #[arg(long, value_name = "CKPT")]
    pub origin_weights: Option<PathBuf>,
    /// Dictionary to take from files that hold several, e.g. state_dict_ema or model_ema.module
    #[arg(long, value_name = "KEY")]
    pub weights: Option<String>,
    /// Leave out tensors with this name (`*` matches anything); repeatable
    #[arg(long, value_name = "PATTERN")]
    pub ignore: Vec<String>,
    /// Leave out tensors of modules that the network does not use, and say which
    #[arg(long)]
    pub ignore_unused: bool,
    /// Take tensors with this name from one of the checkpoints (or `origin`); repeatable
    #[arg(long, value_name = "PATTERN=MODEL")]
    pub fixed: Vec<String>,
    /// Take norms and angles of tensors with this name only (`*` matches anything); repeatable
    #[arg(long, value_name = "PATTERN")]
    pub angle_of: Vec<String>,
    /// Leave tensors with this name out of norms and angles: 'fc.*'; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub angle_not: Vec<String>,
}

/// Arguments of `landscape doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// ONNX Runtime library, or the folder that holds it
    #[arg(long, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}
