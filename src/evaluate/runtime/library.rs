//! Examines one shared library: its file name, whether it is ONNX Runtime, and its version.

use std::error::Error as _;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// The reason for refusing a library without ONNX Runtime's entry point.
pub const NOT_ONNX_RUNTIME: &str = "not ONNX Runtime: it does not export OrtGetApiBase";

/// The name that the system's loader is asked for, and the one used in messages.
pub const FILE_NAME: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// The names that the system's loader is asked for. Distributions include the link without a
/// version only in their development packages.
pub const LOADER_NAMES: &[&str] = if cfg!(any(windows, target_os = "macos")) {
    &[FILE_NAME]
} else {
    &[FILE_NAME, "libonnxruntime.so.1"]
};

/// The oldest version that works, such as `1.24`; set by `ort`'s `api-…` feature.
pub fn oldest_version() -> String {
    format!("1.{}", ort::MINOR_VERSION)
}

/// The reason for refusing a library of `version`.
pub fn too_old(version: &str) -> String {
    format!(
        "this is ONNX Runtime {version}, and {} or newer is needed",
        oldest_version()
    )
}

/// The version numbers in a library's file name; `None` for any other file.
///
/// `libonnxruntime.so` gives `[]`, `libonnxruntime.so.1.32.0` gives `[1, 32, 0]`;
/// `libonnxruntime_providers_shared.so` is another library.
fn version_in_name(name: &str) -> Option<Vec<u32>> {
    let middle = if cfg!(windows) {
        return (name.eq_ignore_ascii_case(FILE_NAME)).then(Vec::new);
    } else if cfg!(target_os = "macos") {
        name.strip_prefix("libonnxruntime")?
            .strip_suffix(".dylib")?
    } else {
        name.strip_prefix("libonnxruntime.so")?
    };
    if middle.is_empty() {
        return Some(Vec::new());
    }
    let numbers = middle.strip_prefix('.')?.split('.');
    numbers.map(|number| number.parse().ok()).collect()
}

/// The ONNX Runtime library in `folder`: the one without a version in its name (whoever filled the
/// folder meant that one), otherwise the newest.
///
/// # Errors
/// Fails with the message that there is no such folder, or no library in it.
pub fn in_folder(folder: &Path) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such folder".to_string(),
        std::io::ErrorKind::NotADirectory => "this is not a folder".to_string(),
        _ => format!("cannot be read: {error}"),
    })?;
    entries
        .filter_map(Result::ok)
        // Opening a FIFO would block the loader.
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| Some((version_in_name(entry.file_name().to_str()?)?, entry.path())))
        .max_by_key(|(version, _)| (version.is_empty(), version.clone()))
        .map(|(_, path)| path)
        .ok_or_else(|| format!("no {FILE_NAME} in it"))
}

/// Loads the library at `path`, reads its version, and unloads it again.
///
/// `ort` does the same checks, but it keeps the first library that passes for the whole process and
/// then accepts every other path, so it cannot be used to try candidates. It also panics if a
/// library has the entry point and nothing behind it.
///
/// # Errors
/// Fails with the reason why the library cannot be used, without its path.
pub fn probe(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initializers; the user named this place, or it is one
    // where ONNX Runtime is installed.
    let library =
        unsafe { libloading::Library::new(path) }.map_err(|error| loader_reason(&error, path))?;
    type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: ONNX Runtime's C API declares this symbol with this type.
    let base = unsafe { library.get::<GetApiBase>(b"OrtGetApiBase") }
        .map(|get| unsafe { get() })
        .map_err(|_| NOT_ONNX_RUNTIME.to_string())?;
    // SAFETY: OrtGetApiBase gives null or a table that lives as long as the library.
    let base =
        unsafe { base.as_ref() }.ok_or("it offers no API at all (OrtGetApiBase gives null)")?;
    // SAFETY: the table's functions may be called while the library is loaded; the version is a
    // NUL-terminated constant.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) };
    let version = version.to_string_lossy().into_owned();
    if !new_enough(&version) {
        return Err(too_old(&version));
    }
    // SAFETY: as above.
    if unsafe { (base.GetApi)(ort::sys::ORT_API_VERSION) }.is_null() {
        return Err(format!(
            "it calls itself {version}, but lacks that version's API"
        ));
    }
    Ok(version)
}

/// Whether a library that calls itself `version` (`1.32.0`, `1.25.0.dev2026`) can be used.
fn new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let major = numbers.next().flatten();
    let minor = numbers.next().flatten();
    major == Some(1) && minor.is_some_and(|minor| minor >= ort::MINOR_VERSION)
}

/// The system loader's reason for refusing `path`, without the path.
pub fn loader_reason(error: &libloading::Error, path: &Path) -> String {
    let reason = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    let subject = format!("{}: ", path.display());
    let reason = reason.strip_prefix(&subject).unwrap_or(&reason);
    format!("cannot be loaded: {reason}")
}

/// The file of a loaded library. The system's loader takes a bare name and does not say where it
/// found it, but on Linux the kernel does.
pub fn mapped_file(name: &Path) -> PathBuf {
    if name.is_absolute() {
        return name.to_path_buf();
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let file = maps
        .lines()
        .filter_map(|line| Some(Path::new(&line[line.find('/')?..])))
        .find(|file| {
            file.file_name()
                .and_then(|n| version_in_name(n.to_str()?))
                .is_some()
        });
    file.unwrap_or(name).to_path_buf()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn only_onnx_runtime_itself_has_its_name() {
        assert_eq!(version_in_name("libonnxruntime.so"), Some(vec![]));
        assert_eq!(
            version_in_name("libonnxruntime.so.1.32.0"),
            Some(vec![1, 32, 0])
        );
        for other in [
            "libonnxruntime_providers_shared.so",
            "libonnxruntime.so.bak",
            "libonnxruntime.a",
            "onnxruntime.dll",
        ] {
            assert_eq!(version_in_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_folder_gives_its_newest_library_by_number_not_by_letter() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["so.1.9.0", "so.1.32.0", "so.1.4.0"] {
            std::fs::write(folder.path().join(format!("libonnxruntime.{name}")), "").unwrap();
        }
        let newest = in_folder(folder.path()).unwrap();
        assert_eq!(newest.file_name().unwrap(), "libonnxruntime.so.1.32.0");
        std::fs::write(folder.path().join("libonnxruntime.so"), "").unwrap();
        let meant = in_folder(folder.path()).unwrap();
        assert_eq!(meant.file_name().unwrap(), "libonnxruntime.so");
    }

    #[test]
    fn an_empty_or_missing_folder_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            in_folder(folder.path()).unwrap_err(),
            "no libonnxruntime.so in it"
        );
        let missing = folder.path().join("none");
        assert_eq!(in_folder(&missing).unwrap_err(), "there is no such folder");
    }

    #[test]
    fn another_library_is_not_onnx_runtime() {
        assert_eq!(probe(Path::new("libm.so.6")).unwrap_err(), NOT_ONNX_RUNTIME);
    }

    #[test]
    fn a_text_file_is_not_a_library() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        std::fs::write(
            &file,
            "this is plain text, long enough to hold an ELF header: ".repeat(4),
        )
        .unwrap();
        let reason = probe(&file).unwrap_err();
        assert!(reason.starts_with("cannot be loaded: "), "{reason}");
        assert!(!reason.contains(&*file.to_string_lossy()), "{reason}");
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(new_enough("1.24.0"));
        assert!(new_enough("1.100.0"));
        assert!(new_enough("1.25.0.dev20260417"));
        assert!(!new_enough("1.23.2"));
        assert!(!new_enough("1.9.0"));
        assert!(!new_enough("nonsense"));
    }
}
