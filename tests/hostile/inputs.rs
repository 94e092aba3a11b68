//! Inputs that cannot be used: one clear message, the right exit status, nothing written.

use std::fs;
use std::path::Path;

use landscape::checkpoint::onnx::proto::{
    DataLocation, DimensionValue, StringStringEntryProto, TypeValue,
};

use crate::common::{head_alone, oracle};
use crate::folder::Folder;

#[test]
fn missing_files_are_named() {
    let folder = Folder::new();
    for (flags, name) in [
        (
            ["--origin-weights", "no.safetensors"],
            "no.safetensors: there is no such file",
        ),
        (["--shift", "s=no.npz"], "no.npz: "),
        (["--config", "no.toml"], "no.toml: there is no such file"),
    ] {
        let message = folder.refused(2, &flags);
        assert!(message.contains(name), "{message}");
    }
    fs::remove_file(folder.path("ft2.safetensors")).unwrap();
    let message = folder.refused(2, &[]);
    assert!(
        message.contains("ft2: there is no such file or folder, nor a file of this name with"),
        "{message}"
    );
}

#[test]
fn truncated_files_are_named() {
    for (name, word) in [
        ("zs_noopt.onnx", "ONNX"),
        ("ft1.safetensors", "is not a whole .safetensors file"),
        ("data.npz", "data.npz"),
    ] {
        let folder = Folder::new();
        folder.edit(name, |bytes| bytes.truncate(bytes.len() * 2 / 3));
        let message = folder.refused(2, &[]);
        assert!(
            message.contains(name) && message.contains(word),
            "{message}"
        );
    }
}

#[test]
fn no_flipped_byte_makes_it_panic() {
    for name in ["zs_noopt.onnx", "ft1.safetensors", "data.npz"] {
        let len = fs::metadata(Folder::new().path(name)).unwrap().len() as usize;
        // Near both ends, where headers and directories are, and in between.
        for at in [0, 9, 40, 333, len / 3, len / 2, len - 60, len - 20] {
            let folder = Folder::new();
            folder.edit(name, |bytes| bytes[at] ^= 0x55);
            let output = folder.plane(&[]).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!message.contains("panicked"), "{name} at {at}: {message}");
            assert!(
                matches!(output.status.code(), Some(0..=2)),
                "{name} at {at}: {message}"
            );
        }
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let folder = Folder::new();
    // [4,32] and [32,4] have the same bytes.
    folder.edit("ft1.safetensors", |bytes| {
        let at = bytes.windows(6).position(|w| w == b"[4,32]").unwrap();
        bytes[at..at + 6].copy_from_slice(b"[32,4]");
    });
    let message = folder.refused(2, &[]);
    assert!(
        message.contains("of another shape (1):")
            && message.contains("head.1.weight is [32, 4], the graph has [4, 32]"),
        "{message}"
    );
}

#[test]
fn nan_in_a_checkpoint_is_counted_and_named() {
    let folder = Folder::new();
    folder.edit("ft1.safetensors", |bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let message = folder.refused(2, &[]);
    assert!(
        message.contains("ft1.safetensors: 1 values of `"),
        "{message}"
    );
    assert!(message.contains("are NaN or infinite"), "{message}");
}

#[test]
fn checkpoints_that_span_no_plane_are_named() {
    let folder = Folder::new();
    let message = folder.refused(2, &["--name", "x", "--b", "ft1"]);
    assert!(
        message.contains("--b") || message.contains("span no plane"),
        "{message}"
    );
    fs::copy(
        folder.path("ft1.safetensors"),
        folder.path("ft2.safetensors"),
    )
    .unwrap();
    let message = folder.refused(2, &[]);
    assert!(
        message.contains("ft2.safetensors: lies on the line through `zs_noopt` and `ft1`"),
        "{message}"
    );
}

#[test]
fn flags_that_mean_nothing_are_named() {
    let folder = Folder::new();
    for (flags, words) in [
        (
            &["--source", "noequals"][..],
            "--source: is `noequals`; NAME=PATH is needed",
        ),
        (
            &["--shift", "noequals"],
            "--shift: is `noequals`; NAME=PATH is needed",
        ),
        (&["--device", "cuda"], "has no CUDA provider; it has "),
        (
            &["--device", "gpu"],
            "--device: is `gpu`; expected cpu, cuda, cuda:N or cuda:N,M",
        ),
        (&["--workers", "0"], "--workers: is 0"),
        (&["--memory", "1K"], "--memory: 1.0 KiB is too little"),
        (&["--memory", "much"], "--memory: is `much`"),
        (&["--max-time", "soon"], "--max-time: is `soon`"),
        (&["--tolerance", "2"], "--tolerance: is `2`"),
        (&["--margin=-1"], "--margin: is -1.0; expected 0 to 1000"),
        (&["--margin", "1e308"], "--margin: is 1e308"),
        (
            &["--x=0:5e-324:2", "--y=0:1:2"],
            "2 numbers between 0.0 and 5e-324 cannot be told apart",
        ),
        (&["--workers", "4096"], "--workers: is 4096"),
        (
            &["--workers", "64", "--threads", "64"],
            "are 64 × 64; at most 1024 threads are possible",
        ),
        (&["--name", "."], "--name: is `.`"),
        (&["--name", "../plane"], "--name: is `../plane`"),
        (
            &["--x=-1:1:2000", "--y=-1:1:2000"],
            "grid: has 2000×2000 points; at most 1000000 are possible",
        ),
        (
            &["--output", "nothing"],
            "the network has no output `nothing`; it has `logits`",
        ),
        (
            &["--shift", "shifts=data.npz"],
            "the name `shifts` is kept for means",
        ),
    ] {
        let message = folder.refused(2, flags);
        assert!(message.contains(words), "{message}");
    }
    fs::write(folder.path("landscape.toml"), "limt = 5\n").unwrap();
    let message = folder.refused(2, &[]);
    assert!(message.contains("unknown field `limt`"), "{message}");
}

/// Fixes the batch size of the origin's input.
fn fix_batch(folder: &Folder, batch: i64) {
    folder.edit_model(|model| {
        let input = &mut model.graph.as_mut().unwrap().input[0];
        let Some(TypeValue::Tensor(tensor)) = &mut input.r#type.as_mut().unwrap().value else {
            panic!("a tensor");
        };
        tensor.shape.as_mut().unwrap().dim[0].value = Some(DimensionValue::DimValue(batch));
    });
}

/// Makes the fine-tunes θ0's but for the head.
fn keep_the_head_alone(folder: &Folder) {
    for name in ["ft1.safetensors", "ft2.safetensors"] {
        let vit = oracle("vit");
        let (origin, tuned) = (vit.join("zs.safetensors"), vit.join(name));
        head_alone(&origin, &tuned, "head", &folder.path(name));
    }
}

#[test]
fn a_network_with_a_batch_size_of_its_own_gives_the_same_losses() {
    for head_alone in [false, true] {
        let folder = Folder::new();
        if head_alone {
            keep_the_head_alone(&folder);
        }
        let expected = folder.losses();
        for batch in [1, 2, 3, 16] {
            fix_batch(&folder, batch);
            let found = folder.losses();
            for (a, b) in expected.iter().zip(&found) {
                assert!((a / b - 1.0).abs() < 1e-6, "batch {batch}: {a} {b}");
            }
        }
    }
}

#[test]
fn two_outputs_need_a_name() {
    let folder = Folder::new();
    folder.edit_model(|model| {
        let graph = model.graph.as_mut().unwrap();
        let mut second = graph.output[0].clone();
        second.name = graph.node[3].output.first().cloned();
        graph.output[0].name = Some("scores".into());
        for node in &mut graph.node {
            for name in node.output.iter_mut().filter(|name| *name == "logits") {
                *name = "scores".into();
            }
        }
        second.r#type = None;
        graph.output.push(second);
    });
    let message = folder.refused(2, &[]);
    assert!(
        message.contains("has 2 outputs") && message.contains("--output NAME"),
        "{message}"
    );
}

/// Moves the weights of the first large initializer into a file called `location`.
fn externalize(folder: &Folder, location: &str, file: &Path) {
    folder.edit_model(|model| {
        let initializers = &mut model.graph.as_mut().unwrap().initializer;
        let tensor = initializers
            .iter_mut()
            .find(|tensor| tensor.raw_data.as_ref().is_some_and(|raw| raw.len() > 1000))
            .unwrap();
        fs::write(file, tensor.raw_data.take().unwrap()).unwrap();
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![StringStringEntryProto {
            key: Some("location".into()),
            value: Some(location.into()),
        }];
    });
}

#[test]
fn external_data_is_read_beside_the_model_and_refused_elsewhere() {
    let folder = Folder::new();
    let expected = folder.losses();
    externalize(&folder, "w.bin", &folder.path("w.bin"));
    assert_eq!(folder.losses(), expected);
    fs::remove_dir_all(folder.path("out")).unwrap();
    folder.edit("w.bin", |bytes| bytes.truncate(100));
    let message = folder.refused(2, &[]);
    assert!(
        message.contains("initializer `") && message.contains("100 bytes"),
        "{message}"
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("w.bin");
    for location in ["../w.bin", target.to_str().unwrap()] {
        let folder = Folder::new();
        externalize(&folder, location, &target);
        let message = folder.refused(2, &[]);
        assert!(
            message.contains("lies outside the model's folder; refused"),
            "{message}"
        );
    }
    #[cfg(unix)]
    {
        let folder = Folder::new();
        externalize(&folder, "link.bin", &target);
        std::os::unix::fs::symlink(&target, folder.path("link.bin")).unwrap();
        let message = folder.refused(2, &[]);
        assert!(
            message.contains("lies outside the model's folder; refused"),
            "{message}"
        );
    }
}
