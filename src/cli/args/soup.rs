//! The flags of `landscape soup`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::config::Config;
use super::methods::{parse, wanted};
use super::options::SoupOptions;
use super::run::RunArgs;
use crate::analysis::recipe::MethodSpec;
use crate::base::dtype::Dtype;
use crate::error::{Error, Result};
use crate::experiment::save::Save;
use crate::experiment::settings::SessionSettings;
use crate::experiment::soup::{RayMixes, SoupSettings};
use crate::result::combine::Combine;
use crate::result::method::Method;
use crate::result::score::Role;
use crate::space::save::{self, SaveType};

pub(super) const EXAMPLES: &str = "Examples:
  landscape soup --origin zs.onnx --models models.csv --val val.npz --test test.npz
  landscape soup --origin zs.onnx --models models.csv --methods uniform,greedy,wise-ft:0.5
  landscape soup --origin zs.onnx --models models.csv --save greedy=soup.safetensors
  landscape soup --origin zs.onnx --models models.csv --table latex > table.tex";

/// Arguments of `landscape soup`.
#[derive(Debug, Args)]
pub struct SoupArgs {
    /// List of checkpoints: a CSV with the columns name,path, then hyperparameters; or checkpoints,
    /// or patterns in quotation marks such as 'runs/*/model.safetensors'
    #[arg(long, value_name = "FILE.csv|[NAME=]CKPT", num_args = 1.., help_heading = "Models")]
    models: Vec<PathBuf>,
    #[command(flatten)]
    options: SoupOptions,
    /// Write a method's model to a .safetensors or .onnx file; repeatable
    #[arg(long, value_name = "METHOD=FILE", help_heading = "Output")]
    save: Vec<String>,
    /// Element types of the tensors that --save writes to .safetensors files
    #[arg(long, value_enum, default_value = "graph", help_heading = "Output")]
    save_dtype: SaveDtype,
    /// Let --save overwrite existing files
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Format of the printed table
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    pub table: TableFormat,
    /// The flags that all commands share.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Element types of saved tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaveDtype {
    /// Those of the network, in which models are evaluated
    Graph,
    /// Those of the checkpoints: an average of 16-bit files is rounded to 16 bits
    Like,
    /// 32-bit floats
    F32,
    /// 16-bit brain floats
    Bf16,
    /// 16-bit IEEE floats
    F16,
}

impl SaveDtype {
    fn types(self) -> SaveType {
        match self {
            Self::Graph => SaveType::Graph,
            Self::Like => SaveType::Like,
            Self::F32 => SaveType::Of(Dtype::F32),
            Self::Bf16 => SaveType::Of(Dtype::Bf16),
            Self::F16 => SaveType::Of(Dtype::F16),
        }
    }
}

/// Format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Aligned columns, for a terminal
    Text,
    /// Markdown, for a README
    Markdown,
    /// LaTeX, for a paper
    Latex,
}

impl SoupArgs {
    /// Checks the flags and the configuration, and makes settings of them.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn plan(&self) -> Result<(SessionSettings, SoupSettings)> {
        let config = Config::load(self.run.output.config.as_deref())?;
        let (typed, configured) = (&self.options, &config.soup);
        let saves = saves(&self.save, self.save_dtype.types(), self.force)?;
        let saved: Vec<MethodSpec> = saves.iter().map(|save| save.wanted).collect();
        let list = typed.methods.as_ref().or(configured.methods.as_ref());
        let methods = wanted(list.map(String::as_str), &saved)?;
        typed.learn.refuse_idle(&methods)?;
        let learn = typed.learn.or(&configured.learn);
        let settings = SoupSettings {
            asked: list.is_some() || saved.iter().any(MethodSpec::learns),
            rule: typed.rule.or(configured.rule).unwrap_or_default(),
            orders: orders(typed.orders.or(configured.orders))?,
            combine: combined(&typed.ensemble, &configured.ensemble),
            learning: learn.settings(&methods)?,
            rays: rays(typed, configured)?,
            resamples: resamples(typed, configured, &methods)?,
            methods,
            saves,
        };
        let session = self.run.pool(config, &self.models, "soup")?;
        settings.check(session.has(Role::Val))?;
        Ok((session, settings))
    }
}

/// What ensembles average, each once: the flag, else the configuration, else logits.
fn combined(typed: &[Combine], configured: &[Combine]) -> Vec<Combine> {
    let given = if typed.is_empty() { configured } else { typed };
    let all = [Combine::Logits, Combine::Probabilities];
    let mut all: Vec<Combine> = all.into_iter().filter(|it| given.contains(it)).collect();
    if all.is_empty() {
        all.push(Combine::Logits);
    }
    all
}

/// Checks the number of random orders: clap does not check values from a configuration.
fn orders(orders: Option<u64>) -> Result<u64> {
    match orders.unwrap_or(10) {
        orders @ 1..=10_000 => Ok(orders),
        orders => Err(Error::flag(
            "--orders",
            format!("is {orders}; expected 1 to 10000"),
        )),
    }
}

/// How many mixes a ray has. A number on the command line turns on what the file turns off.
fn rays(typed: &SoupOptions, configured: &SoupOptions) -> Result<RayMixes> {
    let is_off = typed.no_rays || (configured.no_rays && typed.rays.is_none());
    match typed.rays.or(configured.rays) {
        _ if is_off => Ok(RayMixes::None),
        None => Ok(RayMixes::Auto),
        Some(count @ 2..=1001) => Ok(RayMixes::Count(count)),
        Some(count) => Err(
            Error::flag("--rays", format!("is {count}; expected 2 to 1001"))
                .help("--no-rays leaves them out"),
        ),
    }
}

/// The number of resamples, at least as many as a range of 95 % needs.
fn resamples(
    typed: &SoupOptions,
    configured: &SoupOptions,
    methods: &[MethodSpec],
) -> Result<Option<usize>> {
    if typed.resample.is_some() && !methods.contains(&MethodSpec::plain(Method::Greedy)) {
        return Err(
            Error::flag("--resample", "repeats the choices of the greedy soup")
                .help("add --methods greedy, to which it applies"),
        );
    }
    match typed.resample.or(configured.resample) {
        Some(count) if !(40..=1000).contains(&count) => Err(Error::flag(
            "--resample",
            format!("is {count}; expected 40 to 1000"),
        )),
        count => Ok(count),
    }
}

/// Parses the models to save and their files.
///
/// # Errors
/// When a method makes no model, or a file exists and may not be overwritten.
fn saves(texts: &[String], types: SaveType, force: bool) -> Result<Vec<Save>> {
    let mut saves: Vec<Save> = Vec::new();
    for text in texts {
        let fault = |problem: &str| Error::flag("--save", format!("`{text}`: {problem}"));
        let (method, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(|| fault("METHOD=FILE is needed"))?;
        let wanted = parse("--save", method)?;
        if wanted.method.is_ensemble() {
            return Err(fault(
                "an ensemble is many models and cannot be saved as one",
            ));
        }
        let path = PathBuf::from(path);
        save::check(&path)?;
        save::check_types(&path, types)?;
        if path.exists() && !force {
            return Err(
                Error::flag("--save", format!("{} exists already", path.display()))
                    .help("--force overwrites it"),
            );
        }
        if saves.iter().any(|save| place(&save.path) == place(&path)) {
            return Err(fault("two models cannot be saved to the same file"));
        }
        saves.push(Save {
            wanted,
            path,
            types,
        });
    }
    Ok(saves)
}

/// Canonical folder and file name of a path; the file need not exist.
fn place(path: &Path) -> (Option<PathBuf>, Option<&OsStr>) {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok();
    (folder, path.file_name())
}
