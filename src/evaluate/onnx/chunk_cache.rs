//! Keeps the most recently prepared samples: a greedy soup asks for the same ones again and again.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::shard::Shard;
use crate::base::lock::lock;
use crate::error::Result;

/// Prepared samples, `shards[data set]`, shared by all workers.
pub type Shards = Arc<Vec<Shard>>;

/// The most recently prepared chunk.
#[derive(Default)]
pub struct ChunkCache(Mutex<Option<CachedChunk>>);

struct CachedChunk {
    ranges: Vec<Range<usize>>,
    batch: usize,
    shards: Shards,
}

impl ChunkCache {
    /// The shards of `ranges[data set]` for this batch size: those of the last call if it asked for
    /// the same, otherwise those that `load` makes.
    ///
    /// # Errors
    /// Returns the errors of `load`.
    pub fn get_or_load(
        &self,
        ranges: &[Range<usize>],
        batch: usize,
        load: impl FnOnce() -> Result<Vec<Shard>>,
    ) -> Result<Shards> {
        let mut cached = lock(&self.0);
        let known = cached.as_ref();
        if let Some(known) = known.filter(|it| it.ranges == ranges && it.batch == batch) {
            return Ok(Arc::clone(&known.shards));
        }
        // Frees the old shards before the new ones take as much memory.
        *cached = None;
        let shards = Arc::new(load()?);
        *cached = Some(CachedChunk {
            ranges: ranges.to_vec(),
            batch,
            shards: Arc::clone(&shards),
        });
        Ok(shards)
    }
}
