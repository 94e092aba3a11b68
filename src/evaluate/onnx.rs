//! The baked engine: one ONNX Runtime session a mix.
//!
//! The network is written once with its moving weights left out ([`crate::graph::skeleton`]);
//! each session gets a mix's weights from memory as external initializers, before the runtime
//! optimizes, so that it folds, packs and lays out the mixed weights as it would a file's.
//! (`with_initializer` would come too late and give silently wrong results.)

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use half::{bf16, f16};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorRef};

use super::interface::Interface;
use super::metrics::Tally;
use super::runtime::Runtime;
use super::{Evaluator, Progress};
use crate::checkpoint::tensor::Dtype;
use crate::data::{BatchMut, Dataset, InputDtype};
use crate::error::{Error, Result};
use crate::graph::network::Network;
use crate::graph::skeleton::{self, Fed};
use crate::result::score::{DatasetInfo, Score};
use crate::space::matching::Aligned;
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};
use crate::space::pool::Pool;

/// How the work is laid out on the machine.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Sessions that run at the same time.
    pub workers: usize,
    /// Threads within each session.
    pub threads: usize,
    /// Samples a run.
    pub batch: usize,
}

/// Evaluates mixes of a pool with ONNX Runtime.
pub struct Engine<'a> {
    runtime: &'a Runtime,
    pool: &'a Pool,
    interface: Interface,
    datasets: &'a [Dataset],
    infos: Vec<DatasetInfo>,
    settings: Settings,
    skeleton: Vec<u8>,
    /// Parameters that are handed over, with their names in the skeleton.
    moving: Vec<(usize, String)>,
    stop: &'a AtomicBool,
}

impl<'a> Engine<'a> {
    /// Writes the skeleton and checks that the network takes the data and has a class for
    /// every label, by running θ0 on the first samples of each data set.
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
        settings: Settings,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let moving: Vec<(usize, String)> = aligned
            .pool
            .parameters
            .iter()
            .enumerate()
            .filter(|(_, parameter)| !parameter.frozen)
            .map(|(index, _)| (index, format!("landscape.{index}")))
            .collect();
        let fed: Vec<Fed> = moving
            .iter()
            .map(|(index, name)| fed(aligned, *index, name, None))
            .collect();
        let batch = interface.fixed_batch.unwrap_or(settings.batch);
        let engine = Self {
            runtime,
            pool: &aligned.pool,
            infos: datasets.iter().map(Dataset::info).collect(),
            datasets,
            settings: Settings { batch, ..settings },
            skeleton: skeleton::write(network, &fed),
            moving,
            interface,
            stop,
        };
        engine.check_labels(&network.model.path)?;
        Ok(engine)
    }

    fn check_labels(&self, path: &Path) -> Result<()> {
        let mut worker = Worker::new(self)?;
        let mix = Mix::unit(0, self.pool.members.len());
        let mut session = worker.session(&mix)?;
        for (index, dataset) in self.datasets.iter().enumerate() {
            let rows = self.settings.batch.min(dataset.len());
            let classes = worker
                .buffers
                .run(self, &mut session, index, 0, rows, |_, _| {})?;
            dataset
                .check_labels(classes)
                .map_err(|error| error.help(format!("{} is the network", path.display())))?;
        }
        Ok(())
    }

    /// Scores of a checkpoint's own file, run as it is: the model is loaded by ONNX Runtime from
    /// disk, or, for tensors without a graph, embedded into the origin's network.
    ///
    /// # Errors
    /// When the model cannot be run.
    pub fn evaluate_model(&self, model: &Untouched<'_>) -> Result<Vec<Score>> {
        let builder = self.builder();
        let session = builder.and_then(|mut builder| match model {
            Untouched::File(path) => builder.commit_from_file(path),
            Untouched::Bytes(bytes) => builder.commit_from_memory(bytes),
        });
        let mut session =
            session.map_err(|error| failed("loading the untouched checkpoint", &error))?;
        let mut buffers = Buffers::new(self);
        // Another export may call its inputs and outputs otherwise; they correspond in order.
        buffers.names = session
            .inputs()
            .iter()
            .map(|input| input.name().to_string())
            .collect();
        buffers.output = session.outputs()[self.interface.output].name().to_string();
        buffers.scores(self, &mut session, &|_, _| {})
    }

    fn builder(&self) -> ort::Result<ort::session::builder::SessionBuilder> {
        Ok(Session::builder(self.runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.settings.threads)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?)
    }

    /// Evaluates the mixes that `next` hands out until there is none left.
    fn work(
        &self,
        mixes: &[Mix],
        next: &AtomicUsize,
        results: &Mutex<Vec<Option<Vec<Score>>>>,
        progress: &Progress<'_>,
    ) -> Result<()> {
        let mut worker = Worker::new(self)?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(mix) = mixes.get(index) else {
                return Ok(());
            };
            let mut session = worker.session(mix)?;
            let scores = worker.buffers.scores(self, &mut session, progress)?;
            results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(scores);
            progress(1, 0);
        }
    }
}

/// A model to be run as it is.
pub enum Untouched<'a> {
    /// A file.
    File(&'a Path),
    /// The bytes of an ONNX model.
    Bytes(Vec<u8>),
}

/// The origin's network with one member's tensors embedded, as a file would hold them.
pub fn embedded(network: &Network<'_>, aligned: &Aligned, member: usize) -> Vec<u8> {
    let mix = Mix::unit(member, aligned.pool.members.len());
    let fed: Vec<Fed> = (0..aligned.pool.parameters.len())
        .map(|index| {
            let elements = elements(&aligned.pool, index, &mix);
            fed(
                aligned,
                index,
                &format!("landscape.{index}"),
                Some(elements),
            )
        })
        .collect();
    skeleton::write(network, &fed)
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
    match pool.parameters[index].dtype {
        Dtype::F64 => {
            let mut out = vec![0.0; len];
            mix_into(pool, index, mix, MixOut::F64(&mut out), &mut scratch);
            out.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        Dtype::F16 => {
            let mut out = vec![f16::ZERO; len];
            mix_into(pool, index, mix, MixOut::F16(&mut out), &mut scratch);
            out.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        Dtype::Bf16 => {
            let mut out = vec![bf16::ZERO; len];
            mix_into(pool, index, mix, MixOut::Bf16(&mut out), &mut scratch);
            out.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        _ => {
            let mut out = vec![0.0; len];
            mix_into(pool, index, mix, MixOut::F32(&mut out), &mut scratch);
            out.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
    }
}

impl Evaluator for Engine<'_> {
    fn datasets(&self) -> &[DatasetInfo] {
        &self.infos
    }

    fn evaluate(&self, mixes: &[Mix], progress: &Progress<'_>) -> Result<Vec<Vec<Score>>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.settings.workers)
            .build()
            .map_err(|error| Error::runtime("worker threads", error))?;
        let next = AtomicUsize::new(0);
        let results = Mutex::new(vec![None; mixes.len()]);
        let outcomes = pool.broadcast(|_| {
            let outcome = self.work(mixes, &next, &results, progress);
            if outcome.is_err() {
                // Nobody starts another mix.
                next.store(mixes.len(), Ordering::Relaxed);
            }
            outcome
        });
        outcomes.into_iter().collect::<Result<()>>()?;
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(results.into_iter().flatten().collect())
    }
}

/// One worker: weight buffers that each session copies from, and batch buffers.
struct Worker<'e> {
    engine: &'e Engine<'e>,
    weights: Vec<Arc<DynValue>>,
    scratch: Scratch,
    buffers: Buffers,
}

impl<'e> Worker<'e> {
    fn new(engine: &'e Engine<'e>) -> Result<Self> {
        let weights = engine.moving.iter().map(|(index, _)| {
            let parameter = &engine.pool.parameters[*index];
            empty(parameter.dtype, &parameter.shape).map(Arc::new)
        });
        Ok(Self {
            engine,
            weights: weights
                .collect::<ort::Result<_>>()
                .map_err(|error| failed("allocating weights", &error))?,
            scratch: Scratch::default(),
            buffers: Buffers::new(engine),
        })
    }

    /// A session with the weights of a mix.
    fn session(&mut self, mix: &Mix) -> Result<Session> {
        if self.engine.stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        self.mix(mix)
            .map_err(|error| failed("mixing weights", &error))?;
        let built = self.engine.builder().and_then(|mut builder| {
            for ((_, name), weight) in self.engine.moving.iter().zip(&self.weights) {
                builder = builder.with_external_initializer(name, Arc::clone(weight))?;
            }
            builder.commit_from_memory(&self.engine.skeleton)
        });
        built.map_err(|error| failed("building the session", &error))
    }

    fn mix(&mut self, mix: &Mix) -> ort::Result<()> {
        let pool = self.engine.pool;
        for ((index, _), weight) in self.engine.moving.iter().zip(&mut self.weights) {
            let parameter = &pool.parameters[*index];
            if Arc::get_mut(weight).is_none() {
                *weight = Arc::new(empty(parameter.dtype, &parameter.shape)?);
            }
            let Some(value) = Arc::get_mut(weight) else {
                continue;
            };
            let out = match parameter.dtype {
                Dtype::F64 => MixOut::F64(value.try_extract_tensor_mut::<f64>()?.1),
                Dtype::F16 => MixOut::F16(value.try_extract_tensor_mut::<f16>()?.1),
                Dtype::Bf16 => MixOut::Bf16(value.try_extract_tensor_mut::<bf16>()?.1),
                _ => MixOut::F32(value.try_extract_tensor_mut::<f32>()?.1),
            };
            mix_into(pool, *index, mix, out, &mut self.scratch);
        }
        Ok(())
    }
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

/// Batch buffers, one an input, used again for every batch.
struct Buffers {
    names: Vec<String>,
    output: String,
    inputs: Vec<Buffer>,
}

enum Buffer {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// Does the same with whichever vector a buffer holds.
macro_rules! with_buffer {
    ($buffer:expr, $data:ident => $body:expr) => {
        match $buffer {
            Buffer::F32($data) => $body,
            Buffer::F16($data) => $body,
            Buffer::Bf16($data) => $body,
            Buffer::F64($data) => $body,
            Buffer::I64($data) => $body,
            Buffer::I32($data) => $body,
            Buffer::U8($data) => $body,
            Buffer::Bool($data) => $body,
        }
    };
}

impl Buffer {
    fn new(dtype: InputDtype) -> Self {
        match dtype {
            InputDtype::F32 => Self::F32(Vec::new()),
            InputDtype::F16 => Self::F16(Vec::new()),
            InputDtype::Bf16 => Self::Bf16(Vec::new()),
            InputDtype::F64 => Self::F64(Vec::new()),
            InputDtype::I64 => Self::I64(Vec::new()),
            InputDtype::I32 => Self::I32(Vec::new()),
            InputDtype::U8 => Self::U8(Vec::new()),
            InputDtype::Bool => Self::Bool(Vec::new()),
        }
    }

    fn resize(&mut self, len: usize) {
        with_buffer!(self, data => data.resize(len, Default::default()));
    }

    /// The first `len` elements, to be filled.
    fn part(&mut self, len: usize) -> BatchMut<'_> {
        match self {
            Self::F32(data) => BatchMut::F32(&mut data[..len]),
            Self::F16(data) => BatchMut::F16(&mut data[..len]),
            Self::Bf16(data) => BatchMut::Bf16(&mut data[..len]),
            Self::F64(data) => BatchMut::F64(&mut data[..len]),
            Self::I64(data) => BatchMut::I64(&mut data[..len]),
            Self::I32(data) => BatchMut::I32(&mut data[..len]),
            Self::U8(data) => BatchMut::U8(&mut data[..len]),
            Self::Bool(data) => BatchMut::Bool(&mut data[..len]),
        }
    }
}

impl Buffers {
    fn new(engine: &Engine<'_>) -> Self {
        let inputs = &engine.interface.inputs;
        Self {
            names: inputs.iter().map(|input| input.name.clone()).collect(),
            output: engine.interface.output_name.clone(),
            inputs: inputs
                .iter()
                .map(|input| Buffer::new(input.dtype))
                .collect(),
        }
    }

    /// Scores on every data set, samples in order.
    fn scores(
        &mut self,
        engine: &Engine<'_>,
        session: &mut Session,
        progress: &Progress<'_>,
    ) -> Result<Vec<Score>> {
        let mut scores = Vec::new();
        for (index, dataset) in engine.datasets.iter().enumerate() {
            let mut tally = Tally::default();
            for start in (0..dataset.len()).step_by(engine.settings.batch) {
                if engine.stop.load(Ordering::Relaxed) {
                    return Err(Error::interrupted());
                }
                let end = dataset.len().min(start + engine.settings.batch);
                let labels = &dataset.labels()[start..end];
                self.run(engine, session, index, start, end, |row, logits| {
                    tally.add(logits, labels[row] as usize);
                })?;
                progress(0, end - start);
            }
            scores.push(tally.score());
        }
        Ok(scores)
    }

    /// Runs samples `start..end` of a data set; gives each row of logits to `visit` and returns
    /// the number of classes. A graph with a batch size of its own gets its batch filled up with
    /// copies of the first sample, whose logits are left out.
    fn run(
        &mut self,
        engine: &Engine<'_>,
        session: &mut Session,
        dataset: usize,
        start: usize,
        end: usize,
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<usize> {
        let data = &engine.datasets[dataset];
        let rows = end - start;
        let batch = engine.interface.fixed_batch.unwrap_or(rows);
        let mut shapes = Vec::new();
        for (input, buffer) in self.inputs.iter_mut().enumerate() {
            let sample = data.sample_shape(input);
            let size: usize = sample.iter().product();
            buffer.resize(batch * size);
            data.fill(input, start..end, buffer.part(rows * size));
            if rows < batch {
                with_buffer!(&mut *buffer, values => for row in rows..batch {
                    values.copy_within(0..size, row * size);
                });
            }
            let shape: Vec<i64> = std::iter::once(batch)
                .chain(sample.iter().copied())
                .map(|dim| dim as i64)
                .collect();
            shapes.push(shape);
        }
        let outputs = self
            .feed(&shapes)
            .and_then(|feed| session.run(feed))
            .map_err(|error| failed(&format!("running {}", data.path().display()), &error))?;
        let logits = &outputs[self.output.as_str()];
        let (shape, values) =
            to_f32(logits).map_err(|error| failed("reading the logits", &error))?;
        match shape.as_slice() {
            [count, classes] if *count == batch as i64 && *classes > 0 => {
                let classes = *classes as usize;
                for (row, logits) in values.chunks_exact(classes).take(rows).enumerate() {
                    visit(row, logits);
                }
                Ok(classes)
            }
            _ => Err(Error::input(
                &engine.pool.members[0].path,
                format!(
                    "output `{}` has shape {shape:?} for {batch} samples; a classifier's logits, \
                     [batch, classes], are needed",
                    self.output
                ),
            )
            .help("another output can be named with --output NAME")),
        }
    }
}

impl Buffers {
    /// Views of the buffers, by input name.
    fn feed(&self, shapes: &[Vec<i64>]) -> ort::Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>> {
        let inputs = self.names.iter().zip(&self.inputs).zip(shapes);
        inputs
            .map(|((name, buffer), shape)| {
                let value = with_buffer!(buffer, values =>
                    TensorRef::from_array_view((shape.clone(), values.as_slice()))?.into());
                Ok((Cow::from(name.as_str()), value))
            })
            .collect()
    }
}

type Logits<'v> = (Vec<i64>, Cow<'v, [f32]>);

fn to_f32(value: &DynValue) -> ort::Result<Logits<'_>> {
    if let Ok((shape, data)) = value.try_extract_tensor::<f32>() {
        return Ok((shape.to_vec(), data.into()));
    }
    if let Ok((shape, data)) = value.try_extract_tensor::<f16>() {
        let data: Vec<f32> = data.iter().map(|x| x.to_f32()).collect();
        return Ok((shape.to_vec(), data.into()));
    }
    if let Ok((shape, data)) = value.try_extract_tensor::<bf16>() {
        let data: Vec<f32> = data.iter().map(|x| x.to_f32()).collect();
        return Ok((shape.to_vec(), data.into()));
    }
    let (shape, data) = value.try_extract_tensor::<f64>()?;
    let data: Vec<f32> = data.iter().map(|&x| x as f32).collect();
    Ok((shape.to_vec(), data.into()))
}

fn failed(step: &str, error: &ort::Error) -> Error {
    Error::runtime(format!("ONNX Runtime, {step}"), error)
}
