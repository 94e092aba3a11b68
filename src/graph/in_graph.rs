//! One session for all mixes: weights mixed by the graph itself, or inputs of it.
//!
//! Mixing itself, each moving initializer W becomes W0 + Σᵢ cᵢ·Dᵢ, where W0 is θ0's tensor, Dᵢ the difference of
//! checkpoint i to it, and the coefficients cᵢ are scalar inputs.

use super::build::described;
use super::skeleton::Fed;
use crate::checkpoint::onnx::data_type;
use crate::checkpoint::onnx::proto::{DataType, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::checkpoint::tensor::Dtype;

/// Name of the tensor that holds member `member`'s part of a fed tensor: W0 for the origin
/// (member 0), Dᵢ for checkpoint i.
pub fn part(fed: &str, member: usize) -> String {
    format!("{fed}.{member}")
}

/// Name of the scalar input with checkpoint `member`'s coefficient, for tensors of a type.
pub fn coefficient(member: usize, dtype: Dtype) -> String {
    format!("landscape.c{member}.{}", dtype.name())
}

/// Rewrites a skeleton of `members` models: `fed` names its external initializers.
pub fn rewrite(mut skeleton: ModelProto, fed: &[Fed], members: usize) -> ModelProto {
    let Some(graph) = skeleton.graph.as_mut() else {
        return skeleton;
    };
    let mut sums = Vec::new();
    for tensor in fed {
        let Some(at) = position(graph, &tensor.name) else {
            continue;
        };
        let header = graph.initializer.remove(at);
        graph
            .initializer
            .extend((0..members).map(|member| TensorProto {
                name: Some(part(&tensor.name, member)),
                ..header.clone()
            }));
        sums.extend(sum(tensor, members));
    }
    let mut dtypes: Vec<Dtype> = Vec::new();
    for tensor in fed {
        if !dtypes.contains(&tensor.dtype) {
            dtypes.push(tensor.dtype);
        }
    }
    for dtype in dtypes {
        graph.input.extend(
            (1..members).map(|member| described(&coefficient(member, dtype), onnx(dtype), &[])),
        );
    }
    // What they read are inputs and initializers, so they may stand first.
    graph.node.splice(0..0, sums);
    skeleton
}

/// Rewrites a skeleton so that the tensors of `fed` are inputs.
pub fn as_inputs(mut skeleton: ModelProto, fed: &[Fed]) -> ModelProto {
    let Some(graph) = skeleton.graph.as_mut() else {
        return skeleton;
    };
    for tensor in fed {
        if let Some(at) = position(graph, &tensor.name) {
            graph.initializer.remove(at);
            let dtype = onnx(tensor.dtype);
            graph
                .input
                .push(described(&tensor.name, dtype, &tensor.shape));
        }
    }
    skeleton
}

fn position(graph: &GraphProto, name: &str) -> Option<usize> {
    let mut names = graph.initializer.iter().map(TensorProto::name);
    names.position(|other| other == name)
}

/// W = (…(W0 + c₁·D₁) + …) + cₖ·Dₖ.
fn sum(fed: &Fed, members: usize) -> Vec<NodeProto> {
    let node = |op_type: &str, input: [String; 2], output: String| NodeProto {
        input: input.into(),
        name: Some(format!("landscape/{output}")),
        output: vec![output],
        op_type: Some(op_type.to_string()),
        ..NodeProto::default()
    };
    let mut nodes = Vec::new();
    let mut so_far = part(&fed.name, 0);
    for member in 1..members {
        let scaled = format!("{}.scaled{member}", fed.name);
        let next = if member + 1 == members {
            fed.name.clone()
        } else {
            format!("{}.sum{member}", fed.name)
        };
        let factors = [part(&fed.name, member), coefficient(member, fed.dtype)];
        nodes.push(node("Mul", factors, scaled.clone()));
        nodes.push(node("Add", [so_far, scaled], next.clone()));
        so_far = next;
    }
    nodes
}

/// The element type by its name in the format.
fn onnx(dtype: Dtype) -> DataType {
    DataType::try_from(data_type(dtype)).unwrap_or(DataType::Undefined)
}
