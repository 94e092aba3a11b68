//! How nodes read matrices: with a row for each input of the layer, or with one for each output.

use super::network::{Network, Place};
use crate::checkpoint::onnx::proto::NodeProto;

/// Whether a matrix has a row for each input: the right operand of a MatMul, or of a Gemm without
/// transB. PyTorch's Linear holds a row for each output. A transposition before is looked through.
/// `None` where the reading node does not tell.
pub fn has_row_per_input(network: &Network<'_>, place: Place) -> Option<bool> {
    let node = &network.nodes()[place.node];
    if node.op_type() != "Transpose" {
        return read_by(node, place.slot);
    }
    let turned = node.output.first()?;
    let mut readers = network.nodes().iter().filter_map(|reader| {
        let slot = reader.input.iter().position(|input| input == turned)?;
        read_by(reader, slot)
    });
    let first = readers.next()?;
    readers.all(|other| other == first).then_some(!first)
}

/// The same of a node that multiplies by the matrix in a slot.
pub fn read_by(node: &NodeProto, slot: usize) -> Option<bool> {
    let is_set = |name: &str| {
        let mut attributes = node.attribute.iter();
        attributes.any(|attribute| attribute.name() == name && attribute.i() != 0)
    };
    match (node.op_type(), slot) {
        ("MatMul", 1) => Some(true),
        ("MatMul", 0) => Some(false),
        ("Gemm", 1) => Some(!is_set("transB")),
        ("Gemm", 0) => Some(is_set("transA")),
        _ => None,
    }
}
