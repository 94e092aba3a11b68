//! Saves the models that a soup run made as checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use super::candidates::{Candidate, Candidates};
use super::data::LoadedData;
use super::session::Session;
use super::settings::SessionSettings;
use crate::analysis::recipe::{MethodSpec, Recipe};
use crate::base::atomic;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::Engine;
use crate::graph::network::Network;
use crate::result::models::Accuracies;
use crate::result::score::Role;
use crate::result::soup::{MethodResult, SavedModel, Soups};
use crate::space::matching::Options;
use crate::space::mix::Mix;
use crate::space::save::{self, SaveType};
use crate::space::statistics::BatchNorm;

/// A request to save a method's model.
#[derive(Debug, Clone, PartialEq)]
pub struct Save {
    /// The method.
    pub wanted: MethodSpec,
    /// Path of the `.safetensors` or `.onnx` file.
    pub path: PathBuf,
    /// Its element types.
    pub types: SaveType,
}

/// A model to be saved.
pub struct ToSave {
    /// Path of the file.
    pub path: PathBuf,
    types: SaveType,
    /// The row of the table.
    made: MethodResult,
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
    for Save { path, types, .. } in saves {
        save::check_types(path, *types)?;
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
    let choose = |Save {
                      wanted,
                      path,
                      types,
                  }: &Save| {
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
            types: *types,
            made: made.clone(),
            mix: engine.settled(&mix)?,
            recipe,
        })
    };
    saves.iter().map(choose).collect()
}

/// Saves models, reads each file back and evaluates what it holds.
///
/// # Errors
/// When a file cannot be written, read or evaluated.
pub fn write(session: &Session, models: &[ToSave]) -> Result<Vec<SavedModel>> {
    let network = session.network();
    let checkpoints = session.inputs.checkpoints.as_slice();
    let save = |model: &ToSave| {
        let to = (checkpoints, model.types);
        let (path, aligned) = (&model.path, session.aligned());
        save::save(path, &model.mix, aligned, &network, to, &model.recipe)?;
        read_back(session, model)
    };
    models.iter().map(save).collect()
}

/// Why a written file cannot be evaluated in the origin's network, if it cannot.
fn unchecked(session: &Session, model: &ToSave) -> Option<String> {
    let is_onnx = model.path.extension().is_some_and(|it| it == "onnx");
    if !session.settings.matching.fixed.is_empty() {
        // The network that the file fits is no file.
        Some("--fixed changed the network".to_string())
    } else if !session.inputs.unfolding.explained.is_empty() && is_onnx {
        let why = "its graph computes what the exporter had folded; --origin takes it";
        Some(why.to_string())
    } else {
        None
    }
}

/// Evaluates a written file on the validation set, or else on the first.
fn read_back(session: &Session, model: &ToSave) -> Result<SavedModel> {
    let data = &session.settings.data;
    let set = data.iter().position(|set| set.role == Role::Val);
    let set = set.unwrap_or(0);
    let mut saved = SavedModel {
        method: model.made.to_string(),
        path: model.path.display().to_string(),
        dtype: match model.types {
            SaveType::Graph => "graph".to_string(),
            SaveType::Like => "like".to_string(),
            SaveType::Of(dtype) => dtype.name().to_string(),
        },
        dataset: data[set].name.clone(),
        score: None,
        table: model.made.scores[set],
        unchecked: None,
    };
    saved.unchecked = unchecked(session, model);
    if saved.unchecked.is_some() {
        return Ok(saved);
    }
    let matching = Options {
        may_be_idle: true,
        ..session.settings.matching.clone()
    };
    let settings = SessionSettings {
        matching,
        candidates: Candidates::Files(vec![Candidate::file(&model.path)]),
        weights: None,
        data: vec![data[set].clone()],
        // The file holds the statistics that the model was evaluated with.
        batch_norm: BatchNorm::default(),
        statistics_data: None,
        output: None,
        ..session.settings.clone()
    };
    let session = Session::open(settings, &())?;
    let (network, data) = (session.network(), session.load_data()?);
    let engine = session.engine(&network, &data, &())?;
    let mix = [Mix::unit(1, session.members())];
    let answers = engine.evaluate_one(&mix, 0, &())?;
    saved.score = Some(answers.scores[0][0]);
    Ok(saved)
}

/// Relative difference of losses above which a file does not hold the evaluated model. Another batch
/// size changes a loss by about 1e-6, and an average rounded to bfloat16 by 1e-2 and more.
const SAME_LOSS: f64 = 1e-3;

/// Warns of files that do not hold the evaluated model.
pub fn differing(saved: &[SavedModel], soups: &Soups) -> Vec<String> {
    let differs = |saved: &&SavedModel| {
        let mut made = soups.methods.iter();
        let made = made.find(|made| made.to_string() == saved.method);
        // The table's loss is that of β·logits if there is a β; the error is the same.
        let has_beta = made.is_some_and(|made| made.beta.is_some());
        saved.score.is_some_and(|score| {
            let apart = (score.loss - saved.table.loss).abs();
            let of_loss = !has_beta && apart > SAME_LOSS * saved.table.loss.abs();
            of_loss || (score.error - saved.table.error).abs() > saved.table.error_se
        })
    };
    let warning = |saved: &SavedModel| {
        format!(
            "{}: the model in the file is not the one in the table, since its tensors were rounded to \
             {}; --save-dtype graph keeps it",
            saved.path,
            if saved.dtype == "like" {
                "the checkpoints' types"
            } else {
                &saved.dtype
            }
        )
    };
    saved.iter().filter(differs).map(warning).collect()
}
