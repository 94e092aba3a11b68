//! Checkpoints of every element type give what their values give in float32.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn oracle(name: &str) -> std::path::PathBuf {
    common::oracle("vit").join(name)
}

/// Writes a float32 checkpoint's tensors, each element put through `convert`.
fn copy<const N: usize>(from: &str, to: &Path, dtype: Dtype, convert: impl Fn(f32) -> [u8; N]) {
    let bytes = fs::read(oracle(from)).unwrap();
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
    fs::read_to_string(common::result(&out, "plane.csv")).unwrap()
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

/// Fine-tunes of the example, shortened to ‖δ‖ = 3e-3·‖θ0‖ and stored in bfloat16, whose steps are
/// 2⁻⁸ to 2⁻⁷ of a weight. The bundled network has 60,874 weights, so a cosine that half of them
/// give has a standard error of 0.006 (0.4° at 52°).
#[test]
fn a_pool_in_bfloat16_is_measured_without_its_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let example = common::example();
    let load = |name: &str| fs::read(example.join(format!("{name}.safetensors"))).unwrap();
    let floats = |bytes: &[u8]| -> Vec<f64> {
        let values = bytes.as_chunks::<4>().0.iter();
        values
            .map(|it| f64::from(f32::from_le_bytes(*it)))
            .collect()
    };
    let origin = load("zs");
    let origin = SafeTensors::deserialize(&origin).unwrap();
    let norm = |of: &dyn Fn(&str) -> Vec<f64>| {
        let all = origin.names().into_iter().flat_map(of);
        all.map(|x| x * x).sum::<f64>().sqrt()
    };
    let size = norm(&|name| floats(origin.tensor(name).unwrap().data()));
    for name in ["ft1", "ft2"] {
        let tuned = load(name);
        let tuned = SafeTensors::deserialize(&tuned).unwrap();
        let delta = |name: &str| {
            let [a, b] = [&origin, &tuned].map(|it| floats(it.tensor(name).unwrap().data()));
            a.iter().zip(b).map(|(a, b)| b - a).collect::<Vec<f64>>()
        };
        let shorter = 3e-3 * size / norm(&delta);
        let written = |kind: Dtype, suffix: &str| {
            let moved = origin.tensors().into_iter().map(|(name, view)| {
                let start = floats(view.data());
                let moved = start.iter().zip(delta(&name));
                let moved = moved.map(|(a, d)| (a + shorter * d) as f32);
                let bytes: Vec<u8> = match kind {
                    Dtype::BF16 => moved
                        .flat_map(|x| bf16::from_f32(x).to_le_bytes())
                        .collect(),
                    _ => moved.flat_map(f32::to_le_bytes).collect(),
                };
                (name, view.shape().to_vec(), bytes)
            });
            let moved: Vec<_> = moved.collect();
            let views = moved.iter().map(|(name, shape, bytes)| {
                let view = TensorView::new(kind, shape.clone(), bytes).unwrap();
                (name.as_str(), view)
            });
            let to = folder.path().join(format!("{name}{suffix}.safetensors"));
            safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, &to).unwrap();
        };
        written(Dtype::F32, "-f32");
        written(Dtype::BF16, "");
    }
    let angles = |suffix: &str| {
        let [a, b] =
            ["ft1", "ft2"].map(|it| folder.path().join(format!("{it}{suffix}.safetensors")));
        let output = common::program()
            .arg("inspect")
            .args([&example.join("zs.onnx"), &a, &b])
            .assert()
            .success()
            .get_output()
            .clone();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|it| it.starts_with("angle of")).unwrap();
        let number = |after: &str| {
            let rest = line.split_once(after).map(|it| it.1)?;
            rest.split_once('°').and_then(|it| it.0.parse::<f64>().ok())
        };
        let found = (number("φ = ").unwrap(), number("without rounding "));
        (found, String::from_utf8(output.stderr).unwrap())
    };
    let ((truth, none), quiet) = angles("-f32");
    let ((stored, found), warned) = angles("");
    assert!((stored - truth).abs() > 3.0, "{stored} {truth}");
    assert!((found.unwrap() - truth).abs() < 1.0, "{found:?} {truth}");
    assert!(none.is_none() && !quiet.contains("16-bit files"));
    assert!(warned.contains("16-bit files: ‖δ‖ of ft"), "{warned}");
}

/// The mean of two bfloat16 files is no bfloat16 file.
#[test]
fn what_was_saved_is_read_back_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ft1.safetensors", "ft2.safetensors"] {
        copy(name, &folder.path().join(name), Dtype::BF16, |x| {
            bf16::from_f32(x).to_le_bytes()
        });
    }
    let run = |more: &[&str]| {
        let soup = folder.path().join("soup.safetensors");
        let save = format!("uniform={}", soup.display());
        let output = common::program()
            .args(["soup", "--methods", "uniform", "--force", "--save", &save])
            .args(more)
            .arg("--origin")
            .arg(oracle("zs_noopt.onnx"))
            .arg("--val")
            .arg(oracle("data.npz"))
            .arg("--models")
            .args(["ft1", "ft2"].map(|it| folder.path().join(format!("{it}.safetensors"))))
            .arg("--out")
            .arg(folder.path())
            .assert()
            .success()
            .get_output()
            .clone();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("soup.safetensors: read back, "), "{text}");
        let saved = common::json(common::result(folder.path(), "soup.json"))["saved"][0].clone();
        let bytes = fs::read(soup).unwrap();
        let kinds = SafeTensors::deserialize(&bytes).unwrap();
        let kind = kinds.tensor(kinds.names()[0]).unwrap().dtype();
        let loss = |of: &str| saved[of]["loss"].as_f64().unwrap();
        (kind, loss("score"), loss("table"), saved["dtype"].clone())
    };
    let (kind, file, table, named) = run(&[]);
    assert_eq!((kind, named.as_str()), (Dtype::F32, Some("graph")));
    // The same weights, perhaps in other batches: rounding of float32.
    assert!((file - table).abs() < 1e-5 * table, "{file} {table}");
    let (kind, rounded, table, named) = run(&["--save-dtype", "like"]);
    assert_eq!((kind, named.as_str()), (Dtype::BF16, Some("like")));
    assert!((rounded - table).abs() > 1e-4 * table, "{rounded} {table}");
}
