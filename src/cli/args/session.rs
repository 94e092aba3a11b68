//! Makes the settings of a session from the flags and the configuration.

use std::path::PathBuf;

use super::config::{self, Config};
use super::run::{EvaluationArgs, GpuPrecision, LimitArgs, RunArgs};
use super::units;
use crate::cli::signals::STOP;
use crate::cli::terminal::note;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::evaluate::onnx::{Device, EvaluationOptions, Losses};
use crate::experiment::candidates::Candidates;
use crate::experiment::output::Output;
use crate::experiment::settings::SessionSettings;
use crate::result::loss::LossKind;
use crate::result::score::Role;
use crate::space::matching::{Fixed, Options};
use crate::space::statistics::BatchNorm;

impl RunArgs {
    /// Makes the settings of a session over these models. Flags override the configuration, which
    /// overrides defaults. `name` is the default stem of the output files.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub(super) fn session(
        &self,
        config: Config,
        candidates: Candidates,
        name: &str,
    ) -> Result<SessionSettings> {
        let (models, output) = (&self.models, &self.output);
        let mut ignore = config.ignore.clone();
        ignore.extend(models.ignore.iter().cloned());
        let fixed = [config.fixed.as_slice(), &models.fixed].concat();
        let folder = output.out.clone().or_else(|| config.out.clone());
        let data = self.data_sets(&config)?;
        let training = data.iter().find(|set| set.role == Role::Train).cloned();
        let batch_norm = batch_norm(self.evaluation.bn.as_ref().or(config.bn.as_ref()))?;
        Ok(SessionSettings {
            origin: self.origin(&config)?,
            origin_weights: models
                .origin_weights
                .clone()
                .or_else(|| config.origin_weights.clone()),
            weights: models.weights.clone().or_else(|| config.weights.clone()),
            candidates,
            matching: Options {
                ignore,
                ignore_unused: models.ignore_unused || config.ignore_unused,
                fixed: fixed_tensors(&fixed)?,
                ..Options::default()
            },
            every_tensor_moves: false,
            onnxruntime: self.library(&config)?,
            logits_output: self.data.output.clone().or_else(|| config.output.clone()),
            data,
            statistics_data: training.filter(|_| batch_norm.is_recalibrated()),
            batch_norm,
            limit: self.data.limit.or(config.limit),
            seed: self.data.seed.or(config.seed).unwrap_or(0),
            options: options(&self.evaluation, &self.limits, &config)?,
            output: Some(Output {
                folder: folder.unwrap_or_else(|| ".".into()),
                name: output.name.clone().unwrap_or_else(|| name.to_string()),
                fresh: self.limits.fresh,
            }),
            preprocess: config.preprocess,
            config_file: config.path,
            command: command(),
            stop: &STOP,
        })
    }

    /// Makes the settings of a session over the models of a list. Models are compared on the same
    /// samples, all of them: limits are refused. Training data, often the largest, is left out: it
    /// has no place in a table. Batch norm's statistics may still be re-estimated from it.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub(super) fn pool(
        &self,
        config: Config,
        models: &[PathBuf],
        name: &str,
    ) -> Result<SessionSettings> {
        let models = if models.is_empty() {
            config.models.clone()
        } else {
            models.to_vec()
        };
        if models.is_empty() {
            return Err(Error::flag(
                "--models",
                "is needed: the checkpoints, as a .csv with `name,path` or one by one",
            ));
        }
        self.refuse_limits("choosing between models needs all samples", "each data set")?;
        let mut session = self.session(config, Candidates::pool(&models)?, name)?;
        ignore_limits(&mut session);
        session.data.retain(|set| set.role != Role::Train);
        if session.data.is_empty() {
            return Err(
                Error::flag("data", "there is no data set to compare models on").help(
                    "give at least one of --val, --test, --shift NAME=PATH, --source NAME=PATH",
                ),
            );
        }
        Ok(session)
    }

    /// Makes the settings of a session whose losses are of this kind.
    ///
    /// # Errors
    /// When a value is missing or out of range, or such losses cannot be computed.
    pub(super) fn with_loss(
        &self,
        config: Config,
        models: Candidates,
        (name, loss): (&str, LossKind),
    ) -> Result<SessionSettings> {
        let asked = self.evaluation.losses.or(config.losses);
        let mut session = self.session(config, models, name)?;
        if loss == LossKind::Calibrated && asked.is_none() {
            // On a GPU, the default has no logits.
            session.options.losses = Losses::Host;
        }
        session.check_loss(loss)?;
        Ok(session)
    }

    /// Refuses limits on samples for a command that needs all of them.
    ///
    /// # Errors
    /// When a limit was given as a flag. Limits in the configuration apply to planes and lines
    /// only.
    pub(super) fn refuse_limits(&self, why: &str, sets: &str) -> Result<()> {
        let limits = [
            ("--max-time", &self.limits.max_time),
            ("--tolerance", &self.limits.tolerance),
        ];
        match limits.into_iter().find(|(_, limit)| limit.is_some()) {
            Some((flag, _)) => {
                Err(Error::flag(flag, why)
                    .help(format!("use --limit N to draw N samples from {sets}")))
            }
            None => Ok(()),
        }
    }

    /// The file of the network.
    ///
    /// # Errors
    /// When none was named.
    pub(super) fn origin(&self, config: &Config) -> Result<PathBuf> {
        let origin = self.models.origin.as_ref().or(config.origin.as_ref());
        origin.cloned().ok_or_else(|| {
            Error::flag(
                "--origin",
                "is needed: the network and its initialization θ0, as .onnx",
            )
        })
    }

    /// The ONNX Runtime library that was named. A library runs code as soon as it is loaded, and a
    /// `landscape.toml` found in the working folder may be anybody's: it cannot name one.
    fn library(&self, config: &Config) -> Result<Option<PathBuf>> {
        let found = self.output.config.is_none();
        match (&self.evaluation.onnxruntime, &config.onnxruntime) {
            (Some(typed), _) => Ok(Some(typed.clone())),
            // Named by the environment variable.
            (None, Some(_))
                if found && std::env::var_os(VARIABLE).is_some_and(|it| !it.is_empty()) =>
            {
                Ok(None)
            }
            (None, Some(named)) if found => Err(Error::input(
                config::DEFAULT,
                format!(
                    "names a library to load, {}, but the file was merely found in this folder; \
                     nothing was loaded",
                    named.display()
                ),
            )
            .help(format!(
                "name the library with --onnxruntime or {VARIABLE}, or confirm with --config {} \
                 that the file is yours",
                config::DEFAULT
            ))),
            (None, configured) => Ok(configured.clone()),
        }
    }

    /// The data sets by role: those of the flags if there are any, else those of the file.
    fn data_sets(&self, config: &Config) -> Result<Vec<Source>> {
        let run = &self.data;
        let roles = [
            (Role::Train, &run.train, &config.data.train),
            (Role::Val, &run.val, &config.data.val),
            (Role::Test, &run.test, &config.data.test),
        ];
        let named = [
            (Role::Shift, &run.shift, &config.data.shifts),
            (Role::Source, &run.source, &config.data.sources),
        ];
        let typed = roles.iter().any(|(_, flag, _)| flag.is_some())
            || named.iter().any(|(_, flags, _)| !flags.is_empty());
        let mut data = Vec::new();
        for (role, flag, configured) in roles {
            let path = flag
                .as_ref()
                .or_else(|| configured.as_ref().filter(|_| !typed));
            if let Some(path) = path {
                data.push(Source::new(role.name(), role, path));
            }
        }
        for (role, flags, configured) in named {
            for text in flags {
                data.push(named_set(role, text)?);
            }
            let configured = configured.iter().filter(|_| !typed);
            data.extend(configured.map(|(name, path)| Source::new(name, role, path)));
        }
        if typed {
            tell_unused(config, &data);
        }
        if data.is_empty() {
            return Err(Error::flag("data", "no data set was named").help(
                "give at least one of --train, --val, --test, --shift NAME=PATH, --source NAME=PATH, or list them under [data] in landscape.toml",
            ));
        }
        check_names(&data)?;
        Ok(data)
    }
}

/// A data set that a flag of a role names, as NAME=PATH.
fn named_set(role: Role, text: &str) -> Result<Source> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, path) = named.ok_or_else(|| {
        let flag = format!("--{}", role.name());
        Error::flag(flag, format!("is `{text}`; NAME=PATH is needed"))
    })?;
    Ok(Source::new(name, role, path))
}

/// Says which data sets of the configuration are not used because flags name others.
fn tell_unused(config: &Config, data: &[Source]) {
    let of = &config.data;
    let roles = [
        (Role::Train, &of.train),
        (Role::Val, &of.val),
        (Role::Test, &of.test),
    ];
    let roles = roles.into_iter().filter(|(_, path)| path.is_some());
    let configured = roles.map(|(role, _)| role.name());
    let named = of.shifts.keys().chain(of.sources.keys());
    let configured = configured.chain(named.map(String::as_str));
    let unused = configured.filter(|name| data.iter().all(|it| it.name != *name));
    let unused: Vec<&str> = unused.collect();
    if !unused.is_empty() {
        note(&format!(
            "data sets of the configuration are not used, since flags name others: {}",
            unused.join(", ")
        ));
    }
}

/// Refuses data sets with one name, or with a name that results use.
fn check_names(data: &[Source]) -> Result<()> {
    for (index, Source { name, role, .. }) in data.iter().enumerate() {
        let reserved = ["shifts", "all"].contains(&name.as_str());
        if reserved || data[..index].iter().any(|other| other.name == *name) {
            let why = if reserved {
                "is kept for means"
            } else {
                "names two data sets"
            };
            let flag = format!("--{}", role.name());
            return Err(Error::flag(flag, format!("the name `{name}` {why}")));
        }
    }
    Ok(())
}

/// Reads the values of `--fixed`.
///
/// # Errors
/// When one is not `PATTERN=MODEL`.
pub fn fixed_tensors(texts: &[String]) -> Result<Vec<Fixed>> {
    let read = |text: &String| {
        Fixed::parse(text).ok_or_else(|| {
            let problem = format!("is `{text}`; PATTERN=MODEL is needed, such as 'fc.*=ft1'");
            Error::flag("--fixed", problem)
        })
    };
    texts.iter().map(read).collect()
}

/// Ignores limits of the configuration where all samples are needed, and says so.
pub(super) fn ignore_limits(session: &mut SessionSettings) {
    let options = &mut session.options;
    if options.max_time.is_some() || options.tolerance.is_some() {
        note(
            "limits in the configuration (max-time, tolerance) are ignored: this command needs all samples",
        );
    }
    (options.max_time, options.tolerance) = (None, None);
}

/// What becomes of batch norm's running statistics.
fn batch_norm(asked: Option<&String>) -> Result<BatchNorm> {
    let Some(text) = asked else {
        return Ok(BatchNorm::default());
    };
    BatchNorm::parse(text).ok_or_else(|| {
        let possible = "interpolate, recalibrate=N, recalibrate=N:BATCH or origin";
        Error::flag("--bn", format!("is `{text}`; expected {possible}"))
    })
}

/// Environment variable that names a library.
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Device, layout and limits of evaluations.
fn options(run: &EvaluationArgs, limits: &LimitArgs, config: &Config) -> Result<EvaluationOptions> {
    let device = run.device.as_ref().or(config.device.as_ref());
    let device = device.map_or("cpu", String::as_str);
    let device = Device::parse(device).ok_or_else(|| {
        let possible = "cpu, cuda, cuda:N or cuda:N,M";
        Error::flag("--device", format!("is `{device}`; expected {possible}"))
    })?;
    let on_a_gpu = device != Device::Cpu;
    let default = if on_a_gpu {
        Losses::Graph
    } else {
        Losses::Host
    };
    let default_disk = EvaluationOptions::default().disk;
    let options = EvaluationOptions {
        device,
        losses: run.losses.or(config.losses).unwrap_or(default),
        tf32: run.precision.or(config.precision) == Some(GpuPrecision::Tf32),
        workers: run.workers.or(config.workers),
        threads: run.threads.or(config.threads),
        batch: run.batch.or(config.batch),
        binding: run.binding.or(config.binding).unwrap_or_default(),
        memory: quantity(&limits.memory, &config.memory, "--memory", units::bytes)?,
        disk: quantity(&limits.disk, &config.disk, "--disk", units::bytes)?.unwrap_or(default_disk),
        max_time: quantity(
            &limits.max_time,
            &config.max_time,
            "--max-time",
            units::duration,
        )?,
        tolerance: quantity(
            &limits.tolerance,
            &config.tolerance,
            "--tolerance",
            units::fraction,
        )?,
        ..EvaluationOptions::default()
    };
    check_counts(&options)?;
    Ok(options)
}

/// Refuses more threads than any machine has cores for.
fn check_counts(options: &EvaluationOptions) -> Result<()> {
    let checked = [
        ("--workers", options.workers, THREADS),
        ("--threads", options.threads, THREADS),
        ("--batch", options.batch, 1 << 20),
    ];
    for (flag, value, most) in checked {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            return Err(Error::flag(
                flag,
                format!("is {value}; expected 1 to {most}"),
            ));
        }
    }
    let (workers, threads) = (options.workers.unwrap_or(1), options.threads.unwrap_or(1));
    if workers * threads > THREADS {
        return Err(Error::flag(
            "--workers, --threads",
            format!("are {workers} × {threads}; at most {THREADS} threads are possible"),
        ));
    }
    Ok(())
}

/// Maximum number of threads: four for each core of the largest machines.
const THREADS: usize = 1024;

/// The command line. The program is given by name alone: its folder is irrelevant to the result.
fn command() -> Vec<String> {
    // Text that is not UTF-8 is shown as well as possible.
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let program = env!("CARGO_PKG_NAME").to_string();
    std::iter::once(program).chain(words).collect()
}

/// The flag's value or else the file's, parsed by `read`, whose error names the valid values.
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
