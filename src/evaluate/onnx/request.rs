//! What was asked for: where to compute, how, and for how long.

use std::time::Duration;

/// How mixed weights get into the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// Whichever is faster.
    #[default]
    Auto,
    /// A session a mix, its weights handed over before ONNX Runtime optimizes.
    Baked,
    /// One session a worker; the graph mixes the weights.
    InGraph,
    /// One session a worker; mixed weights are inputs of its graph.
    Inputs,
}

impl Binding {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Baked => "baked",
            Self::InGraph => "in-graph",
            Self::Inputs => "inputs",
        }
    }

    /// The binding of a name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Auto, Self::Baked, Self::InGraph, Self::Inputs];
        all.into_iter().find(|binding| binding.name() == name)
    }
}

/// Where sessions run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// NVIDIA GPUs by their numbers; workers take them in turn.
    Cuda(Vec<i32>),
}

impl Device {
    /// `cpu`, `cuda`, `cuda:1`, `cuda:0,1`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Some(Self::Cpu),
            None if text == "cuda" => Some(Self::Cuda(vec![0])),
            Some(("cuda", numbers)) => {
                let numbers = numbers.split(',').map(|n| n.trim().parse::<u16>());
                let numbers = numbers.map(|n| n.map(i32::from));
                numbers
                    .collect::<std::result::Result<_, _>>()
                    .ok()
                    .map(Self::Cuda)
            }
            _ => None,
        }
    }

    /// The execution provider's name.
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Cuda(_) => "CUDA",
        }
    }
}

/// Where losses are computed from logits, and where the data waits for the next model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Losses {
    /// By this program, in the memory of the machine.
    #[default]
    Host,
    /// By the graph; the data stays in the device's memory, too.
    Graph,
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Where to compute.
    pub device: Device,
    /// Whether a GPU may round products to TF32 (10 bits).
    pub tf32: bool,
    /// Sessions at the same time.
    pub workers: Option<usize>,
    /// Threads within each.
    pub threads: Option<usize>,
    /// Samples a run.
    pub batch: Option<usize>,
    /// Where losses are computed from logits.
    pub losses: Losses,
    /// How weights are bound.
    pub binding: Binding,
    /// Bytes of memory to take at most, about.
    pub memory: Option<u64>,
    /// Time that the whole run may take.
    pub max_time: Option<Duration>,
    /// Largest standard error wanted of an error.
    pub tolerance: Option<f64>,
}
