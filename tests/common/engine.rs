//! An engine over files, for tests of what the command line does not print.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use landscape::checkpoint::Checkpoint;
use landscape::checkpoint::onnx::Model;
use landscape::cli::args::config::Config;
use landscape::data::{Dataset, ReadOptions, Source};
use landscape::evaluate::onnx::{BindingChoice, Engine, EvaluationOptions};
use landscape::evaluate::runtime::Runtime;
use landscape::evaluate::signature::Signature;
use landscape::graph::network::Network;
use landscape::result::score::Role;
use landscape::space::matching::{self, Aligned};

/// A network with its checkpoints and data, and what is done with it.
pub fn with_engine(
    files: &[&Path],
    data: &Path,
    config: Option<&Path>,
    samples: usize,
    binding: BindingChoice,
    then: impl FnOnce(&Engine<'_>, &Aligned, Vec<usize>),
) {
    let options = EvaluationOptions {
        binding,
        ..EvaluationOptions::default()
    };
    with_options(files, data, config, samples, options, then);
}

/// As [`with_engine`], with these options.
pub fn with_options(
    files: &[&Path],
    data: &Path,
    config: Option<&Path>,
    samples: usize,
    request: EvaluationOptions,
    then: impl FnOnce(&Engine<'_>, &Aligned, Vec<usize>),
) {
    let runtime = Runtime::load(None).unwrap();
    let model = Model::read(files[0]).unwrap();
    let network = Network::of(&model);
    let checkpoints: Vec<Checkpoint> = files[1..]
        .iter()
        .map(|f| Checkpoint::open(f).unwrap())
        .collect();
    let aligned = matching::pool(
        &network,
        "zs",
        &checkpoints,
        None,
        &matching::Options::default(),
    )
    .unwrap();
    let signature = Signature::of(&network, None).unwrap();
    let source = Source {
        name: "test".to_string(),
        role: Role::Test,
        path: data.to_path_buf(),
    };
    let options = ReadOptions {
        preprocess: config.and_then(|path| Config::load(Some(path)).unwrap().preprocess),
        ..ReadOptions::default()
    };
    let datasets = [Dataset::read(&source, &signature.inputs, &options).unwrap()];
    // The first samples of the file, whatever the order of evaluation.
    let order = datasets[0].order();
    let places: Vec<usize> = (0..order.len())
        .filter(|&place| order[place] < samples)
        .collect();
    let stop = AtomicBool::new(false);
    let engine = Engine::new(
        runtime, &network, &aligned, signature, &datasets, request, &stop,
    )
    .unwrap();
    then(&engine, &aligned, places);
}
