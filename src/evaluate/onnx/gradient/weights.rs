//! Mixed tensors as a gradient graph takes them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ort::value::DynValue;
use rayon::prelude::*;

use super::precision::Precision;
use crate::checkpoint::tensor::Dtype;
use crate::error::Result;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::setup::failed;
use crate::evaluate::onnx::weights::{empty, upload};
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};

/// A tensor that several sessions read.
pub type Shared = Arc<DynValue>;

/// The moving tensors and, for Hessian-vector products, a direction in them.
#[derive(Clone)]
pub struct Weights {
    /// Identifies the moving tensors, whatever the direction.
    pub id: u64,
    /// `tensors[moving tensor]`.
    pub tensors: Vec<Shared>,
    /// The direction's component in each moving tensor, by the tensor's index.
    pub directions: HashMap<usize, Shared>,
}

impl Weights {
    /// New weights, without a direction.
    pub fn new(tensors: Vec<Shared>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            tensors,
            directions: HashMap::new(),
        }
    }

    /// These weights with a direction.
    pub fn along(&self, directions: HashMap<usize, Shared>) -> Self {
        Self {
            id: self.id,
            tensors: self.tensors.clone(),
            directions,
        }
    }

    /// Mixes the moving tensors.
    ///
    /// # Errors
    /// Fails when ONNX Runtime cannot hold them.
    pub fn of_mix(context: &Context<'_>, mix: &Mix, precision: Precision) -> Result<Self> {
        let pool = context.setup.pool;
        let moving = context.moving.par_iter();
        let tensors = moving.map_init(Scratch::default, |scratch, tensor| {
            let parameter = &pool.parameters[tensor.parameter];
            let dtype = match precision {
                Precision::Own => parameter.dtype,
                Precision::Double => Dtype::F64,
            };
            let mut value = empty(dtype, &parameter.shape)?;
            if dtype == parameter.dtype {
                upload(pool, tensor.parameter, mix, &mut value, scratch)?;
            } else {
                let out = MixOut::F64(value.try_extract_tensor_mut::<f64>()?.1);
                mix_into(pool, tensor.parameter, mix, out, scratch);
            }
            Ok(Arc::new(value))
        });
        let tensors = tensors.collect::<ort::Result<_>>();
        tensors
            .map(Self::new)
            .map_err(|error| failed("mixing weights", &error))
    }
}
