//! Typed buffers for the inputs of a network and for its logits. Only this file turns numbers into
//! tensors of ONNX Runtime and back.

use std::borrow::Cow;

use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor, TensorElementType, TensorRef, ValueType};

use crate::checkpoint::onnx::proto::DataType;
use crate::data::{BatchMut, InputDtype};

/// Elements of any type that a network accepts as input.
#[derive(Debug)]
pub enum Buffer {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// Evaluates one expression on the vector that a buffer holds, whatever its type.
macro_rules! with_buffer {
    ($buffer:expr, $data:ident => $body:expr) => {
        match $buffer {
            Buffer::F32($data) => $body,
            Buffer::F16($data) => $body,
            Buffer::Bf16($data) => $body,
            Buffer::F64($data) => $body,
            Buffer::I64($data) => $body,
            Buffer::I32($data) => $body,
            Buffer::U8($data) => $body,
            Buffer::Bool($data) => $body,
        }
    };
}

impl Buffer {
    /// A buffer of `len` zeros.
    pub fn new(dtype: InputDtype, len: usize) -> Self {
        match dtype {
            InputDtype::F32 => Self::F32(vec![0.0; len]),
            InputDtype::F16 => Self::F16(vec![f16::ZERO; len]),
            InputDtype::Bf16 => Self::Bf16(vec![bf16::ZERO; len]),
            InputDtype::F64 => Self::F64(vec![0.0; len]),
            InputDtype::I64 => Self::I64(vec![0; len]),
            InputDtype::I32 => Self::I32(vec![0; len]),
            InputDtype::U8 => Self::U8(vec![0; len]),
            InputDtype::Bool => Self::Bool(vec![false; len]),
        }
    }

    /// All elements, to be written.
    pub fn all(&mut self) -> BatchMut<'_> {
        match self {
            Self::F32(data) => BatchMut::F32(data),
            Self::F16(data) => BatchMut::F16(data),
            Self::Bf16(data) => BatchMut::Bf16(data),
            Self::F64(data) => BatchMut::F64(data),
            Self::I64(data) => BatchMut::I64(data),
            Self::I32(data) => BatchMut::I32(data),
            Self::U8(data) => BatchMut::U8(data),
            Self::Bool(data) => BatchMut::Bool(data),
        }
    }

    /// Rows `from..to` as a tensor [batch, shape…]. Nothing is copied unless `batch` exceeds
    /// the number of rows; then copies of the first row are appended.
    fn rows(
        &self,
        (from, to): (usize, usize),
        shape: &[usize],
        batch: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        if to - from < batch {
            return Ok(self.owned((from, to), shape, batch)?.into());
        }
        let row: usize = shape.iter().product();
        with_buffer!(self, data => {
            let rows = &data[from * row..to * row];
            Ok(TensorRef::from_array_view((dims(batch, shape), rows))?.into())
        })
    }

    /// Copies rows `from..to` into a tensor [batch, shape…], padded as in [`Buffer::rows`].
    fn owned(
        &self,
        (from, to): (usize, usize),
        shape: &[usize],
        batch: usize,
    ) -> ort::Result<DynValue> {
        let row: usize = shape.iter().product();
        with_buffer!(self, data => {
            let rows = &data[from * row..to * row];
            let mut all = rows.to_vec();
            for _ in to - from..batch {
                all.extend_from_slice(&rows[..row]);
            }
            Ok(Tensor::from_array((dims(batch, shape), all))?.into_dyn())
        })
    }

    /// Copies the rows at `places`; each row has `row` elements.
    fn select(&self, places: &[usize], row: usize) -> Self {
        macro_rules! select {
            ($($kind:ident),*) => {
                match self {
                    $(Self::$kind(data) => Self::$kind(
                        places
                            .iter()
                            .flat_map(|&place| &data[place * row..(place + 1) * row])
                            .copied()
                            .collect(),
                    ),)*
                }
            };
        }
        select!(F32, F16, Bf16, F64, I64, I32, U8, Bool)
    }

    /// All elements as doubles, for comparisons. Integers beyond 2⁵³ lose their last digits.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Self::F32(data) => data.iter().map(|&x| x.into()).collect(),
            Self::F16(data) => data.iter().map(|&x| x.into()).collect(),
            Self::Bf16(data) => data.iter().map(|&x| x.into()).collect(),
            Self::F64(data) => data.clone(),
            Self::I64(data) => data.iter().map(|&x| x as f64).collect(),
            Self::I32(data) => data.iter().map(|&x| x.into()).collect(),
            Self::U8(data) => data.iter().map(|&x| x.into()).collect(),
            Self::Bool(data) => data.iter().map(|&x| u8::from(x).into()).collect(),
        }
    }

    /// Appends a tensor that a network computed; returns `false` if its type differs.
    pub fn append(&mut self, value: &DynValue, rows: usize, row: usize) -> ort::Result<bool> {
        let len = rows * row;
        with_buffer!(self, data => match value.try_extract_tensor() {
            Ok((_, values)) => {
                data.extend_from_slice(&values[..len.min(values.len())]);
                Ok(values.len() >= len)
            }
            Err(_) => Ok(false),
        })
    }
}

/// One value per sample, all of one shape, stored one after the other: row k belongs to sample k.
#[derive(Debug)]
pub struct SampleRows {
    values: Buffer,
    /// The shape of one sample.
    shape: Vec<usize>,
}

impl SampleRows {
    /// Wraps values whose samples have this shape.
    pub fn new(values: Buffer, shape: Vec<usize>) -> Self {
        Self { values, shape }
    }

    /// Rows `from..to` as a tensor [batch, shape…]. Nothing is copied unless `batch` exceeds the
    /// number of rows; then copies of the first row are appended.
    ///
    /// # Errors
    /// Fails when ONNX Runtime cannot create the tensor.
    pub fn view(&self, rows: (usize, usize), batch: usize) -> ort::Result<SessionInputValue<'_>> {
        self.values.rows(rows, &self.shape, batch)
    }

    /// Rows `from..to` as a tensor that owns a copy, padded as in [`SampleRows::view`].
    ///
    /// # Errors
    /// Fails as [`SampleRows::view`] does.
    pub fn copy(&self, rows: (usize, usize), batch: usize) -> ort::Result<DynValue> {
        self.values.owned(rows, &self.shape, batch)
    }

    /// Copies the rows at `places`.
    pub fn select(&self, places: &[usize]) -> Self {
        let row = self.shape.iter().product();
        Self::new(self.values.select(places, row), self.shape.clone())
    }
}

fn dims(batch: usize, shape: &[usize]) -> Vec<i64> {
    let dims = std::iter::once(&batch).chain(shape);
    dims.map(|&dim| dim as i64).collect()
}

/// The type of a network's value, if a buffer can hold it.
pub fn dtype_of(value: &ValueType) -> Option<InputDtype> {
    match value.tensor_type()? {
        TensorElementType::Float32 => Some(InputDtype::F32),
        TensorElementType::Float16 => Some(InputDtype::F16),
        TensorElementType::Bfloat16 => Some(InputDtype::Bf16),
        TensorElementType::Float64 => Some(InputDtype::F64),
        TensorElementType::Int64 => Some(InputDtype::I64),
        TensorElementType::Int32 => Some(InputDtype::I32),
        TensorElementType::Uint8 => Some(InputDtype::U8),
        TensorElementType::Bool => Some(InputDtype::Bool),
        _ => None,
    }
}

/// ONNX's number for a type.
pub fn onnx_type(dtype: InputDtype) -> i32 {
    let data_type = match dtype {
        InputDtype::F32 => DataType::Float,
        InputDtype::F16 => DataType::Float16,
        InputDtype::Bf16 => DataType::Bfloat16,
        InputDtype::F64 => DataType::Double,
        InputDtype::I64 => DataType::Int64,
        InputDtype::I32 => DataType::Int32,
        InputDtype::U8 => DataType::Uint8,
        InputDtype::Bool => DataType::Bool,
    };
    data_type as i32
}

/// Shape and values of logits, as f32.
pub type Logits<'v> = (Vec<i64>, Cow<'v, [f32]>);

/// Reads logits of any floating-point type.
pub fn to_f32(value: &DynValue) -> ort::Result<Logits<'_>> {
    if let Ok((shape, data)) = value.try_extract_tensor::<f32>() {
        return Ok((shape.to_vec(), data.into()));
    }
    if let Ok((shape, data)) = value.try_extract_tensor::<f16>() {
        let data: Vec<f32> = data.iter().map(|x| x.to_f32()).collect();
        return Ok((shape.to_vec(), data.into()));
    }
    if let Ok((shape, data)) = value.try_extract_tensor::<bf16>() {
        let data: Vec<f32> = data.iter().map(|x| x.to_f32()).collect();
        return Ok((shape.to_vec(), data.into()));
    }
    let (shape, data) = value.try_extract_tensor::<f64>()?;
    let data: Vec<f32> = data.iter().map(|&x| x as f32).collect();
    Ok((shape.to_vec(), data.into()))
}
