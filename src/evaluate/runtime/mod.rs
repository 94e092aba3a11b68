//! Finds ONNX Runtime's shared library and loads it, once per process.
//!
//! The program is not linked against ONNX Runtime; [`Runtime::load`] looks for it in the order of
//! [`places::places`] and starts the one environment that a process may have. No function of `ort`
//! may be called before that: without a loaded library every call panics.

pub mod library;
pub mod places;
pub mod search;

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::base::lock::lock;
use crate::error::{Error, Result};
use places::{Source, Surroundings};
use search::{Found, Search};

/// The version that `make runtime` puts into the cache folder; must match
/// `scripts/get-onnxruntime.sh`.
pub const PINNED_VERSION: &str = "1.32.0";

static LOADED: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// A loaded ONNX Runtime and its environment, shared by the whole process.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
    source: Source,
    version: String,
    providers: Vec<String>,
}

/// Keeps ONNX Runtime's telemetry from starting, by setting `ORT_DISABLE_TELEMETRY=1` in the
/// environment of the process. ONNX Runtime's own switch comes too late: creating the environment
/// writes an identifier of the device and a database of events into the user's cache folder.
///
/// A program that uses this library must call this first or be started with the variable set.
/// [`Runtime::load`] cannot do it, because another thread may be reading the environment.
///
/// # Safety
/// No other thread may read or write the environment, as at the beginning of `main`.
pub unsafe fn disable_telemetry() {
    // SAFETY: guaranteed by the caller.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

impl Runtime {
    /// Finds ONNX Runtime and loads it; later calls return the one already loaded. Call
    /// [`disable_telemetry`] before.
    ///
    /// `flag` is the value of `--onnxruntime`: a library, or a folder that holds one.
    ///
    /// # Errors
    /// Fails when `flag` or `ORT_DYLIB_PATH` names something that does not work (cause
    /// [`Input`](crate::error::Cause::Input)), when no place holds a usable library, or when this
    /// process already uses another library than `flag` names.
    pub fn load(flag: Option<&Path>) -> Result<&'static Self> {
        // A panic in another thread leaves nothing half done: LOADED is set in one step.
        let _one_at_a_time = lock(&LOADING);
        if let Some(loaded) = LOADED.get() {
            return loaded.serves(flag);
        }
        let found = Search::new(flag, &Surroundings::of_this_process()).into_found()?;
        let runtime = Self::start(found)?;
        Ok(LOADED.get_or_init(|| runtime))
    }

    /// The process-wide environment in which sessions are built.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The library's file; a bare name if the system's loader found it and its location is unknown.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Where the library was found.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The library's own version, such as `1.32.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Execution providers compiled into the library, preferred first, by ONNX Runtime's names
    /// (`CUDAExecutionProvider`). A provider in this list does not mean that its device exists.
    pub fn providers(&self) -> &[String] {
        &self.providers
    }

    fn start(found: Found) -> Result<Self> {
        let place = found.path.display();
        let builder = ort::init_from(&found.path).map_err(|error| {
            Error::runtime(place.to_string(), describe(&error)).help(search::HELP)
        })?;
        let environment = builder
            .with_name("landscape")
            .with_telemetry(false)
            .build()
            .map_err(|error| {
                Error::runtime(
                    place.to_string(),
                    format!("ONNX Runtime did not start: {error}"),
                )
            })?;
        // The environment starts at the level "verbose" and would format every message only for
        // the subscriber to drop it.
        environment.set_log_level(LogLevel::Warning);
        let providers = available_providers().map_err(|error| {
            Error::runtime(
                place.to_string(),
                format!("ONNX Runtime did not list its execution providers: {error}"),
            )
        })?;
        Ok(Self {
            environment,
            library: library::mapped_file(&found.path),
            source: found.source,
            version: found.version,
            providers,
        })
    }

    /// Returns this runtime, unless `flag` asks for another: a second library cannot be loaded.
    fn serves(&'static self, flag: Option<&Path>) -> Result<&'static Self> {
        let Some(named) = flag else { return Ok(self) };
        let wanted = places::named_library(named)
            .map_err(|problem| search::explicit_error(Source::Flag, named, &problem))?;
        let same = match (wanted.canonicalize(), self.library.canonicalize()) {
            (Ok(wanted), Ok(loaded)) => wanted == loaded,
            _ => wanted == self.library,
        };
        if same {
            return Ok(self);
        }
        Err(Error::flag(
            "--onnxruntime",
            format!(
                "{} cannot be loaded: this process already uses {}",
                wanted.display(),
                self.library.display()
            ),
        ))
    }
}

/// The message of `ort` about a library that it refuses, with the loader's reason, which `ort`
/// leaves out.
fn describe(error: &LoadDynamicError) -> String {
    match error {
        LoadDynamicError::Dlopen { error, path } => library::loader_reason(error, path),
        LoadDynamicError::MissingApi { .. } => library::NOT_ONNX_RUNTIME.to_string(),
        LoadDynamicError::BadVersion { version_str, .. } => library::too_old(version_str),
        LoadDynamicError::InvalidVersionString => "its version is not readable text".to_string(),
    }
}

/// The providers compiled into the loaded library. The library must have been loaded.
fn available_providers() -> ort::Result<Vec<String>> {
    let api = ort::api();
    let mut names = std::ptr::null_mut();
    let mut count = 0;
    // SAFETY: both arguments are valid for writing.
    unsafe {
        ort::Error::result_from_status((api.GetAvailableProviders)(&raw mut names, &raw mut count))?
    };
    let listed = usize::try_from(count).unwrap_or(0);
    let providers = (0..listed)
        // SAFETY: on success `names` holds `count` NUL-terminated strings until released below.
        .map(|i| unsafe { CStr::from_ptr(*names.add(i)) })
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    // SAFETY: the list came from GetAvailableProviders and is not used after this.
    unsafe { ort::Error::result_from_status((api.ReleaseAvailableProviders)(names, count))? };
    Ok(providers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `make test` makes sure that there is a library to load.
    #[test]
    fn a_real_library_is_found_and_started_once() {
        let first = Runtime::load(None).unwrap();
        let second = Runtime::load(None).unwrap();
        assert!(std::ptr::eq(first, second));
        assert!(first.version().starts_with("1."), "{}", first.version());
        assert!(first.library().is_file(), "{}", first.library().display());
        assert!(
            first
                .providers()
                .iter()
                .any(|p| p == "CPUExecutionProvider")
        );
    }

    #[test]
    fn the_loaded_library_may_be_named_again() {
        let loaded = Runtime::load(None).unwrap();
        let again = Runtime::load(Some(loaded.library())).unwrap();
        assert!(std::ptr::eq(loaded, again));
    }

    #[test]
    fn a_bad_flag_is_refused_although_a_library_is_loaded() {
        Runtime::load(None).unwrap();
        let error = Runtime::load(Some(Path::new("/nonexistent/libonnxruntime.so"))).unwrap_err();
        assert!(matches!(error.cause(), crate::error::Cause::Input));
        assert!(error.to_string().contains("/nonexistent/libonnxruntime.so"));
    }

    #[test]
    fn the_script_fetches_the_version_looked_for() {
        let script = include_str!("../../../scripts/get-onnxruntime.sh");
        assert!(script.contains(&format!("\nversion={PINNED_VERSION}\n")));
    }

    #[test]
    fn what_ort_refuses_is_explained() {
        let old = LoadDynamicError::BadVersion {
            version_str: "1.23.2".into(),
            path: "/x".into(),
        };
        assert_eq!(
            describe(&old),
            "this is ONNX Runtime 1.23.2, and 1.24 or newer is needed"
        );
    }
}
