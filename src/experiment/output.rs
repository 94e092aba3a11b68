//! Where results are written: the folder and the stem of the file names.

use std::path::{Component, Path, PathBuf};

use crate::base::atomic;
use crate::error::{Error, Result};

/// The output of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Folder that holds `plots/`, `notebooks-data/` and, while a run is unfinished, `.landscape/`.
    pub folder: PathBuf,
    /// Stem of the file names.
    pub name: String,
    /// Whether to ignore what an interrupted run saved.
    pub fresh: bool,
}

impl Output {
    /// Path of the main CSV, `notebooks-data/NAME.csv`.
    pub fn csv(&self) -> PathBuf {
        self.csv_of(&self.name)
    }

    /// Path of the CSV for another stem.
    fn csv_of(&self, name: &str) -> PathBuf {
        self.data_folder().join(format!("{name}.csv"))
    }

    /// The output for partial results.
    #[must_use]
    pub fn partial(&self) -> Self {
        Self {
            name: format!("{}.partial", self.name),
            ..self.clone()
        }
    }

    /// The folder of CSV and JSON files.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("notebooks-data")
    }

    /// The folder of figures.
    pub fn plots(&self) -> PathBuf {
        self.folder.join("plots")
    }

    /// Checks before a long run that results can be written.
    ///
    /// # Errors
    /// When the stem is not a plain file name, or a folder cannot be written.
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        atomic::probe(&self.csv())?;
        atomic::probe(&self.plots().join(&self.name))
    }

    /// Removes the files of this output: `NAME.csv`, `NAME.json` and the figure.
    pub fn remove(&self) {
        let csv = self.csv();
        let figure = |ending: &str| self.plots().join(format!("{}.{ending}", self.name));
        for file in [
            csv.with_extension("json"),
            csv,
            figure("png"),
            figure("svg"),
        ] {
            // Usually there is none.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Refuses a stem that is not a plain file name.
fn check_name(name: &str) -> Result<()> {
    let mut parts = Path::new(name).components();
    // Path components drop a trailing slash or dot; the text keeps it.
    let last = name.rsplit('/').next();
    let is_file = last.is_some_and(|last| !["", "."].contains(&last));
    if is_file && parts.all(|part| matches!(part, Component::Normal(_))) {
        return Ok(());
    }
    Err(Error::flag(
        "--name",
        format!("is `{name}`; the name of a file in the folder of --out is needed"),
    ))
}
