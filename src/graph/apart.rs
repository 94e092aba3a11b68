//! Large constants kept apart from a graph: a model as ONNX Runtime is given it stays small, however
//! large its tensors are (a protobuf message holds 2 GiB at most).

use crate::checkpoint::onnx::proto::{
    DataLocation, ModelProto, StringStringEntryProto, TensorProto,
};
use crate::checkpoint::onnx::{dtype, elements};
use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::graph::editor::GraphEditor;

/// Constants of more bytes than this are kept apart. Smaller ones stay inside, where ONNX Runtime
/// sees them while it infers shapes: an axis, a shape, an epsilon.
pub const INSIDE: usize = 1 << 10;

/// Integers of fewer bytes stay inside in any case: shapes, pads, the sizes of a split. ONNX Runtime
/// refuses a graph in which it cannot read them.
const INTEGERS: usize = 1 << 16;

/// Element types that are kept apart, as both sides store them in the same form.
const PLAIN: [Dtype; 9] = [
    Dtype::F32,
    Dtype::F64,
    Dtype::F16,
    Dtype::Bf16,
    Dtype::I64,
    Dtype::I32,
    Dtype::I8,
    Dtype::U8,
    Dtype::Bool,
];

/// Takes the initializers of more than `inside` bytes out of a model, integers of more than 64 KiB. They stay as headers marked
/// as external; returns the tensors by name.
pub fn kept_apart(model: ModelProto, inside: usize) -> (ModelProto, Vec<(String, Tensor)>) {
    let mut apart = Vec::new();
    let model = each_initializer(model, |proto| match stored(&proto, inside) {
        None => proto,
        Some(tensor) => {
            let header = header(&proto, tensor.bytes.len());
            apart.push((proto.name().to_string(), tensor));
            header
        }
    });
    (model, apart)
}

/// Replaces the elements of each initializer that [`kept_apart`] would take out.
///
/// # Errors
/// Returns the errors of `replace`.
pub fn replaced<E>(
    model: ModelProto,
    inside: usize,
    mut replace: impl FnMut(Tensor) -> Result<Tensor, E>,
) -> Result<ModelProto, E> {
    let mut failed = None;
    let model = each_initializer(model, |proto| {
        let Some(tensor) = stored(&proto, inside).filter(|_| failed.is_none()) else {
            return proto;
        };
        match replace(tensor) {
            Ok(tensor) => TensorProto {
                name: proto.name,
                dims: proto.dims,
                data_type: proto.data_type,
                raw_data: Some(tensor.bytes),
                ..TensorProto::default()
            },
            Err(error) => {
                failed = Some(error);
                proto
            }
        }
    });
    failed.map_or(Ok(model), Err)
}

/// An initializer without its elements, which take `bytes` bytes and are supplied from memory when
/// a session is built.
pub fn header(proto: &TensorProto, bytes: usize) -> TensorProto {
    // The file is never opened.
    located(proto, "from-memory", 0, bytes)
}

/// An initializer whose elements are at a place of a file beside the model.
pub fn located(proto: &TensorProto, location: &str, offset: u64, bytes: usize) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_string()),
        value: Some(value),
    };
    TensorProto {
        name: proto.name.clone(),
        dims: proto.dims.clone(),
        data_type: proto.data_type,
        doc_string: proto.doc_string.clone(),
        metadata_props: proto.metadata_props.clone(),
        external_data: vec![
            entry("location", location.to_string()),
            entry("offset", offset.to_string()),
            entry("length", bytes.to_string()),
        ],
        data_location: Some(DataLocation::External as i32),
        ..TensorProto::default()
    }
}

fn each_initializer(
    model: ModelProto,
    change: impl FnMut(TensorProto) -> TensorProto,
) -> ModelProto {
    let mut editor = GraphEditor::open(model);
    let changed = editor.take_initializers().into_iter().map(change);
    let changed: Vec<TensorProto> = changed.collect();
    editor.add_initializers(changed);
    editor.finish()
}

/// The tensor of an initializer that holds more than `inside` bytes in the graph.
fn stored(proto: &TensorProto, inside: usize) -> Option<Tensor> {
    let dtype = dtype(proto.data_type());
    let dims = proto.dims.iter().map(|&dim| usize::try_from(dim).ok());
    let shape = dims.collect::<Option<Vec<usize>>>()?;
    let size = shape
        .iter()
        .try_fold(dtype.size()?, |product, &dim| product.checked_mul(dim))?;
    let is_inside = proto.data_location() != DataLocation::External;
    let inside = match dtype.is_float() {
        true => inside,
        false => inside.max(INTEGERS),
    };
    if !is_inside || size <= inside || !PLAIN.contains(&dtype) {
        return None;
    }
    let bytes = elements(proto);
    // Fields other than `raw_data` hold small integers in wider ones.
    (bytes.len() == size).then_some(Tensor {
        dtype,
        shape,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{DataType, GraphProto};

    fn tensor(name: &str, dtype: DataType, dims: &[i64], raw: Option<Vec<u8>>) -> TensorProto {
        TensorProto {
            name: Some(name.to_string()),
            dims: dims.to_vec(),
            data_type: Some(dtype as i32),
            raw_data: raw.map(Into::into),
            ..TensorProto::default()
        }
    }

    #[test]
    fn large_tensors_leave_a_header_and_the_rest_stays() {
        let floats = TensorProto {
            float_data: vec![1.0, 2.0, 3.0],
            ..tensor("floats", DataType::Float, &[3], None)
        };
        // One byte each, but four in this field.
        let bytes = TensorProto {
            int32_data: vec![1; 20],
            ..tensor("bytes", DataType::Uint8, &[20], None)
        };
        let small = tensor("small", DataType::Float, &[2], Some(vec![0; 8]));
        let elsewhere = header(&tensor("elsewhere", DataType::Float, &[9], None), 36);
        let model = ModelProto {
            graph: Some(GraphProto {
                initializer: vec![floats, bytes.clone(), small.clone(), elsewhere.clone()],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        let (model, apart) = kept_apart(model, 8);
        let [(name, taken)] = apart.as_slice() else {
            panic!("{apart:?}")
        };
        assert_eq!(
            (name.as_str(), taken.shape.as_slice()),
            ("floats", &[3][..])
        );
        assert_eq!(taken.bytes[4..8], 2.0_f32.to_le_bytes());
        let left = model.graph.unwrap().initializer;
        let expected = header(&tensor("floats", DataType::Float, &[3], None), 12);
        assert_eq!(left, [expected, bytes, small, elsewhere]);
    }
}
