//! Rewrites `CastLike` nodes to a known type as `Cast` nodes.
//!
//! If a convolution has no bias, PyTorch's exporter writes zeros, cast like the convolution's
//! input. ONNX Runtime assumes that they depend on the data: it neither folds batch norm into such
//! a convolution nor picks its faster layout. Only graphs that are run are changed; saved graphs
//! keep their nodes.

use std::collections::HashMap;

use super::build::int;
use super::editor::{GraphEditor, is_standard};
use crate::checkpoint::onnx::proto::{ModelProto, TypeValue, ValueInfoProto};

/// Rewrites each `CastLike` as a `Cast` if the graph says what type it casts to.
pub fn resolved(model: ModelProto) -> ModelProto {
    let mut editor = GraphEditor::open(model);
    let graph = editor.graph();
    let described = graph.input.iter().chain(&graph.value_info);
    let described = described.filter_map(|info| Some((info.name().to_string(), dtype(info)?)));
    let stored = graph.initializer.iter();
    let stored = stored.map(|tensor| (tensor.name().to_string(), tensor.data_type()));
    let types: HashMap<String, i32> = described.chain(stored).collect();
    for index in 0..editor.graph().node.len() {
        let node = &editor.graph().node[index];
        let [_, like] = node.input.as_slice() else {
            continue;
        };
        let is_cast = is_standard(node.domain()) && node.op_type() == "CastLike";
        let known = types.get(like).filter(|_| is_cast);
        if let Some(&dtype) = known {
            let mut cast = node.clone();
            cast.op_type = Some("Cast".to_string());
            cast.input.truncate(1);
            cast.attribute.push(int("to", i64::from(dtype)));
            editor.replace_node(index, cast);
        }
    }
    editor.finish()
}

fn dtype(info: &ValueInfoProto) -> Option<i32> {
    match info.r#type.as_ref()?.value.as_ref()? {
        TypeValue::Tensor(tensor) => tensor.elem_type,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{DataType, GraphProto, NodeProto, TensorProto};
    use crate::graph::build::described;

    fn cast_like(value: &str, like: &str) -> NodeProto {
        NodeProto {
            input: vec![value.to_string(), like.to_string()],
            output: vec![format!("{value} like {like}")],
            op_type: Some("CastLike".to_string()),
            ..NodeProto::default()
        }
    }

    #[test]
    fn a_cast_to_a_known_type_says_which() {
        let graph = GraphProto {
            input: vec![described("x", DataType::Float, &[1])],
            value_info: vec![described("h", DataType::Double, &[1])],
            initializer: vec![TensorProto {
                name: Some("w".to_string()),
                data_type: Some(DataType::Float16 as i32),
                ..TensorProto::default()
            }],
            node: ["x", "h", "w", "unknown"]
                .map(|like| cast_like("zero", like))
                .to_vec(),
            ..GraphProto::default()
        };
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        let graph = resolved(model).graph.unwrap();
        let to = |node: &NodeProto| node.attribute.first().and_then(|to| to.i);
        let types: Vec<Option<i64>> = graph.node.iter().map(to).collect();
        assert_eq!(types, [Some(1), Some(11), Some(10), None]);
        let operators: Vec<&str> = graph.node.iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["Cast", "Cast", "Cast", "CastLike"]);
        assert_eq!(graph.node[0].input, ["zero"]);
        assert_eq!(graph.node[3].input, ["zero", "unknown"]);
    }
}
