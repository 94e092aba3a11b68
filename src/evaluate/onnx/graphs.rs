//! Writes the ONNX graphs that are run: the network with its weights left out or filled in. Runs
//! nothing.

use std::collections::HashSet;
use std::sync::OnceLock;

use prost::Message;

use super::binding::Binding;
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
    baked: OnceLock<Vec<u8>>,
    in_graph: OnceLock<Vec<u8>>,
    inputs: OnceLock<Vec<u8>>,
}

impl Graphs {
    /// The graphs of a skeleton for a pool of `members` models; `fed` lists its external
    /// initializers, and `unmixed` names those that are inputs even if the graph mixes the others.
    pub fn new(
        skeleton: ModelProto,
        fed: Vec<WeightSlot>,
        unmixed: HashSet<String>,
        members: usize,
    ) -> Self {
        Self {
            plain: skeleton.clone(),
            skeleton,
            fed,
            unmixed,
            members,
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
                ..Self::new(skeleton, self.fed, self.unmixed, self.members)
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

    /// The ONNX model for a binding.
    pub fn bytes(&self, binding: Binding) -> &[u8] {
        let graph = || self.skeleton.clone();
        match binding {
            Binding::InGraph => self.in_graph.get_or_init(|| {
                let fed = self.fed.iter();
                let mixed = fed
                    .clone()
                    .filter(|slot| !self.unmixed.contains(&slot.name));
                let unmixed = fed.filter(|slot| self.unmixed.contains(&slot.name));
                let model = in_graph::rewrite(graph(), mixed, self.members);
                in_graph::as_inputs(model, unmixed).encode_to_vec()
            }),
            Binding::Inputs => self
                .inputs
                .get_or_init(|| in_graph::as_inputs(graph(), self.fed.iter()).encode_to_vec()),
            Binding::Baked => self.baked.get_or_init(|| self.skeleton.encode_to_vec()),
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
