//! Pickles written by hand.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use landscape::checkpoint::tensor::{Dtype, Tensor};
use tempfile::TempDir;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// The instructions of a pickle, put together.
#[derive(Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn code(mut self, code: &[u8]) -> Self {
        self.0.extend(code);
        self
    }

    pub fn repeat(self, code: &[u8], times: usize) -> Self {
        self.code(&code.repeat(times))
    }

    pub fn text(self, text: &str) -> Self {
        let len = (text.len() as u32).to_le_bytes();
        self.code(b"X").code(&len).code(text.as_bytes())
    }

    /// An integer of 64 bits.
    pub fn int(self, number: i64) -> Self {
        self.code(&[0x8a, 8]).code(&number.to_le_bytes())
    }

    pub fn ints(self, numbers: &[i64]) -> Self {
        let all = numbers
            .iter()
            .fold(self.code(b"("), |it, &number| it.int(number));
        all.code(b"t")
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.code(format!("c{module}\n{name}\n").as_bytes())
    }

    /// A tensor in the storage `0` of so many floats.
    pub fn tensor(self, len: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        self.tensor_in("0", len, offset, shape, strides)
    }

    /// A tensor in a storage of so many floats.
    fn tensor_in(self, key: &str, len: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        let storage = self
            .global("torch._utils", "_rebuild_tensor_v2")
            .code(b"((")
            .text("storage")
            .global("torch", "FloatStorage")
            .text(key)
            .text("cpu")
            .int(len)
            .code(b"tQ");
        let view = storage.int(offset).ints(shape).ints(strides);
        view.code(b"\x89N").code(b"tR")
    }

    /// The end.
    pub fn stop(self) -> Vec<u8> {
        self.code(b".").0
    }
}

/// Saves dictionaries of floats as `torch.save` does, each under its key.
pub fn save(path: &Path, dictionaries: &[(&str, &BTreeMap<String, Tensor>)]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let (mut pickle, mut stored) = (Pickle::new().code(b"}"), 0);
    for (key, tensors) in dictionaries {
        pickle = pickle.text(key).code(b"}");
        for (name, tensor) in *tensors {
            assert_eq!(tensor.dtype, Dtype::F32);
            let shape: Vec<i64> = tensor.shape.iter().map(|&axis| axis as i64).collect();
            let stride = |axis: usize| shape[axis + 1..].iter().product();
            let strides: Vec<i64> = (0..shape.len()).map(stride).collect();
            let (storage, len) = (stored.to_string(), tensor.len() as i64);
            pickle = pickle
                .text(name)
                .tensor_in(&storage, len, 0, &shape, &strides)
                .code(b"s");
            zip.start_file(format!("a/data/{storage}"), options)
                .unwrap();
            zip.write_all(&tensor.bytes).unwrap();
            stored += 1;
        }
        pickle = pickle.code(b"s");
    }
    zip.start_file("a/data.pkl", options).unwrap();
    zip.write_all(&pickle.stop()).unwrap();
    zip.finish().unwrap();
}

/// A file with this content, and the folder that it is in.
pub fn written(content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pt");
    fs::write(&path, content).unwrap();
    (folder, path)
}

/// An archive of PyTorch with this pickle and this content of its storage `0`.
pub fn archive(pickle: &[u8], storage: &[u8], compressed: bool) -> (TempDir, PathBuf) {
    let (folder, path) = written(&[]);
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let method = if compressed {
        CompressionMethod::Deflated
    } else {
        CompressionMethod::Stored
    };
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in [("a/data.pkl", pickle), ("a/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    (folder, path)
}
