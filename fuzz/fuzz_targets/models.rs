//! Reads any bytes as a list of models.

#![no_main]

use std::fs;

use landscape::experiment::candidates;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("models.csv");
    fs::write(&path, bytes).expect("a file");
    let _ = candidates::read(&path);
});
