//! Nodes with random results, which differ from run to run.
//!
//! The list contains the ONNX operators whose results do not follow from their inputs: those that
//! ONNX Runtime never folds as constants (its `kNonDeterministicOps`), and `Bernoulli`.

use super::names::bodies;
use crate::checkpoint::onnx::proto::NodeProto;

/// Operators that always draw random numbers.
const RANDOM: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// Whether a node itself draws random numbers whatever its inputs are. A `Dropout` may draw, but
/// that depends on its inputs.
pub fn always_draws(node: &NodeProto) -> bool {
    RANDOM.contains(&node.op_type())
}

/// Whether a node or a node inside it may draw random numbers: an operator that always does, or a
/// `Dropout` with an input for training mode.
pub fn may_draw(node: &NodeProto) -> bool {
    let training_mode = node.input.get(2).is_some_and(|input| !input.is_empty());
    let may_drop = node.op_type() == "Dropout" && training_mode;
    let mut inner = bodies(node).flat_map(|body| &body.node);
    always_draws(node) || may_drop || inner.any(may_draw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{AttributeProto, GraphProto};
    use crate::graph::build::node;

    #[test]
    fn operators_that_draw_are_known_and_so_is_a_dropout_that_may() {
        for operator in RANDOM {
            assert!(always_draws(&node(operator, &["x"], "y", &[])));
        }
        assert!(may_draw(&node(
            "Dropout",
            &["x", "ratio", "train"],
            "y",
            &[]
        )));
        for inputs in [&["x"][..], &["x", "ratio"], &["x", "ratio", ""]] {
            assert!(!may_draw(&node("Dropout", inputs, "y", &[])));
        }
        assert!(!may_draw(&node("Add", &["x", "y", "z"], "s", &[])));
    }

    #[test]
    fn a_body_that_draws_makes_its_node_draw() {
        let body = GraphProto {
            node: vec![node("RandomNormalLike", &["x"], "y", &[])],
            ..GraphProto::default()
        };
        let mut branch = node("If", &["c"], "y", &[]);
        branch.attribute.push(AttributeProto {
            g: Some(body),
            ..AttributeProto::default()
        });
        assert!(may_draw(&branch) && !always_draws(&branch));
    }
}
