//! Tensors that only a checkpoint has.

use std::fs;

use landscape::graph::network::Network;
use landscape::space::matching::Options;
use landscape::space::mix::Mix;
use landscape::space::save::{RecipeMetadata, SaveType, save};
use safetensors::SafeTensors;

use crate::has;
use crate::network::{Export, Files, Named, Net, WIDTH, holds, ignoring, named, some, unused};

const LAYERS: [&str; 3] = ["net.body", "net.neck", "head"];

fn files(export: Export) -> (Net, Files) {
    let net = Net::new(export, &LAYERS);
    let files = Files::of(&net);
    (net, files)
}

/// A text tower, an auxiliary head with batch norm, and a layer norm.
fn foreign() -> Vec<Named> {
    vec![
        some("text.blocks.0.fc.weight", &[3, 3]),
        some("text.blocks.0.fc.bias", &[3]),
        some("text.ln.weight", &[3]),
        some("aux.conv.weight", &[2, 2, 1, 1]),
        some("aux.bn.running_var", &[2]),
        some("ln_final.weight", &[5]),
        some("ln_final.bias", &[5]),
    ]
}

#[test]
fn modules_without_anything_in_the_graph_are_told_with_flags() {
    for export in [Export::Unoptimized, Export::TorchScript] {
        let (net, files) = files(export);
        let mut state = net.state("", "module.", 1);
        state.extend(
            foreign()
                .into_iter()
                .map(|(name, shape, values)| (format!("module.{name}"), shape, values)),
        );
        if export == Export::TorchScript {
            // No record tells a layer norm from a gain that went into a weight.
            let message = files.refused(&[state.clone()], &unused());
            has(&message, &["ln_final.bias", "ln_final.weight"]);
            assert!(!message.contains("--ignore 'module.ln_final"), "{message}");
            state.retain(|(name, ..)| !name.contains("ln_final"));
        }
        let modules: &[&str] = match export {
            Export::Unoptimized => &["module.aux.*", "module.ln_final.*", "module.text.*"],
            Export::TorchScript => &["module.aux.*", "module.text.*"],
        };
        let message = files.refused(&[state.clone()], &Options::default());
        let flags = modules.iter().map(|it| format!("--ignore '{it}'"));
        let flags = flags.collect::<Vec<_>>().join(" ");
        has(&message, &["--ignore-unused", &flags]);
        assert!(!message.contains("optimize=False"), "{message}");
        let aligned = files.fit(&[state.clone()], &unused());
        holds(&aligned, &net, 0, 1);
        let left: Vec<&str> = aligned.unused.iter().map(String::as_str).collect();
        assert_eq!(left, modules);
        let told = aligned.notes.join("\n");
        has(
            &told,
            &["--ignore-unused leaves out", "`module.text.*` (3 tensors)"],
        );
        assert!(aligned.warnings.iter().all(|it| !it.contains("leaves out")));
        assert!(aligned.left_out[0].is_empty());
        holds(&files.fit(&[state], &ignoring(modules)), &net, 0, 1);
    }
}

#[test]
fn what_the_exporter_may_have_folded_is_never_left_out_unasked() {
    let batch_norm = |module: &str| {
        let leaves = ["weight", "bias", "running_mean", "running_var"];
        leaves
            .map(|leaf| some(&format!("{module}.{leaf}"), &[WIDTH]))
            .to_vec()
    };
    for (extra, left) in [
        // Batch norm behind a layer; in a module of its own, too.
        (batch_norm("bn1"), "bn1.bias"),
        (batch_norm("net.down.1"), "net.down.1.bias"),
        // A tensor of a module that has others in the graph.
        (
            vec![some("net.body.mask_token", &[1, 3])],
            "net.body.mask_token",
        ),
        (vec![some("logit_scale", &[])], "logit_scale"),
        // A gain, and a weight that is computed.
        (vec![some("net.ls.gamma", &[WIDTH])], "net.ls.gamma"),
        (vec![some("net.ls.gamma", &[WIDTH, 1, 1])], "net.ls.gamma"),
        (
            vec![some(
                "fc.parametrizations.weight.original0",
                &[WIDTH, WIDTH],
            )],
            "fc.parametrizations.weight.original0",
        ),
    ] {
        let (net, kept) = files(Export::TorchScript);
        let mut state = net.state("", "", 1);
        state.extend(extra);
        let message = kept.refused(&[state.clone()], &unused());
        has(&message, &[left, "optimize=False"]);
        assert!(!message.contains("--ignore '"), "{message}");
        // An export that keeps every tensor has folded nothing.
        let (net, kept) = files(Export::Unoptimized);
        let aligned = kept.fit(&[state], &unused());
        holds(&aligned, &net, 0, 1);
        assert!(!aligned.unused.is_empty());
    }
}

#[test]
fn counters_positions_and_masks_are_passed_over_as_floats_too() {
    let (net, files) = files(Export::TorchScript);
    let causal: Vec<f32> = (0..9)
        .map(|at| f32::from(u8::from(at % 3 <= at / 3)))
        .collect();
    let frequencies: Vec<f32> = (0..4).map(|i| 10_000_f32.powf(-(i as f32) / 4.0)).collect();
    let held = [
        named("net.bn.num_batches_tracked", &[], &[151.5]),
        named("n_averaged", &[1], &[3.0]),
        named("net.position_ids", &[1, 4], &[0.0, 1.0, 2.0, 3.0]),
        named("h.0.attn.masked_bias", &[], &[-10_000.0]),
        named("h.0.attn.bias", &[1, 1, 3, 3], &causal),
        named("h.0.rotary.inv_freq", &[4], &frequencies),
    ];
    let mut state = net.state("", "", 1);
    state.extend(held);
    let aligned = files.fit(&[state], &Options::default());
    holds(&aligned, &net, 0, 1);
    assert_eq!(aligned.passed_over[0].len(), 6);
    // Of the same names, but not these.
    for (odd, name) in [
        (some("net.position_ids", &[1, 4]), "net.position_ids"),
        (some("h.0.attn.bias", &[1, 1, 3, 3]), "h.0.attn.bias"),
        (named("net.masked_bias", &[], &[0.5]), "net.masked_bias"),
        (some("h.0.rotary.inv_freq", &[4]), "h.0.rotary.inv_freq"),
    ] {
        let mut state = net.state("", "", 1);
        state.push(odd);
        let message = files.refused(&[state], &Options::default());
        has(&message, &["only in the checkpoint (1)", name]);
    }
}

#[test]
fn copies_of_matched_tensors_count_once_and_are_saved_as_mixed() {
    let (net, files) = files(Export::TorchScript);
    let tied = |seed: usize| {
        let mut state = net.state("", "", seed);
        let (_, shape, values) = state[0].clone();
        state.push(("lm_head.weight".to_string(), shape, values));
        state
    };
    let checkpoints = files.checkpoints(&[tied(1), net.state("", "", 2)]);
    let aligned = files.pool(&checkpoints, None, &Options::default()).unwrap();
    holds(&aligned, &net, 0, 1);
    assert_eq!(aligned.copies[0]["lm_head.weight"], "net.body.weight");
    has(
        &aligned.notes.join("\n"),
        &["`lm_head.weight` is `net.body.weight`, by value, in ft1"],
    );
    let path = files.folder.path().join("soup.safetensors");
    let mix = Mix::new(vec![0.0, 0.5, 0.5]);
    let network = Network::of(&files.model);
    save(
        &path,
        &mix,
        &aligned,
        &network,
        (&checkpoints, SaveType::Graph),
        &RecipeMetadata::new(),
    )
    .unwrap();
    let bytes = fs::read(path).unwrap();
    let soup = SafeTensors::deserialize(&bytes).unwrap();
    let [copy, of] = ["lm_head.weight", "net.body.weight"].map(|it| soup.tensor(it).unwrap());
    assert_eq!(copy.data(), of.data());
    let first = checkpoints[0].state_dict().unwrap()["net.body.weight"]
        .bytes
        .clone();
    assert_ne!(of.data(), &first[..]);
    // One that differs in a single element is another tensor, and zeros prove nothing.
    let mut state = tied(1);
    state.last_mut().unwrap().2[3] += 0.5;
    has(
        &files.refused(&[state], &Options::default()),
        &["lm_head.weight"],
    );
    let mut state = net.state("", "", 1);
    state[1].2.fill(0.0);
    state.push(named("net.lost.bias", &[WIDTH], &[0.0; WIDTH]));
    has(
        &files.refused(&[state], &Options::default()),
        &["net.lost.bias"],
    );
}

#[test]
fn a_head_of_another_size_is_proposed_to_be_left() {
    for export in [Export::Unoptimized, Export::TorchScript] {
        let (net, files) = files(export);
        let mut state = net.state("", "", 1);
        state.retain(|(name, ..)| !name.starts_with("head."));
        state.extend([some("head.weight", &[7, WIDTH]), some("head.bias", &[7])]);
        let message = files.refused(&[state.clone()], &Options::default());
        has(&message, &["of another shape (2)", "--ignore 'head.*'"]);
        assert!(!message.contains("optimize=False"), "{message}");
        let aligned = files.fit(&[state], &ignoring(&["head.*"]));
        let left: Vec<&str> = aligned.left_out[0].names().collect();
        assert_eq!(left, ["head.bias", "head.weight"]);
    }
}
