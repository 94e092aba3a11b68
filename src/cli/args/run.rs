//! The flags shared by every command that evaluates models.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::evaluate::onnx::{BindingChoice, Losses};

/// All shared flags.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub(super) models: ModelArgs,
    #[command(flatten)]
    pub(super) data: DataArgs,
    #[command(flatten)]
    pub(super) evaluation: EvaluationArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    /// Where results are written.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The network, and how checkpoints are matched to it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models")]
pub struct ModelArgs {
    /// Network with the initialization θ0, as torch.onnx.export(..., dynamo=True, optimize=False)
    /// writes it [required, here or in landscape.toml]
    #[arg(long, value_name = "FILE.onnx")]
    pub(super) origin: Option<PathBuf>,
    /// State dict of θ0, to match and verify tensors by value [default: the one beside the network]
    #[arg(long, value_name = "CKPT")]
    pub(super) origin_weights: Option<PathBuf>,
    /// Dictionary to take from files that hold several, e.g. state_dict_ema or model_ema.module
    #[arg(long, value_name = "KEY")]
    pub(super) weights: Option<String>,
    /// Leave out tensors with this name and keep θ0's (`*` matches anything: 'fc.*'); repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(super) ignore: Vec<String>,
    /// Leave out tensors of modules that the network does not use, and say which
    #[arg(long)]
    pub(super) ignore_unused: bool,
    /// Take tensors with this name from one model for all mixes: 'fc.*=ft1' or 'fc.*=origin';
    /// repeatable
    #[arg(long, value_name = "PATTERN=MODEL")]
    pub(super) fixed: Vec<String>,
}

/// The data sets, by role.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Data (any of --train, --val, --test, --shift, --source replaces all of [data])"
)]
pub struct DataArgs {
    /// Training data (.npz or .safetensors)
    #[arg(long, value_name = "PATH")]
    pub(super) train: Option<PathBuf>,
    /// Validation data: models and soups are chosen on it
    #[arg(long, value_name = "PATH")]
    pub(super) val: Option<PathBuf>,
    /// Test data: only reported
    #[arg(long, value_name = "PATH")]
    pub(super) test: Option<PathBuf>,
    /// Data from a shifted distribution; repeatable
    #[arg(long, value_name = "NAME=PATH")]
    pub(super) shift: Vec<String>,
    /// Data of θ0's own domain, reported by itself: in no mean over shifts; repeatable
    #[arg(long, value_name = "NAME=PATH")]
    pub(super) source: Vec<String>,
    /// Draw this many samples from each data set; 0 takes all [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Seed for everything that is drawn at random [default: 0]
    #[arg(long, value_name = "S")]
    pub(super) seed: Option<u64>,
    /// Name of the output that holds the logits, if the network has several outputs
    #[arg(long, value_name = "NAME")]
    pub(super) output: Option<String>,
}

/// How models are evaluated.
#[derive(Debug, Args)]
#[command(next_help_heading = "Evaluation")]
pub struct EvaluationArgs {
    /// Device: cpu, cuda, cuda:N or cuda:N,M [default: cpu]
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Option<String>,
    /// Precision of float32 matrix products on a GPU [default: full]
    #[arg(long, value_enum)]
    pub(super) precision: Option<GpuPrecision>,
    /// Batch size [default: measured, or the network's fixed batch]
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<usize>,
    /// Number of sessions that run in parallel [default: number of cores, or measured]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<usize>,
    /// Threads per session [default: 1, or measured]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// How mixed weights enter the network [default: auto]
    #[arg(long, value_enum)]
    pub(super) binding: Option<BindingChoice>,
    /// Where losses are computed from logits [default: host; graph on a GPU]
    #[arg(long, value_enum)]
    pub(super) losses: Option<Losses>,
    /// Running statistics of batch norm in a mix: `interpolate` averages them, `recalibrate=N`
    /// re-estimates them for every model from N training samples, in batches of 256 (`=N:BATCH` for
    /// others), `origin` keeps θ0's [default: interpolate]
    #[arg(long, value_name = "HOW")]
    pub(super) bn: Option<String>,
    /// ONNX Runtime library, or the folder that holds it [default: searched for; see `doctor`]
    #[arg(long, value_name = "PATH")]
    pub(super) onnxruntime: Option<PathBuf>,
}

/// Precision of float32 matrix products on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuPrecision {
    /// Full float32
    Full,
    /// TF32: a mantissa of 10 bits, faster on recent GPUs
    Tf32,
}

/// Limits of a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Approximate upper bound on memory, e.g. 8G [default: half of what is free]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Disk for the loss and correctness of every sample, from which models are compared [default: 4G]
    #[arg(long, value_name = "SIZE")]
    pub(super) disk: Option<String>,
    /// plane, line: stop after the last chunk of data that fits into this time, e.g. 10m
    #[arg(long, value_name = "TIME")]
    pub(super) max_time: Option<String>,
    /// plane, line: stop once the standard error of every error rate is at most this, e.g. 0.2%
    #[arg(long, value_name = "FRACTION")]
    pub(super) tolerance: Option<String>,
    /// Ignore what an interrupted run saved, and start over
    #[arg(long)]
    pub(super) fresh: bool,
}

/// Where results are written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Folder in which plots/ and notebooks-data/ are written [default: .]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Stem of the output files [default: the command's name]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Print one JSON object to standard output, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Configuration file [default: landscape.toml, if there is one]
    #[arg(long, value_name = "FILE.toml")]
    pub(super) config: Option<PathBuf>,
}
