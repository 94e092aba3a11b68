//! State dicts of very many tensors.

use std::time::{Duration, Instant};

use landscape::space::matching::Options;

use crate::network::{Export, Files, Named, Net, WIDTH, holds, some, unused};

/// Layers of the network, each with two tensors, and tensors that only the checkpoint has.
const LAYERS: usize = 5_000;
const EXTRA: usize = 20_000;

/// Everything is found in less than two seconds. Comparing each tensor with all others took 75 s.
const LIMIT: Duration = Duration::from_secs(20);

fn many() -> (Net, Files) {
    let layers: Vec<String> = (0..LAYERS).map(|it| format!("net.{it}")).collect();
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    let net = Net::new(Export::Unoptimized, &layers);
    let files = Files::of(&net);
    (net, files)
}

/// Tensors of one module that the network does not use; they end as the network's do.
fn extra() -> impl Iterator<Item = Named> {
    (0..EXTRA).map(|it| some(&format!("module.text.{it}.weight"), &[WIDTH, WIDTH + 1]))
}

#[test]
fn a_prefix_and_an_unused_module_are_found_among_many_tensors() {
    let (net, files) = many();
    let mut state = net.state("", "module.", 1);
    state.extend(extra());
    let checkpoints = files.checkpoints(&[state]);
    let start = Instant::now();
    let aligned = files.pool(&checkpoints, None, &unused()).unwrap();
    let took = start.elapsed();
    holds(&aligned, &net, 0, 1);
    let left: Vec<&str> = aligned.unused.iter().map(String::as_str).collect();
    assert_eq!(left, ["module.text.*"]);
    assert!(took < LIMIT, "{took:?}");
    eprintln!("{} tensors took {took:?}", 2 * LAYERS + EXTRA);
}

#[test]
fn copies_are_found_among_many_tensors() {
    let (net, files) = many();
    let mut state = net.state("", "", 1);
    let copies = state.iter().step_by(2).enumerate();
    let copies = copies
        .map(|(it, (_, shape, values))| (format!("copy.{it}"), shape.clone(), values.clone()));
    let copies: Vec<Named> = copies.collect();
    state.extend(copies);
    let checkpoints = files.checkpoints(&[state]);
    let start = Instant::now();
    let aligned = files.pool(&checkpoints, None, &Options::default()).unwrap();
    let took = start.elapsed();
    holds(&aligned, &net, 0, 1);
    assert_eq!(aligned.copies[0].len(), LAYERS);
    assert!(took < LIMIT, "{took:?}");
    eprintln!("{LAYERS} copies took {took:?}");
}
