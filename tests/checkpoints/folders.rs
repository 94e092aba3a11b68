//! Folders, indexes and their files, and the state dict beside a network.

use std::fs;
use std::path::Path;

use landscape::base::files::Stamp;
use landscape::checkpoint::{Checkpoint, network_in, state_dict_beside};
use tempfile::TempDir;

use super::files::{assert_holds, expected, file, refused};

const INDEX: &str = "pytorch_model.bin.index.json";
const FIRST: &str = "pytorch_model-00001-of-00002.bin";
const SECOND: &str = "pytorch_model-00002-of-00002.bin";

/// A copy of the checkpoint in two files.
fn sharded() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in [INDEX, FIRST, SECOND] {
        fs::copy(file("sharded").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn copy(of: &str, to: &Path) {
    fs::copy(file(of), to).unwrap();
}

#[test]
fn an_index_and_its_folder_are_the_whole_checkpoint() {
    let folder = file("sharded");
    for given in [folder.clone(), folder.join(INDEX)] {
        let found = Checkpoint::open(&given).unwrap();
        assert_holds(&found, &expected("sharded"));
        let files = [INDEX, FIRST, SECOND].map(|name| folder.join(name));
        let read: Vec<_> = found.files.iter().map(Stamp::path).collect();
        assert_eq!(read, files);
        assert!(found.notes.is_empty() && !found.is_safetensors());
    }
    let names = [folder.clone(), folder.join(INDEX)];
    let names = names.map(|path| Checkpoint::open(&path).unwrap().name);
    assert_eq!(names, ["sharded", "pytorch_model"]);
}

#[test]
fn one_part_alone_is_told_with_its_index() {
    let folder = sharded();
    let message = refused(&folder.path().join(SECOND), None);
    assert!(
        message.contains("is part 2 of the 2 files of one checkpoint"),
        "{message}"
    );
    assert!(message.contains(&format!(
        "name the index of all: {}",
        folder.path().join(INDEX).display()
    )));
    fs::remove_file(folder.path().join(INDEX)).unwrap();
    let message = refused(&folder.path().join(FIRST), None);
    assert!(
        message.contains(&format!("there is no {INDEX} beside it")),
        "{message}"
    );
    // The only one of one file is whole.
    let whole = folder.path().join("model-00001-of-00001.bin");
    copy("zip.pt", &whole);
    assert_holds(&Checkpoint::open(&whole).unwrap(), &expected("zip.pt"));
}

#[test]
fn missing_and_stale_files_and_tensors_are_told() {
    let folder = sharded();
    let path = |name: &str| folder.path().join(name);
    copy("zip.pt", &path("pytorch_model-00003-of-00003.bin"));
    let found = Checkpoint::open(folder.path()).unwrap();
    let note = &found.notes[0];
    assert!(
        note.contains("of another save") && note.contains("00003-of-00003"),
        "{note}"
    );
    assert_eq!(found.files.len(), 3);
    // More than the index lists.
    copy("zip.pt", &path(SECOND));
    let found = Checkpoint::open(folder.path()).unwrap();
    assert_holds(&found, &expected("sharded"));
    let note = &found.notes[1];
    assert!(
        note.contains("does not list some of its tensors") && note.contains("`body.weight`"),
        "{note}"
    );
    // Less than it lists.
    fs::copy(path(FIRST), path(SECOND)).unwrap();
    let message = refused(folder.path(), None);
    assert!(
        message.contains("lacks tensors") && message.contains("`body.bias`"),
        "{message}"
    );
    fs::remove_file(path(SECOND)).unwrap();
    let message = refused(folder.path(), None);
    assert!(
        message.contains("not beside it: `pytorch_model-00002"),
        "{message}"
    );
    let outside = fs::read_to_string(path(INDEX))
        .unwrap()
        .replace(SECOND, "../x.bin");
    fs::write(path(INDEX), outside).unwrap();
    let message = refused(folder.path(), None);
    assert!(
        message.contains("names the file `../x.bin`") && message.contains("refused"),
        "{message}"
    );
}

/// An index of two files, and what it names in each.
fn indexed(folder: &Path, parts: [(&str, &str); 2]) {
    let mut map = serde_json::Map::new();
    for ((of, name), half) in parts.into_iter().zip([0, 1]) {
        copy(of, &folder.join(name));
        let tensors = expected(of);
        let own = tensors.keys().enumerate().filter(|(k, _)| k % 2 == half);
        map.extend(own.map(|(_, tensor)| (tensor.clone(), name.into())));
    }
    let index = serde_json::json!({ "weight_map": map });
    fs::write(folder.join(INDEX), index.to_string()).unwrap();
}

#[test]
fn the_dictionary_of_the_parts_is_that_of_the_whole_and_their_notes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Checkpoint::open(&file("lightning.ckpt")).unwrap();
    assert!(whole.dictionary.is_some() && !whole.notes.is_empty());
    let parts = [("lightning.ckpt", FIRST), ("lightning.ckpt", SECOND)];
    indexed(folder.path(), parts);
    let found = Checkpoint::open(folder.path()).unwrap();
    assert_holds(&found, &expected("lightning.ckpt"));
    assert_eq!(found.dictionary, whole.dictionary);
    for note in &whole.notes {
        let (_, told) = note.split_once(": ").unwrap();
        for name in [FIRST, SECOND] {
            let is_told = |it: &String| it.contains(name) && it.ends_with(told);
            assert!(found.notes.iter().any(is_told), "{:?}", found.notes);
        }
    }
    // One part holds a state dict, the other is one.
    indexed(
        folder.path(),
        [("lightning.ckpt", FIRST), ("zip.pt", SECOND)],
    );
    let message = refused(folder.path(), None);
    for words in ["different dictionaries", FIRST, SECOND, "--weights KEY"] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_hugging_face_folder_and_what_a_trainer_leaves_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let message = refused(folder.path(), None);
    assert!(
        message.contains("is a folder without a checkpoint file"),
        "{message}"
    );
    for name in [
        "training_args.bin",
        "optimizer.pt",
        "rng_state_0.pth",
        "config.json",
    ] {
        copy("list.pt", &path(name));
    }
    copy("zip.pt", &path("some.ckpt"));
    assert_eq!(
        Checkpoint::open(folder.path()).unwrap().path,
        path("some.ckpt")
    );
    copy("zip.pt", &path("other.ckpt"));
    let message = refused(folder.path(), None);
    assert!(
        message.contains("holds 2 checkpoint files:\n  other.ckpt\n  some.ckpt"),
        "{message}"
    );
    copy("zip.pt", &path("pytorch_model.bin"));
    assert_eq!(
        Checkpoint::open(folder.path()).unwrap().path,
        path("pytorch_model.bin")
    );
    copy("expected.safetensors", &path("model.safetensors"));
    let found = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(found.path, path("model.safetensors"));
    assert!(
        found.notes[0].contains("pytorch_model.bin beside it"),
        "{:?}",
        found.notes
    );
    fs::write(path("model.safetensors.index.json"), "{}").unwrap();
    let message = refused(folder.path(), None);
    assert!(
        message.contains("holds both model.safetensors and model.safetensors.index.json"),
        "{message}"
    );
}

#[test]
fn any_adapter_is_told() {
    let folder = tempfile::tempdir().unwrap();
    copy("zip.pt", &folder.path().join("adapter_model.bin"));
    fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    let message = refused(folder.path(), None);
    assert!(
        message.contains("adapter_config.json: names no kind of adapter"),
        "{message}"
    );
}

#[test]
fn the_state_dict_beside_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let zs = root.join("zs.onnx");
    assert_eq!(state_dict_beside(&zs), None);
    // External data of the network is no state dict.
    fs::write(root.join("zs.bin"), [7; 64]).unwrap();
    assert_eq!(state_dict_beside(&zs), None);
    for name in ["zs.ckpt", "zs.pt", "zs.safetensors"] {
        let of = if name == "zs.safetensors" {
            "expected.safetensors"
        } else {
            "zip.pt"
        };
        copy(of, &root.join(name));
        assert_eq!(state_dict_beside(&zs), Some(root.join(name)));
    }
    fs::create_dir(root.join("onnx")).unwrap();
    let exported = root.join("onnx/model.onnx");
    fs::write(&exported, "").unwrap();
    assert_eq!(state_dict_beside(&exported), None);
    copy("zip.pt", &root.join("pytorch_model.bin"));
    assert_eq!(
        state_dict_beside(&exported),
        Some(root.join("pytorch_model.bin"))
    );
    assert_eq!(state_dict_beside(&root.join("other.onnx")), None);
    assert_eq!(network_in(root).unwrap(), exported);
}
