//! Loads the data sets of an experiment and hashes its inputs.

use std::collections::BTreeMap;

use super::inputs::{Inputs, hashes};
use super::settings::SessionSettings;
use crate::data::{Dataset, ReadOptions, Source};
use crate::error::Result;
use crate::evaluate::signature::Signature;
use crate::graph::network::Network;
use crate::result::score::DatasetInfo;

/// Data sets that fit a network's inputs.
pub struct LoadedData {
    /// The network's inputs, and the output that holds the logits.
    pub(super) signature: Signature,
    pub(super) datasets: Vec<Dataset>,
    /// Path and SHA-256 of each file of weights or data.
    pub(super) content: Vec<(String, String)>,
    /// The dictionaries that were taken from the checkpoints' files, by the checkpoints' names.
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
        let options = ReadOptions {
            preprocess: settings.preprocess.clone(),
            limit: settings.limit,
            seed: settings.seed,
        };
        let read = |source: &Source| Dataset::read(source, &signature.inputs, &options);
        let datasets = settings.data.iter().map(read);
        let datasets = datasets.collect::<Result<Vec<Dataset>>>()?;
        let models = hashes(&inputs.model_files())?;
        let data = datasets
            .iter()
            .map(|data| (data.path().display().to_string(), data.sha256().to_string()));
        Ok(Self {
            content: models.into_iter().chain(data).collect(),
            dictionaries: inputs.dictionaries(),
            config_file: hashes(settings.config_file.as_slice())?,
            signature,
            datasets,
        })
    }

    /// Path and SHA-256 of each file of weights or data.
    pub fn hashes(&self) -> &[(String, String)] {
        &self.content
    }

    /// Describes the data sets.
    pub fn datasets(&self) -> Vec<DatasetInfo> {
        self.datasets.iter().map(Dataset::info).collect()
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
