//! A session over the frozen part of the network, from its inputs to the features. Reads shards;
//! keeps none of its output.

use ort::session::SessionOutputs;

use super::feed::{Feed, Feeds, InputNames};
use super::light_model::{LightModel, LightSession};
use super::setup::{Setup, failed_batch};
use super::shard::Shard;
use crate::error::Result;

/// A session over the frozen part.
pub struct Prefix {
    session: LightSession,
    feeds: Feeds,
}

impl Prefix {
    /// Builds a session over a model that reads the network's inputs.
    ///
    /// # Errors
    /// Fails when ONNX Runtime refuses the model.
    pub fn new(
        setup: &Setup<'_>,
        model: &LightModel,
        threads: usize,
        worker: usize,
    ) -> Result<Self> {
        let session = setup.session(model, threads, worker)?;
        let feeds = Feeds::by_name(&session, &InputNames::of_network(&setup.signature))?;
        Ok(Self { session, feeds })
    }

    /// Runs rows `from..to` of a shard, padded to `batch` with copies of the first.
    ///
    /// # Errors
    /// Fails when the model cannot be run.
    pub fn run(
        &mut self,
        shard: &Shard,
        rows: (usize, usize),
        batch: usize,
    ) -> Result<SessionOutputs<'_>> {
        let value = |feed: Feed| match feed {
            Feed::Input(k) => shard.inputs[k].view(rows, batch),
            other => Err(other.missing()),
        };
        self.feeds
            .values(value)
            .and_then(|values| self.session.run(values))
            .map_err(|error| failed_batch("running the frozen part", &error, rows.1 - rows.0))
    }
}
