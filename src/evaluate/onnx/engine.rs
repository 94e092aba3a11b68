//! The engine: a context, and what changes while it answers — the journal, the layout that was tuned,
//! counts, and the samples that were made ready last. How it evaluates is in [`super::evaluation`] and
//! [`super::logits`], how it differentiates in [`super::gradient`].

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::chunk_cache::ChunkCache;
use super::context::Context;
use super::counts::{Counters, Counts};
use super::layout::{Layout, Timing};
use super::options::EvaluationOptions;
use super::original::OriginalModel;
use super::setup::Setup;
use super::{memory, origin_check, tuning};
use crate::base::hash::hex;
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::journal::Journal;
use crate::evaluate::runtime::Runtime;
use crate::evaluate::signature::Signature;
use crate::graph::network::Network;
use crate::space::matching::Aligned;

/// Where what is finished is kept.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The output folder.
    pub out: PathBuf,
    /// Stem of the output files.
    pub name: String,
    /// Whether to begin anew.
    pub fresh: bool,
    /// Says which inputs and settings these are, by their content. It is hashed: only names that stay
    /// from one version to the next belong in it.
    pub identity: String,
}

/// Evaluates mixes of a pool with ONNX Runtime.
pub struct Engine<'a> {
    pub(super) context: Context<'a>,
    /// Models that are evaluated as they are, ahead of the mixes.
    pub(super) originals: Vec<OriginalModel<'a>>,
    pub(super) journal: Journal,
    /// The layout, with the data in one chunk, once it was chosen.
    pub(super) tuned: OnceLock<(Layout, Timing)>,
    /// The layout of the first evaluation, in words.
    pub(super) first_layout: OnceLock<String>,
    pub(super) counters: Counters,
    pub(super) cache: ChunkCache,
    /// When the run began, for its limit of time.
    pub(super) start: Instant,
    /// Logits a sample.
    pub(super) classes: usize,
    warnings: Vec<String>,
}

impl<'a> Engine<'a> {
    /// Writes the graphs and checks that the network takes the data and has a class for every
    /// label, by running θ0 on the first samples of each data set.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the network, its output is not [batch, classes], is one column or
    /// probabilities, or depends on the rest of the batch, or a label is out of range.
    pub fn new(
        runtime: &'a Runtime,
        network: &Network<'_>,
        aligned: &'a Aligned,
        signature: Signature,
        datasets: &'a [Dataset],
        options: EvaluationOptions,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let start = Instant::now();
        let setup = Setup {
            runtime,
            pool: &aligned.pool,
            signature,
            datasets,
            options,
            stop,
        };
        setup.check_device()?;
        let of_graph = origin_check::check_graph(network, &setup.signature.output_name)?;
        let context = Context::new(setup, network, aligned)?;
        let found = origin_check::check_outputs(&context, &network.model.path)?;
        let of_data = datasets.iter().flat_map(Dataset::warnings).cloned();
        Ok(Self {
            context: context.with_losses(),
            originals: Vec::new(),
            journal: Journal::default(),
            tuned: OnceLock::new(),
            first_layout: OnceLock::new(),
            counters: Counters::default(),
            cache: ChunkCache::default(),
            start,
            classes: found.classes,
            warnings: of_data.chain(of_graph).chain(found.warnings).collect(),
        })
    }

    /// Evaluates these models, too, ahead of the mixes.
    #[must_use]
    pub fn with_files(mut self, originals: Vec<OriginalModel<'a>>) -> Self {
        self.originals = originals;
        self
    }

    /// Keeps what is finished, so that a run that was stopped goes on where it was.
    ///
    /// # Errors
    /// When another process writes the same output, or nothing can be written there.
    pub fn keeping(mut self, options: &JournalOptions) -> Result<Self> {
        let JournalOptions {
            out, name, fresh, ..
        } = options;
        let (key, sets) = (self.key(options), self.context.setup.datasets.len());
        self.journal = Journal::open(out, name, &key, sets, *fresh)?;
        Ok(self)
    }

    /// Says which runs may share what is finished: inputs and settings, by content.
    fn key(&self, options: &JournalOptions) -> String {
        let setup = &self.context.setup;
        let mut hash = Sha256::new();
        hash.update(&options.identity);
        hash.update(setup.runtime.version());
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(setup.options.identity());
        hash.update(&setup.signature.output_name);
        hex(&hash.finalize())
    }

    /// The models that mixes are of, θ0 among them.
    pub fn members(&self) -> usize {
        self.context.setup.pool.members.len()
    }

    /// How the work is laid out, in words, once something was evaluated.
    pub fn layout(&self) -> Option<String> {
        self.first_layout.get().cloned()
    }

    /// Ends the engine and hands over what it finished, to be kept until the results are written.
    pub fn into_journal(self) -> Journal {
        self.journal
    }

    /// Forgets what was kept: the results are written.
    pub fn forget(&self) {
        self.journal.remove();
    }

    /// Nodes of the network that are computed once for each chunk, and all its nodes; `None` when
    /// there are none.
    pub fn frozen_nodes(&self) -> Option<(usize, usize)> {
        self.context.frozen.as_ref().map(|frozen| frozen.nodes)
    }

    /// What the reader of any result should know: how the data is taken, and what a trial of θ0
    /// on a few samples found.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Classes of the network, and how many of them each data set's labels name.
    pub fn coverage(&self) -> (usize, Vec<usize>) {
        let named = |data: &Dataset| data.labels().iter().collect::<HashSet<_>>().len();
        let datasets = self.context.setup.datasets.iter();
        (self.classes, datasets.map(named).collect())
    }

    /// How the layouts that the options leave open compare on this network.
    ///
    /// # Errors
    /// When the network cannot be run.
    pub fn compare(&self) -> Result<Vec<(Layout, Timing)>> {
        tuning::compare(&self.context)
    }

    /// Bytes that may be taken.
    pub fn memory(&self) -> u64 {
        memory::budget(&self.context)
    }

    /// What it took so far.
    pub fn counts(&self) -> Counts {
        self.counters.get()
    }
}
