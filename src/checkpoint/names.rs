//! Names of checkpoints in the results, from their paths.
//!
//! A checkpoint has the name of its file, without its ending. Files of one name, such as
//! `runs/a/model.safetensors` and `runs/b/model.safetensors`, have the names of the folders in
//! which their paths differ: `a` and `b`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::shards::INDEX;
use crate::error::file_name;

/// The name of a file without its ending, or of a folder.
pub fn stem(path: &Path) -> String {
    if path.is_dir() {
        // `.` and `..` are names of nothing.
        let real = path.file_name().is_none().then(|| path.canonicalize().ok());
        return file_name(&real.flatten().unwrap_or_else(|| path.to_path_buf()));
    }
    let name = file_name(path);
    let name = name.strip_suffix(INDEX).unwrap_or(&name);
    // `model_best.pth.tar`
    let name = name.strip_suffix(".tar").unwrap_or(name);
    let stem = Path::new(name).file_stem();
    stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// Names for files, each another, and none of those `taken`. One file that is there twice has one
/// name.
pub fn distinct(paths: &[PathBuf], taken: &[String]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
    let stems: Vec<String> = parts.iter().map(|parts| parts[0].clone()).collect();
    let by_folders = |index: usize| {
        let alike = (0..parts.len()).filter(|&other| stems[other] == stems[index]);
        differing(&parts, &alike.collect::<Vec<_>>(), index)
    };
    let whole = |index: usize| {
        let all: Vec<usize> = (0..parts.len()).collect();
        let folders = differing(&parts, &all, index);
        match folders {
            Some(folders) if folders != stems[index] => Some(format!("{folders}/{}", stems[index])),
            _ => None,
        }
    };
    let mut names = stems.clone();
    // Each way is tried where the one before gave two files one name.
    let ways: [&dyn Fn(usize) -> Option<String>; 4] = [
        &by_folders,
        &whole,
        &|index| Some(file_name(&paths[index])),
        &|index| Some(paths[index].display().to_string()),
    ];
    for way in ways {
        let clashing = clashing(&names, paths, taken);
        for index in clashing {
            if let Some(name) = way(index) {
                names[index] = name;
            }
        }
    }
    names
}

/// The files whose name is another's or taken.
fn clashing(names: &[String], paths: &[PathBuf], taken: &[String]) -> Vec<usize> {
    let mut of: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        of.entry(name).or_default().push(index);
    }
    let is_clash = |index: &usize| {
        let name = &names[*index];
        let others = &of[name.as_str()];
        taken.contains(name) || others.iter().any(|&other| paths[other] != paths[*index])
    };
    (0..names.len()).filter(is_clash).collect()
}

/// The folders in which a file's path differs from others': one if it tells all apart, else all.
fn differing(parts: &[Vec<String>], among: &[usize], index: usize) -> Option<String> {
    let part = |file: usize, depth: usize| parts[file].get(depth).map(String::as_str);
    let deepest = among
        .iter()
        .map(|&file| parts[file].len())
        .max()
        .unwrap_or(0);
    let own = &parts[index];
    let differs = |depth: &usize| {
        among.len() == 1
            || among
                .iter()
                .any(|&file| part(file, *depth) != part(index, *depth))
    };
    let depths: Vec<usize> = (1..deepest).filter(differs).collect();
    let tells_all = |depth: &&usize| {
        let mut seen: Vec<Option<&str>> = among.iter().map(|&file| part(file, **depth)).collect();
        seen.sort_unstable();
        seen.windows(2).all(|pair| pair[0] != pair[1]) && part(index, **depth).is_some()
    };
    if let Some(depth) = depths.iter().find(tells_all) {
        return own.get(*depth).cloned();
    }
    let folders: Vec<&str> = depths
        .iter()
        .rev()
        .filter_map(|&depth| part(index, depth))
        .collect();
    (!folders.is_empty()).then(|| folders.join("/"))
}

/// The stem of a path, then its folders from the innermost.
fn parts(path: &Path) -> Vec<String> {
    let mut parts = vec![stem(path)];
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let folders = absolute.ancestors().skip(1).filter_map(Path::file_name);
    parts.extend(folders.map(|folder| folder.to_string_lossy().into_owned()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(paths: &[&str], taken: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let taken: Vec<String> = taken.iter().map(ToString::to_string).collect();
        distinct(&paths, &taken)
    }

    #[test]
    fn files_have_their_own_names_if_these_differ() {
        assert_eq!(named(&["a/ft1.pt", "b/ft2.pt"], &["zs"]), ["ft1", "ft2"]);
        assert_eq!(named(&["a/model.safetensors"], &[]), ["model"]);
        let index = "m/pytorch_model.bin.index.json";
        assert_eq!(named(&[index], &[]), ["pytorch_model"]);
    }

    #[test]
    fn files_of_one_name_have_those_of_the_folders_that_differ() {
        let model = |folder: &str| format!("runs/{folder}/model.safetensors");
        let of = |folders: &[&str]| {
            let paths: Vec<String> = folders.iter().map(|folder| model(folder)).collect();
            named(&paths.iter().map(String::as_str).collect::<Vec<_>>(), &[])
        };
        assert_eq!(of(&["a", "b"]), ["a", "b"]);
        assert_eq!(of(&["a/best", "b/best"]), ["a", "b"]);
        assert_eq!(of(&["a/1", "a/2", "b/1"]), ["a/1", "a/2", "b/1"]);
        assert_eq!(
            named(&["a/model.pt", "b/model.pt", "ft.pt"], &[]),
            ["a", "b", "ft"]
        );
    }

    #[test]
    fn names_that_are_taken_are_not_used() {
        assert_eq!(named(&["a/model.pt"], &["model"]), ["a"]);
        let two = ["r/a/last.pt", "r/a/best.pt", "r/b/last.pt", "r/b/best.pt"];
        assert_eq!(named(&two, &[]), ["a/last", "a/best", "b/last", "b/best"]);
    }

    #[test]
    fn files_that_differ_only_in_their_ending_and_one_file_twice() {
        assert_eq!(named(&["ft.onnx", "ft.pt"], &[]), ["ft.onnx", "ft.pt"]);
        assert_eq!(named(&["ft.pt", "ft.pt"], &[]), ["ft", "ft"]);
    }
}
