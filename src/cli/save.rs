//! `--save METHOD=FILE`: models that `landscape soup` made, written as checkpoints.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::args::SoupArgs;
use super::methods::parse;
use super::prepare::Inputs;
use super::stage::Stage;
use crate::analysis::recipe::{MethodSpec, Recipe};
use crate::error::{Error, Result};
use crate::graph::network::Network;
use crate::result::atomic;
use crate::result::models::Accuracies;
use crate::result::soup::Soups;
use crate::space::matching::Aligned;
use crate::space::save;

/// A model to be written.
pub struct Save {
    /// Which.
    pub wanted: MethodSpec,
    path: PathBuf,
}

/// What is to be written where.
///
/// # Errors
/// When a method makes no model, or a file may not be written over.
pub fn saves(arguments: &SoupArgs) -> Result<Vec<Save>> {
    let mut saves: Vec<Save> = Vec::new();
    for text in &arguments.save {
        let fault = |problem: &str| Error::flag("--save", format!("`{text}`: {problem}"));
        let (method, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(|| fault("METHOD=FILE is needed"))?;
        let wanted = parse("--save", method)?;
        if wanted.method.is_ensemble() {
            return Err(fault("an ensemble is many models, not one"));
        }
        let path = PathBuf::from(path);
        save::check(&path)?;
        if path.exists() && !arguments.force {
            return Err(
                Error::flag("--save", format!("{} exists already", path.display()))
                    .help("--force writes over it"),
            );
        }
        if saves.iter().any(|save| place(&save.path) == place(&path)) {
            return Err(fault("two models cannot go into one file"));
        }
        saves.push(Save { wanted, path });
    }
    Ok(saves)
}

/// A path without detours, of a file that need not be there.
fn place(path: &Path) -> (Option<PathBuf>, Option<&OsStr>) {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok();
    (folder, path.file_name())
}

/// Tries what can be known of writing before a long run.
///
/// # Errors
/// When a file is one of the inputs, its folder cannot be written, or the model is too large for
/// its format.
pub fn probe(
    saves: &[Save],
    inputs: &Inputs,
    network: &Network<'_>,
    aligned: &Aligned,
) -> Result<()> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let files: Vec<PathBuf> = inputs
        .files()
        .iter()
        .filter_map(|path| real(path))
        .collect();
    for Save { path, .. } in saves {
        if real(path).is_some_and(|path| files.contains(&path)) {
            let path = path.display();
            return Err(Error::flag(
                "--save",
                format!("{path} is one of the inputs"),
            ));
        }
        save::check_size(path, aligned, network)?;
        save::check_left_out(path, aligned, &inputs.checkpoints)?;
        atomic::probe(path)?;
    }
    Ok(())
}

/// Writes the models. Of several that a method made (random orders, a sweep), the one with the
/// best validation accuracy.
///
/// # Errors
/// When a file cannot be written, or a method made no model.
pub fn write<'s>(
    saves: &'s [Save],
    soups: &Soups,
    recipes: &[Recipe],
    stage: &Stage<'_>,
) -> Result<Vec<&'s Path>> {
    let (aligned, checkpoints) = (stage.aligned, &stage.inputs.checkpoints);
    let files = stage.material.hashes();
    let accuracy = |index: usize| Accuracies::of(&soups.datasets, &soups.methods[index].scores).val;
    let mut written = Vec::new();
    for Save { wanted, path } in saves {
        let made = recipes.iter().enumerate().filter(|(_, recipe)| {
            let setting = wanted
                .setting
                .is_none_or(|setting| recipe.setting == Some(setting));
            recipe.method == wanted.method && setting
        });
        // Of equals the first.
        let best = made
            .rev()
            .max_by(|a, b| accuracy(a.0).total_cmp(&accuracy(b.0)));
        let name = wanted.method.name();
        let Some((index, recipe)) = best else {
            return Err(Error::flag(
                "--save",
                format!("{name} is not defined for these models"),
            ));
        };
        let mix = recipe.mix(aligned.pool.members.len());
        let made = &soups.methods[index];
        let mut recipe = save::recipe(&made.to_string(), &mix, made.beta, &aligned.pool, files);
        recipe.extend(save::left_out(aligned));
        save::save(path, &mix, aligned, stage.network, checkpoints, &recipe)?;
        written.push(path.as_path());
    }
    Ok(written)
}
