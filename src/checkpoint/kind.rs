//! What a file is, told by its first bytes: endings are often wrong.

use std::path::Path;

use crate::base::download;
use crate::error::Error;

/// A kind of file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ONNX network.
    Onnx,
    /// A `.safetensors` state dict.
    Safetensors,
    /// A file of `torch.save`.
    PyTorch,
}

/// Beginnings of files of other programs: bytes, where they stand, what they are, and the cure.
const OTHERS: [(&[u8], usize, &str, &str); 8] = [
    (
        b"GGUF",
        0,
        "is a GGUF file, usually of quantized weights, which cannot be averaged",
        "name the checkpoint that it was converted from",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        0,
        "is an HDF5 file (Keras, TensorFlow)",
        "save the weights with safetensors",
    ),
    (
        b"\x93NUMPY",
        0,
        "is a NumPy array",
        "save the weights with safetensors.numpy.save_file({\"NAME\": array}, \"weights.safetensors\")",
    ),
    (
        b"ORTM",
        4,
        "is a model in ONNX Runtime's own format (.ort)",
        "name the .onnx file that it was converted from",
    ),
    (
        b"\x1f\x8b",
        0,
        "is compressed with gzip",
        "unpack it first: gunzip, or tar -xzf",
    ),
    (
        b"\xfd7zXZ\0",
        0,
        "is compressed with xz",
        "unpack it first: unxz, or tar -xJf",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        0,
        "is a 7-Zip archive",
        "unpack it first",
    ),
    (
        b"ustar",
        257,
        "is a tar archive: PyTorch wrote such files before version 0.1.10, and other programs do",
        "unpack it first (tar -xf); for a file of PyTorch: torch.save(torch.load(\"FILE\"), \"new.pt\")",
    ),
];

/// The kind of a file by its content; `None` if the content does not tell.
///
/// # Errors
/// When it is a file of another program, a failed download, or a pointer to the file.
pub fn of(path: &Path, bytes: &[u8]) -> Result<Option<Kind>, Error> {
    download::refuse_failed(path, bytes)?;
    refuse_other(path, bytes)?;
    Ok(if is_safetensors(bytes) {
        Some(Kind::Safetensors)
    } else if super::pytorch::is_pytorch(bytes) {
        Some(Kind::PyTorch)
    } else if let [0x08, 1..=0x20, ..] = bytes {
        // The version of the format comes first.
        Some(Kind::Onnx)
    } else {
        None
    })
}

/// Refuses files of other programs, by their first bytes.
fn refuse_other(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    for (beginning, at, what, cure) in OTHERS {
        if bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(beginning))
        {
            return Err(Error::input(path, what).help(cure));
        }
    }
    Ok(())
}

/// Whether a file begins with the length of a header and the header's brace.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        return false;
    };
    // Ours may be cut short; a header is never longer than this.
    rest.first() == Some(&b'{') && u64::from_le_bytes(*len) < 1 << 30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        let kind = |bytes: &[u8]| of(Path::new("f"), bytes).unwrap();
        assert_eq!(
            kind(b"\x10\0\0\0\0\0\0\0{\"a\":1}"),
            Some(Kind::Safetensors)
        );
        assert_eq!(kind(b"PK\x03\x04"), Some(Kind::PyTorch));
        assert_eq!(kind(b"\x80\x02}q\0."), Some(Kind::PyTorch));
        assert_eq!(kind(b"\x08\x0a\x12\x07pytorch"), Some(Kind::Onnx));
        assert_eq!(kind(b""), None);
        assert_eq!(kind(b"\x80"), None);
        assert_eq!(kind(b"\x80\x09"), None);
    }

    #[test]
    fn files_of_others_are_told_for_what_they_are() {
        let mut tar = vec![b'a'; 257];
        tar.extend(b"ustar");
        for (bytes, words) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:"[..],
                "Git LFS",
            ),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
            (b"\x93NUMPY\x01", "NumPy"),
            (b"\x18\0\0\0ORTM", ".ort"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"  \n<!DOCTYPE html>", "web page"),
            (b"<HTML>", "web page"),
            (&tar, "tar archive"),
        ] {
            let message = of(Path::new("f"), bytes).unwrap_err().to_string();
            assert!(message.starts_with("f: is "), "{message}");
            assert!(
                message.contains(words) && message.contains("help: "),
                "{message}"
            );
        }
    }
}
