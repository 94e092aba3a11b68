//! Reads any bytes as a checkpoint: a pickle, an archive, safetensors or ONNX, told by the content.

#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use landscape::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fn file() -> PathBuf {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        folder.path().join("f.pt")
    })
}

fuzz_target!(|bytes: &[u8]| {
    let path = file();
    fs::write(&path, bytes).expect("a file");
    if let Ok(found) = Checkpoint::open(&path) {
        for (name, tensor) in found.state_dict().into_iter().flatten() {
            if tensor.dtype.is_float() {
                let size = tensor.dtype.size().unwrap_or(0);
                assert_eq!(tensor.bytes.len(), tensor.len() * size, "{name}");
            }
        }
    }
});
