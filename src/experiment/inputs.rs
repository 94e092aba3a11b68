//! Opens the files of an experiment: the network with θ0, its state dict, and the checkpoints.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rayon::prelude::*;

use super::candidates::Candidate;
use super::settings::SessionSettings;
use super::unfolding::{self, Unfolding};
use crate::base::files::Stamp;
use crate::base::hash::sha256;
use crate::base::map::map_file;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content, state_dict_beside};
use crate::error::{Error, Result};
use crate::graph::network::Network;
use crate::space::matching::{self, Aligned};

/// The opened inputs.
pub struct Inputs {
    /// Path of the origin.
    pub origin: PathBuf,
    /// Name of the origin in the results.
    pub origin_name: String,
    /// The network, which contains θ0; unfolded if the checkpoints need it.
    pub model: Model,
    /// What the exporter computed from the parameters, and how.
    pub unfolding: Unfolding,
    /// A separate state dict of θ0.
    pub origin_weights: Option<Checkpoint>,
    /// The checkpoints, in the order they were named.
    pub checkpoints: Vec<Checkpoint>,
    /// State of each file when it was opened.
    stamps: Vec<Stamp>,
}

impl Inputs {
    /// Opens the network and the checkpoints.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn open(settings: &SessionSettings, candidates: &[Candidate]) -> Result<Self> {
        let origin = settings.origin.clone();
        let (origin_name, model) = open_origin(&origin)?;
        let beside = || state_dict_beside(&model.path);
        let weights = settings.origin_weights.clone().or_else(beside);
        let open = |candidate: &Candidate| {
            let mut checkpoint = Checkpoint::open(&candidate.path)?;
            if let Some(name) = &candidate.name {
                checkpoint.name.clone_from(name);
            }
            Ok(checkpoint)
        };
        let mut inputs = Self {
            checkpoints: candidates.iter().map(open).collect::<Result<_>>()?,
            origin_weights: weights.as_deref().map(Checkpoint::open).transpose()?,
            origin,
            origin_name,
            model,
            unfolding: Unfolding::default(),
            stamps: Vec::new(),
        };
        inputs.unfold(&settings.matching)?;
        let mut files = inputs.model_files();
        files.extend(settings.other_files());
        inputs.stamps = files.iter().filter_map(|path| Stamp::of(path)).collect();
        Ok(inputs)
    }

    /// Computes what the exporter folded from the state dict's tensors, if all checkpoints are
    /// state dicts and θ0's own is at hand.
    fn unfold(&mut self, options: &matching::Options) -> Result<()> {
        let weights = self.origin_weights.as_ref();
        self.unfolding = unfolding::of(&mut self.model, weights, &self.checkpoints, options)?;
        Ok(())
    }

    /// Names of θ0 and the checkpoints.
    pub fn names(&self) -> Vec<String> {
        let checkpoints = self.checkpoints.iter().map(|model| model.name.clone());
        let origin = std::iter::once(self.origin_name.clone());
        origin.chain(checkpoints).collect()
    }

    /// Matches each checkpoint's tensors to the network's, without looking at the values.
    ///
    /// # Errors
    /// When a checkpoint does not fit the network.
    pub fn align(&self, options: &matching::Options) -> Result<Aligned> {
        let (checkpoints, weights) = (&self.checkpoints, self.origin_weights.as_ref());
        let network = Network::of(&self.model);
        let aligned = matching::pool(&network, &self.origin_name, checkpoints, weights, options);
        aligned.map_err(|error| self.unfolding.explain(error))
    }

    /// The files that hold weights.
    pub fn model_files(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.origin.clone()];
        paths.extend(self.model.external.iter().cloned());
        paths.extend(
            self.origin_weights
                .as_ref()
                .map(|weights| weights.path.clone()),
        );
        for checkpoint in &self.checkpoints {
            paths.push(checkpoint.path.clone());
            if let Content::Network(model) = &checkpoint.content {
                paths.extend(model.external.iter().cloned());
            }
        }
        paths
    }

    /// Checks that no file has changed since it was opened.
    ///
    /// # Errors
    /// When a file has changed.
    pub fn check_unchanged(&self) -> Result<()> {
        self.stamps.iter().try_for_each(Stamp::check)
    }
}

/// Opens the origin, which must be a network. Returns its name and the network.
///
/// # Errors
/// When the file cannot be read or holds no network.
pub fn open_origin(path: &Path) -> Result<(String, Model)> {
    let checkpoint = Checkpoint::open(path)?;
    match checkpoint.content {
        Content::Network(model) => Ok((checkpoint.name, *model)),
        Content::StateDict(_) => Err(Error::flag(
            "--origin",
            format!(
                "{} holds tensors but no network; an .onnx file is needed",
                checkpoint.path.display()
            ),
        )
        .help("torch.onnx.export(model.eval(), args, \"zs.onnx\", dynamo=True, optimize=False)")),
    }
}

/// Returns the path and SHA-256 of each file, in the given order.
///
/// # Errors
/// When a file cannot be read.
pub fn hashes(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let hash = |path: &PathBuf| {
        // A configuration may be empty, and an empty file cannot be mapped.
        let empty = path
            .metadata()
            .is_ok_and(|file| file.is_file() && file.len() == 0);
        let bytes = if empty { Bytes::new() } else { map_file(path)? };
        let hex = sha256(&bytes);
        Ok((path.display().to_string(), hex))
    };
    paths.par_iter().map(hash).collect()
}
