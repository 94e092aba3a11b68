//! What a command that evaluates is to do: flags over `landscape.toml` over defaults, checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{BindingArg, Common, LossesArg, PrecisionArg, RunArgs};
use super::config::{self, Config};
use super::units;
use crate::data::{Dataset, Preprocess, ReadOptions, Source};
use crate::error::{Error, Result};
use crate::evaluate::onnx::{BindingChoice, Device, EvaluationOptions, JournalOptions, Losses};
use crate::evaluate::signature::Signature;
use crate::result::plane_file::json_beside;
use crate::result::score::Role;
use crate::space::matching::Options;

/// What was typed and configured, checked.
pub struct Plan {
    /// The network with θ0.
    pub origin: PathBuf,
    /// θ0 under the checkpoints' names.
    pub origin_weights: Option<PathBuf>,
    /// The library, when it was named.
    pub onnxruntime: Option<PathBuf>,
    /// How tensors are matched.
    pub options: Options,
    /// The output with the logits, when it was named.
    pub output: Option<String>,
    /// Where folders of results are made.
    pub out: PathBuf,
    data: Vec<Source>,
    limit: Option<usize>,
    /// Seed of whatever is drawn.
    pub seed: u64,
    /// How the work is to be laid out.
    pub request: EvaluationOptions,
    fresh: bool,
}

impl Plan {
    /// Checks what was typed against what the file says.
    ///
    /// # Errors
    /// When a value is missing or impossible.
    pub fn new(common: &Common, run: &RunArgs, config: &Config) -> Result<Self> {
        let origin = common.origin.clone().or_else(|| config.origin.clone());
        let mut ignore = config.ignore.clone();
        ignore.extend(common.ignore.iter().cloned());
        Ok(Self {
            origin: origin.ok_or_else(|| {
                Error::flag(
                    "--origin",
                    "is needed: the network and its initialization θ0, as .onnx",
                )
            })?,
            origin_weights: common
                .origin_weights
                .clone()
                .or_else(|| config.origin_weights.clone()),
            onnxruntime: library(common, run, config)?,
            options: Options { ignore },
            output: run.output.clone().or_else(|| config.output.clone()),
            out: run
                .out
                .clone()
                .or_else(|| config.out.clone())
                .unwrap_or_else(|| ".".into()),
            data: data(run, config)?,
            limit: run.limit.or(config.limit),
            seed: run.seed.or(config.seed).unwrap_or(0),
            request: request(run, config)?,
            fresh: run.fresh,
        })
    }

    /// Where the numbers go.
    pub fn csv(&self, name: &str) -> PathBuf {
        self.data_folder().join(format!("{name}.csv"))
    }

    /// The folder of numbers.
    pub fn data_folder(&self) -> PathBuf {
        self.out.join("notebooks-data")
    }

    /// The folder of figures.
    pub fn plots(&self) -> PathBuf {
        self.out.join("plots")
    }

    /// Reads the data sets for a network's inputs.
    ///
    /// # Errors
    /// When one cannot be read or does not fit the inputs.
    pub fn read_data(&self, signature: &Signature, config: &Config) -> Result<Vec<Dataset>> {
        let options = ReadOptions {
            preprocess: config.preprocess.clone(),
            limit: self.limit,
            seed: self.seed,
        };
        let read = |source: &Source| Dataset::read(source, &signature.inputs, &options);
        self.data.iter().map(read).collect()
    }

    /// Leaves out the data sets of a role.
    ///
    /// # Errors
    /// When there is none of another role.
    pub fn leave_out(&mut self, role: Role) -> Result<()> {
        self.data.retain(|set| set.role != role);
        if self.data.is_empty() {
            return Err(
                Error::flag("data", "no data set was named that models are compared on")
                    .help("give at least one of --val, --test, --shift NAME=PATH"),
            );
        }
        Ok(())
    }

    /// Leaves out all data sets but the one that was named, or train, test, val, the first.
    ///
    /// # Errors
    /// When there is none of the name.
    pub fn keep_one(&mut self, named: Option<&str>) -> Result<()> {
        let of = |role: Role| self.data.iter().position(|set| set.role == role);
        let found = match named {
            Some(named) => self.data.iter().position(|set| set.name == named),
            None => of(Role::Train)
                .or(of(Role::Test))
                .or(of(Role::Val))
                .or(Some(0)),
        };
        let Some(found) = found.filter(|&found| found < self.data.len()) else {
            let names: Vec<&str> = self.data.iter().map(|set| set.name.as_str()).collect();
            return Err(Error::flag(
                "--on",
                format!(
                    "there is no data set `{}`; there are `{}`",
                    named.unwrap_or_default(),
                    names.join("`, `")
                ),
            ));
        };
        self.data = vec![self.data.swap_remove(found)];
        Ok(())
    }

    /// The files of the data sets.
    pub fn data_files(&self) -> impl Iterator<Item = PathBuf> {
        self.data.iter().map(|set| set.path.clone())
    }

    /// Whether a data set of a role was named.
    pub fn has(&self, role: Role) -> bool {
        self.data.iter().any(|set| set.role == role)
    }

    /// Settings that the values depend on.
    pub fn recorded(&self) -> BTreeMap<String, String> {
        let limit = self.limit.unwrap_or(0);
        [
            ("limit", limit.to_string()),
            ("seed", self.seed.to_string()),
            ("batch-norm", "interpolate".to_string()),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into()
    }

    /// Where what is finished is kept, for weights and data of these hashes: known by content,
    /// never by name. The configuration counts by what it says of the values.
    pub fn keep(&self, name: &str, files: &[(String, String)], config: &Config) -> JournalOptions {
        JournalOptions {
            out: self.out.clone(),
            name: name.to_string(),
            fresh: self.fresh,
            identity: identity(&Identity {
                files: files.iter().map(|(_, hash)| hash.as_str()).collect(),
                data: self.data.iter().map(|set| (&*set.name, set.role)).collect(),
                preprocess: config.preprocess.as_ref(),
                ignore: &self.options.ignore,
                settings: self.recorded(),
            }),
        }
    }

    /// Removes what a run that is finished showed on the way.
    pub fn remove_partial(&self, name: &str) {
        let partial = format!("{name}.partial");
        let csv = self.csv(&partial);
        for file in [
            json_beside(&csv),
            csv,
            self.plots().join(format!("{partial}.png")),
            self.plots().join(format!("{partial}.svg")),
        ] {
            // Mostly there is none.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// The inputs and settings that the values of a run depend on.
#[derive(Serialize)]
struct Identity<'i> {
    /// SHA-256 of each file of weights and data.
    files: Vec<&'i str>,
    /// Name and role of each data set.
    data: Vec<(&'i str, Role)>,
    preprocess: Option<&'i Preprocess>,
    ignore: &'i [String],
    settings: BTreeMap<String, String>,
}

/// A run's identity as text, which its journal is known by. It is made of names that are written to
/// files, so that no renaming in this source discards a journal.
fn identity(of: &Identity<'_>) -> String {
    // Numbers are finite and keys are text: nothing here can fail.
    serde_json::to_string(of).unwrap_or_default()
}

/// The library that was named. A library runs code as soon as it is loaded, and a `landscape.toml`
/// that merely stands in the working folder may be anybody's: it names none.
fn library(common: &Common, run: &RunArgs, config: &Config) -> Result<Option<PathBuf>> {
    let found = common.config.is_none();
    match (&run.onnxruntime, &config.onnxruntime) {
        (Some(typed), _) => Ok(Some(typed.clone())),
        // By the environment variable.
        (None, Some(_)) if found && std::env::var_os(VARIABLE).is_some_and(|it| !it.is_empty()) => {
            Ok(None)
        }
        (None, Some(named)) if found => Err(Error::input(
            config::DEFAULT,
            format!(
                "names a library to load, {}, but was itself only found in this folder; nothing \
                 was loaded",
                named.display()
            ),
        )
        .help(format!(
            "name the library with --onnxruntime or {VARIABLE}, or say with --config {} that the \
             file is yours",
            config::DEFAULT
        ))),
        (None, configured) => Ok(configured.clone()),
    }
}

/// Names a library.
const VARIABLE: &str = "ORT_DYLIB_PATH";

fn request(run: &RunArgs, config: &Config) -> Result<EvaluationOptions> {
    let device = run.device.as_ref().or(config.device.as_ref());
    let device = device.map_or("cpu", String::as_str);
    let device = Device::parse(device).ok_or_else(|| {
        let possible = "cpu, cuda, cuda:N or cuda:N,M";
        Error::flag(
            "--device",
            format!("is `{device}`; {possible} are possible"),
        )
    })?;
    let request = EvaluationOptions {
        losses: match (run.losses, config.losses.as_deref()) {
            (Some(LossesArg::Graph), _) | (None, Some("graph")) => Losses::Graph,
            (Some(LossesArg::Host), _) | (None, Some("host")) => Losses::Host,
            (None, None) if device != Device::Cpu => Losses::Graph,
            (None, None) => Losses::Host,
            (None, Some(other)) => return Err(one_of("losses", other, "host or graph")),
        },
        device,
        tf32: match (run.precision, config.precision.as_deref()) {
            (Some(PrecisionArg::Tf32), _) | (None, Some("tf32")) => true,
            (Some(PrecisionArg::Full), _) | (None, Some("full") | None) => false,
            (None, Some(other)) => return Err(one_of("precision", other, "full or tf32")),
        },
        workers: run.workers.or(config.workers),
        threads: run.threads.or(config.threads),
        batch: run.batch.or(config.batch),
        binding: binding(run, config)?,
        memory: quantity(&run.memory, &config.memory, "--memory", units::bytes)?,
        max_time: quantity(
            &run.max_time,
            &config.max_time,
            "--max-time",
            units::duration,
        )?,
        tolerance: quantity(
            &run.tolerance,
            &config.tolerance,
            "--tolerance",
            units::part,
        )?,
    };
    let checked = [
        ("--workers", request.workers, THREADS),
        ("--threads", request.threads, THREADS),
        ("--batch", request.batch, 1 << 20),
    ];
    for (flag, value, most) in checked {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            return Err(Error::flag(
                flag,
                format!("is {value}; 1 to {most} are possible"),
            ));
        }
    }
    let (workers, threads) = (request.workers.unwrap_or(1), request.threads.unwrap_or(1));
    if workers * threads > THREADS {
        return Err(Error::flag(
            "--workers, --threads",
            format!("are {workers} × {threads}; at most {THREADS} threads are possible"),
        ));
    }
    Ok(request)
}

/// Most threads: four for each core of the largest machines.
const THREADS: usize = 1024;

fn binding(run: &RunArgs, config: &Config) -> Result<BindingChoice> {
    match (run.binding, config.binding.as_deref()) {
        (Some(BindingArg::Auto), _) | (None, None) => Ok(BindingChoice::Auto),
        (Some(BindingArg::Baked), _) => Ok(BindingChoice::Baked),
        (Some(BindingArg::InGraph), _) => Ok(BindingChoice::InGraph),
        (Some(BindingArg::Inputs), _) => Ok(BindingChoice::Inputs),
        (None, Some(name)) => BindingChoice::parse(name)
            .ok_or_else(|| one_of("binding", name, "auto, baked, in-graph or inputs")),
    }
}

fn one_of(key: &str, found: &str, possible: &str) -> Error {
    Error::flag(key, format!("is `{found}`; {possible} is possible"))
}

/// A flag's value over the file's, read by `read`, which names what is possible.
fn quantity<T>(
    typed: &Option<String>,
    configured: &Option<String>,
    flag: &str,
    read: fn(&str) -> std::result::Result<T, &'static str>,
) -> Result<Option<T>> {
    let Some(text) = typed.as_ref().or(configured.as_ref()) else {
        return Ok(None);
    };
    let value = read(text);
    value
        .map(Some)
        .map_err(|possible| Error::flag(flag, format!("is `{text}`; {possible}")))
}

/// The data sets by role, those of the flags before those of the file.
fn data(run: &RunArgs, config: &Config) -> Result<Vec<Source>> {
    let roles = [
        (Role::Train, &run.train, &config.data.train),
        (Role::Val, &run.val, &config.data.val),
        (Role::Test, &run.test, &config.data.test),
    ];
    let typed = run.shift.len() + roles.iter().filter(|(_, flag, _)| flag.is_some()).count();
    let mut data = Vec::new();
    for (role, flag, configured) in roles {
        let path = flag
            .as_ref()
            .or_else(|| configured.as_ref().filter(|_| typed == 0));
        if let Some(path) = path {
            data.push(source(role.name(), role, path));
        }
    }
    for shift in &run.shift {
        let Some((name, path)) = shift.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::flag(
                "--shift",
                format!("is `{shift}`; NAME=PATH is needed"),
            ));
        };
        data.push(source(name, Role::Shift, Path::new(path)));
    }
    if typed == 0 {
        for (name, path) in &config.data.shifts {
            data.push(source(name, Role::Shift, path));
        }
    }
    if data.is_empty() {
        return Err(Error::flag("data", "no data set was named").help(
            "give at least one of --train, --val, --test, --shift NAME=PATH, or list them under [data] in landscape.toml",
        ));
    }
    for (index, Source { name, .. }) in data.iter().enumerate() {
        let reserved = ["shifts", "all"].contains(&name.as_str());
        if reserved || data[..index].iter().any(|other| other.name == *name) {
            let why = if reserved {
                "is kept for means"
            } else {
                "names two data sets"
            };
            return Err(Error::flag("--shift", format!("the name `{name}` {why}")));
        }
    }
    Ok(data)
}

fn source(name: &str, role: Role, path: &Path) -> Source {
    Source {
        name: name.to_string(),
        role,
        path: path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_known_by_names_that_stay() {
        let preprocess = Preprocess::new(0.5, vec![0.25], vec![1.0], 1).unwrap();
        let text = identity(&Identity {
            files: vec!["aa", "bb"],
            data: vec![("test", Role::Test), ("cold", Role::Shift)],
            preprocess: Some(&preprocess),
            ignore: &["head.*".to_string()],
            settings: [("seed".to_string(), "3".to_string())].into(),
        });
        assert_eq!(
            text,
            r#"{"files":["aa","bb"],"data":[["test","test"],["cold","shift"]],"#.to_string()
                + r#""preprocess":{"scale":0.5,"mean":[0.25],"std":[1.0],"channel_axis":1},"#
                + r#""ignore":["head.*"],"settings":{"seed":"3"}}"#
        );
    }
}
