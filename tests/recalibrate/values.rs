//! Losses and statistics of every policy, against PyTorch and in closed form.

use super::closed::Closed;
use super::*;

const POLICIES: [&str; 4] = [
    "interpolate",
    "origin",
    "recalibrate=256:256",
    "recalibrate=200:64",
];

#[test]
fn every_policy_has_the_values_of_pytorch() {
    for network in ["plain", "resnet"] {
        for policy in POLICIES {
            let out = path_of(network, "zs.onnx", &[PATH, "--bn", policy]);
            agrees(network, policy, &out);
            let found = json(result(out.path(), "line.json"));
            assert_eq!(found["provenance"]["settings"]["bn"], *policy);
        }
    }
}

#[test]
fn the_average_fails_without_re_estimation_and_not_with_it() {
    // The interpolated midpoint of the residual network is wrong on a quarter of the images, and its
    // ends are on a few: the statistics alone make that.
    let at = |policy: &str, alpha: f64| {
        let found = expected("resnet", policy).into_iter();
        found
            .filter(|mix| mix.0 == alpha)
            .map(|mix| mix.2)
            .sum::<u64>()
    };
    assert!(at("interpolate", 0.5) >= 30 && at("recalibrate=256:256", 0.5) <= 2);
}

#[test]
fn graphs_of_every_opset_are_rewritten() {
    for opset in [11, 13, 17, 18] {
        let origin = format!("zs_opset{opset}.onnx");
        let policy = "recalibrate=200:64";
        let out = path_of("plain", &origin, &[PATH, "--bn", policy]);
        agrees("plain", policy, &out);
    }
}

#[test]
fn bindings_workers_and_chunks_have_the_same_statistics() {
    for policy in ["interpolate", "recalibrate=200:64"] {
        for more in [
            ["--binding", "in-graph"],
            ["--binding", "inputs"],
            ["--workers", "3"],
            ["--losses", "graph"],
        ] {
            let all = [&[PATH, "--bn", policy], more.as_slice()].concat();
            agrees("resnet", policy, &path_of("resnet", "zs.onnx", &all));
        }
    }
    // Many chunks: the statistics of a mix are those of all of them.
    let [one, many] = [vec![], vec!["--memory", "420K"]].map(|memory| {
        let all = [vec![PATH, "--bn", "recalibrate=100"], memory].concat();
        let out = path_of("resnet", "zs.onnx", &all);
        fs::read_to_string(result(out.path(), "line.csv")).unwrap()
    });
    assert_eq!(one, many);
}

/// A soup saved under this name, and the table that judges it.
fn saved(policy: &str, name: &str) -> (TempDir, PathBuf, f64) {
    let out = tempfile::tempdir().unwrap();
    let folder = oracle("recalibrate/resnet");
    let models = ["ft1", "ft2"].map(|name| (name, folder.join(format!("{name}.safetensors"))));
    let models = list(out.path().join("models.csv"), &models);
    let file = out.path().join(name);
    let save = format!("uniform={}", file.display());
    let more = [
        "--origin",
        "zs.onnx",
        "--models",
        &models,
        "--methods",
        "uniform",
    ];
    let bn = ["--bn", policy, "--save", &save];
    let output = run("resnet", "soup", &[&more[..], &bn].concat(), out.path());
    assert!(output.status.success(), "{}", message(&output));
    let found = json(result(out.path(), "soup.json"));
    let files = &found["provenance"]["files"];
    let hashed = files
        .as_object()
        .unwrap()
        .keys()
        .any(|path| path.ends_with("train.npz"));
    assert_eq!(hashed, policy != "origin");
    let loss = found["methods"][0]["scores"][0]["loss"].as_f64().unwrap();
    (out, file, loss)
}

#[test]
fn a_saved_soup_holds_the_statistics_that_it_was_judged_with() {
    let policy = "recalibrate=200:64";
    let loss = expected("resnet", policy)
        .into_iter()
        .find(|mix| mix.0 == 0.5)
        .unwrap()
        .1;
    let all = json(oracle("recalibrate/resnet/expected.json"));
    for name in ["soup.safetensors", "soup.onnx"] {
        let (_out, file, judged) = saved(policy, name);
        assert!((judged - loss).abs() <= LOSS * loss, "{judged} for {loss}");
        let found = tensors(&file);
        for (name, values) in all["statistics"].as_object().unwrap() {
            let values = numbers(values);
            let largest = values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            for (own, value) in found[name].iter().zip(&values) {
                let close = (own - value).abs() <= STATISTICS * largest;
                assert!(close, "{name}: {own} for {value}");
            }
        }
        let text = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("landscape.bn") && text.contains(policy));
    }
    // Of θ0 they are θ0's, bit by bit.
    let (_out, file, _) = saved("origin", "soup.safetensors");
    let [found, origin] =
        [file, oracle("recalibrate/resnet/zs.safetensors")].map(|it| tensors(&it));
    for (name, values) in origin.iter().filter(|(name, _)| name.contains("running")) {
        assert_eq!(&found[name], values);
    }
}

#[test]
fn layers_that_no_checkpoint_moves_are_re_estimated_as_the_others_are() {
    // The first convolution and its batch norm are θ0's in both: the convolution runs once.
    let folder = tempfile::tempdir().unwrap();
    let from = oracle("recalibrate/resnet");
    for name in ["zs.onnx", "train.npz", "test.npz"] {
        fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    for name in ["ft1", "ft2"] {
        let file = format!("{name}.safetensors");
        let (tuned, to) = (from.join(&file), folder.path().join(&file));
        head_alone(&from.join("zs.safetensors"), &tuned, "layer", &to);
    }
    let line = |more: &[&str], b: &str| {
        let output = process()
            .current_dir(folder.path())
            .args([
                "line", "--origin", "zs.onnx", "--a", "ft1", "--b", b, "--steps", "3",
            ])
            .args(["--train", "train.npz", "--test", "test.npz"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", message(&output));
        rows(result(folder.path(), "line.csv"))
    };
    let recalibrated = line(&["--bn", "recalibrate=200:64"], "ft2");
    fs::write(
        folder.path().join("models.csv"),
        "name,path\nft1,ft1\nft2,ft2\n",
    )
    .unwrap();
    let output = process()
        .current_dir(folder.path())
        .args([
            "soup",
            "--origin",
            "zs.onnx",
            "--models",
            "models.csv",
            "--methods",
            "uniform",
        ])
        .args([
            "--train",
            "train.npz",
            "--test",
            "test.npz",
            "--bn",
            "recalibrate=200:64",
        ])
        .args(["--save", "uniform=soup.safetensors"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", message(&output));
    // The file, as it is, has the values of the midpoint.
    let as_it_is = line(&[], "soup");
    let loss = |rows: &[common::Row], alpha: f64| -> f64 {
        let mut test = rows.iter().filter(|row| row["dataset"] == "test");
        number(
            test.find(|row| number(row, "alpha") == alpha).unwrap(),
            "soup_loss",
        )
    };
    let (own, saved) = (loss(&recalibrated, 0.5), loss(&as_it_is, 1.0));
    assert!((own - saved).abs() <= 1e-6 * own, "{own} and {saved}");
    let interpolated = line(&[], "ft2");
    assert!((loss(&interpolated, 0.5) - own).abs() > 0.01 * own);
}

#[test]
fn a_killed_run_ends_with_the_bytes_of_an_undisturbed_one() {
    let models = [
        "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2", "--steps", "8",
    ];
    let plane = |out: &Path, policy: &str| {
        let mut command = process();
        command
            .current_dir(oracle("recalibrate/resnet"))
            .arg("plane")
            .args(models)
            .args([
                "--train",
                "train.npz",
                "--test",
                "test.npz",
                "--bn",
                policy,
                "--out",
            ])
            .arg(out)
            .stderr(std::process::Stdio::piped());
        command
    };
    let csv = |out: &TempDir| fs::read_to_string(result(out.path(), "plane.csv")).unwrap();
    let lines = |out: &TempDir| {
        let found = fs::read_dir(out.path().join(".landscape")).ok();
        let mut paths = found
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        let journal = paths.find(|path| path.extension().is_some_and(|end| end == "journal"));
        let text = journal.and_then(|path| fs::read_to_string(path).ok());
        text.map_or(0, |text| text.lines().count())
    };
    let policy = "recalibrate=200:64";
    let [whole, killed, other] = [0; 3].map(|_| tempfile::tempdir().unwrap());
    assert!(plane(whole.path(), policy).status().unwrap().success());
    let kill = |out: &TempDir| {
        let mut run = plane(out.path(), policy).spawn().unwrap();
        while lines(out) < 12 && run.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        run.kill().unwrap();
        assert!(!run.wait().unwrap().success(), "killed too late");
    };
    kill(&killed);
    let output = plane(killed.path(), policy).output().unwrap();
    assert!(
        message(&output).contains("were done before"),
        "{}",
        message(&output)
    );
    assert_eq!(csv(&killed), csv(&whole));
    // Another policy takes nothing of it over.
    kill(&other);
    let output = plane(other.path(), "recalibrate=200:100").output().unwrap();
    assert!(output.status.success());
    assert!(
        !message(&output).contains("were done before"),
        "{}",
        message(&output)
    );
    assert_ne!(csv(&other), csv(&whole));
}

#[test]
fn one_layer_has_the_mean_and_the_unbiased_variance_of_the_data() {
    for opset in [9, 11, 13, 14, 15, 17, 18, 21] {
        let (fixed, merged) = (None, false);
        let (folder, output) = Closed {
            opset,
            fixed,
            merged,
        }
        .soup("recalibrate=6");
        assert!(output.status.success(), "{}", message(&output));
        let found = tensors(&folder.path().join("soup.safetensors"));
        assert_eq!(found["bn.running_mean"], [3.5, 2.0], "opset {opset}");
        assert_eq!(found["bn.running_var"], [3.5, 24.0], "opset {opset}");
        assert_eq!(found["bn.weight"], [1.5, 2.5]);
    }
}

#[test]
fn the_files_of_networks_are_taken_with_other_statistics() {
    // ONNX checkpoints are not run as they are: their own statistics are others.
    let folder = oracle("bn");
    let out = tempfile::tempdir().unwrap();
    for policy in ["origin", "recalibrate=64"] {
        let output = process()
            .current_dir(&folder)
            .args([
                "line",
                "--origin",
                "zs_noopt.onnx",
                "--a",
                "ft1_noopt.onnx",
                "--b",
                "ft2_noopt.onnx",
            ])
            .args([
                "--train", "data.npz", "--steps", "3", "--bn", policy, "--out",
            ])
            .arg(out.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", message(&output));
        let found = json(result(out.path(), "line.json"));
        assert!(
            found["checks"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| it["agrees"] == true)
        );
        assert_eq!(found["provenance"]["verified"]["ft1_noopt"], "graph");
        let own = warnings(&found)
            .iter()
            .any(|it| it.contains("θ0's running statistics"));
        assert_eq!(own, policy == "origin");
    }
}
