//! The models of an experiment: files, or the rows of a list.
//!
//! A list is a CSV with the columns `name` and `path`, then hyperparameters.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::base::files;
use crate::checkpoint::{self, adapter};
use crate::error::{Error, Result};

/// A model to be opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidate {
    /// Name in the results; by default the file's.
    pub name: Option<String>,
    /// Path of the file.
    pub path: PathBuf,
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
}

/// The models of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub enum Candidates {
    /// These files. All are needed: NaN in one is an error.
    Files(Vec<Candidate>),
    /// A pool, listed in a CSV. A model that holds NaN or infinite values is left out.
    List(PathBuf),
}

impl Candidates {
    /// Returns the models, and the list that names them.
    pub(super) fn read(&self) -> Result<(Vec<Candidate>, Option<&Path>)> {
        match self {
            Self::Files(files) => Ok((files.clone(), None)),
            Self::List(csv) => Ok((read(csv)?, Some(csv))),
        }
    }
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
    let path = folder.join(&given);
    let adapter = adapter::weights_in(&path).map_err(|error| error.to_string())?;
    let path = match adapter {
        Some(weights) => weights,
        None => checkpoint::find(&path).map_err(|error| error.to_string())?,
    };
    if !path.is_file() {
        let special = path.exists() && !path.is_dir();
        let problem = if special {
            "is a FIFO, a socket or a device; a regular file is needed"
        } else {
            "there is no such file"
        };
        return Err(format!("{}: {problem}", path.display()));
    }
    Ok(Candidate {
        name: Some(name),
        path,
        given,
        hyperparameters: row,
    })
}

/// Describes the conflict if the model is in the list already.
fn twice(models: &[Candidate], model: &Candidate) -> Option<String> {
    // One file can be written as two different paths.
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let name_of = |model: &Candidate| model.name.clone().unwrap_or_default();
    let (name, path) = (name_of(model), real(&model.path));
    models.iter().find_map(|other| {
        let other_name = name_of(other);
        if other_name == name {
            return Some(format!("the name `{name}` is in the list twice"));
        }
        (real(&other.path) == path).then(|| {
            format!(
                "`{name}` is the same file as `{other_name}`: {}",
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
        assert!(models[0].path.ends_with("a.safetensors"));
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
            ("name,path\nx,sub\n", "no such file"),
            ("name,path\nx;y,a\n", "contains a `;`"),
            ("name,path\n,a\n", "a name and a path"),
            ("name,path\nx,a,1\n", "is not a list of models"),
        ] {
            let error = list(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}
