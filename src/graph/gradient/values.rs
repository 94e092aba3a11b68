//! What is known of the values of a graph for one batch size: type, shape, and small integers.

use std::collections::HashMap;

use crate::checkpoint::onnx::proto::{DataType, TensorProto};
use crate::error::{Error, Result};

/// Type and shape of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Element type.
    pub dtype: DataType,
    /// Its shape, the batch included.
    pub shape: Vec<usize>,
    /// Its elements, where it holds a few integers or truth values: shapes, axes, indices.
    pub ints: Option<Vec<i64>>,
    /// Its elements before they were rounded to its type, where it is a constant of the derivative.
    pub exact: Option<Vec<f64>>,
    /// Its elements, where it is a short list of f32: what Resize scales by.
    pub floats: Option<Vec<f32>>,
}

impl Value {
    /// A value whose elements do not matter.
    pub fn new(dtype: DataType, shape: Vec<usize>) -> Self {
        Self {
            dtype,
            shape,
            ints: None,
            exact: None,
            floats: None,
        }
    }

    /// The same type and shape, the elements being others.
    pub fn forgotten(self) -> Self {
        Self::new(self.dtype, self.shape)
    }

    /// Whether it can have a derivative.
    pub fn is_float(&self) -> bool {
        matches!(
            self.dtype,
            DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16
        )
    }
}

/// Integers kept of a value at most.
pub const FEW: usize = 4096;

/// Floats kept of a value at most; there are as many as it has axes.
pub const FEW_FLOATS: usize = 16;

/// Values by name.
#[derive(Debug, Clone, Default)]
pub struct Values(HashMap<String, Value>);

impl Values {
    /// Adds a value.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// Adds an initializer, with its elements where it holds a few integers.
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

    /// A value, where it is known.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A value.
    ///
    /// # Errors
    /// When nothing is known of it.
    pub fn of(&self, name: &str) -> Result<&Value> {
        self.get(name).ok_or_else(|| {
            Error::runtime(
                "gradient",
                format!("type and shape of `{name}` are not known"),
            )
        })
    }
}

/// The elements of a tensor of integers or truth values that lie in the message.
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

/// The elements of an f32 tensor that lie in the message.
fn floats(tensor: &TensorProto) -> Vec<f32> {
    let Some(raw) = &tensor.raw_data else {
        return tensor.float_data.clone();
    };
    let (elements, _) = raw.as_chunks::<4>();
    elements.iter().map(|&x| f32::from_le_bytes(x)).collect()
}
