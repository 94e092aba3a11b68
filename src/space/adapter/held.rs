//! How a base holds a square matrix, as the network that reads it shows.

use super::product::Layout;
use crate::checkpoint::tensor::Tensor;
use crate::graph::matrix::has_row_per_input;
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

/// The layout of a square matrix of the base, which its shape does not tell; `None` where the network
/// does not show it: it holds other values, or the matrix is symmetric.
pub fn layout(network: &Network<'_>, matrix: &Tensor) -> Option<Layout> {
    let holds = |tensor: &Tensor, turned: bool| {
        decode::equal_to_rounding(tensor, &StoredTensor::nameless(matrix, turned))
    };
    let mut layouts = network.uses.iter().filter_map(|it| {
        let tensor = network.tensor(&it.initializer)?;
        if tensor.shape != matrix.shape {
            return None;
        }
        let by_input = has_row_per_input(network, it.place)?;
        let turned = match (holds(tensor, false), holds(tensor, true)) {
            (true, false) => false,
            (false, true) => true,
            _ => return None,
        };
        Some(match by_input != turned {
            true => Layout::Inputs,
            false => Layout::Outputs,
        })
    });
    let first = layouts.next()?;
    layouts.all(|other| other == first).then_some(first)
}
