//! Loads the data sets of an experiment and hashes its inputs.

use std::collections::BTreeMap;

use super::inputs::{Inputs, hashes};
use super::settings::SessionSettings;
use crate::data::{Dataset, ReadOptions, Source};
use crate::error::{Error, Result};
use crate::evaluate::signature::Signature;
use crate::graph::network::Network;
use crate::result::score::DatasetInfo;
use crate::space::statistics::BatchNorm;

/// Data sets that fit a network's inputs.
pub struct LoadedData {
    /// The network's inputs, and the output that holds the logits.
    pub(super) signature: Signature,
    pub(super) datasets: Vec<Dataset>,
    /// The training samples that batch norm's statistics are re-estimated from.
    pub(super) training: Option<Dataset>,
    /// Path and SHA-256 of each file of weights or data.
    pub(super) content: Vec<(String, String)>,
    /// The dictionaries that were taken from the models' files, by the models' names.
    pub(super) dictionaries: BTreeMap<String, String>,
    /// Path and SHA-256 of the configuration file.
    pub(super) config_file: Vec<(String, String)>,
}

impl LoadedData {
    /// Reads the data and hashes all inputs.
    ///
    /// # Errors
    /// When data cannot be read or does not fit the network.
    pub(super) fn read(settings: &SessionSettings, inputs: &Inputs) -> Result<Self> {
        let network = Network::of(&inputs.model);
        let signature = Signature::of(&network, settings.logits_output.as_deref())?;
        let options = read_options(settings);
        let read = |source: &Source| Dataset::read(source, &signature.inputs, &options);
        let datasets = settings.data.iter().map(read);
        let datasets = datasets.collect::<Result<Vec<Dataset>>>()?;
        let training = training(settings, &signature, &options)?;
        let models = hashes(&inputs.model_files())?;
        let read = training.iter().filter(|training| {
            let mut others = datasets.iter();
            !others.any(|other| other.path() == training.path())
        });
        let data = datasets
            .iter()
            .chain(read)
            .map(|data| (data.path().display().to_string(), data.sha256().to_string()));
        Ok(Self {
            content: models.into_iter().chain(data).collect(),
            dictionaries: inputs.dictionaries(),
            config_file: hashes(settings.config_file.as_slice())?,
            signature,
            datasets,
            training,
        })
    }

    /// Adds samples of the first data set that the limit leaves out, as a data set at the end: as many
    /// of them as the limit takes, or all. Returns whether there are any.
    ///
    /// # Errors
    /// When data cannot be read.
    pub(super) fn add_left_out(&mut self, settings: &SessionSettings) -> Result<bool> {
        let Some(source) = settings.data.first() else {
            return Ok(false);
        };
        let source = Source {
            name: format!("{} (held out)", source.name),
            ..source.clone()
        };
        let options = read_options(settings);
        let read = Dataset::read_left_out(&source, &self.signature.inputs, &options)?;
        let is_some = read.is_some();
        self.datasets.extend(read);
        Ok(is_some)
    }

    /// Describes how batch norm's statistics are re-estimated, if they are.
    pub(super) fn described_training(&self, batch: usize) -> Option<String> {
        let training = self.training.as_ref()?;
        Some(format!(
            "batch norm: statistics are re-estimated for every model, the single ones, too, from {} \
             samples of {}, in batches of {}",
            training.len(),
            training.path().display(),
            self.signature.fixed_batch.unwrap_or(batch)
        ))
    }

    /// Path and SHA-256 of each file of weights or data.
    pub fn hashes(&self) -> &[(String, String)] {
        &self.content
    }

    /// Describes the data sets.
    pub fn datasets(&self) -> Vec<DatasetInfo> {
        self.datasets.iter().map(Dataset::info).collect()
    }

    /// Number of samples in the file of each data set that was drawn from it in part.
    pub(super) fn drawn_from(&self) -> BTreeMap<String, usize> {
        let parts = self
            .datasets
            .iter()
            .filter(|set| set.len() < set.file_samples());
        parts
            .map(|set| (set.name().to_string(), set.file_samples()))
            .collect()
    }

    /// Warns if a limit stopped the run before all samples were evaluated.
    pub(super) fn cut(&self, evaluated: &[DatasetInfo]) -> Option<String> {
        let whole: usize = self.datasets.iter().map(Dataset::len).sum();
        let done: usize = evaluated.iter().map(|set| set.samples).sum();
        (done < whole).then(|| {
            format!("stopped by a limit after {done} of {whole} samples; all values are from these samples")
        })
    }
}

fn read_options(settings: &SessionSettings) -> ReadOptions {
    ReadOptions {
        preprocess: settings.preprocess.clone(),
        limit: settings.limit,
        seed: settings.seed,
    }
}

/// Reads the training samples that statistics are re-estimated from, if they are. They are drawn from
/// the whole file, whatever the limit of the other data sets.
fn training(
    settings: &SessionSettings,
    signature: &Signature,
    options: &ReadOptions,
) -> Result<Option<Dataset>> {
    let BatchNorm::Recalibrate { samples, .. } = settings.batch_norm else {
        return Ok(None);
    };
    let options = ReadOptions {
        limit: Some(samples),
        ..options.clone()
    };
    let source = settings.training_data()?;
    let read = Dataset::read(source, &signature.inputs, &options)?;
    if read.len() < samples {
        let (path, has) = (source.path.display(), read.len());
        let problem = format!("asks for {samples} training samples, and {path} has {has}");
        return Err(
            Error::flag("--bn", problem).help(format!("--bn recalibrate={has} takes them all"))
        );
    }
    Ok(Some(read))
}
