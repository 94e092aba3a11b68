//! Reads checkpoints: the tensors of `.onnx` and `.safetensors` files, memory-mapped.
//!
//! Nothing is copied: a [`tensor::Tensor`] is a slice of the mapped file, and its elements are
//! decoded when they are used.

pub mod adapter;
pub mod onnx;
pub mod safetensors;
pub mod tensor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::adapter::Adapter;
use self::onnx::Model;
use self::tensor::Tensor;
use crate::error::{Error, Result};

/// The extensions tried for a bare checkpoint name, in this order.
const ENDINGS: [&str; 2] = ["onnx", "safetensors"];

/// An open checkpoint file.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Name: the file's stem.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// All files that were read: the file, and a network's external data.
    pub files: Vec<PathBuf>,
    /// The contents of the file.
    pub content: Content,
}

/// What a name on the command line refers to.
#[derive(Debug)]
pub enum Opened {
    /// A whole model.
    Whole(Checkpoint),
    /// Changes to a base.
    Adapter(Adapter),
}

impl Opened {
    /// Opens a file, or the folder of an adapter.
    ///
    /// # Errors
    /// When there is no such file, its kind is unknown, or it cannot be read.
    pub fn open(given: &Path) -> Result<Self> {
        let weights = adapter::weights_in(given)?;
        let checkpoint = Checkpoint::read(weights.as_deref().unwrap_or(given))?;
        if adapter::is_adapter(&checkpoint) {
            Ok(Self::Adapter(Adapter::of(checkpoint)?))
        } else {
            Ok(Self::Whole(checkpoint))
        }
    }
}

/// The contents of a checkpoint file.
#[derive(Debug, Clone)]
pub enum Content {
    /// A network with its weights.
    Network(Box<Model>),
    /// Named tensors.
    StateDict(BTreeMap<String, Tensor>),
}

impl Checkpoint {
    /// Opens the file `given`, or `given` with an extension appended.
    ///
    /// # Errors
    /// When there is no such file, its kind is unknown, it cannot be read, or it is an adapter.
    pub fn open(given: &Path) -> Result<Self> {
        match Opened::open(given)? {
            Opened::Whole(checkpoint) => Ok(checkpoint),
            Opened::Adapter(adapter) => Err(Error::input(
                &adapter.path,
                "is a LoRA adapter: a model only together with its base",
            )
            .help(format!(
                "name it where fine-tuned models are named, beside the network of its base; \
                 elsewhere, {}",
                adapter::MERGE
            ))),
        }
    }

    /// Reads a file, whether or not it holds a whole model.
    fn read(given: &Path) -> Result<Self> {
        let path = find(given)?;
        let mut files = vec![path.clone()];
        let content = match ending(&path).as_deref() {
            Some("onnx") => {
                let model = Model::read(&path)?;
                files.extend(model.external.iter().cloned());
                Content::Network(Box::new(model))
            }
            Some("safetensors") => Content::StateDict(safetensors::read(&path)?),
            other => return Err(unknown_kind(&path, other)),
        };
        let name = path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Self {
            name,
            path,
            files,
            content,
        })
    }

    /// The tensors by name, if the file holds no network.
    pub fn state_dict(&self) -> Option<&BTreeMap<String, Tensor>> {
        match &self.content {
            Content::StateDict(tensors) => Some(tensors),
            Content::Network(_) => None,
        }
    }
}

/// The state dict beside a model, if there is one: the same name with the other extension.
pub fn state_dict_beside(model: &Path) -> Option<PathBuf> {
    let path = model.with_extension("safetensors");
    path.is_file().then_some(path)
}

/// Finds the file that a name on the command line refers to.
///
/// # Errors
/// When neither the name nor the name with an extension is a file; the message lists what was
/// tried.
pub fn find(given: &Path) -> Result<PathBuf> {
    if given.is_file() {
        return Ok(given.to_path_buf());
    }
    let with = |ending: &&str| {
        let mut name = given.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    };
    let candidates: Vec<PathBuf> = ENDINGS.iter().map(with).collect();
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    if ending(given).is_some_and(|ending| ENDINGS.contains(&ending.as_str())) || given.exists() {
        // Opening the path as given reports what is wrong with it.
        return Ok(given.to_path_buf());
    }
    let tried: Vec<String> = candidates
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    Err(Error::input(
        given,
        format!("there is no such file, nor {}", tried.join(" or ")),
    ))
}

/// The extension of a file name, in lower case.
pub fn ending(path: &Path) -> Option<String> {
    path.extension()
        .map(|ending| ending.to_string_lossy().to_lowercase())
}

fn unknown_kind(path: &Path, ending: Option<&str>) -> Error {
    let error = Error::input(path, "is neither an .onnx nor a .safetensors file");
    match ending {
        Some("pt" | "pth" | "bin" | "ckpt") => error.help(
            "convert it in Python: safetensors.torch.save_file(model.state_dict(), \"name.safetensors\")",
        ),
        _ => error,
    }
}
