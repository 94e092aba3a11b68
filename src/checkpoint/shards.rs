//! Checkpoints in several files with an index, as Hugging Face saves large models. The index
//! decides which file each tensor is read from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;

use super::tensor::Tensor;
use super::{Content, Part};
use crate::base::files::{self, Stamp};
use crate::base::human;
use crate::error::{Error, Result, file_name};

/// The ending of an index.
pub const INDEX: &str = ".index.json";

/// Most names that a message lists.
const LISTED: usize = 5;

/// The content of an index.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

/// Whether a path is that of an index.
pub fn is_index(path: &Path) -> bool {
    file_name(path).ends_with(INDEX)
}

/// Which of how many files a file is, from a name such as `model-00001-of-00003.safetensors`.
pub fn number(path: &Path) -> Option<(usize, usize)> {
    let name = file_name(path);
    let (stem, _) = name.rsplit_once('.')?;
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (_, this) = rest.rsplit_once('-')?;
    let number = |text: &str| {
        let is_number = text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok())?
    };
    Some((number(this)?, number(of)?))
}

/// Refuses one file of several: a part of a model.
///
/// # Errors
/// When the file is one of several.
pub fn refuse_part(path: &Path) -> Result<()> {
    let Some((this, of)) = number(path).filter(|(_, of)| *of > 1) else {
        return Ok(());
    };
    let error = Error::input(
        path,
        format!("is part {this} of the {of} files of one checkpoint"),
    );
    let name = file_name(path);
    let model = name.rsplit_once("-of-").map_or("", |(model, _)| model);
    let model = model.rsplit_once('-').map_or("", |(model, _)| model);
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let index = path.with_file_name(format!("{model}.{ending}{INDEX}"));
    Err(if index.is_file() {
        error.help(format!("name the index of all: {}", index.display()))
    } else {
        error.help(format!(
            "name the folder or the index of all; there is no {} beside it",
            file_name(&index)
        ))
    })
}

/// Reads the files that an index names; `read` reads one.
///
/// # Errors
/// When the index is damaged, a file is missing, a file lacks a tensor that the index lists, or the
/// files have their tensors in different dictionaries.
pub fn read(path: &Path, read: impl Fn(&Path) -> Result<Part>) -> Result<Part> {
    let stamp = Stamp::of(path);
    let text = files::text(path, files::LIST)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| Error::input(path, format!("is no index of a checkpoint: {error}")))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    if names.is_empty() {
        return Err(Error::input(path, "lists no tensor"));
    }
    check_files(path, folder, &names)?;
    let mut notes = left_over(path, folder, &names);
    let mut all = BTreeMap::new();
    let mut files = vec![stamp];
    let mut dictionaries = Vec::new();
    for name in names {
        let file = folder.join(name);
        let part = read(&file)?;
        let Content::StateDict(mut tensors) = part.content else {
            return Err(Error::input(
                &file,
                "is a network, not a part of a state dict",
            ));
        };
        files.extend(part.files);
        notes.extend(part.notes);
        dictionaries.push((name, part.dictionary));
        let listed = index.weight_map.iter().filter(|(_, of)| *of == name);
        let listed = listed.map(|(tensor, _)| tensor);
        all.extend(take(path, &file, &mut tensors, listed)?);
        if !tensors.is_empty() {
            let more: Vec<String> = tensors.into_keys().collect();
            notes.push(format!(
                "{}: {} does not list some of its tensors, which are left out: {}",
                file.display(),
                file_name(path),
                some(&more)
            ));
        }
    }
    Ok(Part {
        files,
        dictionary: common(path, dictionaries)?,
        notes,
        content: Content::StateDict(all),
    })
}

/// Takes the tensors of a file that an index lists.
///
/// # Errors
/// When the file lacks some.
fn take<'l>(
    index: &Path,
    file: &Path,
    tensors: &mut BTreeMap<String, Tensor>,
    listed: impl Iterator<Item = &'l String>,
) -> Result<Vec<(String, Tensor)>> {
    let (mut found, mut lacking) = (Vec::new(), Vec::new());
    for name in listed {
        match tensors.remove_entry(name) {
            Some(tensor) => found.push(tensor),
            None => lacking.push(name.clone()),
        }
    }
    if lacking.is_empty() {
        return Ok(found);
    }
    let (index, lacking) = (file_name(index), some(&lacking));
    Err(
        Error::input(file, format!("lacks tensors that {index} lists: {lacking}"))
            .help("do index and files come from one save?"),
    )
}

/// The dictionary that all files of an index were read from.
///
/// # Errors
/// When it is not the same in all: tensors of different models (EMA weights and others) would be
/// put together.
fn common(path: &Path, of: Vec<(&String, Option<String>)>) -> Result<Option<String>> {
    let other = of.windows(2).find(|pair| pair[0].1 != pair[1].1);
    let Some([one, other]) = other else {
        return Ok(of.into_iter().next().and_then(|(_, dictionary)| dictionary));
    };
    let told = |(file, dictionary): &(&String, Option<String>)| match dictionary {
        Some(key) => format!("`{key}` of {file}"),
        None => format!("{file} itself"),
    };
    let (one, other) = (told(one), told(other));
    Err(Error::input(
        path,
        format!("its files have their tensors in different dictionaries: {one}, and {other}"),
    )
    .help("--weights KEY names the dictionary to take from each; do the files come from one save?"))
}

/// Checks that all files of an index lie beside it.
fn check_files(path: &Path, folder: &Path, names: &BTreeSet<&String>) -> Result<()> {
    let is_plain = |name: &str| {
        let mut parts = Path::new(name).components();
        matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        )
    };
    if let Some(name) = names.iter().find(|name| !is_plain(name)) {
        return Err(Error::input(
            path,
            format!("names the file `{name}`, which is not beside it; refused"),
        ));
    }
    let missing = names
        .iter()
        .filter(|name| !folder.join(name.as_str()).is_file());
    let missing: Vec<String> = missing.map(|name| (*name).clone()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::input(
        path,
        format!("names files that are not beside it: {}", some(&missing)),
    )
    .help("was the download cut short?"))
}

/// Tells files that look like parts of this checkpoint but are not in its index.
fn left_over(path: &Path, folder: &Path, names: &BTreeSet<&String>) -> Vec<String> {
    let index = file_name(path);
    let model = index.trim_end_matches(INDEX);
    let (model, ending) = model.rsplit_once('.').unwrap_or((model, ""));
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut stale: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            let part = number(Path::new(name)).is_some();
            let ours =
                name.starts_with(&format!("{model}-")) && name.ends_with(&format!(".{ending}"));
            part && ours && !names.contains(name)
        })
        .collect();
    if stale.is_empty() {
        return Vec::new();
    }
    stale.sort();
    vec![format!(
        "{}: files beside it are of another save and are not read: {}",
        path.display(),
        some(&stale)
    )]
}

/// The first of some names, and how many there are beside.
fn some(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    human::list(&quoted, LISTED)
}
