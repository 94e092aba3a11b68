//! Groups of tensors, decided by the graph: the table of `inspect`, for networks whose layers are known.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use predicates::str::contains;

/// The table's rows: names and numbers of tensors.
fn groups(network: PathBuf) -> Vec<(String, usize)> {
    let output = common::program()
        .arg("inspect")
        .arg(network)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("group"));
    let rows = rows.skip(1).map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_string();
        (name, words.next().unwrap().parse().unwrap())
    });
    rows.collect()
}

#[test]
fn the_graph_tells_head_embedding_normalizations_and_body() {
    let expected: [(PathBuf, &[(&str, usize)]); 7] = [
        (
            common::example().join("zs.onnx"),
            &[("head", 2), ("body", 8)],
        ),
        // Two blocks with two LayerNorms each, and one before the head.
        (
            common::oracle("vit/zs_noopt.onnx"),
            &[("head", 2), ("norm", 10), ("body", 20)],
        ),
        (
            common::oracle("convnext/zs_noopt.onnx"),
            &[("head", 2), ("norm", 10), ("body", 18)],
        ),
        // Batch norm's scales and biases; its statistics are in no norm.
        (
            common::oracle("resnet/zs_noopt.onnx"),
            &[("head", 2), ("norm", 12), ("body", 6)],
        ),
        // The head is the embedding, transposed.
        (
            common::oracle("tied/zs_noopt.onnx"),
            &[("embedding", 1), ("body", 4)],
        ),
        // Logits of all places, of which the last one is taken.
        (
            common::oracle("places/zs_noopt.onnx"),
            &[("head", 2), ("embedding", 1), ("body", 2)],
        ),
        // RMSNorm, written out.
        (
            common::oracle("exports/llama/zs.onnx"),
            &[("head", 1), ("embedding", 1), ("norm", 3), ("body", 7)],
        ),
    ];
    for (network, expected) in expected {
        let found = groups(network.clone());
        let found: Vec<(&str, usize)> = found.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(found, expected, "{}", network.display());
    }
}

/// A head that every run begins anew pulls the angle towards 60°: it can be left out.
#[test]
fn norms_and_angles_are_of_the_tensors_that_are_asked_for() {
    let inspect = |more: &[&str]| {
        let mut command = common::program();
        command.current_dir(common::example()).arg("inspect");
        command
            .args(["zs.onnx", "ft1.safetensors", "ft2.safetensors"])
            .args(more);
        command.assert()
    };
    let text = |more: &[&str]| {
        let output = inspect(more).success().get_output().stdout.clone();
        String::from_utf8(output).unwrap()
    };
    // NumPy: 69.86° in fc2, 51.38° in the rest, 51.88° as a whole.
    let all = text(&[]);
    assert!(
        all.contains("φ = 51.88° (head 69.86°, body 51.38°)"),
        "{all}"
    );
    let head = text(&["--angle-of", "fc2.*"]);
    assert!(head.contains("norms and angles are of 2 of 10 tensors (--angle-of 'fc2.*')"));
    assert!(head.contains("φ = 69.86° (head 69.86°)"), "{head}");
    let body = text(&["--angle-not", "fc2.*"]);
    assert!(body.contains("φ = 51.38° (body 51.38°)"), "{body}");
    inspect(&["--angle-of", "nothing*"])
        .code(2)
        .stderr(contains(
            "`nothing*` matches no tensor that counts in angles",
        ));
    inspect(&["--angle-not", "*"])
        .code(2)
        .stderr(contains("leaves no tensor"));
}
