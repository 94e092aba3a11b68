//! A batch of samples for a gradient graph, with their weights in the loss.

use ort::session::SessionInputValue;
use ort::value::Tensor;

use super::weights::Weights;
use crate::evaluate::onnx::feed::Feed;
use crate::evaluate::onnx::shard::Shard;

/// A batch of samples of one data set. Rows after the last sample repeat the first one and have no
/// weight in the loss.
pub struct LossBatch<'w> {
    shard: Shard,
    /// Number of rows.
    rows: usize,
    /// The factor of the logits.
    beta: f64,
    /// The weight of each sample in the loss.
    weight: f64,
    weights: &'w Weights,
}

impl<'w> LossBatch<'w> {
    /// A batch of `rows` rows from a shard with at most that many samples. Each sample has weight
    /// 1, and β is 1.
    pub fn new(shard: Shard, rows: usize, weights: &'w Weights) -> Self {
        Self {
            shard,
            rows,
            beta: 1.0,
            weight: 1.0,
            weights,
        }
    }

    /// Sets β and the weight of each sample.
    #[must_use]
    pub fn weighted(self, beta: f64, weight: f64) -> Self {
        Self {
            beta,
            weight,
            ..self
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.shard.labels.len()
    }

    /// Index of the data set.
    pub fn dataset(&self) -> usize {
        self.shard.dataset
    }

    /// The value for an input of the graph.
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
