//! Tensors that `--ignore` leaves out, and checkpoints that have others than the network.

use std::fs;

use crate::common::{json, list, program, result};
use crate::{folder, oracle, plane, stderr};

#[test]
fn ignored_tensors_are_named_and_the_saved_model_is_the_one_that_was_judged() {
    let folder = folder("scaled", "noopt", true);
    let models = [("ft1", "ft1.safetensors"), ("ft2", "ft2.safetensors")];
    list(folder.path().join("models.csv"), &models);
    let run = |extra: &str| {
        let common = "soup --origin zs.onnx --val test.npz --test test.npz --methods uniform";
        let mut command = program();
        command
            .current_dir(folder.path())
            .args(common.split(' '))
            .args(extra.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (output, json(result(folder.path(), "soup.json")))
    };
    let (output, judged) = run("--models models.csv --ignore head.* \
        --save uniform=u.safetensors --save uniform=u.onnx");
    assert_eq!(judged["models"][0]["name"], "ft1 without head.*");
    let told = stderr(&output);
    assert!(told.contains("zs's tensors replace those of"), "{told}");
    assert_eq!(told.matches("--ignore leaves out").count(), 1, "{told}");
    let loss = judged["methods"][0]["scores"][0]["loss"].as_f64().unwrap();
    // The saved files, judged by themselves.
    for file in ["u.safetensors", "u.onnx"] {
        list(folder.path().join("one.csv"), &[("u", file)]);
        let (_, again) = run("--models one.csv");
        let saved = again["methods"][0]["scores"][0]["loss"].as_f64().unwrap();
        assert!((saved - loss).abs() < 1e-6, "{file}: {saved} for {loss}");
    }
    let bytes = fs::read(folder.path().join("u.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(
        metadata["landscape.left_out"],
        r#"["head.bias","head.weight"]"#
    );
    assert_eq!(metadata["landscape.left_out_from"], "zs");
}

#[test]
fn a_head_of_another_size_is_named_and_saved_as_it_was_judged() {
    let folder = folder("scaled", "noopt", false);
    let path = folder.path();
    // ft1 with a head for three classes in place of four.
    let bytes = fs::read(oracle("scaled").join("ft1.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let mut shape = view.shape().to_vec();
        let mut data = view.data();
        if name.starts_with("head.") {
            data = &data[..data.len() / shape[0] * 3];
            shape[0] = 3;
        }
        let view = safetensors::tensor::TensorView::new(view.dtype(), shape, data);
        (name, view.unwrap())
    });
    fs::write(
        path.join("new.safetensors"),
        safetensors::serialize(tensors, None).unwrap(),
    )
    .unwrap();
    list(path.join("m.csv"), &[("new", "new.safetensors")]);
    let run = |more: &[&str]| {
        let common = "soup --origin zs.onnx --models m.csv --val test.npz --test test.npz \
            --methods uniform --save uniform=u.safetensors --force";
        let mut command = program();
        command
            .current_dir(path)
            .args(common.split_whitespace())
            .args(more);
        command.output().unwrap()
    };
    assert_eq!(run(&[]).status.code(), Some(2));
    let idle = run(&["--ignore", "fc.*"]);
    assert!(
        stderr(&idle).contains("`fc.*` matches no tensor"),
        "{}",
        stderr(&idle)
    );
    let output = run(&["--ignore", "head.*"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(
        told.contains("zs's tensors replace those of new without head.*"),
        "{told}"
    );
    let judged = json(result(path, "soup.json"));
    assert_eq!(judged["models"][0]["name"], "new without head.*");
    // The file has θ0's head of four classes.
    let bytes = fs::read(path.join("u.safetensors")).unwrap();
    let saved = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bytes = fs::read(oracle("scaled").join("zs.safetensors")).unwrap();
    let origin = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ["head.weight", "head.bias"] {
        let (ours, theirs) = (saved.tensor(name).unwrap(), origin.tensor(name).unwrap());
        assert_eq!(ours.shape(), theirs.shape());
        assert_eq!(ours.data(), theirs.data());
    }
}

#[test]
fn an_adapter_is_told_for_what_it_is() {
    let folder = folder("scaled", "noopt", false);
    let values = [0_u8; 8];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &values);
    let name = "base_model.model.body.lora_A.weight";
    let bytes = safetensors::serialize([(name, view.unwrap())], None).unwrap();
    fs::write(folder.path().join("adapter.safetensors"), bytes).unwrap();
    let ignore = [
        "--ignore",
        "base_model*",
        "--ignore",
        "body*",
        "--ignore",
        "head*",
    ];
    let output = plane(&folder, ["adapter.safetensors", "ft2.safetensors"], &ignore);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("LoRA adapter") && told.contains("merge_and_unload"),
        "{told}"
    );
}
