//! Hessian-vector products of the loss: the gradient's graph differentiated once more or, if one of
//! its operators has no derivative, finite differences of gradients in doubles.

use std::collections::HashMap;
use std::sync::Arc;

use ort::value::{DynValue, Tensor};

use super::gradient_buffer::GradientBuffer;
use super::gradient_graph::{self, lacks_derivative};
use super::gradient_layout::gradient_layout;
use super::gradients::{Gradient, Gradients};
use super::precision::Precision;
use super::runner::{Runner, sample_batches};
use super::weights::{Shared, Weights};
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::evaluate::linear_operator::LinearOperator;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::engine::Engine;
use crate::evaluate::onnx::setup::failed;
use crate::space::mix::Mix;

/// Step of the finite differences, as a fraction of the norm of the weights (of 1 if that is
/// smaller). Rounding adds about 1e-16/1e-6 of the gradient. The step is small because kinks within
/// it add more.
const STEP: f64 = 1e-6;

/// The Hessian of the mean loss at a mix, in all trained tensors that move. Tied tensors count
/// once.
pub struct Curvature<'e> {
    context: &'e Context<'e>,
    slots: Vec<Slot>,
    dim: usize,
    weights: Weights,
    method: HvpMethod<'e>,
    samples: Vec<usize>,
}

/// Where a moving tensor is stored in a vector of the Hessian.
struct Slot {
    /// Index among the moving tensors.
    moving: usize,
    /// Index of its first element in the vector.
    start: usize,
    len: usize,
    /// The shape [rows, columns] of a tied tensor that is the transpose of the other.
    transposed: Option<[usize; 2]>,
}

/// How the Hessian is multiplied with vectors.
enum HvpMethod<'e> {
    /// A graph that differentiates the gradient's graph.
    Graph(Box<Runner<'e>>, Precision),
    /// Finite differences of gradients with this step, and the reason for not using the graph.
    Differences(Box<Gradients<'e>>, f64, String),
}

impl<'e> Engine<'e> {
    /// The Hessian at a mix over the samples at these places of a data set's order. Parameters that
    /// no checkpoint moves are left out. If an operator of the gradient has no derivative, products
    /// are finite differences of gradients; [`Curvature::differences`] tells why.
    ///
    /// # Errors
    /// Fails when an operator of the network has no derivative, or the network cannot be run.
    pub fn curvature(
        &'e self,
        dataset: usize,
        mix: &Mix,
        samples: Vec<usize>,
        precision: Precision,
    ) -> Result<Curvature<'e>> {
        let context = &self.context;
        let precision = self.precision(precision);
        let (slots, dim) = slots(context);
        if slots.is_empty() {
            return Err(Error::runtime("curvature", "no trained tensor moves"));
        }
        // All products use the same weights.
        let layout = gradient_layout(context, samples.len(), usize::MAX, precision);
        let own = Weights::of_mix(context, mix, Precision::Own)?;
        let batches = sample_batches(context, dataset, &layout, &own)?;
        let names = slots
            .iter()
            .map(|slot| context.moving[slot.moving].name.clone());
        let names: Vec<String> = names.collect();
        let graph = gradient_graph::product(context, &batches, &names, layout.binding, precision);
        let (method, weights) = match graph {
            Ok(graph) => {
                let runner = Runner::new((context, &self.counters), dataset, layout, graph)?;
                let weights = Weights::of_mix(context, mix, precision)?;
                (HvpMethod::Graph(Box::new(runner), precision), weights)
            }
            Err(error) if lacks_derivative(&error) => {
                let gradients = self.gradients(dataset, samples.len(), Precision::Double)?;
                let weights = Weights::of_mix(context, mix, Precision::Double)?;
                let size = norm_of(&weights).map_err(|e| failed("reading weights", &e))?;
                let (gradients, step) = (Box::new(gradients), STEP * size.max(1.0));
                let why = error.first_line();
                (HvpMethod::Differences(gradients, step, why), weights)
            }
            Err(error) => return Err(error),
        };
        Ok(Curvature {
            context,
            slots,
            dim,
            weights,
            method,
            samples,
        })
    }
}

impl Curvature<'_> {
    /// The length of the vectors: all elements of the trained tensors that move.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The reason why products are finite differences; `None` if they are exact.
    pub fn differences(&self) -> Option<&str> {
        match &self.method {
            HvpMethod::Graph(..) => None,
            HvpMethod::Differences(_, _, why) => Some(why),
        }
    }

    /// Flattens a gradient into a vector; the components of tied tensors are added.
    pub fn vector(&self, gradient: &Gradient) -> Vec<f64> {
        let slots = self.slots.iter();
        let tensors: Vec<&GradientBuffer> =
            slots.map(|slot| &gradient.weights[slot.moving]).collect();
        self.gathered(&tensors)
    }

    /// Names and lengths of the tensors, in their order in a vector.
    pub fn tensors(&self) -> Vec<(String, usize)> {
        let own = self.slots.iter().filter(|slot| self.is_own(slot));
        own.map(|slot| {
            let index = self.context.moving[slot.moving].parameter;
            let parameter = &self.context.setup.pool.parameters[index];
            (parameter.name.clone(), slot.len)
        })
        .collect()
    }

    fn is_own(&self, slot: &Slot) -> bool {
        let index = self.context.moving[slot.moving].parameter;
        self.context.setup.pool.parameters[index].counts()
    }

    /// The product of the Hessian with a vector of [`Curvature::dim`] elements.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn product(&self, v: &[f64]) -> Result<Vec<f64>> {
        match &self.method {
            HvpMethod::Graph(runner, precision) => {
                let along = self.directions(v, *precision);
                let along = along.map_err(|error| failed("a direction", &error))?;
                let sums = runner.sums(&self.weights.along(along), 1.0, &self.samples)?;
                Ok(self.gathered(&sums.tensors.iter().collect::<Vec<&GradientBuffer>>()))
            }
            HvpMethod::Differences(gradients, step, _) => {
                let size = v.iter().map(|x| x * x).sum::<f64>().sqrt();
                if size == 0.0 {
                    return Ok(vec![0.0; self.dim]);
                }
                let side = |step: f64| -> Result<Vec<f64>> {
                    let moved = self.moved(v, step / size);
                    let moved = moved.map_err(|error| failed("moving weights", &error))?;
                    let gradient = gradients.at(&moved, 1.0, &self.samples)?;
                    Ok(self.vector(&gradient))
                };
                let (ahead, behind) = (side(*step)?, side(-step)?);
                let sides = ahead.iter().zip(&behind);
                Ok(sides.map(|(a, b)| (a - b) * size / (2.0 * step)).collect())
            }
        }
    }

    /// Splits a vector into its components in the moving tensors, by index.
    fn directions(&self, v: &[f64], precision: Precision) -> ort::Result<HashMap<usize, Shared>> {
        let direction = |slot: &Slot| {
            let index = self.context.moving[slot.moving].parameter;
            let parameter = &self.context.setup.pool.parameters[index];
            let values = slot.taken(v);
            let shape = parameter.shape.clone();
            let is_double = precision == Precision::Double || parameter.dtype == Dtype::F64;
            let value = if is_double {
                Tensor::from_array((shape, values))?.into_dyn()
            } else {
                let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
                Tensor::from_array((shape, values))?.into_dyn()
            };
            Ok((slot.moving, Arc::new(value)))
        };
        self.slots.iter().map(direction).collect()
    }

    /// The weights moved by `step` along a vector.
    fn moved(&self, v: &[f64], step: f64) -> ort::Result<Weights> {
        let mut moved = self.weights.tensors.clone();
        for slot in &self.slots {
            let value = &moved[slot.moving];
            let (shape, elements) = value.try_extract_tensor::<f64>()?;
            let shape = shape.to_vec();
            let along = slot.taken(v);
            let elements: Vec<f64> = elements
                .iter()
                .zip(along)
                .map(|(w, v)| w + step * v)
                .collect();
            let value: DynValue = Tensor::from_array((shape, elements))?.into_dyn();
            moved[slot.moving] = Arc::new(value);
        }
        Ok(Weights::new(moved))
    }

    /// Joins tensors, in the order of the slots, into one vector; tied ones are added.
    fn gathered(&self, tensors: &[&GradientBuffer]) -> Vec<f64> {
        let mut all = vec![0.0; self.dim];
        for (slot, tensor) in self.slots.iter().zip(tensors) {
            let mut values = vec![0.0; slot.len];
            tensor.read(0, &mut values);
            slot.put(&values, &mut all);
        }
        all
    }
}

impl LinearOperator for Curvature<'_> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        self.product(v)
    }
}

impl Slot {
    /// Index in the vector of element k of the tensor.
    fn place(&self, k: usize) -> usize {
        self.start
            + match self.transposed {
                Some([rows, columns]) => (k % columns) * rows + k / columns,
                None => k,
            }
    }

    fn taken(&self, v: &[f64]) -> Vec<f64> {
        (0..self.len).map(|k| v[self.place(k)]).collect()
    }

    fn put(&self, values: &[f64], all: &mut [f64]) {
        for (k, value) in values.iter().enumerate() {
            all[self.place(k)] += value;
        }
    }
}

/// The trained tensors that move, and the length of a vector over them.
fn slots(context: &Context<'_>) -> (Vec<Slot>, usize) {
    let pool = context.setup.pool;
    let (mut slots, mut dim): (Vec<Slot>, usize) = (Vec::new(), 0);
    for (moving, tensor) in context.moving.iter().enumerate() {
        let index = tensor.parameter;
        let parameter = &pool.parameters[index];
        if parameter.counts() {
            slots.push(Slot {
                moving,
                start: dim,
                len: parameter.len(),
                transposed: None,
            });
            dim += parameter.len();
        }
    }
    for (moving, tensor) in context.moving.iter().enumerate() {
        let index = tensor.parameter;
        let parameter = &pool.parameters[index];
        let Some(other) = parameter.tied_to else {
            continue;
        };
        let first = slots
            .iter()
            .find(|slot| context.moving[slot.moving].parameter == other);
        let Some(start) = first.map(|slot| slot.start) else {
            continue;
        };
        slots.push(Slot {
            moving,
            start,
            len: parameter.len(),
            transposed: pool
                .is_transpose(index, other)
                .then(|| [parameter.shape[0], parameter.shape[1]]),
        });
    }
    (slots, dim)
}

fn norm_of(weights: &Weights) -> ort::Result<f64> {
    let squares = weights.tensors.iter().map(|value| {
        let (_, values) = value.try_extract_tensor::<f64>()?;
        Ok(values.iter().map(|x| x * x).sum::<f64>())
    });
    Ok(squares.sum::<ort::Result<f64>>()?.sqrt())
}
