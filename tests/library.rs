//! What the library refuses by itself: the rules that make results right do not depend on the
//! command line.
#![allow(clippy::unwrap_used)]

mod common;

use landscape::data::{Preprocess, Source};
use landscape::error::{Error, Result};
use landscape::evaluate::onnx::Losses;
use landscape::experiment::candidates::{Candidate, Candidates};
use landscape::experiment::session::Session;
use landscape::experiment::settings::SessionSettings;
use landscape::experiment::{line, pairs, plane, soup, spectrum};
use landscape::result::combine::Combine;
use landscape::result::loss::LossKind;
use landscape::result::score::Role;

/// The example's network with some of its checkpoints, and 20 samples of its test set.
fn settings(models: &[&str]) -> SessionSettings {
    let digits = common::example();
    let models = models.iter().map(|name| Candidate::file(digits.join(name)));
    let data = vec![Source::new("test", Role::Test, digits.join("test.npz"))];
    let models = Candidates::Files(models.collect());
    let mut settings = SessionSettings::new(digits.join("zs.onnx"), models, data);
    settings.limit = Some(20);
    settings
}

fn refused<T>(result: Result<T>, words: &str) {
    let message = result.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains(words), "{message}");
}

#[test]
fn sessions_without_data_and_experiments_without_models_are_errors() {
    let mut empty = settings(&["ft1"]);
    empty.data.clear();
    refused(Session::open(empty, &()), "no data set");
    let session = Session::open(settings(&["ft1"]), &()).unwrap();
    let of_plane = plane::PlaneSettings::with_steps(5);
    refused(plane::run(&session, &of_plane, &()), "two checkpoints");
    let of_line = |from_origin, alphas| line::LineSettings {
        from_origin,
        alphas,
        loss: LossKind::Plain,
    };
    for settings in [
        of_line(false, line::Alphas::Steps(5)),
        of_line(true, line::Alphas::Steps(1)),
        of_line(true, line::Alphas::Values(Vec::new())),
    ] {
        refused(line::run(&session, &settings, &()), "two models");
    }
    let of_pairs = pairs::PairsSettings::default();
    refused(pairs::run(&session, &of_pairs, &()), "two models");
}

#[test]
fn calibrated_losses_need_a_validation_set_and_logits_and_have_no_arrows() {
    let calibrated = LossKind::Calibrated;
    let of_line = line::LineSettings {
        from_origin: true,
        alphas: line::Alphas::Steps(3),
        loss: calibrated,
    };
    let of_plane = |arrows| plane::PlaneSettings {
        loss: calibrated,
        arrows,
        ..plane::PlaneSettings::with_steps(3)
    };
    let models = ["ft1", "ft2"];
    let session = Session::open(settings(&models), &()).unwrap();
    refused(line::run(&session, &of_line, &()), "no validation set");
    refused(
        plane::run(&session, &of_plane(None), &()),
        "no validation set",
    );
    let mut with = settings(&models);
    let val = common::example().join("val.npz");
    with.data.push(Source::new("val", Role::Val, val));
    with.options.losses = Losses::Graph;
    let session = Session::open(with.clone(), &()).unwrap();
    refused(line::run(&session, &of_line, &()), "computed from logits");
    with.options.losses = Losses::Host;
    let pixels = Preprocess::new(1.0 / 255.0, vec![0.1307], vec![0.3081], 1);
    with.preprocess = Some(pixels.unwrap());
    let session = Session::open(with, &()).unwrap();
    refused(
        plane::run(&session, &of_plane(Some(3)), &()),
        "leave one of the two out",
    );
    let line = line::run(&session, &of_line, &()).unwrap();
    assert!(line.soup_beta.iter().all(|beta| beta.value > 0.0));
    assert_eq!(line.summary.calibration.unwrap().samples, 20);
}

#[test]
fn choices_need_a_validation_set_and_comparisons_all_samples() {
    let of_soup = || -> soup::SoupSettings {
        use landscape::analysis::recipe::MethodSpec;
        use landscape::result::method::Method;
        soup::SoupSettings {
            methods: vec![MethodSpec::plain(Method::Greedy)],
            asked: true,
            rule: Default::default(),
            orders: 0,
            combine: vec![Combine::Logits],
            learning: None,
            rays: Default::default(),
            resamples: None,
            saves: Vec::new(),
        }
    };
    let session = Session::open(settings(&["ft1", "ft2"]), &()).unwrap();
    refused(soup::run(&session, &of_soup(), &()), "`greedy` chooses by");
    let mut limited = settings(&["ft1", "ft2"]);
    limited.options.tolerance = Some(0.1);
    let session = Session::open(limited, &()).unwrap();
    let of_pairs = pairs::PairsSettings::default();
    refused(pairs::run(&session, &of_pairs, &()), "needs all samples");
    let mut adaptive = plane::PlaneSettings::with_steps(5);
    adaptive.adaptive = Some(Default::default());
    refused(plane::run(&session, &adaptive, &()), "other samples");
}

#[test]
fn a_hessian_is_over_all_tensors_at_weights_that_sum_to_1() -> std::result::Result<(), Error> {
    use landscape::analysis::spectrum::SpectrumPlan;
    let of_spectrum = |weights: &[f64]| spectrum::SpectrumSettings {
        weights: weights.to_vec(),
        plan: SpectrumPlan {
            top: 1,
            bottom: 0,
            steps: 2,
            tolerance: 0.1,
            trace: 0,
            density: None,
            seed: 0,
        },
        double: false,
    };
    let session = Session::open(settings(&["ft1"]), &())?;
    let run =
        |session: &Session, weights: &[f64]| spectrum::run(session, &of_spectrum(weights), &());
    refused(run(&session, &[1.0]), "every_tensor_moves");
    let mut moving = settings(&["ft1"]);
    moving.every_tensor_moves = true;
    let session = Session::open(moving, &())?;
    refused(run(&session, &[0.5, 0.5]), "2 for 1 models");
    refused(run(&session, &[0.5]), "the sum 0.5");
    Ok(())
}
