//! Evaluating mixes with ONNX Runtime.
//!
//! The network is written once with its moving weights left out ([`crate::graph::skeleton`]). In
//! the *baked* binding each mix gets a session of its own, its weights handed over from memory as
//! external initializers, before the runtime optimizes, so that it folds, packs and lays out the
//! mixed weights as it would a file's. (`with_initializer` would come too late and give silently
//! wrong results.) In the *in-graph* binding the graph mixes the weights
//! ([`crate::graph::in_graph`]) and one session serves all mixes; with weights as *inputs* one
//! session does, too, and the runtime cannot pack them, which costs convolutions much and
//! transformers nothing. What no moving weight touches
//! is computed once for each chunk of data.

mod buffer;
mod frozen;
mod layout;
mod model;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use half::{bf16, f16};
use ort::ep;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, Tensor};
use prost::Message;
use sha2::{Digest, Sha256};

use self::buffer::Buffer;
use self::frozen::{Feature, Frozen};
pub use self::layout::{Binding, Device, Layout, Measured, Request, size};
use self::model::{Model, Part};
use super::interface::Interface;
use super::journal::Journal;
use super::metrics::Tally;
use super::runtime::Runtime;
use super::schedule::{Limits, Schedule, Work, ends};
use super::{Answers, Evaluator, Outlook, Watch};
use crate::checkpoint::tensor::Dtype;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::graph::in_graph;
use crate::graph::network::Network;
use crate::graph::skeleton::{self, Fed};
use crate::graph::split::Dependence;
use crate::result::score::{DatasetInfo, Score};
use crate::space::matching::Aligned;
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};
use crate::space::pool::Pool;

/// Where what is finished is kept.
#[derive(Debug, Clone)]
pub struct Keep {
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
    interface: Interface,
    datasets: &'a [Dataset],
    request: Request,
    stop: &'a AtomicBool,
    /// The model that weights are handed to: the whole network, or its moving part.
    baked: Vec<u8>,
    /// The same, mixing by itself.
    in_graph: Vec<u8>,
    /// The same, with the weights as inputs.
    open: Vec<u8>,
    frozen: Option<Frozen>,
    /// Parameters that are handed over, with their names in the graph.
    moving: Vec<(usize, String)>,
    files: Vec<Untouched<'a>>,
    keep: Option<Keep>,
    journal: Mutex<Option<Journal>>,
    start: Instant,
    /// Workers set up so far: they take the devices in turn.
    workers: AtomicUsize,
}

/// A model to be run as it is.
pub enum Untouched<'a> {
    /// A file.
    File(&'a Path),
    /// The bytes of an ONNX model.
    Bytes(Vec<u8>),
}

impl<'a> Engine<'a> {
    /// Writes the graphs and checks that the network takes the data and has a class for every
    /// label, by running θ0 on the first samples of each data set.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the network, its output is not [batch, classes], or a label is
    /// out of range.
    pub fn new(
        runtime: &'a Runtime,
        network: &Network<'_>,
        aligned: &'a Aligned,
        interface: Interface,
        datasets: &'a [Dataset],
        request: Request,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let parameters = aligned.pool.parameters.iter().enumerate();
        let moving = parameters.filter(|(_, parameter)| !parameter.frozen);
        let moving: Vec<(usize, String)> = moving
            .map(|(index, _)| (index, format!("landscape.{index}")))
            .collect();
        let fed: Vec<Fed> = moving
            .iter()
            .map(|(index, name)| fed(aligned, *index, name, None))
            .collect();
        let mut engine = Self {
            runtime,
            pool: &aligned.pool,
            interface,
            datasets,
            request,
            stop,
            baked: Vec::new(),
            in_graph: Vec::new(),
            open: Vec::new(),
            frozen: None,
            moving,
            files: Vec::new(),
            keep: None,
            journal: Mutex::new(None),
            start: Instant::now(),
            workers: AtomicUsize::new(0),
        };
        engine.check_device()?;
        let mut graph = skeleton::model(network, &fed);
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
        engine.baked = graph.encode_to_vec();
        let members = engine.pool.members.len();
        engine.open = in_graph::as_inputs(graph.clone(), &fed).encode_to_vec();
        engine.in_graph = in_graph::rewrite(graph, &fed, members).encode_to_vec();
        if engine.request.binding == Binding::InGraph && !engine.can_mix_in_graph() {
            return Err(Error::flag(
                "--binding",
                "in-graph needs a network whose weights are f32 or f64",
            ));
        }
        engine.check_labels(&network.model.path)?;
        Ok(engine)
    }

    /// Evaluates these files, too, ahead of the mixes.
    #[must_use]
    pub fn with_files(mut self, files: Vec<Untouched<'a>>) -> Self {
        self.files = files;
        self
    }

    /// Keeps what is finished, so that a run that was stopped goes on where it was.
    #[must_use]
    pub fn keeping(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Forgets what was kept: the results are written.
    pub fn forget(&self) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = journal.take() {
            journal.remove();
        }
    }

    /// Nodes of the network that are computed once for each chunk, and all its nodes.
    pub fn frozen_nodes(&self) -> Option<(usize, usize)> {
        self.frozen.as_ref().map(|frozen| frozen.nodes)
    }

    fn check_labels(&self, path: &Path) -> Result<()> {
        let layout = Layout {
            workers: 1,
            threads: self.request.threads.unwrap_or(1),
            batch: self.interface.fixed_batch.unwrap_or(8),
            binding: Binding::Baked,
            chunks: 1,
        };
        let mix = Mix::unit(0, self.pool.members.len());
        let mut worker = Worker::new(self, &layout);
        let model = worker.model(&mix)?;
        for (index, dataset) in self.datasets.iter().enumerate() {
            let rows = layout.batch.min(dataset.len());
            let part = self.part_of(index, 0..rows)?;
            let classes = model.run(self, Some(&mix), &part, (0, rows), |_, _| {})?;
            dataset
                .check_labels(classes)
                .map_err(|error| error.help(format!("{} is the network", path.display())))?;
        }
        Ok(())
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
            return Ok(builder);
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
        let built = self.builder(1, 0);
        built.map(|_| ()).map_err(|error| {
            Error::runtime("--device", format!("CUDA cannot be used: {error}")).help(
                "the message names what is missing: a driver, CUDA or cuDNN on the loader's path",
            )
        })
    }

    /// How the layouts that the request leaves open compare on this network.
    ///
    /// # Errors
    /// When the network cannot be run.
    pub fn compare(&self) -> Result<Vec<(Layout, Measured)>> {
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
        let inputs = (0..self.interface.inputs.len()).map(|k| {
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

    /// Bytes of all sessions: weights as handed over and as packed, or a copy a member.
    fn session_bytes(&self, layout: &Layout) -> u64 {
        let weights: usize = self
            .pool
            .parameters
            .iter()
            .map(|parameter| parameter.len() * parameter.dtype.size().unwrap_or(4))
            .sum();
        let copies = match layout.binding {
            Binding::InGraph => self.pool.members.len() + 1,
            Binding::Inputs => 1,
            _ => 2,
        };
        (weights * copies * layout.workers) as u64
    }

    /// Samples of a data set, by their places in its order, as the network takes them.
    fn inputs_of(&self, dataset: usize, places: Range<usize>) -> Part {
        let data = &self.datasets[dataset];
        let inputs = (0..self.interface.inputs.len()).map(|input| {
            let len = places.len() * data.sample_len(input);
            let mut buffer = Buffer::new(data.dtype(input), len);
            data.gather(input, places.clone(), buffer.all());
            buffer
        });
        let labels = data.order()[places.clone()].iter();
        Part {
            begin: places.start,
            // Negative ones are refused before any is used.
            labels: labels
                .map(|&sample| data.labels()[sample] as usize)
                .collect(),
            inputs: inputs.collect(),
            features: Vec::new(),
            dataset,
        }
    }

    /// The same with what the frozen part makes of them.
    fn part_of(&self, dataset: usize, places: Range<usize>) -> Result<Part> {
        let mut part = self.inputs_of(dataset, places);
        if let Some(frozen) = &self.frozen {
            let mut session = self.session_of(&frozen.prefix, self.request.threads.unwrap_or(1))?;
            frozen::fill(self, &mut session, &mut part)?;
        }
        Ok(part)
    }

    /// Says which run this is: inputs, settings and mixes, by content.
    fn key(&self, keep: &Keep, mixes: &[Mix]) -> String {
        let mut hash = Sha256::new();
        let request = &self.request;
        hash.update(&keep.identity);
        hash.update(self.runtime.version());
        hash.update(env!("CARGO_PKG_VERSION"));
        let Request {
            device,
            tf32,
            threads,
            batch,
            binding,
            ..
        } = request;
        hash.update(format!(
            "{device:?} {tf32} {threads:?} {batch:?} {binding:?}"
        ));
        hash.update(&self.interface.output_name);
        for mix in mixes {
            for coefficient in mix.coefficients() {
                hash.update(coefficient.to_le_bytes());
            }
        }
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Opens the journal and takes its layout, or chooses one; estimates the seconds left.
    fn lay_out(&self, mixes: &[Mix], models: usize) -> Result<(Layout, f64)> {
        let mut slot = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(keep)) = (&*slot, &self.keep) {
            let key = self.key(keep, mixes);
            let sets = self.datasets.len();
            *slot = Some(Journal::open(
                &keep.out, &keep.name, &key, sets, keep.fresh,
            )?);
        }
        let known = slot.as_ref().and_then(Journal::layout);
        let (mut layout, seconds) = match known.and_then(Layout::parse) {
            Some(layout) => {
                let part = self.part_of(0, 0..self.datasets[0].len().min(layout.batch))?;
                let budget = std::time::Duration::from_millis(30);
                let measured = layout::measure(self, &part, &layout, budget)?;
                (layout, measured.seconds(models, self.samples(), &layout))
            }
            None => layout::choose(self, models)?,
        };
        if let Some(workers) = self.request.workers {
            layout.workers = workers;
        }
        if let Some(journal) = &*slot {
            journal.begin(&layout.to_string())?;
        }
        Ok((layout, seconds))
    }

    fn answers(&self, tallies: &[Vec<Tally>]) -> Answers {
        let infos = self
            .datasets
            .iter()
            .enumerate()
            .map(|(set, data)| DatasetInfo {
                samples: tallies.first().map_or(0, |sets| sets[set].samples()),
                ..data.info()
            });
        let mut scores: Vec<Vec<Score>> = tallies
            .iter()
            .map(|sets| sets.iter().map(Tally::score).collect())
            .collect();
        let mixes = scores.split_off(self.files.len());
        Answers {
            datasets: infos.collect(),
            scores: mixes,
            files: scores,
        }
    }
}

impl Evaluator for Engine<'_> {
    fn evaluate(&self, mixes: &[Mix], watch: &dyn Watch) -> Result<Answers> {
        let models = self.files.len() + mixes.len();
        let (layout, seconds) = self.lay_out(mixes, models)?;
        let sizes: Vec<usize> = self.datasets.iter().map(Dataset::len).collect();
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let schedule = Schedule {
            models,
            ends: ends(&sizes, layout.chunks, layout.batch),
            workers: layout.workers,
            limits: Limits {
                max_time: self.request.max_time,
                tolerance: self.request.tolerance,
            },
            start: self.start,
        };
        let finished = journal.as_ref().map(|journal| journal.finished().values());
        let done: usize = finished
            .into_iter()
            .flatten()
            .flatten()
            .map(Tally::samples)
            .sum();
        let all = models * self.samples();
        watch.begins(&Outlook {
            models,
            samples: self.samples(),
            done,
            chunks: schedule.ends.len(),
            seconds: seconds * (all - done.min(all)) as f64 / all.max(1) as f64,
            memory: self.session_bytes(&layout)
                + self.data_bytes() / schedule.ends.len().max(1) as u64,
            layout: layout.to_string(),
        });
        let run = Run {
            engine: self,
            mixes,
            layout,
            watch,
        };
        let tallies = schedule.run(&run, journal.as_ref(), |tallies| {
            watch.sharpened(&self.answers(tallies))
        })?;
        Ok(self.answers(&tallies))
    }
}

/// One evaluation, as the schedule sees it.
struct Run<'r> {
    engine: &'r Engine<'r>,
    mixes: &'r [Mix],
    layout: Layout,
    watch: &'r dyn Watch,
}

impl<'r> Work for Run<'r> {
    type Chunk = Vec<Part>;
    type Worker = Worker<'r>;

    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Vec<Part>> {
        let ranges = ranges.iter().cloned().enumerate();
        ranges
            .map(|(dataset, range)| self.engine.part_of(dataset, range))
            .collect()
    }

    fn worker(&self) -> Result<Worker<'r>> {
        Ok(Worker::new(self.engine, &self.layout))
    }

    fn evaluate(
        &self,
        worker: &mut Worker<'r>,
        index: usize,
        chunk: &Vec<Part>,
        tallies: &mut [Tally],
    ) -> Result<()> {
        let engine = self.engine;
        engine.check_stop()?;
        let mix = index
            .checked_sub(engine.files.len())
            .map(|k| &self.mixes[k]);
        let mut own;
        let model = match mix {
            Some(mix) => worker.model(mix)?,
            None => {
                own = worker.file(&engine.files[index])?;
                &mut own
            }
        };
        for (part, tally) in chunk.iter().zip(tallies) {
            let end = part.begin + part.labels.len();
            let begin = part.begin.max(tally.samples()).min(end);
            model.score(engine, mix, part, begin..end, self.layout.batch, tally)?;
            self.watch.progress(0, end - begin);
        }
        self.watch.progress(1, 0);
        Ok(())
    }
}

/// One worker: weight buffers that each session copies from, or a session for all mixes.
struct Worker<'e> {
    engine: &'e Engine<'e>,
    layout: Layout,
    number: usize,
    weights: Vec<Arc<DynValue>>,
    scratch: Scratch,
    model: Option<Model>,
}

impl<'e> Worker<'e> {
    fn new(engine: &'e Engine<'e>, layout: &Layout) -> Self {
        Self {
            engine,
            layout: *layout,
            number: engine.workers.fetch_add(1, Ordering::Relaxed),
            weights: Vec::new(),
            scratch: Scratch::default(),
            model: None,
        }
    }

    /// The model of a mix.
    fn model(&mut self, mix: &Mix) -> Result<&mut Model> {
        let built = match (self.layout.binding, &self.model) {
            (Binding::InGraph | Binding::Inputs, Some(_)) => Ok(()),
            (binding, _) => self.build(binding, mix),
        };
        built.map_err(|error| failed("building the session", &error))?;
        if self.layout.binding == Binding::Inputs {
            let filled = self.fill_inputs(mix);
            filled.map_err(|error| failed("mixing weights", &error))?;
        }
        self.model
            .as_mut()
            .ok_or_else(|| Error::runtime("ONNX Runtime", "no session"))
    }

    fn build(&mut self, binding: Binding, mix: &Mix) -> ort::Result<()> {
        // The old session's memory is given back before the new one takes as much.
        self.model = None;
        let session = match binding {
            Binding::InGraph => self.mixing_session()?,
            Binding::Inputs => self.open_session()?,
            Binding::Baked | Binding::Auto => self.baked_session(mix)?,
        };
        self.model = Some(Model::new(self.engine, session));
        Ok(())
    }

    fn open_session(&self) -> ort::Result<Session> {
        let mut builder = self.engine.builder(self.layout.threads, self.number)?;
        builder.commit_from_memory(&self.engine.open)
    }

    /// Writes a mix's weights where the session reads them.
    fn fill_inputs(&mut self, mix: &Mix) -> ort::Result<()> {
        let Some(model) = &mut self.model else {
            return Ok(());
        };
        let engine = self.engine;
        for (at, (index, _)) in engine.moving.iter().enumerate() {
            if model.weights.len() == at {
                let parameter = &engine.pool.parameters[*index];
                model
                    .weights
                    .push(empty(parameter.dtype, &parameter.shape)?);
            }
            fill(
                engine.pool,
                *index,
                mix,
                &mut model.weights[at],
                &mut self.scratch,
            )?;
        }
        Ok(())
    }

    /// A checkpoint's own file, run as it is.
    fn file(&self, file: &Untouched<'_>) -> Result<Model> {
        let session = self
            .engine
            .builder(self.layout.threads, self.number)
            .and_then(|mut builder| match file {
                Untouched::File(path) => builder.commit_from_file(path),
                Untouched::Bytes(bytes) => builder.commit_from_memory(bytes),
            });
        let session =
            session.map_err(|error| failed("loading the untouched checkpoint", &error))?;
        Ok(Model::of_file(self.engine, session))
    }

    fn baked_session(&mut self, mix: &Mix) -> ort::Result<Session> {
        let engine = self.engine;
        let mut builder = engine.builder(self.layout.threads, self.number)?;
        for (at, (index, name)) in engine.moving.iter().enumerate() {
            let parameter = &engine.pool.parameters[*index];
            if self.weights.len() == at {
                self.weights
                    .push(Arc::new(empty(parameter.dtype, &parameter.shape)?));
            }
            let weight = &mut self.weights[at];
            if Arc::get_mut(weight).is_none() {
                *weight = Arc::new(empty(parameter.dtype, &parameter.shape)?);
            }
            if let Some(value) = Arc::get_mut(weight) {
                fill(engine.pool, *index, mix, value, &mut self.scratch)?;
            }
            builder = builder.with_external_initializer(name, Arc::clone(weight))?;
        }
        builder.commit_from_memory(&engine.baked)
    }

    fn mixing_session(&mut self) -> ort::Result<Session> {
        let engine = self.engine;
        let mut builder = engine.builder(self.layout.threads, self.number)?;
        let members = engine.pool.members.len();
        for (index, name) in &engine.moving {
            let parameter = &engine.pool.parameters[*index];
            for member in 0..members {
                let mix = match member {
                    0 => Mix::unit(0, members),
                    _ => Mix::delta(member, members),
                };
                let mut value = empty(parameter.dtype, &parameter.shape)?;
                fill(engine.pool, *index, &mix, &mut value, &mut self.scratch)?;
                let part = in_graph::part(name, member);
                builder = builder.with_external_initializer(&part, Arc::new(value))?;
            }
        }
        builder.commit_from_memory(&engine.in_graph)
    }
}

/// The origin's network with one member's tensors embedded, as a file would hold them.
pub fn embedded(network: &Network<'_>, aligned: &Aligned, member: usize) -> Vec<u8> {
    let mix = Mix::unit(member, aligned.pool.members.len());
    let fed: Vec<Fed> = (0..aligned.pool.parameters.len())
        .map(|index| {
            let elements = elements(&aligned.pool, index, &mix);
            let name = format!("landscape.{index}");
            fed(aligned, index, &name, Some(elements))
        })
        .collect();
    skeleton::model(network, &fed).encode_to_vec()
}

/// How many of the network's nodes depend on no tensor that differs between the members, and how
/// many it has between inputs and outputs.
pub fn frozen_nodes(network: &Network<'_>, aligned: &Aligned) -> (usize, usize) {
    let parameters = aligned.pool.parameters.iter().enumerate();
    let moving = parameters.filter(|(_, parameter)| !parameter.frozen);
    let fed: Vec<Fed> = moving
        .map(|(index, _)| fed(aligned, index, &format!("landscape.{index}"), None))
        .collect();
    let names = fed.iter().map(|fed| fed.name.clone()).collect();
    let graph = skeleton::model(network, &fed).graph.unwrap_or_default();
    let inputs: Vec<String> = network.inputs().into_iter().map(String::from).collect();
    Dependence::of(&graph, &names, &inputs).frozen_nodes()
}

fn fed(aligned: &Aligned, index: usize, name: &str, elements: Option<Vec<u8>>) -> Fed {
    let parameter = &aligned.pool.parameters[index];
    Fed {
        name: name.to_string(),
        dtype: parameter.dtype,
        shape: parameter.shape.clone(),
        places: aligned.places[index].clone(),
        elements,
    }
}

/// A mixed parameter as little-endian bytes of the graph's type.
fn elements(pool: &Pool, index: usize, mix: &Mix) -> Vec<u8> {
    let len = pool.parameters[index].len();
    let mut scratch = Scratch::default();
    macro_rules! bytes {
        ($variant:ident, $zero:expr) => {{
            let mut out = vec![$zero; len];
            mix_into(pool, index, mix, MixOut::$variant(&mut out), &mut scratch);
            out.iter().flat_map(|x| x.to_le_bytes()).collect()
        }};
    }
    match pool.parameters[index].dtype {
        Dtype::F64 => bytes!(F64, 0.0_f64),
        Dtype::F16 => bytes!(F16, f16::ZERO),
        Dtype::Bf16 => bytes!(Bf16, bf16::ZERO),
        _ => bytes!(F32, 0.0_f32),
    }
}

/// Writes a mixed parameter into a tensor of the graph's type.
fn fill(
    pool: &Pool,
    index: usize,
    mix: &Mix,
    value: &mut DynValue,
    scratch: &mut Scratch,
) -> ort::Result<()> {
    let out = match pool.parameters[index].dtype {
        Dtype::F64 => MixOut::F64(value.try_extract_tensor_mut::<f64>()?.1),
        Dtype::F16 => MixOut::F16(value.try_extract_tensor_mut::<f16>()?.1),
        Dtype::Bf16 => MixOut::Bf16(value.try_extract_tensor_mut::<bf16>()?.1),
        _ => MixOut::F32(value.try_extract_tensor_mut::<f32>()?.1),
    };
    mix_into(pool, index, mix, out, scratch);
    Ok(())
}

fn empty(dtype: Dtype, shape: &[usize]) -> ort::Result<DynValue> {
    let (shape, len) = (shape.to_vec(), shape.iter().product());
    Ok(match dtype {
        Dtype::F64 => Tensor::from_array((shape, vec![0.0_f64; len]))?.into_dyn(),
        Dtype::F16 => Tensor::from_array((shape, vec![f16::ZERO; len]))?.into_dyn(),
        Dtype::Bf16 => Tensor::from_array((shape, vec![bf16::ZERO; len]))?.into_dyn(),
        _ => Tensor::from_array((shape, vec![0.0_f32; len]))?.into_dyn(),
    })
}

fn failed(step: &str, error: &ort::Error) -> Error {
    Error::runtime(format!("ONNX Runtime, {step}"), error)
}
