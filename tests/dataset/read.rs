//! What is read.

use half::{bf16, f16};
use landscape::data::{BatchMut, Dataset, InputDtype, ReadOptions};

use crate::files::*;

#[test]
fn a_data_set_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Dataset>();
}

#[test]
fn floating_point_arrays_of_every_kind_are_read() {
    for name in ["f2", "f4", "f8", "big", "fortran"] {
        let data = read(&fixture("kinds.npz"), floats(name));
        assert_eq!(all(&data), X, "{name}");
        assert_eq!(data.labels(), [2, 0, 1]);
        assert_eq!(data.sample_shape(0), [2, 2]);
    }
    let data = read(&fixture("fortran.npz"), floats("x"));
    assert_eq!(all(&data), X);
    let data = read(&fixture("kinds.safetensors"), floats("bf16"));
    assert_eq!(all(&data), X);
    assert_eq!(data.labels(), [2, 0, 1]);
}

#[test]
fn floats_become_the_type_the_graph_takes() {
    let path = fixture("kinds.npz");
    let of = |dtype| read(&path, spec("f4", dtype, &[None, None]));
    let mut out = [f16::NAN; 12];
    of(InputDtype::F16).fill(0, 0..3, BatchMut::F16(&mut out));
    assert_eq!(out, X.map(f16::from_f32));
    let mut out = [bf16::NAN; 12];
    of(InputDtype::Bf16).fill(0, 0..3, BatchMut::Bf16(&mut out));
    assert_eq!(out, X.map(bf16::from_f32));
    let mut out = [f64::NAN; 12];
    of(InputDtype::F64).fill(0, 0..3, BatchMut::F64(&mut out));
    assert_eq!(out, X.map(f64::from));
}

#[test]
fn integers_booleans_and_bytes_pass_unchanged() {
    let path = fixture("kinds.npz");
    let any = [None, None];
    for name in ["i4", "i8"] {
        let mut out = [0; 12];
        read(&path, spec(name, InputDtype::I64, &any)).fill(0, 0..3, BatchMut::I64(&mut out));
        assert_eq!(out, X.map(|value| value as i64));
        let mut out = [0; 12];
        read(&path, spec(name, InputDtype::I32, &any)).fill(0, 0..3, BatchMut::I32(&mut out));
        assert_eq!(out, X.map(|value| value as i32));
    }
    let mut out = [false; 12];
    read(&path, spec("b1", InputDtype::Bool, &any)).fill(0, 0..3, BatchMut::Bool(&mut out));
    assert_eq!(out, X.map(|value| value as i32 % 2 == 1));
    let path = fixture("images.npz");
    let mut out = [0; 12];
    // Preprocessing is for floating-point inputs only.
    let input = spec("image", InputDtype::U8, &any);
    let data = Dataset::read(&source(&path), &[input], &scaled()).unwrap();
    data.fill(0, 0..3, BatchMut::U8(&mut out));
    assert_eq!(out, X.map(|value| value as u8));
}

#[test]
fn images_are_scaled_and_floats_are_not() {
    let data = |file: &str, name| {
        Dataset::read(&source(&fixture(file)), &[floats(name)], &scaled()).unwrap()
    };
    let expected = X.map(|value| 2.0 * value - 1.0);
    assert_eq!(all(&data("images.npz", "image")), expected);
    assert_eq!(all(&data("kinds.safetensors", "u8")), expected);
    assert_eq!(all(&data("kinds.npz", "f4")), X);
}

#[test]
fn any_batch_of_samples_fills_its_buffer() {
    let data = read(&fixture("kinds.npz"), floats("f2"));
    let mut out = [0.0; 4];
    data.fill(0, 1..2, BatchMut::F32(&mut out));
    assert_eq!(out, X[4..8]);
    data.fill(0, 3..3, BatchMut::F32(&mut []));
}

#[test]
#[should_panic(expected = "the buffer fits")]
fn a_buffer_of_another_size_is_a_bug() {
    let data = read(&fixture("kinds.npz"), floats("f2"));
    data.fill(0, 0..2, BatchMut::F32(&mut [0.0; 4]));
}

#[test]
fn inputs_are_matched_by_name_and_one_input_by_x_or_inputs() {
    let one = |name: &'static str| f32s(name, "(1, 1)", &[1.0]);
    let two = f32s("pixels", "(1, 1)", &[2.0]);
    let input = || spec("pixels", InputDtype::F32, &[Some(1)]);
    for alias in ["x", "inputs"] {
        let (_folder, path) = npz(&[one(alias), labels(&[0])]);
        assert_eq!(all(&read(&path, input())), [1.0]);
        let (_folder, path) = npz(&[one(alias), two.clone(), labels(&[0])]);
        assert_eq!(all(&read(&path, input())), [2.0], "the named one wins");
    }
}

#[test]
fn several_inputs_are_read_side_by_side() {
    let inputs = [
        spec("i8", InputDtype::I64, &[None, None]),
        spec("b1", InputDtype::Bool, &[None, None]),
    ];
    let source = source(&fixture("kinds.npz"));
    let data = Dataset::read(&source, &inputs, &ReadOptions::default()).unwrap();
    let (mut ids, mut mask) = ([0; 4], [false; 4]);
    data.fill(0, 2..3, BatchMut::I64(&mut ids));
    data.fill(1, 2..3, BatchMut::Bool(&mut mask));
    assert_eq!(
        (ids, mask),
        ([200, 201, 210, 211], [false, true, false, true])
    );
}

#[test]
fn a_limit_keeps_the_same_samples_and_labels_in_every_format() {
    let options = ReadOptions {
        limit: Some(2),
        seed: 1,
        ..scaled()
    };
    for (file, name) in [
        ("kinds.npz", "f4"),
        ("kinds.npz", "big"),
        ("kinds.npz", "fortran"),
        ("fortran.npz", "x"),
        ("kinds.safetensors", "bf16"),
        ("images.npz", "image"),
    ] {
        let source = source(&fixture(file));
        let data = Dataset::read(&source, &[floats(name)], &options).unwrap();
        assert_eq!(data.labels(), [0, 1]);
        assert_eq!([data.file_index(0), data.file_index(1)], [1, 2]);
        let scale = |value: &f32| {
            if name == "image" {
                2.0 * value - 1.0
            } else {
                *value
            }
        };
        assert_eq!(
            all(&data),
            X[4..].iter().map(scale).collect::<Vec<_>>(),
            "{name}"
        );
        assert_eq!(data.info().samples, 2);
    }
}

#[test]
fn the_hash_is_that_of_the_file() {
    let (_folder, path) = npz(&[f32s("x", "(1, 1)", &[1.0]), labels(&[0])]);
    let data = read(&path, spec("x", InputDtype::F32, &[None]));
    assert_eq!(data.sha256().len(), 64);
    let data = read(&fixture("kinds.safetensors"), floats("bf16"));
    // By sha256sum.
    let expected = "9a7f8a127be29de30c16120d249ce28625d2c928e8683a7dea5e4b332cf74f8a";
    assert_eq!(data.sha256(), expected);
}

#[test]
fn labels_beyond_the_classes_are_named_by_their_place_in_the_file() {
    let (_folder, path) = npz(&[f32s("x", "(4, 1)", &[0.0; 4]), labels(&[0, 3, 10, -1])]);
    let data = read(&path, spec("x", InputDtype::F32, &[None]));
    let message = data.check_labels(10).unwrap_err().to_string();
    contains(
        &message,
        &["d.npz", "labels[2] is 10", "10 classes", "0 to 9"],
    );
    let message = data.check_labels(11).unwrap_err().to_string();
    contains(&message, &["labels[3] is -1"]);
    let data = read(&fixture("kinds.npz"), floats("f4"));
    assert!(data.check_labels(3).is_ok());
    let options = ReadOptions {
        limit: Some(2),
        seed: 1,
        ..ReadOptions::default()
    };
    let source = source(&fixture("kinds.npz"));
    let data = Dataset::read(&source, &[floats("f4")], &options).unwrap();
    let message = data.check_labels(1).unwrap_err().to_string();
    contains(&message, &["labels[2] is 1"]);
}
