//! Prefixes of either side.

use landscape::space::matching::Options;

use crate::has;
use crate::network::{Export, Files, Net, holds, ignoring, some};

#[test]
fn a_prefix_on_either_side_is_found_in_each_file() {
    for export in [Export::Unoptimized, Export::TorchScript] {
        for (graph, own) in [
            ("", "module."),
            ("", "_orig_mod."),
            ("", "module._orig_mod."),
            ("", "base_model.model."),
            ("", "student."),
            ("", "ema.net.any_name."),
            ("model.", ""),
            ("model.", "module."),
            ("a.b.", "_orig_mod.c."),
            ("m.", "m.m."),
        ] {
            let layers = ["body.0", "body.1", "head"].map(|it| format!("{graph}{it}"));
            let net = Net::new(export, &layers.each_ref().map(String::as_str));
            let files = Files::of(&net);
            // The other file has the graph's names, and θ0's weights the checkpoint's.
            let checkpoints = [net.state(graph, own, 1), net.state("", "", 2)];
            let checkpoints = files.checkpoints(&checkpoints);
            let weights = files.checkpoint("weights", &net.state(graph, own, 0));
            for weights in [None, Some(&weights)] {
                let aligned = files.pool(&checkpoints, weights, &Options::default());
                let aligned = aligned.unwrap();
                holds(&aligned, &net, 0, 1);
                holds(&aligned, &net, 1, 2);
            }
        }
    }
}

#[test]
fn wrappers_within_names_are_looked_through() {
    for (graph, own) in [
        ("net.body.fc", "net.body._orig_mod.fc"),
        ("net.body.fc", "module.net.body.module.fc"),
        ("net.module.fc", "net.module.fc"),
        ("net.body._orig_mod.fc", "net.body.fc"),
    ] {
        let net = Net::new(Export::Unoptimized, &[graph, "net.head"]);
        let files = Files::of(&net);
        let mut state = net.state("", "", 1);
        let outer = own.strip_suffix(graph).unwrap_or("");
        for (name, ..) in &mut state {
            let renamed = name.strip_prefix(graph).map(|rest| format!("{own}{rest}"));
            let outer = if own.starts_with("module.") {
                "module."
            } else {
                outer
            };
            *name = renamed.unwrap_or_else(|| format!("{outer}{name}"));
        }
        holds(&files.fit(&[state], &Options::default()), &net, 0, 1);
    }
}

#[test]
fn what_is_left_out_has_no_say_and_what_is_left_over_is_listed() {
    let net = Net::new(Export::TorchScript, &["body", "head"]);
    let files = Files::of(&net);
    let mut state = net.state("", "model.", 1);
    state.push(some("criterion.pos_weight", &[3]));
    let message = files.refused(&[state.clone()], &Options::default());
    let told = "`model.` is stripped from the checkpoint's names";
    has(&message, &[told, "criterion.pos_weight [3]"]);
    assert!(!message.contains("only in the graph"), "{message}");
    let aligned = files.fit(&[state.clone()], &ignoring(&["criterion.*"]));
    holds(&aligned, &net, 0, 1);
    assert_eq!(aligned.renamed[0].told().as_deref(), Some(told));
    // A prefix by which a head alone is left out.
    let aligned = files.fit(&[state], &ignoring(&["criterion.*", "model.head.*"]));
    let left: Vec<&str> = aligned.left_out[0].names().collect();
    assert_eq!(left, ["model.head.bias", "model.head.weight"]);
}

#[test]
fn two_full_sets_are_a_question() {
    let net = Net::new(Export::Unoptimized, &["body", "neck", "head"]);
    let files = Files::of(&net);
    let mut state = net.state("", "model.", 1);
    state.extend(net.state("", "teacher.", 2));
    for options in [Options::default(), crate::network::unused()] {
        let message = files.refused(&[state.clone()], &options);
        has(
            &message,
            &[
                "ft1.safetensors: holds two full sets",
                "`model.*` and `teacher.*`",
                "--ignore 'teacher.*' to take `model.*`",
                "--ignore 'model.*' to take `teacher.*`",
            ],
        );
    }
    for (ignored, seed) in [("teacher.*", 1), ("model.*", 2)] {
        holds(
            &files.fit(&[state.clone()], &ignoring(&[ignored])),
            &net,
            0,
            seed,
        );
    }
    // A set that lacks a tensor in ten is none; one with the graph's own names comes first, and the
    // other is listed.
    let mut state = net.state("", "", 1);
    state.extend(net.state("", "teacher.", 2));
    let message = files.refused(&[state.clone()], &Options::default());
    has(
        &message,
        &["only in the checkpoint (6)", "--ignore 'teacher.*'"],
    );
    holds(&files.fit(&[state], &ignoring(&["teacher.*"])), &net, 0, 1);
}

#[test]
fn a_checkpoint_of_another_network_is_told() {
    let net = Net::new(Export::Unoptimized, &["body", "head"]);
    let files = Files::of(&net);
    let other = [some("encoder.q", &[7, 7]), some("encoder.k", &[7, 5])];
    let message = files.refused(&[other.to_vec()], &Options::default());
    has(
        &message,
        &[
            "looks like a checkpoint of another network",
            "body.bias",
            "encoder.k",
        ],
    );
    assert!(!message.contains("optimize=False"), "{message}");
    has(
        &message,
        &["0 of the network's 4 tensors agree", "is --origin"],
    );
    // A few tensors that agree by chance, under several prefixes, are no sets of the network's.
    let mut other: Vec<_> = (0..30)
        .map(|k| some(&format!("encoder.{k}.q"), &[7, 7]))
        .collect();
    let net = Net::new(
        Export::Unoptimized,
        &["body", "neck", "head", "a", "b", "c", "d"],
    );
    let files = Files::of(&net);
    let state = net.state("", "", 1);
    let (name, shape, values) = &state[0];
    for prefix in ["x", "y", "z"] {
        other.push((format!("{prefix}.{name}"), shape.clone(), values.clone()));
    }
    let message = files.refused(&[other], &Options::default());
    assert!(!message.contains("full sets"), "{message}");
    has(&message, &["looks like a checkpoint of another network"]);
}
