//! The models of an experiment: files, the rows of a list, or what patterns match.
//!
//! A list is a CSV with the columns `name` and `path`, then hyperparameters. A column `weights`
//! names the dictionary of a file that holds several.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::base::files;
use crate::checkpoint::{self, adapter};
use crate::error::{Error, Result, file_name};

/// A model to be opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidate {
    /// Name in the results; by default the file's.
    pub name: Option<String>,
    /// Path of the file or folder; its extension may be left out.
    pub path: PathBuf,
    /// The dictionary to take where the file holds several; by default the session's.
    pub weights: Option<String>,
    /// Path as the list gives it, relative to the list's folder.
    pub given: String,
    /// The list's other columns, in their order.
    pub hyperparameters: IndexMap<String, String>,
}

impl Candidate {
    /// Makes a candidate from a file, under the file's own name.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            given: path.display().to_string(),
            path,
            ..Self::default()
        }
    }

    /// Makes a candidate from a file, under another name.
    pub fn named(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::file(path)
        }
    }

    /// Makes a candidate from `CKPT` or `NAME=CKPT`, the value of a flag.
    ///
    /// # Errors
    /// When the name or the path is empty.
    pub fn parse(flag: &str, text: &Path) -> Result<Self> {
        let parts = text.to_str().and_then(|text| text.split_once('='));
        match parts.filter(|_| !checkpoint::exists(text)) {
            None => Ok(Self::file(text)),
            Some(("", _) | (_, "")) => Err(Error::flag(
                flag,
                format!("is `{}`; NAME=FILE or FILE is needed", text.display()),
            )),
            Some((name, path)) => Ok(Self::named(name, path)),
        }
    }
}

/// The models of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub enum Candidates {
    /// These files. All are needed: NaN in one is an error.
    Files(Vec<Candidate>),
    /// A pool, listed in a CSV. A model that holds NaN or infinite values is left out.
    List(PathBuf),
    /// A pool: checkpoints, each perhaps with a name (`NAME=CKPT`), or patterns such as
    /// `runs/*/model.safetensors`, whose matches are taken in sorted order.
    Pool(Vec<PathBuf>),
}

impl Candidates {
    /// A pool of what the user named: one list, or checkpoints and patterns.
    ///
    /// # Errors
    /// When a list stands beside others.
    pub fn pool(named: &[PathBuf]) -> Result<Self> {
        let is_list = |path: &&PathBuf| match checkpoint::ending(path).as_deref() {
            Some("csv") => true,
            // A list may be called anything, but alone it stands.
            ending => named.len() == 1 && is_other_file(path, ending),
        };
        match (named, named.iter().find(is_list)) {
            ([csv], Some(_)) => Ok(Self::List(csv.clone())),
            (_, None) => Ok(Self::Pool(named.to_vec())),
            (_, Some(csv)) => Err(Error::flag(
                MODELS,
                format!(
                    "the list {} cannot stand beside other models",
                    csv.display()
                ),
            )
            .help("add them to the list as rows")),
        }
    }

    /// Returns the models, and what names them if it is a pool.
    pub(super) fn read(&self) -> Result<(Vec<Candidate>, Option<String>)> {
        match self {
            Self::Files(files) => Ok((files.clone(), None)),
            Self::List(csv) => Ok((read(csv)?, Some(csv.display().to_string()))),
            Self::Pool(named) => Ok((expanded(named)?, Some(MODELS.to_string()))),
        }
    }
}

/// Whether a path is that of a file which no checkpoint is called like.
fn is_other_file(path: &Path, ending: Option<&str>) -> bool {
    let known = ending.is_some_and(|ending| checkpoint::ENDINGS.contains(&ending));
    !known && !path.to_string_lossy().ends_with(".json") && path.exists() && !path.is_dir()
}

/// The flag that names a pool.
const MODELS: &str = "--models";

/// The models that names and patterns stand for.
fn expanded(named: &[PathBuf]) -> Result<Vec<Candidate>> {
    let mut models: Vec<Candidate> = Vec::new();
    for text in named {
        let more = match text.to_str() {
            Some(pattern) if pattern.contains(['*', '?', '[']) && !checkpoint::exists(text) => {
                matching(pattern)?
            }
            _ => vec![Candidate::parse(MODELS, text)?],
        };
        for model in more {
            if let Some(twice) = twice(&models, &model) {
                return Err(Error::flag(MODELS, twice));
            }
            models.push(model);
        }
    }
    Ok(models)
}

/// The files and folders that match a pattern, in sorted order.
fn matching(pattern: &str) -> Result<Vec<Candidate>> {
    let fault = |problem: String| Error::flag(MODELS, format!("`{pattern}` {problem}"));
    let paths = glob::glob(pattern).map_err(|error| fault(format!("is no pattern: {error}")))?;
    let mut models = Vec::new();
    for path in paths {
        let path = path.map_err(|error| Error::read(error.path(), error.error()))?;
        models.push(Candidate::file(path));
    }
    if models.is_empty() {
        return Err(fault("matches no file".to_string())
            .help("`*` stands for one part of a path, `**` for folders at any depth"));
    }
    Ok(models)
}

/// Reads a list; its paths are relative to its folder.
///
/// # Errors
/// When the file is no such list, a model's file is missing, or a model is listed twice.
pub fn read(csv: &Path) -> Result<Vec<Candidate>> {
    let mut text = Vec::new();
    let read = files::reader(csv, files::LIST)?.read_to_end(&mut text);
    read.map_err(|error| Error::read(csv, &error))?;
    // Spreadsheets start the file with a byte-order mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text);
    let broken = |error: csv::Error| Error::input(csv, format!("is not a list of models: {error}"));
    let columns = columns(csv, reader.headers().map_err(broken)?)?;
    let folder = csv.parent().unwrap_or(Path::new(""));
    let mut models: Vec<Candidate> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, csv::Position::line);
        let values = columns.iter().cloned();
        let values = values.zip(record.iter().map(String::from));
        let fault = |problem: String| Error::input(csv, format!("line {line}: {problem}"));
        let model = listed(values.collect(), folder).map_err(fault)?;
        if let Some(twice) = twice(&models, &model) {
            return Err(fault(twice));
        }
        models.push(model);
    }
    if models.is_empty() {
        return Err(Error::input(csv, "lists no model"));
    }
    Ok(models)
}

/// Returns the column names; checks that they are unique and include the required ones.
fn columns(csv: &Path, header: &csv::StringRecord) -> Result<Vec<String>> {
    let columns: Vec<String> = header.iter().map(String::from).collect();
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].contains(column) {
            return Err(Error::input(csv, format!("has two columns `{column}`")));
        }
    }
    for needed in ["name", "path"] {
        if !columns.iter().any(|column| column == needed) {
            let found = columns.join("`, `");
            return Err(
                Error::input(csv, format!("has no column `{needed}`; it has `{found}`"))
                    .help("a list of models begins with `name,path`; hyperparameters may follow"),
            );
        }
    }
    Ok(columns)
}

/// Makes a model from its row.
fn listed(
    mut row: IndexMap<String, String>,
    folder: &Path,
) -> std::result::Result<Candidate, String> {
    let name = row.shift_remove("name").unwrap_or_default();
    let given = row.shift_remove("path").unwrap_or_default();
    if name.is_empty() || given.is_empty() {
        return Err("a name and a path are needed".to_string());
    }
    if name.contains(';') {
        return Err(format!(
            "the name `{name}` contains a `;`, which separates names in the results"
        ));
    }
    let weights = row.shift_remove("weights").filter(|key| !key.is_empty());
    let path = folder.join(&given);
    adapter::weights_in(&path).map_err(|error| error.to_string())?;
    let found = checkpoint::find(&path).map_err(|error| error.to_string())?;
    if !found.path.is_file() && !found.path.is_dir() {
        let problem = if found.path.exists() {
            "is a FIFO, a socket or a device; a regular file is needed"
        } else {
            "there is no such file"
        };
        return Err(format!("{}: {problem}", found.path.display()));
    }
    Ok(Candidate {
        name: Some(name),
        path,
        weights,
        given,
        hyperparameters: row,
    })
}

/// Describes the conflict if the model is among the others already.
fn twice(models: &[Candidate], model: &Candidate) -> Option<String> {
    // One file can be written as two different paths, and holds a model for each dictionary.
    let real = |model: &Candidate| {
        let found = checkpoint::find(&model.path).map(|found| found.path);
        let path = found.unwrap_or_else(|_| model.path.clone());
        let real = fs::canonicalize(&path).unwrap_or(path);
        (real, model.weights.clone())
    };
    let told = |model: &Candidate| {
        let name = model.name.clone();
        name.unwrap_or_else(|| file_name(&model.path))
    };
    let own = real(model);
    models.iter().find_map(|other| {
        if model.name.is_some() && model.name == other.name {
            return Some(format!("the name `{}` is in the list twice", told(model)));
        }
        (real(other) == own).then(|| {
            format!(
                "`{}` is the same file as `{}`: {}",
                told(model),
                told(other),
                other.given
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<Candidate>> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.safetensors", "b.safetensors"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("sub")).unwrap();
        let csv = folder.path().join("models.csv");
        fs::write(&csv, text).unwrap();
        read(&csv)
    }

    #[test]
    fn names_paths_and_the_other_columns_in_their_order() {
        let models = list("\u{feff}lr,name,path,seed\n1e-3, one ,a,7\n,two,./b.safetensors,\n");
        let models = models.unwrap();
        assert_eq!(models.len(), 2);
        assert_eq!(models[0].name.as_deref(), Some("one"));
        assert_eq!(models[0].given, "a");
        assert!(models[0].path.ends_with("a") && models[0].weights.is_none());
        let columns: Vec<_> = models[0].hyperparameters.iter().collect();
        assert_eq!(columns.len(), 2);
        assert_eq!((&**columns[0].0, &**columns[0].1), ("lr", "1e-3"));
        assert_eq!(models[1].hyperparameters["seed"], "");
    }

    #[test]
    fn lists_that_cannot_be_used() {
        for (text, message) in [
            ("", "has no column `name`"),
            ("name,path\n", "lists no model"),
            ("name,file\nx,a\n", "has no column `path`"),
            ("name,path,lr,lr\nx,a,1,2\n", "two columns `lr`"),
            ("name,path\nx,a\nx,b\n", "line 3: the name `x`"),
            (
                "name,path\nx,a\ny,sub/../a.safetensors\n",
                "same file as `x`",
            ),
            ("name,path\nx,c\n", "line 2: "),
            ("name,path,weights\nx,a,ema\ny,a,ema\n", "same file as `x`"),
            ("name,path\nx;y,a\n", "contains a `;`"),
            ("name,path\n,a\n", "a name and a path"),
            ("name,path\nx,a,1\n", "is not a list of models"),
        ] {
            let error = list(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    #[test]
    fn one_file_with_two_dictionaries_is_two_models() {
        let models = list("name,path,weights,lr\nx,a,,1\ny,a,model_ema.module,2\n").unwrap();
        assert_eq!(models[0].weights, None);
        assert_eq!(models[1].weights.as_deref(), Some("model_ema.module"));
        assert_eq!(models[1].hyperparameters.len(), 1);
    }

    #[test]
    fn names_paths_and_patterns_make_a_pool() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for run in ["b", "a", "c"] {
            fs::create_dir(root.join(run)).unwrap();
            fs::write(root.join(run).join("model.pt"), "").unwrap();
        }
        let pool = |texts: &[&str]| {
            let named: Vec<PathBuf> = texts.iter().map(|text| root.join(text)).collect();
            Candidates::pool(&named)?.read()
        };
        let (models, place) = pool(&["*/model.pt"]).unwrap();
        assert_eq!(place.as_deref(), Some("--models"));
        let paths: Vec<_> = models.iter().map(|model| model.path.clone()).collect();
        assert_eq!(
            paths,
            ["a", "b", "c"].map(|run| root.join(run).join("model.pt"))
        );
        for (texts, words) in [
            (vec!["*/none.pt"], "matches no file"),
            (
                vec!["a/model.pt", "*/model.pt"],
                "`model.pt` is the same file as `model.pt`",
            ),
            (vec!["a/***"], "is no pattern"),
            (vec!["list.csv", "a"], "cannot stand beside other models"),
        ] {
            let message = pool(&texts).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        let named = Candidate::parse("--a", Path::new("one=x.pt")).unwrap();
        assert_eq!(named, Candidate::named("one", "x.pt"));
        assert!(Candidate::parse("--a", Path::new("=x.pt")).is_err());
        // A file with such a name is a file.
        fs::write(root.join("lr=1.pt"), "").unwrap();
        let path = root.join("lr=1.pt");
        assert_eq!(
            Candidate::parse("--a", &path).unwrap(),
            Candidate::file(&path)
        );
    }
}
