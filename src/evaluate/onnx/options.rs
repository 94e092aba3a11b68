//! The options of an evaluation: where to compute, how, and for how long. Plain values, as the
//! command line and the configuration give them.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use super::binding::Binding;
use crate::evaluate::outcome_file;
use crate::graph::apart;

/// How mixed weights enter the network: the value of `--binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindingChoice {
    /// Whichever is fastest for this network
    #[default]
    Auto,
    /// One session per mix, which ONNX Runtime optimizes for its weights
    Baked,
    /// One session per worker; its graph mixes the weights
    InGraph,
    /// One session per worker; mixed weights are inputs of its graph
    Inputs,
}

impl BindingChoice {
    /// The requested binding; `None` for `auto`.
    pub fn fixed(self) -> Option<Binding> {
        match self {
            Self::Auto => None,
            Self::Baked => Some(Binding::Baked),
            Self::InGraph => Some(Binding::InGraph),
            Self::Inputs => Some(Binding::Inputs),
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.fixed().map_or("auto", Binding::name)
    }
}

/// Where sessions run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// NVIDIA GPUs by number. Workers are assigned to them round-robin, also for gradients and
    /// Hessian-vector products. The frozen part of a chunk is computed on the first.
    Cuda(Vec<i32>),
}

impl Device {
    /// Parses `cpu`, `cuda`, `cuda:1` or `cuda:0,1`.
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

    /// The number of devices.
    pub fn count(&self) -> usize {
        match self {
            Self::Cpu => 1,
            Self::Cuda(numbers) => numbers.len(),
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

/// Formats a device as on the command line.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
                write!(f, "cuda:{}", numbers.join(","))
            }
        }
    }
}

/// Where losses are computed from logits, and where the data stays between models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Losses {
    /// In this program, on the processor
    #[default]
    Host,
    /// In the network's graph, on its device, where the data stays, too
    Graph,
}

impl Losses {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Graph => "graph",
        }
    }
}

/// How to run an evaluation. A measurement chooses the values that are `None`.
#[derive(Debug, Clone)]
pub struct EvaluationOptions {
    /// Where to compute.
    pub device: Device,
    /// Whether a GPU may round products to TF32 (10 bits).
    pub tf32: bool,
    /// Number of sessions that run in parallel.
    pub workers: Option<usize>,
    /// Threads per session.
    pub threads: Option<usize>,
    /// Batch size.
    pub batch: Option<usize>,
    /// Where losses are computed from logits.
    pub losses: Losses,
    /// How weights enter the network.
    pub binding: BindingChoice,
    /// Approximate limit of memory, in bytes.
    pub memory: Option<u64>,
    /// Most bytes that the outcomes of every sample may take on disk; beyond it, those of some mixes
    /// are not kept.
    pub disk: u64,
    /// Time limit for the whole run.
    pub max_time: Option<Duration>,
    /// Target: the largest acceptable standard error of an error rate.
    pub tolerance: Option<f64>,
    /// Constants of more bytes than this are handed to ONNX Runtime beside the graph. Values do not
    /// depend on it.
    pub inside: usize,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            device: Device::default(),
            tf32: false,
            workers: None,
            threads: None,
            batch: None,
            losses: Losses::default(),
            binding: BindingChoice::default(),
            memory: None,
            disk: outcome_file::BUDGET,
            max_time: None,
            tolerance: None,
            inside: apart::INSIDE,
        }
    }
}

impl EvaluationOptions {
    /// The settings that affect the bits of a value, by their names on the command line. The text
    /// is part of a journal's key, so it must not change when names in the source do, as the output
    /// of `Debug` would.
    pub fn identity(&self) -> String {
        let Self {
            device,
            tf32,
            threads,
            batch,
            losses,
            binding,
            workers: _,
            memory: _,
            disk: _,
            max_time: _,
            tolerance: _,
            inside: _,
        } = self;
        let number =
            |asked: &Option<usize>| asked.map_or_else(|| "auto".to_string(), |n| n.to_string());
        format!(
            "device={device} precision={} threads={} batch={} losses={} binding={}",
            if *tf32 { "tf32" } else { "full" },
            number(threads),
            number(batch),
            losses.name(),
            binding.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_known_by_the_names_of_the_command_line() {
        assert_eq!(
            EvaluationOptions::default().identity(),
            "device=cpu precision=full threads=auto batch=auto losses=host binding=auto"
        );
        let options = EvaluationOptions {
            device: Device::Cuda(vec![0, 3]),
            tf32: true,
            workers: Some(5),
            threads: Some(2),
            batch: Some(32),
            losses: Losses::Graph,
            binding: BindingChoice::InGraph,
            ..EvaluationOptions::default()
        };
        assert_eq!(
            options.identity(),
            "device=cuda:0,3 precision=tf32 threads=2 batch=32 losses=graph binding=in-graph"
        );
    }

    #[test]
    fn devices_are_read() {
        assert_eq!(Device::parse("cpu"), Some(Device::Cpu));
        assert_eq!(Device::parse("cuda"), Some(Device::Cuda(vec![0])));
        assert_eq!(Device::parse("cuda:0,3"), Some(Device::Cuda(vec![0, 3])));
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0"] {
            assert_eq!(Device::parse(text), None, "{text}");
        }
    }
}
