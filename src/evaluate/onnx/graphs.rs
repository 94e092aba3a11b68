//! The graphs that are run: the network written anew, its weights left out or put in. Writes ONNX
//! models; runs nothing.

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

/// The model that weights are handed to, whole or its moving part, written for each binding when
/// it is wanted.
#[derive(Debug)]
pub struct Graphs {
    skeleton: ModelProto,
    /// The skeleton without the losses.
    plain: ModelProto,
    fed: Vec<WeightSlot>,
    members: usize,
    baked: OnceLock<Vec<u8>>,
    in_graph: OnceLock<Vec<u8>>,
    inputs: OnceLock<Vec<u8>>,
}

impl Graphs {
    /// The graphs of a skeleton, whose external initializers `fed` names, for a pool of `members`.
    pub fn new(skeleton: ModelProto, fed: Vec<WeightSlot>, members: usize) -> Self {
        Self {
            plain: skeleton.clone(),
            skeleton,
            fed,
            members,
            baked: OnceLock::new(),
            in_graph: OnceLock::new(),
            inputs: OnceLock::new(),
        }
    }

    /// The same with the losses of the output `logits`; operators that are too old for it leave
    /// them to the host.
    #[must_use]
    pub fn with_losses(self, logits: &str) -> Self {
        match loss_outputs::append(self.skeleton.clone(), logits) {
            Some(skeleton) => Self {
                plain: self.plain,
                ..Self::new(skeleton, self.fed, self.members)
            },
            None => self,
        }
    }

    /// The skeleton, its logits the output.
    pub fn plain(&self) -> &ModelProto {
        &self.plain
    }

    /// The tensors that are handed over.
    pub fn fed(&self) -> &[WeightSlot] {
        &self.fed
    }

    /// The ONNX model for a binding.
    pub fn bytes(&self, binding: Binding) -> &[u8] {
        let graph = || self.skeleton.clone();
        match binding {
            Binding::InGraph => self.in_graph.get_or_init(|| {
                in_graph::rewrite(graph(), &self.fed, self.members).encode_to_vec()
            }),
            Binding::Inputs => self
                .inputs
                .get_or_init(|| in_graph::as_inputs(graph(), &self.fed).encode_to_vec()),
            Binding::Baked => self.baked.get_or_init(|| self.skeleton.encode_to_vec()),
        }
    }
}

/// Whether the loss has a gradient in the tensors that differ between the members; nothing is run.
///
/// # Errors
/// For the first operator on the way that has no derivative.
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

/// How many of the network's nodes depend on no tensor that differs between the members, and how
/// many it has between inputs and outputs.
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
