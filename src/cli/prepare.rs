//! What every command that evaluates begins with: the network, the checkpoints aligned to it, the
//! data, and the engine over them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::args::{Common, RunArgs};
use super::config::Config;
use super::plan::Plan;
use super::{STOP, note, open_origin, warn};
use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content, file, state_dict_beside};
use crate::data::{Dataset, InputDtype};
use crate::error::{Error, Result};
use crate::evaluate::interface::{self, Interface};
use crate::evaluate::onnx::{Engine, Untouched};
use crate::evaluate::runtime::Runtime;
use crate::files::Stamp;
use crate::graph::network::Network;
use crate::result::atomic;
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::space::gram::Gram;
use crate::space::matching::{self, Aligned, Verified};
use crate::space::mix::Mix;
use crate::space::save::{Recipe, embedded};

/// What was named on the command line, opened.
pub struct Inputs {
    /// What is to be done.
    pub plan: Plan,
    /// The configuration.
    pub config: Config,
    config_path: Option<PathBuf>,
    runtime: &'static Runtime,
    origin_name: String,
    model: Model,
    /// The checkpoints, in the order they were named.
    pub checkpoints: Vec<Checkpoint>,
    weights: Option<Checkpoint>,
    stamps: Vec<Stamp>,
}

impl Inputs {
    /// Opens the network and the checkpoints.
    ///
    /// # Errors
    /// When a flag, the configuration or a file cannot be used.
    pub fn open(common: &Common, run: &RunArgs, checkpoints: &[&Path]) -> Result<Self> {
        let config = Config::load(common.config.as_deref())?;
        Self::with_config(config, common, run, checkpoints)
    }

    /// The same with a configuration, and the file that it is from.
    ///
    /// # Errors
    /// When a flag, the configuration or a file cannot be used.
    pub fn with_config(
        (config, config_path): (Config, Option<PathBuf>),
        common: &Common,
        run: &RunArgs,
        checkpoints: &[&Path],
    ) -> Result<Self> {
        let plan = Plan::new(common, run, &config)?;
        let runtime = Runtime::load(plan.onnxruntime.as_deref())?;
        let (origin_name, model) = open_origin(&plan.origin)?;
        let mut plan = plan;
        if plan.origin_weights.is_none() {
            plan.origin_weights = state_dict_beside(&model.path);
        }
        let checkpoints = checkpoints.iter().map(|path| Checkpoint::open(path));
        let weights = plan.origin_weights.as_deref().map(Checkpoint::open);
        let mut inputs = Self {
            checkpoints: checkpoints.collect::<Result<_>>()?,
            weights: weights.transpose()?,
            plan,
            config,
            config_path,
            runtime,
            origin_name,
            model,
            stamps: Vec::new(),
        };
        let files = inputs.files();
        inputs.stamps = files.iter().filter_map(|path| Stamp::of(path)).collect();
        Ok(inputs)
    }

    /// Gives checkpoints from which --ignore takes something another name: values of such a model
    /// are not those of its file.
    ///
    /// # Errors
    /// When a checkpoint does not fit the network.
    pub fn rename_left_out(&mut self) -> Result<()> {
        if self.plan.options.ignore.is_empty() {
            return Ok(());
        }
        let left_out = self.aligned(&self.network())?.left_out;
        let patterns = self.plan.options.ignore.join(",");
        for (checkpoint, left) in self.checkpoints.iter_mut().zip(left_out) {
            if !left.is_empty() {
                checkpoint.name = format!("{} without {patterns}", checkpoint.name);
            }
        }
        Ok(())
    }

    /// Names of θ0 and the checkpoints.
    pub fn names(&self) -> Vec<String> {
        let checkpoints = self.checkpoints.iter().map(|model| model.name.clone());
        std::iter::once(self.origin_name.clone())
            .chain(checkpoints)
            .collect()
    }

    /// All files that are read.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = model_files(self);
        files.extend(self.plan.data_files());
        files.extend(self.config_path.clone());
        files
    }

    /// The origin's network.
    pub fn network(&self) -> Network<'_> {
        Network::of(&self.model)
    }

    /// The checkpoints, tensor by tensor beside the network's, all finite; with their inner
    /// products.
    ///
    /// # Errors
    /// When a checkpoint does not fit the network, or holds NaN.
    pub fn align(&self, network: &Network<'_>) -> Result<(Aligned, Gram)> {
        let aligned = self.aligned(network)?;
        let gram = Gram::of(&aligned.pool);
        refuse_nonfinite(&aligned, &gram)?;
        Ok((aligned, gram))
    }

    /// The checkpoints, tensor by tensor beside the network's, whatever they hold.
    ///
    /// # Errors
    /// When a checkpoint does not fit the network.
    pub fn aligned(&self, network: &Network<'_>) -> Result<Aligned> {
        let (checkpoints, weights) = (&self.checkpoints, self.weights.as_ref());
        let options = &self.plan.options;
        matching::pool(network, &self.origin_name, checkpoints, weights, options)
    }
}

/// The data, and what all inputs are by content.
pub struct Material {
    interface: Interface,
    datasets: Vec<Dataset>,
    content: Vec<(String, String)>,
    config_file: Vec<(String, String)>,
}

impl Material {
    /// Reads the data and hashes all inputs.
    ///
    /// # Errors
    /// When data cannot be read or does not fit the network.
    pub fn read(inputs: &Inputs, network: &Network<'_>) -> Result<Self> {
        let interface = Interface::of(network, inputs.plan.output.as_deref())?;
        let datasets = inputs.plan.read_data(&interface, &inputs.config)?;
        let models = hashes(&model_files(inputs))?;
        let data = datasets
            .iter()
            .map(|data| (data.path().display().to_string(), data.sha256().to_string()));
        Ok(Self {
            content: models.into_iter().chain(data).collect(),
            config_file: hashes(inputs.config_path.as_slice())?,
            interface,
            datasets,
        })
    }

    /// The engine; says what it warns of.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the network.
    pub fn engine<'e>(
        &'e self,
        inputs: &'e Inputs,
        network: &'e Network<'_>,
        aligned: &'e Aligned,
    ) -> Result<Engine<'e>> {
        self.datasets
            .iter()
            .flat_map(Dataset::notes)
            .for_each(|it| note(it));
        let engine = Engine::new(
            inputs.runtime,
            network,
            aligned,
            self.interface.clone(),
            &self.datasets,
            inputs.plan.request.clone(),
            &STOP,
        )?;
        engine.warnings().iter().for_each(|warning| warn(warning));
        Ok(engine)
    }

    /// SHA-256 of each input file by its path.
    pub fn hashes(&self) -> &[(String, String)] {
        &self.content
    }

    /// The data sets.
    pub fn datasets(&self) -> Vec<DatasetInfo> {
        self.datasets.iter().map(Dataset::info).collect()
    }

    /// Tries the output folder and keeps there what the engine finishes.
    ///
    /// # Errors
    /// When nothing can be written, or another run writes the same output.
    pub fn keeping<'e>(
        &self,
        engine: Engine<'e>,
        inputs: &Inputs,
        name: &str,
    ) -> Result<Engine<'e>> {
        let plan = &inputs.plan;
        check_name(name)?;
        atomic::probe(&plan.csv(name))?;
        atomic::probe(&plan.plots().join(name))?;
        engine.keeping(&plan.keep(name, &self.content, &inputs.config))
    }

    /// What is to be said of a run that a limit stopped before all samples were evaluated.
    pub fn cut(&self, evaluated: &[DatasetInfo]) -> Option<String> {
        let whole: usize = self.datasets.iter().map(Dataset::len).sum();
        let done: usize = evaluated.iter().map(|set| set.samples).sum();
        (done < whole).then(|| {
            format!("stopped by a limit after {done} of {whole} samples; every value is of these")
        })
    }

    /// Holds the inputs against what they were, before results are written; what was kept of a
    /// run whose inputs changed is dropped.
    ///
    /// # Errors
    /// When one was written to.
    pub fn unchanged(&self, inputs: &Inputs, engine: &Engine<'_>) -> Result<()> {
        let checked = inputs.stamps.iter().try_for_each(Stamp::check);
        if checked.is_err() {
            engine.forget();
        }
        checked
    }

    /// Where the numbers come from; the time is still to be told.
    pub fn provenance(&self, inputs: &Inputs, aligned: &Aligned) -> Provenance {
        let files = self.content.iter().chain(&self.config_file);
        Provenance {
            command: command(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            files: files.cloned().collect(),
            settings: inputs.plan.recorded(),
            onnxruntime: inputs.runtime.version().to_string(),
            provider: inputs.plan.request.device.provider().to_string(),
            verified: verified(inputs, aligned),
            wall_seconds: 0.0,
        }
    }
}

/// Refuses a stem that names no file, or one outside the folder of results.
fn check_name(name: &str) -> Result<()> {
    let mut parts = Path::new(name).components();
    // Unlike the components, the text has a slash or a dot at its end.
    let is_file = name
        .rsplit('/')
        .next()
        .is_some_and(|last| !["", "."].contains(&last));
    let inside = parts.all(|part| matches!(part, Component::Normal(_)));
    match is_file && inside {
        true => Ok(()),
        false => Err(Error::flag(
            "--name",
            format!("is `{name}`; the name of a file in the folder of --out is needed"),
        )),
    }
}

/// The command line, the program by its name alone: its folder says nothing about the result.
fn command() -> Vec<String> {
    let program = env!("CARGO_PKG_NAME").to_string();
    std::iter::once(program)
        // What is not UTF-8 is shown as well as it can be.
        .chain(
            std::env::args_os()
                .skip(1)
                .map(|word| word.to_string_lossy().into_owned()),
        )
        .collect()
}

fn refuse_nonfinite(aligned: &Aligned, gram: &Gram) -> Result<()> {
    let Some((parameter, member, count)) = gram.first_nonfinite() else {
        return Ok(());
    };
    let member = &aligned.pool.members[member];
    Err(Error::input(
        &member.path,
        format!(
            "{count} values of `{}` are NaN or infinite; finite weights are needed",
            member.sources[parameter].name
        ),
    )
    .help("did this training run diverge?"))
}

/// The checkpoints as they are, to be run beside their mixes.
pub fn untouched<'m>(
    network: &'m Network<'_>,
    aligned: &'m Aligned,
    checkpoints: &'m [Checkpoint],
) -> Result<Vec<Untouched<'m>>> {
    let mut models = vec![Untouched::File(&network.model.path)];
    for (index, checkpoint) in checkpoints.iter().enumerate() {
        models.push(match &checkpoint.content {
            Content::Onnx(model) if runs_itself(network, aligned, index, model) => {
                Untouched::File(&model.path)
            }
            _ => {
                let mix = Mix::unit(index + 1, aligned.pool.members.len());
                let write = move || embedded(network, aligned, &mix, &Recipe::new());
                Untouched::Written(Box::new(write))
            }
        });
    }
    Ok(models)
}

/// Whether a checkpoint's file is run as it is: a graph of another precision or batch size cannot be
/// fed the same data, and with tensors left out it is another model.
fn runs_itself(network: &Network<'_>, aligned: &Aligned, index: usize, model: &Model) -> bool {
    // Of each input: its type, and the batch size when it is fixed.
    let types = |network: &Network<'_>| -> Option<Vec<(InputDtype, Option<usize>)>> {
        let inputs = interface::inputs(network).ok()?.into_iter();
        let types = inputs.map(|input| (input.dtype, input.shape.first().copied().flatten()));
        Some(types.collect())
    };
    aligned.left_out[index].is_empty() && types(&Network::of(model)) == types(network)
}

/// How each checkpoint was verified, by its name, or by its file where two have one name.
fn verified(inputs: &Inputs, aligned: &Aligned) -> BTreeMap<String, String> {
    let network = inputs.network();
    let checkpoints = inputs.checkpoints.iter().enumerate();
    let how = |(index, checkpoint): (usize, &Checkpoint)| {
        let how = match (aligned.verified[index], &checkpoint.content) {
            (Verified::Value, _) => "value",
            (Verified::Name, _) => "name",
            (Verified::Graph, Content::Onnx(model))
                if runs_itself(&network, aligned, index, model) =>
            {
                "file"
            }
            (Verified::Graph, _) => "graph",
        };
        let mut others = inputs.checkpoints.iter().enumerate();
        let name = match others.any(|(other, it)| other != index && it.name == checkpoint.name) {
            true => checkpoint.path.display().to_string(),
            false => checkpoint.name.clone(),
        };
        (name, how.to_string())
    };
    checkpoints.map(how).collect()
}

/// The files that weights come from.
fn model_files(inputs: &Inputs) -> Vec<PathBuf> {
    let mut paths = vec![inputs.plan.origin.clone()];
    paths.extend(inputs.model.external.iter().cloned());
    paths.extend(inputs.plan.origin_weights.clone());
    for checkpoint in &inputs.checkpoints {
        paths.push(checkpoint.path.clone());
        if let Content::Onnx(model) = &checkpoint.content {
            paths.extend(model.external.iter().cloned());
        }
    }
    paths
}

/// SHA-256 of each file's content, in the order given.
fn hashes(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let hash = |path: &PathBuf| {
        // A configuration may be empty, which cannot be mapped.
        let empty = path
            .metadata()
            .is_ok_and(|file| file.is_file() && file.len() == 0);
        let bytes = match empty {
            true => Bytes::new(),
            false => file::map(path)?,
        };
        let digest = Sha256::digest(&bytes);
        let hex = digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Ok((path.display().to_string(), hex))
    };
    paths.par_iter().map(hash).collect()
}
