//! Writes the ONNX graphs that are run: the network with its weights left out or filled in. Runs
//! nothing.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::binding::Binding;
use super::light_model::LightModel;
use super::moving::MovingTensor;
use crate::checkpoint::onnx::proto::ModelProto;
use crate::error::Result;
use crate::evaluate::signature::Signature;
use crate::graph::network::Network;
use crate::graph::skeleton::{self, WeightSlot};
use crate::graph::split::Dependence;
use crate::graph::{gradient, in_graph, loss_outputs};
use crate::space::matching::Aligned;

/// The model that takes the mixed weights, the whole network or its moving part. Each binding's
/// graph is written on first use.
#[derive(Debug)]
pub struct Graphs {
    skeleton: ModelProto,
    /// The skeleton without the losses.
    plain: ModelProto,
    fed: Vec<WeightSlot>,
    /// Names of the fed tensors that no graph mixes: they are no sums over the members.
    unmixed: HashSet<String>,
    members: usize,
    /// Largest constant inside a graph, in bytes.
    inside: usize,
    baked: OnceLock<LightModel>,
    in_graph: OnceLock<LightModel>,
    inputs: OnceLock<LightModel>,
}

impl Graphs {
    /// The graphs of a skeleton for a pool of `members` models; `fed` lists its external
    /// initializers, and `unmixed` names those that are inputs even if the graph mixes the others.
    /// Constants of more than `inside` bytes are kept apart.
    pub fn new(
        skeleton: ModelProto,
        fed: Vec<WeightSlot>,
        unmixed: HashSet<String>,
        members: usize,
        inside: usize,
    ) -> Self {
        Self {
            plain: skeleton.clone(),
            skeleton,
            fed,
            unmixed,
            members,
            inside,
            baked: OnceLock::new(),
            in_graph: OnceLock::new(),
            inputs: OnceLock::new(),
        }
    }

    /// Adds the losses of the output `logits`. If the network's operators are too old for that, the
    /// host computes the losses.
    #[must_use]
    pub fn with_losses(self, logits: &str) -> Self {
        match loss_outputs::append(self.skeleton.clone(), logits) {
            Some(skeleton) => Self {
                plain: self.plain,
                ..Self::new(skeleton, self.fed, self.unmixed, self.members, self.inside)
            },
            None => self,
        }
    }

    /// The skeleton, with the logits as its output.
    pub fn plain(&self) -> &ModelProto {
        &self.plain
    }

    /// The tensors that are fed.
    pub fn fed(&self) -> &[WeightSlot] {
        &self.fed
    }

    /// The model for a binding.
    pub fn model(&self, binding: Binding) -> &LightModel {
        let graph = || self.skeleton.clone();
        let light = |model| LightModel::new(model, self.inside);
        match binding {
            Binding::InGraph => self.in_graph.get_or_init(|| {
                let is_mixed = |slot: &&WeightSlot| !self.unmixed.contains(&slot.name);
                let mixed = self.fed.iter().filter(is_mixed);
                let unmixed = self.fed.iter().filter(|slot| !is_mixed(slot));
                let model = in_graph::rewrite(graph(), mixed, self.members);
                light(in_graph::as_inputs(model, unmixed))
            }),
            Binding::Inputs => self
                .inputs
                .get_or_init(|| light(in_graph::as_inputs(graph(), self.fed.iter()))),
            Binding::Baked => self.baked.get_or_init(|| light(graph())),
        }
    }
}

/// Checks that the loss can be differentiated in the tensors that differ between the members.
/// Nothing is run.
///
/// # Errors
/// Fails for the first operator on the path that has no derivative.
pub fn check_gradient(
    network: &Network<'_>,
    aligned: &Aligned,
    output: Option<&str>,
) -> Result<()> {
    let logits = Signature::of(network, output)?.output_name;
    let (fed, names) = weight_slots(aligned);
    let model = gradient::prepared(skeleton::model(network, &fed))?;
    let model = gradient::loss::append(model, &logits, 1);
    gradient::check(&model, gradient::loss::TOTAL, &names)
}

/// The number of nodes that depend on no tensor that differs between the members, and the number of
/// all nodes between inputs and outputs.
pub fn frozen_nodes(network: &Network<'_>, aligned: &Aligned) -> (usize, usize) {
    let (fed, names) = weight_slots(aligned);
    let graph = skeleton::model(network, &fed).graph.unwrap_or_default();
    let inputs: Vec<String> = network.inputs().into_iter().map(String::from).collect();
    Dependence::of(&graph, &names.into_iter().collect(), &inputs).frozen_nodes()
}

/// The moving tensors as a skeleton takes them, and their names.
fn weight_slots(aligned: &Aligned) -> (Vec<WeightSlot>, Vec<String>) {
    let moving = MovingTensor::all(aligned);
    let slots = moving.iter().map(|tensor| tensor.weight_slot(aligned));
    let slots = slots.collect();
    (
        slots,
        moving.into_iter().map(|tensor| tensor.name).collect(),
    )
}
