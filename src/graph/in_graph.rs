//! One session for all mixes: weights mixed by the graph itself, or inputs of it.
//!
//! Where the graph mixes, each moving initializer W becomes W0 + Σᵢ cᵢ·Dᵢ: W0 is θ0's tensor, Dᵢ the
//! difference of checkpoint i from it, and the coefficients cᵢ are scalar inputs.

use super::build::described;
use super::editor::GraphEditor;
use super::skeleton::Fed;
use crate::checkpoint::onnx::data_type;
use crate::checkpoint::onnx::proto::{DataType, ModelProto, NodeProto, TensorProto};
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
pub fn rewrite(skeleton: ModelProto, fed: &[Fed], members: usize) -> ModelProto {
    let mut editor = GraphEditor::open(skeleton);
    let mut sums = Vec::new();
    for tensor in fed {
        let Some(header) = editor.take_initializer(&tensor.name) else {
            continue;
        };
        editor.add_initializers((0..members).map(|member| TensorProto {
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
        let scalar = |member| described(&coefficient(member, dtype), onnx(dtype), &[]);
        editor.add_inputs((1..members).map(scalar));
    }
    editor.prepend_nodes(sums);
    editor.finish()
}

/// Rewrites a skeleton so that the tensors of `fed` are inputs.
pub fn as_inputs(skeleton: ModelProto, fed: &[Fed]) -> ModelProto {
    let mut editor = GraphEditor::open(skeleton);
    for tensor in fed {
        if editor.take_initializer(&tensor.name).is_some() {
            let dtype = onnx(tensor.dtype);
            editor.add_inputs([described(&tensor.name, dtype, &tensor.shape)]);
        }
    }
    editor.finish()
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
