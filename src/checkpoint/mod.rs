//! Reads checkpoints: the tensors of ONNX, safetensors and PyTorch files, memory-mapped.
//!
//! A checkpoint is a file, a folder that holds one, or the index of several files. What a file is
//! is told by its content, not by its ending. Nothing is copied: a [`tensor::Tensor`] is a slice of
//! the mapped file, and its elements are decoded when they are used.

pub mod adapter;
mod find;
mod folder;
mod kind;
pub mod names;
pub mod onnx;
mod pytorch;
pub mod safetensors;
mod shards;
pub mod tensor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::adapter::Adapter;
pub use self::find::{ENDINGS, Found, ending, exists, find, of_tensors, state_dict_beside};
pub use self::folder::network as network_in;
use self::kind::Kind;
use self::onnx::Model;
use self::tensor::Tensor;
use crate::base::files::Stamp;
use crate::base::map;
use crate::error::{Error, Result};

/// An open checkpoint.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Name: the stem of the file, or the name of the folder.
    pub name: String,
    /// The file or folder that was named.
    pub source: PathBuf,
    /// Path of the file that was read, or of the index of several.
    pub path: PathBuf,
    /// All files that were read, as they were then: an index and its files, a network and its
    /// external data.
    pub files: Vec<Stamp>,
    /// The dictionary of the file that was taken, such as `state_dict` or `model_ema.module`.
    pub dictionary: Option<String>,
    /// What the user should know about the choice of file and dictionary.
    pub notes: Vec<String>,
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
    /// Opens a checkpoint as [`Checkpoint::open_weights`] does, or an adapter by its file or folder.
    ///
    /// # Errors
    /// When there is no such file, its kind is unknown, it cannot be read, or it has dictionaries
    /// but none with this key.
    pub fn open(given: &Path, key: Option<&str>) -> Result<Self> {
        let weights = adapter::weights_in(given)?;
        let checkpoint = Checkpoint::read(weights.as_deref().unwrap_or(given), key)?;
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

/// What one file or index holds.
struct Part {
    files: Vec<Stamp>,
    dictionary: Option<String>,
    notes: Vec<String>,
    content: Content,
}

impl Checkpoint {
    /// Opens the file `given`, `given` with an extension appended, or the folder `given`.
    ///
    /// # Errors
    /// When there is no such file, its kind is unknown, or it cannot be read, or it is an adapter.
    pub fn open(given: &Path) -> Result<Self> {
        Self::open_weights(given, None)
    }

    /// Opens a checkpoint as [`Checkpoint::open`] does. `key` names the dictionary to take where a
    /// file of PyTorch holds several: its keys, joined by dots; `.` is the file's own. A file that
    /// is a state dict itself has no keys, and neither has a `.safetensors` or `.onnx` file: they
    /// are read as they are.
    ///
    /// # Errors
    /// When [`Checkpoint::open`] fails, or a file has dictionaries but none with this key.
    pub fn open_weights(given: &Path, key: Option<&str>) -> Result<Self> {
        match Opened::open(given, key)? {
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

    /// Reads a checkpoint, whether or not it is a whole model.
    fn read(given: &Path, key: Option<&str>) -> Result<Self> {
        let found = find(given)?;
        let mut notes: Vec<String> = found.note().into_iter().collect();
        let source = found.path;
        let path = if source.is_dir() {
            let located = folder::locate(&source, &ENDINGS)?;
            notes.extend(located.notes);
            located.path
        } else {
            shards::refuse_part(&source)?;
            source.clone()
        };
        let part = if shards::is_index(&path) {
            shards::read(&path, |file| read(file, key))?
        } else {
            read(&path, key)?
        };
        notes.extend(part.notes);
        Ok(Self {
            name: names::stem(&source),
            source,
            path,
            files: part.files,
            dictionary: part.dictionary,
            notes,
            content: part.content,
        })
    }

    /// The tensors by name, if the file holds no network.
    pub fn state_dict(&self) -> Option<&BTreeMap<String, Tensor>> {
        match &self.content {
            Content::StateDict(tensors) => Some(tensors),
            Content::Network(_) => None,
        }
    }

    /// Whether the checkpoint is a single `.safetensors` file.
    pub fn is_safetensors(&self) -> bool {
        let single = self.files.len() == 1 && self.state_dict().is_some();
        single && kind_of(&self.path).is_ok_and(|kind| kind == Kind::Safetensors)
    }
}

/// The kind of a file: by its content, or by its ending if the content does not tell.
fn kind_of(path: &Path) -> Result<Kind> {
    let bytes = map::map_file(path)?;
    if let Some(kind) = kind::of(path, &bytes)? {
        return Ok(kind);
    }
    match ending(path).as_deref() {
        Some("onnx") => Ok(Kind::Onnx),
        Some("safetensors") => Ok(Kind::Safetensors),
        Some("pt" | "pth" | "bin" | "ckpt" | "tar") => Err(Error::input(
            path,
            "is no file of PyTorch: it begins neither as a zip archive nor as a pickle",
        )
        .help("was it written by torch.save? files of torch.save, safetensors and ONNX are read")),
        _ => Err(Error::input(
            path,
            "is no checkpoint: neither an ONNX, a safetensors nor a PyTorch file",
        )),
    }
}

/// Reads one file.
fn read(path: &Path, key: Option<&str>) -> Result<Part> {
    let mut part = Part {
        files: vec![Stamp::of(path)],
        dictionary: None,
        notes: Vec::new(),
        content: Content::StateDict(BTreeMap::new()),
    };
    match kind_of(path)? {
        Kind::Onnx => {
            let model = Model::read(path)?;
            part.files.extend(model.external.iter().cloned());
            part.content = Content::Network(Box::new(model));
        }
        Kind::Safetensors => part.content = Content::StateDict(safetensors::read(path)?),
        Kind::PyTorch => {
            let weights = pytorch::read(path, &map::map_file(path)?, key)?;
            let told = |note: &String| format!("{}: {note}", path.display());
            part.notes = weights.notes.iter().map(told).collect();
            part.dictionary = weights.dictionary;
            part.content = Content::StateDict(weights.tensors);
        }
    }
    Ok(part)
}
