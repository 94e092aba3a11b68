//! Loss and correctness of each sample, computed by the graph itself: on a GPU only they have to
//! leave it, not the logits.

use super::build::node;
use crate::checkpoint::onnx::data_type;
use crate::checkpoint::onnx::proto::{
    DataType, Dimension, DimensionValue, ModelProto, TensorShapeProto, TensorType, TypeProto,
    TypeValue, ValueInfoProto,
};
use crate::checkpoint::tensor::Dtype;

/// Input: the classes, i64 [batch, 1].
pub const LABELS: &str = "landscape.labels";
/// Output: cross-entropies in nats, f64 [batch, 1].
pub const LOSS: &str = "landscape.loss";
/// Output: whether the first largest logit is the label's, bool [batch, 1].
pub const CORRECT: &str = "landscape.correct";

/// The first version of the standard operators in which all that is needed means the same.
const OPSET: i64 = 13;

/// Adds loss and correctness behind the output `logits`, [batch, classes]; `None` when the model's
/// operators are too old for it.
pub fn append(mut model: ModelProto, logits: &str) -> Option<ModelProto> {
    let standard = |domain: &str| ["", "ai.onnx"].contains(&domain);
    let mut imports = model.opset_import.iter();
    let opset = imports.find(|import| standard(import.domain.as_deref().unwrap_or_default()))?;
    if opset.version.unwrap_or_default() < OPSET {
        return None;
    }
    let graph = model.graph.as_mut()?;
    let (wide, scores, at_label, best) = (
        "landscape.wide",
        "landscape.scores",
        "landscape.at_label",
        "landscape.best",
    );
    graph.node.extend([
        node("Cast", &[logits], wide, &[("to", DataType::Double as i64)]),
        node("LogSoftmax", &[wide], scores, &[("axis", 1)]),
        node(
            "GatherElements",
            &[scores, LABELS],
            at_label,
            &[("axis", 1)],
        ),
        node("Neg", &[at_label], LOSS, &[]),
        node("ArgMax", &[wide], best, &[("axis", 1), ("keepdims", 1)]),
        node("Equal", &[best, LABELS], CORRECT, &[]),
    ]);
    graph.input.push(column(LABELS, DataType::Int64 as i32));
    graph.output.push(column(LOSS, data_type(Dtype::F64)));
    graph.output.push(column(CORRECT, DataType::Bool as i32));
    Some(model)
}

/// A value [batch, 1].
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
