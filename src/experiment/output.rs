//! Where results go: the folder, and the stem of the files' names.

use std::path::{Component, Path, PathBuf};

use crate::base::atomic;
use crate::error::{Error, Result};

/// The output of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Holds `plots/`, `notebooks-data/` and, while a run is not finished, `.landscape/`.
    pub folder: PathBuf,
    /// Stem of the files' names.
    pub name: String,
    /// Whether to ignore what an interrupted run left.
    pub fresh: bool,
}

impl Output {
    /// The main CSV, `notebooks-data/NAME.csv`.
    pub fn csv(&self) -> PathBuf {
        self.csv_of(&self.name)
    }

    /// The CSV of another stem.
    fn csv_of(&self, name: &str) -> PathBuf {
        self.data_folder().join(format!("{name}.csv"))
    }

    /// The output that a run shows while it goes on.
    #[must_use]
    pub fn partial(&self) -> Self {
        Self {
            name: format!("{}.partial", self.name),
            ..self.clone()
        }
    }

    /// The folder of numbers.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("notebooks-data")
    }

    /// The folder of figures.
    pub fn plots(&self) -> PathBuf {
        self.folder.join("plots")
    }

    /// Finds out before a long run whether results can be written.
    ///
    /// # Errors
    /// When the stem names no file in the folder, or a folder cannot be written.
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        atomic::probe(&self.csv())?;
        atomic::probe(&self.plots().join(&self.name))
    }

    /// Removes the output's own files: `NAME.csv`, `NAME.json` and the figure.
    pub fn remove(&self) {
        let csv = self.csv();
        let figure = |ending: &str| self.plots().join(format!("{}.{ending}", self.name));
        for file in [
            csv.with_extension("json"),
            csv,
            figure("png"),
            figure("svg"),
        ] {
            // Mostly there is none.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Refuses a stem that names no file, or one outside the folder of results.
fn check_name(name: &str) -> Result<()> {
    let mut parts = Path::new(name).components();
    // Unlike the components, the text has a slash or a dot at its end.
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
