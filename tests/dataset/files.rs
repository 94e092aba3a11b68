//! Data files for tests, and reading them.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use landscape::data::{BatchMut, Dataset, InputDtype, InputSpec, Preprocess, ReadOptions, Source};
use landscape::result::score::Role;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub const X: [f32; 12] = [
    0., 1., 10., 11., 100., 101., 110., 111., 200., 201., 210., 211.,
];

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

pub fn source(path: &Path) -> Source {
    Source {
        name: "test".to_string(),
        role: Role::Test,
        path: path.to_path_buf(),
    }
}

pub fn spec(name: &str, dtype: InputDtype, sample: &[Option<usize>]) -> InputSpec {
    let shape = [&[None], sample].concat();
    InputSpec {
        name: name.to_string(),
        dtype,
        shape,
    }
}

pub fn floats(name: &str) -> InputSpec {
    spec(name, InputDtype::F32, &[Some(2), None])
}

pub fn scaled() -> ReadOptions {
    ReadOptions {
        preprocess: Some(Preprocess::new(2.0, vec![1.0], vec![1.0], 1).unwrap()),
        ..ReadOptions::default()
    }
}

pub fn read(path: &Path, input: InputSpec) -> Dataset {
    Dataset::read(&source(path), &[input], &ReadOptions::default()).unwrap()
}

pub fn all(data: &Dataset) -> Vec<f32> {
    let mut out = vec![f32::NAN; data.len() * data.sample_len(0)];
    data.fill(0, 0..data.len(), BatchMut::F32(&mut out));
    out
}

/// An array to be written: name, NumPy type, shape as Python writes it, elements.
pub type Array<'a> = (&'a str, &'a str, &'a str, Vec<u8>);

pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dict.len() as u16).to_le_bytes());
    bytes.extend(dict.as_bytes());
    bytes.extend(data);
    bytes
}

pub fn zipped(method: CompressionMethod, arrays: &[Array]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, descr, shape, data) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(&npy(descr, shape, data)).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A file in a folder of its own, which lives as long as the first part.
pub fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

pub fn npz(arrays: &[Array]) -> (tempfile::TempDir, PathBuf) {
    file("d.npz", &zipped(CompressionMethod::Stored, arrays))
}

pub fn labels(values: &[i64]) -> Array<'static> {
    let shape = format!("({},)", values.len()).leak();
    let data = values.iter().flat_map(|value| value.to_le_bytes());
    ("labels", "<i8", shape, data.collect())
}

pub fn f32s(name: &'static str, shape: &'static str, values: &[f32]) -> Array<'static> {
    let data = values.iter().flat_map(|value| value.to_le_bytes());
    (name, "<f4", shape, data.collect())
}

pub fn contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}
