//! Finding and loading ONNX Runtime.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::ep::ExecutionProvider;

use crate::error::{Error, Result};

/// The version that `make runtime` gets.
pub const PINNED: &str = "1.32.0";

/// Where the library was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// How the place came to be tried.
    pub by: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Whether the user named it: then a failure is final.
    pub explicit: bool,
}

/// The environment that decides where the library is looked for.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `--onnxruntime`.
    pub flag: Option<PathBuf>,
    /// `ORT_DYLIB_PATH`.
    pub dylib_path: Option<PathBuf>,
    /// Folder of the executable.
    pub beside: Option<PathBuf>,
    /// The cache folder that `make runtime` fills.
    pub cache: Option<PathBuf>,
    /// Folders of the active Python environments.
    pub python: Vec<PathBuf>,
}

/// The loaded library.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The process's one environment.
    pub environment: Environment,
    /// The file that was loaded.
    pub path: PathBuf,
    /// How it was found.
    pub by: &'static str,
    /// Its version.
    pub version: String,
}

/// What came of one place.
pub type Attempt = (Candidate, String);

impl Surroundings {
    /// Reads the process's environment.
    pub fn of_process(flag: Option<&Path>) -> Self {
        let var = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let path = |name: &str| var(name).map(PathBuf::from);
        let executable = env::current_exe().ok();
        Self {
            flag: flag.map(Path::to_path_buf),
            dylib_path: path("ORT_DYLIB_PATH"),
            beside: executable.and_then(|path| path.parent().map(Path::to_path_buf)),
            cache: cache_folder(path),
            python: ["VIRTUAL_ENV", "CONDA_PREFIX"]
                .into_iter()
                .filter_map(path)
                .collect(),
        }
    }

    /// The places to try, in order. Places that name no existing file are left in only where
    /// the user named them and where the message should list them.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mut push =
            |by, path: PathBuf, explicit| candidates.push(Candidate { by, path, explicit });
        if let Some(flag) = &self.flag {
            push("--onnxruntime", library_in(flag), true);
        }
        if let Some(path) = &self.dylib_path {
            push("ORT_DYLIB_PATH", library_in(path), true);
        }
        if let Some(folder) = &self.beside {
            push("beside the executable", folder.join(LIBRARY), false);
        }
        if let Some(folder) = &self.cache {
            push("cache", library_in(folder), false);
        }
        for prefix in &self.python {
            for path in python_libraries(prefix) {
                push("Python environment", path, false);
            }
        }
        push("system", PathBuf::from(LIBRARY), false);
        candidates
    }
}

const LIBRARY: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else if cfg!(windows) {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so"
};

/// Where `make runtime` puts the library: `$LANDSCAPE_CACHE`, or `landscape` in the user's cache.
fn cache_folder(path: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let user = || path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache")));
    let root = path("LANDSCAPE_CACHE").or_else(|| user().map(|user| user.join("landscape")))?;
    Some(root.join(format!("onnxruntime-{PINNED}")))
}

/// A folder stands for the library in it, whose file name may carry a version.
fn library_in(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_path_buf();
    }
    let plain = path.join(LIBRARY);
    if plain.exists() {
        return plain;
    }
    let versioned = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut versioned: Vec<PathBuf> = versioned
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with(LIBRARY))
        })
        .collect();
    versioned.sort();
    versioned.pop().unwrap_or(plain)
}

fn python_libraries(prefix: &Path) -> Vec<PathBuf> {
    let lib = std::fs::read_dir(prefix.join("lib"))
        .into_iter()
        .flatten()
        .flatten();
    let package = |folder: PathBuf| folder.join("site-packages/onnxruntime/capi");
    lib.map(|entry| package(entry.path()))
        .filter(|capi| capi.is_dir())
        .map(|capi| library_in(&capi))
        .collect()
}

/// One runtime a process: ONNX Runtime allows a single environment.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the first library that works; later calls return the same one.
    ///
    /// # Errors
    /// When none works, or a place that the user named does not: the message lists every place.
    pub fn load(flag: Option<&Path>) -> Result<Self> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            return Ok(runtime.clone());
        }
        let runtime = search(&Surroundings::of_process(flag).candidates())
            .map_err(|attempts| not_found(&attempts))?;
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }
}

impl Runtime {
    /// The execution providers compiled into the library, of those that matter here.
    pub fn providers(&self) -> Vec<&'static str> {
        let cuda = ort::ep::CUDA::is_available().unwrap_or(false);
        if cuda {
            vec!["CPU", "CUDA"]
        } else {
            vec!["CPU"]
        }
    }
}

fn search(candidates: &[Candidate]) -> std::result::Result<Runtime, Vec<Attempt>> {
    let mut attempts = Vec::new();
    for candidate in candidates {
        match attempt(candidate) {
            Ok(runtime) => return Ok(runtime),
            Err(problem) => attempts.push((candidate.clone(), problem)),
        }
        if candidate.explicit {
            break;
        }
    }
    Err(attempts)
}

fn attempt(candidate: &Candidate) -> std::result::Result<Runtime, String> {
    let path = &candidate.path;
    let named_only = path.components().count() == 1 && !candidate.explicit;
    if !named_only && !path.exists() {
        return Err("no such file".to_string());
    }
    let builder = ort::init_from(path).map_err(|error| match &error {
        // Its own text hides the loader's reason.
        LoadDynamicError::Dlopen { error: cause, .. } => {
            std::error::Error::source(cause).map_or_else(|| cause.to_string(), ToString::to_string)
        }
        _ => error.to_string(),
    })?;
    let environment = builder
        .with_name("landscape")
        .with_telemetry(false)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Runtime {
        environment,
        path: path.clone(),
        by: candidate.by,
        version: version(),
    })
}

/// The version out of ONNX Runtime's build information (`… git-branch=rel-1.32.0 …`).
fn version() -> String {
    // SAFETY: the library is loaded; the call returns a static string.
    let text = ort::info();
    let branch = text.split("git-branch=").nth(1).unwrap_or(text);
    let end = branch.find([',', ' ']).unwrap_or(branch.len());
    branch[..end].trim_start_matches("rel-").to_string()
}

fn not_found(attempts: &[Attempt]) -> Error {
    let mut problem = String::from("no usable library; tried");
    for (candidate, why) in attempts {
        let _ = write!(
            problem,
            "\n  {}: {}: {why}",
            candidate.by,
            candidate.path.display()
        );
    }
    let help = match attempts.last() {
        Some((candidate, _)) if candidate.explicit => {
            format!(
                "{} must name a libonnxruntime of version 1.24 or later",
                candidate.by
            )
        }
        _ => "run `make runtime` in the source folder, or `pip install onnxruntime` in the active \
              Python environment"
            .to_string(),
    };
    Error::flag("ONNX Runtime", problem).help(help)
}

/// Every place and what it gives, for `landscape doctor`; nothing is loaded twice.
pub fn places(flag: Option<&Path>) -> Vec<Attempt> {
    let candidates = Surroundings::of_process(flag).candidates();
    let state = |candidate: Candidate| {
        let found = candidate.path.exists();
        let state = if found { "there" } else { "not there" };
        (candidate, state.to_string())
    };
    candidates.into_iter().map(state).collect()
}

/// The folder that `make runtime` fills.
pub fn cache() -> Option<PathBuf> {
    cache_folder(|name| {
        env::var_os(name)
            .map(OsString::into)
            .filter(|p: &PathBuf| !p.as_os_str().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_tried_in_the_documented_order() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder
            .path()
            .join("lib/python3.12/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::write(capi.join("libonnxruntime.so.1.31.1"), "").unwrap();
        let surroundings = Surroundings {
            flag: Some("/f/lib.so".into()),
            dylib_path: Some("/e/lib.so".into()),
            beside: Some("/b".into()),
            cache: Some("/c".into()),
            python: vec![folder.path().into()],
        };
        let order: Vec<&str> = surroundings.candidates().iter().map(|c| c.by).collect();
        let expected = [
            "--onnxruntime",
            "ORT_DYLIB_PATH",
            "beside the executable",
            "cache",
            "Python environment",
            "system",
        ];
        assert_eq!(order, expected);
        let python = &surroundings.candidates()[4].path;
        assert!(python.ends_with("capi/libonnxruntime.so.1.31.1"));
    }

    #[test]
    fn a_named_place_that_does_not_work_is_final() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no library").unwrap();
        for (path, why) in [
            (file.path().to_path_buf(), "file too short"),
            (PathBuf::from("/nowhere/libonnxruntime.so"), "no such file"),
        ] {
            let surroundings = Surroundings {
                flag: Some(path),
                ..Surroundings::default()
            };
            let attempts = search(&surroundings.candidates()).unwrap_err();
            assert_eq!(attempts.len(), 1, "nothing else is tried");
            let message = not_found(&attempts).to_string();
            assert!(message.contains(why), "{message}");
            assert!(message.contains("--onnxruntime must name"), "{message}");
        }
    }
}
