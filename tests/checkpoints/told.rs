//! Files that cannot be read are told for what they are, with a cure.

use std::fs;
use std::io::Write;

use landscape::checkpoint::{Checkpoint, find};
use zip::write::SimpleFileOptions;

use super::files::{assert_holds, expected, file, refused};

#[test]
fn files_of_pytorch_without_weights() {
    for (name, words) in [
        (
            "optimizer.pt",
            "holds the state of an optimizer, but no weights",
        ),
        (
            "list.pt",
            "holds a list of 1 items, but no dictionary of named tensors",
        ),
        (
            "plain.pt",
            "holds a dictionary of 1 entries without tensors",
        ),
        ("pickled.pt", "was written by pickle.dump"),
        ("torchscript.pt", "is a TorchScript archive"),
        ("big-endian.pt", "highest byte first"),
        ("adapter.bin", "holds a LoRA adapter"),
    ] {
        let message = refused(&file(name), None);
        assert!(
            message.contains(words) && message.contains(name),
            "{message}"
        );
    }
}

#[test]
fn files_of_other_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, content, words) in [
        (
            "model.safetensors",
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"[..],
            "git lfs pull",
        ),
        ("a.bin", b"<!DOCTYPE html><html>", "web page"),
        ("b.pt", b"", "the file is empty"),
        ("c.pt", b"something else", "is no file of PyTorch"),
        ("d.dat", b"something else", "is no checkpoint"),
        ("e.ort", b"\x18\0\0\0ORTM\0\0", "ONNX Runtime's own format"),
        ("f.bin", b"GGUF\x03\0\0\0", "GGUF"),
        ("g.json", b"{}", "is no checkpoint"),
        ("h.bin.index.json", b"{}", "is no index of a checkpoint"),
        (
            "i.bin.index.json",
            b"{\"weight_map\": {}}",
            "lists no tensor",
        ),
    ] {
        fs::write(path(name), content).unwrap();
        let message = refused(&path(name), None);
        assert!(
            message.contains(words) && message.contains(name),
            "{message}"
        );
    }
    fs::write(path("tf.index"), "").unwrap();
    assert!(refused(&path("tf"), None).contains("TensorFlow"));
}

#[test]
fn archives_that_pytorch_did_not_write() {
    let folder = tempfile::tempdir().unwrap();
    for (entry, words) in [
        ("a.npy", "NumPy archive"),
        ("model.weights.h5", "Keras"),
        ("word/document.xml", "without data.pkl"),
    ] {
        let path = folder.path().join("a.pt");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        zip.start_file(entry, SimpleFileOptions::default()).unwrap();
        zip.write_all(b"content").unwrap();
        zip.finish().unwrap();
        let message = refused(&path, None);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn files_that_were_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["zip.pt", "legacy.pt", "types-legacy.pt"] {
        let whole = fs::read(file(name)).unwrap();
        let path = folder.path().join(name);
        for part in 1..20 {
            fs::write(&path, &whole[..whole.len() * part / 20]).unwrap();
            let message = refused(&path, None);
            assert!(message.contains("cut short?"), "{part}: {message}");
        }
    }
}

/// The places of the entries in the directory of an archive.
fn entries(bytes: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(4).enumerate();
    let entries = windows.filter(|(_, window)| window == b"PK\x01\x02");
    entries.map(|(at, _)| at).collect()
}

#[test]
fn a_checksum_or_a_length_that_does_not_fit_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let damaged = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let message = refused(&path, None);
        assert!(message.contains("/data/"), "{message}");
        let words = "is damaged: its bytes do not fit its length and checksum";
        assert!(message.contains(words), "{message}");
    };
    // One bit of a weight, in the middle of its bytes in the file.
    let whole = fs::read(file("zip.pt")).unwrap();
    let found = Checkpoint::open(&file("zip.pt")).unwrap();
    let held = &found.state_dict().unwrap()["body.weight"].bytes;
    let at = whole.windows(held.len()).position(|it| it == &held[..]);
    let mut bytes = whole.clone();
    bytes[at.unwrap() + held.len() / 2] ^= 1;
    damaged(&bytes);
    // A compressed part that is longer or shorter than it says.
    let deflated = fs::read(file("deflated.pt")).unwrap();
    for change in [-4_i32, 4] {
        let mut bytes = deflated.clone();
        for at in entries(&deflated) {
            let name = usize::from(bytes[at + 28]);
            if bytes[at + 46..at + 46 + name]
                .windows(6)
                .any(|it| it == b"/data/")
            {
                let len = bytes[at + 24..at + 28].first_chunk().unwrap();
                let len = u32::from_le_bytes(*len).saturating_add_signed(change);
                bytes[at + 24..at + 28].copy_from_slice(&len.to_le_bytes());
            }
        }
        assert_ne!(bytes, deflated);
        damaged(&bytes);
    }
}

#[test]
fn an_archive_that_was_written_without_checksums_is_read() {
    // `torch.serialization.set_crc32_options(False)` leaves zeros in their place.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let mut bytes = fs::read(file("zip.pt")).unwrap();
    for at in entries(&bytes.clone()) {
        bytes[at + 16..at + 20].fill(0);
    }
    fs::write(&path, bytes).unwrap();
    let found = Checkpoint::open(&path).unwrap();
    assert_holds(&found, &expected("zip.pt"));
}

#[test]
fn an_encrypted_archive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let mut bytes = fs::read(file("zip.pt")).unwrap();
    // The flag of encryption, in both headers of every entry.
    for at in 0..bytes.len() - 10 {
        match &bytes[at..at + 4] {
            b"PK\x03\x04" => bytes[at + 6] |= 1,
            b"PK\x01\x02" => bytes[at + 8] |= 1,
            _ => {}
        }
    }
    fs::write(&path, bytes).unwrap();
    let message = refused(&path, None);
    assert!(message.contains("encrypted zip archive"), "{message}");
}

#[test]
fn bare_names_find_every_kind_and_tell_which_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let message = find(&path("ft")).unwrap_err().to_string();
    assert!(message.contains("no such file or folder"), "{message}");
    assert!(
        message.contains(".onnx, .safetensors, .pt, .pth, .bin, .ckpt or .tar"),
        "{message}"
    );
    fs::create_dir(path("ft")).unwrap();
    fs::copy(file("zip.pt"), path("ft/weights.pt")).unwrap();
    let found = Checkpoint::open(&path("ft")).unwrap();
    assert_eq!(
        (found.path, found.name),
        (path("ft/weights.pt"), "ft".to_string())
    );
    for ending in ["tar", "ckpt", "bin", "pth", "pt"] {
        let file_of = path(&format!("ft.{ending}"));
        fs::copy(file("zip.pt"), &file_of).unwrap();
        assert_eq!(find(&path("ft")).unwrap().path, file_of);
    }
    let found = Checkpoint::open(&path("ft")).unwrap();
    let note = &found.notes[0];
    assert!(
        note.ends_with("ft.pt is taken; beside it there is ft.pth, ft.bin, ft.ckpt, ft.tar, ft"),
        "{note}"
    );
    assert!(Checkpoint::open(&path("ft.pth")).unwrap().notes.is_empty());
}
