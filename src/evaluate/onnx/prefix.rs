//! A session over the frozen part of the network, from its inputs to the values that are handed over.
//! Reads shards; keeps nothing of what it computes.

use ort::session::{Session, SessionOutputs};

use super::feed::{Feed, Feeds, InputNames};
use super::setup::{Setup, failed};
use super::shard::Shard;
use crate::error::Result;

/// A session over the frozen part.
pub struct Prefix {
    session: Session,
    feeds: Feeds,
}

impl Prefix {
    /// A session over an ONNX model that reads the network's inputs.
    ///
    /// # Errors
    /// When ONNX Runtime refuses it.
    pub fn new(setup: &Setup<'_>, bytes: &[u8], threads: usize, worker: usize) -> Result<Self> {
        let session = setup.session(bytes, threads, worker)?;
        let feeds = Feeds::by_name(&session, &InputNames::of_network(&setup.signature))?;
        Ok(Self { session, feeds })
    }

    /// What it makes of rows `from..to` of a shard, filled up to `batch` with the first.
    ///
    /// # Errors
    /// When it cannot be run.
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
            .map_err(|error| failed("running the frozen part", &error))
    }
}
