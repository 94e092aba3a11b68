//! The samples that were made ready last: a greedy soup asks for the same ones again and again.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::shard::Shard;
use crate::base::lock::lock;
use crate::error::Result;

/// Samples made ready, `shards[data set]`, shared by all workers.
pub type Shards = Arc<Vec<Shard>>;

/// The chunk that was made ready last.
#[derive(Default)]
pub struct ChunkCache(Mutex<Option<CachedChunk>>);

struct CachedChunk {
    ranges: Vec<Range<usize>>,
    batch: usize,
    shards: Shards,
}

impl ChunkCache {
    /// The shards of `ranges[data set]` for batches of a size: those of the call before where they
    /// are the same, else what `load` makes.
    ///
    /// # Errors
    /// Those of `load`.
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
        // Before others take as much memory.
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
