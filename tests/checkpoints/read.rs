//! Files of PyTorch, held against what PyTorch reads from them.

use landscape::base::files::Stamp;
use landscape::checkpoint::Checkpoint;
use landscape::checkpoint::tensor::Dtype;

use super::files::{assert_holds, expected, file, refused};

#[test]
fn zip_and_legacy_files_of_all_protocols_hold_what_pytorch_reads() {
    for name in [
        "zip.pt",
        "protocol4.pt",
        "protocol5.pt",
        "legacy.pt",
        "deflated.pt",
        "types.pt",
        "types-legacy.pt",
        "uint16.pt",
        "parameters.pt",
        "views.pt",
        "views-legacy.pt",
        "module.pt",
        "module-legacy.pt",
        "payload.pt",
        "payload-build.pt",
    ] {
        let found = Checkpoint::open(&file(name)).unwrap();
        assert_holds(&found, &expected(name));
        let read: Vec<_> = found.files.iter().map(Stamp::path).collect();
        assert_eq!(read, [file(name)]);
    }
}

#[test]
fn tensors_are_slices_of_the_file_and_only_views_are_copied() {
    for name in ["views.pt", "views-legacy.pt"] {
        let found = Checkpoint::open(&file(name)).unwrap();
        let tensors = found.state_dict().unwrap();
        let start = |name: &str| tensors[name].bytes.as_ptr() as usize;
        // Floats of four bytes in one storage.
        assert_eq!(start("rows"), start("whole") + 4 * 6);
        assert_eq!(start("last"), start("whole") + 4 * 23);
        let within = start("whole")..start("whole") + 4 * 24;
        assert!(!within.contains(&start("transposed")), "{name}");
    }
}

#[test]
fn the_only_full_dictionary_is_taken_and_the_rest_is_told() {
    for name in ["lightning.ckpt", "lightning-legacy.ckpt"] {
        let found = Checkpoint::open(&file(name)).unwrap();
        assert_holds(&found, &expected(name));
        assert_eq!(found.dictionary.as_deref(), Some("state_dict"));
        let note = &found.notes[0];
        assert!(
            note.contains("the tensors of `state_dict` are taken"),
            "{note}"
        );
        assert!(
            note.contains("ModelCheckpoint{'monitor': None}`: 1 tensor"),
            "{note}"
        );
    }
    let found = Checkpoint::open(&file("training.tar")).unwrap();
    assert_holds(&found, &expected("training.tar"));
    assert_eq!(found.dictionary.as_deref(), Some("model"));
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn of_several_dictionaries_one_must_be_named() {
    let message = refused(&file("ema.pth"), None);
    for words in [
        "ema.pth: holds several dictionaries of tensors:\n",
        "\n  `state_dict`: 5 tensors, 16 values\n",
        "\n  `state_dict_ema`: 5 tensors, 16 values\n",
        "help: choose one with --weights, e.g. --weights state_dict_ema",
    ] {
        assert!(message.contains(words), "{message}");
    }
    for (name, key) in [
        ("ema.pth", "state_dict"),
        ("ema.pth", "state_dict_ema"),
        ("deep.pth", "model_ema.module"),
    ] {
        let found = Checkpoint::open_weights(&file(name), Some(key)).unwrap();
        assert_holds(&found, &expected(&format!("{name}/{key}")));
        assert_eq!(found.dictionary.as_deref(), Some(key));
    }
}

#[test]
fn a_key_that_a_file_lacks_is_told_and_a_plain_state_dict_needs_none() {
    let message = refused(&file("ema.pth"), Some("model"));
    assert!(
        message.contains("has no dictionary `model`; it has\n  `state_dict`: "),
        "{message}"
    );
    let message = refused(&file("training.tar"), Some("state_dict_ema"));
    assert!(
        message.contains("it has\n  `model`: 5 tensors"),
        "{message}"
    );
    let found = Checkpoint::open_weights(&file("zip.pt"), Some("state_dict_ema")).unwrap();
    assert_holds(&found, &expected("zip.pt"));
}

#[test]
fn types_have_their_names() {
    let found = Checkpoint::open(&file("types.pt")).unwrap();
    let tensors = found.state_dict().unwrap();
    assert_eq!(tensors["bfloat16"].dtype, Dtype::Bf16);
    assert_eq!(tensors["float16"].dtype, Dtype::F16);
    assert_eq!(tensors["bool"].dtype, Dtype::Bool);
}

#[test]
fn subclasses_and_states_are_read_and_other_kinds_are_known_by_name() {
    let found = Checkpoint::open(&file("odd.pt")).unwrap();
    let tensors = found.state_dict().unwrap();
    let kinds = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.dtype.name()));
    let expected_kinds = [
        ("complex", "complex64"),
        ("float8", "f8"),
        ("meta", "meta"),
        ("parameter", "f32"),
        ("quantized", "quantized"),
        ("sparse", "sparse"),
        ("tagged", "f32"),
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected_kinds);
    assert_eq!(tensors["quantized"].shape, [2, 3]);
    for (name, tensor) in expected("odd.pt") {
        assert_eq!(
            (tensors[&name].bytes.clone(), &tensors[&name].shape),
            (tensor.bytes, &tensor.shape)
        );
    }
}

#[test]
fn the_content_counts_not_the_ending() {
    let folder = tempfile::tempdir().unwrap();
    for (name, of) in [
        ("a.safetensors", "zip.pt"),
        ("b.onnx", "legacy.pt"),
        ("c.bin", "expected.safetensors"),
        ("d.weights", "zip.pt"),
    ] {
        let path = folder.path().join(name);
        std::fs::copy(file(of), &path).unwrap();
        let found = Checkpoint::open(&path).unwrap();
        if of == "expected.safetensors" {
            assert!(
                found
                    .state_dict()
                    .unwrap()
                    .contains_key("zip.pt/body.weight")
            );
            assert!(found.is_safetensors());
        } else {
            assert_holds(&found, &expected(of));
            assert!(!found.is_safetensors());
        }
    }
}
