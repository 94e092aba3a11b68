//! Mixed tensors as a gradient graph takes them, and gradients as it gives them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ort::value::DynValue;
use rayon::prelude::*;

use super::feed::Named;
use super::gradient_graph::Precision;
use crate::checkpoint::tensor::Dtype;
use crate::evaluate::onnx::Engine;
use crate::evaluate::onnx::worker::{empty, fill};
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};

/// Tensors that a graph reads by their names, and which set of weights they are.
#[derive(Clone)]
pub struct Weights {
    /// The same for the same moving tensors.
    pub id: u64,
    /// The moving tensors, in the engine's order, and what else is fed beside them.
    pub tensors: Vec<Named>,
}

impl Weights {
    /// Weights of their own.
    pub fn new(tensors: Vec<Named>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            tensors,
        }
    }

    /// The same weights with more beside them.
    pub fn with(&self, more: Vec<Named>) -> Self {
        Self {
            id: self.id,
            tensors: [self.tensors.as_slice(), &more].concat(),
        }
    }
}

/// The moving tensors of a mix by their names in the graph, in the engine's order.
///
/// # Errors
/// When ONNX Runtime cannot hold them.
pub fn mixed(engine: &Engine<'_>, mix: &Mix, precision: Precision) -> ort::Result<Weights> {
    let moving = engine.moving.par_iter();
    let tensors = moving.map_init(Scratch::default, |scratch, (index, name)| {
        let parameter = &engine.pool.parameters[*index];
        let dtype = match precision {
            Precision::Own => parameter.dtype,
            Precision::Double => Dtype::F64,
        };
        let mut value = empty(dtype, &parameter.shape)?;
        if dtype == parameter.dtype {
            fill(engine.pool, *index, mix, &mut value, scratch)?;
        } else {
            let out = MixOut::F64(value.try_extract_tensor_mut::<f64>()?.1);
            mix_into(engine.pool, *index, mix, out, scratch);
        }
        Ok((name.clone(), Arc::new(value)))
    });
    tensors.collect::<ort::Result<_>>().map(Weights::new)
}

/// A gradient, or a sum of them, in the type of its graph.
#[derive(Debug, Clone, PartialEq)]
pub enum GradientBuffer {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
}

impl GradientBuffer {
    /// A gradient that a graph gave.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn of(value: &DynValue) -> ort::Result<Self> {
        if let Ok((_, values)) = value.try_extract_tensor::<f32>() {
            return Ok(Self::F32(values.to_vec()));
        }
        Ok(Self::F64(value.try_extract_tensor::<f64>()?.1.to_vec()))
    }

    /// Adds another one.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn add(&mut self, value: &DynValue) -> ort::Result<()> {
        match self {
            Self::F32(sum) => {
                let (_, values) = value.try_extract_tensor::<f32>()?;
                sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
            }
            Self::F64(sum) => {
                let (_, values) = value.try_extract_tensor::<f64>()?;
                sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
            }
        }
        Ok(())
    }

    /// Adds another sum of the same type.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::F32(sum), Self::F32(values)) => {
                sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
            }
            (Self::F64(sum), Self::F64(values)) => {
                sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
            }
            _ => {}
        }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes elements from `start` on.
    pub fn read(&self, start: usize, out: &mut [f64]) {
        match self {
            Self::F32(values) => {
                let values = values[start..].iter();
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, &x)| *out = f64::from(x));
            }
            Self::F64(values) => out.copy_from_slice(&values[start..][..out.len()]),
        }
    }
}

/// A scalar that a graph gave.
///
/// # Errors
/// When it is of another type.
pub fn scalar(value: &DynValue) -> ort::Result<f64> {
    let (_, values) = value.try_extract_tensor::<f64>()?;
    Ok(values.first().copied().unwrap_or(f64::NAN))
}
