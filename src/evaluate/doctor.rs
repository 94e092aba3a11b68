//! The report of `landscape doctor`: which ONNX Runtime is used and why, and the machine's
//! resources.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::runtime::Runtime;
use super::runtime::library::oldest_version;
use super::runtime::places::{Source, Surroundings, cache_folder};
use super::runtime::search::{Outcome, Search, Step};
use crate::base::machine::Memory;

/// The facts that a bug report needs.
#[derive(Debug, Clone, Serialize)]
pub struct Doctor {
    /// The program's version.
    pub version: &'static str,
    /// The runtime in use, if one was found and started.
    pub runtime: Option<RuntimeFacts>,
    /// Why there is no runtime.
    pub problem: Option<String>,
    /// The oldest ONNX Runtime that works, such as `1.24`.
    pub oldest_runtime: String,
    /// Every searched place and its outcome, in order.
    pub search: Vec<Step>,
    /// Logical cores this process may use.
    pub logical_cores: Option<usize>,
    /// The memory this process may use.
    pub memory: Option<Memory>,
    /// The folder that `make runtime` fills.
    pub cache_folder: Option<PathBuf>,
}

/// The runtime in use.
#[derive(Debug, Clone, Serialize)]
pub struct RuntimeFacts {
    /// The library's file.
    pub library: PathBuf,
    /// Who named its place.
    pub found_by: Source,
    /// The library's own version.
    pub version: String,
    /// Execution providers compiled into it, preferred first.
    pub providers: Vec<String>,
}

impl Doctor {
    /// Searches for ONNX Runtime, starts it, and examines the machine. Never fails: problems are
    /// part of the facts.
    ///
    /// `flag` is the value of `--onnxruntime`.
    pub fn examine(flag: Option<&Path>) -> Self {
        let search = Search::new(flag, &Surroundings::of_this_process());
        let steps = search.steps().to_vec();
        let loaded = search.into_found().and_then(|_| Runtime::load(flag));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            runtime: loaded.as_ref().ok().map(|runtime| RuntimeFacts {
                library: runtime.library().to_path_buf(),
                found_by: runtime.source(),
                version: runtime.version().to_string(),
                providers: runtime.providers().to_vec(),
            }),
            problem: loaded.err().map(|error| error.to_string()),
            oldest_runtime: oldest_version(),
            search: steps,
            logical_cores: std::thread::available_parallelism().ok().map(Into::into),
            memory: Memory::of_this_machine(),
            cache_folder: cache_folder(),
        }
    }

    /// Whether a runtime was found and started.
    pub fn is_healthy(&self) -> bool {
        self.runtime.is_some()
    }
}

/// The report, ending in a line break, and whether a runtime was found and started.
pub fn report(flag: Option<&Path>) -> (String, bool) {
    let doctor = Doctor::examine(flag);
    (doctor.to_string(), doctor.is_healthy())
}

impl fmt::Display for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_string();
        let cores = self
            .logical_cores
            .map_or_else(unknown, |cores| cores.to_string());
        let memory = self
            .memory
            .map_or_else(unknown, |memory| memory.to_string());
        let cache = self.cache_folder.as_ref();
        let cache = cache.map_or_else(unknown, |cache| cache.display().to_string());
        writeln!(f, "landscape      {}", self.version)?;
        match &self.runtime {
            Some(runtime) => runtime.fmt(f)?,
            None => writeln!(
                f,
                "ONNX Runtime   none ({} or newer is needed)",
                self.oldest_runtime
            )?,
        }
        writeln!(f, "logical cores  {cores}")?;
        writeln!(f, "memory         {memory}")?;
        writeln!(f, "cache folder   {cache}")?;
        let found = |step: &Step| matches!(step.outcome, Outcome::Works(_));
        // If nothing was found, the problem itself lists the places.
        if self.problem.is_none() || self.search.iter().any(found) {
            writeln!(f, "ONNX Runtime was looked for here, in this order:")?;
            for step in &self.search {
                writeln!(f, "  {step}")?;
            }
        }
        match &self.problem {
            Some(problem) => writeln!(f, "{problem}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RuntimeFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ONNX Runtime   {}", self.version)?;
        writeln!(f, "  library      {}", self.library.display())?;
        writeln!(f, "  found by     {}", self.found_by)?;
        writeln!(f, "  providers    {}", self.providers.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_report_tells_library_version_and_providers() {
        let doctor = Doctor::examine(None);
        assert!(doctor.is_healthy(), "{doctor}");
        let (text, healthy) = report(None);
        assert!(healthy);
        let runtime = doctor.runtime.unwrap();
        for fact in [
            &runtime.version,
            &*runtime.library.to_string_lossy(),
            "CPUExecutionProvider",
        ] {
            assert!(text.contains(fact), "{fact} is not in:\n{text}");
        }
    }

    #[test]
    fn a_bad_flag_is_told_with_all_other_facts() {
        let (text, healthy) = report(Some(Path::new("/nonexistent")));
        assert!(!healthy);
        for fact in [
            "ONNX Runtime   none",
            "logical cores",
            "cache folder",
            "--onnxruntime: /nonexistent",
        ] {
            assert!(text.contains(fact), "{fact} is not in:\n{text}");
        }
    }
}
