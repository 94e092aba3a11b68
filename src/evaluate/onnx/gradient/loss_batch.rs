//! One batch of samples as a gradient graph takes it, with their weights in the loss.

use ort::session::SessionInputValue;
use ort::value::Tensor;

use super::weights::Weights;
use crate::evaluate::onnx::feed::Feed;
use crate::evaluate::onnx::shard::Shard;

/// A batch of samples of one data set. Rows behind the last sample repeat the first and have no
/// weight in the loss.
pub struct LossBatch<'w> {
    shard: Shard,
    /// Rows of the batch.
    rows: usize,
    /// Factor of the logits.
    beta: f64,
    /// Weight of each sample in the loss.
    weight: f64,
    weights: &'w Weights,
}

impl<'w> LossBatch<'w> {
    /// A batch of as many rows as `rows` from a shard of at most as many samples, each with weight 1
    /// in the loss of the logits themselves.
    pub fn new(shard: Shard, rows: usize, weights: &'w Weights) -> Self {
        Self {
            shard,
            rows,
            beta: 1.0,
            weight: 1.0,
            weights,
        }
    }

    /// The same in the loss of β·logits, each sample with `weight`.
    #[must_use]
    pub fn weighted(self, beta: f64, weight: f64) -> Self {
        Self {
            beta,
            weight,
            ..self
        }
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Samples in it.
    pub fn samples(&self) -> usize {
        self.shard.labels.len()
    }

    /// Index of the data set.
    pub fn dataset(&self) -> usize {
        self.shard.dataset
    }

    /// The value of an input of the graph.
    ///
    /// # Errors
    /// Fails when the batch has no such value, or ONNX Runtime cannot hold it.
    pub fn value(&self, feed: Feed) -> ort::Result<SessionInputValue<'_>> {
        let rows = (0, self.samples());
        let column = vec![self.rows as i64, 1];
        match feed {
            Feed::Input(k) => self.shard.inputs[k].view(rows, self.rows),
            Feed::Feature(k) => self.shard.features[k].view(rows, self.rows),
            Feed::Labels => {
                let labels = self.shard.labels.iter().map(|&label| label as i64);
                let first = self.shard.labels.first().map_or(0, |&label| label as i64);
                Ok(Tensor::from_array((column, self.filled(labels, first)))?.into())
            }
            Feed::SampleWeights => {
                let weights = std::iter::repeat_n(self.weight, self.samples());
                Ok(Tensor::from_array((column, self.filled(weights, 0.0)))?.into())
            }
            Feed::Beta => Ok(Tensor::from_array((Vec::<i64>::new(), vec![self.beta]))?.into()),
            Feed::Weight(k) => Ok((&*self.weights.tensors[k]).into()),
            Feed::Direction(k) => match self.weights.directions.get(&k) {
                Some(direction) => Ok((&**direction).into()),
                None => Err(feed.missing()),
            },
            Feed::Coefficient(..) => Err(feed.missing()),
        }
    }

    fn filled<T: Clone>(&self, values: impl Iterator<Item = T>, more: T) -> Vec<T> {
        let mut filled: Vec<T> = values.collect();
        filled.resize(self.rows, more);
        filled
    }
}
