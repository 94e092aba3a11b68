//! The stage of every command over many models: each of them evaluated once, its logits kept.

use std::path::Path;

use super::doubts;
use super::lineup::Lineup;
use super::prepare::{Inputs, Material, untouched};
use super::progress::Progress;
use super::statistics;
use crate::analysis::self_check;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::logits::Logits;
use crate::evaluate::onnx::Engine;
use crate::graph::network::Network;
use crate::result::score::{DatasetInfo, Score};
use crate::space::matching::Aligned;
use crate::space::mix::Mix;
use crate::space::save;

/// What is at hand once every model was evaluated.
pub struct Stage<'s> {
    /// What was named.
    pub inputs: &'s Inputs,
    /// The origin's network.
    pub network: &'s Network<'s>,
    /// The models, tensor by tensor beside it.
    pub aligned: &'s Aligned,
    /// The data.
    pub material: &'s Material,
    /// Evaluates mixes.
    pub engine: &'s Engine<'s>,
    /// What is done.
    pub progress: &'s Progress,
    /// The data sets.
    pub datasets: Vec<DatasetInfo>,
    /// Logits of θ0 and the models.
    pub logits: Logits,
    /// Their scores, `[member][data set]`.
    pub singles: Vec<Vec<Score>>,
    /// What the reader of the results should know.
    pub warnings: Vec<String>,
}

impl Lineup {
    /// Evaluates the models for an output of this name and goes on with `then`; `before`, and once
    /// the data is read `ready`, are asked what speaks against a long run. What is finished is kept
    /// until `then` is done.
    ///
    /// # Errors
    /// When a model does not fit the network or cannot be run, and those of what is called.
    pub fn evaluated(
        &self,
        name: &str,
        before: impl FnOnce(&Network<'_>, &Aligned) -> Result<()>,
        ready: impl FnOnce(&Engine<'_>) -> Result<()>,
        then: impl FnOnce(&Stage<'_>) -> Result<()>,
    ) -> Result<()> {
        let inputs = &self.inputs;
        let network = inputs.network();
        let aligned = inputs.aligned(&network)?;
        before(&network, &aligned)?;
        let material = Material::read(inputs, &network)?;
        let engine = material.engine(inputs, &network, &aligned)?;
        ready(&engine)?;
        let engine = material.keeping(engine, inputs, name)?;
        let progress = Progress::new(engine.frozen_nodes(), false);
        let members = aligned.pool.members.len();
        let logits = engine.kept_logits(&Mix::units(members), &progress)?;
        let datasets = material.datasets();
        let singles = singles(&logits, members, datasets.len());
        let doubts = [
            doubts::doubts(&engine, &aligned.pool, None, &datasets, &singles),
            against_files(&engine, inputs, &network, &aligned, &logits)?,
        ]
        .concat();
        then(&Stage {
            singles,
            warnings: [self.warnings.clone(), aligned.warnings.clone(), doubts]
                .into_iter()
                .flatten()
                .chain(statistics::averaged(&network, &aligned))
                .collect(),
            inputs,
            network: &network,
            aligned: &aligned,
            material: &material,
            engine: &engine,
            progress: &progress,
            datasets,
            logits,
        })?;
        engine.forget();
        Ok(())
    }
}

/// Samples that the untouched files are run on.
const TRIED: usize = 64;

/// Warnings where a file, run as it is on a few samples, does not give what its mix gives: then
/// its tensors were not put where they belong.
///
/// # Errors
/// When a file cannot be run.
fn against_files(
    engine: &Engine<'_>,
    inputs: &Inputs,
    network: &Network<'_>,
    aligned: &Aligned,
    logits: &Logits,
) -> Result<Vec<String>> {
    if save::check_size(Path::new("model.onnx"), aligned, network).is_err() {
        return Ok(vec![
            "the network is too large for one ONNX file: the files were not held against their mixes"
                .to_string(),
        ]);
    }
    let files = untouched(network, aligned, &inputs.checkpoints)?;
    let files = engine.try_files(&files, TRIED)?;
    let set = engine.datasets().swap_remove(0);
    let samples = set.samples.min(TRIED);
    let mixes = (0..files.len()).map(|member| vec![logits.first(member, 0, samples)]);
    let mixes: Vec<Vec<Score>> = mixes.collect();
    let set = DatasetInfo { samples, ..set };
    let checks = self_check::against_files(&[set], &inputs.names(), &files, &mixes);
    let doubts = checks.iter().filter(|check| !check.agrees).map(|check| {
        format!(
            "{} on {samples} samples of {}: its file gives loss {:.6}, its tensors in the \
             origin's network {:.6}; do not trust these results",
            check.name, check.dataset, check.loss_file, check.loss_plane
        )
    });
    Ok(doubts.collect())
}

/// Scores of the single models, `[member][data set]`, from their logits.
fn singles(logits: &Logits, members: usize, sets: usize) -> Vec<Vec<Score>> {
    let model = |member: usize| {
        let score = |set| logits.ensemble(&[(member, 1.0)], set);
        (0..sets).map(score).collect()
    };
    (0..members).map(model).collect()
}
