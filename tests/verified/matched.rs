//! How a tensor of a state dict is known to be the graph's: by value, or by name only.

use std::fs;
use std::path::Path;

use landscape::checkpoint::onnx::proto::ModelProto;
use prost::Message;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use crate::common::{self, program};
use crate::{DICTS, NETWORKS, agrees, folder, losses, oracle, plane, stderr, stdout, summary};

#[test]
fn by_name_alone_is_said_in_the_terminal_the_json_and_the_figure() {
    for network in NETWORKS {
        let folder = folder(network, "noopt", false);
        let output = plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = summary(&folder);
        agrees(network, &losses(&summary));
        for model in ["ft1", "ft2"] {
            assert_eq!(summary["provenance"]["verified"][model], "name");
        }
        let warning = summary["warnings"][0].as_str().unwrap();
        assert!(warning.contains("by name only") && warning.contains("--origin-weights FILE"));
        assert!(stderr(&output).contains(warning));
        let svg = fs::read_to_string(folder.path().join("plots/plane.svg")).unwrap();
        assert!(svg.contains("<desc>Warning: ft1, ft2: tensors are matched by name only"));
        // Words that are seen, in captions that may be broken into lines.
        let seen = svg.split("</desc>").nth(1).unwrap();
        assert!(seen.contains("ft1, ft2: tensors matched by name only"));
        let said = stdout(&output);
        assert!(said.contains("not the matching"), "{said}");
        assert!(
            said.contains("\nft1, ft2: matched by name only, NOT verified\n"),
            "{said}"
        );
    }
}

#[test]
fn a_state_dict_beside_the_origin_is_found_and_verifies_by_value() {
    for network in NETWORKS {
        let folder = folder(network, "noopt", true);
        let output = plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]);
        let summary = summary(&folder);
        agrees(network, &losses(&summary));
        assert_eq!(summary["provenance"]["verified"]["ft1"], "value");
        assert!(summary["provenance"]["caveats"].is_null());
        assert!(stdout(&output).contains("\nft1, ft2: verified by value\n"));
        let told = summary["warnings"].to_string() + &stderr(&output);
        assert!(!told.contains("by name only"), "{told}");
        // It is one of the inputs that the result depends on.
        let files = summary["provenance"]["files"].as_object().unwrap();
        assert!(files.contains_key("zs.safetensors"));
    }
}

#[test]
fn a_tensor_of_the_state_dict_that_is_nowhere_in_the_graph_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let vit = common::oracle("vit");
    for file in [
        "zs_ts.onnx",
        "ft1_ts.onnx",
        "ft2_ts.onnx",
        "data.npz",
        "zs.safetensors",
    ] {
        fs::copy(vit.join(file), folder.path().join(file)).unwrap();
    }
    let weights = folder.path().join("zs.safetensors");
    let run = |fresh: &str| {
        let flags = "plane --origin zs_ts.onnx --a ft1_ts.onnx --b ft2_ts.onnx --test data.npz \
            --steps 2 --origin-weights zs.safetensors";
        let mut command = program();
        command
            .current_dir(folder.path())
            .args(flags.split_whitespace())
            .arg(fresh);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        summary(&folder)["warnings"].to_string()
    };
    // Every tensor has its place, those that the exporter transposed and renamed as well.
    assert_eq!(run("--fresh"), "[]");
    let bytes = fs::read(&weights).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let gain: Vec<u8> = [0.5_f32, 2.0]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &gain);
    let mut tensors = file.tensors();
    tensors.push(("b.0.gain".to_string(), view.unwrap()));
    fs::write(&weights, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let told = run("--fresh");
    assert!(
        told.contains("nowhere in the graph (1: `b.0.gain`)"),
        "{told}"
    );
}

#[test]
fn tensors_far_from_the_origins_make_the_warning_louder() {
    let folder = folder("scaled", "noopt", false);
    let moved = scale(
        &oracle("scaled").join("ft1.safetensors"),
        "body.weight",
        12.0,
    );
    fs::write(folder.path().join("far.safetensors"), moved).unwrap();
    let files = ["far.safetensors", "ft2.safetensors"];
    plane(&folder, files, &[]);
    // The exporter's record shows that nothing was folded: a head trained from scratch is like it.
    let told = summary(&folder)["warnings"].to_string();
    assert!(!told.contains("do NOT trust"), "{told}");
    // Other tools drop the record; then nothing but the values speaks.
    let origin = folder.path().join("zs.onnx");
    let mut model = ModelProto::decode(fs::read(&origin).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.metadata_props.clear();
    graph.value_info.clear();
    fs::write(&origin, model.encode_to_vec()).unwrap();
    let output = plane(&folder, files, &["--fresh"]);
    let told = summary(&folder)["warnings"].to_string();
    assert!(told.contains("do NOT trust these values"), "{told}");
    assert!(told.contains("`body.weight` lies"), "{told}");
    assert!(stderr(&output).contains("do NOT trust these values"));
}

/// Hides what the exporter did from everything but the values, as other tools do: drops its record
/// and gives computed tensors the names of their parameters.
fn disguise(folder: &TempDir, names: &[(&str, &str)]) {
    let path = folder.path().join("zs.onnx");
    let mut model = ModelProto::decode(fs::read(&path).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.metadata_props.clear();
    graph.value_info.clear();
    let renamed = |name: &str| {
        let mut all = names.iter();
        let new = all.find(|(old, _)| *old == name).map(|(_, new)| *new);
        new.unwrap_or(name).to_string()
    };
    for node in &mut graph.node {
        node.metadata_props.clear();
        node.input.iter_mut().for_each(|it| *it = renamed(it));
    }
    for tensor in &mut graph.initializer {
        tensor.name = Some(renamed(tensor.name()));
    }
    fs::write(&path, model.encode_to_vec()).unwrap();
}

#[test]
fn folded_tensors_under_their_parameters_names_make_the_warning_strong() {
    let gain = [("exp", "logit_scale"), ("add", "g")];
    for (network, names, ignore, evidence) in [
        ("gain", &gain[..], None, "`g` has one sign in the graph"),
        (
            "standardized",
            &[("div", "body.weight")],
            None,
            "`body.weight` points like θ0's",
        ),
        ("absolute", &[("abs_1", "a")], None, "`a` has one sign"),
        ("norm", &[], Some("bn.*"), "it has `bn.running_mean`"),
    ] {
        let folder = folder(network, "opt", false);
        disguise(&folder, names);
        let ignore: Vec<&str> = ignore.into_iter().flat_map(|it| ["--ignore", it]).collect();
        let output = plane(&folder, DICTS, &ignore);
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = summary(&folder);
        let told = summary["warnings"].to_string();
        assert!(
            told.contains("do NOT trust these values"),
            "{network}: {told}"
        );
        assert!(told.contains(evidence), "{network}: {told}");
        assert!(told.contains("--origin-weights FILE"), "{network}: {told}");
        let caveat = summary["provenance"]["caveats"][0].as_str().unwrap();
        assert!(
            caveat.contains("some look folded: do not trust"),
            "{caveat}"
        );
        // The one flag ends it: what was folded is computed for each mix, but for |a|, which is a at θ0.
        let weights = oracle(network).join("zs.safetensors");
        let weights = ["--origin-weights", weights.to_str().unwrap(), "--fresh"];
        let output = plane(&folder, DICTS, &[&ignore[..], &weights].concat());
        let told = stderr(&output);
        if network == "absolute" {
            assert!(output.status.success(), "{told}");
            assert!(told.contains("changes nothing at θ0 (|a|"), "{told}");
            assert!(told.contains(evidence), "{told}");
        } else if network == "norm" {
            // Without the batch norm nothing explains what was folded.
            assert_eq!(output.status.code(), Some(2), "{network}: {told}");
        } else {
            assert!(output.status.success(), "{network}: {told}");
            assert!(!told.contains("do NOT trust"), "{network}: {told}");
            agrees(network, &losses(&self::summary(&folder)));
        }
    }
}

#[test]
fn integers_at_the_place_of_a_weight_are_refused_by_name() {
    let folder = folder("scaled", "noopt", true);
    let path = folder.path().join("ft1.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, TensorView<'_>)> =
        file.iter().map(|(n, t)| (n.into(), t)).collect();
    let weight = tensors
        .iter_mut()
        .find(|(_, it)| it.shape().len() == 2)
        .unwrap();
    let zeros = vec![0; weight.1.shape().iter().product()];
    let (name, shape) = (weight.0.clone(), weight.1.shape().to_vec());
    weight.1 = TensorView::new(Dtype::I8, shape, &zeros).unwrap();
    fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let output = plane(&folder, DICTS, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&name), "{}", stderr(&output));
}

/// A `.safetensors` file with one f32 tensor multiplied.
fn scale(file: &Path, name: &str, factor: f32) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    let (start, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let (from, to) = header.info(name).unwrap().data_offsets;
    for value in bytes[8 + start..][from..to].chunks_exact_mut(4) {
        let scaled = factor * f32::from_le_bytes(value.try_into().unwrap());
        value.copy_from_slice(&scaled.to_le_bytes());
    }
    bytes
}

#[test]
fn a_state_dict_of_another_model_beside_the_origin_is_refused_with_the_cure() {
    let folder = folder("scaled", "noopt", false);
    let other = oracle("scaled").join("ft1.safetensors");
    fs::copy(other, folder.path().join("zs.safetensors")).unwrap();
    let told = stderr(&plane(&folder, ["ft1.safetensors", "ft2.safetensors"], &[]));
    assert!(
        told.contains("zs.safetensors is not the state dict"),
        "{told}"
    );
    assert!(told.contains("--origin-weights"), "{told}");
}

#[test]
fn names_of_files_may_be_given_without_their_endings() {
    let folder = folder("scaled", "noopt", true);
    assert!(plane(&folder, DICTS, &[]).status.success());
    assert_eq!(summary(&folder)["provenance"]["verified"]["ft2"], "value");
}
