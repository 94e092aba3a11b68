//! The second bundled example: the gains on the test set that its page reports are those of the files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;

use crate::common::{Row, number, program, result, root, rows};

/// A difference in points with its error, as the page writes it.
fn points(row: &Row) -> String {
    let difference = 100.0 * number(row, "delta_accuracy");
    let error = 100.0 * number(row, "delta_accuracy_se");
    format!("{difference:+.2} ± {error:.2}").replace('-', "−")
}

#[test]
fn soups_beat_the_best_model_and_the_best_model_shortened_as_the_page_says() {
    let out = tempfile::tempdir().unwrap();
    let example = root().join("examples/pen");
    let methods = "best,uniform,greedy,wise-ft:0.9";
    program()
        .current_dir(&example)
        .args(["soup", "--origin", "zs.onnx", "--models", "models.csv"])
        .args(["--val", "val.npz", "--test", "test.npz"])
        .args(["--limit", "0", "--methods", methods, "--no-rays", "--out"])
        .arg(out.path())
        .assert()
        .success();
    let compared = rows(result(out.path(), "soup.comparisons.csv"));
    let find = |method: &str, reference: &str| {
        let mut rows = compared.iter().filter(|row| row["dataset"] == "test");
        rows.find(|row| row["method"] == method && row["reference"] == reference)
            .expect("a comparison")
    };
    let page = fs::read_to_string(example.join("README.md")).unwrap();
    for method in ["uniform", "greedy"] {
        let [best, shortened] = ["ft3", "wise-ft:0.9"].map(|other| points(find(method, other)));
        let line = format!("| {method} soup | {best} | {shortened} |");
        assert!(page.contains(&line), "{line}");
    }
    for other in ["ft3", "wise-ft:0.9"] {
        let row = find("greedy", other);
        let errors = number(row, "delta_accuracy") / number(row, "delta_accuracy_se");
        assert!(errors > 2.0, "greedy against {other}: {errors} errors");
    }
}
