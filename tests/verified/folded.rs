//! What exporters computed from parameters: refused beside state dicts, told in averages of graphs.

use std::fs;

use crate::common::{self, json, list, program};
use crate::{
    DICTS_ALONE, GRAPHS, NETWORKS, agrees, expected, folder, losses, plane, stderr, stdout, summary,
};

#[test]
fn what_the_exporter_computed_is_refused_for_state_dicts_alone_and_unfolded_beside_the_origins() {
    for network in NETWORKS {
        let alone = folder(network, "opt", false);
        let output = plane(&alone, DICTS_ALONE, &[]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{network} {}",
            stdout(&output)
        );
        let told = stderr(&output);
        assert!(told.contains("optimize=False"), "{network}: {told}");
        assert!(!told.contains("--ignore"), "{network}: {told}");
        let beside = folder(network, "opt", true);
        let output = plane(&beside, DICTS_ALONE, &[]);
        assert!(output.status.success(), "{network}: {}", stderr(&output));
        agrees(network, &losses(&summary(&beside)));
        assert_eq!(summary(&beside)["provenance"]["verified"]["ft1"], "value");
    }
    let folder = folder("gain", "opt", false);
    let told = stderr(&plane(&folder, DICTS_ALONE, &[]));
    assert!(
        told.contains("logit_scale went into `exp` by exp"),
        "{told}"
    );
    assert!(told.contains("g went into `add` by add"), "{told}");
}

#[test]
fn a_value_that_is_equal_at_the_origin_by_chance_does_not_pass_as_the_parameter() {
    let alone = folder("absolute", "opt", false);
    let told = stderr(&plane(&alone, DICTS_ALONE, &[]));
    assert!(
        told.contains("a went into `abs") && told.contains("by abs"),
        "{told}"
    );
    // The record tells |a| from a; both have the graph's values at θ0.
    let beside = folder("absolute", "opt", true);
    plane(&beside, DICTS_ALONE, &[]);
    agrees("absolute", &losses(&summary(&beside)));
}

#[test]
fn a_constant_that_was_merged_with_a_parameter_is_told_from_it() {
    let alone = folder("merged", "opt", false);
    let output = plane(&alone, DICTS_ALONE, &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("norm.weight went into"), "{told}");
    assert!(told.contains("a merge with a constant"), "{told}");
    for export in ["opt", "noopt"] {
        let beside = folder("merged", export, true);
        let output = plane(&beside, DICTS_ALONE, &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        agrees("merged", &losses(&summary(&beside)));
    }
}

#[test]
fn averages_of_folded_tensors_are_told_where_the_values_stand() {
    for network in NETWORKS {
        let folder = folder(network, "opt", false);
        let output = plane(&folder, GRAPHS, &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = summary(&folder);
        let losses = losses(&summary);
        // At the files themselves values are right.
        agrees(network, &losses[..3]);
        assert_eq!(summary["provenance"]["verified"]["ft1_opt"], "file");
        let told = "an average of folded tensors";
        let soup = stdout(&output);
        let soup = soup.lines().find(|line| line.starts_with("soup: "));
        let soup = soup.unwrap_or_default();
        if network == "scaled" {
            // A product with a constant commutes with averaging: nothing to tell.
            agrees(network, &losses);
            assert_eq!(summary["warnings"].as_array().unwrap().len(), 0);
            assert!(!soup.contains(told), "{soup}");
            continue;
        }
        let wrong = (losses[3] - expected(network)[3]).abs();
        assert!(wrong > 1e-4, "{network}: {wrong}");
        assert!(soup.contains(told), "{soup}");
        let warning = summary["warnings"][0].as_str().unwrap();
        assert!(
            warning.contains("NOT those of averaged parameters"),
            "{warning}"
        );
        assert!(warning.contains("optimize=False"), "{warning}");
    }
    let folder = folder("norm", "opt", false);
    let told = stderr(&plane(&folder, GRAPHS, &[]));
    assert!(told.contains("FuseBatchNormInto"), "{told}");
}

#[test]
fn a_line_and_a_soup_of_folded_tensors_say_so_too() {
    let folder = folder("norm", "opt", false);
    let models = [("a", "ft1_opt.onnx"), ("b", "ft2_opt.onnx")];
    list(folder.path().join("m.csv"), &models);
    let data = "--val test.npz --test test.npz --shift other=test.npz";
    for (arguments, result, figure) in [
        (
            "line --a ft1_opt.onnx --b ft2_opt.onnx --steps 3",
            "line",
            "line",
        ),
        ("soup --models m.csv --methods uniform", "soup", "soup"),
        (
            "soup --models m.csv --methods uniform --table latex",
            "soup",
            "soup",
        ),
        ("pairs --models m.csv", "pairs", "pairs-angle-advantage"),
    ] {
        let mut command = program();
        let arguments = format!("{arguments} --origin zs.onnx {data}");
        command
            .current_dir(folder.path())
            .args(arguments.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        // Before any value.
        let said = stdout(&output);
        let first = said.lines().next().unwrap();
        assert!(first.contains("is an average of folded tensors"), "{said}");
        let provenance =
            &json(common::result(folder.path(), &format!("{result}.json")))["provenance"];
        let caveat =
            "Between the models: averages of folded tensors, not of the models' parameters.";
        assert_eq!(provenance["caveats"][0], caveat);
        let svg = fs::read_to_string(folder.path().join(format!("plots/{figure}.svg"))).unwrap();
        let seen = svg.split("</desc>").nth(1).unwrap();
        assert!(seen.contains("averages of folded"), "{figure}");
    }
}
