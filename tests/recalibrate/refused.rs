//! What is refused, left out or told.

use super::closed::Closed;
use super::*;

#[test]
fn what_cannot_be_is_refused_with_the_cure() {
    let folder = oracle("recalibrate/plain");
    let out = tempfile::tempdir().unwrap();
    let models = ["ft1", "ft2"].map(|name| (name, folder.join(format!("{name}.safetensors"))));
    let models = list(out.path().join("models.csv"), &models);
    let refused = |command: &str, args: &str, words: &[&str]| {
        let output = process()
            .current_dir(&folder)
            .arg(command)
            .args(["--origin", "zs.onnx", "--out"])
            .arg(out.path())
            .args(
                args.split_whitespace()
                    .map(|it| it.replace("MODELS", &models)),
            )
            .output()
            .unwrap();
        let message = message(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        for word in words {
            assert!(message.contains(word), "{message}");
        }
    };
    let line = "--a ft1 --b ft2 --test test.npz --bn";
    let train = "--train train.npz";
    let cases = [
        (
            "line",
            format!("{line} recalibrate=10"),
            vec!["--train FILE"],
        ),
        (
            "line",
            format!("{line} recalibrate {train}"),
            vec!["expected interpolate, recalibrate=N"],
        ),
        (
            "line",
            format!("{line} recalibrate=300 {train}"),
            vec!["has 256", "recalibrate=256 takes"],
        ),
        (
            "line",
            format!("{line} recalibrate=65:64 {train}"),
            vec!["`", "multiple of the batch size"],
        ),
        (
            "plane",
            format!("{line} recalibrate=64 {train} --arrows"),
            vec!["--arrows needs the gradient"],
        ),
        (
            "spectrum",
            format!("{train} --bn recalibrate=64"),
            vec!["a Hessian needs the gradient"],
        ),
        (
            "soup",
            format!("--models MODELS {train} --val test.npz --methods learned --bn recalibrate=64"),
            vec!["a learned soup needs the gradient", "--bn interpolate"],
        ),
    ];
    for (command, args, words) in cases {
        refused(command, &args, &words);
    }
}

#[test]
fn learned_soups_are_left_out_of_the_table_if_nobody_asked_for_them() {
    let out = tempfile::tempdir().unwrap();
    let folder = oracle("recalibrate/plain");
    let models = ["ft1", "ft2"].map(|name| (name, folder.join(format!("{name}.safetensors"))));
    let models = list(out.path().join("models.csv"), &models);
    let more = [
        "--origin", "zs.onnx", "--models", &models, "--val", "test.npz",
    ];
    let output = run(
        "plain",
        "soup",
        &[&more[..], &["--bn", "recalibrate=128"]].concat(),
        out.path(),
    );
    assert!(output.status.success(), "{}", message(&output));
    let found = json(result(out.path(), "soup.json"));
    let told = warnings(&found);
    let is_told = |words: &str| told.iter().any(|warning| warning.contains(words));
    assert!(
        is_told("learned soups are left out: --bn: recalibrate"),
        "{told:?}"
    );
    assert!(!is_told("stale statistics"), "{told:?}");
    let note = "batch norm: statistics are re-estimated for every model, the single ones, too, from \
                128 samples of train.npz, in batches of 128";
    assert!(message(&output).contains(note), "{}", message(&output));
}

#[test]
fn a_fixed_batch_is_the_batch_and_must_divide_the_samples() {
    let closed = |fixed| Closed {
        opset: 17,
        fixed: Some(fixed),
        merged: false,
    };
    // Three batches of two: the mean is that of all, the variance the mean of three.
    let (folder, output) = closed(2).soup("recalibrate=6");
    assert!(output.status.success(), "{}", message(&output));
    let found = tensors(&folder.path().join("soup.safetensors"));
    assert_eq!(found["bn.running_mean"], [3.5, 2.0]);
    // In the pair with the 12, ½·12²; the other pairs have none.
    assert_eq!(found["bn.running_var"][1], 24.0);
    for (fixed, policy, words) in [
        (1, "recalibrate=6", "normalized by itself"),
        (4, "recalibrate=6", "recalibrate=4 fits"),
    ] {
        let (_folder, output) = closed(fixed).soup(policy);
        assert_eq!(output.status.code(), Some(2));
        assert!(message(&output).contains(words), "{}", message(&output));
    }
}

#[test]
fn statistics_that_an_exporter_merged_are_refused_and_so_is_a_network_without_any() {
    let closed = Closed {
        opset: 17,
        fixed: None,
        merged: true,
    };
    let (_folder, output) = closed.soup("recalibrate=6");
    assert_eq!(output.status.code(), Some(2));
    let told = message(&output);
    assert!(
        told.contains("both a mean and a variance") && told.contains("optimize=False"),
        "{told}"
    );
    let out = tempfile::tempdir().unwrap();
    for policy in ["origin", "recalibrate=10"] {
        let output = process()
            .current_dir(common::example())
            .args([
                "line", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2", "--bn", policy, "--out",
            ])
            .arg(out.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            message(&output).contains("has no batch norm"),
            "{}",
            message(&output)
        );
    }
}

#[test]
fn the_session_that_re_estimates_takes_memory_beside_the_one_that_evaluates() {
    let closed = Closed {
        opset: 17,
        fixed: None,
        merged: false,
    };
    // The weights take 32 B, and a session three times as much; six samples 16 B each. With a single
    // session, 96 + 96 + 32 B for a batch would fit.
    let few = ["--workers", "1", "--batch", "2", "--memory", "250B"];
    let (_folder, output) = closed.soup_with("recalibrate=6", &few);
    let told = message(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("1 workers take about 288 B"), "{told}");
    let (_folder, output) = closed.soup_with("interpolate", &few);
    assert!(output.status.success(), "{}", message(&output));
}
