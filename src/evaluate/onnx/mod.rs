//! Evaluating mixes with ONNX Runtime.
//!
//! The network is written once with its moving weights left out ([`crate::graph::skeleton`]). In
//! the *baked* binding each mix gets a session of its own, its weights handed over from memory as
//! external initializers, before the runtime optimizes, so that it folds, packs and lays out the
//! mixed weights as it would a file's. (`with_initializer` would come too late and give silently
//! wrong results.) In the *in-graph* binding the graph mixes the weights
//! ([`crate::graph::in_graph`]) and one session serves all mixes; with weights as *inputs* one
//! session does, too, and the runtime cannot pack them, which costs convolutions much and
//! transformers nothing. What no moving weight touches is computed once for each chunk of data.

mod buffer;
mod frozen;
pub mod gradient;
mod graphs;
mod layout;
mod logits;
mod model;
mod options;
mod origin_check;
mod run;
mod shard;
mod worker;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use ort::ep;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use sha2::{Digest, Sha256};

use self::frozen::{Feature, Frozen};
use self::graphs::Graphs;
pub use self::graphs::{check_gradient, frozen_nodes};
pub use self::layout::{Layout, Timing};
pub use self::options::{Binding, Device, EvaluationOptions, Losses};
pub use self::run::Counts;
use self::run::Held;
use self::shard::Shard;
use super::journal::Journal;
use super::runtime::Runtime;
use super::signature::Signature;
use crate::base::hash::hex;
use crate::checkpoint::tensor::Dtype;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::graph::cast_like;
use crate::graph::network::Network;
use crate::graph::skeleton::{self, WeightSlot};
use crate::space::matching::Aligned;
use crate::space::pool::Pool;

/// Where what is finished is kept.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The output folder.
    pub out: PathBuf,
    /// Stem of the output files.
    pub name: String,
    /// Whether to begin anew.
    pub fresh: bool,
    /// Says which inputs and settings these are, by their content.
    pub identity: String,
}

/// Evaluates mixes of a pool with ONNX Runtime.
pub struct Engine<'a> {
    runtime: &'a Runtime,
    pool: &'a Pool,
    signature: Signature,
    datasets: &'a [Dataset],
    request: EvaluationOptions,
    stop: &'a AtomicBool,
    /// The model that weights are handed to: the whole network, or its moving part.
    graphs: Graphs,
    frozen: Option<Frozen>,
    /// Parameters that are handed over, with their names in the graph.
    moving: Vec<(usize, String)>,
    files: Vec<OriginalModel<'a>>,
    journal: Journal,
    chosen: OnceLock<(Layout, Timing)>,
    /// The layout of the first evaluation, in words.
    layout: OnceLock<String>,
    start: Instant,
    /// Logits a sample.
    classes: usize,
    /// Nanoseconds that the frozen part takes for a sample, as it was last seen.
    prefix_nanos: AtomicU64,
    /// Workers set up so far: they take the devices in turn.
    workers: AtomicUsize,
    counts: Mutex<Counts>,
    held: Mutex<Option<Held>>,
    warnings: Vec<String>,
}

/// A model to be run as it is.
pub enum OriginalModel<'a> {
    /// A file.
    File(&'a Path),
    /// An ONNX model that is written when its turn comes: it may be large.
    Generated(Box<dyn Fn() -> Result<Vec<u8>> + Sync + 'a>),
}

impl<'a> Engine<'a> {
    /// Writes the graphs and checks that the network takes the data and has a class for every
    /// label, by running θ0 on the first samples of each data set.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the network, its output is not [batch, classes], is one column or
    /// probabilities, or depends on the rest of the batch, or a label is out of range.
    pub fn new(
        runtime: &'a Runtime,
        network: &Network<'_>,
        aligned: &'a Aligned,
        signature: Signature,
        datasets: &'a [Dataset],
        request: EvaluationOptions,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let parameters = aligned.pool.parameters.iter().enumerate();
        let moving = parameters.filter(|(_, parameter)| !parameter.frozen);
        let moving: Vec<(usize, String)> = moving
            .map(|(index, _)| (index, format!("landscape.{index}")))
            .collect();
        let fed: Vec<WeightSlot> = moving
            .iter()
            .map(|(index, name)| aligned.weight_slot(*index, name, None))
            .collect();
        let mut engine = Self {
            runtime,
            pool: &aligned.pool,
            signature,
            datasets,
            request,
            stop,
            graphs: Graphs::new(Default::default(), Vec::new(), 0),
            frozen: None,
            moving,
            files: Vec::new(),
            journal: Journal::default(),
            chosen: OnceLock::new(),
            layout: OnceLock::new(),
            start: Instant::now(),
            classes: 0,
            prefix_nanos: AtomicU64::new(0),
            workers: AtomicUsize::new(0),
            counts: Mutex::default(),
            held: Mutex::default(),
            warnings: datasets
                .iter()
                .flat_map(Dataset::warnings)
                .cloned()
                .collect(),
        };
        engine.check_device()?;
        let doubts = origin_check::check_graph(network, &engine.signature.output_name)?;
        engine.warnings.extend(doubts);
        let mut graph = cast_like::resolved(skeleton::model(network, &fed));
        let names: HashSet<String> = engine.moving.iter().map(|(_, name)| name.clone()).collect();
        if let Some((frozen, suffix)) = frozen::split(&engine, &graph, &names)? {
            engine.frozen = Some(frozen);
            graph = suffix;
        }
        // What no output depends on is cut away with the frozen part.
        let kept = graph.graph.iter().flat_map(|graph| &graph.initializer);
        let kept: HashSet<&str> = kept.map(|tensor| tensor.name()).collect();
        engine
            .moving
            .retain(|(_, name)| kept.contains(name.as_str()));
        if engine.request.binding == Binding::InGraph && !engine.can_mix_in_graph() {
            return Err(Error::flag(
                "--binding",
                "in-graph needs a network whose weights are f32 or f64",
            ));
        }
        let members = engine.pool.members.len();
        engine.graphs = Graphs::new(graph, fed, members);
        let probed = origin_check::check_outputs(&engine, &network.model.path)?;
        engine.classes = probed.classes;
        engine.warnings.extend(probed.warnings);
        if engine.request.losses == Losses::Graph {
            engine.graphs = engine.graphs.with_losses(&engine.signature.output_name);
        }
        Ok(engine)
    }

    /// Evaluates these files, too, ahead of the mixes.
    #[must_use]
    pub fn with_files(mut self, files: Vec<OriginalModel<'a>>) -> Self {
        self.files = files;
        self
    }

    /// Keeps what is finished, so that a run that was stopped goes on where it was.
    ///
    /// # Errors
    /// When another process writes the same output, or nothing can be written there.
    pub fn keeping(mut self, keep: &JournalOptions) -> Result<Self> {
        let (key, sets) = (self.key(keep), self.datasets.len());
        self.journal = Journal::open(&keep.out, &keep.name, &key, sets, keep.fresh)?;
        Ok(self)
    }

    /// The models that mixes are of, θ0 among them.
    pub fn members(&self) -> usize {
        self.pool.members.len()
    }

    /// How the work is laid out, in words, once something was evaluated.
    pub fn layout(&self) -> Option<String> {
        self.layout.get().cloned()
    }

    /// Ends the engine and hands over what it finished, to be kept until the results are written.
    pub fn into_journal(self) -> Journal {
        self.journal
    }

    /// Forgets what was kept: the results are written.
    pub fn forget(&self) {
        self.journal.remove();
    }

    /// Nodes of the network that are computed once for each chunk, and all its nodes.
    pub fn frozen_nodes(&self) -> Option<(usize, usize)> {
        self.frozen.as_ref().map(|frozen| frozen.nodes)
    }

    /// What the reader of any result should know: how the data is taken, and what a trial of θ0
    /// on a few samples found.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Classes of the network, and how many of them each data set's labels name.
    pub fn coverage(&self) -> (usize, Vec<usize>) {
        let named = |data: &Dataset| data.labels().iter().collect::<HashSet<_>>().len();
        (self.classes, self.datasets.iter().map(named).collect())
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        Ok(())
    }

    fn builder(&self, threads: usize, device: usize) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(self.runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?;
        let Device::Cuda(devices) = &self.request.device else {
            // A plan of the activations' places takes memory beside them and saves no time here.
            return Ok(builder.with_memory_pattern(false)?);
        };
        let cuda = ep::CUDA::default()
            .with_device_id(devices[device % devices.len()])
            .with_tf32(self.request.tf32);
        // Without this it would compute on the processor and say nothing.
        Ok(builder.with_execution_providers([cuda.build().error_on_failure()])?)
    }

    /// Whether ONNX Runtime can use the device that was asked for.
    fn check_device(&self) -> Result<()> {
        if self.request.device == Device::Cpu {
            return Ok(());
        }
        let providers = self.runtime.providers();
        if !providers.iter().any(|name| name == "CUDAExecutionProvider") {
            return Err(Error::flag(
                "--device",
                format!(
                    "{} has no CUDA provider; it has {}",
                    self.runtime.library().display(),
                    providers.join(", ")
                ),
            )
            .help(
                "pip install onnxruntime-gpu in the active environment, or name its library with \
                 --onnxruntime PATH",
            ));
        }
        let Device::Cuda(devices) = &self.request.device else {
            return Ok(());
        };
        let mut built = (0..devices.len()).map(|device| self.builder(1, device).map(|_| ()));
        built.try_for_each(|built| built).map_err(|error| {
            Error::runtime("--device", format!("CUDA cannot be used: {error}")).help(
                "the message names what is missing: a driver, CUDA or cuDNN on the loader's path",
            )
        })
    }

    /// How the layouts that the request leaves open compare on this network.
    ///
    /// # Errors
    /// When the network cannot be run.
    pub fn compare(&self) -> Result<Vec<(Layout, Timing)>> {
        layout::compare(self)
    }

    /// A session over a whole model.
    fn session_of(&self, bytes: &[u8], threads: usize) -> Result<Session> {
        let session = self
            .builder(threads, 0)
            .and_then(|mut builder| builder.commit_from_memory(bytes));
        session.map_err(|error| failed("building the session", &error))
    }

    fn features(&self) -> &[Feature] {
        self.frozen.as_ref().map_or(&[], |frozen| &frozen.features)
    }

    /// Bytes that may be taken.
    pub fn memory(&self) -> u64 {
        layout::budget(self)
    }

    fn can_mix_in_graph(&self) -> bool {
        let mut dtypes = self.moving.iter();
        dtypes
            .all(|(index, _)| matches!(self.pool.parameters[*index].dtype, Dtype::F32 | Dtype::F64))
    }

    fn samples(&self) -> usize {
        self.datasets.iter().map(Dataset::len).sum()
    }

    /// Bytes of one sample in the largest data set's layout, features included.
    fn sample_bytes(&self) -> u64 {
        let inputs = (0..self.signature.inputs.len()).map(|k| {
            let data = &self.datasets[0];
            data.sample_len(k) * data.dtype(k).size()
        });
        let features = self
            .features()
            .iter()
            .map(|feature| feature.shape.iter().product::<usize>() * feature.dtype.size());
        inputs.chain(features).sum::<usize>() as u64 + 8
    }

    fn data_bytes(&self) -> u64 {
        self.sample_bytes() * self.samples() as u64
    }

    /// Bytes of all sessions: weights as handed over, as packed, and once more while a session is
    /// built; or a copy a member.
    fn session_bytes(&self, layout: &Layout) -> u64 {
        let weights: usize = self
            .pool
            .parameters
            .iter()
            .map(|parameter| parameter.len() * parameter.dtype.size().unwrap_or(4))
            .sum();
        let copies = match layout.binding {
            Binding::InGraph => self.pool.members.len() + 2,
            _ => 3,
        };
        (weights * copies * layout.workers) as u64
    }

    /// Samples of a data set, by their places in its order, with what the frozen part makes of
    /// them.
    fn part_of(&self, dataset: usize, places: Range<usize>, batch: usize) -> Result<Shard> {
        let mut part = Shard::new(self, dataset, places);
        if let Some(frozen) = self.frozen.as_ref().filter(|_| !part.labels.is_empty()) {
            // No other session runs meanwhile.
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = self.request.threads.unwrap_or(cores);
            let mut session = self.session_of(&frozen.prefix, threads)?;
            let start = Instant::now();
            frozen::fill(self, &mut session, &mut part, batch)?;
            let nanos = start.elapsed().as_nanos() / part.labels.len().max(1) as u128;
            self.prefix_nanos.store(nanos as u64, Ordering::Relaxed);
        }
        Ok(part)
    }

    /// Seconds for what is run once: the frozen part, and the untouched files through it.
    fn once_seconds(&self, layout: &Layout) -> f64 {
        let nanos = self.prefix_nanos.load(Ordering::Relaxed) as f64;
        let files = self.files.len() as f64 / layout.workers as f64;
        1e-9 * nanos * self.samples() as f64 * (1.0 + files)
    }

    /// Says which runs may share what is finished: inputs and settings, by content.
    fn key(&self, keep: &JournalOptions) -> String {
        let mut hash = Sha256::new();
        hash.update(&keep.identity);
        hash.update(self.runtime.version());
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(self.request.identity());
        hash.update(&self.signature.output_name);
        hex(&hash.finalize())
    }
}

fn failed(step: &str, error: &ort::Error) -> Error {
    Error::runtime(format!("ONNX Runtime, {step}"), error)
}
