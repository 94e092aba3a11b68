//! Graphs that let one session serve all mixes: either the graph mixes the weights, or the weights
//! are its inputs.
//!
//! If the graph mixes, each moving initializer W becomes W0 + Σᵢ cᵢ·Dᵢ: W0 is θ0's tensor, Dᵢ the
//! difference of checkpoint i from it, and the coefficients cᵢ are scalar inputs.

use super::build::described;
use super::editor::GraphEditor;
use super::skeleton::WeightSlot;
use crate::checkpoint::onnx::data_type;
use crate::checkpoint::onnx::proto::{DataType, ModelProto, NodeProto, TensorProto};
use crate::checkpoint::tensor::Dtype;

/// Name of the tensor that a member contributes to a slot: W0 for the origin (member 0), Dᵢ for
/// checkpoint i.
pub fn part(slot: &str, member: usize) -> String {
    format!("{slot}.{member}")
}

/// Name of the scalar input with checkpoint `member`'s coefficient, for tensors of `dtype`.
pub fn coefficient(member: usize, dtype: Dtype) -> String {
    format!("landscape.c{member}.{}", dtype.name())
}

/// Rewrites a skeleton to mix `members` models; `slots` are those of its external initializers that
/// are sums over the members.
pub fn rewrite<'s>(
    skeleton: ModelProto,
    slots: impl Iterator<Item = &'s WeightSlot> + Clone,
    members: usize,
) -> ModelProto {
    let mut editor = GraphEditor::open(skeleton);
    let mut sums = Vec::new();
    for slot in slots.clone() {
        let Some(header) = editor.take_initializer(&slot.name) else {
            continue;
        };
        editor.add_initializers((0..members).map(|member| TensorProto {
            name: Some(part(&slot.name, member)),
            ..header.clone()
        }));
        sums.extend(sum(slot, members));
    }
    let mut dtypes: Vec<Dtype> = Vec::new();
    for slot in slots {
        if !dtypes.contains(&slot.dtype) {
            dtypes.push(slot.dtype);
        }
    }
    for dtype in dtypes {
        let scalar = |member| described(&coefficient(member, dtype), onnx(dtype), &[]);
        editor.add_inputs((1..members).map(scalar));
    }
    editor.prepend_nodes(sums);
    editor.finish()
}

/// Rewrites a skeleton so that the `slots` are inputs.
pub fn as_inputs<'s>(
    skeleton: ModelProto,
    slots: impl Iterator<Item = &'s WeightSlot>,
) -> ModelProto {
    let mut editor = GraphEditor::open(skeleton);
    for slot in slots {
        if editor.take_initializer(&slot.name).is_some() {
            let dtype = onnx(slot.dtype);
            editor.add_inputs([described(&slot.name, dtype, &slot.shape)]);
        }
    }
    editor.finish()
}

/// Writes the nodes of W = (…(W0 + c₁·D₁) + …) + cₖ·Dₖ.
fn sum(slot: &WeightSlot, members: usize) -> Vec<NodeProto> {
    let node = |op_type: &str, input: [String; 2], output: String| NodeProto {
        input: input.into(),
        name: Some(format!("landscape/{output}")),
        output: vec![output],
        op_type: Some(op_type.to_string()),
        ..NodeProto::default()
    };
    let mut nodes = Vec::new();
    let mut so_far = part(&slot.name, 0);
    for member in 1..members {
        let scaled = format!("{}.scaled{member}", slot.name);
        let next = if member + 1 == members {
            slot.name.clone()
        } else {
            format!("{}.sum{member}", slot.name)
        };
        let factors = [part(&slot.name, member), coefficient(member, slot.dtype)];
        nodes.push(node("Mul", factors, scaled.clone()));
        nodes.push(node("Add", [so_far, scaled], next.clone()));
        so_far = next;
    }
    nodes
}

/// The ONNX element type.
fn onnx(dtype: Dtype) -> DataType {
    DataType::try_from(data_type(dtype)).unwrap_or(DataType::Undefined)
}
