//! Tensors of the graph that no checkpoint has.

use landscape::space::matching::Options;

use crate::has;
use crate::network::{Export, Files, Named, Net, WIDTH, holds, ignoring, named, some, values};

fn frequencies() -> Vec<f32> {
    (0..4).map(|i| 10_000_f32.powf(-(i as f32) / 4.0)).collect()
}

/// The network with a tensor that is added to its output.
fn with(export: Export, added: Named, signature: &str) -> (Net, Files) {
    let mut net = Net::new(export, &["body", "head"]);
    net.added.push(added);
    net.signature
        .extend((!signature.is_empty()).then(|| signature.to_string()));
    let files = Files::of(&net);
    (net, files)
}

#[test]
fn buffers_that_no_state_dict_has_are_known_by_the_signature() {
    let line = "b_rope: BUFFER target='rope' persistent=False";
    let (net, files) = with(Export::Unoptimized, some("rope", &[WIDTH]), line);
    let aligned = files.fit(
        &[net.state("", "", 1), net.state("", "", 2)],
        &Options::default(),
    );
    holds(&aligned, &net, 1, 2);
    assert_eq!(aligned.constants, ["rope"]);
    has(&aligned.notes.join("\n"), &["`rope`", "persistent=False"]);
    // A file of an older version has it; the other does not.
    let mut old = net.state("", "", 1);
    old.push(some("rope", &[WIDTH]));
    let aligned = files.fit(&[old.clone(), net.state("", "", 2)], &Options::default());
    assert_eq!(aligned.constants, ["rope"]);
    // With other values it is not the graph's.
    old.last_mut().unwrap().2[0] += 1.0;
    let message = files.refused(&[old, net.state("", "", 2)], &Options::default());
    has(&message, &["has no tensor for `rope`"]);
    // A buffer that state dicts have must be there.
    let line = "b_rope: BUFFER target='rope' persistent=True";
    let (net, files) = with(Export::Unoptimized, some("rope", &[WIDTH]), line);
    let message = files.refused(&[net.state("", "", 1)], &Options::default());
    has(&message, &["only in the graph (1)", "--ignore 'rope'"]);
    holds(
        &files.fit(&[net.state("", "", 1)], &ignoring(&["rope"])),
        &net,
        0,
        1,
    );
}

#[test]
fn a_parameter_that_is_missing_is_an_error() {
    let net = Net::new(Export::Unoptimized, &["body", "head"]);
    let files = Files::of(&net);
    let mut state = net.state("", "", 1);
    state.retain(|(name, ..)| name != "body.bias");
    let message = files.refused(&[state], &Options::default());
    has(
        &message,
        &[
            "only in the graph (1)",
            "lacks parameters of the network (`body.bias`)",
        ],
    );
    assert!(!message.contains("--ignore '"), "{message}");
}

#[test]
fn rotary_frequencies_are_known_by_name_and_formula() {
    let rotary = named("rotary.inv_freq", &[4], &frequencies());
    let (net, files) = with(Export::TorchScript, rotary, "");
    let aligned = files.fit(&[net.state("", "", 1)], &Options::default());
    assert_eq!(aligned.constants, ["rotary.inv_freq"]);
    has(&aligned.notes.join("\n"), &["rotary frequencies"]);
    for other in [
        some("rotary.inv_freq", &[4]),
        named("rotary.table", &[4], &frequencies()),
    ] {
        let flag = format!("--ignore '{}'", other.0);
        let (net, files) = with(Export::TorchScript, other, "");
        has(
            &files.refused(&[net.state("", "", 1)], &Options::default()),
            &[&flag],
        );
    }
}

#[test]
fn what_all_of_the_origins_state_dict_does_without_is_a_table() {
    let table: Vec<f32> = (0..WIDTH).map(|i| (i as f32 * 0.9).cos()).collect();
    let (net, files) = with(
        Export::TorchScript,
        named("onnx::Add_7", &[WIDTH], &table),
        "",
    );
    let checkpoints = files.checkpoints(&[net.state("", "", 1)]);
    let message = files.refused(&[net.state("", "", 1)], &Options::default());
    has(
        &message,
        &["--origin-weights FILE", "--ignore 'onnx::Add_7'"],
    );
    let whole = net.state("", "m.", 0);
    let weights = files.checkpoint("weights", &whole);
    let aligned = files
        .pool(&checkpoints, Some(&weights), &Options::default())
        .unwrap();
    holds(&aligned, &net, 0, 1);
    assert_eq!(aligned.constants, ["onnx::Add_7"]);
    has(
        &aligned.warnings.join("\n"),
        &["all that it has is in the graph elsewhere"],
    );
    // A state dict with a tensor more: the table may be made from it.
    let mut more = whole;
    more.push(some("m.gain", &[WIDTH]));
    let weights = files.checkpoint("weights", &more);
    let refused = files.pool(&checkpoints, Some(&weights), &Options::default());
    has(&refused.unwrap_err().to_string(), &["onnx::Add_7"]);
}

#[test]
fn what_is_computed_from_a_weight_is_no_table() {
    let bias = values("body.bias", WIDTH, 0);
    let exp: Vec<f32> = bias.iter().map(|it| -it.exp()).collect();
    let part = &values("body.weight", WIDTH * WIDTH, 0)[2..2 + WIDTH];
    for made in [&exp[..], part] {
        let (net, files) = with(
            Export::TorchScript,
            named("onnx::Mul_7", &[WIDTH], made),
            "",
        );
        let checkpoints = files.checkpoints(&[net.state("", "", 1)]);
        let weights = files.checkpoint("weights", &net.state("", "", 0));
        let refused = files.pool(&checkpoints, Some(&weights), &Options::default());
        has(&refused.unwrap_err().to_string(), &["onnx::Mul_7"]);
    }
}
