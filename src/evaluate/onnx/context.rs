//! All that stays the same while mixes are evaluated: what was given, and the graphs that were written
//! for it. It is built from the bottom up and never changed; workers, models and measurements see
//! this and nothing else.

use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::binding::Binding;
use super::feature::Feature;
use super::feed::InputNames;
use super::frozen::{self, FrozenPart};
use super::graphs::Graphs;
use super::moving::MovingTensor;
use super::options::Losses;
use super::setup::Setup;
use super::shard::Shard;
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::graph::cast_like;
use crate::graph::network::Network;
use crate::graph::skeleton::{self, WeightSlot};
use crate::space::matching::Aligned;

/// What stays the same while mixes are evaluated.
pub struct Context<'a> {
    /// What was given.
    pub setup: Setup<'a>,
    /// What is computed once for each chunk of data.
    pub frozen: Option<FrozenPart>,
    /// The tensors that are handed over, in the pool's order. What no output depends on is left out.
    pub moving: Vec<MovingTensor>,
    /// The model that weights are handed to: the whole network, or its moving part.
    pub graphs: Graphs,
}

impl<'a> Context<'a> {
    /// Cuts the frozen part off and writes the graphs. They give logits; losses are added by
    /// [`Context::with_losses`].
    ///
    /// # Errors
    /// When ONNX Runtime cannot use the device or refuses the frozen part, or the weights are of a
    /// type that a graph cannot mix, although that was asked for.
    pub fn new(setup: Setup<'a>, network: &Network<'_>, aligned: &Aligned) -> Result<Self> {
        let moving = MovingTensor::all(aligned);
        let slots = moving.iter().map(|tensor| tensor.weight_slot(aligned));
        let slots: Vec<WeightSlot> = slots.collect();
        let whole = cast_like::resolved(skeleton::model(network, &slots));
        let names = moving.iter().map(|tensor| tensor.name.clone()).collect();
        let (frozen, graph) = match frozen::split(&setup, &whole, &names)? {
            Some((frozen, suffix)) => (Some(frozen), suffix),
            None => (None, whole),
        };
        // What no output depends on is cut away with the frozen part.
        let kept = graph.graph.iter().flat_map(|graph| &graph.initializer);
        let kept: HashSet<&str> = kept.map(|tensor| tensor.name()).collect();
        let moving = moving.into_iter();
        let moving = moving
            .filter(|tensor| kept.contains(tensor.name.as_str()))
            .collect();
        let members = setup.pool.members.len();
        let context = Self {
            setup,
            frozen,
            moving,
            graphs: Graphs::new(graph, slots, members),
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

    /// The same with graphs that compute losses, too, where that was asked for.
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

    /// Members of the pool.
    pub fn members(&self) -> usize {
        self.setup.pool.members.len()
    }

    /// What the frozen part hands over.
    pub fn features(&self) -> &[Feature] {
        self.frozen.as_ref().map_or(&[], |frozen| &frozen.features)
    }

    /// What the inputs of the graphs can stand for.
    pub fn input_names(&self) -> InputNames<'_> {
        let signature = &self.setup.signature;
        InputNames::new(signature, self.features(), &self.moving, self.members())
    }

    /// Whether a graph can mix the weights: ONNX Runtime adds and multiplies their types.
    pub fn can_mix_in_graph(&self) -> bool {
        let parameters = &self.setup.pool.parameters;
        let mut dtypes = self.moving.iter().map(|it| parameters[it.parameter].dtype);
        dtypes.all(|dtype| matches!(dtype, Dtype::F32 | Dtype::F64))
    }

    /// The samples at `places` of a data set's order, with what the frozen part makes of them on the
    /// first device, in batches of a size; and how long that took, but for building its session.
    ///
    /// # Errors
    /// When the frozen part cannot be run, or the user stopped the run.
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
        // No other session runs meanwhile.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = setup.options.threads.unwrap_or(cores);
        let mut prefix = frozen.session(setup, threads, 0)?;
        let start = Instant::now();
        frozen.fill(setup, &mut prefix, &mut shard, batch)?;
        Ok((shard, start.elapsed()))
    }
}
