//! The immutable part of an evaluation: its setup and the graphs written for it. It is built from
//! the bottom up and never changes; workers, models and measurements see nothing else.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::binding::Binding;
use super::feature::Feature;
use super::feed::InputNames;
use super::frozen::{self, FrozenPart};
use super::graphs::Graphs;
use super::light_model::readable;
use super::moving::MovingTensor;
use super::options::Losses;
use super::setup::{Setup, failed};
use super::shard::Shard;
use super::statistics::Statistics;
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::graph::cast_like;
use crate::graph::network::Network;
use crate::graph::skeleton::{self, WeightSlot};
use crate::space::matching::Aligned;
use crate::space::mix::Mix;

/// Everything that stays the same while mixes are evaluated.
pub struct Context<'a> {
    /// Runtime, checkpoints, data and options.
    pub setup: Setup<'a>,
    /// The part of the network that runs once for each chunk of data.
    pub frozen: Option<FrozenPart>,
    /// The tensors whose values differ between mixes, in the pool's order, without those that no
    /// output depends on.
    pub moving: Vec<MovingTensor>,
    /// The model that takes the mixed weights: the whole network, or its moving part.
    pub graphs: Graphs,
    /// What re-estimates batch norm's statistics for each mix, if they are re-estimated.
    pub statistics: Option<Statistics>,
    /// What calibrates every model's losses, if they are calibrated.
    pub calibration: Option<CalibrationData>,
}

/// The data set that calibrates every model.
#[derive(Debug, Clone, Copy)]
pub struct CalibrationData {
    /// Its index.
    pub set: usize,
    /// Number of its samples.
    pub samples: usize,
    /// Number of logits per sample.
    pub classes: usize,
}

/// Names of the moving tensors that are buffers. No graph mixes them: a buffer may be no sum over the
/// members, and buffers are small.
fn moving_buffers(setup: &Setup<'_>, moving: &[MovingTensor]) -> HashSet<String> {
    let buffers = moving.iter();
    let buffers = buffers.filter(|it| setup.pool.parameters[it.parameter].is_buffer());
    buffers.map(|tensor| tensor.name.clone()).collect()
}

impl<'a> Context<'a> {
    /// Splits off the frozen part and writes the graphs. They compute logits;
    /// [`Context::with_losses`] adds losses.
    ///
    /// # Errors
    /// Fails when ONNX Runtime cannot use the device or refuses the frozen part, or when the
    /// options ask for in-graph mixing and a weight's type does not allow it.
    pub fn new(setup: Setup<'a>, network: &Network<'_>, aligned: &Aligned) -> Result<Self> {
        let moving = MovingTensor::all(aligned);
        let slots = moving.iter().map(|tensor| tensor.weight_slot(aligned));
        let slots: Vec<WeightSlot> = slots.collect();
        let whole = cast_like::resolved(skeleton::model(network, &slots));
        let inside = setup.options.inside;
        let whole = readable(whole, inside).map_err(|error| failed("reading constants", &error))?;
        let names = moving.iter().map(|tensor| tensor.name.clone()).collect();
        let (frozen, graph) = match frozen::split(&setup, &whole, &names)? {
            Some((frozen, suffix)) => (Some(frozen), suffix),
            None => (None, whole),
        };
        // The split also removes what no output depends on.
        let kept = graph.graph.iter().flat_map(|graph| &graph.initializer);
        let kept: HashSet<&str> = kept.map(|tensor| tensor.name()).collect();
        let moving = moving.into_iter();
        let moving = moving.filter(|tensor| kept.contains(tensor.name.as_str()));
        let moving: Vec<MovingTensor> = moving.collect();
        let members = setup.pool.members.len();
        let buffers = moving_buffers(&setup, &moving);
        let context = Self {
            setup,
            frozen,
            moving,
            graphs: Graphs::new(graph, slots, buffers, members, inside),
            statistics: None,
            calibration: None,
        };
        let binding = context.setup.options.binding.fixed();
        if binding == Some(Binding::InGraph) && !context.can_mix_in_graph() {
            return Err(Error::flag(
                "--binding",
                "in-graph needs a network whose weights are f32 or f64",
            ));
        }
        Ok(context)
    }

    /// Adds losses to the graphs if the options ask for it.
    #[must_use]
    pub fn with_losses(self) -> Self {
        match self.setup.options.losses {
            Losses::Host => self,
            Losses::Graph => Self {
                graphs: self.graphs.with_losses(&self.setup.signature.output_name),
                ..self
            },
        }
    }

    /// The mix with the statistics that are re-estimated for it, if they are. They are computed in
    /// a session of this worker, with `threads` threads.
    ///
    /// # Errors
    /// Fails when the training samples cannot be run, or the user stopped the run.
    pub fn settled<'m>(&self, mix: &'m Mix, threads: usize, worker: usize) -> Result<Cow<'m, Mix>> {
        let Some(statistics) = &self.statistics else {
            return Ok(Cow::Borrowed(mix));
        };
        let found = statistics.of_mix(&self.setup, mix, threads, worker)?;
        Ok(Cow::Owned(mix.with_statistics(found)))
    }

    /// The number of samples that each mix runs: those of all data sets, and those from which its
    /// statistics are re-estimated.
    pub fn samples_of_mix(&self) -> usize {
        let training = self.statistics.as_ref().map_or(0, Statistics::samples);
        self.setup.samples() + training
    }

    /// The number of members in the pool.
    pub fn members(&self) -> usize {
        self.setup.pool.members.len()
    }

    /// The values that the frozen part hands to the moving part.
    pub fn features(&self) -> &[Feature] {
        self.frozen.as_ref().map_or(&[], |frozen| &frozen.features)
    }

    /// The names that inputs of the graphs can have.
    pub fn input_names(&self) -> InputNames<'_> {
        let signature = &self.setup.signature;
        InputNames::new(signature, self.features(), &self.moving, self.members())
    }

    /// Whether a graph can mix the weights, that is, whether ONNX Runtime can add and multiply
    /// their types.
    pub fn can_mix_in_graph(&self) -> bool {
        let parameters = &self.setup.pool.parameters;
        let mut dtypes = self.moving.iter().map(|it| parameters[it.parameter].dtype);
        dtypes.all(|dtype| matches!(dtype, Dtype::F32 | Dtype::F64))
    }

    /// The samples at `places` of a data set's order, with their features, which the frozen part
    /// computes on the first device in batches of `batch`. Also returns how long that took, without
    /// building the session.
    ///
    /// # Errors
    /// Fails when the frozen part cannot be run, or the user stopped the run.
    pub fn shard(
        &self,
        dataset: usize,
        places: Range<usize>,
        batch: usize,
    ) -> Result<(Shard, Duration)> {
        let setup = &self.setup;
        let mut shard = Shard::range(setup, dataset, places);
        let Some(frozen) = self.frozen.as_ref().filter(|_| !shard.labels.is_empty()) else {
            return Ok((shard, Duration::ZERO));
        };
        // All cores are free: no other session runs meanwhile.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = setup.options.threads.unwrap_or(cores);
        let mut prefix = frozen.session(setup, threads, 0)?;
        let start = Instant::now();
        frozen.fill(setup, &mut prefix, &mut shard, batch)?;
        Ok((shard, start.elapsed()))
    }
}
