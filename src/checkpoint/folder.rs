//! Folders that hold a checkpoint: Hugging Face's, and any with a single checkpoint file.

use std::path::{Path, PathBuf};

use super::onnx::EXPORT;
use super::shards;
use crate::error::{Error, Result, file_name};

/// The names of a model's files in a Hugging Face folder, best first.
const HUGGING_FACE: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Files that a trainer saves beside a checkpoint.
const BESIDE: [&str; 7] = [
    "training_args.bin",
    "optimizer.pt",
    "optimizer.bin",
    "scheduler.pt",
    "scheduler.bin",
    "scaler.pt",
    "rng_state.pth",
];

/// Most files that an error lists.
const LISTED: usize = 8;

/// The checkpoint in a folder.
#[derive(Debug)]
pub struct Located {
    /// The file, or the index of the files.
    pub path: PathBuf,
    /// What else the folder holds.
    pub notes: Vec<String>,
}

/// The file of a Hugging Face folder that holds the model, or its index.
pub fn hugging_face(folder: &Path) -> Option<PathBuf> {
    let mut names = HUGGING_FACE.iter().map(|name| folder.join(name));
    names.find(|path| path.is_file())
}

/// Finds the checkpoint in a folder.
///
/// # Errors
/// When there is none, or it is not clear which file is meant.
pub fn locate(folder: &Path, endings: &[&str]) -> Result<Located> {
    let there: Vec<PathBuf> = HUGGING_FACE.iter().map(|name| folder.join(name)).collect();
    let there: Vec<PathBuf> = there.into_iter().filter(|path| path.is_file()).collect();
    if let Some(path) = there.first() {
        let ending = |path: &Path| file_name(path).contains(".safetensors");
        // A whole file and an index of the same format: one is left from another save.
        if let Some(other) = there[1..]
            .iter()
            .find(|other| ending(other) == ending(path))
        {
            return Err(Error::input(
                folder,
                format!("holds both {} and {}", file_name(path), file_name(other)),
            )
            .help("name the one that is meant, and remove what another save left"));
        }
        let note = |other: &PathBuf| {
            format!(
                "{} is taken; {} beside it is said to hold the same and is not read",
                path.display(),
                file_name(other)
            )
        };
        return Ok(Located {
            path: path.clone(),
            notes: there[1..].iter().map(note).collect(),
        });
    }
    match files(folder, endings)?.as_slice() {
        [] => Err(
            Error::input(folder, "is a folder without a checkpoint file")
                .help("name the file or the folder that holds it"),
        ),
        found => only(folder, found).map(|path| Located {
            path,
            notes: Vec::new(),
        }),
    }
}

/// The checkpoint files in a folder, in the order of their names.
fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::read(folder, &error))?;
    let is_checkpoint = |path: &PathBuf| {
        let name = file_name(path);
        let ending = name
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_lowercase());
        let known = ending.is_some_and(|ending| endings.contains(&ending.as_str()));
        let index = name.ends_with(shards::INDEX);
        let beside = BESIDE.contains(&name.as_str()) || name.starts_with("rng_state_");
        (known || index) && !beside && shards::number(path).is_none() && path.is_file()
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(is_checkpoint).collect();
    paths.sort();
    Ok(paths)
}

/// The only one of a folder's files.
fn only(folder: &Path, files: &[PathBuf]) -> Result<PathBuf> {
    if let [path] = files {
        return Ok(path.clone());
    }
    let names = files.iter().take(LISTED).map(|path| file_name(path));
    Err(
        Error::input(folder, format!("holds {} checkpoint files:", files.len()))
            .lines(names)
            .help("name one of them; for all: --models with a pattern, in quotation marks"),
    )
}

/// The network in a folder: `model.onnx`, or the only `.onnx` file.
///
/// # Errors
/// When there is none, or it is not clear which file is meant.
pub fn network(folder: &Path) -> Result<PathBuf> {
    let usual = ["model.onnx", "onnx/model.onnx"].map(|name| folder.join(name));
    if let Some(path) = usual.into_iter().find(|path| path.is_file()) {
        return Ok(path);
    }
    match files(folder, &["onnx"])?.as_slice() {
        [] => Err(
            Error::input(folder, "is a folder without a network (.onnx)").help(format!(
                "θ0 is given as the network that it was exported to: {EXPORT}"
            )),
        ),
        found => only(folder, found),
    }
}
