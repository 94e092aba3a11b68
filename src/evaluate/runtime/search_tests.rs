use super::super::places::named_library;
use super::*;
use crate::error::Cause;

fn sources(places: &[Place]) -> Vec<Source> {
    places.iter().map(|place| place.source).collect()
}

fn everything(root: &Path) -> Surroundings {
    Surroundings {
        ort_dylib_path: None,
        executable_folder: Some(root.join("bin")),
        cached_runtime: Some(root.join("cache")),
        virtual_env: Some(root.join("venv")),
        conda_prefix: Some(root.join("conda")),
    }
}

/// Creates an empty file in place of a library.
fn put(file: &Path) -> PathBuf {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, "").unwrap();
    file.to_path_buf()
}

fn works(_: &Path) -> Result<String, String> {
    Ok("1.32.0".to_string())
}

fn fails(_: &Path) -> Result<String, String> {
    Err("cannot be loaded: broken".to_string())
}

#[test]
fn places_come_in_the_promised_order() {
    let around = everything(Path::new("/r"));
    use Source::{Cache, Conda, Executable, System, VirtualEnv};
    let expected = [Executable, Cache, VirtualEnv, Conda, System, System];
    assert_eq!(sources(&places(None, &around)), expected);
}

#[test]
fn the_flag_beats_the_variable_and_each_is_the_only_place() {
    let mut around = everything(Path::new("/r"));
    around.ort_dylib_path = Some("/variable".into());
    assert_eq!(
        sources(&places(None, &around)),
        [Source::EnvironmentVariable]
    );
    let with_flag = places(Some(Path::new("/flag")), &around);
    assert_eq!(sources(&with_flag), [Source::Flag]);
}

#[test]
fn python3_is_asked_only_where_no_environment_is_active() {
    let mut around = everything(Path::new("/r"));
    around.virtual_env = None;
    assert!(!sources(&places(None, &around)).contains(&Source::Python));
    around.conda_prefix = None;
    assert!(sources(&places(None, &around)).contains(&Source::Python));
}

#[test]
fn the_first_place_that_works_wins_and_the_rest_is_not_touched() {
    let root = tempfile::tempdir().unwrap();
    let cached = put(&root.path().join("cache/libonnxruntime.so.1.32.0"));
    put(&root
        .path()
        .join("venv/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.31.0"));
    let search = Search::among(&places(None, &everything(root.path())), works);
    let outcomes: Vec<_> = search.steps().iter().map(|step| &step.outcome).collect();
    assert!(matches!(outcomes[0], Outcome::Fails(_)), "{search:?}");
    assert!(matches!(outcomes[1], Outcome::Works(_)), "{search:?}");
    assert!(
        outcomes[2..].iter().all(|o| **o == Outcome::NotNeeded),
        "{search:?}"
    );
    let found = search.into_found().unwrap();
    assert_eq!((found.source, found.path), (Source::Cache, cached));
}

#[test]
fn a_library_that_fails_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let cached = put(&root.path().join("cache/libonnxruntime.so.1.32.0"));
    let package = "conda/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.31.0";
    let conda = put(&root.path().join(package));
    let probe = |path: &Path| {
        if path == cached {
            fails(path)
        } else {
            works(path)
        }
    };
    let search = Search::among(&places(None, &everything(root.path())), probe);
    let found = search.into_found().unwrap();
    assert_eq!((found.source, found.path), (Source::Conda, conda));
}

#[test]
fn a_named_place_may_be_a_file_a_folder_or_a_release() {
    let root = tempfile::tempdir().unwrap();
    let file = put(&root.path().join("release/lib/libonnxruntime.so.1.32.0"));
    for named in [
        file.clone(),
        root.path().join("release/lib"),
        root.path().join("release"),
    ] {
        assert_eq!(named_library(&named), Ok(file.clone()));
    }
}

#[test]
fn a_named_place_that_fails_is_an_error_at_once() {
    let root = tempfile::tempdir().unwrap();
    put(&root.path().join("cache/libonnxruntime.so.1.32.0"));
    let mut around = everything(root.path());
    let missing = root.path().join("none/libonnxruntime.so");
    around.ort_dylib_path = Some(missing.clone());
    let error = Search::among(&places(None, &around), works)
        .into_found()
        .unwrap_err();
    assert!(matches!(error.cause(), Cause::Input));
    let message = error.to_string();
    let start = format!(
        "ORT_DYLIB_PATH: {}: there is no such file or folder",
        missing.display()
    );
    assert!(message.starts_with(&start), "{message}");
}

#[test]
fn a_named_library_of_another_kind_is_an_error() {
    for flag in ["/etc/passwd", "/nonexistent", "/etc"] {
        let search = Search::new(Some(Path::new(flag)), &Surroundings::default());
        let error = search.into_found().unwrap_err();
        assert!(matches!(error.cause(), Cause::Input));
        assert!(
            error
                .to_string()
                .starts_with(&format!("--onnxruntime: {flag}: ")),
            "{error}"
        );
    }
}

#[test]
fn nothing_found_names_every_place_and_the_remedy() {
    let root = tempfile::tempdir().unwrap();
    put(&root.path().join("bin/libonnxruntime.so"));
    let too_old = |_: &Path| Err(library::too_old("1.23.2"));
    let search = Search::among(&places(None, &everything(root.path())), too_old);
    let error = search.into_found().unwrap_err();
    assert!(matches!(error.cause(), Cause::Runtime));
    let message = error.to_string();
    let shown = message.replace(&*root.path().to_string_lossy(), "");
    assert_eq!(
        shown,
        "ONNX Runtime: no usable library (version 1.24 or newer) was found:
  beside the program    /bin/libonnxruntime.so: this is ONNX Runtime 1.23.2, and 1.24 or newer is needed
  cache folder          /cache: there is no such folder
  Python, VIRTUAL_ENV   /venv: no onnxruntime package in it
  Python, CONDA_PREFIX  /conda: no onnxruntime package in it
  system's loader       libonnxruntime.so: this is ONNX Runtime 1.23.2, and 1.24 or newer is needed
  system's loader       libonnxruntime.so.1: this is ONNX Runtime 1.23.2, and 1.24 or newer is needed
  help: run `make runtime` in landscape's folder, or `pip install --upgrade onnxruntime` in the active Python environment"
    );
}
