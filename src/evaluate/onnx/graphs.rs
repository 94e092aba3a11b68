//! The graphs that are run: the network written anew, its weights left out or put in.

use std::sync::OnceLock;

use half::{bf16, f16};
use prost::Message;

use super::request::Binding;
use crate::checkpoint::onnx::proto::ModelProto;
use crate::checkpoint::tensor::Dtype;
use crate::graph::network::Network;
use crate::graph::skeleton::{self, Fed};
use crate::graph::split::Dependence;
use crate::graph::{epilogue, in_graph};
use crate::space::matching::Aligned;
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};
use crate::space::pool::Pool;

/// The model that weights are handed to, whole or its moving part, written for each binding when
/// it is wanted.
#[derive(Debug)]
pub struct Graphs {
    skeleton: ModelProto,
    fed: Vec<Fed>,
    members: usize,
    baked: OnceLock<Vec<u8>>,
    in_graph: OnceLock<Vec<u8>>,
    inputs: OnceLock<Vec<u8>>,
}

impl Graphs {
    /// The graphs of a skeleton, whose external initializers `fed` names, for a pool of `members`.
    pub fn new(skeleton: ModelProto, fed: Vec<Fed>, members: usize) -> Self {
        Self {
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
        match epilogue::append(self.skeleton.clone(), logits) {
            Some(skeleton) => Self::new(skeleton, self.fed, self.members),
            None => self,
        }
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
            Binding::Baked | Binding::Auto => {
                self.baked.get_or_init(|| self.skeleton.encode_to_vec())
            }
        }
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

/// How a parameter is put into the graph: with its elements, or to be handed over.
pub fn fed(aligned: &Aligned, index: usize, name: &str, elements: Option<Vec<u8>>) -> Fed {
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
