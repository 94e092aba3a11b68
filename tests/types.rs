//! Checkpoints of every element type give what their values give in float32.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn oracle(name: &str) -> std::path::PathBuf {
    common::oracle("vit").join(name)
}

/// Writes a float32 checkpoint's tensors, each element put through `convert`.
fn copy<const N: usize>(from: &str, to: &Path, dtype: Dtype, convert: impl Fn(f32) -> [u8; N]) {
    let bytes = std::fs::read(oracle(from)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let converted: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, view)| {
            let values = view.data().as_chunks::<4>().0.iter();
            let data = values.flat_map(|b| convert(f32::from_le_bytes(*b)));
            (name.to_string(), (view.shape().to_vec(), data.collect()))
        })
        .collect();
    let views = converted.iter().map(|(name, (shape, data))| {
        let view = TensorView::new(dtype, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, to).unwrap();
}

fn csv(folder: &Path, a: &str) -> String {
    let out = folder.join(a);
    common::program()
        .current_dir(folder)
        .args(["plane", "--steps", "3", "--a", a, "--out"])
        .arg(&out)
        .arg("--origin")
        .arg(oracle("zs_noopt.onnx"))
        .arg("--b")
        .arg(oracle("ft2.safetensors"))
        .arg("--test")
        .arg(oracle("data.npz"))
        .assert()
        .success();
    std::fs::read_to_string(common::result(&out, "plane.csv")).unwrap()
}

#[test]
fn half_and_double_precision_files_give_the_rows_of_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(format!("{name}.safetensors"));
    let ft1 = "ft1.safetensors";
    copy(ft1, &at("f64"), Dtype::F64, |x| f64::from(x).to_le_bytes());
    copy(ft1, &at("f32"), Dtype::F32, f32::to_le_bytes);
    assert_eq!(csv(folder.path(), "f64"), csv(folder.path(), "f32"));

    copy(ft1, &at("f16"), Dtype::F16, |x| {
        f16::from_f32(x).to_le_bytes()
    });
    copy(ft1, &at("f16-in-f32"), Dtype::F32, |x| {
        f16::from_f32(x).to_f32().to_le_bytes()
    });
    let half = csv(folder.path(), "f16");
    assert_eq!(half, csv(folder.path(), "f16-in-f32"));

    copy(ft1, &at("bf16"), Dtype::BF16, |x| {
        bf16::from_f32(x).to_le_bytes()
    });
    copy(ft1, &at("bf16-in-f32"), Dtype::F32, |x| {
        bf16::from_f32(x).to_f32().to_le_bytes()
    });
    let brain = csv(folder.path(), "bf16");
    assert_eq!(brain, csv(folder.path(), "bf16-in-f32"));
    assert_ne!(half, brain);
}
