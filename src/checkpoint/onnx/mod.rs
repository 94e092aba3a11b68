//! Reading `.onnx`: the model and the tensors of its initializers, memory-mapped.

pub mod external;
pub mod proto;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use self::proto::{DataLocation, DataType, GraphProto, ModelProto, TensorProto};
use super::tensor::{Dtype, Tensor};
use crate::base::map;
use crate::error::{Error, Result};

/// A model file, decoded; weights stay in the mapped file.
#[derive(Debug, Clone)]
pub struct Model {
    /// Where it was read from.
    pub path: PathBuf,
    /// The messages, with weights as slices of the mapping.
    pub proto: ModelProto,
    /// Every initializer by name, external data included.
    pub tensors: BTreeMap<String, Tensor>,
    /// The files beside it that hold weights.
    pub external: Vec<PathBuf>,
}

impl Model {
    /// Reads a model and locates its weights.
    ///
    /// # Errors
    /// When the file is missing, truncated or no ONNX model, when a weight's bytes do not fit
    /// its shape, or when external data is missing, too short, or outside the model's folder.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = map::map_file(path)?;
        let proto = ModelProto::decode(bytes).map_err(|error| {
            Error::input(path, format!("is not a whole ONNX model: {error}"))
                .help("was the copy or download cut short? compare its size with the original")
        })?;
        let graph = proto.graph.as_ref().filter(|graph| !graph.node.is_empty());
        let Some(graph) = graph else {
            return Err(Error::input(
                path,
                "is not an ONNX model: it holds no network",
            ));
        };
        let mut external = external::Files::beside(path);
        let mut tensors = BTreeMap::new();
        for initializer in &graph.initializer {
            let tensor = tensor(path, initializer, &mut external)?;
            if tensors
                .insert(initializer.name().to_string(), tensor)
                .is_some()
            {
                let name = initializer.name();
                return Err(Error::input(
                    path,
                    format!("holds two initializers called `{name}`"),
                ));
            }
        }
        if !graph.sparse_initializer.is_empty() {
            return Err(Error::input(
                path,
                "holds sparse initializers, which cannot be averaged here",
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            proto,
            tensors,
            external: external.paths(),
        })
    }

    /// The network.
    pub fn graph(&self) -> &GraphProto {
        // `read` refuses models without a graph; an empty one stands in for the type's sake.
        static EMPTY: std::sync::LazyLock<GraphProto> =
            std::sync::LazyLock::new(GraphProto::default);
        self.proto.graph.as_ref().unwrap_or(&EMPTY)
    }
}

/// Decodes the header of one initializer and locates its elements.
fn tensor(path: &Path, proto: &TensorProto, external: &mut external::Files) -> Result<Tensor> {
    let fault =
        |problem: String| Error::input(path, format!("initializer `{}`: {problem}", proto.name()));
    let shape = proto
        .dims
        .iter()
        .map(|&dim| usize::try_from(dim).map_err(|_| fault(format!("has a size of {dim}"))))
        .collect::<Result<Vec<_>>>()?;
    let dtype = dtype(proto.data_type());
    let bytes = if proto.data_location() == DataLocation::External {
        external
            .bytes(proto)
            .map_err(|error| error.within(path, proto.name()))?
    } else {
        elements(proto)
    };
    if let Some(size) = dtype.size() {
        let expected = shape
            .iter()
            .try_fold(size, |product, &dim| product.checked_mul(dim));
        if expected != Some(bytes.len()) {
            let found = bytes.len();
            return Err(fault(format!(
                "shape {shape:?} of {} does not fit its {found} bytes",
                dtype.name()
            )));
        }
    }
    Ok(Tensor {
        dtype,
        shape,
        bytes,
    })
}

/// The elements as little-endian bytes, from whichever field holds them.
pub fn elements(proto: &TensorProto) -> Bytes {
    if let Some(raw) = &proto.raw_data {
        return raw.clone();
    }
    let halves = |values: &[i32]| -> Vec<u8> {
        // f16 and bf16 travel as the low half of an int32.
        values
            .iter()
            .flat_map(|&value| (value as u16).to_le_bytes())
            .collect()
    };
    match DataType::try_from(proto.data_type()) {
        Ok(DataType::Float) => collect(&proto.float_data, |value| value.to_le_bytes()),
        Ok(DataType::Double) => collect(&proto.double_data, |value| value.to_le_bytes()),
        Ok(DataType::Float16 | DataType::Bfloat16) => halves(&proto.int32_data).into(),
        Ok(DataType::Int64) => collect(&proto.int64_data, |value| value.to_le_bytes()),
        _ => collect(&proto.int32_data, |value| value.to_le_bytes()),
    }
}

fn collect<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    values
        .iter()
        .flat_map(|&value| bytes(value))
        .collect::<Vec<u8>>()
        .into()
}

/// The element type of an ONNX type number.
pub fn dtype(data_type: i32) -> Dtype {
    match DataType::try_from(data_type) {
        Ok(DataType::Float) => Dtype::F32,
        Ok(DataType::Float16) => Dtype::F16,
        Ok(DataType::Bfloat16) => Dtype::Bf16,
        Ok(DataType::Double) => Dtype::F64,
        Ok(DataType::Int64) => Dtype::Other("i64"),
        Ok(DataType::Int32) => Dtype::Other("i32"),
        Ok(DataType::Int16) => Dtype::Other("i16"),
        Ok(DataType::Int8) => Dtype::Other("i8"),
        Ok(DataType::Uint64) => Dtype::Other("u64"),
        Ok(DataType::Uint32) => Dtype::Other("u32"),
        Ok(DataType::Uint16) => Dtype::Other("u16"),
        Ok(DataType::Uint8) => Dtype::Other("u8"),
        Ok(DataType::Bool) => Dtype::Other("bool"),
        Ok(DataType::String) => Dtype::Other("string"),
        _ => Dtype::Other("unknown"),
    }
}

/// The ONNX type number of a floating-point element type.
pub fn data_type(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::F32 => DataType::Float as i32,
        Dtype::F16 => DataType::Float16 as i32,
        Dtype::Bf16 => DataType::Bfloat16 as i32,
        Dtype::F64 => DataType::Double as i32,
        Dtype::Other(_) => DataType::Undefined as i32,
    }
}
