//! Re-estimates batch norm's statistics for a mix, from training samples.
//!
//! As `torch.optim.swa_utils.update_bn` does for `momentum=None`: the network runs in training mode
//! over batches of training samples, so that each layer normalizes with the statistics of its batch
//! and later layers see the result, and the running statistics are the means over the batches, with
//! equal weights, of the batches' means and unbiased variances. A module that runs several times in
//! a pass counts each time.
//!
//! The graph for that is written once ([`crate::graph::batch_statistics`]); each mix gets a session
//! of its own, in whatever way it is evaluated afterwards. What was found is kept, since a mix is
//! evaluated once for each chunk of data.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use ort::session::SessionOutputs;
use ort::value::DynValue;

use super::feed::{Feed, Feeds, InputNames};
use super::keys::mix_key;
use super::light_model::{LightModel, LightSession};
use super::moving::MovingTensor;
use super::setup::{Setup, failed};
use super::shard::Shard;
use super::weights::{empty, upload};
use crate::base::lock::lock;
use crate::checkpoint::onnx::proto::ModelProto;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::journal::ModelKey;
use crate::graph::batch_statistics::{self, Layer};
use crate::space::mix::{Mix, Reestimated, Scratch};

/// The training samples that statistics are re-estimated from, and how they are taken.
#[derive(Debug, Clone, Copy)]
pub struct StatisticsData<'a> {
    /// The samples, all of which are used, in the data set's order.
    pub data: &'a Dataset,
    /// Number of samples in a batch; the last may have fewer.
    pub batch: usize,
}

/// Bytes of statistics that are kept.
const KEPT: usize = 256 << 20;

/// Statistics of one mix; the lock is held while they are computed.
type Slot = Arc<Mutex<Option<Arc<Reestimated>>>>;

/// Re-estimates statistics.
pub struct Statistics {
    /// The graph that outputs the statistics of a batch, without the moving tensors.
    graph: LightModel,
    /// The moving tensors that it reads.
    weights: Vec<MovingTensor>,
    layers: Vec<Running>,
    samples: Shard,
    batch: usize,
    /// The number of mixes whose statistics are kept.
    most: usize,
    known: Mutex<Known>,
    /// Warnings about layers that keep their statistics.
    pub warnings: Vec<String>,
}

/// The parameters with a layer's running statistics.
struct Running {
    layer: Layer,
    mean: usize,
    variance: usize,
}

/// Statistics of the mixes seen so far, in the order in which they were asked for.
#[derive(Default)]
struct Known {
    slots: HashMap<ModelKey, Slot>,
    order: Vec<ModelKey>,
}

impl Statistics {
    /// Writes the graph for a network, the skeleton with these moving tensors, and reads the samples.
    ///
    /// # Errors
    /// Fails when no batch norm of the network can be re-estimated, or the batches do not fit the
    /// network.
    pub fn new(
        setup: &Setup<'_>,
        skeleton: ModelProto,
        moving: &[MovingTensor],
        training: StatisticsData<'_>,
    ) -> Result<Self> {
        let batch = checked_batch(setup, training)?;
        let statistics = moving.iter();
        let statistics = statistics.filter(|it| setup.pool.parameters[it.parameter].is_buffer());
        let by_name: HashMap<&str, usize> = statistics
            .map(|it| (it.name.as_str(), it.parameter))
            .collect();
        let running: HashSet<String> = by_name.keys().map(|name| (*name).to_string()).collect();
        let inputs = setup.signature.inputs.iter();
        let inputs: Vec<String> = inputs.map(|input| input.name.clone()).collect();
        let found = batch_statistics::rewrite(skeleton, &running, &inputs);
        if found.layers.is_empty() {
            let problem = "recalibrate: no batch norm between the data and the logits has running \
                           statistics that are tensors of the checkpoints";
            return Err(Error::flag("--bn", problem).help("leave the flag out"));
        }
        let kept = found
            .model
            .graph
            .iter()
            .flat_map(|graph| &graph.initializer);
        let kept: HashSet<&str> = kept.map(|tensor| tensor.name()).collect();
        let weights = moving.iter().filter(|it| kept.contains(it.name.as_str()));
        let layers = found.layers.into_iter().map(|layer| Running {
            mean: by_name[layer.running[0].as_str()],
            variance: by_name[layer.running[1].as_str()],
            layer,
        });
        let layers: Vec<Running> = layers.collect();
        let channels = layers.iter().flat_map(|it| [it.mean, it.variance]);
        let channels: usize = channels
            .map(|index| setup.pool.parameters[index].len())
            .sum();
        let places: Vec<usize> = (0..training.data.len()).collect();
        Ok(Self {
            weights: weights.cloned().collect(),
            layers,
            most: (KEPT / (size_of::<f64>() * channels.max(1))).max(1),
            graph: setup.light(found.model),
            samples: Shard::of(setup, training.data, &places),
            batch,
            known: Mutex::default(),
            warnings: constant(&found.kept).into_iter().collect(),
        })
    }

    /// Number of training samples that a mix runs.
    pub fn samples(&self) -> usize {
        self.samples.labels.len()
    }

    /// The statistics of a mix. They are computed in a session of worker `worker` with `threads`
    /// threads, unless they are known or another worker computes them right now.
    ///
    /// # Errors
    /// Fails when the training samples cannot be run, or the user stopped the run.
    pub fn of_mix(
        &self,
        setup: &Setup<'_>,
        mix: &Mix,
        threads: usize,
        worker: usize,
    ) -> Result<Arc<Reestimated>> {
        let slot = self.slot(mix_key(mix));
        let mut known = lock(&slot);
        if let Some(found) = &*known {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(self.computed(setup, mix, threads, worker)?);
        *known = Some(Arc::clone(&found));
        Ok(found)
    }

    /// The place for a mix's statistics. If there are too many, the last mix but this gives way:
    /// models are evaluated in turns, so that the first are the next to be asked for.
    fn slot(&self, key: ModelKey) -> Slot {
        let mut known = lock(&self.known);
        if let Some(slot) = known.slots.get(&key) {
            return Arc::clone(slot);
        }
        if known.order.len() >= self.most
            && let Some(last) = known.order.pop()
        {
            known.slots.remove(&last);
        }
        known.order.push(key);
        Arc::clone(known.slots.entry(key).or_default())
    }

    fn computed(
        &self,
        setup: &Setup<'_>,
        mix: &Mix,
        threads: usize,
        worker: usize,
    ) -> Result<Reestimated> {
        let session = self.session(setup, mix, threads, worker);
        let mut session = session.map_err(|error| failed("building the session", &error))?;
        let feeds = Feeds::by_name(&session, &InputNames::of_network(&setup.signature))?;
        let mut sums = Sums::default();
        for rows in self.samples.batches(0..self.samples(), self.batch) {
            setup.check_stop()?;
            let value = |feed: Feed| match feed {
                Feed::Input(k) => self.samples.input(k, rows, worker),
                other => Err(other.missing()),
            };
            let outputs = feeds
                .values(value)
                .and_then(|values| session.run(values))
                .map_err(|error| failed("re-estimating batch norm's statistics", &error))?;
            for running in &self.layers {
                sums.add(running, &outputs, rows.1 - rows.0)?;
            }
        }
        Ok(sums.means())
    }

    fn session(
        &self,
        setup: &Setup<'_>,
        mix: &Mix,
        threads: usize,
        worker: usize,
    ) -> ort::Result<LightSession> {
        let mut builder = setup.builder(threads, worker)?;
        let mut scratch = Scratch::default();
        for tensor in &self.weights {
            let parameter = &setup.pool.parameters[tensor.parameter];
            let mut value: DynValue = empty(parameter.dtype, &parameter.shape)?;
            upload(setup.pool, tensor.parameter, mix, &mut value, &mut scratch)?;
            builder = builder.with_external_initializer(&tensor.name, Arc::new(value))?;
        }
        self.graph.commit(builder)
    }
}

/// The batch size, if the network and the samples allow it.
fn checked_batch(setup: &Setup<'_>, training: StatisticsData<'_>) -> Result<usize> {
    let StatisticsData { data, batch } = training;
    let fault = |problem: String| Error::flag("--bn", format!("recalibrate: {problem}"));
    let samples = data.len();
    match setup.signature.fixed_batch {
        Some(1) => Err(fault(
            "the network fixes its batch at 1 sample, which in training mode would be normalized by \
             itself"
                .to_string(),
        )
        .help("export it with a free batch axis")),
        Some(fixed) if !samples.is_multiple_of(fixed) => Err(fault(format!(
            "the network fixes its batch at {fixed} samples, and {samples} are no multiple of that"
        ))
        .help(format!("recalibrate={} fits", samples.max(fixed) / fixed * fixed))),
        Some(fixed) => Ok(fixed),
        None => Ok(batch),
    }
}

/// Warns about batch norms whose statistics are constants of the network.
fn constant(kept: &[String]) -> Option<String> {
    let first = kept.first()?;
    Some(format!(
        "batch norm `{first}` ({} in all) keeps its statistics: they are constants of the network, \
         not tensors of the checkpoints",
        kept.len()
    ))
}

/// Sums of the batches' statistics, by parameter.
#[derive(Default)]
struct Sums(BTreeMap<usize, (Vec<f64>, f64)>);

impl Sums {
    /// Adds the statistics of a layer in a batch of `samples` samples.
    fn add(
        &mut self,
        running: &Running,
        outputs: &SessionOutputs<'_>,
        samples: usize,
    ) -> Result<()> {
        let reading = |error: ort::Error| failed("reading batch norm's statistics", &error);
        let layer = &running.layer;
        let read = |name: &str| {
            let values = outputs[name].try_extract_tensor::<f64>();
            values.map(|(_, values)| values).map_err(reading)
        };
        let (mean, variance) = (read(&layer.computed[0])?, read(&layer.computed[1])?);
        let elements = outputs[layer.elements.as_str()].try_extract_tensor::<i64>();
        let elements = elements.map_err(reading)?.1.first().copied().unwrap_or(0);
        let count = elements as f64 / mean.len().max(1) as f64;
        if count < 2.0 {
            return Err(alone(&layer.node, samples));
        }
        let unbiased = count / (count - 1.0);
        self.sum(running.mean, mean.iter().copied());
        self.sum(running.variance, variance.iter().map(|v| v * unbiased));
        Ok(())
    }

    fn sum(&mut self, parameter: usize, values: impl Iterator<Item = f64>) {
        let (sums, count) = self.0.entry(parameter).or_default();
        *count += 1.0;
        for (index, value) in values.enumerate() {
            match sums.get_mut(index) {
                Some(sum) => *sum += value,
                None => sums.push(value),
            }
        }
    }

    fn means(self) -> Reestimated {
        let sums = self.0.into_iter();
        let means = sums.map(|(parameter, (sums, count))| {
            let means = sums.into_iter().map(|sum| sum / count);
            (parameter, means.collect())
        });
        Reestimated(means.collect())
    }
}

/// The error for a batch that has no variance.
fn alone(node: &str, samples: usize) -> Error {
    let problem = format!(
        "recalibrate: the last batch has {samples} sample, in which each channel of batch norm \
         `{node}` has one value, and that has no variance"
    );
    Error::flag("--bn", problem)
        .help("choose the number of samples as a multiple of the batch size")
}
