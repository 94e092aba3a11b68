//! A model as ONNX Runtime is given it: a small graph, and its large constants in memory beside it.
//! Its sessions read the constants where they lie, mostly in the mapped files of the checkpoints.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{DynValue, TensorElementType};
use ort::{AsPointer, sys};
use prost::Message;

use crate::base::map;
use crate::checkpoint::onnx::proto::ModelProto;
use crate::checkpoint::tensor::{Dtype, Tensor};
use crate::graph::apart;

/// The alignment, in bytes, of every element type.
const ALIGNMENT: usize = 8;

/// A model without its large constants, and these.
#[derive(Debug)]
pub struct LightModel {
    bytes: Vec<u8>,
    apart: Vec<(String, Tensor)>,
}

/// A session, and the memory that it reads.
pub struct LightSession {
    // Goes before what it reads.
    session: Session,
    _constants: Vec<Bytes>,
}

impl LightModel {
    /// Writes a model; constants of more than `inside` bytes stay outside.
    pub fn new(model: ModelProto, inside: usize) -> Self {
        let (model, apart) = apart::kept_apart(model, inside);
        Self {
            bytes: model.encode_to_vec(),
            apart,
        }
    }

    /// Builds a session. The builder may already hold other external initializers of the model.
    ///
    /// # Errors
    /// Fails when ONNX Runtime refuses the model, or memory is missing.
    pub fn commit(&self, mut builder: SessionBuilder) -> ort::Result<LightSession> {
        let mut constants = Vec::with_capacity(self.apart.len());
        for (name, tensor) in &self.apart {
            let elements = aligned(tensor.bytes.clone())?;
            let value = reading(&elements, tensor)?;
            builder = builder.with_external_initializer(name, Arc::new(value))?;
            constants.push(elements);
        }
        Ok(LightSession {
            session: builder.commit_from_memory(&self.bytes)?,
            _constants: constants,
        })
    }
}

impl From<Session> for LightSession {
    fn from(session: Session) -> Self {
        Self {
            session,
            _constants: Vec::new(),
        }
    }
}

impl Deref for LightSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for LightSession {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// A model whose large constants can be read where they lie by all sessions: those that begin
/// between two elements in their file are copied, once.
///
/// # Errors
/// Fails when memory is missing.
pub fn readable(model: ModelProto, inside: usize) -> ort::Result<ModelProto> {
    apart::replaced(model, inside, |tensor| {
        Ok(Tensor {
            bytes: aligned(tensor.bytes)?,
            ..tensor
        })
    })
}

/// The bytes, or a copy of them if they begin between two elements.
fn aligned(bytes: Bytes) -> ort::Result<Bytes> {
    if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
        return Ok(bytes);
    }
    map::copy(&bytes).map_err(|error| ort::Error::new(error.to_string()))
}

/// A tensor of ONNX Runtime that reads `elements`, which must outlive it.
fn reading(elements: &Bytes, tensor: &Tensor) -> ort::Result<DynValue> {
    let memory = MemoryInfo::default();
    let shape: Vec<i64> = tensor.shape.iter().map(|&dim| dim as i64).collect();
    let mut value = std::ptr::null_mut();
    // SAFETY: pointers and lengths belong together. ONNX Runtime does not write to an initializer,
    // and the caller keeps the elements for as long as the session.
    unsafe {
        ort::Error::result_from_status((ort::api().CreateTensorWithDataAsOrtValue)(
            memory.ptr(),
            elements.as_ptr().cast_mut().cast(),
            elements.len(),
            shape.as_ptr(),
            shape.len(),
            element_type(tensor.dtype).into(),
            &raw mut value,
        ))?;
    }
    let missing = || ort::Error::new("ONNX Runtime made no tensor");
    let value: NonNull<sys::OrtValue> = NonNull::new(value).ok_or_else(missing)?;
    // SAFETY: the value was just made, and nothing else releases it.
    Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
}

/// The element type of a tensor that is kept apart.
fn element_type(dtype: Dtype) -> TensorElementType {
    match dtype {
        Dtype::F32 => TensorElementType::Float32,
        Dtype::F64 => TensorElementType::Float64,
        Dtype::F16 => TensorElementType::Float16,
        Dtype::Bf16 => TensorElementType::Bfloat16,
        Dtype::I64 => TensorElementType::Int64,
        Dtype::I32 => TensorElementType::Int32,
        Dtype::I8 => TensorElementType::Int8,
        Dtype::U8 => TensorElementType::Uint8,
        Dtype::Bool => TensorElementType::Bool,
        _ => TensorElementType::Undefined,
    }
}
