//! Opens the files of an experiment: the network with θ0, its state dict, and the checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rayon::prelude::*;

use super::adapters;
use super::candidates::Candidate;
use super::settings::SessionSettings;
use super::unfolding::{self, Unfolding};
use crate::base::files::Stamp;
use crate::base::hash::sha256;
use crate::base::map::map_file;
use crate::checkpoint::onnx::{EXPORT, Model};
use crate::checkpoint::{Checkpoint, Content, names, network_in, of_tensors, state_dict_beside};
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
    /// The network as its file holds it.
    pub file: Model,
    /// What the exporter computed from the parameters, and how.
    pub unfolding: Unfolding,
    /// Whether `--fixed` gave θ0 tensors of other models.
    pub is_altered: bool,
    /// A separate state dict of θ0.
    pub origin_weights: Option<Checkpoint>,
    /// The checkpoints, in the order they were named.
    pub checkpoints: Vec<Checkpoint>,
    /// What the user should know about adapters among them.
    warnings: Vec<String>,
    /// The network's files when they were opened.
    origin_files: Vec<Stamp>,
    /// Files other than models, before they are opened.
    others: Vec<Stamp>,
}

impl Inputs {
    /// Opens the network and the checkpoints, and watches the run's other files as well.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn open(settings: &SessionSettings, candidates: &[Candidate]) -> Result<Self> {
        let (weights, key) = (
            settings.origin_weights.as_deref(),
            settings.weights.as_deref(),
        );
        let matching = &settings.matching;
        let others = settings.other_files().map(|path| Stamp::of(&path));
        let others = others.collect();
        let inputs = Self::read(&settings.origin, weights, key, candidates, matching)?;
        Ok(Self { others, ..inputs })
    }

    /// Opens the network and the checkpoints. `weights` is θ0's state dict, by default the one beside
    /// the network; `key` names the dictionary to take from files that hold several.
    ///
    /// What the exporter computed is computed from the state dict's tensors, and fixed tensors are
    /// taken from their models.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn read(
        origin: &Path,
        weights: Option<&Path>,
        key: Option<&str>,
        candidates: &[Candidate],
        options: &matching::Options,
    ) -> Result<Self> {
        let OpenedOrigin {
            name: origin_name,
            model,
            files: origin_files,
        } = open_origin(origin)?;
        let weights = weights.map(Path::to_path_buf);
        let weights = weights.or_else(|| state_dict_beside(&model.path));
        let open = |path: &PathBuf| Checkpoint::open_weights(&of_tensors(path), key);
        let origin_weights = weights.as_ref().map(open).transpose()?;
        let models = adapters::open(candidates, key, &model, origin_weights.as_ref())?;
        let mut checkpoints = models.checkpoints;
        name(&mut checkpoints, candidates, &model.path, &origin_name);
        let mut inputs = Self {
            checkpoints,
            warnings: models.warnings,
            origin_weights,
            origin: model.path.clone(),
            origin_name,
            file: model.clone(),
            model,
            unfolding: Unfolding::default(),
            is_altered: false,
            origin_files,
            others: Vec::new(),
        };
        inputs.unfold(options)?;
        inputs.fix(options)?;
        Ok(inputs)
    }

    /// Computes what the exporter folded from the state dict's tensors, if all checkpoints are
    /// state dicts and θ0's own is at hand.
    fn unfold(&mut self, options: &matching::Options) -> Result<()> {
        let weights = self.origin_weights.as_ref();
        self.unfolding = unfolding::of(&mut self.model, weights, &self.checkpoints, options)?;
        Ok(())
    }

    /// Takes the fixed tensors from their models. θ0's name says so if its own were others.
    fn fix(&mut self, options: &matching::Options) -> Result<()> {
        let (checkpoints, weights) = (&self.checkpoints, self.origin_weights.as_ref());
        let own = &self.origin_name;
        if let Some(model) = matching::fix(&self.model, own, checkpoints, weights, options)? {
            let others = options.fixed.iter().filter(|it| !it.is_of_origin(own));
            let taken = others.map(|it| format!(" with {} of {}", it.pattern, it.model));
            self.origin_name = format!("{own}{}", taken.collect::<String>());
            (self.model, self.is_altered) = (model, true);
        }
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
        let mut aligned = aligned.map_err(|error| self.unfolding.explain(error))?;
        let own = self.warnings.iter().chain(&self.unfolding.warning);
        aligned.warnings.extend(own.cloned());
        if self.is_altered {
            aligned.warnings.push(format!(
                "{}: --fixed gave it tensors of another model, so its values are not those of its file",
                self.origin_name
            ));
        }
        Ok(aligned)
    }

    /// The files that hold weights.
    pub fn model_files(&self) -> Vec<PathBuf> {
        let stamps = self.model_stamps();
        stamps.map(|it| it.path().to_path_buf()).collect()
    }

    /// The files that hold weights, as they were when they were opened.
    fn model_stamps(&self) -> impl Iterator<Item = &Stamp> {
        let models = self.origin_weights.iter().chain(&self.checkpoints);
        let files = models.flat_map(|checkpoint| &checkpoint.files);
        self.origin_files.iter().chain(files)
    }

    /// The dictionary that was taken from θ0's state dict and from each checkpoint's file, by the
    /// model's name; files without keys are left out.
    pub fn dictionaries(&self) -> BTreeMap<String, String> {
        let weights = self.origin_weights.iter();
        let weights = weights.map(|it| (&self.origin_name, it));
        let checkpoints = self.checkpoints.iter().map(|it| (&it.name, it));
        let taken = |(name, checkpoint): (&String, &Checkpoint)| {
            let key = checkpoint.dictionary.clone()?;
            Some((name.clone(), key))
        };
        weights.chain(checkpoints).filter_map(taken).collect()
    }

    /// What the user should know about the choice of files and dictionaries.
    pub fn notes(&self) -> Vec<String> {
        let weights = self.origin_weights.iter();
        let all = weights.chain(&self.checkpoints);
        let notes: BTreeSet<&String> = all.flat_map(|checkpoint| &checkpoint.notes).collect();
        notes.into_iter().cloned().collect()
    }

    /// Checks that no file has changed since it was opened.
    ///
    /// # Errors
    /// When a file has changed.
    pub fn check_unchanged(&self) -> Result<()> {
        let mut stamps = self.model_stamps().chain(&self.others);
        stamps.try_for_each(Stamp::check)
    }
}

/// Names the checkpoints: as the user did, or by their paths.
fn name(checkpoints: &mut [Checkpoint], candidates: &[Candidate], origin: &Path, name: &str) {
    let mut taken: Vec<String> = vec![name.to_string()];
    let mut unnamed = Vec::new();
    for (checkpoint, candidate) in checkpoints.iter_mut().zip(candidates) {
        match &candidate.name {
            Some(name) => {
                checkpoint.name.clone_from(name);
                taken.push(name.clone());
            }
            // The origin's own file, as one of the models, keeps its name.
            None if checkpoint.path == origin => {}
            None => unnamed.push(checkpoint),
        }
    }
    let sources: Vec<PathBuf> = unnamed.iter().map(|it| it.source.clone()).collect();
    let names = names::distinct(&sources, &taken);
    for (checkpoint, name) in unnamed.into_iter().zip(names) {
        checkpoint.name = name;
    }
}

/// The opened origin.
pub struct OpenedOrigin {
    /// Its name.
    pub name: String,
    /// The network.
    pub model: Model,
    /// Its files when they were opened.
    pub files: Vec<Stamp>,
}

/// Opens the origin, which must be a network, or a folder with one.
///
/// # Errors
/// When the file cannot be read or holds no network.
pub fn open_origin(path: &Path) -> Result<OpenedOrigin> {
    let checkpoint = if path.is_dir() {
        Checkpoint::open(&network_in(path)?)?
    } else {
        Checkpoint::open(path)?
    };
    match checkpoint.content {
        Content::Network(model) => Ok(OpenedOrigin {
            name: checkpoint.name,
            model: *model,
            files: checkpoint.files,
        }),
        Content::StateDict(_) => Err(Error::input(
            &checkpoint.path,
            "holds tensors but no network; θ0 is given as an .onnx file",
        )
        .help(EXPORT)),
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// Overwrites the last byte of a file in place.
    fn touch(path: &Path) {
        let mut file = fs::File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::End(-1)).unwrap();
        file.write_all(&[1]).unwrap();
    }

    #[test]
    fn a_file_is_watched_from_the_moment_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits");
        for name in ["zs.onnx", "zs.safetensors", "ft1.safetensors"] {
            let path = folder.path().join(name);
            fs::copy(example.join(name), &path).unwrap();
            let model = Candidate::file(example.join("ft2.safetensors"));
            let models = match name {
                "ft1.safetensors" => [model, Candidate::file(&path)],
                _ => [model.clone(), model],
            };
            let of = |own: &str| match name == own {
                true => path.clone(),
                false => example.join(own),
            };
            let (origin, weights) = (of("zs.onnx"), of("zs.safetensors"));
            let options = matching::Options::default();
            let read = Inputs::read(&origin, Some(&weights), None, &models, &options);
            let inputs = read.unwrap();
            inputs.check_unchanged().unwrap();
            touch(&path);
            let message = inputs.check_unchanged().unwrap_err().to_string();
            assert!(message.contains(&format!("{name}: changed")), "{message}");
        }
    }
}
