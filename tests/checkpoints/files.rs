//! The files that PyTorch wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landscape::checkpoint::tensor::Tensor;
use landscape::checkpoint::{Checkpoint, safetensors};

/// The folder of the files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/checkpoints")
}

/// A file that PyTorch wrote.
pub fn file(name: &str) -> PathBuf {
    folder().join(name)
}

/// What PyTorch reads from a file, by the tensors' names.
pub fn expected(file: &str) -> BTreeMap<String, Tensor> {
    let all = safetensors::read(&folder().join("expected.safetensors")).unwrap();
    let of = all.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(file)?.strip_prefix('/')?;
        Some((name.to_string(), tensor))
    });
    of.collect()
}

/// Checks that a checkpoint holds exactly these tensors.
pub fn assert_holds(found: &Checkpoint, expected: &BTreeMap<String, Tensor>) {
    let tensors = found.state_dict().unwrap();
    let names = |of: &BTreeMap<String, Tensor>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(tensors), names(expected), "{}", found.path.display());
    for (name, tensor) in tensors {
        let of = &expected[name];
        let told = format!("{}: {name}", found.path.display());
        assert_eq!(tensor.dtype, of.dtype, "{told}");
        assert_eq!(tensor.shape, of.shape, "{told}");
        assert_eq!(tensor.bytes, of.bytes, "{told}");
    }
    assert!(!expected.is_empty());
}

/// The message that a file cannot be read with.
pub fn refused(path: &Path, key: Option<&str>) -> String {
    Checkpoint::open_weights(path, key).unwrap_err().to_string()
}
