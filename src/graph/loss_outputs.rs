//! Adds each sample's loss and correctness to the graph, so that on a GPU only they have to be
//! copied out instead of the logits.

use super::build::node;
use super::editor::GraphEditor;
use crate::checkpoint::onnx::data_type;
use crate::checkpoint::onnx::proto::{
    DataType, Dimension, DimensionValue, ModelProto, NodeProto, TensorShapeProto, TensorType,
    TypeProto, TypeValue, ValueInfoProto,
};
use crate::checkpoint::tensor::Dtype;

/// Input: the class labels, i64 [batch, 1].
pub const LABELS: &str = "landscape.labels";
/// Output: cross-entropies in nats, f64 [batch, 1].
pub const LOSS: &str = "landscape.loss";
/// Output: whether the first largest logit is that of the label, bool [batch, 1].
pub const CORRECT: &str = "landscape.correct";

/// The first version of the standard operators in which all operators used here mean the same.
const OPSET: i64 = 13;

/// Adds loss and correctness after the output `logits`, [batch, classes]. Returns `None` if the
/// model's operators are too old.
pub fn append(model: ModelProto, logits: &str) -> Option<ModelProto> {
    let mut editor = GraphEditor::open(model);
    if editor.opset()? < OPSET {
        return None;
    }
    editor.append_nodes(loss_nodes(logits, None));
    editor.add_inputs([column(LABELS, DataType::Int64 as i32)]);
    editor.add_outputs([
        column(LOSS, data_type(Dtype::F64)),
        column(CORRECT, DataType::Bool as i32),
    ]);
    Some(editor.finish())
}

/// Makes the nodes that compute [`LOSS`] and [`CORRECT`] from the value `logits`, [batch, classes],
/// and the input [`LABELS`]. The loss is that of β·logits if `beta` names a scalar, f64. Logits are
/// widened to f64 first.
pub fn loss_nodes(logits: &str, beta: Option<&str>) -> Vec<NodeProto> {
    let (wide, scaled, scores, at_label, best) = (
        "landscape.wide",
        "landscape.scaled",
        "landscape.scores",
        "landscape.at_label",
        "landscape.best",
    );
    let axis = [("axis", 1)];
    let double = DataType::Double as i64;
    let mut nodes = vec![node("Cast", &[logits], wide, &[("to", double)])];
    nodes.extend(beta.map(|beta| node("Mul", &[wide, beta], scaled, &[])));
    let seen = beta.map_or(wide, |_| scaled);
    nodes.extend([
        node("LogSoftmax", &[seen], scores, &axis),
        node("GatherElements", &[scores, LABELS], at_label, &axis),
        node("Neg", &[at_label], LOSS, &[]),
        node("ArgMax", &[wide], best, &[("axis", 1), ("keepdims", 1)]),
        node("Equal", &[best, LABELS], CORRECT, &[]),
    ]);
    nodes
}

/// Describes a value of shape [batch, 1].
fn column(name: &str, elem_type: i32) -> ValueInfoProto {
    let dims = [
        DimensionValue::DimParam("landscape.batch".to_string()),
        DimensionValue::DimValue(1),
    ];
    let dim = dims.map(|value| Dimension {
        value: Some(value),
        ..Dimension::default()
    });
    ValueInfoProto {
        name: Some(name.to_string()),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(TensorType {
                elem_type: Some(elem_type),
                shape: Some(TensorShapeProto { dim: dim.into() }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
