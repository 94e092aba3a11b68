//! Saves the models that a soup run made as checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use super::data::LoadedData;
use super::session::Session;
use crate::analysis::recipe::{MethodSpec, Recipe};
use crate::base::atomic;
use crate::error::{Error, Result};
use crate::evaluate::onnx::Engine;
use crate::graph::network::Network;
use crate::result::models::Accuracies;
use crate::result::soup::Soups;
use crate::space::mix::Mix;
use crate::space::save;

/// A request to save a method's model.
#[derive(Debug, Clone, PartialEq)]
pub struct Save {
    /// The method.
    pub wanted: MethodSpec,
    /// Path of the `.safetensors` or `.onnx` file.
    pub path: PathBuf,
}

/// A model to be saved.
pub struct ToSave {
    /// Path of the file.
    pub path: PathBuf,
    mix: Mix,
    recipe: save::RecipeMetadata,
}

/// Checks before a long run that the models can be saved, as far as that is known.
///
/// # Errors
/// When a file is one of the inputs, its folder cannot be written, or the format cannot hold the
/// model.
pub fn probe(saves: &[Save], session: &Session, network: &Network<'_>) -> Result<()> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let mut files = session.inputs.model_files();
    files.extend(session.settings.other_files());
    let files: Vec<PathBuf> = files.iter().filter_map(|path| real(path)).collect();
    let (aligned, checkpoints) = (session.aligned(), &session.inputs.checkpoints);
    for Save { path, .. } in saves {
        for path in save::files(path, aligned, network)? {
            if real(&path).is_some_and(|path| files.contains(&path)) {
                let path = path.display();
                return Err(Error::flag(
                    "--save",
                    format!("{path} is one of the inputs"),
                ));
            }
            atomic::probe(&path)?;
        }
        save::check_content(path, aligned, checkpoints)?;
    }
    Ok(())
}

/// Picks the models to save. If a method made several (random orders, a sweep), it picks the one
/// with the best validation accuracy.
///
/// # Errors
/// When a method made no model, or its statistics cannot be re-estimated.
pub fn chosen(
    saves: &[Save],
    (soups, recipes): (&Soups, &[Recipe]),
    session: &Session,
    (engine, data): (&Engine<'_>, &LoadedData),
) -> Result<Vec<ToSave>> {
    let accuracy = |index: usize| Accuracies::of(&soups.datasets, &soups.methods[index].scores).val;
    let choose = |Save { wanted, path }: &Save| {
        let made = recipes.iter().enumerate().filter(|(_, recipe)| {
            let setting = wanted
                .setting
                .is_none_or(|setting| recipe.setting == Some(setting));
            (recipe.method, recipe.base) == (wanted.method, wanted.base) && setting
        });
        // Among equals the first wins.
        let best = made
            .rev()
            .max_by(|a, b| accuracy(a.0).total_cmp(&accuracy(b.0)));
        let Some((index, recipe)) = best else {
            return Err(Error::flag(
                "--save",
                format!("{wanted} is undefined for these models"),
            ));
        };
        let (mix, made) = (recipe.mix(session.members()), &soups.methods[index]);
        let (name, pool) = (made.to_string(), session.pool());
        let mut recipe = save::recipe(&name, &mix, made.beta, pool, data.hashes());
        recipe.extend(save::left_out(session.aligned()));
        recipe.extend(session.saved_statistics());
        Ok(ToSave {
            path: path.clone(),
            mix: engine.settled(&mix)?,
            recipe,
        })
    };
    saves.iter().map(choose).collect()
}

/// Saves a model.
///
/// # Errors
/// When the file cannot be written.
pub fn write(session: &Session, model: &ToSave) -> Result<()> {
    let ToSave { path, mix, recipe } = model;
    let checkpoints = &session.inputs.checkpoints;
    let network = session.network();
    save::save(path, mix, session.aligned(), &network, checkpoints, recipe)
}
