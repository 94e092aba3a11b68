//! The places where ONNX Runtime is looked for, and their order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use super::library;

/// The origin of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `--onnxruntime`.
    Flag,
    /// The environment variable `ORT_DYLIB_PATH`.
    EnvironmentVariable,
    /// The folder of the running program.
    Executable,
    /// The cache folder that `make runtime` fills.
    Cache,
    /// The `onnxruntime` package of the environment in `VIRTUAL_ENV`.
    VirtualEnv,
    /// The `onnxruntime` package of the environment in `CONDA_PREFIX`.
    Conda,
    /// The `onnxruntime` package that `python3` on the path would import.
    Python,
    /// The system's loader (`LD_LIBRARY_PATH`, `ldconfig`, …).
    System,
}

impl Source {
    /// Whether the user named the place, so that it must work or the run stops.
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::Flag | Self::EnvironmentVariable)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flag => "--onnxruntime",
            Self::EnvironmentVariable => "ORT_DYLIB_PATH",
            Self::Executable => "beside the program",
            Self::Cache => "cache folder",
            Self::VirtualEnv => "Python, VIRTUAL_ENV",
            Self::Conda => "Python, CONDA_PREFIX",
            Self::Python => "Python, python3",
            Self::System => "system's loader",
        })
    }
}

/// The parts of the process's environment that determine the places.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `ORT_DYLIB_PATH`.
    pub ort_dylib_path: Option<PathBuf>,
    /// The folder of the running program.
    pub executable_folder: Option<PathBuf>,
    /// The folder of the pinned version in the cache.
    pub cached_runtime: Option<PathBuf>,
    /// `VIRTUAL_ENV`, when it is absolute.
    pub virtual_env: Option<PathBuf>,
    /// `CONDA_PREFIX`, when it is absolute.
    pub conda_prefix: Option<PathBuf>,
}

impl Surroundings {
    /// The surroundings of this process. An empty variable counts as not set.
    pub fn of_this_process() -> Self {
        let program = std::env::current_exe().ok();
        Self {
            ort_dylib_path: variable("ORT_DYLIB_PATH"),
            executable_folder: program.and_then(|file| Some(file.parent()?.to_path_buf())),
            cached_runtime: cache_folder()
                .map(|cache| cache.join(format!("onnxruntime-{}", super::PINNED_VERSION))),
            virtual_env: absolute("VIRTUAL_ENV"),
            conda_prefix: absolute("CONDA_PREFIX"),
        }
    }
}

/// landscape's cache folder: `LANDSCAPE_CACHE`, otherwise `landscape` in the user's cache folder.
/// `None` if the user has no home folder. `scripts/get-onnxruntime.sh` follows the same rule.
pub fn cache_folder() -> Option<PathBuf> {
    if let Some(cache) = variable("LANDSCAPE_CACHE") {
        return Some(std::path::absolute(&cache).unwrap_or(cache));
    }
    let users = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
    };
    users.map(|users| users.join("landscape"))
}

fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name)?;
    (!value.is_empty()).then(|| value.into())
}

/// The folder in a variable. A relative path, which would depend on the working folder, is ignored,
/// as the XDG specification requires.
fn absolute(name: &str) -> Option<PathBuf> {
    variable(name).filter(|path| path.is_absolute())
}

/// How to get from a place to a library's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// A library, or a folder that holds one (itself or in `lib`).
    Named(PathBuf),
    /// A folder that may hold a library.
    Folder(PathBuf),
    /// A Python environment that may contain the `onnxruntime` package.
    PythonPrefix(PathBuf),
    /// The `onnxruntime` that `python3` on the path imports.
    PythonOnPath,
    /// A name for the system's loader.
    LoaderName(&'static str),
}

/// A place to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The origin of the place.
    pub source: Source,
    /// How to get from it to a file.
    pub spot: Spot,
}

/// The places to look at, in order.
///
/// A library that the user names is the only place. `python3` is asked only if no Python
/// environment is active: asking takes a process, and an active environment is more likely meant.
pub fn places(flag: Option<&Path>, around: &Surroundings) -> Vec<Place> {
    let named = |source, path: &Path| {
        vec![Place {
            source,
            spot: Spot::Named(path.to_path_buf()),
        }]
    };
    if let Some(path) = flag {
        return named(Source::Flag, path);
    }
    if let Some(path) = &around.ort_dylib_path {
        return named(Source::EnvironmentVariable, path);
    }
    let found = [
        (
            Source::Executable,
            around.executable_folder.clone().map(Spot::Folder),
        ),
        (
            Source::Cache,
            around.cached_runtime.clone().map(Spot::Folder),
        ),
        (
            Source::VirtualEnv,
            around.virtual_env.clone().map(Spot::PythonPrefix),
        ),
        (
            Source::Conda,
            around.conda_prefix.clone().map(Spot::PythonPrefix),
        ),
    ];
    let mut places: Vec<Place> = found
        .into_iter()
        .filter_map(|(source, spot)| {
            Some(Place {
                source,
                spot: spot?,
            })
        })
        .collect();
    if around.virtual_env.is_none() && around.conda_prefix.is_none() {
        places.push(Place {
            source: Source::Python,
            spot: Spot::PythonOnPath,
        });
    }
    places.extend(library::LOADER_NAMES.iter().map(|name| Place {
        source: Source::System,
        spot: Spot::LoaderName(name),
    }));
    places
}

impl Place {
    /// The file that this place leads to; it need not be a working library.
    pub(super) fn library(&self) -> Result<PathBuf, String> {
        match &self.spot {
            Spot::Named(path) => named_library(path),
            Spot::Folder(folder) => library::in_folder(folder),
            Spot::PythonPrefix(prefix) => in_python_prefix(prefix),
            Spot::PythonOnPath => in_python_on_path(),
            Spot::LoaderName(name) => Ok(PathBuf::from(name)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spot {
            Spot::Named(path) | Spot::Folder(path) | Spot::PythonPrefix(path) => {
                path.display().fmt(f)
            }
            Spot::PythonOnPath => f.write_str("its onnxruntime package"),
            Spot::LoaderName(name) => f.write_str(name),
        }
    }
}

/// The library that a flag or variable names: a file, or a folder that holds one.
pub(super) fn named_library(path: &Path) -> Result<PathBuf, String> {
    // ort would first look beside the program for a relative path; the user means the working
    // folder.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => library::in_folder(&path)
            // Releases are unpacked to a folder with the library in lib/.
            .or_else(|problem| library::in_folder(&path.join("lib")).map_err(|_| problem)),
        // Opening a FIFO would block the loader.
        Ok(found) if !found.is_file() => Err("this is no regular file".to_string()),
        Ok(_) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("there is no such file or folder".to_string())
        }
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// The library of the `onnxruntime` package in a Python environment's folder.
fn in_python_prefix(prefix: &Path) -> Result<PathBuf, String> {
    const MISSING: &str = "no onnxruntime package in it";
    let site_packages = |library: PathBuf| library.join("site-packages/onnxruntime/capi");
    if cfg!(windows) {
        return library::in_folder(&site_packages(prefix.join("Lib")));
    }
    let pythons = std::fs::read_dir(prefix.join("lib")).map_err(|_| MISSING.to_string())?;
    pythons
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .find_map(|python| library::in_folder(&site_packages(python.path())).ok())
        .ok_or_else(|| MISSING.to_string())
}

/// The library of the `onnxruntime` package that `python3` would import. The package is not
/// imported.
fn in_python_on_path() -> Result<PathBuf, String> {
    const ASK: &str = "from importlib.util import find_spec
spec = find_spec('onnxruntime')
print(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else '')";
    let answer = Command::new("python3")
        // Isolated: neither PYTHONPATH nor the working folder affects the import.
        .args(["-I", "-c", ASK])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|_| "there is no python3 on the path".to_string())?;
    let package = String::from_utf8_lossy(&answer.stdout);
    match package.trim() {
        "" => Err("there is none".to_string()),
        package => library::in_folder(&Path::new(package).join("capi")),
    }
}
