//! Known facts about the values of a graph for one batch size: type, shape, and small integers.

use std::collections::HashMap;

use crate::checkpoint::onnx::proto::{DataType, TensorProto};
use crate::error::{Error, Result};

/// Type and shape of a value, and sometimes its elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Element type.
    pub dtype: DataType,
    /// Shape, including the batch.
    pub shape: Vec<usize>,
    /// Elements, if it holds a few integers or booleans: shapes, axes, indices.
    pub ints: Option<Vec<i64>>,
    /// Elements before rounding to its type, if it is a constant of the derivative.
    pub exact: Option<Vec<f64>>,
    /// Elements, if it is a short list of f32: the scales of Resize.
    pub floats: Option<Vec<f32>>,
}

impl Value {
    /// Makes a value without elements.
    pub fn new(dtype: DataType, shape: Vec<usize>) -> Self {
        Self {
            dtype,
            shape,
            ints: None,
            exact: None,
            floats: None,
        }
    }

    /// The same type and shape, without elements.
    pub fn forgotten(self) -> Self {
        Self::new(self.dtype, self.shape)
    }

    /// Whether the value can have a derivative.
    pub fn is_float(&self) -> bool {
        matches!(
            self.dtype,
            DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16
        )
    }
}

/// Maximum number of integers kept per value.
pub const FEW: usize = 4096;

/// Maximum number of floats kept per value; a value has one per axis.
pub const FEW_FLOATS: usize = 16;

/// Values by name.
#[derive(Debug, Clone, Default)]
pub struct Values(HashMap<String, Value>);

impl Values {
    /// Adds a value.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// Adds an initializer, with its elements if it holds a few integers.
    pub fn insert_tensor(&mut self, tensor: &TensorProto) {
        let shape: Vec<usize> = tensor.dims.iter().map(|&dim| dim.max(0) as usize).collect();
        let dtype = DataType::try_from(tensor.data_type()).unwrap_or(DataType::Undefined);
        let len: usize = shape.iter().product();
        let value = Value::new(dtype, shape);
        let value = Value {
            ints: (len <= FEW).then(|| integers(tensor)).flatten(),
            floats: (len <= FEW_FLOATS && dtype == DataType::Float).then(|| floats(tensor)),
            ..value
        };
        self.insert(tensor.name(), value);
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }

    /// Returns a value if it is known.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Returns a value.
    ///
    /// # Errors
    /// When the value is unknown.
    pub fn of(&self, name: &str) -> Result<&Value> {
        self.get(name).ok_or_else(|| {
            Error::runtime(
                "gradient",
                format!("type and shape of `{name}` are not known"),
            )
        })
    }
}

/// The elements of a tensor of integers or booleans that are stored in the message.
fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    match DataType::try_from(tensor.data_type()).ok()? {
        DataType::Int64 => Some(match &tensor.raw_data {
            Some(raw) => {
                let (elements, _) = raw.as_chunks::<8>();
                elements.iter().map(|&x| i64::from_le_bytes(x)).collect()
            }
            None => tensor.int64_data.clone(),
        }),
        DataType::Int32 => Some(match &tensor.raw_data {
            Some(raw) => {
                let (elements, _) = raw.as_chunks::<4>();
                let elements = elements.iter();
                elements
                    .map(|&x| i64::from(i32::from_le_bytes(x)))
                    .collect()
            }
            None => tensor.int32_data.iter().map(|&x| i64::from(x)).collect(),
        }),
        DataType::Bool => Some(match &tensor.raw_data {
            Some(raw) => raw.iter().map(|&x| i64::from(x != 0)).collect(),
            None => tensor.int32_data.iter().map(|&x| i64::from(x)).collect(),
        }),
        _ => None,
    }
}

/// The elements of an f32 tensor that are stored in the message.
fn floats(tensor: &TensorProto) -> Vec<f32> {
    let Some(raw) = &tensor.raw_data else {
        return tensor.float_data.clone();
    };
    let (elements, _) = raw.as_chunks::<4>();
    elements.iter().map(|&x| f32::from_le_bytes(x)).collect()
}
