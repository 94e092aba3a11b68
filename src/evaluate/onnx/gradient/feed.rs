//! What the inputs of a gradient graph are fed with: one batch of samples, and weights.

use std::sync::Arc;

use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor};

use crate::evaluate::onnx::Engine;
use crate::evaluate::onnx::shard::Shard;
use crate::graph::gradient::loss;

/// A tensor by the name that the graph knows it under.
pub type Named = (String, Arc<DynValue>);

/// A batch of samples of one data set. Rows behind the last sample repeat the first and have no
/// weight in the loss.
pub struct Feeder<'f> {
    engine: &'f Engine<'f>,
    part: Shard,
    batch: usize,
    beta: f64,
    /// Weight of each sample in the loss.
    weight: f64,
    /// Mixed tensors, and others that stand for as many.
    weights: &'f [Named],
}

impl<'f> Feeder<'f> {
    /// A batch of as many rows as `batch` from a part of as many samples at most, each with `weight`
    /// in the loss of β·logits.
    pub fn new(
        engine: &'f Engine<'f>,
        part: Shard,
        batch: usize,
        (beta, weight): (f64, f64),
        weights: &'f [Named],
    ) -> Self {
        Self {
            engine,
            part,
            batch,
            beta,
            weight,
            weights,
        }
    }

    /// Rows of the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Samples in it.
    pub fn samples(&self) -> usize {
        self.part.labels.len()
    }

    /// Index of the data set.
    pub fn dataset(&self) -> usize {
        self.part.dataset
    }

    /// The value of an input of the graph.
    ///
    /// # Errors
    /// When ONNX Runtime cannot hold it.
    pub fn feed(&self, name: &str) -> ort::Result<SessionInputValue<'_>> {
        let (engine, rows) = (self.engine, (0, self.samples()));
        let column = vec![self.batch as i64, 1];
        match name {
            loss::LABELS => {
                let labels = self.part.labels.iter().map(|&label| label as i64);
                let labels = self.filled(labels, self.part.labels.first().map_or(0, |&l| l as i64));
                return Ok(Tensor::from_array((column, labels))?.into());
            }
            loss::WEIGHTS => {
                let weights = std::iter::repeat_n(self.weight, self.samples());
                return Ok(Tensor::from_array((column, self.filled(weights, 0.0)))?.into());
            }
            loss::BETA => {
                return Ok(Tensor::from_array((Vec::<i64>::new(), vec![self.beta]))?.into());
            }
            _ => {}
        }
        let mut inputs = engine.signature.inputs.iter();
        if let Some(k) = inputs.position(|input| input.name == name) {
            let shape = engine.datasets[self.part.dataset].sample_shape(k);
            return self.part.inputs[k].rows(rows, shape, self.batch);
        }
        let mut features = engine.features().iter();
        if let Some(k) = features.position(|feature| feature.name == name) {
            let shape = &engine.features()[k].shape;
            return self.part.features[k].rows(rows, shape, self.batch);
        }
        let mut weights = self.weights.iter();
        match weights.find(|(weight, _)| weight == name) {
            Some((_, value)) => Ok((&**value).into()),
            None => Err(ort::Error::new(format!(
                "nothing is known to feed `{name}`"
            ))),
        }
    }

    fn filled<T: Clone>(&self, values: impl Iterator<Item = T>, more: T) -> Vec<T> {
        let mut filled: Vec<T> = values.collect();
        filled.resize(self.batch, more);
        filled
    }
}
