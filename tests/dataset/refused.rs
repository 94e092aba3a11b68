//! What is refused, and what the message says.

use std::path::Path;

use landscape::data::{Dataset, InputDtype, InputSpec, Preprocess, ReadOptions};
use zip::CompressionMethod;

use crate::files::*;

/// The message for a file that cannot be used; every one is an input error naming the file.
fn refused_with(path: &Path, input: InputSpec, options: &ReadOptions) -> String {
    let error = Dataset::read(&source(path), &[input], options).unwrap_err();
    assert_eq!(error.exit_status(), 2);
    let message = error.to_string();
    let start = path.display().to_string();
    assert!(message.starts_with(&start), "{message}");
    message
}

fn refused(path: &Path, input: InputSpec) -> String {
    refused_with(path, input, &ReadOptions::default())
}

#[test]
fn files_that_are_not_there_or_of_no_known_kind() {
    let message = refused(Path::new("none.npz"), floats("x"));
    contains(&message, &["none.npz: there is no such file"]);
    let folder = tempfile::tempdir().unwrap();
    contains(&refused(folder.path(), floats("x")), &["is a folder"]);
    let (_folder, path) = file("d.csv", b"1,2");
    contains(
        &refused(&path, floats("x")),
        &["d.csv", ".npz or .safetensors"],
    );
}

#[test]
fn files_that_are_not_what_their_name_says() {
    for content in [&b""[..], b"\x93NUMPY", b"hello, this is text"] {
        let (_folder, path) = file("d.npz", content);
        contains(&refused(&path, floats("x")), &["not a zip archive"]);
        let (_folder, path) = file("d.safetensors", content);
        contains(
            &refused(&path, floats("x")),
            &["no readable .safetensors file"],
        );
    }
}

#[test]
fn truncated_files() {
    for name in ["images.npz", "kinds.npz", "kinds.safetensors"] {
        let content = std::fs::read(fixture(name)).unwrap();
        for cut in [1, content.len() / 2, content.len() - 20] {
            let (_folder, path) = file(name, &content[..content.len() - cut]);
            contains(&refused(&path, floats("f4")), &["cut off"]);
        }
    }
}

#[test]
fn no_flipped_bit_goes_unseen_in_the_arrays_used_of_an_npz() {
    let arrays = [f32s("x", "(2, 2)", &[1.0, 2.0, 3.0, 4.0]), labels(&[0, 1])];
    let input = || spec("x", InputDtype::F32, &[Some(2)]);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let content = zipped(method, &arrays);
        for position in 0..content.len() {
            let mut damaged = content.clone();
            damaged[position] ^= 1 << (position % 8);
            let (_folder, path) = file("d.npz", &damaged);
            let read = Dataset::read(&source(&path), &[input()], &ReadOptions::default());
            // Some bits say nothing of the content: dates, versions, attributes.
            if let Ok(data) = read {
                assert_eq!(all(&data), [1.0, 2.0, 3.0, 4.0], "bit in byte {position}");
                assert_eq!(data.labels(), [0, 1]);
            }
        }
    }
    let mut content = zipped(CompressionMethod::Stored, &arrays);
    let element = 2.0_f32.to_le_bytes();
    let position = content
        .windows(4)
        .position(|bytes| bytes == element)
        .unwrap();
    content[position] ^= 1;
    let (_folder, path) = file("d.npz", &content);
    contains(
        &refused(&path, input()),
        &["`x` cannot be read", "checksum"],
    );
}

#[test]
fn flipped_bits_in_a_safetensors_file_never_panic() {
    let content = std::fs::read(fixture("kinds.safetensors")).unwrap();
    for position in 0..content.len() {
        let mut damaged = content.clone();
        damaged[position] ^= 1 << (position % 8);
        let (_folder, path) = file("d.safetensors", &damaged);
        let _ = Dataset::read(&source(&path), &[floats("bf16")], &ReadOptions::default());
    }
    let mut damaged = content.clone();
    damaged[20] ^= 0x80;
    let (_folder, path) = file("d.safetensors", &damaged);
    contains(
        &refused(&path, floats("bf16")),
        &["no readable .safetensors file"],
    );
}

#[test]
fn labels_that_are_missing_or_of_the_wrong_kind() {
    let x = || f32s("x", "(2, 1)", &[1.0, 2.0]);
    let input = || spec("x", InputDtype::F32, &[None]);
    let (_folder, path) = npz(&[x()]);
    contains(
        &refused(&path, input()),
        &["no array `labels`", "`x` (f32 [2, 1])"],
    );
    let (_folder, path) = npz(&[x(), f32s("labels", "(2,)", &[0.0, 1.0])]);
    contains(
        &refused(&path, input()),
        &["`labels` is f32 [2]", "expected integers"],
    );
    let (_folder, path) = npz(&[x(), ("labels", "|b1", "(2,)", vec![0, 1])]);
    contains(
        &refused(&path, input()),
        &["`labels` is bool [2]", "expected integers"],
    );
    let (_folder, path) = npz(&[x(), ("labels", "|u1", "(2, 1)", vec![0, 1])]);
    contains(
        &refused(&path, input()),
        &["`labels` is u8 [2, 1]", "shape [n]"],
    );
    let (_folder, path) = npz(&[x(), ("labels", "<u8", "(2,)", vec![255; 16])]);
    contains(
        &refused(&path, input()),
        &["`labels`", "beyond the range of i64"],
    );
    let (_folder, path) = npz(&[x(), labels(&[0, 1, 2])]);
    contains(&refused(&path, input()), &["2 samples", "`labels` has 3"]);
    let (_folder, path) = npz(&[f32s("x", "(0, 1)", &[]), labels(&[])]);
    contains(&refused(&path, input()), &["holds no sample"]);
}

#[test]
fn inputs_that_are_missing_list_what_is_there() {
    let message = refused(&fixture("images.npz"), floats("pixels"));
    contains(
        &message,
        &[
            "no array for the graph's input `pixels`",
            "`image` (u8 [3, 2, 2])",
            "`names` (text (<U2) [3])",
            "`meta` (Python objects [2])",
        ],
    );
}

#[test]
fn types_that_do_not_convert() {
    let path = fixture("images.npz");
    let message = refused(&path, spec("meta", InputDtype::F32, &[]));
    contains(&message, &["`meta` is Python objects [2]", "takes f32 [n]"]);
    let message = refused(&path, spec("names", InputDtype::I64, &[]));
    contains(&message, &["`names` is text (<U2) [3]"]);
    let path = fixture("kinds.npz");
    let any = [None, Some(2)];
    let message = refused(&path, spec("i8", InputDtype::F32, &any));
    contains(&message, &["`i8` is i64 [3, 2, 2]", "takes f32 [n, ?, 2]"]);
    let message = refused(&path, spec("f4", InputDtype::I64, &any));
    contains(&message, &["`f4` is f32", "takes i64"]);
    let message = refused(&path, spec("i4", InputDtype::U8, &any));
    contains(&message, &["`i4` is i32", "takes u8"]);
}

#[test]
fn integers_that_do_not_fit() {
    let ids = |value: i64| {
        (
            "x",
            "<i8",
            "(2, 1)",
            [1, value].map(i64::to_le_bytes).concat(),
        )
    };
    let (_folder, path) = npz(&[ids(1 << 31), labels(&[0, 1])]);
    let message = refused(&path, spec("x", InputDtype::I32, &[None]));
    contains(&message, &["`x` holds in sample 1", "range of the i32"]);
    let (_folder, path) = npz(&[("x", "<u8", "(1, 1)", vec![255; 8]), labels(&[0])]);
    for dtype in [InputDtype::I32, InputDtype::I64] {
        let message = refused(&path, spec("x", dtype, &[None]));
        contains(&message, &["`x` holds in sample 0", dtype.name()]);
    }
}

#[test]
fn shapes_that_do_not_fit() {
    let path = fixture("kinds.npz");
    let message = refused(
        &path,
        spec("f4", InputDtype::F32, &[Some(1), Some(2), Some(2)]),
    );
    contains(
        &message,
        &["`f4` is f32 [3, 2, 2]", "`f4` takes f32 [n, 1, 2, 2]"],
    );
    let message = refused(&path, spec("f4", InputDtype::F32, &[Some(2), Some(3)]));
    contains(&message, &["takes f32 [n, 2, 3]"]);
    let (_folder, path) = npz(&[f32s("x", "(1, 0)", &[]), labels(&[0])]);
    let message = refused(&path, spec("x", InputDtype::F32, &[None]));
    contains(&message, &["a sample has no element"]);
    let (_folder, path) = npz(&[f32s("x", "()", &[1.0]), labels(&[0])]);
    let message = refused(&path, spec("x", InputDtype::F32, &[]));
    contains(&message, &["`x` is f32 []", "takes f32 [n]"]);
}

#[test]
fn images_without_preprocessing() {
    let message = refused(&fixture("images.npz"), floats("image"));
    contains(
        &message,
        &["`image` is u8", "[preprocess]", "scale", "mean", "std"],
    );
    let options = ReadOptions {
        preprocess: Some(Preprocess::new(1.0, vec![0.0; 3], vec![1.0], 1).unwrap()),
        ..ReadOptions::default()
    };
    let message = refused_with(&fixture("images.npz"), floats("image"), &options);
    contains(&message, &["2 channels along axis 1", "[preprocess] has 3"]);
}

#[test]
fn sizes_that_are_not_true_are_seen_before_memory_is_taken() {
    let input = || spec("x", InputDtype::F32, &[None]);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let refused = |shape: &'static str| {
            let arrays = [f32s("x", shape, &[1.0]), labels(&[0])];
            let (_folder, path) = file("d.npz", &zipped(method, &arrays));
            refused(&path, input())
        };
        contains(
            &refused("(1, 1000000000000)"),
            &["4000000000000 bytes, but 4 bytes"],
        );
        contains(
            &refused("(1, 9223372036854775807)"),
            &["more than can be addressed"],
        );
    }
    // A member whose size is false in the archive's directory too.
    let arrays = [f32s("x", "(1, 1000000)", &[1.0; 100]), labels(&[0])];
    let header = npy("<f4", "(1, 1000000)", &[]).len() as u32;
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let mut content = zipped(method, &arrays);
        let (true_size, false_size) = (header + 400, header + 4_000_000);
        let positions = content.windows(4).enumerate();
        let positions = positions.filter(|(_, bytes)| *bytes == true_size.to_le_bytes());
        // In a stored member the compressed size, which stands first, stays true.
        let step = if method == CompressionMethod::Stored {
            2
        } else {
            1
        };
        let positions: Vec<_> = positions
            .map(|at| at.0)
            .skip(step - 1)
            .step_by(step)
            .collect();
        for position in positions {
            content[position..position + 4].copy_from_slice(&false_size.to_le_bytes());
        }
        let (_folder, path) = file("d.npz", &content);
        let message = refused(&path, input());
        contains(&message, &["declares 4000000 bytes", "cannot hold"]);
    }
}

#[test]
fn arrays_that_could_only_be_guessed_at() {
    let one = |name: &'static str| f32s(name, "(1, 1)", &[1.0]);
    let input = || spec("pixels", InputDtype::F32, &[Some(1)]);
    let (_folder, path) = npz(&[one("x"), one("inputs"), labels(&[0])]);
    contains(
        &refused(&path, input()),
        &["both `x` and `inputs`", "`pixels`"],
    );
    let (_folder, path) = npz(&[one("x"), labels(&[0])]);
    let inputs = [input(), spec("mask", InputDtype::F32, &[Some(1)])];
    let error = Dataset::read(&source(&path), &inputs, &ReadOptions::default());
    contains(
        &error.unwrap_err().to_string(),
        &["no array for the graph's input `pixels`"],
    );
}
