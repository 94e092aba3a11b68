//! The engine: a context, and the state that changes during a run (the journal, the tuned layout,
//! counts, and the most recently prepared samples). [`super::evaluation`] and [`super::logits`]
//! evaluate, [`super::gradient`] differentiates.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::chunk_cache::ChunkCache;
use super::context::{CalibrationData, Context};
use super::counts::{Counters, Counts};
use super::layout::{Layout, Timing};
use super::light_model::readable;
use super::moving::MovingTensor;
use super::options::EvaluationOptions;
use super::original::OriginalModel;
use super::setup::{Setup, failed};
use super::statistics::{Statistics, StatisticsData};
use super::{limits, memory, origin_check, tuning};
use crate::base::hash::hex;
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::journal::Journal;
use crate::evaluate::runtime::Runtime;
use crate::evaluate::signature::Signature;
use crate::graph::cast_like;
use crate::graph::network::Network;
use crate::graph::skeleton::{self, WeightSlot};
use crate::space::matching::Aligned;
use crate::space::mix::Mix;

/// Where finished work is kept.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The output folder.
    pub out: PathBuf,
    /// Stem of the output files.
    pub name: String,
    /// Whether to discard earlier work.
    pub fresh: bool,
    /// Identifies the inputs and settings by their content. The text is hashed, so it may contain
    /// only names that stay the same from version to version.
    pub identity: String,
}

/// Evaluates mixes of a pool with ONNX Runtime.
pub struct Engine<'a> {
    pub(super) context: Context<'a>,
    /// Models that are run unchanged, before the mixes.
    pub(super) originals: Vec<OriginalModel<'a>>,
    pub(super) journal: Journal,
    /// The chosen layout and its timing, with the data in one chunk; empty until it is chosen.
    pub(super) tuned: OnceLock<(Layout, Timing)>,
    /// A description of the first evaluation's layout.
    pub(super) first_layout: OnceLock<String>,
    pub(super) counters: Counters,
    pub(super) cache: ChunkCache,
    /// The start of the run, for its time limit.
    pub(super) start: Instant,
    /// Number of logits per sample.
    pub(super) classes: usize,
    warnings: Vec<String>,
}

impl<'a> Engine<'a> {
    /// Writes the graphs and runs θ0 on the first samples of each data set, to check that the
    /// network accepts the data and has a class for every label.
    ///
    /// # Errors
    /// Fails when ONNX Runtime is too old for the network or refuses it, a label is out of range, or the output is not
    /// [batch, classes], has only one column, holds probabilities, or depends on the rest of the
    /// batch.
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
        limits::check(&setup, network.model)?;
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

    /// Also evaluates these models, before the mixes.
    #[must_use]
    pub fn with_originals(mut self, originals: Vec<OriginalModel<'a>>) -> Self {
        self.originals = originals;
        self
    }

    /// Re-estimates batch norm's statistics for every mix, from training samples. The network and
    /// the checkpoints are those of the engine.
    ///
    /// # Errors
    /// Fails when no batch norm can be re-estimated, or the batches do not fit the network.
    pub fn reestimating(
        mut self,
        network: &Network<'_>,
        aligned: &Aligned,
        training: StatisticsData<'_>,
    ) -> Result<Self> {
        let moving = MovingTensor::all(aligned);
        let slots = moving.iter().map(|tensor| tensor.weight_slot(aligned));
        let slots: Vec<WeightSlot> = slots.collect();
        let whole = cast_like::resolved(skeleton::model(network, &slots));
        let inside = self.context.setup.options.inside;
        let whole = readable(whole, inside).map_err(|error| failed("reading constants", &error))?;
        let statistics = Statistics::new(&self.context.setup, whole, &moving, training)?;
        self.warnings.extend(statistics.warnings.iter().cloned());
        self.context.statistics = Some(statistics);
        Ok(self)
    }

    /// Calibrates the losses of every model, the original ones, too: they are those of β·logits, with the
    /// β that has the least loss on all samples of the data set at index `set`. They are computed from
    /// logits, also if the options ask for losses in the graph.
    #[must_use]
    pub fn calibrated(mut self, set: usize) -> Self {
        self.context.calibration = Some(CalibrationData {
            set,
            samples: self.context.setup.datasets[set].len(),
            classes: self.classes,
        });
        self
    }

    /// The data set that calibrates the losses, if they are calibrated.
    pub fn calibrated_on(&self) -> Option<usize> {
        self.context.calibration.map(|of| of.set)
    }

    /// The mix with the statistics that are re-estimated for it, if they are.
    ///
    /// # Errors
    /// Fails when the training samples cannot be run, or the user stopped the run.
    pub fn settled(&self, mix: &Mix) -> Result<Mix> {
        let threads = self.tuned.get().map_or(1, |(layout, _)| layout.threads);
        let settled = self.context.settled(mix, threads, 0)?;
        Ok(settled.into_owned())
    }

    /// Keeps finished work in a journal, so that an interrupted run can resume.
    ///
    /// # Errors
    /// Fails when another process writes the same output, or the output folder cannot be written.
    pub fn keeping(mut self, options: &JournalOptions) -> Result<Self> {
        let JournalOptions {
            out, name, fresh, ..
        } = options;
        let (key, sets) = (self.key(options), self.context.setup.datasets.len());
        self.journal = Journal::open(out, name, &key, sets, *fresh)?;
        Ok(self)
    }

    /// The key of the journal: a hash of inputs and settings. Runs with equal keys share finished
    /// work.
    fn key(&self, options: &JournalOptions) -> String {
        let setup = &self.context.setup;
        let mut hash = Sha256::new();
        hash.update(&options.identity);
        hash.update(setup.runtime.version());
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(setup.options.identity());
        hash.update(&setup.signature.output_name);
        if let Some(calibration) = self.context.calibration {
            hash.update(format!("loss=calibrated on={}", calibration.set));
        }
        hex(&hash.finalize())
    }

    /// The number of models that mixes combine, including θ0.
    pub fn members(&self) -> usize {
        self.context.setup.pool.members.len()
    }

    /// A description of the layout; `None` before the first evaluation.
    pub fn layout(&self) -> Option<String> {
        self.first_layout.get().cloned()
    }

    /// Ends the engine and returns its journal, which must be kept until the results are written.
    pub fn into_journal(self) -> Journal {
        self.journal
    }

    /// Deletes the journal's file once the results are written.
    pub fn forget(&self) {
        self.journal.remove();
    }

    /// The number of nodes that run once for each chunk, and the number of all nodes; `None` if no
    /// node is frozen.
    pub fn frozen_nodes(&self) -> Option<(usize, usize)> {
        self.context.frozen.as_ref().map(|frozen| frozen.nodes)
    }

    /// Adds a warning that applies to every result.
    pub(super) fn warn(&mut self, warning: Option<String>) {
        self.warnings.extend(warning);
    }

    /// Warnings that apply to every result: how the data is read, and what running θ0 on a few
    /// samples revealed.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Name and SHA-256 of each data set.
    pub fn hashes(&self) -> Vec<(String, String)> {
        let datasets = self.context.setup.datasets.iter();
        datasets
            .map(|data| (data.name().to_string(), data.sha256().to_string()))
            .collect()
    }

    /// The number of classes, and for each data set how many of them occur among its labels.
    pub fn coverage(&self) -> (usize, Vec<usize>) {
        let named = |data: &Dataset| data.labels().iter().collect::<HashSet<_>>().len();
        let datasets = self.context.setup.datasets.iter();
        (self.classes, datasets.map(named).collect())
    }

    /// Times all layouts that the options leave open on this network.
    ///
    /// # Errors
    /// Fails when the network cannot be run.
    pub fn compare(&self) -> Result<Vec<(Layout, Timing)>> {
        tuning::compare(&self.context)
    }

    /// The memory budget, in bytes.
    pub fn memory(&self) -> u64 {
        memory::budget(&self.context)
    }

    /// The work done so far.
    pub fn counts(&self) -> Counts {
        self.counters.get()
    }
}
