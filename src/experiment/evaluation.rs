//! Sets up the evaluation of a session's models.

use std::collections::BTreeMap;

use super::data::LoadedData;
use super::session::Session;
use super::{Observer, identity};
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::{Engine, JournalOptions, StatisticsData};
use crate::graph::network::Network;
use crate::result::loss::{Beta, CalibratedOn, LossKind};
use crate::result::score::Role;
use crate::space::statistics::BatchNorm;

impl Session {
    /// Sets up the evaluation of mixes of the models; its notes and warnings go to the observer.
    ///
    /// # Errors
    /// When ONNX Runtime cannot load the network.
    pub fn engine<'e>(
        &'e self,
        network: &Network<'e>,
        data: &'e LoadedData,
        observer: &dyn Observer,
    ) -> Result<Engine<'e>> {
        let notes = data.datasets.iter().flat_map(Dataset::notes);
        notes.for_each(|note| observer.note(note));
        self.aligned.notes.iter().for_each(|it| observer.note(it));
        self.note_of_network(data, observer);
        note_of_unfolding(&self.inputs.unfolding.explained, observer);
        let engine = Engine::new(
            self.runtime,
            network,
            &self.aligned,
            data.signature.clone(),
            &data.datasets,
            self.settings.options.clone(),
            self.settings.stop,
        )?
        .compare_with_doubles()?;
        let engine = match (self.settings.batch_norm, &data.training) {
            (BatchNorm::Recalibrate { batch, .. }, Some(samples)) => {
                observer.note(&data.described_training(batch).unwrap_or_default());
                let training = StatisticsData {
                    data: samples,
                    batch,
                };
                engine.reestimating(network, &self.aligned, training)?
            }
            _ => engine,
        };
        let warnings = engine.warnings().iter();
        warnings.for_each(|warning| observer.warn(warning));
        Ok(engine)
    }

    /// Makes the engine compute losses of this kind; the settings must allow it
    /// ([`SessionSettings::check_loss`]).
    ///
    /// [`SessionSettings::check_loss`]: super::settings::SessionSettings::check_loss
    pub(super) fn with_loss<'e>(&self, engine: Engine<'e>, loss: LossKind) -> Engine<'e> {
        let mut sets = self.settings.data.iter();
        let validation = sets.position(|set| set.role == Role::Val);
        match validation.filter(|_| loss == LossKind::Calibrated) {
            Some(set) => engine.calibrated(set),
            None => engine,
        }
    }

    /// How the losses of an engine are calibrated, if they are; `betas` are those of its models.
    pub(super) fn calibrated_on<'b>(
        engine: &Engine<'_>,
        betas: impl IntoIterator<Item = &'b Beta>,
    ) -> Option<CalibratedOn> {
        let set = engine.datasets().swap_remove(engine.calibrated_on()?);
        Some(CalibratedOn::new((&set.name, set.samples), betas))
    }

    /// Tells how an unusual file is run.
    fn note_of_network(&self, data: &LoadedData, observer: &dyn Observer) {
        let model = &self.inputs.model;
        if !model.fits_a_message() {
            observer.note(&format!(
                "{} is larger than 2 GiB, which ONNX Runtime cannot read: its graph and its tensors \
                 are handed over apart, here and where the untouched file is run",
                model.path.display()
            ));
        }
        if data.signature.fixed_batch == Some(1) {
            observer.note(
                "the graph fixes its batch size to 1: an export with an example of 2 samples and a \
                 dynamic batch runs several times faster",
            );
        }
    }

    /// Makes the engine save finished work, if the settings name an output.
    ///
    /// # Errors
    /// When the output cannot be written, or another run is writing the same output.
    pub fn keep<'e>(&self, engine: Engine<'e>, data: &LoadedData) -> Result<Engine<'e>> {
        let Some(output) = &self.settings.output else {
            return Ok(engine);
        };
        output.check()?;
        let names = self.given_names();
        let fixed = self.settings.matching.fixed.iter();
        let fixed = fixed.map(|it| names.iter().position(|name| *name == it.model));
        let fixed: Vec<Option<usize>> = fixed.collect();
        engine.keeping(&JournalOptions {
            out: output.folder.clone(),
            name: output.name.clone(),
            fresh: output.fresh,
            identity: identity::of(&self.settings, data, &fixed, names.len()),
        })
    }
}

/// Tells that the network computes, for every mix, what the exporter had computed once.
fn note_of_unfolding(explained: &BTreeMap<String, String>, observer: &dyn Observer) {
    let count = explained.len();
    if count > 0 {
        let tensors = if count == 1 { "tensor" } else { "tensors" };
        observer.note(&format!(
            "the exporter computed {count} {tensors} of the graph from parameters; they are computed \
             again for every mix (`landscape inspect` lists them)"
        ));
    }
}
