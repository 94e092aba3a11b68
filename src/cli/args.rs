//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::learn::LearnArgs;

/// The loss surface between fine-tuned checkpoints: can they be averaged, and what is the best
/// average?
#[derive(Debug, Parser)]
#[command(name = "landscape", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `landscape line --help` ends with.
const BARRIERS: &str = "A barrier is the largest rise of a soup strictly between two checkpoints over \
the straight line between them, negative where all soups lie below it. Its standard error is unpaired: \
as if the soup and the ends had been evaluated on different samples. The paired one may be much smaller, \
or larger. A rise of two standard errors or less is not called a barrier, which does not show that there \
is none.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draw loss and error on the plane through θ0, θ1, θ2 (Figure 2 of "Model soups")
    Plane(Box<PlaneArgs>),
    /// Soups and ensembles along the path between two checkpoints, and the barriers
    #[command(after_help = BARRIERS)]
    Line(Box<LineArgs>),
    /// Average many checkpoints: uniform and greedy soups, ensembles, and the paper's table
    Soup(Box<SoupArgs>),
    /// Every two checkpoints: angle, midpoint soup, ensemble (Figures 3, 4 and 5)
    Pairs(Box<PairsArgs>),
    /// The Hessian of the loss at a mix: eigenvalues at both ends, trace, spectral density
    Spectrum(Box<SpectrumArgs>),
    /// Compare batch sizes, threads and bindings for a plane on this machine
    Bench(Box<PlaneArgs>),
    /// Draw a figure again from its CSV and JSON
    Draw(DrawArgs),
    /// List a network's parameters and how checkpoints fit them
    Inspect(InspectArgs),
    /// Show the ONNX Runtime that is used and what the machine has
    Doctor(DoctorArgs),
}

/// Flags that several subcommands share.
#[derive(Debug, Args)]
pub struct Common {
    /// Network and initialization θ0
    #[arg(long, value_name = "FILE.onnx")]
    pub origin: Option<PathBuf>,
    /// θ0's own state dict, to match and verify tensors by value [default: beside the origin, when there]
    #[arg(long, value_name = "FILE.safetensors")]
    pub origin_weights: Option<PathBuf>,
    /// Leave out tensors of this name, θ0's staying in their place (`*` for anything: 'fc.*'); may be given several times
    #[arg(long, value_name = "NAME")]
    pub ignore: Vec<String>,
    /// Configuration file [default: landscape.toml, when there]
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// One JSON object on standard output, and nothing else there
    #[arg(long)]
    pub json: bool,
}

/// `landscape plane`.
#[derive(Debug, Args)]
pub struct PlaneArgs {
    /// Shared flags.
    #[command(flatten)]
    pub common: Common,
    /// First checkpoint θ1: .onnx or .safetensors; an ending may be left out
    #[arg(long, value_name = "CKPT")]
    pub a: PathBuf,
    /// Second checkpoint θ2
    #[arg(long, value_name = "CKPT")]
    pub b: PathBuf,
    /// Grid points along the longer side of the box [default: 21]
    #[arg(long, value_name = "N", conflicts_with_all = ["x", "y"])]
    pub steps: Option<usize>,
    /// Margin around θ0, θ1, θ2, as a part of the box's longer side [default: 0.25]
    #[arg(long, value_name = "PART", conflicts_with_all = ["x", "y"])]
    pub margin: Option<f64>,
    /// Grid along u1 (ends included); with --y
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        requires = "y",
        allow_hyphen_values = true
    )]
    pub x: Option<String>,
    /// Grid along u2 (ends included); with --x
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        requires = "x",
        allow_hyphen_values = true
    )]
    pub y: Option<String>,
    /// Another model to project onto the plane; may be given several times
    #[arg(long, value_name = "[NAME=]CKPT")]
    pub mark: Vec<String>,
    /// Arrows where the loss falls, so many along the longer side [default without a number: 7]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "7", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub arrows: Option<u64>,
    /// Panels of the figure [default: paper]
    #[arg(long, value_enum)]
    pub panels: Option<PanelsArg>,
    /// Data sets and how to run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Stem of the output files
    #[arg(long, default_value = "plane")]
    pub name: String,
    /// Evaluate a coarse grid, refine it where contours pass and interpolate the rest
    #[arg(long, conflicts_with_all = ["max_time", "tolerance"])]
    pub adaptive: bool,
}

/// `landscape line`.
#[derive(Debug, Args)]
pub struct LineArgs {
    /// Shared flags.
    #[command(flatten)]
    pub common: Common,
    /// Where the path begins: .onnx or .safetensors [default: the origin]
    #[arg(long, value_name = "CKPT")]
    pub a: Option<PathBuf>,
    /// Where it ends
    #[arg(long, value_name = "CKPT")]
    pub b: PathBuf,
    /// A checkpoint on the way; may be given several times
    #[arg(long, value_name = "CKPT")]
    pub through: Vec<PathBuf>,
    /// Points from each checkpoint to the next, both included
    #[arg(long, value_name = "N", default_value_t = 21)]
    pub steps: usize,
    /// Points (ends included) instead: 0 is --a, 1 the next checkpoint; it may reach beyond
    #[arg(
        long,
        value_name = "MIN:MAX:N",
        conflicts_with = "steps",
        allow_hyphen_values = true
    )]
    pub alpha: Option<String>,
    /// Panels of the figure
    #[arg(long, value_enum, default_value = "paper")]
    pub panels: PanelsArg,
    /// Data sets and how to run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Stem of the output files
    #[arg(long, default_value = "line")]
    pub name: String,
}

/// `landscape soup`.
#[derive(Debug, Args)]
pub struct SoupArgs {
    /// Shared flags.
    #[command(flatten)]
    pub common: Common,
    /// The checkpoints: columns `name,path`, then hyperparameters; paths are relative to the file
    #[arg(long, value_name = "FILE.csv")]
    pub models: Option<PathBuf>,
    /// Methods, joined by commas; `NAME:NUMBER` sets α, λ or t
    #[arg(long, value_name = "LIST")]
    pub methods: Option<String>,
    /// When a greedy soup takes a model
    #[arg(long, value_enum, default_value = "ge")]
    pub rule: RuleArg,
    /// Random orders of greedy-random
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub orders: u64,
    /// Write a method's model to a .safetensors or .onnx file; may be given several times
    #[arg(long, value_name = "METHOD=FILE")]
    pub save: Vec<String>,
    /// Write over files of --save that exist
    #[arg(long)]
    pub force: bool,
    /// How the table is printed
    #[arg(long, value_enum, default_value = "text")]
    pub table: TableArg,
    /// Data sets and how to run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Stem of the output files
    #[arg(long, default_value = "soup")]
    pub name: String,
    /// How soups are learned.
    #[command(flatten)]
    pub learn: LearnArgs,
}

/// When a greedy soup takes a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuleArg {
    /// When validation accuracy does not fall, as in the paper
    Ge,
    /// When it rises, as in the paper's released code
    Gt,
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableArg {
    /// For a terminal
    Text,
    /// For a README
    Markdown,
    /// For a paper
    Latex,
}

/// `landscape pairs`.
#[derive(Debug, Args)]
pub struct PairsArgs {
    /// Shared flags.
    #[command(flatten)]
    pub common: Common,
    /// The checkpoints: columns `name,path`, then hyperparameters; paths are relative to the file
    #[arg(long, value_name = "FILE.csv")]
    pub models: Option<PathBuf>,
    /// So many pairs, drawn by --seed, or those of a file with the columns `a,b` [default: all]
    #[arg(long, value_name = "N|FILE.csv")]
    pub pairs: Option<String>,
    /// Columns that colour the pairs by what differs, joined by commas [default: all]
    #[arg(long, value_name = "LIST")]
    pub hyperparameters: Option<String>,
    /// Angles in each tensor, too, as CSV and as a heatmap
    #[arg(long)]
    pub by_layer: bool,
    /// Soup against ensemble by section 4 of the paper, at α = ¼, ½, ¾; nine more models a pair
    #[arg(long)]
    pub theory: bool,
    /// Data sets and how to run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Stem of the output files
    #[arg(long, default_value = "pairs")]
    pub name: String,
}

/// `landscape spectrum`.
#[derive(Debug, Args)]
pub struct SpectrumArgs {
    /// Shared flags.
    #[command(flatten)]
    pub common: Common,
    /// Where: a checkpoint, or several for their mean, or for the mix of their weights (which sum to
    /// 1) [default: the origin]
    #[arg(long, value_name = "CKPT[:WEIGHT]")]
    pub at: Vec<String>,
    /// The data set whose mean loss it is [default: train, or else test, val, the first]
    #[arg(long, value_name = "NAME")]
    pub on: Option<String>,
    /// Largest eigenvalues
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Smallest eigenvalues
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub bottom: usize,
    /// Most Lanczos steps for both, a product with the Hessian each
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub steps: u64,
    /// Residual ‖Hv − λv‖ at which an eigenvalue has converged, as a part of it
    #[arg(long, value_name = "PART", default_value_t = 1e-3)]
    pub accuracy: f64,
    /// Products for the trace, 0 for none
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub trace: usize,
    /// Random vectors for the spectral density, 0 for none
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub probes: usize,
    /// Lanczos steps of each, a product each
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub probe_steps: u64,
    /// Compute in float64 (slower)
    #[arg(long)]
    pub double: bool,
    /// Data sets and how to run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Stem of the output files
    #[arg(long, default_value = "spectrum")]
    pub name: String,
}

/// Data sets, and how to evaluate them.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Data the checkpoints were trained on (.npz, .safetensors)
    #[arg(long, value_name = "PATH")]
    pub train: Option<PathBuf>,
    /// Held-out data that choices are made on
    #[arg(long, value_name = "PATH")]
    pub val: Option<PathBuf>,
    /// Held-out data that is only reported
    #[arg(long, value_name = "PATH")]
    pub test: Option<PathBuf>,
    /// Data from another distribution; may be given several times
    #[arg(long, value_name = "NAME=PATH")]
    pub shift: Vec<String>,
    /// Samples taken of each data set, 0 for all [default: 0]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Seed of the samples taken [default: 0]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Name of the output that holds the logits
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// Where to compute: cpu, cuda, cuda:N, cuda:N,M [default: cpu]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// What a GPU may round products of f32 to [default: full]
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArg>,
    /// Samples a run [default: measured, or the network's own]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Sessions at the same time [default: the number of cores, or measured]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Threads within a session [default: 1, or measured]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// How mixed weights get into the network [default: auto, the faster one]
    #[arg(long, value_enum)]
    pub binding: Option<BindingArg>,
    /// Where losses are computed from logits [default: host, on a GPU graph]
    #[arg(long, value_enum)]
    pub losses: Option<LossesArg>,
    /// Memory to take at most, about, such as 8G [default: half of what is free]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Begin anew, whatever an earlier run left
    #[arg(long)]
    pub fresh: bool,
    /// Stop after the last part of the data that fits, such as 10m, and write what there is
    #[arg(long, value_name = "TIME")]
    pub max_time: Option<String>,
    /// Stop when every standard error of the error is at most this, such as 0.2%
    #[arg(long, value_name = "PART")]
    pub tolerance: Option<String>,
    /// Folder for plots/ and notebooks-data/ [default: .]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The ONNX Runtime library, or its folder
    #[arg(long, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}

/// Precision of products on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// As float32 says
    Full,
    /// TF32: 10 bits, faster on recent GPUs
    Tf32,
}

/// How mixed weights get into the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BindingArg {
    /// Whichever is faster on this network
    Auto,
    /// A session a mix, which the runtime optimizes for its weights
    Baked,
    /// One session a worker; the graph mixes the weights
    InGraph,
    /// One session a worker; mixed weights are inputs of its graph
    Inputs,
}

/// Where losses are computed from logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LossesArg {
    /// By this program
    Host,
    /// By the network's graph, on its device, where the data stays, too
    Graph,
}

/// Which panels to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PanelsArg {
    /// Train loss, test error, mean shift error
    Paper,
    /// These, and one for each shift set
    All,
}

/// `landscape draw`.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// The CSV of a plane, a line, soups or pairs; its JSON stands beside it
    pub csv: PathBuf,
    /// Panels of the figure
    #[arg(long, value_enum, default_value = "paper")]
    pub panels: PanelsArg,
    /// Folder for the figures [default: plots beside the CSV's folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `landscape inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The origin (.onnx), then checkpoints
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// θ0 under the checkpoints' tensor names, to match and verify tensors by value
    #[arg(long, value_name = "FILE.safetensors")]
    pub origin_weights: Option<PathBuf>,
    /// Tensors to leave out on either side (`*` for anything)
    #[arg(long, value_name = "NAME")]
    pub ignore: Vec<String>,
}

/// `landscape doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The ONNX Runtime library, or its folder
    #[arg(long, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}
