//! Products of the Hessian of the loss with vectors: the gradient's graph differentiated once more,
//! or, where an operator of that has no derivative, differences of gradients in doubles.

use std::sync::Arc;

use ort::value::{DynValue, Tensor};

use super::feed::{Feeder, Named};
use super::gradient_graph::{self, Precision, direction};
use super::runner::{Runner, layout};
use super::weights::{GradientBuffer, Weights};
use super::{Gradient, Gradients, mixed};
use crate::error::{Cause, Error, Result};
use crate::evaluate::linear_operator::LinearOperator;
use crate::evaluate::onnx::{Engine, failed};
use crate::space::mix::Mix;

/// A step of differences, as a part of the norm of the weights (of 1 where that is smaller). What
/// rounding adds is about 1e-16/1e-6 of the gradient; kinks within the step add more, so it is small.
const STEP: f64 = 1e-6;

/// The Hessian of the mean loss at a mix, in all trained tensors that move, tied ones counted once.
pub struct Curvature<'e> {
    engine: &'e Engine<'e>,
    parts: Vec<Slot>,
    dim: usize,
    weights: Weights,
    method: HvpMethod<'e>,
    samples: Vec<usize>,
}

/// Where a moving tensor stands in a vector.
struct Slot {
    /// Index among the engine's moving tensors.
    moving: usize,
    /// Its first element in the vector.
    start: usize,
    len: usize,
    /// For a tied tensor that is the other's transpose: its shape, [rows, columns].
    turned: Option<[usize; 2]>,
}

enum HvpMethod<'e> {
    Graph(Box<Runner<'e>>, Precision),
    /// Why it is not the graph, too.
    Differences(Box<Gradients<'e>>, f64, String),
}

impl<'e> Engine<'e> {
    /// The Hessian at a mix over the samples at these places of a data set's order. Parameters that
    /// no checkpoint moves are left out.
    ///
    /// # Errors
    /// When an operator has no derivative, or the network cannot be run.
    pub fn curvature(
        &'e self,
        dataset: usize,
        mix: &Mix,
        samples: Vec<usize>,
        precision: Precision,
    ) -> Result<Curvature<'e>> {
        let precision = self.precision(precision);
        let (parts, dim) = parts(self);
        if parts.is_empty() {
            return Err(Error::runtime("curvature", "no trained tensor moves"));
        }
        let names: Vec<String> = parts
            .iter()
            .map(|part| self.moving[part.moving].1.clone())
            .collect();
        let own = mixed(self, mix, Precision::Own)?;
        // Every product is at the same weights.
        let layout = layout(self, samples.len(), usize::MAX, precision);
        let write = |feeders: &[Feeder<'_>]| {
            gradient_graph::product(self, feeders, &names, layout.binding, precision)
        };
        let (method, weights) = match Runner::new(self, dataset, layout, &own, write) {
            Ok(runner) => (
                HvpMethod::Graph(Box::new(runner), precision),
                mixed(self, mix, precision)?,
            ),
            Err(error) if matches!(error.cause(), Cause::NoDerivative) => {
                let gradients = self.gradients(dataset, samples.len(), Precision::Double)?;
                let weights = mixed(self, mix, Precision::Double)?;
                let size = norm_of(&weights).map_err(|e| failed("reading weights", &e))?;
                let step = STEP * size.max(1.0);
                (
                    HvpMethod::Differences(Box::new(gradients), step, error.to_string()),
                    weights,
                )
            }
            Err(error) => return Err(error),
        };
        Ok(Curvature {
            engine: self,
            parts,
            dim,
            weights,
            method,
            samples,
        })
    }
}

impl Curvature<'_> {
    /// Length of the vectors: elements of all trained tensors that move.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Why products are differences of gradients; `None` where they are exact.
    pub fn differences(&self) -> Option<&str> {
        match &self.method {
            HvpMethod::Graph(..) => None,
            HvpMethod::Differences(_, _, why) => Some(why),
        }
    }

    /// A gradient as a vector, tied tensors' parts added.
    pub fn vector(&self, gradient: &Gradient) -> Vec<f64> {
        let parts = self.parts.iter();
        let tensors: Vec<&GradientBuffer> =
            parts.map(|part| &gradient.weights[part.moving]).collect();
        self.gathered(&tensors)
    }

    /// Names and lengths of the tensors, in the order in which they stand in a vector.
    pub fn tensors(&self) -> Vec<(String, usize)> {
        let own = self.parts.iter().filter(|part| self.is_own(part));
        own.map(|part| {
            let index = self.engine.moving[part.moving].0;
            (self.engine.pool.parameters[index].name.clone(), part.len)
        })
        .collect()
    }

    fn is_own(&self, part: &Slot) -> bool {
        let index = self.engine.moving[part.moving].0;
        self.engine.pool.parameters[index].counts()
    }

    /// The product of the Hessian with a vector.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    pub fn product(&self, v: &[f64]) -> Result<Vec<f64>> {
        match &self.method {
            HvpMethod::Graph(runner, precision) => {
                let along = self.directions(v, *precision);
                let weights = self
                    .weights
                    .with(along.map_err(|error| failed("a direction", &error))?);
                let sums = runner.sums(&weights, 1.0, &self.samples)?;
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

    /// A vector's parts as inputs of the graph.
    fn directions(&self, v: &[f64], precision: Precision) -> ort::Result<Vec<Named>> {
        let part = |part: &Slot| {
            let (index, name) = &self.engine.moving[part.moving];
            let parameter = &self.engine.pool.parameters[*index];
            let values = part.taken(v);
            let shape = parameter.shape.clone();
            let is_double = precision == Precision::Double
                || parameter.dtype == crate::checkpoint::tensor::Dtype::F64;
            let value = match is_double {
                true => Tensor::from_array((shape, values))?.into_dyn(),
                false => {
                    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
                    Tensor::from_array((shape, values))?.into_dyn()
                }
            };
            Ok((direction(name), Arc::new(value)))
        };
        self.parts.iter().map(part).collect()
    }

    /// Weights a step along a vector away.
    fn moved(&self, v: &[f64], step: f64) -> ort::Result<Weights> {
        let mut moved = self.weights.tensors.clone();
        for part in &self.parts {
            let value = &moved[part.moving].1;
            let (shape, elements) = value.try_extract_tensor::<f64>()?;
            let shape = shape.to_vec();
            let along = part.taken(v);
            let elements: Vec<f64> = elements
                .iter()
                .zip(along)
                .map(|(w, v)| w + step * v)
                .collect();
            let value: DynValue = Tensor::from_array((shape, elements))?.into_dyn();
            moved[part.moving].1 = Arc::new(value);
        }
        Ok(Weights::new(moved))
    }

    /// One vector of tensors in the order of the parts; tied ones are added.
    fn gathered(&self, tensors: &[&GradientBuffer]) -> Vec<f64> {
        let mut all = vec![0.0; self.dim];
        for (part, tensor) in self.parts.iter().zip(tensors) {
            let mut values = vec![0.0; part.len];
            tensor.read(0, &mut values);
            part.put(&values, &mut all);
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
    /// Place in the vector of element k of the tensor.
    fn place(&self, k: usize) -> usize {
        self.start
            + match self.turned {
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

/// The moving trained tensors, and the length of a vector over them.
fn parts(engine: &Engine<'_>) -> (Vec<Slot>, usize) {
    let pool = engine.pool;
    let (mut parts, mut dim): (Vec<Slot>, usize) = (Vec::new(), 0);
    for (moving, (index, _)) in engine.moving.iter().enumerate() {
        let parameter = &pool.parameters[*index];
        if parameter.counts() {
            parts.push(Slot {
                moving,
                start: dim,
                len: parameter.len(),
                turned: None,
            });
            dim += parameter.len();
        }
    }
    for (moving, (index, _)) in engine.moving.iter().enumerate() {
        let parameter = &pool.parameters[*index];
        let Some(other) = parameter.tied_to else {
            continue;
        };
        let first = parts
            .iter()
            .find(|part| engine.moving[part.moving].0 == other);
        let Some(start) = first.map(|part| part.start) else {
            continue;
        };
        parts.push(Slot {
            moving,
            start,
            len: parameter.len(),
            turned: pool
                .is_transpose(*index, other)
                .then(|| [parameter.shape[0], parameter.shape[1]]),
        });
    }
    (parts, dim)
}

fn norm_of(weights: &Weights) -> ort::Result<f64> {
    let squares = weights.tensors.iter().map(|(_, value)| {
        let (_, values) = value.try_extract_tensor::<f64>()?;
        Ok(values.iter().map(|x| x * x).sum::<f64>())
    });
    Ok(squares.sum::<ort::Result<f64>>()?.sqrt())
}
