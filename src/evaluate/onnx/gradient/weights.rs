//! Mixed tensors as a gradient graph takes them, and gradients as it gives them.

use std::sync::Arc;

use ort::value::DynValue;
use rayon::prelude::*;

use super::feed::Named;
use super::written::Precision;
use crate::checkpoint::tensor::Dtype;
use crate::evaluate::onnx::Engine;
use crate::evaluate::onnx::worker::{empty, fill};
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};

/// The moving tensors of a mix by their names in the graph, in the engine's order.
///
/// # Errors
/// When ONNX Runtime cannot hold them.
pub fn mixed(engine: &Engine<'_>, mix: &Mix, precision: Precision) -> ort::Result<Vec<Named>> {
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
    tensors.collect()
}

/// A gradient, or a sum of them, in the type of its graph.
#[derive(Debug, Clone, PartialEq)]
pub enum Flat {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
}

impl Flat {
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
