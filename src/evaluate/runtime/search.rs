//! Searches all places for ONNX Runtime and records the outcome of each.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::library;
use super::places::{Place, Source, Surroundings, places};
use crate::error::{self, Error};

/// The advice shown when no library was found.
pub const HELP: &str = "run `make runtime` in landscape's folder, or `pip install --upgrade \
     onnxruntime` in the active Python environment";

/// The error for a place that the user named and that does not work.
pub(super) fn explicit_error(source: Source, path: &Path, problem: &str) -> Error {
    Error::flag(source, format!("{}: {problem}", path.display())).help(format!(
        "name {} of version {} or newer, or its folder; without {source} the usual places are searched",
        library::FILE_NAME,
        library::oldest_version()
    ))
}

/// A library that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The origin of its place.
    pub source: Source,
    /// The library's file, or its bare name if only the system's loader knows where it is.
    pub path: PathBuf,
    /// The library's own version.
    pub version: String,
}

/// The outcome of a search at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A library that works, with its version.
    Works(String),
    /// Nothing usable, with the reason.
    Fails(String),
    /// Skipped, because an earlier place had a library that works.
    NotNeeded,
}

/// One place and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The origin of the place.
    pub source: Source,
    /// The library's file, or else the place where it was expected.
    pub place: String,
    /// The outcome.
    pub outcome: Outcome,
}

/// A finished search: every place in order, including those after the one that worked.
#[derive(Debug, Clone)]
pub struct Search {
    steps: Vec<Step>,
    found: Option<Found>,
}

impl Search {
    /// Searches each place in order until one has a library that works.
    pub fn new(flag: Option<&Path>, around: &Surroundings) -> Self {
        Self::among(&places(flag, around), library::probe)
    }

    /// Searches `places`; `probe` returns a library's version or the reason why it cannot be used.
    fn among(places: &[Place], probe: impl Fn(&Path) -> Result<String, String>) -> Self {
        let mut search = Self {
            steps: Vec::new(),
            found: None,
        };
        for place in places {
            search.look_at(place, &probe);
        }
        search
    }

    fn look_at(&mut self, place: &Place, probe: impl Fn(&Path) -> Result<String, String>) {
        let source = place.source;
        let step = |place: String, outcome| Step {
            source,
            place,
            outcome,
        };
        if self.found.is_some() {
            self.steps.push(step(place.to_string(), Outcome::NotNeeded));
            return;
        }
        self.steps.push(match place.library() {
            Err(problem) => step(place.to_string(), Outcome::Fails(problem)),
            Ok(path) => {
                let name = path.display().to_string();
                match probe(&path) {
                    Err(problem) => step(name, Outcome::Fails(problem)),
                    Ok(version) => {
                        self.found = Some(Found {
                            source,
                            path,
                            version: version.clone(),
                        });
                        step(name, Outcome::Works(version))
                    }
                }
            }
        });
    }

    /// Every place, in the order of the search.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The library that works.
    ///
    /// # Errors
    /// Fails with cause [`Input`](crate::error::Cause::Input) when the user named a place and it
    /// does not work; otherwise with cause [`Runtime`](crate::error::Cause::Runtime), listing every
    /// place and the reason why it was rejected.
    pub fn into_found(self) -> error::Result<Found> {
        if let Some(found) = self.found {
            return Ok(found);
        }
        if let [
            Step {
                source,
                place,
                outcome: Outcome::Fails(problem),
            },
        ] = &self.steps[..]
            && source.is_explicit()
        {
            return Err(explicit_error(*source, Path::new(place), problem));
        }
        let problem = format!(
            "no usable library (version {} or newer) was found:",
            library::oldest_version()
        );
        Err(Error::runtime("ONNX Runtime", problem)
            .lines(&self.steps)
            .help(HELP))
    }
}

/// Formats as `cache folder  /…: no libonnxruntime.so in it`, padded to align the places in a
/// column.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20}  {}: ", self.source, self.place)?;
        match &self.outcome {
            Outcome::Works(version) => write!(f, "version {version}"),
            Outcome::Fails(problem) => f.write_str(problem),
            Outcome::NotNeeded => f.write_str("not needed"),
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "search_tests.rs"]
mod tests;
