//! Reads `.onnx` files: the model and the tensors of its initializers, memory-mapped.

pub mod bodies;
mod constants;
pub mod external;
pub mod proto;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use self::proto::{DataLocation, DataType, GraphProto, ModelProto, TensorProto};
use super::tensor::{Dtype, Tensor};
use crate::base::files::Stamp;
use crate::base::map;
use crate::error::{Error, Result};

/// The export of a network that keeps every tensor under its name, with a batch of any size.
pub const EXPORT: &str = "torch.onnx.export(model.eval(), (example,), \"zs.onnx\", dynamo=True, optimize=False, \
                          dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))";

/// Maximum size of a protobuf message in bytes: its lengths are signed 32-bit integers.
pub const MESSAGE: usize = i32::MAX as usize;

/// A decoded model file; its weights stay in the mapped file.
#[derive(Debug, Clone)]
pub struct Model {
    /// Path of the file.
    pub path: PathBuf,
    /// The model as protobuf messages; weights are slices of the mapping. Float tensors of the graphs
    /// inside nodes are initializers of the graph itself.
    pub proto: ModelProto,
    /// Every initializer by name, including external data.
    pub tensors: BTreeMap<String, Tensor>,
    /// Names of initializers that are values of `Constant` nodes in the file.
    pub lifted: BTreeSet<String>,
    /// Size of the file, without external data.
    bytes: usize,
    /// The external files that hold weights, as they were when they were opened.
    pub external: Vec<Stamp>,
}

impl Model {
    /// Reads a model and locates its weights.
    ///
    /// # Errors
    /// When the file is missing, truncated or no ONNX model; when a weight's bytes do not fit its
    /// shape; or when external data is missing, too short, or outside the model's folder.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = map::map_file(path)?;
        let size = bytes.len();
        let mut proto = ModelProto::decode(bytes).map_err(|error| {
            Error::input(path, format!("is not a whole ONNX model: {error}"))
                .help("was the copy or download cut short? compare its size with the original")
        })?;
        proto.graph.iter_mut().for_each(bodies::lift);
        let lifted = constants::lift(&mut proto);
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
            lifted,
            bytes: size,
            external: external.stamps(),
        })
    }

    /// Whether the file, without external data, is small enough for a protobuf message, so that
    /// other programs can read it.
    pub fn fits_a_message(&self) -> bool {
        self.bytes <= MESSAGE
    }

    /// The model's graph.
    pub fn graph(&self) -> &GraphProto {
        // `read` refuses models without a graph; the empty one only satisfies the type.
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
    // Fields other than `raw_data` hold small integers in wider ones.
    if let Some(size) = dtype.size().filter(|_| dtype.is_float()) {
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

/// The elements as little-endian bytes, whichever field holds them.
pub fn elements(proto: &TensorProto) -> Bytes {
    if let Some(raw) = &proto.raw_data {
        return raw.clone();
    }
    let halves = |values: &[i32]| -> Vec<u8> {
        // f16 and bf16 are stored in the low half of an int32.
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

/// The element types of ONNX.
const DTYPES: [(DataType, Dtype); 14] = [
    (DataType::Float, Dtype::F32),
    (DataType::Float16, Dtype::F16),
    (DataType::Bfloat16, Dtype::Bf16),
    (DataType::Double, Dtype::F64),
    (DataType::Int64, Dtype::I64),
    (DataType::Int32, Dtype::I32),
    (DataType::Int16, Dtype::I16),
    (DataType::Int8, Dtype::I8),
    (DataType::Uint64, Dtype::U64),
    (DataType::Uint32, Dtype::U32),
    (DataType::Uint16, Dtype::U16),
    (DataType::Uint8, Dtype::U8),
    (DataType::Bool, Dtype::Bool),
    (DataType::String, Dtype::Other("string")),
];

/// The element type with an ONNX type number.
pub fn dtype(data_type: i32) -> Dtype {
    let mut table = DTYPES.iter();
    let found = table.find(|(theirs, _)| *theirs as i32 == data_type);
    found.map_or(Dtype::Other("unknown"), |(_, ours)| *ours)
}

/// The ONNX type number of an element type.
pub fn data_type(dtype: Dtype) -> i32 {
    let mut table = DTYPES.iter();
    let found = table.find(|(_, ours)| *ours == dtype);
    found.map_or(DataType::Undefined, |(theirs, _)| *theirs) as i32
}
