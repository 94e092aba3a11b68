//! Finds the file or folder that a name on the command line refers to.

use std::path::{Path, PathBuf};

use super::{folder, kind};
use crate::base::map;
use crate::error::{Error, Result, file_name};

/// The endings tried for a bare checkpoint name, in this order.
pub const ENDINGS: [&str; 7] = ["onnx", "safetensors", "pt", "pth", "bin", "ckpt", "tar"];

/// What a name refers to.
#[derive(Debug)]
pub struct Found {
    /// The file or folder.
    pub path: PathBuf,
    /// Others that the name could have meant.
    pub others: Vec<PathBuf>,
}

impl Found {
    /// Says which file was taken if the name could have meant another.
    pub fn note(&self) -> Option<String> {
        let others: Vec<String> = self.others.iter().map(|path| file_name(path)).collect();
        (!others.is_empty()).then(|| {
            let taken = self.path.display();
            format!("{taken} is taken; beside it there is {}", others.join(", "))
        })
    }
}

/// Finds the file or folder that a name refers to: the file itself, the name with an ending, or a
/// folder.
///
/// # Errors
/// When there is none.
pub fn find(given: &Path) -> Result<Found> {
    let exact = |path: &Path| Found {
        path: path.to_path_buf(),
        others: Vec::new(),
    };
    if given.is_file() {
        return Ok(exact(given));
    }
    let with = |ending: &str| {
        let mut name = given.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        PathBuf::from(name)
    };
    let named_as_folder = given.as_os_str().as_encoded_bytes().ends_with(b"/");
    let mut files = Vec::new();
    if !named_as_folder {
        files = ENDINGS.map(with).into();
        files.retain(|path| path.is_file());
    }
    if given.is_dir() {
        files.push(given.to_path_buf());
    }
    if !files.is_empty() {
        let path = files.remove(0);
        return Ok(Found {
            path,
            others: files,
        });
    }
    if ending(given).is_some_and(|ending| ENDINGS.contains(&ending.as_str())) || given.exists() {
        // Opening the path as given reports what is wrong with it.
        return Ok(exact(given));
    }
    if with("index").is_file() {
        return Err(Error::input(given, "is a checkpoint of TensorFlow")
            .help("only PyTorch, safetensors and ONNX files are read"));
    }
    let (last, first) = ENDINGS.split_last().unwrap_or((&"", &[]));
    Err(Error::input(
        given,
        format!(
            "there is no such file or folder, nor a file of this name with the ending .{} or .{last}",
            first.join(", .")
        ),
    ))
}

/// What a name refers to where only tensors are of use: another than the `.onnx` file that stands
/// first for a bare name, if there is one.
pub fn of_tensors(given: &Path) -> PathBuf {
    let found = find(given).ok();
    let is_bare = |it: &Found| it.path != given && ending(&it.path).as_deref() == Some("onnx");
    let other = found
        .filter(is_bare)
        .and_then(|it| it.others.into_iter().next());
    let other = other.unwrap_or_else(|| given.to_path_buf());
    match other.is_dir() {
        // The slash says that the folder is meant, and no file with an ending.
        true => other.join(""),
        false => other,
    }
}

/// Whether a name refers to a file or folder that exists.
pub fn exists(given: &Path) -> bool {
    find(given).is_ok_and(|found| found.path.exists())
}

/// The extension of a file name, in lower case.
pub fn ending(path: &Path) -> Option<String> {
    path.extension()
        .map(|ending| ending.to_string_lossy().to_lowercase())
}

/// The state dict beside a network, if there is one: a file of the same name with another ending,
/// that of a Hugging Face folder of the same name, or that of the folder that holds the network,
/// perhaps in its subfolder `onnx`.
pub fn state_dict_beside(model: &Path) -> Option<PathBuf> {
    // A file beside it may also hold the network's own external data.
    let holds_tensors = |path: &PathBuf| {
        let kind = map::map_file(path)
            .ok()
            .and_then(|bytes| kind::of(path, &bytes).ok());
        matches!(
            kind.flatten(),
            Some(kind::Kind::Safetensors | kind::Kind::PyTorch)
        )
    };
    let same_name = ENDINGS.iter().filter(|ending| **ending != "onnx");
    let mut same_name = same_name.map(|ending| model.with_extension(ending));
    if let Some(found) = same_name.find(|path| path.is_file() && holds_tensors(path)) {
        return Some(found);
    }
    // `save_pretrained("zs")` beside `zs.onnx`.
    if let Some(found) = folder::hugging_face(&model.with_extension("")) {
        return Some(found);
    }
    let parent = model.parent()?;
    if model.file_stem()? != "model" {
        return None;
    }
    let above = (parent.file_name()? == "onnx")
        .then(|| parent.parent())
        .flatten();
    let folders = std::iter::once(parent).chain(above);
    folders
        .filter_map(folder::hugging_face)
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_tensors_are_meant_a_folder_comes_before_a_network_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let bare = folder.path().join("zs");
        std::fs::write(folder.path().join("zs.onnx"), "").unwrap();
        assert_eq!(of_tensors(&bare), bare);
        std::fs::create_dir(&bare).unwrap();
        let found = find(&of_tensors(&bare)).unwrap().path;
        assert!(found.is_dir(), "{}", found.display());
        std::fs::write(folder.path().join("zs.pt"), "").unwrap();
        assert_eq!(of_tensors(&bare), folder.path().join("zs.pt"));
    }
}
