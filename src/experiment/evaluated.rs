//! Evaluates each model of a pool once and keeps its logits: the first step of every experiment on
//! a pool.

use super::data::LoadedData;
use super::session::Session;
use super::{Observer, batch_norm, input_warnings, self_check};
use crate::analysis::calibration::{calibration, uneven};
use crate::analysis::greedy::ranked;
use crate::error::Result;
use crate::evaluate::journal::LogitsOf;
use crate::evaluate::logits::{Ensemble, Logits};
use crate::evaluate::onnx::Engine;
use crate::graph::network::Network;
use crate::result::calibration::Calibration;
use crate::result::score::{DatasetInfo, Role, Score};
use crate::space::mix::Mix;

/// The models of a pool after evaluation.
pub struct EvaluatedModels {
    /// The data sets.
    pub datasets: Vec<DatasetInfo>,
    /// Logits of θ0 and the models.
    pub logits: Logits,
    /// Scores of θ0 and the models, `scores[member][data set]`.
    pub scores: Vec<Vec<Score>>,
    /// Calibration of θ0 and the models, `calibrations[member]`.
    pub calibrations: Vec<Calibration>,
    /// Warnings about the inputs.
    pub warnings: Vec<String>,
}

impl EvaluatedModels {
    /// Evaluates θ0 and the models, and compares them with their original files.
    ///
    /// # Errors
    /// When the network cannot be run, the disk is full, or the user stopped the run.
    pub fn of(
        session: &Session,
        network: &Network<'_>,
        data: &LoadedData,
        engine: &Engine<'_>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let units = Mix::units(session.members());
        let datasets = data.datasets();
        let folder = session.scratch_folder();
        let logits = engine.kept_logits(&units, LogitsOf::Members, &folder, observer)?;
        let sets = 0..datasets.len();
        let score = |member: usize| {
            let sets = sets.clone();
            sets.map(|set| logits.ensemble(&[(member, 1.0)], set))
                .collect()
        };
        let scores: Vec<Vec<Score>> = (0..session.members()).map(score).collect();
        let validation = validation(&datasets);
        let calibration = |member: usize| {
            let alone = [(member, 1.0)];
            calibration(&logits, Ensemble::of_logits(&alone), validation)
        };
        let calibrations: Vec<Calibration> = (0..session.members()).map(calibration).collect();
        let (aligned, gram) = (session.aligned(), session.known_gram());
        let warnings = [
            session.warnings().to_vec(),
            aligned.warnings.clone(),
            input_warnings::of_inputs(engine, session.pool(), gram, &datasets, &scores),
            self_check::against_files(engine, session, network, &logits)?,
            Vec::from_iter(batch_norm::averaged(session, network)),
            Vec::from_iter(uneven(&calibrations[1..], &session.names()[1..])),
        ];
        Ok(Self {
            warnings: warnings.concat(),
            datasets,
            logits,
            scores,
            calibrations,
        })
    }

    /// The checkpoints by ascending validation error; in the order of the list without a validation
    /// set.
    pub fn ranked(&self) -> Vec<usize> {
        let checkpoints: Vec<usize> = (1..self.scores.len()).collect();
        match self.validation() {
            Some(set) => ranked(&checkpoints, |member| self.scores[member][set]),
            None => checkpoints,
        }
    }

    /// Index of the validation set among the data sets.
    pub fn validation(&self) -> Option<usize> {
        validation(&self.datasets)
    }
}

/// Index of the validation set among `datasets`.
pub fn validation(datasets: &[DatasetInfo]) -> Option<usize> {
    datasets.iter().position(|set| set.role == Role::Val)
}
