//! Hessian-vector products of the loss: the gradient's graph differentiated once more or, if one of
//! its operators has no derivative, finite differences of gradients in doubles.

use std::collections::HashMap;
use std::sync::Arc;

use ort::value::{DynValue, Tensor};

use super::differences::{Differences, Sides};
use super::gradient_buffer::GradientBuffer;
use super::gradient_graph::{self, lacks_derivative};
use super::gradient_layout::gradient_layout;
use super::gradients::{Gradient, Gradients};
use super::precision::Precision;
use super::runner::{Runner, Sums, sample_batches};
use super::weights::{Shared, Weights};
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::evaluate::linear_operator::{GroupCurvature, LinearOperator};
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::engine::Engine;
use crate::evaluate::onnx::setup::failed;
use crate::space::mix::Mix;

/// Minimum and maximum number of groups of samples, if there are as many samples, and the size of a
/// group in between: as large as a batch, so that groups cost no more than one pass. Of 8 groups, a
/// standard error is itself uncertain by 27 %, of 32 by 13 %.
const GROUPS: (usize, usize) = (8, 32);
const GROUP: usize = 16;

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
    /// Finite differences of gradients.
    Differences(Box<ByDifferences<'e>>),
}

/// Finite differences of gradients in doubles.
struct ByDifferences<'e> {
    gradients: Gradients<'e>,
    /// The gradient at the mix.
    at_mix: Vec<f64>,
    differences: Differences,
    /// The reason for not using the graph.
    why: String,
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
                return self.curvature_by_differences(dataset, mix, samples, error.first_line());
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

    /// The Hessian as [`Engine::curvature`] gives it, with products that are finite differences of
    /// gradients in doubles; `why` is what [`Curvature::differences`] tells.
    ///
    /// # Errors
    /// Fails when an operator of the network has no derivative, or the network cannot be run.
    pub fn curvature_by_differences(
        &'e self,
        dataset: usize,
        mix: &Mix,
        samples: Vec<usize>,
        why: String,
    ) -> Result<Curvature<'e>> {
        let (slots, dim) = slots(&self.context);
        let gradients = self.gradients(dataset, samples.len(), Precision::Double)?;
        let weights = Weights::of_mix(&self.context, mix, Precision::Double)?;
        let norm = norm_of(&weights).map_err(|e| failed("reading weights", &e))?;
        let gradient = gradients.at(&weights, 1.0, &samples)?;
        Ok(Curvature {
            context: &self.context,
            method: HvpMethod::Differences(Box::new(ByDifferences {
                at_mix: gathered(&slots, dim, &gradient.weights),
                gradients,
                differences: Differences::around(norm),
                why,
            })),
            slots,
            dim,
            weights,
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
            HvpMethod::Differences(by) => Some(&by.why),
        }
    }

    /// How well both sides of the finite differences agreed so far; `None` if products are exact.
    pub fn sides(&self) -> Option<Sides> {
        match &self.method {
            HvpMethod::Graph(..) => None,
            HvpMethod::Differences(by) => Some(by.differences.sides()),
        }
    }

    /// Flattens a gradient into a vector; the components of tied tensors are added.
    pub fn vector(&self, gradient: &Gradient) -> Vec<f64> {
        gathered(&self.slots, self.dim, &gradient.weights)
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
                Ok(self.gathered(&sums.tensors))
            }
            HvpMethod::Differences(by) => {
                let size = norm(v);
                if size == 0.0 {
                    return Ok(vec![0.0; self.dim]);
                }
                let slope = by.differences.derivative(&by.at_mix, |step| {
                    let moved = self.moved(v, step / size);
                    let moved = moved.map_err(|error| failed("moving weights", &error))?;
                    Ok(self.vector(&by.gradients.at(&moved, 1.0, &self.samples)?))
                })?;
                Ok(slope.into_iter().map(|x| x * size).collect())
            }
        }
    }

    /// v·Hg·v for each group g of the samples, from 8 to 32 groups of nearly equal size.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn by_group(&self, v: &[f64]) -> Result<Vec<GroupCurvature>> {
        let groups = groups(&self.samples);
        let values = match &self.method {
            HvpMethod::Graph(runner, precision) => {
                let along = self.directions(v, *precision);
                let along = along.map_err(|error| failed("a direction", &error))?;
                let sum = |sums: &Sums| dot(v, &self.gathered(&sums.tensors));
                runner.by_group(&self.weights.along(along), &groups, sum)?
            }
            HvpMethod::Differences(by) => {
                let size = norm(v);
                let slopes = |weights: &Weights| {
                    let slope =
                        |sums: &Sums| dot(v, &gathered(&self.slots, self.dim, &sums.tensors));
                    by.gradients.by_group(weights, &groups, slope)
                };
                let slopes_along = |step: f64| {
                    let moved = self.moved(v, step / size);
                    slopes(&moved.map_err(|error| failed("moving weights", &error))?)
                };
                if size == 0.0 {
                    vec![0.0; groups.len()]
                } else {
                    let here = slopes(&self.weights)?;
                    let second = by.differences.derivative(&here, slopes_along)?;
                    second.into_iter().map(|x| x * size).collect()
                }
            }
        };
        let sized = groups.iter().zip(values);
        Ok(sized
            .map(|(group, value)| GroupCurvature {
                samples: group.len(),
                value,
            })
            .collect())
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
    fn gathered(&self, tensors: &[GradientBuffer]) -> Vec<f64> {
        joined(self.dim, self.slots.iter().zip(tensors))
    }
}

impl LinearOperator for Curvature<'_> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        self.product(v)
    }

    fn along(&self, v: &[f64]) -> Result<Vec<GroupCurvature>> {
        self.by_group(v)
    }
}

/// Joins the moving tensors, `tensors[moving tensor]`, into one vector; tied ones are added.
fn gathered(slots: &[Slot], dim: usize, tensors: &[GradientBuffer]) -> Vec<f64> {
    joined(dim, slots.iter().map(|slot| (slot, &tensors[slot.moving])))
}

fn joined<'t>(
    dim: usize,
    tensors: impl Iterator<Item = (&'t Slot, &'t GradientBuffer)>,
) -> Vec<f64> {
    let mut all = vec![0.0; dim];
    for (slot, tensor) in tensors {
        let mut values = vec![0.0; slot.len];
        tensor.read(0, &mut values);
        slot.put(&values, &mut all);
    }
    all
}

/// Splits samples into groups of nearly equal size. Samples stand in a random order, so that every
/// group is a random sample, however the file is sorted.
fn groups(samples: &[usize]) -> Vec<&[usize]> {
    let n = samples.len();
    let count = (n / GROUP).clamp(GROUPS.0, GROUPS.1).min(n);
    let starts = (0..count).map(|k| k * n / count..(k + 1) * n / count);
    starts.map(|places| &samples[places]).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
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
